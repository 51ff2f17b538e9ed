//! Detection of unchanged files by their metadata.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Resolution of the coarsest file system clock, that of FAT. A file can change twice within one tick. If it
/// is read between the two changes, the second change does not alter the change time of the file.
const TICK: Duration = Duration::from_secs(2);

/// State of a file, for comparison with a later state. Programs cannot set the change time (`ctime`), so a
/// change of the file alters it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileState {
    file: (u64, u64),
    size: u64,
    changed: (i64, i64),
    settled: bool,
}

impl FileState {
    /// Returns the state of a file that is read at `now`.
    pub(super) fn read(meta: &Metadata, now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = u64::try_from(meta.ctime()).map(Duration::from_secs);
        let settled = changed.is_ok_and(|changed| changed + TICK + Duration::from_secs(1) < since);
        Self {
            settled,
            ..Self::of(meta)
        }
    }

    /// Returns the current state of a file, to be compared with the state at the last reading.
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            file: (meta.dev(), meta.ino()),
            size: meta.size(),
            changed: (meta.ctime(), meta.ctime_nsec()),
            settled: false,
        }
    }

    /// Whether the file had not changed for more than one tick when it was read. Any later change then alters
    /// the state.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }
}

impl PartialEq for FileState {
    fn eq(&self, other: &Self) -> bool {
        (self.file, self.size, self.changed) == (other.file, other.size, other.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_just_written_is_not_settled() {
        let path = std::env::temp_dir().join(format!("towergate-{}-stamp", std::process::id()));
        std::fs::write(&path, "a").expect("it is written");
        let meta = std::fs::metadata(&path).expect("it is there");
        std::fs::remove_file(&path).expect("it is removed");
        let now = SystemTime::now();

        assert!(!FileState::read(&meta, now).is_settled());
        assert!(FileState::read(&meta, now + 2 * TICK).is_settled());
        assert_eq!(FileState::of(&meta), FileState::read(&meta, now));
    }
}
