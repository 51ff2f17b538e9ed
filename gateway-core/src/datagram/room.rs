//! How many sessions there may be.
//!
//! Each session needs a descriptor, and connections need half of those that the process may open. Of the
//! other half most are for whoever comes first. The rest is divided among the sockets: clients that are
//! invented at one port must not keep those of another out, whose socket has nothing to make room with.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use nix::sys::resource::{Resource, getrlimit};

/// Room for the sessions of all sockets.
#[derive(Debug)]
pub(super) struct Room {
    open: AtomicUsize,
    sockets: AtomicUsize,
    /// So many sessions may be open, whosever they are.
    shared: usize,
    /// Beyond that, so many more may be opened by sockets that have less than their part of it.
    divided: usize,
}

/// A socket's place in the room, given up when dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Room>);

/// A session's share of the room, given back when dropped.
#[derive(Debug)]
pub(super) struct Quota(Arc<Room>);

impl Room {
    pub(super) fn new(shared: usize, divided: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            sockets: AtomicUsize::new(0),
            shared,
            divided,
        })
    }

    /// That of the process.
    pub(super) fn of_process() -> Arc<Self> {
        static ROOM: LazyLock<Arc<Room>> = LazyLock::new(|| {
            let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
            let eighth = usize::try_from(files / 8).unwrap_or(usize::MAX / 8);
            Room::new(eighth * 3, eighth)
        });
        ROOM.clone()
    }

    pub(super) fn seat(self: &Arc<Self>) -> Seat {
        self.sockets.fetch_add(1, Relaxed);
        Seat(self.clone())
    }
}

impl Seat {
    /// Room for another session of a socket that has `sessions`. There is none if as many are open as may
    /// be, and the socket has its part.
    ///
    /// Once all that is shared is taken, no socket grows beyond its part, so that all of them together
    /// stay below the sum of both.
    pub(super) fn take(&self, sessions: usize) -> Option<Quota> {
        let room = &self.0;
        let part = room.divided / room.sockets.load(Relaxed).max(1);
        let quota = Quota(room.clone());
        // Counted even if it is one too many: what is dropped takes it back.
        let before = room.open.fetch_add(1, Relaxed);
        (before < room.shared || sessions < part).then_some(quota)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Relaxed);
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many sessions as a socket that has `had` gets.
    fn fill(seat: &Seat, had: usize) -> Vec<Quota> {
        (had..).map_while(|sessions| seat.take(sessions)).collect()
    }

    #[test]
    fn who_takes_all_that_is_shared_leaves_the_others_their_part() {
        let room = Room::new(10, 6);
        let (greedy, late, later) = (room.seat(), room.seat(), room.seat());

        let mut taken = fill(&greedy, 0);
        assert_eq!(taken.len(), 10);
        let of_late = fill(&late, 0);
        assert_eq!(of_late.len(), 2);
        assert_eq!(fill(&later, 0).len(), 2);

        // Over the limit the greedy one gives back first.
        taken.truncate(8);
        assert!(greedy.take(8).is_none());
        taken.truncate(7);
        assert!(greedy.take(7).is_some());
    }

    #[test]
    fn who_is_gone_leaves_its_part_to_the_others() {
        let room = Room::new(0, 6);
        let (one, two) = (room.seat(), room.seat());
        assert_eq!(fill(&one, 0).len(), 3);

        drop(two);

        assert_eq!(fill(&one, 0).len(), 6);
        assert_eq!(room.open.load(Relaxed), 0);
    }
}
