//! How the work for an input grows with it. Whoever writes the input must not make it grow faster.
//!
//! Measured is the time that this thread had on a processor, so that a busy machine changes little, and only ratios
//! within one run count, so that a slow machine changes nothing.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The input is made so many times longer.
const LONGER: usize = 4;

/// More than that for linear work is the noise of a machine; quadratic work takes 16 times as long.
const MOST: u32 = 9;

/// Too short to be measured.
const NOISE: Duration = Duration::from_millis(2);

/// No case of a fuzz target that is so short is looked at.
const SHORT: Duration = Duration::from_millis(250);

/// So many times the time of going through the bytes of a case once are enough for whatever is done with them.
const PASSES: u32 = 2000;

/// The processor time of `work`, the shortest of `times`.
fn time(times: u32, mut work: impl FnMut()) -> Duration {
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let once = |_| {
        let begin = now();
        work();
        now().saturating_sub(begin)
    };
    (0..times).map(once).min().unwrap()
}

/// Asserts that `work` is linear in an input of `length` bytes that `make` makes, and in one of four times as many.
pub fn assert_linear<T>(what: &str, length: usize, make: impl Fn(usize) -> T, work: impl Fn(&T)) {
    let measured = |length| {
        let input = make(length);
        time(3, || work(&input))
    };
    let (short, long) = (measured(length), measured(length * LONGER));
    assert!(
        long <= short.max(NOISE) * MOST,
        "{what}: {short:?} for {length} bytes, {long:?} for {LONGER} times as many"
    );
}

/// Does `work` with the input of a fuzz target, and asserts that it takes no longer than work that goes through it some
/// number of times. `length`: how many bytes that is, where the target makes more of the input.
pub fn in_time(data: &[u8], length: usize, work: impl Fn(&[u8])) {
    let taken = time(1, || work(data));
    if taken <= SHORT {
        return;
    }
    let once = time(3, || {
        let sum =
            data.iter().cycle().take(length).fold(0_u64, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte));
        std::hint::black_box(sum);
    });
    // Once more, since the first time may have been somebody else's fault.
    let taken = taken.min(time(2, || work(data)));
    assert!(taken <= SHORT + once * PASSES, "{taken:?} for {length} bytes, which take {once:?} to read");
}

/// `unit` so many times, up to `largest` bytes: what a fuzzer would never come to by itself.
#[must_use]
pub fn repeated(unit: &[u8], times: usize, largest: usize) -> Vec<u8> {
    unit.repeat(times.min(largest / unit.len().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quadratic(data: &[u8]) {
        let mut pairs = 0_usize;
        for byte in data {
            pairs += data.iter().map(|other| usize::from(other == byte)).sum::<usize>();
        }
        std::hint::black_box(pairs);
    }

    #[test]
    #[should_panic(expected = "times as many")]
    fn quadratic_work_is_found_by_its_growth() {
        assert_linear("quadratic", 2048, |length| vec![0; length], |data: &Vec<u8>| quadratic(data));
    }

    #[test]
    #[should_panic(expected = "to read")]
    fn quadratic_work_is_found_in_one_case() {
        in_time(&vec![0; 24 * 1024], 24 * 1024, quadratic);
    }
}
