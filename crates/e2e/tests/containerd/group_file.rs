//! Broken /etc/group files: the groups are the primary and the declared ones, or the runtime
//! itself refuses the container, with the words that it has without us.

use anyhow::{Result, anyhow, ensure};
use libtest_mimic::Trial;

use crate::compare::{Compared, Pair};
use crate::steps::all;
use crate::world::{World, trial};
use e2e::ContainerSpec;
use e2e::image::Draft;

const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n";

/// A line that works, so that there is something to remove whatever becomes of the others.
const GOOD: &str = "group-in-image:x:50000:alice\n";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("group_file::broken_in_every_way", |world| {
        let pair = Pair::run(world.old.cri(), "", "group-file")?;
        all(files()
            .into_iter()
            .enumerate()
            .map(|(number, (case, file))| (case, check(world, &pair, number, file))))?;
        pair.remove(world.old.cri())
    })]
}

/// A name and the file; `None` is an image without one. Lines that a runtime may refuse the
/// whole container for have a file of their own; the others share one, which is read to its end
/// or the good line would not be seen.
fn files() -> Vec<(&'static str, Option<Vec<u8>>)> {
    let with_good = |lines: &[&str]| Some(format!("{}\n{GOOD}", lines.join("\n")).into_bytes());
    let long = "x".repeat(100_000);
    let (long_name, many_members) = (format!("{long}:x:50001:alice"), format!("broken:x:50001:{long},alice"));
    vec![
        ("missing", None),
        ("empty", Some(Vec::new())),
        ("no line break at the end", Some(GOOD.trim_end().into())),
        (
            "number of fields",
            with_good(&[
                "",
                "broken",
                "broken:x",
                "broken:x:50001",
                "broken:x:50002:alice:more",
                ":::",
                "\n",
            ]),
        ),
        (
            "odd numbers",
            with_good(&[
                "a:x:many:alice",
                "b:x::alice",
                "c:x:0x10:alice",
                "d:x:+50001:alice",
                "e:x: 50002 :alice",
            ]),
        ),
        ("negative", with_good(&["broken:x:-5:alice"])),
        ("largest", with_good(&["broken:x:4294967294:alice"])),
        ("all bits set", with_good(&["broken:x:4294967295:alice"])),
        ("more than 32 bits", with_good(&["a:x:4294967296:alice", "b:x:4294971296:alice"])),
        ("more than 64 bits", with_good(&["broken:x:99999999999999999999:alice"])),
        (
            "odd characters",
            with_good(&[
                "  a : x : 50001 : alice , bob ",
                "\tb:x:50002:alice\t",
                "c:x:50003:alice\r",
                "d\0:x:50004:alice",
            ]),
        ),
        (
            "odd names and members",
            with_good(&[
                "# a:x:50001:alice",
                ":x:50002:alice",
                "c:x:50003:,,alice,,",
                "d:x:50004:alice,alice",
            ]),
        ),
        ("twice", with_good(&["group-in-image:x:50001:alice", "other:x:50000:alice"])),
        ("primary and declared", with_good(&["primary:x:3000:alice", "declared:x:4000:alice"])),
        ("long name", with_good(&[&long_name])),
        ("many members", with_good(&[&many_members])),
        ("no UTF-8", Some([b"br\xff\xfeoken:x:50001:alice\n", GOOD.as_bytes()].concat())),
    ]
}

fn check(world: &World, pair: &Pair, number: usize, file: Option<Vec<u8>>) -> Result<()> {
    let has_good = file.as_ref().is_some_and(|file| !file.is_empty());
    let name = format!("localhost/strict-groups/group-file-{number}:1");
    let draft = Draft::new(&name).passwd(PASSWD);
    let draft = if let Some(file) = file { draft.group(file) } else { draft };
    world.old.import(&draft.build(&world.machine)?)?;

    let spec = ContainerSpec::new("app", &name).user(1000).group(3000).supplemental(&[4000]);
    let Compared { strict, merged } = pair.compare(world.old.cri(), &spec)?;
    let strict = strict.map_err(|reason| anyhow!("refused: {reason}; under Merge: {merged:?}"))?;
    ensure!((strict.uid, strict.gid) == (1000, 3000), "{strict}");
    ensure!(strict.groups() == [3000, 4000].into_iter().collect(), "{strict}, under Merge {merged:?}");
    // Some of these groups runc does not accept; under Strict it does not even see them.
    let read = merged.map_or(has_good, |merged| merged.groups().contains(&50000));
    ensure!(read == has_good, "under Merge the file was not read as expected");
    Ok(())
}
