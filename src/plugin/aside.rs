//! Work that is too long for the thread of the events.
//!
//! One thread serves the runtime's calls, and the container runtime goes on without a plugin that answers late. What
//! others can make long (a record of megabytes, 65,536 groups) is done in a thread for blocking work.

use std::panic::resume_unwind;

/// Bytes of JSON, or of a hook's arguments, that are read in about a tenth of a millisecond.
pub(super) const SHORT: usize = 64 * 1024;

/// Does `work` here if `size`, the length of what it reads, is short, else in another thread. Must be called inside a
/// tokio runtime.
pub(super) async fn run<T: Send + 'static>(size: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if size <= SHORT {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // Only while the process ends.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn long_work_leaves_the_thread() {
        let here = thread::current().id();
        assert_eq!(run(SHORT, || thread::current().id()).await, here);
        assert_ne!(run(SHORT + 1, || thread::current().id()).await, here);
    }
}
