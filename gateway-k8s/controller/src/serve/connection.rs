//! The server for data planes: accepts connections, authenticates the peers, and sends each the versions of
//! its plan.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use towergate_k8s::wire::{
    FrameReader, Hello, PATH, PROTOCOL, PROTOCOL_HEADER, Peer, Sending, Version, VersionReport,
    WireError,
};

use super::publisher::{Connected, Publisher};
use super::tls::{Identity, Tls};

/// Maximum number of concurrent TLS handshakes. Connections above the limit are closed at once, and data
/// planes reconnect.
const HANDSHAKES: usize = 256;
/// Time limit of the TLS handshake, and of the first message after it.
const OPENING: Duration = Duration::from_secs(5);
/// Time limit of the report on a version that was sent. When it expires, the stream ends and the data plane
/// reconnects.
const REPORT: Duration = Duration::from_secs(60);
/// Time limit for queueing a piece of an update. When it expires, the stream ends.
const STALLED: Duration = Duration::from_secs(60);
/// Interval of HTTP/2 keep-alive pings, and time limit of their acknowledgement.
const PING: Duration = Duration::from_secs(10);
/// Maximum number of queued pieces of an update.
const PIECES: usize = 4;

/// A response body: a stream of updates, or the message of an error.
type Body = Either<Channel<Bytes, Infallible>, Full<Bytes>>;

/// Serves published versions until `shutdown` completes, then closes all connections.
///
/// # Errors
/// Never at present: a failed `accept` is logged and retried after 100 ms.
pub(crate) async fn run(
    listener: TcpListener,
    tls: Tls,
    publisher: Publisher,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = &mut shutdown => return Ok(()),
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // The connection was aborted, or a resource (file descriptors) is exhausted temporarily.
                tracing::warn!(%error, "a connection of a data plane cannot be accepted");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            tracing::debug!(%address, "too many concurrent handshakes; connection dropped");
            continue;
        };
        let (tls, publisher) = (tls.clone(), publisher.clone());
        connections.spawn(async move {
            let opened = timeout(OPENING, open(stream, &tls)).await;
            drop(permit);
            match opened {
                Ok(Ok((stream, identity))) => serve(stream, identity, address, publisher).await,
                Ok(Err(error)) => tracing::warn!(%address, %error, "connection rejected: the TLS handshake failed"),
                Err(_) => tracing::warn!(%address, "connection rejected: the TLS handshake timed out"),
            }
        });
    }
}

type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// Performs the TLS handshake. Returns the stream and the identity in the client certificate.
async fn open(stream: TcpStream, tls: &Tls) -> io::Result<(TlsStream, Identity)> {
    stream.set_nodelay(true)?;
    let stream = TlsAcceptor::from(tls.current()).accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates();
    let identity = shown.and_then(|chain| Identity::read(chain.first()?));
    let identity = identity
        .ok_or_else(|| io::Error::other("the client certificate identifies no data plane"))?;
    Ok((stream, identity))
}

/// Serves the requests of a connection until the client certificate expires.
async fn serve(stream: TlsStream, identity: Identity, address: SocketAddr, publisher: Publisher) {
    let left = identity.until.duration_since(SystemTime::now());
    let plane: Arc<str> = identity.plane.into();
    let service = service_fn(|request| {
        let answered = answer(request, Arc::clone(&plane), address, publisher.clone());
        async { Ok::<_, Infallible>(answered) }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        // A data plane uses one stream. It opens a second stream only after it abandons the first.
        .max_concurrent_streams(4)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(left.unwrap_or_default(), connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%plane, %address, %error, "connection closed"),
        Err(_) => {
            tracing::info!(%plane, %address, "connection closed: the client certificate of the data plane has expired")
        }
    }
}

fn answer(
    request: Request<Incoming>,
    plane: Arc<str>,
    address: SocketAddr,
    publisher: Publisher,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    if head.uri.path() != PATH || head.method != Method::POST {
        return refuse(
            StatusCode::NOT_FOUND,
            format!("plans are served at POST {PATH}"),
        );
    }
    let protocol = head.headers.get(PROTOCOL_HEADER).map(HeaderValue::as_bytes);
    if protocol != Some(PROTOCOL.as_bytes()) {
        let theirs = protocol.map_or("none".into(), String::from_utf8_lossy);
        tracing::warn!(%plane, %address, protocol = %theirs, "data plane of another release rejected");
        let why = format!(
            "this controller uses protocol {PROTOCOL}, the data plane {theirs}; run the same release of both"
        );
        return refuse(StatusCode::BAD_REQUEST, why);
    }
    let (sender, channel) = Channel::new(PIECES);
    tokio::spawn(async move {
        let stream = Stream {
            plane,
            address,
            publisher,
            sender,
            body,
            reader: FrameReader::default(),
        };
        let (plane, address) = (Arc::clone(&stream.plane), stream.address);
        match stream.follow().await {
            Ok(()) => tracing::info!(%plane, %address, "data plane disconnected"),
            Err(error) => {
                tracing::warn!(%plane, %address, %error, "connection to the data plane lost")
            }
        }
    });
    respond(StatusCode::OK, Either::Left(channel))
}

fn refuse(status: StatusCode, why: String) -> Response<Body> {
    respond(status, Either::Right(Full::new(why.into())))
}

fn respond(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let protocol = HeaderValue::from_static(PROTOCOL);
    response.headers_mut().insert(PROTOCOL_HEADER, protocol);
    response
}

/// The cause of the early end of a stream.
#[derive(Debug)]
enum Lost {
    /// The data plane sent no first message within the time limit.
    Silent,
    /// The data plane does not read the response body.
    Stalled,
    /// The data plane reported no outcome within the time limit.
    Unreported,
    /// The connection failed.
    Connection(hyper::Error),
    /// A message cannot be decoded or encoded.
    Wire(WireError),
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silent => f.write_str("the data plane sent no initial message in time"),
            Self::Stalled => f.write_str("the data plane does not read the update"),
            Self::Unreported => {
                f.write_str("the data plane did not report the result of an update in time")
            }
            Self::Connection(error) => error.fmt(f),
            Self::Wire(error) => error.fmt(f),
        }
    }
}

