//! Tunnels to a backend: after an upgrade, or after a CONNECT request that the gateway terminates.

use std::fmt;
use std::time::Duration;

use http::Response;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::attempt::{Forwarding, wait_for_addresses};
use super::forward::Forwarded;
use super::outlier::{self, Outcome};
use crate::Body;
use crate::balance::InFlightGuard;
use crate::breaker::Permit;
use crate::error::Error;
use crate::serve::upgrade::{CopyOutcome, tunnel_to, tunnel_until};
use crate::upstream::{ConnectTarget, RequestPermits, TunnelConnection, UpstreamIo};

/// Backend side of an upgraded connection.
#[derive(Debug)]
pub struct Tunnel {
    /// The byte stream, including bytes that were already read.
    pub(crate) io: TunnelIo,
    /// Time at which the tunnel is closed.
    pub deadline: Option<Instant>,
    /// Counts the tunnel. The guard must be held as long as the tunnel is open.
    pub guard: TunnelGuard,
}

impl Tunnel {
    /// Copies bytes between `client` and the backend until the tunnel is closed by a peer, has been idle for
    /// `idle`, or reaches `deadline`. Must be spawned: the client's side becomes available only after the
    /// response is sent.
    pub async fn copy(
        self,
        client: OnUpgrade,
        idle: Option<Duration>,
        deadline: Option<Instant>,
    ) -> CopyOutcome {
        let outcome = match self.io {
            TunnelIo::Upgrade(backend) => tunnel_until(client, backend, idle, deadline).await,
            TunnelIo::Connected(backend) => tunnel_to(client, backend, idle, deadline).await,
        };
        drop(self.guard);
        outcome
    }
}

/// Byte stream of a tunnel.
pub(crate) enum TunnelIo {
    /// Stream of an HTTP connection that becomes a tunnel with the response.
    Upgrade(OnUpgrade),
    /// Stream of a connection that was opened for this tunnel.
    Connected(UpstreamIo),
}

impl fmt::Debug for TunnelIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelIo").finish_non_exhaustive()
    }
}

/// Counts an open tunnel until dropped.
pub struct TunnelGuard(
    #[allow(dead_code, reason = "held until it is dropped")] pub(super) RequestPermits,
    #[allow(dead_code, reason = "held until it is dropped")] pub(super) Option<TunnelConnection>,
);

impl fmt::Debug for TunnelGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelGuard").finish_non_exhaustive()
    }
}

impl Forwarding<'_> {
    /// Connects to an endpoint for a CONNECT request that the gateway terminates. A failed attempt is not repeated: the
    /// client must send the request again.
    pub(super) async fn open_tunnel(&mut self, permit: Permit) -> Result<Forwarded, Error> {
        let start = Instant::now();
        self.attempts += 1;
        let host = self.host.clone();
        let route = host.as_ref().map_or(self.picked.route, |host| &host.route);
        let forwarder = self.picked.forwarder;
        if route.cluster.is_unanswered() {
            let limit = forwarder.backends.traffic.connect_timeout;
            wait_for_addresses(route, limit).await;
        }
        let in_flight = InFlightGuard::new(self.pick()?);
        let endpoint = in_flight.endpoint().address().clone();
        self.endpoint = Some(endpoint.clone());
        let to = ConnectTarget {
            cluster: &route.cluster,
            endpoint: in_flight.endpoint(),
            breaker: &forwarder.breaker,
            observer: self.context.observer,
            pools: &[],
            requires_hyper: false,
        };
        let pool = self.own_pool.as_ref().unwrap_or(self.pool);
        let result = pool.open(&to).await;
        if let Some(outlier) = &route.outlier {
            let outcome = match &result {
                Ok(_) => Some(Outcome::Response(200)),
                Err(error) => outlier::outcome_of_error(error),
            };
            if let Some(outcome) = outcome {
                outlier.report(&endpoint, outcome);
            }
        }
        let (stream, guard) = result?;
        let permits = RequestPermits::new(in_flight, permit);
        Ok(Forwarded {
            response: Response::new(Body::empty()),
            endpoint,
            local: stream.local,
            upstream_time: start.elapsed(),
            attempts: self.attempts,
            flags: "",
            set_cookie: None,
            upgrade: Some(Tunnel {
                io: TunnelIo::Connected(stream.io),
                deadline: self.deadline.stream_deadline(),
                guard: TunnelGuard(permits, Some(TunnelConnection::Whole(guard))),
            }),
        })
    }
}
