//! Tunnels: what becomes of a connection after `101 Switching Protocols` or `CONNECT`.

use std::time::Duration;

use futures_util::TryFutureExt as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

pub use crate::stream::copy::{End, Ended, Side};
use crate::stream::copy::{Limits, Progress, copy};

/// Joins the two sides of an upgrade, once both are upgraded, until the tunnel ends. To be spawned: the
/// response must go out meanwhile.
///
/// A tunnel without a byte for `idle` is closed. The client's connection counts as open, for
/// limits, metrics and [`Drain`](crate::conn::drain::Drain), until the tunnel ends.
pub async fn tunnel(client: OnUpgrade, backend: OnUpgrade, idle: Option<Duration>) -> Ended {
    tunnel_until(client, backend, idle, None).await
}

/// As [`tunnel`]; what is still open at `ends` is closed.
pub async fn tunnel_until(
    client: OnUpgrade,
    backend: OnUpgrade,
    idle: Option<Duration>,
    ends: Option<Instant>,
) -> Ended {
    let nothing = |end| Ended {
        received: 0,
        sent: 0,
        end,
        broken: None,
    };
    let both = futures_util::future::try_join(
        client.map_err(|_| End::Client),
        backend.map_err(|_| End::Backend),
    );
    match both.await {
        Ok((client, backend)) => {
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            let limits = Limits { idle, ends };
            copy(&mut client, &mut backend, limits, &Progress::default()).await
        }
        Err(end) => nothing(end),
    }
}
