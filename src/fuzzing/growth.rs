//! How the work for an input grows with it. Whoever writes the input must not make it grow faster.
//!
//! Measured is the time that this thread had on a processor, so that a busy machine changes little, and only ratios
//! within one run count, so that a slow machine changes nothing.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The input is made so many times longer.
const LONGER: u32 = 4;

/// More than that for linear work is the noise of a machine; quadratic work takes 16 times as long.
const MOST: u32 = 9;

/// Too short to be measured.
const NOISE: Duration = Duration::from_millis(2);

/// The processor time of `work`, the shortest of `times`.
pub(crate) fn time(times: u32, mut work: impl FnMut()) -> Duration {
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let once = |_| {
        let begin = now();
        work();
        now().saturating_sub(begin)
    };
    (0..times).map(once).min().unwrap()
}

/// Asserts that `work` is linear in an input of `length` bytes that `make` makes, and in one of four times as many.
#[cfg(test)]
pub(crate) fn assert_linear<T>(what: &str, length: usize, make: impl Fn(usize) -> T, work: impl Fn(&T)) {
    let measured = |length| {
        let input = make(length);
        time(3, || work(&input))
    };
    let (short, long) = (measured(length), measured(length * LONGER as usize));
    assert!(
        long <= short.max(NOISE) * MOST,
        "{what}: {short:?} for {length} bytes, {long:?} for {LONGER} times as many"
    );
}
