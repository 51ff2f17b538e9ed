//! Proxying of a TCP connection to its selected endpoint.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use towergate_tls::acceptor::TlsStream;

use super::StreamRule;
use super::copy::{CloseReason, CopyLimits, Side, copy};
use super::record::StreamRecord;
use crate::conn::prefixed::Prefixed;
use crate::conn::{ConnectionGuard, Drain};
use crate::error::Error;
use crate::observer::Observer;
use crate::proxy_protocol::Addresses;
use crate::traffic::loop_guard::{self, OwnConnection};
use crate::traffic::{ConnectError, Connected, SelectedEndpoint};

/// Time for which connections stay open after their port is removed (Envoy: `--drain-time-s`).
const DRAIN: Duration = Duration::from_secs(600);

/// The byte stream of a client connection.
pub(crate) trait ClientStream: AsyncRead + AsyncWrite + Send + Unpin {
    /// The underlying TCP connection.
    fn tcp(&self) -> &TcpStream;
}

impl ClientStream for Prefixed<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.io()
    }
}

impl ClientStream for TlsStream<Prefixed<Prefixed<TcpStream>>> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0.io().io()
    }
}

/// Parameters of a proxied TCP connection.
pub(crate) struct TcpProxy {
    pub(crate) rule: Arc<StreamRule>,
    pub(crate) chosen: SelectedEndpoint,
    pub(crate) record: StreamRecord,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) drain: Drain,
    /// Counts the client connection.
    pub(crate) guard: ConnectionGuard,
    pub(crate) limits: CopyLimits,
}

/// Connects to the selected endpoint and copies bytes in both directions until both are closed.
pub(crate) async fn proxy(mut client: impl ClientStream, params: TcpProxy) {
    let TcpProxy {
        rule,
        chosen,
        mut record,
        observer,
        drain,
        guard,
        limits,
    } = params;
    let addresses = Addresses {
        source: SocketAddr::new(record.entry.client, record.entry.client_port),
        destination: record.entry.downstream_local,
    };
    let is_dynamic = chosen.is_chosen_by_client();
    if is_dynamic && let Err(error) = check_client(client.tcp()) {
        record.entry.upstream_host = Some(chosen.address().clone());
        return record.set_error(&error);
    }
    let joined = rule.forwarder.connect(chosen, addresses, &observer).await;
    // The rule is dropped here, so that an open connection does not keep its configuration in memory.
    drop(rule);
    let Connected {
        stream,
        endpoint,
        guards,
    } = match joined {
        Ok(joined) => joined,
        Err(ConnectError { error, endpoint }) => {
            record.entry.upstream_host = Some(endpoint);
            return record.set_error(&error);
        }
    };
    record.entry.upstream_host = Some(endpoint);
    record.entry.upstream_local = stream.local;
    // Registered before the first byte is sent: a listener of this process receives the ClientHello afterwards.
    let own = stream.local.filter(|_| is_dynamic);
    let own = own.map(OwnConnection::register);
    // These details are logged if the process exits before the connection is closed.
    record.entry.details = "local_close".into();
    let mut backend = stream.io;
    let outcome = tokio::select! {
        outcome = copy(&mut client, &mut backend, limits, &record.progress) => outcome,
        () = overdue(&drain) => return record.set_close_reason(CloseReason::MaxDuration),
    };
    match outcome.reset_by {
        Some(Side::Client) => backend.reset_on_close(),
        Some(Side::Backend) => reset(client.tcp()),
        None => {}
    }
    record.set_close_reason(outcome.reason);
    drop((client, backend, own));
    drop((guards, guard));
}

/// Returns an error if the client is a connection of this process, which would connect to itself again.
fn check_client(tcp: &TcpStream) -> Result<(), Error> {
    tcp.peer_addr().map_or(Ok(()), loop_guard::check_peer)
}

/// Makes closing the connection send a TCP reset.
fn reset(tcp: &TcpStream) {
    // If setting the option fails, the connection is closed in the normal way.
    let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
}

async fn overdue(drain: &Drain) {
    drain.started().await;
    tokio::time::sleep(DRAIN).await;
}
