//! The names that an image gives its groups, for log lines. They make a line
//! easier to read, no more: they are left out rather than waited for.
//!
//! An image's file may be slow or hang (FUSE, also below an overlay, where nothing
//! tells), and that must cost one thread at most. So one thread at a time reads them.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use hostfs::rootfs;
use strict_groups_core::groups;

/// How long a log line waits for its names.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Finds names. Clones share the one thread.
#[derive(Debug, Clone)]
pub(super) struct Names {
    reader: Arc<Semaphore>,
}

impl Default for Names {
    fn default() -> Self {
        Self { reader: Arc::new(Semaphore::new(1)) }
    }
}

impl Names {
    /// `gids` as a log line has them, with the names in the /etc/group that
    /// process `pid` sees, where they can be had in time: `44(video),1001`.
    pub(super) async fn beside(&self, pid: u32, gids: &[u32]) -> String {
        let names = timeout(TIMEOUT, self.read(pid, gids.to_vec())).await.ok().flatten();
        groups::list_with_names(gids, &names.unwrap_or_default())
    }

    /// The names, in the order of `gids`. The thread keeps its place in the queue when nobody waits for it any more.
    async fn read(&self, pid: u32, gids: Vec<u32>) -> Option<Vec<Option<String>>> {
        if gids.is_empty() {
            return None;
        }
        let turn = Arc::clone(&self.reader).acquire_owned().await.ok()?;
        let reading = tokio::task::spawn_blocking(move || {
            let names = in_image(pid, &gids);
            drop(turn);
            names
        });
        reading.await.ok().flatten()
    }
}

/// Names of `gids` in the /etc/group that process `pid` sees.
fn in_image(pid: u32, gids: &[u32]) -> Option<Vec<Option<String>>> {
    let root = rootfs::of_process(pid).ok()?;
    let file = rootfs::read(root, rootfs::GROUP_FILE).ok()??;
    Some(groups::names(&file, gids))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// The largest GID, which no system gives a name.
    const NOBODYS: u32 = 4_294_967_294;

    #[tokio::test]
    async fn names_are_left_out_when_the_reader_hangs() {
        let names = Names::default();
        let own = std::process::id();
        let hanging = Arc::clone(&names.reader).acquire_owned().await.unwrap();
        let begin = Instant::now();
        let (one, two) = tokio::join!(names.beside(own, &[0, NOBODYS]), names.beside(own, &[0]));
        assert_eq!((one.as_str(), two.as_str()), ("0,4294967294", "0"));
        assert!(begin.elapsed() >= TIMEOUT && begin.elapsed() < TIMEOUT * 20);
        drop(hanging);

        let (found, ended, none) = tokio::join!(
            names.beside(own, &[0, NOBODYS]),
            names.beside(u32::MAX >> 1, &[0]),
            names.beside(own, &[])
        );
        assert_eq!((found.as_str(), ended.as_str(), none.as_str()), ("0(root),4294967294", "0", ""));
    }

    #[test]
    fn names_are_read_from_the_roots_own_file() {
        let names = in_image(std::process::id(), &[0, NOBODYS]).unwrap();
        assert_eq!(names, vec![Some("root".to_owned()), None]);
    }
}