impl From<WireError> for Lost {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// The stream between the server and a data plane.
struct Stream {
    plane: Arc<str>,
    address: SocketAddr,
    publisher: Publisher,
    sender: Sender<Bytes, Infallible>,
    body: Incoming,
    reader: FrameReader,
}

impl Stream {
    /// Sends versions to the data plane and its reports to the publisher until the stream ends.
    async fn follow(mut self) -> Result<(), Lost> {
        let hello = timeout(OPENING, self.hello())
            .await
            .map_err(|_| Lost::Silent)?;
        let Some(hello) = hello? else {
            return Ok(());
        };
        let mut versions = self.publisher.subscribe(&self.plane);
        let name = hello.name.clone();
        tracing::info!(plane = %self.plane, address = %self.address, %name, "data plane connected");
        let connected = self.publisher.connect(&self.plane, name, self.address);
        let mut hello = Some(hello);
        let mut peer = Peer::empty();
        // The version in flight, and the deadline of its report.
        let mut under_way: Option<u64> = None;
        let mut report_until = Instant::now();
        versions.mark_changed();
        loop {
            tokio::select! {
                changed = versions.changed(), if under_way.is_none() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let newest = newest(&mut versions);
                    let Some(version) = newest else { continue };
                    if let Some(hello) = hello.take() {
                        peer = Peer::new(hello, &version);
                    }
                    self.send(peer.update(&version)?).await?;
                    under_way = Some(version.number());
                    report_until = Instant::now() + REPORT;
                }
                () = sleep_until(report_until), if under_way.is_some() => return Err(Lost::Unreported),
                more = self.body.frame() => {
                    let Some(frame) = more else { return Ok(()) };
                    let frame = frame.map_err(Lost::Connection)?;
                    if let Ok(data) = frame.into_data() {
                        self.reader.push(&data);
                    }
                    self.take_reports(&connected, &mut under_way)?;
                }
            }
        }
    }

    /// Reads the first message. `None`: the client closed the stream.
    async fn hello(&mut self) -> Result<Option<Hello>, Lost> {
        loop {
            if let Some((kind, payload)) = self.reader.next_frame()? {
                return Ok(Some(Hello::read(kind, payload)?));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            if let Ok(data) = frame.map_err(Lost::Connection)?.into_data() {
                self.reader.push(&data);
            }
        }
    }

    fn take_reports(&mut self, to: &Connected, under_way: &mut Option<u64>) -> Result<(), Lost> {
        while let Some((kind, payload)) = self.reader.next_frame()? {
            let report = VersionReport::read(kind, payload)?;
            if *under_way == Some(report.version) {
                *under_way = None;
            }
            to.report(report);
        }
        Ok(())
    }

    async fn send(&mut self, sending: Sending) -> Result<(), Lost> {
        for piece in sending {
            let piece = Bytes::from(piece?);
            let sent = timeout(STALLED, self.sender.send_data(piece)).await;
            // An error means that the connection, and with it the receiver, is gone; `follow` returns the
            // error of the connection.
            let _ = sent.map_err(|_| Lost::Stalled)?;
        }
        Ok(())
    }
}

fn newest(versions: &mut watch::Receiver<Option<Version>>) -> Option<Version> {
    versions.borrow_and_update().clone()
}
