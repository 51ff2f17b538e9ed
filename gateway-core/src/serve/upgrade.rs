//! Tunnels after `101 Switching Protocols` or a successful `CONNECT`.

use std::time::Duration;

use futures_util::TryFutureExt as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

pub use crate::stream::copy::{CloseReason, CopyOutcome, Side};
use crate::stream::copy::{CopyLimits, CopyProgress, copy};
use crate::upstream::UpstreamIo;

/// Copies bytes between the two sides of an upgrade, once both are upgraded, until the tunnel is closed.
/// Must be spawned, as the upgrade completes only after the response is sent.
///
/// `idle` is the idle timeout of the tunnel. The client connection counts as open, for limits, metrics and
/// [`Drain`](crate::conn::drain::Drain), until the tunnel is closed.
pub async fn tunnel(client: OnUpgrade, backend: OnUpgrade, idle: Option<Duration>) -> CopyOutcome {
    tunnel_until(client, backend, idle, None).await
}

/// As [`tunnel`]; a tunnel that is open at `deadline` is closed.
pub async fn tunnel_until(
    client: OnUpgrade,
    backend: OnUpgrade,
    idle: Option<Duration>,
    deadline: Option<Instant>,
) -> CopyOutcome {
    let both = futures_util::future::try_join(
        client.map_err(|_| CloseReason::Client),
        backend.map_err(|_| CloseReason::Backend),
    );
    match both.await {
        Ok((client, backend)) => {
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            let limits = CopyLimits { idle, deadline };
            copy(&mut client, &mut backend, limits, &CopyProgress::default()).await
        }
        Err(reason) => not_upgraded(reason),
    }
}

/// As [`tunnel_until`], to a backend that is already connected.
pub(crate) async fn tunnel_to(
    client: OnUpgrade,
    mut backend: UpstreamIo,
    idle: Option<Duration>,
    deadline: Option<Instant>,
) -> CopyOutcome {
    match client.await {
        Ok(client) => {
            let limits = CopyLimits { idle, deadline };
            let mut client = TokioIo::new(client);
            copy(&mut client, &mut backend, limits, &CopyProgress::default()).await
        }
        Err(_) => not_upgraded(CloseReason::Client),
    }
}

fn not_upgraded(reason: CloseReason) -> CopyOutcome {
    CopyOutcome {
        received: 0,
        sent: 0,
        reason,
        reset_by: None,
    }
}
