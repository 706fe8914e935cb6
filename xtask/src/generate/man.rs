//! Manual pages: what clap knows, and the sections that it does not.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

/// What a page says beside clap's sections.
struct More {
    /// The page's name.
    page: &'static str,
    /// A command line, and what it does.
    examples: &'static [(&'static str, &'static str)],
    /// Exit statuses other than those of all commands.
    exit: &'static [(&'static str, &'static str)],
    files: &'static [&'static str],
    environment: &'static [&'static str],
}

const EXIT: [(&str, &str); 3] =
    [("0", "Done."), ("1", "Refused, failed, or not enforced."), ("2", "Wrong usage of the command line.")];

const CONFIGURATION: &str = "/etc/strict-groups/config.toml";
const CONTAINERD: &str = "/run/containerd/containerd.sock";
const CRIO: &str = "/run/crio/crio.sock";
const NRI: &str = "/var/run/nri/nri.sock";
const HEALTH: &str = "/run/strict-groups/health";
const REQUESTS: &str = "/run/strict-groups/requests";
const OCI_RUNTIMES: &str = "/run/strict-groups/oci-runtimes";

const FILES: [(&str, &str); 12] = [
    (CONFIGURATION, "The node's configuration, strict-groups.toml(5)."),
    (CONTAINERD, "containerd's socket, for CRI calls and its own API."),
    (CRIO, "CRI-O's socket."),
    (NRI, "The container runtime's NRI socket."),
    (HEALTH, "The plugin's sign of life, written by \"plugin --health-file\"."),
    (REQUESTS, "One file for each CRI request that the CRI proxy handles, read by the plugin."),
    ("/run/strict-groups-cri/cri.sock", "The CRI proxy's own socket, for the kubelet."),
    ("/etc/containerd/config.toml", "containerd's configuration, whose imports name the drop-in."),
    ("/etc/crio/crio.conf", "CRI-O's configuration."),
    ("/etc/crio/crio.conf.d", "CRI-O's drop-ins."),
    ("/etc/containers/oci/hooks.d", "The static gate's hook file."),
    (OCI_RUNTIMES, "Which OCI runtimes look groups up by name, one file for each binary."),
];

const ENVIRONMENT: [(&str, &str); 7] = [
    ("RUST_LOG", "A log filter, such as \"debug\" or \"nri_plugin=trace,info\". It overrides --log-level."),
    ("NO_COLOR", "If not empty, the table has no colours."),
    ("PATH", "Where containerd, ctr and OCI runtimes without a path are looked up."),
    ("XDG_RUNTIME_DIR", "Where crun keeps its state, if its call has no --root."),
    ("NRI_PLUGIN_SOCKET", "Set by a container runtime that starts the plugin itself."),
    ("NOTIFY_SOCKET", "Set by systemd, with WATCHDOG_USEC and LISTEN_FDS: readiness, watchdog, socket."),
    ("JOURNAL_STREAM", "Set by systemd: log lines go to the journal with their fields."),
];

const PAGES: &[More] = &[
    More {
        page: "strict-groups",
        examples: &[
            ("strict-groups check", "Report whether Strict is enforced on this node."),
            (
                "strict-groups list --violations",
                "List the containers that hold groups that they must not have.",
            ),
        ],
        exit: &[],
        files: &[CONFIGURATION],
        environment: &["RUST_LOG"],
    },
    More {
        page: "strict-groups-check",
        examples: &[
            ("strict-groups check -o json | jq -r .verdict", "Print the verdict alone."),
            ("strict-groups check --config new.toml", "Validate a configuration before it is used."),
        ],
        exit: &[("0", "Strict is enforced or native, or the file of --config is valid.")],
        files: &[CONFIGURATION, CONTAINERD, CRIO, NRI, HEALTH],
        environment: &[],
    },
    More {
        page: "strict-groups-list",
        examples: &[
            ("strict-groups list -n shop", "List the containers of one namespace."),
            (
                "strict-groups list --violations",
                "Exit with 1 if a container holds groups that it must not have.",
            ),
        ],
        exit: &[("1", "Failed; with --violations also if there is one.")],
        files: &[CONFIGURATION, CONTAINERD, CRIO],
        environment: &["NO_COLOR"],
    },
    More {
        page: "strict-groups-config",
        examples: &[("strict-groups config containerd", "Print containerd's drop-in.")],
        exit: &[],
        files: &[CONFIGURATION],
        environment: &[],
    },
    More {
        page: "strict-groups-config-containerd",
        examples: &[
            (
                "strict-groups config containerd --diff /etc/containerd/conf.d",
                "Print what --write would change.",
            ),
            (
                "strict-groups config containerd --write /etc/containerd/conf.d",
                "Set up NRI and the static gate.",
            ),
            (
                "strict-groups config containerd --write /etc/containerd/conf.d --wrapper",
                "Set up the OCI runtime wrapper instead.",
            ),
        ],
        exit: &[(
            "1",
            "Failed; with --diff also if there is a difference, with --remove while files are needed.",
        )],
        files: &[CONFIGURATION, "/etc/containerd/config.toml"],
        environment: &["PATH"],
    },
    More {
        page: "strict-groups-config-crio",
        examples: &[(
            "strict-groups config crio --write /etc/crio/crio.conf.d && systemctl restart crio",
            "Set up the OCI runtime wrapper, NRI and the static gate.",
        )],
        exit: &[("1", "Failed; with --diff also if there is a difference.")],
        files: &[
            CONFIGURATION,
            "/etc/crio/crio.conf",
            "/etc/crio/crio.conf.d",
            "/etc/containers/oci/hooks.d",
        ],
        environment: &[],
    },
    More {
        page: "strict-groups-plugin",
        examples: &[(
            "strict-groups plugin --health-file /run/strict-groups/health --metrics-address 127.0.0.1:9880",
            "Run the plugin with a sign of life and metrics.",
        )],
        exit: &[("0", "Ended by SIGTERM or SIGINT.")],
        files: &[CONFIGURATION, NRI, CONTAINERD, REQUESTS],
        environment: &["RUST_LOG", "NRI_PLUGIN_SOCKET", "NOTIFY_SOCKET", "JOURNAL_STREAM"],
    },
    More {
        page: "strict-groups-cri-proxy",
        examples: &[(
            "strict-groups cri-proxy --runtime-endpoint /run/crio/crio.sock",
            "Run the proxy before CRI-O.",
        )],
        exit: &[("0", "Ended by SIGTERM or SIGINT.")],
        files: &["/run/strict-groups-cri/cri.sock", CONTAINERD, HEALTH, REQUESTS],
        environment: &["RUST_LOG", "NOTIFY_SOCKET", "JOURNAL_STREAM"],
    },
    More {
        page: "strict-groups-hook",
        examples: &[(
            "strict-groups hook --gate=static --runtime=containerd",
            "The static gate, as the container runtime's configuration has it.",
        )],
        exit: &[("0", "The container may start."), ("1", "It is refused. The reason is on standard error.")],
        files: &[CONFIGURATION, OCI_RUNTIMES],
        environment: &[],
    },
    More {
        page: "strict-groups-runtime",
        examples: &[(
            "podman --runtime /usr/bin/strict-groups-runtime run --rm IMAGE id",
            "Run a container through the wrapper.",
        )],
        exit: &[("1", "Refused. Else the exit status is that of the underlying OCI runtime.")],
        files: &[CONFIGURATION, CONTAINERD, OCI_RUNTIMES],
        environment: &["PATH", "XDG_RUNTIME_DIR"],
    },
    More {
        page: "strict-groups-install",
        examples: &[("strict-groups install --to /opt/strict-groups", "Copy the binary to the node.")],
        exit: &[],
        files: &[CONFIGURATION],
        environment: &[],
    },
    More {
        page: "strict-groups-probe",
        examples: &[(
            "strict-groups probe --health-file /run/strict-groups/health --ready",
            "Report whether the plugin is registered.",
        )],
        exit: &[("0", "The plugin is alive; with --ready also registered.")],
        files: &[HEALTH],
        environment: &[],
    },
];

