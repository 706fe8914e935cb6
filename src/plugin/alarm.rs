//! A timer that another thread may stop without waking anybody (`timerfd_create(2)`).
//! One of tokio's can only be stopped by its own task, and may wake the process
//! twice before it is due.

use std::{io, os::fd::AsFd, time::Duration};

use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use tokio::net::unix::pipe::Receiver;

#[derive(Debug)]
pub(super) struct Alarm {
    timer: TimerFd,
    /// The same timer, which is read from like a pipe.
    bell: Receiver,
}

impl Alarm {
    /// One that is not set. Must be called inside a tokio runtime.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let bell = Receiver::from_owned_fd_unchecked(timer.as_fd().try_clone_to_owned()?)?;
        Ok(Self { timer, bell })
    }

    /// Rings once, after this time, in place of what was set before.
    pub(super) fn set(&self, after: Duration) -> io::Result<()> {
        // Zero would mean never.
        let after = TimeSpec::from_duration(after.max(Duration::from_millis(1)));
        Ok(self.timer.set(Expiration::OneShot(after), TimerSetTimeFlags::empty())?)
    }

    pub(super) fn stop(&self) -> io::Result<()> {
        Ok(self.timer.unset()?)
    }

    /// Waits until it rings.
    pub(super) async fn rings(&self) -> io::Result<()> {
        loop {
            self.bell.readable().await?;
            // How often it rang, which is once. A stopped one says that there is nothing.
            match self.bell.try_read(&mut [0; size_of::<u64>()]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result.map(drop),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn it_rings_unless_it_was_stopped() {
        let alarm = Alarm::new().unwrap();
        for _ in 0..2 {
            alarm.set(Duration::ZERO).unwrap();
            timeout(Duration::from_secs(20), alarm.rings()).await.unwrap().unwrap();
        }
        alarm.set(Duration::from_millis(10)).unwrap();
        alarm.stop().unwrap();
        assert!(timeout(Duration::from_millis(50), alarm.rings()).await.is_err());
        // Also when it rang, and nobody heard it yet.
        alarm.set(Duration::ZERO).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        alarm.stop().unwrap();
        assert!(timeout(Duration::from_millis(50), alarm.rings()).await.is_err());
    }
}
