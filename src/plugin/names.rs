//! The names that an image gives its groups, for log lines. They make a line
//! easier to read, no more: they are left out rather than waited for.
//!
//! An image's file may be slow or hang (FUSE, also below an overlay, where nothing
//! tells), and that must cost one thread at most. So one thread reads them, one
//! container after the other, and can log the lines itself: to hand the names
//! back is one more turn on the processor for each container.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::alarm::Alarm;
use crate::{groups, rootfs};

/// How long a log line waits for its names.
const PATIENCE: Duration = Duration::from_secs(1);

/// Finds names.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// Made when first needed.
    desk: Arc<Mutex<Option<Arc<Desk>>>>,
}

#[derive(Debug)]
struct Desk {
    queue: Mutex<Queue>,
    /// Set while somebody waits, for the time when the first one has waited for too long.
    alarm: Alarm,
}

#[derive(Debug, Default)]
struct Queue {
    /// In the order of their time; it is the first one that is being read for.
    waiting: VecDeque<Waiting>,
    /// Counts those who wait, who may leave while they are read for.
    next: u64,
    /// Whether the thread is at work.
    reading: bool,
}

/// Somebody who waits for names.
struct Waiting {
    number: u64,
    until: Instant,
    pid: u32,
    gids: Vec<u32>,
    then: Box<dyn FnOnce(String) + Send>,
}

impl Names {
    /// `gids` as a log line has them, with the names in the /etc/group that
    /// process `pid` sees, where they can be had in time: `44(video),1001`.
    pub(super) async fn beside(&self, pid: u32, gids: &[u32]) -> String {
        if gids.is_empty() {
            return String::new();
        }
        let (tell, told) = oneshot::channel();
        self.find(pid, gids.to_vec(), move |text| drop(tell.send(text)));
        told.await.unwrap_or_else(|_| groups::list_with_names(gids, &[]))
    }

    /// The same, and does `then` with it, in the thread that found the names. Must be called inside a tokio runtime.
    pub(super) fn find(&self, pid: u32, gids: Vec<u32>, then: impl FnOnce(String) + Send + 'static) {
        let waiting =
            Waiting { number: 0, until: Instant::now() + PATIENCE, pid, gids, then: Box::new(then) };
        let refused = match self.desk() {
            Ok(desk) => desk.admit(waiting),
            Err(error) => Err((waiting, error)),
        };
        if let Err((waiting, error)) = refused {
            tracing::debug!(%error, "the names of groups cannot be waited for");
            waiting.tell(&[]);
        }
    }

    fn desk(&self) -> io::Result<Arc<Desk>> {
        let mut desk = lock(&self.desk);
        if let Some(desk) = &*desk {
            return Ok(Arc::clone(desk));
        }
        let made = Arc::new(Desk { queue: Mutex::default(), alarm: Alarm::new()? });
        tokio::spawn(watch(Arc::clone(&made)));
        *desk = Some(Arc::clone(&made));
        Ok(made)
    }
}

impl Desk {
    fn admit(self: Arc<Self>, mut waiting: Waiting) -> Result<(), (Waiting, io::Error)> {
        let mut queue = lock(&self.queue);
        if queue.waiting.is_empty()
            && let Err(error) = self.alarm.set(PATIENCE)
        {
            return Err((waiting, error));
        }
        waiting.number = queue.next;
        queue.next = queue.next.wrapping_add(1);
        queue.waiting.push_back(waiting);
        if !std::mem::replace(&mut queue.reading, true) {
            drop(queue);
            tokio::task::spawn_blocking(move || self.read());
        }
        Ok(())
    }

    /// The thread: reads for one after the other until nobody is left.
    fn read(&self) {
        loop {
            let (number, pid, gids) = {
                let mut queue = lock(&self.queue);
                let Some(first) = queue.waiting.front() else {
                    queue.reading = false;
                    return;
                };
                (first.number, first.pid, first.gids.clone())
            };
            let names = in_image(pid, &gids).unwrap_or_default();
            if let Some(waiting) = self.take(number) {
                waiting.tell(&names);
            }
        }
    }

    /// The first one who waits, if it is this one: it may have given up meanwhile.
    fn take(&self, number: u64) -> Option<Waiting> {
        let mut queue = lock(&self.queue);
        if queue.waiting.front()?.number != number {
            return None;
        }
        let waiting = queue.waiting.pop_front()?;
        if queue.waiting.is_empty()
            && let Err(error) = self.alarm.stop()
        {
            tracing::debug!(%error, "the alarm rings in vain");
        }
        Some(waiting)
    }

    /// Does without names for those who have waited for too long.
    fn give_up(&self) -> io::Result<()> {
        loop {
            let mut queue = lock(&self.queue);
            let Some(first) = queue.waiting.front() else { return Ok(()) };
            let left = first.until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return self.alarm.set(left);
            }
            let waiting = queue.waiting.pop_front();
            drop(queue);
            if let Some(waiting) = waiting {
                waiting.tell(&[]);
            }
        }
    }
}

async fn watch(desk: Arc<Desk>) {
    loop {
        if let Err(error) = desk.alarm.rings().await.and_then(|()| desk.give_up()) {
            tracing::warn!(%error, "log lines may come late: they wait for the names of groups");
            return;
        }
    }
}

impl Waiting {
    fn tell(self, names: &[Option<String>]) {
        (self.then)(groups::list_with_names(&self.gids, names));
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {:?} of process {}", self.number, self.gids, self.pid)
    }
}

/// A panic elsewhere leaves nothing half done in here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names of `gids` in the /etc/group that process `pid` sees.
fn in_image(pid: u32, gids: &[u32]) -> Option<Vec<Option<String>>> {
    let root = rootfs::of_process(pid).ok()?;
    let file = rootfs::read(root, rootfs::GROUP_FILE).ok()??;
    Some(groups::names(&file, gids))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest GID, which no system gives a name.
    const NOBODYS: u32 = 4_294_967_294;

    #[tokio::test]
    async fn they_come_in_time_or_are_left_out() {
        let names = Names::default();
        let desk = names.desk().unwrap();
        let own = std::process::id();
        // As if the thread hung: nobody reads.
        lock(&desk.queue).reading = true;
        let begin = Instant::now();
        let (one, two) = tokio::join!(names.beside(own, &[0, NOBODYS]), names.beside(own, &[0]));
        assert_eq!((one.as_str(), two.as_str()), ("0,4294967294", "0"));
        assert!(begin.elapsed() >= PATIENCE && begin.elapsed() < PATIENCE * 20);
        assert!(desk.take(0).is_none(), "who gave up is told nothing more");
        lock(&desk.queue).reading = false;

        let (found, ended, none) = tokio::join!(
            names.beside(own, &[0, NOBODYS]),
            names.beside(u32::MAX >> 1, &[0]),
            names.beside(own, &[])
        );
        assert_eq!((found.as_str(), ended.as_str(), none.as_str()), ("0(root),4294967294", "0", ""));
        assert!(lock(&desk.queue).waiting.is_empty());
    }

    #[test]
    fn names_are_read_from_the_roots_own_file() {
        let names = in_image(std::process::id(), &[0, NOBODYS]).unwrap();
        assert_eq!(names, vec![Some("root".to_owned()), None]);
    }
}
