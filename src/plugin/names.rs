//! The names that an image gives its groups, for log lines.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{groups, rootfs};

/// The names of removed groups make a log line easier to read, no more: they
/// are left out rather than waited for.
const WAIT_FOR_NAMES: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(super) struct Names {
    /// One reader at a time: an image's file may be slow or hang (FUSE), and
    /// that must cost one thread at most.
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
        if gids.is_empty() {
            return String::new();
        }
        let (permit, wanted) = (Arc::clone(&self.reader).acquire_owned(), gids.to_vec());
        let names = tokio::time::timeout(WAIT_FOR_NAMES, async move {
            let permit = permit.await.ok()?;
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                in_image(pid, &wanted)
            })
            .await
            .ok()?
        });
        with_names(gids, &names.await.ok().flatten().unwrap_or_default())
    }
}

fn with_names(gids: &[u32], names: &[Option<String>]) -> String {
    gids.iter()
        .enumerate()
        .map(|(place, gid)| match names.get(place) {
            Some(Some(name)) => format!("{gid}({name})"),
            _ => gid.to_string(),
        })
        .collect::<Vec<_>>()
        .join(",")
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

    #[test]
    fn names_stand_behind_their_groups() {
        assert_eq!(with_names(&[5, 6, 7], &[None, Some("video".into())]), "5,6(video),7");
    }

    #[test]
    fn names_are_read_from_the_roots_own_file() {
        let names = in_image(std::process::id(), &[0, 4_294_967_294]).unwrap();
        assert_eq!(names, vec![Some("root".to_owned()), None]);
    }
}
