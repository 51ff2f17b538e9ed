//! Tunnels after `101 Switching Protocols` or a successful `CONNECT`.

use std::time::Duration;

use futures_util::TryFutureExt as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

pub use crate::stream::copy::{CloseReason, CopyOutcome, Side};
use crate::stream::copy::{CopyLimits, CopyProgress, copy};
use crate::upstream::UpstreamIo;

/// Waits until both sides are upgraded, then copies bytes between them until the tunnel is closed. Must be
/// spawned, because the upgrade completes only after the response is sent.
///
/// `idle` is the idle timeout of the tunnel. The client connection counts as open, for limits, metrics and
/// [`Drain`](crate::conn::drain::Drain), until the tunnel is closed.
pub async fn tunnel(client: OnUpgrade, backend: OnUpgrade, idle: Option<Duration>) -> CopyOutcome {
    tunnel_until(client, backend, idle, None).await
}

/// As [`tunnel`], but also closes the tunnel at `deadline`.
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

/// As [`tunnel_until`], for a backend connection that is already open.
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