/// Writes the page of `command`, and those of the commands below it.
pub(super) fn write(command: &Command, folder: &Path) -> Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write(below, folder)?;
    }
    let page = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let more = PAGES.iter().find(|more| more.page == page);
    let more = more.with_context(|| format!("xtask/src/generate/man.rs has nothing of {page}"))?;
    let man = Man::new(command.clone());
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut out)?;
    }
    more.sections().to_writer(&mut out)?;
    let path = folder.join(format!("{page}.1"));
    fs::write(&path, out).with_context(|| format!("cannot write {}", path.display()))
}

impl More {
    fn sections(&self) -> Roff {
        let mut roff = Roff::new();
        let exit = EXIT.map(|(status, text)| {
            let own = self.exit.iter().find(|(own, _)| *own == status);
            (status, own.map_or(text, |(_, text)| text))
        });
        list(&mut roff, "EXAMPLES", self.examples);
        list(&mut roff, "EXIT STATUS", &exit);
        list(&mut roff, "FILES", &Self::of(self.files, &FILES));
        list(&mut roff, "ENVIRONMENT", &Self::of(self.environment, &ENVIRONMENT));
        roff.control("SH", ["SEE ALSO"]);
        roff.text([bold("strict-groups"), roman("(1), "), bold("strict-groups.toml"), roman("(5)")]);
        roff
    }

    /// The names with what is said of them.
    fn of(names: &[&'static str], all: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        let text = |name| all.iter().find(|(other, _)| *other == name).map_or("", |(_, text)| text);
        names.iter().map(|name| (*name, text(*name))).collect()
    }
}

fn list(roff: &mut Roff, section: &str, entries: &[(&str, &str)]) {
    if entries.is_empty() {
        return;
    }
    roff.control("SH", [section]);
    for (name, text) in entries {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*text)]);
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use strict_groups::cli::Cli;

    use super::*;

    #[test]
    fn every_page_has_its_sections_and_no_empty_entry() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Cli::command().name("strict-groups").disable_help_subcommand(true);
        command.build();
        write(&command, dir.path()).unwrap();
        for more in PAGES {
            let text = fs::read_to_string(dir.path().join(format!("{}.1", more.page))).unwrap();
            for section in ["NAME", "SYNOPSIS", "EXAMPLES", "\"EXIT STATUS\"", "FILES", "\"SEE ALSO\""] {
                assert!(text.contains(&format!(".SH {section}\n")), "{}: {section}", more.page);
            }
            let said = More::of(more.files, &FILES).into_iter();
            for (name, text) in said.chain(More::of(more.environment, &ENVIRONMENT)) {
                assert!(!text.is_empty(), "{}: {name}", more.page);
            }
        }
    }

    #[test]
    fn examples_are_legal_command_lines() {
        for (example, _) in PAGES.iter().flat_map(|more| more.examples) {
            let words: Vec<&str> =
                example.split(' ').take_while(|word| !["|", "||", "&&"].contains(word)).collect();
            // The wrapper's command line is that of an OCI runtime.
            if words[0] == "strict-groups" {
                assert!(Cli::try_parse_from(&words).is_ok(), "{example}");
            }
        }
    }
}
