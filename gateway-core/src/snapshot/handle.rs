//! The current snapshot. Workers can read it without writing to shared memory.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::Snapshot;

/// Publishes the current [`Snapshot`].
///
/// Each worker caches a reference to the latest snapshot. A request increments the reference count of the
/// worker's own copy, so workers do not write to a shared cache line.
#[derive(Debug)]
pub struct SnapshotHandle {
    id: u64,
    version: AtomicU64,
    snapshot: ArcSwap<Snapshot>,
}

/// A worker's own reference to a snapshot.
pub type Current = Arc<Arc<Snapshot>>;

struct Seen {
    handle: u64,
    version: u64,
    current: Current,
}

thread_local! {
    static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

impl Default for SnapshotHandle {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            version: AtomicU64::new(0),
            snapshot: ArcSwap::default(),
        }
    }
}

impl SnapshotHandle {
    /// Makes `snapshot` the current snapshot and returns the previous snapshot.
    pub fn publish(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        let before = self.snapshot.swap(snapshot);
        self.version.fetch_add(1, Ordering::Release);
        before
    }

    /// Number of snapshots that have been published.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The current snapshot. Intended for threads other than workers, because the thread caches no reference
    /// to the snapshot.
    pub(super) fn load(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The current snapshot.
    pub fn current(&self) -> Current {
        let version = self.version();
        SEEN.with_borrow_mut(|seen| match seen {
            Some(seen) if seen.handle == self.id && seen.version == version => seen.current.clone(),
            _ => {
                let current = Arc::new(self.snapshot.load_full());
                *seen = Some(Seen {
                    handle: self.id,
                    version,
                    current: current.clone(),
                });
                current
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_snapshot_is_the_current_one_and_old_ones_live_as_long_as_they_are_used() {
        let handle = SnapshotHandle::default();
        let old = handle.current();

        handle.publish(Arc::new(Snapshot {
            ports: vec![None],
            ..Snapshot::default()
        }));

        assert_eq!(handle.current().ports.len(), 1);
        assert_eq!(old.ports.len(), 0);
        assert!(Arc::ptr_eq(&handle.current(), &handle.current()));
    }

    #[test]
    fn two_handles_on_one_thread_are_told_apart() {
        let (a, b) = (SnapshotHandle::default(), SnapshotHandle::default());
        b.publish(Arc::new(Snapshot {
            ports: vec![None, None],
            ..Snapshot::default()
        }));

        assert_eq!((a.current().ports.len(), b.current().ports.len()), (0, 2));
    }
}
