//! `/etc/group` is a link that leads the OCI runtime, inside the container's namespaces, to another file than the
//! hook outside of them.

use anyhow::Result;
use libtest_mimic::Trial;

use super::{Node, PASSWD, With, victim};
use crate::steps::all;
use crate::world::{World, trial};
use e2e::image::Draft;
use e2e::{ContainerSpec, Pod};

/// Below `/proc/self` and the like each process finds its own: the hook nothing, or the node's.
const LINKS: [&str; 5] = [
    "/proc/self/root/srv/grp",
    "/proc/thread-self/root/srv/grp",
    "/proc/1/root/srv/grp",
    "/proc/self/cwd/grp",
    "../proc/self/root/proc/thread-self/cwd/grp",
];

/// What the file makes of a group: its content, the declared groups, and the group that the process gets.
struct Trick {
    file: &'static str,
    declared: &'static [i64],
    gives: u32,
}

const OF_A_DECLARED_GROUP: Trick =
    Trick { file: "root:x:0:\n4000:x:50000:\n", declared: &[4000], gives: 50000 };
const OF_THE_PRIMARY_GROUP: Trick = Trick { file: "root:x:0:\n3000:x:0:\n", declared: &[], gives: 0 };

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("attacks::magic_link_with_plugin_adds_no_group", |world| {
            magic_links(world, With::Plugin, &[OF_A_DECLARED_GROUP, OF_THE_PRIMARY_GROUP])
        }),
        // A declared group is refused then for want of the plugin.
        trial("attacks::magic_link_without_plugin_adds_no_group", |world| {
            magic_links(world, With::NoPlugin, &[OF_THE_PRIMARY_GROUP])
        }),
        trial("attacks::namespaced_file_with_plugin_adds_no_group", |world| {
            namespaced(
                world,
                With::Plugin,
                &[("4000:x:50000:", &[4000], 50000), ("4000", &[4000], 0), ("3000", &[], 0)],
            )
        }),
        trial("attacks::namespaced_file_without_plugin_adds_no_group", |world| {
            namespaced(world, With::NoPlugin, &[("3000:x:50000:", &[], 50000), ("3000", &[], 0)])
        }),
    ]
}

fn magic_links(world: &World, with: With, tricks: &[Trick]) -> Result<()> {
    let node = Node::start(world, with)?;
    let mut cases = Vec::new();
    for trick in tricks {
        for (number, link) in LINKS.into_iter().enumerate() {
            let name = format!("localhost/strict-groups/link-{}-{number}:1", trick.gives);
            let image = Draft::new(&name).passwd(PASSWD).file("/srv/grp", 0o644, trick.file);
            node.import(world, image.link("/etc/group", link))?;
            let spec = victim(&name).supplemental(trick.declared).working_dir("/srv");
            cases.push((
                format!("{link}, group {}", trick.gives),
                holds(&node, &Pod::new("link"), &spec, trick.gives),
            ));
        }
    }
    all(cases)
}

/// A pod's hostname is the content of a file that differs by UTS namespace. A number alone is a line too: a group of
/// that name, whose GID is 0 for want of one. Such a name is fit for a pod, and its hostname is the pod's name.
fn namespaced(world: &World, with: With, hostnames: &[(&str, &[i64], u32)]) -> Result<()> {
    const IMAGE: &str = "localhost/strict-groups/link-hostname:1";
    let node = Node::start(world, with)?;
    node.import(world, Draft::new(IMAGE).passwd(PASSWD).link("/etc/group", "/proc/sys/kernel/hostname"))?;
    all(hostnames.iter().map(|&(hostname, declared, gives)| {
        let pod = Pod::new("hostname").hostname(hostname).own_network();
        let spec = victim(IMAGE).supplemental(declared);
        (format!("hostname {hostname}, group {gives}"), holds(&node, &pod, &spec, gives))
    }))
}

fn holds(node: &Node, pod: &Pod, spec: &ContainerSpec, group: u32) -> Result<()> {
    node.holds(pod, spec, group, &[3000, 4000])
}
