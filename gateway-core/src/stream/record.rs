//! What is told of a connection or a session when it is over.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use tokio::time::Instant;

use super::copy::{End, Progress};
use crate::access_log::Entry;
use crate::error::Error;
use crate::plan::ListenerId;
use crate::serve::Handler;

/// Tells a [`Handler`] what became of a connection, when it is dropped.
pub(crate) struct Record<H: Handler> {
    handler: H,
    listener: Arc<ListenerId>,
    started: Instant,
    /// What was copied so far.
    pub(crate) progress: Progress,
    pub(crate) entry: Box<Entry>,
}

impl<H: Handler> Record<H> {
    /// Nothing is known yet but the ends of the client's connection.
    pub(crate) fn new(
        handler: H,
        listener: Arc<ListenerId>,
        client: SocketAddr,
        local: SocketAddr,
        started: Instant,
    ) -> Self {
        let start = SystemTime::now();
        Self {
            handler,
            listener,
            started,
            progress: Progress::default(),
            entry: Box::new(Entry::begun(
                start.checked_sub(started.elapsed()).unwrap_or(start),
                local,
                client,
            )),
        }
    }

    /// Notes why it came to no backend, by Envoy's response flags.
    pub(crate) fn note_error(&mut self, error: &Error) {
        let (flags, details) = match error {
            Error::NoRoute => ("NR", "no_route"),
            Error::InvalidBackend | Error::InvalidShare => ("NC", "invalid_backend"),
            Error::NoEndpoint | Error::EmptyShare => ("UH", "no_endpoint"),
            Error::NoHealthyEndpoint => ("UH", "no_healthy_upstream"),
            Error::Overflow => ("UO", "overflow"),
            Error::ConnectTimeout(_) => ("UF,URX", "connection_timeout"),
            _ => ("UF,URX", "remote_connection_failure"),
        };
        self.entry.flags = flags.into();
        self.entry.details = details.into();
        self.entry.upstream_failure = error.upstream_failure().map(Cow::from);
    }

    /// Notes how it ended.
    pub(crate) fn note_end(&mut self, end: End) {
        let (flags, details) = match end {
            End::Client => ("", "downstream_remote_disconnect"),
            End::Backend => ("", "upstream_remote_disconnect"),
            End::Silence => ("", "idle_timeout"),
            End::Age => ("DT", "max_duration"),
        };
        self.entry.flags = flags.into();
        self.entry.details = details.into();
    }
}

impl<H: Handler> Drop for Record<H> {
    fn drop(&mut self) {
        self.entry.duration = self.started.elapsed();
        self.entry.bytes_received = self.progress.received.load(Relaxed);
        self.entry.bytes_sent = self.progress.sent.load(Relaxed);
        self.handler.note_stream(&self.listener, &self.entry);
    }
}
