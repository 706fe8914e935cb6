//! Whether this process was stopped for a while: then what is read first afterwards may have waited as long as that.

use std::time::Duration;

use tokio::time::Instant;

/// How often [`Awake::runs`] is to be called.
pub(super) const EVERY: Duration = Duration::from_millis(100);

/// A longer gap is no mere delay, and what comes so soon after it may have come within.
const GAP: Duration = Duration::from_millis(200);

/// When this process is known to have run.
#[derive(Debug)]
pub(super) struct Awake {
    last: Instant,
    /// The last gap: from, till.
    gap: Option<(Instant, Instant)>,
}

impl Awake {
    pub(super) fn new() -> Self {
        Self { last: Instant::now(), gap: None }
    }

    pub(super) fn runs(&mut self, now: Instant) {
        if now - self.last > GAP {
            self.gap = Some((self.last, now));
        }
        self.last = now;
    }

    /// Since when a message that is read at `now` may have waited.
    pub(super) fn came(&self, now: Instant) -> Instant {
        match self.gap {
            _ if now - self.last > GAP => self.last,
            Some((from, till)) if now - till < GAP => from,
            _ => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_counts_for_what_comes_right_after_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut awake = Awake { last: start, gap: None };
        assert_eq!(awake.came(at(150)), at(150));
        awake.runs(at(100));
        assert_eq!(awake.came(at(5000)), at(100), "read before the timer was");
        awake.runs(at(5000));
        assert_eq!(awake.came(at(5001)), at(100), "read after the timer was");
        awake.runs(at(5100));
        assert_eq!(awake.came(at(5300)), at(5300));
    }
}
