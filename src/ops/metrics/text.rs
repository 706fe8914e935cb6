//! Prometheus' text exposition format, version 0.0.4, as far as it is needed here.

use std::fmt::{self, Write};

use super::{Family, Number, histogram::Histogram, labels::Label};

/// What a metric is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// The text, as it grows. Names and labels are our own, so nothing has to be escaped; to write to a String cannot fail.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// A metric without labels.
    pub(super) fn one(&mut self, kind: Kind, name: &str, help: &str, value: u64) {
        self.head(kind.as_str(), name, help);
        self.line(format_args!("{name} {value}"));
    }

    /// One that says something by its labels alone.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &str) {
        self.head("gauge", name, help);
        self.line(format_args!("{name}{{{labels}}} 1"));
    }

    /// A counter for each value of a label.
    pub(super) fn family<L: Label>(&mut self, name: &str, help: &str, family: &Family<L, Number>) {
        self.head("counter", name, help);
        for (label, number) in &family.0 {
            self.line(format_args!("{name}{{{}}} {}", label.text(), number.get()));
        }
    }

    /// A histogram of seconds for each value of a label.
    pub(super) fn histograms<L: Label>(&mut self, name: &str, help: &str, family: &Family<L, Histogram>) {
        self.head("histogram", name, help);
        for (label, histogram) in &family.0 {
            let label = label.text();
            let (buckets, count, microseconds) = histogram.read();
            for (bound, number) in buckets {
                self.line(format_args!("{name}_bucket{{{label},le=\"{bound}\"}} {number}"));
            }
            self.line(format_args!("{name}_bucket{{{label},le=\"+Inf\"}} {count}"));
            let (seconds, rest) = (microseconds / 1_000_000, microseconds % 1_000_000);
            self.line(format_args!("{name}_sum{{{label}}} {seconds}.{rest:06}"));
            self.line(format_args!("{name}_count{{{label}}} {count}"));
        }
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }

    fn head(&mut self, kind: &str, name: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(line);
        self.0.push('\n');
    }
}
