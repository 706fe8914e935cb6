//! The result of a check, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::terminal_json;
use strict_groups_core::text;

/// The longest text of a finding, in bytes.
const LONGEST: usize = 600;

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    api_version: &'static str,
    kind: &'static str,
    /// Whether Strict holds on this node.
    pub verdict: Verdict,
    /// The runtime; None where it does not answer.
    pub runtime: Option<ContainerRuntime>,
    /// What was looked at.
    pub findings: Vec<Finding>,
}

/// The container runtime, as it names itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContainerRuntime {
    /// Such as `containerd`.
    pub name: String,
    /// Such as `1.7.24`.
    pub version: String,
    /// Whether it has Strict itself.
    pub native: bool,
}

/// Whether Strict holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// The runtime enforces the pod's field by itself.
    Native,
    /// strict-groups enforces it, and nothing that is needed is missing.
    Enforced,
    /// Something is missing.
    NotEnforced,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about, a fixed word.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What was seen, one line.
    pub text: String,
    /// The command or the line that mends it.
    pub mend: Option<String>,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum State {
    /// As it should be.
    Ok,
    /// Strict holds, but somebody should know this.
    Warning,
    /// Without it Strict does not hold.
    Missing,
}

impl Finding {
    /// As it should be.
    #[must_use]
    pub fn ok(check: &'static str, text: impl AsRef<str>) -> Self {
        Self::new(check, State::Ok, text.as_ref(), None)
    }

    /// To be known, and how to mend it.
    #[must_use]
    pub fn warning(check: &'static str, text: impl AsRef<str>, mend: impl AsRef<str>) -> Self {
        Self::new(check, State::Warning, text.as_ref(), Some(mend.as_ref()))
    }

    /// To be mended, and how.
    #[must_use]
    pub fn missing(check: &'static str, text: impl AsRef<str>, mend: impl AsRef<str>) -> Self {
        Self::new(check, State::Missing, text.as_ref(), Some(mend.as_ref()))
    }

    fn new(check: &'static str, state: State, text: &str, mend: Option<&str>) -> Self {
        let line = |line| text::one_line(line, LONGEST);
        Self { check, state, text: line(text), mend: mend.map(line) }
    }
}

impl Report {
    /// A report of these findings; the verdict follows from them.
    #[must_use]
    pub fn new(runtime: Option<ContainerRuntime>, findings: Vec<Finding>) -> Self {
        let verdict = if runtime.as_ref().is_some_and(|runtime| runtime.native) {
            Verdict::Native
        } else if findings.iter().any(|finding| finding.state == State::Missing) {
            Verdict::NotEnforced
        } else {
            Verdict::Enforced
        };
        Self { api_version: "strict-groups/v1", kind: "NodeCheck", verdict, runtime, findings }
    }

    /// The report as JSON, see `docs/check.schema.json`.
    ///
    /// # Errors
    /// None that can happen: what is in a report can be written.
    pub fn json(&self) -> serde_json::Result<String> {
        terminal_json::document(self)
    }

    /// The report as a table, with a line below each finding that can be mended, and the verdict last.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        for Finding { check, state, text, mend } in &self.findings {
            let state = match state {
                State::Ok => "ok",
                State::Warning => "warning",
                State::Missing => "MISSING",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{state:<8} {check:<13} {text}");
            if let Some(mend) = mend {
                let _ = writeln!(out, "{:<8} {:<13} -> {mend}", "", "");
            }
        }
        out.push_str(match self.verdict {
            Verdict::Native => "\nNative: the runtime enforces supplementalGroupsPolicy by itself.\n",
            Verdict::Enforced => {
                "\nEnforced: a Strict container is strict on this node, or does not start.\n"
            }
            Verdict::NotEnforced => "\nNOT ENFORCED: see what is missing above.\n",
        });
        out
    }
}
