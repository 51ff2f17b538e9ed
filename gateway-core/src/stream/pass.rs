//! A connection that has its backend: connect, copy, tell.

use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use towergate_tls::acceptor::TlsStream;

use super::copy::{End, Limits, Side, copy};
use super::{Record, StreamRule};
use crate::conn::prefixed::Prefixed;
use crate::conn::{Drain, Open};
use crate::observer::Observer;
use crate::serve::Handler;
use crate::traffic::{Chosen, Joined, NotJoined};

/// How long connections go on after their port was taken away (Envoy: `--drain-time-s`).
const DRAIN: Duration = Duration::from_secs(600);

/// A client's connection, as bytes.
pub(crate) trait ClientSide: AsyncRead + AsyncWrite + Send + Unpin {
    /// The connection beneath.
    fn tcp(&self) -> &TcpStream;
}

impl ClientSide for Prefixed<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.io()
    }
}

impl ClientSide for TlsStream<Prefixed<Prefixed<TcpStream>>> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0.io().io()
    }
}

/// A connection on its way to a backend, and what is needed for it.
pub(crate) struct Passage<H: Handler> {
    pub(crate) rule: Arc<StreamRule>,
    pub(crate) chosen: Chosen,
    pub(crate) record: Record<H>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) drain: Drain,
    /// Counts the client's connection.
    pub(crate) open: Open,
    pub(crate) limits: Limits,
}

/// Connects `client` to its backend and copies both ways until both sides have ended.
pub(crate) async fn pass<H: Handler>(mut client: impl ClientSide, passage: Passage<H>) {
    let Passage {
        rule,
        chosen,
        mut record,
        observer,
        drain,
        open,
        limits,
    } = passage;
    let joined = rule.forwarder.connect(chosen, &observer).await;
    // A connection does not keep the configuration that it came by.
    drop(rule);
    let Joined {
        connected,
        endpoint,
        counted,
    } = match joined {
        Ok(joined) => joined,
        Err(NotJoined { error, endpoint }) => {
            record.entry.upstream_host = Some(endpoint);
            return record.note_error(&error);
        }
    };
    record.entry.upstream_host = Some(endpoint);
    record.entry.upstream_local = connected.local;
    // What stands if the process ends before the connection does.
    record.entry.details = "local_close".into();
    let mut backend = connected.stream;
    let ended = tokio::select! {
        ended = copy(&mut client, &mut backend, limits, &record.progress) => ended,
        () = overdue(&drain) => return record.note_end(End::Age),
    };
    match ended.broken {
        Some(Side::Client) => reset(backend.tcp()),
        Some(Side::Backend) => reset(client.tcp()),
        None => {}
    }
    record.note_end(ended.end);
    drop((client, backend));
    drop((counted, open));
}

/// Lets the end of a connection be seen as a reset.
fn reset(tcp: &TcpStream) {
    // If the system refuses, its peer sees an ordinary end.
    let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
}

async fn overdue(drain: &Drain) {
    drain.started().await;
    tokio::time::sleep(DRAIN).await;
}
