//! Waits for changes of folders.
//!
//! Folders are watched instead of files, because editors replace files and a mounted ConfigMap swaps a
//! symbolic link (`..data`). The parents of the folders are also watched, to detect that a folder is removed
//! and created again. A slow poll covers changes that the system does not report (network file systems, files
//! behind links). An event only triggers a reading, which determines whether anything differs.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

/// Quiet time after which a change is complete. Earlier, a file may be half written or about to be replaced.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Quiet time after an event that leaves a complete file.
const DEBOUNCE_COMPLETE: Duration = Duration::from_millis(10);
/// Longest debouncing of changes that follow each other without a pause.
const MAX_DEBOUNCE: Duration = Duration::from_millis(500);

/// Watches folders and files.
pub(crate) struct Watch {
    paths: Vec<PathBuf>,
    changed: Arc<Changed>,
    /// `None` if the system does not support watching. The poll then detects changes.
    watcher: Option<RecommendedWatcher>,
    /// The identity of each path when it was last watched.
    watched: Vec<Option<Identity>>,
    poll: Duration,
}

/// Device, inode and creation time of a folder. An inode number alone can be reused.
type Identity = (u64, u64, SystemTime);

impl Watch {
    /// Watches `paths`. [`Self::changed`] also returns after `poll` without an event.
    pub(crate) fn new(paths: &[PathBuf], poll: Duration) -> Self {
        let paths: Vec<PathBuf> = paths
            .iter()
            .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()))
            .collect();
        let changed = Arc::<Changed>::default();
        let watcher = watcher(paths.clone(), Arc::clone(&changed));
        if let Err(error) = &watcher {
            tracing::warn!(%error, ?poll, "file change notifications are unavailable; polling instead");
        }
        let mut watch = Self {
            paths,
            changed,
            watcher: watcher.ok(),
            watched: Vec::new(),
            poll,
        };
        watch.arm();
        watch
    }

    /// Watches the folders that exist now. Must be called before the files are read, so that no change is missed.
    pub(crate) fn arm(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let mut now: Vec<_> = self.paths.iter().map(|path| identity(path)).collect();
        let rescan = self.changed.rescan.swap(false, Ordering::Relaxed);
        // Unchanged folders are not watched again, because this is slow. The watcher itself adds new
        // subfolders.
        if !rescan && now == self.watched && now.iter().all(Option::is_some) {
            return;
        }
        // Parents are watched first. If a parent is also one of the paths, the recursive watch of the path is
        // added later and replaces the watch of the parent.
        for parent in self.paths.iter().filter_map(|path| path.parent()) {
            let _ = watcher.watch(parent, RecursiveMode::NonRecursive);
        }
        for (path, identity) in self.paths.iter().zip(&mut now) {
            // The system watches an inode, so a folder that was created again must be watched again.
            let _ = watcher.unwatch(path);
            if let Err(error) = watcher.watch(path, RecursiveMode::Recursive) {
                tracing::debug!(path = %path.display(), %error, "path cannot be watched");
                *identity = None;
            }
        }
        self.watched = now;
    }

    /// Waits for an event and the quiet time after it, or for the poll interval.
    pub(crate) async fn changed(&self) {
        tokio::select! {
            () = self.changed.notify.notified() => {}
            () = sleep(self.poll) => return,
        }
        let end = Instant::now() + MAX_DEBOUNCE;
        loop {
            let quiet = end.min(Instant::now() + self.changed.debounce());
            let more = timeout_at(quiet, self.changed.notify.notified()).await;
            if more.is_err() || Instant::now() >= end {
                return;
            }
        }
    }
}

/// Events of the watcher thread.
#[derive(Default)]
struct Changed {
    notify: Notify,
    /// Whether the last event left a complete file.
    complete: AtomicBool,
    /// Whether a folder may exist that is not watched.
    rescan: AtomicBool,
}

impl Changed {
    fn notify(&self, complete: bool) {
        self.complete.store(complete, Ordering::Relaxed);
        self.notify.notify_one();
    }

    /// The quiet time after the last event.
    fn debounce(&self) -> Duration {
        match self.complete.load(Ordering::Relaxed) {
            true => DEBOUNCE_COMPLETE,
            false => DEBOUNCE,
        }
    }
}

/// Identity of a folder. `None` if the path does not exist, is a link or a file, or has no creation time.
fn identity(path: &Path) -> Option<Identity> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    let born = meta.created().ok()?;
    meta.is_dir().then(|| (meta.dev(), meta.ino(), born))
}

/// Whether an event leaves a complete file: the file was moved into place, or closed after writing.
fn is_complete(kind: EventKind) -> bool {
    use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
    matches!(
        kind,
        EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
            | EventKind::Access(AccessKind::Close(AccessMode::Write))
    )
}

/// Whether there may be a folder that is not watched: events were lost, a link was created, or a watched path or one
/// of its parents was moved or removed and may exist again.
fn may_hide_folders(watched: &[PathBuf], event: &Event) -> bool {
    use notify::event::ModifyKind;
    let gone = matches!(
        event.kind,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    );
    let hides = |path: &PathBuf| {
        path.is_symlink() || (gone && watched.iter().any(|watched| watched.starts_with(path)))
    };
    event.need_rescan() || event.paths.iter().any(hides)
}

