//! Waits for changes of folders.
//!
//! Folders are watched, not files: editors replace files, and a mounted ConfigMap swaps a link
//! (`..data`). Their parents are watched, too, so that a folder that goes and comes back is seen. What the
//! system does not tell of (network file systems, files behind links) a slow poll finds. A change is only
//! a reason to look: whether something differs is for the reader to say.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

/// Changes this close to each other are one: a file may be half written, or taken away to be replaced.
const QUIET: Duration = Duration::from_millis(50);
/// The same after a change that leaves a whole file in its place: only others may still follow.
const SETTLED: Duration = Duration::from_millis(10);
/// Changes that never pause are looked at this often.
const LONGEST: Duration = Duration::from_millis(500);

/// Watches folders and files.
pub(crate) struct Watch {
    paths: Vec<PathBuf>,
    changed: Arc<Changed>,
    /// `None`: the system offers no watching, so only the poll is left.
    watcher: Option<RecommendedWatcher>,
    /// What each of the paths was when it was last watched.
    watched: Vec<Option<Identity>>,
    poll: Duration,
}

/// What tells a folder from another one of its name: its device, number and birth. The number alone may
/// be given again.
type Identity = (u64, u64, SystemTime);

impl Watch {
    /// Watches `paths`, and looks at them every `poll` in any case.
    pub(crate) fn new(paths: &[PathBuf], poll: Duration) -> Self {
        let paths: Vec<PathBuf> = paths
            .iter()
            .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()))
            .collect();
        let changed = Arc::<Changed>::default();
        let watcher = watcher(paths.clone(), Arc::clone(&changed));
        if let Err(error) = &watcher {
            tracing::warn!(%error, ?poll, "changes of files are not told by the system; they are polled");
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

    /// Watches what is there now. To be called before the files are read, so that no change is missed.
    pub(crate) fn arm(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let mut now: Vec<_> = self.paths.iter().map(|path| identity(path)).collect();
        let more = self.changed.more.swap(false, Ordering::Relaxed);
        // To watch all folders below again takes a while. New ones among them are watched as they come.
        if !more && now == self.watched && now.iter().all(Option::is_some) {
            return;
        }
        // Parents first: one of them may be a folder that is watched with all below it.
        for parent in self.paths.iter().filter_map(|path| path.parent()) {
            let _ = watcher.watch(parent, RecursiveMode::NonRecursive);
        }
        for (path, identity) in self.paths.iter().zip(&mut now) {
            // A folder that was removed and made again is another one for the system.
            let _ = watcher.unwatch(path);
            if let Err(error) = watcher.watch(path, RecursiveMode::Recursive) {
                tracing::debug!(path = %path.display(), %error, "not watched");
                *identity = None;
            }
        }
        self.watched = now;
    }

    /// Waits until something may have changed and it is quiet again.
    pub(crate) async fn changed(&self) {
        tokio::select! {
            () = self.changed.told.notified() => {}
            () = sleep(self.poll) => return,
        }
        let end = Instant::now() + LONGEST;
        loop {
            let quiet = end.min(Instant::now() + self.changed.quiet());
            let more = timeout_at(quiet, self.changed.told.notified()).await;
            if more.is_err() || Instant::now() >= end {
                return;
            }
        }
    }
}

/// What the watching thread tells.
#[derive(Default)]
struct Changed {
    told: Notify,
    /// The last change left a whole file in its place.
    whole: AtomicBool,
    /// There may be folders that are not watched.
    more: AtomicBool,
}

impl Changed {
    fn tell(&self, whole: bool) {
        self.whole.store(whole, Ordering::Relaxed);
        self.told.notify_one();
    }

    /// How long it must be quiet for the last change to be the last.
    fn quiet(&self) -> Duration {
        match self.whole.load(Ordering::Relaxed) {
            true => SETTLED,
            false => QUIET,
        }
    }
}

/// `None`: it is not there, or is a link or a file (which may be replaced), or nobody can tell.
fn identity(path: &Path) -> Option<Identity> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    let born = meta.created().ok()?;
    meta.is_dir().then(|| (meta.dev(), meta.ino(), born))
}

/// Whether a change leaves a whole file in its place: it was moved there, or whoever wrote it is done.
fn is_whole(kind: EventKind) -> bool {
    use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
    matches!(
        kind,
        EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
            | EventKind::Access(AccessKind::Close(AccessMode::Write))
    )
}

