//! Record of a TCP connection or UDP session for the access log.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use tokio::time::Instant;

use super::copy::{CloseReason, CopyProgress};
use crate::access_log::Entry;
use crate::error::Error;
use crate::plan::ListenerId;

/// Log of TCP connections and UDP sessions.
pub trait StreamLog: Send + Sync + 'static {
    /// Logs a TCP or TLS connection, or a UDP session, of `listener`. It is called when the connection or
    /// session has ended.
    fn log_stream(&self, listener: &ListenerId, entry: &Entry);
}

/// Discards all records.
impl StreamLog for () {
    fn log_stream(&self, _listener: &ListenerId, _entry: &Entry) {}
}

/// Record of one connection or session. It is logged when dropped.
pub(crate) struct StreamRecord {
    log: Arc<dyn StreamLog>,
    listener: Arc<ListenerId>,
    started: Instant,
    /// Numbers of bytes transferred so far.
    pub(crate) progress: CopyProgress,
    pub(crate) entry: Box<Entry>,
}

impl StreamRecord {
    /// Creates a record that contains the listener and the addresses of the client connection.
    pub(crate) fn new(
        log: Arc<dyn StreamLog>,
        listener: Arc<ListenerId>,
        client: SocketAddr,
        local: SocketAddr,
        started: Instant,
    ) -> Self {
        let start = SystemTime::now();
        Self {
            log,
            listener,
            started,
            progress: CopyProgress::default(),
            entry: Box::new(Entry::begun(
                start.checked_sub(started.elapsed()).unwrap_or(start),
                local,
                client,
            )),
        }
    }

    /// Sets the response flags and details that Envoy uses for a connection without a backend.
    pub(crate) fn set_error(&mut self, error: &Error) {
        let (flags, details) = error.stream_outcome();
        self.entry.flags = flags.into();
        self.entry.details = details.into();
        self.entry.upstream_failure = error.upstream_failure().map(Cow::from);
    }

    /// Sets the response details that Envoy uses for a client that may not connect.
    pub(crate) fn set_denied(&mut self) {
        self.entry.details = "rbac_access_denied_matched_policy[DENY]".into();
    }

    /// Sets the response flags and details that Envoy uses for a proxied connection.
    pub(crate) fn set_close_reason(&mut self, reason: CloseReason) {
        let (flags, details) = match reason {
            CloseReason::Client => ("", "downstream_remote_disconnect"),
            CloseReason::Backend => ("", "upstream_remote_disconnect"),
            CloseReason::IdleTimeout => ("", "idle_timeout"),
            CloseReason::MaxDuration => ("DT", "max_duration"),
        };
        self.entry.flags = flags.into();
        self.entry.details = details.into();
    }
}

impl Drop for StreamRecord {
    fn drop(&mut self) {
        self.entry.duration = self.started.elapsed();
        self.entry.bytes_received = self.progress.received.load(Relaxed);
        self.entry.bytes_sent = self.progress.sent.load(Relaxed);
        self.log.log_stream(&self.listener, &self.entry);
    }
}
