//! Handlers and observers for connections of all protocols.

use std::fmt;
use std::sync::Arc;

use crate::observer::Observer;
use crate::stream::StreamLog;

/// Handlers and observers of accepted connections.
#[derive(Clone)]
pub struct Server<H> {
    /// Handler of HTTP requests.
    pub handler: H,
    /// Log of TCP connections and UDP sessions. `Arc::new(())` discards all entries.
    pub stream_log: Arc<dyn StreamLog>,
    /// Receiver of connection events.
    pub observer: Arc<dyn Observer>,
}

impl<H> fmt::Debug for Server<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}