fn watcher(paths: Vec<PathBuf>, changed: Arc<Changed>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<Event>| {
        let complete = event.as_ref().is_ok_and(|event| is_complete(event.kind));
        let hides = |event| may_hide_folders(&paths, event);
        if event.as_ref().map_or(true, hides) {
            changed.rescan.store(true, Ordering::Relaxed);
        }
        let relevant = match &event {
            // Access events are ignored, because reading the files causes them.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) && !complete => false,
            Ok(event) => {
                event.need_rescan() || event.paths.iter().any(|path| concerns(&paths, path))
            }
            // Events were lost, so any file may have changed.
            Err(_) => true,
        };
        if relevant {
            changed.notify(complete);
        }
    })
}

/// Whether a change of `path` can affect a watched path: the path itself, an entry below it, a parent, or the hidden
/// sibling (`..data`) to which links of a mounted ConfigMap point.
fn concerns(watched: &[PathBuf], path: &Path) -> bool {
    watched.iter().any(|watched| {
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
        path.starts_with(watched)
            || watched.starts_with(path)
            || hidden && path.parent() == watched.parent()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Longer than any test, so that only the system can report a change.
    const NEVER: Duration = Duration::from_secs(3600);

    async fn noticed(watch: &Watch) {
        tokio::time::timeout(Duration::from_secs(20), watch.changed())
            .await
            .expect("an event");
    }

    #[tokio::test]
    async fn a_written_and_a_replaced_file_are_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut watch = Watch::new(&[folder.path().to_owned()], NEVER);

        fs::write(folder.path().join("a.yaml"), "a").expect("the file is written");
        noticed(&watch).await;
        watch.arm();
        fs::write(folder.path().join("b.tmp"), "b").expect("the file is written");
        noticed(&watch).await;
        fs::rename(folder.path().join("b.tmp"), folder.path().join("a.yaml")).expect("it is moved");
        noticed(&watch).await;
    }

    #[tokio::test]
    async fn a_swapped_link_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("..1")).expect("it is created");
        symlink("..1", folder.path().join("..data")).expect("it is created");
        let watch = Watch::new(&[folder.path().to_owned()], NEVER);

        symlink("..2", folder.path().join("..tmp")).expect("it is created");
        fs::rename(folder.path().join("..tmp"), folder.path().join("..data"))
            .expect("it is swapped");

        noticed(&watch).await;
    }

    #[tokio::test]
    async fn a_folder_that_is_created_again_is_noticed() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("manifests");
        fs::create_dir(&folder).expect("it is created");
        let mut watch = Watch::new(std::slice::from_ref(&folder), NEVER);

        fs::remove_dir(&folder).expect("it is removed");
        noticed(&watch).await;
        watch.arm();
        fs::create_dir(&folder).expect("it is created");
        noticed(&watch).await;
        watch.arm();
        fs::write(folder.join("a.yaml"), "a").expect("the file is written");
        noticed(&watch).await;
    }

    #[tokio::test]
    async fn new_subfolders_are_watched() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut watch = Watch::new(&[folder.path().to_owned()], NEVER);
        let new = folder.path().join("new");

        fs::create_dir(&new).expect("it is created");
        noticed(&watch).await;
        watch.arm();
        fs::write(new.join("a.yaml"), "a").expect("the file is written");
        noticed(&watch).await;
    }

    #[tokio::test]
    async fn folders_behind_new_links_are_watched() {
        let (folder, other) = (tempfile::tempdir(), tempfile::tempdir());
        let (folder, other) = (folder.expect("a folder"), other.expect("a folder"));
        let mut watch = Watch::new(&[folder.path().to_owned()], NEVER);

        symlink(other.path(), folder.path().join("link")).expect("it is created");
        noticed(&watch).await;
        watch.arm();
        fs::write(other.path().join("a.yaml"), "a").expect("the file is written");
        noticed(&watch).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_poll_interval_passes_without_an_event() {
        let folder = tempfile::tempdir().expect("a folder");
        let watch = Watch::new(&[folder.path().to_owned()], Duration::from_secs(30));
        let start = Instant::now();

        watch.changed().await;

        assert!(start.elapsed() >= Duration::from_secs(30));
    }

    fn watching_nothing() -> Watch {
        Watch {
            paths: Vec::new(),
            changed: Arc::default(),
            watcher: None,
            watched: Vec::new(),
            poll: NEVER,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_complete_file_has_a_shorter_quiet_time_than_one_being_written() {
        let watch = watching_nothing();
        for (changes, expected) in [
            (&[false][..], DEBOUNCE),
            (&[false, true], DEBOUNCE_COMPLETE),
            (&[true, false], DEBOUNCE),
        ] {
            let start = Instant::now();
            for complete in changes {
                watch.changed.notify(*complete);
            }

            watch.changed().await;

            assert_eq!(start.elapsed(), expected, "{changes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn changes_within_the_quiet_time_are_one_change() {
        let watch = watching_nothing();
        let changed = Arc::clone(&watch.changed);
        tokio::spawn(async move {
            for _ in 0..5 {
                changed.notify(false);
                sleep(Duration::from_millis(20)).await;
            }
        });
        let start = Instant::now();

        watch.changed().await;

        let waited = start.elapsed();
        assert!(
            waited >= Duration::from_millis(130) && waited < MAX_DEBOUNCE,
            "{waited:?}"
        );
    }

    #[test]
    fn sibling_folders_are_ignored() {
        let watched = [PathBuf::from("/etc/gw/manifests")];

        for (path, counts) in [
            ("/etc/gw/manifests/a/b.yaml", true),
            ("/etc/gw/manifests", true),
            ("/etc/gw", true),
            ("/etc/gw/..data", true),
            ("/etc/gw/other", false),
            ("/etc/gw/manifests2", false),
        ] {
            assert_eq!(concerns(&watched, Path::new(path)), counts, "{path}");
        }
    }
}
