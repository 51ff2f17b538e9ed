//! Guards that count an open connection and report its end.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::balance::Cluster;
use crate::breaker::Slot;
use crate::observer::{Event, Observer};

/// The task that drives a connection. Dropping this value aborts the task.
pub(crate) struct ConnectionTask {
    task: JoinHandle<()>,
    guard: Option<UpstreamConnectionGuard>,
}

/// Counts an open connection until dropped.
pub(crate) struct UpstreamConnectionGuard {
    _slot: Slot,
    _close_notifier: CloseNotifier,
}

impl UpstreamConnectionGuard {
    pub(super) fn new(slot: Slot, close_notifier: CloseNotifier) -> Self {
        Self {
            _slot: slot,
            _close_notifier: close_notifier,
        }
    }
}

impl ConnectionTask {
    pub(super) fn new(task: JoinHandle<()>, slot: Slot, close_notifier: CloseNotifier) -> Self {
        Self {
            task,
            guard: Some(UpstreamConnectionGuard::new(slot, close_notifier)),
        }
    }

    /// Lets the task continue, because its connection has been upgraded. The connection is counted until the
    /// returned guard is dropped.
    pub(super) fn detach(mut self) -> Option<UpstreamConnectionGuard> {
        self.guard.take()
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        if self.guard.is_some() {
            self.task.abort();
        }
    }
}

/// Reports the end of a connection when dropped.
pub(super) struct CloseNotifier {
    pub(super) observer: Arc<dyn Observer>,
    pub(super) cluster: Arc<Cluster>,
}

impl Drop for CloseNotifier {
    fn drop(&mut self) {
        self.observer
            .observe(&Event::UpstreamClosed(self.cluster.id()));
    }
}
