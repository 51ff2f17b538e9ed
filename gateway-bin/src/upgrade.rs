//! The upgrade of a running process. This process replaces the previous one, and the next process replaces
//! this one.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::Failure;
use crate::admin::Admin;
use crate::admin_servers::AdminServers;
use crate::args::RunArgs;
use crate::data_plane::DataPlane;
use crate::hand_over::{HandOver, HandOverEvent, Predecessor};

/// Both sides of `--hand-over`: the previous process and the next process. Both are absent without the flag.
#[derive(Default)]
pub(crate) struct Upgrade {
    /// The process that this process replaces. `None` once this process is ready.
    predecessor: Option<Predecessor>,
    hand_over: Option<HandOver>,
    published: bool,
}

impl Upgrade {
    /// Receives the sockets of the previous process, if there is one. Must be called within a runtime.
    ///
    /// # Errors
    /// If the previous process does not send its sockets, or the socket for the next process cannot be
    /// created.
    pub(crate) fn start(args: &RunArgs) -> Result<(Self, Vec<OwnedFd>), Failure> {
        let Some(path) = &args.hand_over else {
            return Ok((Self::default(), Vec::new()));
        };
        let hand_over = Some(HandOver::bind(path)?);
        let (predecessor, inherited) = match Predecessor::connect(path)? {
            Some((predecessor, sockets)) => (Some(predecessor), sockets),
            None => (None, Vec::new()),
        };
        let upgrade = Self {
            predecessor,
            hand_over,
            published: false,
        };
        Ok((upgrade, inherited))
    }

    /// Whether the previous process still serves.
    pub(crate) fn is_pending(&self) -> bool {
        self.predecessor.is_some()
    }

    /// If this process is ready, replaces the previous process and starts to listen for the next process.
    ///
    /// # Errors
    /// If the socket for the next process cannot be created, or the admin endpoints cannot be served. In that
    /// case the previous process continues.
    pub(crate) fn complete_if_ready(
        &mut self,
        admin: &Arc<Admin>,
        servers: &AdminServers,
    ) -> Result<(), Failure> {
        if self.published || !admin.is_ready() {
            return Ok(());
        }
        let Some(hand_over) = &self.hand_over else {
            return Ok(());
        };
        if self.predecessor.is_some() {
            servers.serve(admin)?;
        }
        // Published last, because the next process can connect from then on.
        hand_over.publish()?;
        self.published = true;
        let Some(predecessor) = self.predecessor.take() else {
            return Ok(());
        };
        match predecessor.release() {
            Ok(()) => tracing::info!("hand-over: this process serves; the previous process drains"),
            Err(error) => tracing::warn!(%error, "hand-over: the previous process has exited"),
        }
        Ok(())
    }

    /// Waits for the next event of the hand-over to the next process. Without the flag, it waits forever.
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> HandOverEvent {
        match &mut self.hand_over {
            Some(hand_over) => hand_over.next().await,
            None => std::future::pending().await,
        }
    }

    /// Handles `event`. Returns whether the next process now serves, so that this process must shut down.
    pub(crate) fn passes_on(
        &mut self,
        event: HandOverEvent,
        data_plane: &impl DataPlane,
        servers: &AdminServers,
    ) -> bool {
        let (HandOverEvent::Requested(stream), Some(hand_over)) = (event, &mut self.hand_over)
        else {
            tracing::info!("hand-over: the new process serves");
            servers.stop();
            data_plane.hand_over();
            return true;
        };
        let sockets = data_plane.duplicate_sockets().and_then(|mut sockets| {
            sockets.extend(servers.duplicates()?);
            Ok(sockets)
        });
        let sent = sockets.and_then(|sockets| hand_over.send(stream, &sockets));
        if let Err(error) = sent {
            tracing::error!(%error, "hand-over: the sockets cannot be sent; continuing");
        }
        false
    }
}
