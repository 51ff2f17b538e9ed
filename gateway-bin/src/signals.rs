//! Signals as futures.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the program handles.
pub(crate) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// The meaning of a signal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Request {
    /// SIGHUP: read all files again.
    Reload,
    /// SIGTERM or SIGINT: shut down.
    Shutdown,
}

impl Signals {
    /// Installs the handlers. Must be called within a runtime.
    ///
    /// # Errors
    /// If the system rejects a handler.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.hangup.recv() => Request::Reload,
            _ = self.terminate.recv() => Request::Shutdown,
            _ = self.interrupt.recv() => Request::Shutdown,
        }
    }

    /// Waits for the next request to shut down.
    pub(crate) async fn shutdown(&mut self) {
        while self.next().await != Request::Shutdown {}
    }
}
