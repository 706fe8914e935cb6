//! Medians, and how far they can be trusted.

/// Measurements of one thing, in any unit.
pub struct Sample(Vec<f64>);

impl Sample {
    /// `values`: at least one, all of them numbers.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// The interval that holds the true median with 95 %, by order statistics:
    /// it assumes nothing about how the values are spread.
    pub fn median_interval(&self) -> (f64, f64) {
        #[allow(clippy::cast_precision_loss, reason = "thousands of values at most")]
        let margin = 0.98 / (self.0.len() as f64).sqrt();
        (self.at(0.5 - margin), self.at(0.5 + margin))
    }

    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of an index is an index"
    )]
    fn at(&self, share: f64) -> f64 {
        let last = (self.0.len() - 1) as f64;
        self.0[(share.clamp(0.0, 1.0) * last).round() as usize]
    }
}

/// The differences of pairs, first minus second.
pub fn differences(first: &[f64], second: &[f64]) -> Sample {
    Sample::new(first.iter().zip(second).map(|(first, second)| first - second).collect())
}