/// Whether there may be a folder that is not watched: changes were lost, there is a new link, or what is
/// watched, or something above it, was itself moved or removed, and may be back.
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
        let whole = event.as_ref().is_ok_and(|event| is_whole(event.kind));
        let hides = |event| may_hide_folders(&paths, event);
        if event.as_ref().map_or(true, hides) {
            changed.more.store(true, Ordering::Relaxed);
        }
        let relevant = match &event {
            // Reading the files is itself an event.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) && !whole => false,
            Ok(event) => {
                event.need_rescan() || event.paths.iter().any(|path| concerns(&paths, path))
            }
            // What was lost is unknown.
            Err(_) => true,
        };
        if relevant {
            changed.tell(whole);
        }
    })
}

/// Whether a change of `path` may be one of what is watched: it, something below it, something above it,
/// or the hidden neighbour that a link of a mounted ConfigMap leads through.
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

    /// Longer than a test may take, so that only the system can have told of a change.
    const NEVER: Duration = Duration::from_secs(3600);

    async fn noticed(watch: &Watch) {
        tokio::time::timeout(Duration::from_secs(20), watch.changed())
            .await
            .expect("the change is noticed");
    }

    #[tokio::test]
    async fn a_written_and_a_replaced_file_are_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut watch = Watch::new(&[folder.path().to_owned()], NEVER);

        fs::write(folder.path().join("a.yaml"), "a").expect("it is written");
        noticed(&watch).await;
        watch.arm();
        fs::write(folder.path().join("b.tmp"), "b").expect("it is written");
        noticed(&watch).await;
        fs::rename(folder.path().join("b.tmp"), folder.path().join("a.yaml")).expect("it is moved");
        noticed(&watch).await;
    }

    #[tokio::test]
    async fn a_swapped_link_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("..1")).expect("it is made");
        symlink("..1", folder.path().join("..data")).expect("it is made");
        let watch = Watch::new(&[folder.path().to_owned()], NEVER);

        symlink("..2", folder.path().join("..tmp")).expect("it is made");
        fs::rename(folder.path().join("..tmp"), folder.path().join("..data"))
            .expect("it is swapped");

        noticed(&watch).await;
    }

    #[tokio::test]
    async fn a_folder_that_goes_and_comes_back_is_noticed() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("manifests");
        fs::create_dir(&folder).expect("it is made");
        let mut watch = Watch::new(std::slice::from_ref(&folder), NEVER);

        fs::remove_dir(&folder).expect("it is removed");
        noticed(&watch).await;
        watch.arm();
        fs::create_dir(&folder).expect("it is made");
        noticed(&watch).await;
        watch.arm();
        fs::write(folder.join("a.yaml"), "a").expect("it is written");
        noticed(&watch).await;
    }

    #[tokio::test]
    async fn folders_that_come_later_are_watched_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut watch = Watch::new(&[folder.path().to_owned()], NEVER);
        let new = folder.path().join("new");

        fs::create_dir(&new).expect("it is made");
        noticed(&watch).await;
        watch.arm();
        fs::write(new.join("a.yaml"), "a").expect("it is written");
        noticed(&watch).await;
    }

    #[tokio::test]
    async fn folders_behind_links_that_come_later_are_watched_too() {
        let (folder, other) = (tempfile::tempdir(), tempfile::tempdir());
        let (folder, other) = (folder.expect("a folder"), other.expect("a folder"));
        let mut watch = Watch::new(&[folder.path().to_owned()], NEVER);

        symlink(other.path(), folder.path().join("link")).expect("it is made");
        noticed(&watch).await;
        watch.arm();
        fs::write(other.path().join("a.yaml"), "a").expect("it is written");
        noticed(&watch).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_poll_looks_in_any_case() {
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
    async fn a_whole_file_is_looked_at_sooner_than_one_that_is_being_written() {
        let watch = watching_nothing();
        for (changes, expected) in [
            (&[false][..], QUIET),
            (&[false, true], SETTLED),
            (&[true, false], QUIET),
        ] {
            let start = Instant::now();
            for whole in changes {
                watch.changed.tell(*whole);
            }

            watch.changed().await;

            assert_eq!(start.elapsed(), expected, "{changes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn changes_close_to_each_other_are_one() {
        let watch = watching_nothing();
        let changed = Arc::clone(&watch.changed);
        tokio::spawn(async move {
            for _ in 0..5 {
                changed.tell(false);
                sleep(Duration::from_millis(20)).await;
            }
        });
        let start = Instant::now();

        watch.changed().await;

        let waited = start.elapsed();
        assert!(
            waited >= Duration::from_millis(130) && waited < LONGEST,
            "{waited:?}"
        );
    }

    #[test]
    fn neighbours_do_not_count() {
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
