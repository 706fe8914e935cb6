//! How long something took.

use std::time::{Duration, Instant};

use super::Number;

/// Upper bounds in microseconds, with the text that Prometheus reads, in seconds. The runtime waits for 2 s.
pub(super) const BOUNDS: [(u64, &str); 12] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_000_000, "2"),
];

/// Counts by time.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// Those that took no longer than a bound, and longer than the one before.
    within: [Number; BOUNDS.len()],
    longer: Number,
    microseconds: Number,
}

impl Histogram {
    fn observe(&self, took: Duration) {
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let within = BOUNDS.iter().zip(&self.within);
        let bucket = within.filter(|((bound, _), _)| microseconds <= *bound).map(|(_, number)| number).next();
        bucket.unwrap_or(&self.longer).add(1);
        self.microseconds.add(microseconds);
    }

    /// For each bound its text and how many took no longer; how many there are; their sum in microseconds.
    pub(super) fn read(&self) -> (Vec<(&'static str, u64)>, u64, u64) {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BOUNDS.len());
        for ((_, bound), number) in BOUNDS.iter().zip(&self.within) {
            count += number.get();
            buckets.push((*bound, count));
        }
        (buckets, count + self.longer.get(), self.microseconds.get())
    }
}

/// Measures from its making until it is dropped, so also what is given up in between.
#[derive(Debug)]
pub struct Timer<'a> {
    histogram: Option<&'a Histogram>,
    begin: Instant,
}

impl<'a> Timer<'a> {
    pub(super) fn new(histogram: Option<&'a Histogram>) -> Self {
        Self { histogram, begin: Instant::now() }
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        if let Some(histogram) = self.histogram {
            histogram.observe(self.begin.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_belongs_to_its_own_bucket_and_all_above() {
        let histogram = Histogram::default();
        for microseconds in [100, 101, 2_000_000, 2_000_001] {
            histogram.observe(Duration::from_micros(microseconds));
        }
        let (buckets, count, sum) = histogram.read();
        assert_eq!(buckets.first(), Some(&("0.0001", 1)));
        assert_eq!(buckets.get(1), Some(&("0.00025", 2)));
        assert_eq!(buckets.last(), Some(&("2", 3)));
        assert_eq!((count, sum), (4, 4_000_202));
    }

    #[test]
    fn bounds_ascend_and_their_text_is_their_value() {
        assert!(BOUNDS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (microseconds, text) in BOUNDS {
            let seconds: f64 = text.parse().unwrap();
            assert!((seconds - Duration::from_micros(microseconds).as_secs_f64()).abs() < 1e-9, "{text}");
        }
    }

    #[test]
    fn what_is_dropped_in_between_was_measured() {
        let histogram = Histogram::default();
        drop(Timer::new(Some(&histogram)));
        assert_eq!(histogram.read().1, 1);
    }
}
