//! Limit on the number of sessions in the process.
//!
//! Each session uses a file descriptor. Half of the process's limit of file descriptors is reserved for
//! connections. Of the other half, three quarters are shared by all sockets on a first-come, first-served
//! basis. One quarter is divided equally among the sockets. Therefore forged clients on one port cannot
//! exclude the clients of another port, even if the socket of the other port has no session to evict.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use nix::sys::resource::{Resource, getrlimit};

/// Limit on the sessions of all sockets together.
#[derive(Debug)]
pub(super) struct SessionQuota {
    open: AtomicUsize,
    sockets: AtomicUsize,
    /// Number of sessions in the part of the quota that all sockets share.
    shared: usize,
    /// Number of sessions in the part of the quota that is divided equally among the sockets.
    divided: usize,
}

/// Registers a socket with the quota until dropped.
#[derive(Debug)]
pub(super) struct SocketQuota(Arc<SessionQuota>);

/// Permission for one session. It is released when dropped.
#[derive(Debug)]
pub(super) struct QuotaPermit(Arc<SessionQuota>);

impl SessionQuota {
    pub(super) fn new(shared: usize, divided: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            sockets: AtomicUsize::new(0),
            shared,
            divided,
        })
    }

    /// The quota of the process, which follows from the limit of file descriptors.
    pub(super) fn of_process() -> Arc<Self> {
        static QUOTA: LazyLock<Arc<SessionQuota>> = LazyLock::new(|| {
            let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
            let eighth = usize::try_from(files / 8).unwrap_or(usize::MAX / 8);
            SessionQuota::new(eighth * 3, eighth)
        });
        QUOTA.clone()
    }

    /// Adds a socket.
    pub(super) fn add_socket(self: &Arc<Self>) -> SocketQuota {
        self.sockets.fetch_add(1, Relaxed);
        SocketQuota(self.clone())
    }
}

impl SocketQuota {
    /// Acquires a permit for another session of a socket that has `sessions` sessions. `None` if the shared
    /// part and the socket's own part are used up.
    ///
    /// Once the shared part is used up, no socket can exceed its own part. Therefore the total never exceeds
    /// the sum of both parts.
    pub(super) fn acquire(&self, sessions: usize) -> Option<QuotaPermit> {
        let quota = &self.0;
        let own = quota.divided / quota.sockets.load(Relaxed).max(1);
        let permit = QuotaPermit(quota.clone());
        // The counter is incremented even if no permit is returned, because dropping `permit` decrements it.
        let before = quota.open.fetch_add(1, Relaxed);
        (before < quota.shared || sessions < own).then_some(permit)
    }
}

impl Drop for SocketQuota {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Relaxed);
    }
}

impl Drop for QuotaPermit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Acquires all permits that are available to a socket with `had` sessions.
    fn fill(socket: &SocketQuota, had: usize) -> Vec<QuotaPermit> {
        (had..)
            .map_while(|sessions| socket.acquire(sessions))
            .collect()
    }

    #[test]
    fn a_socket_that_uses_up_the_shared_part_leaves_other_sockets_their_own() {
        let quota = SessionQuota::new(10, 6);
        let (greedy, late, later) = (quota.add_socket(), quota.add_socket(), quota.add_socket());

        let mut taken = fill(&greedy, 0);
        assert_eq!(taken.len(), 10);
        let of_late = fill(&late, 0);
        assert_eq!(of_late.len(), 2);
        assert_eq!(fill(&later, 0).len(), 2);

        // The greedy socket exceeds its own part, so it must close sessions before it can open more.
        taken.truncate(8);
        assert!(greedy.acquire(8).is_none());
        taken.truncate(7);
        assert!(greedy.acquire(7).is_some());
    }

    #[test]
    fn the_part_of_a_closed_socket_is_divided_among_the_others() {
        let quota = SessionQuota::new(0, 6);
        let (one, two) = (quota.add_socket(), quota.add_socket());
        assert_eq!(fill(&one, 0).len(), 3);

        drop(two);

        assert_eq!(fill(&one, 0).len(), 6);
        assert_eq!(quota.open.load(Relaxed), 0);
    }
}
