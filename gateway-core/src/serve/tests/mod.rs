//! Tests over real sockets: a listener with a test handler.

mod drain;
mod half_close;
mod http1;
mod http2;
mod idle;
mod stalls;
mod timeouts;
mod tls;

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::stream_task::{self, DropCause};
use super::{ConnectionContext, Handler, NoResponse};
use crate::conn::{ConnInfo, ConnectionAddrs, ConnectionGuard, Drain};
use crate::http::settings::ListenerSettings;
use crate::listen::{ListenerConfig, PortConfig, PortProtocol, Server, serve_listener};
use crate::observer::{Event, Observer};
use crate::plan::{ListenerId, TcpSettings};
use crate::{Body, LocalReply};

/// Time limit of every wait in tests.
pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

thread_local! {
    /// Number of incomplete heads on connections of this thread.
    static INCOMPLETE_HEADS: Cell<usize> = const { Cell::new(0) };
}

/// Handler whose response depends on the path.
#[derive(Clone, Debug)]
pub(crate) struct TestHandler;

impl Handler for TestHandler {
    type Future = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

    fn handle(&self, conn: &Arc<ConnInfo>, request: Request<Incoming>) -> Self::Future {
        let conn = conn.clone();
        Box::pin(async move { respond(&conn, request).await })
    }

    fn handle_codec_reply(
        &self,
        conn: &Arc<ConnInfo>,
        reply: LocalReply,
        _recorded: bool,
        age: Duration,
    ) -> Response<Bytes> {
        let peer = conn.tcp_peer.ip().to_string().parse().unwrap();
        let name = HeaderName::from_static("x-refused");
        let age_name = HeaderName::from_static("x-age");
        let age = age.as_millis().to_string().parse().unwrap();
        let reply = reply.with_header(name, peer).with_header(age_name, age);
        reply.into_response(false)
    }

    fn handle_incomplete_head(&self, _conn: &Arc<ConnInfo>, _age: Duration) {
        INCOMPLETE_HEADS.set(INCOMPLETE_HEADS.get() + 1);
    }
}

async fn respond(conn: &ConnInfo, request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/echo" => Response::new(Body::new(request.into_body())),
        "/target" => Response::new(request.uri().to_string().into()),
        "/collect" => match http_body_util::BodyExt::collect(request.into_body()).await {
            Ok(_) => Response::new("complete".into()),
            Err(error) => Response::new(format!("malformed: {error}").into()),
        },
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Response::new("slow".into())
        }
        "/left" => {
            let left = http_body_util::BodyExt::collect(request.into_body()).await;
            let mut response = Response::new("left".into());
            if left.is_err() {
                response.extensions_mut().insert(NoResponse);
            }
            response
        }
        "/never" => std::future::pending().await,
        "/reset-probe" => {
            let _probe = ResetProbe;
            std::future::pending().await
        }
        "/early" => {
            let body = request.into_body();
            tokio::spawn(http_body_util::BodyExt::collect(body));
            Response::new("early".into())
        }
        "/bad" => Response::builder()
            .status(StatusCode::BAD_REQUEST)
            .header(header::CONTENT_LENGTH, 4)
            .body("mine".into())
            .unwrap(),
        "/no-content" => Response::builder()
            .status(StatusCode::NO_CONTENT)
            .header(header::CONTENT_LENGTH, 4)
            .body("mine".into())
            .unwrap(),
        "/not-modified" => Response::builder()
            .status(StatusCode::NOT_MODIFIED)
            .header(header::CONTENT_LENGTH, 4)
            .body("mine".into())
            .unwrap(),
        "/empty-bad" => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
        "/big" => Response::new(bytes::Bytes::from(vec![b'x'; 64 << 20]).into()),
        "/endless" => Response::new(Body::new(Endless)),
        "/peer" => Response::new(conn.peer.to_string().into()),
        "/lenient" => {
            let lenient = request
                .extensions()
                .get::<crate::http::lenient::LenientParse>();
            Response::new(format!("{lenient:?}").into())
        }
        "/tls" => Response::new(format!("{:?}", conn.tls).into()),
        "/upgrade" => upgrade(request),
        "/tunnel" => tunnel(request).await,
        _ => Response::new("ok".into()),
    }
}

/// Number of dropped requests for `/reset-probe`. Index 1: the client had reset the stream; index 0: the
/// client had not reset it.
static DROPPED: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// Counts in [`DROPPED`] when it is dropped.
struct ResetProbe;

impl Drop for ResetProbe {
    fn drop(&mut self) {
        let reset = stream_task::drop_cause() == Some(DropCause::ClientReset);
        DROPPED[usize::from(reset)].fetch_add(1, Ordering::Relaxed);
    }
}

/// A body that never ends.
struct Endless;

impl http_body::Body for Endless {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        let data = bytes::Bytes::from_static(&[b'x'; 4096]);
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(data))))
    }
}

/// Upgrades to a protocol that echoes every byte.
fn upgrade(mut request: Request<Incoming>) -> Response<Body> {
    let client = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let io = TokioIo::new(client.await.unwrap());
        let (mut read, mut write) = tokio::io::split(io);
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, "upgrade".parse().unwrap());
    headers.insert(header::UPGRADE, "echo".parse().unwrap());
    response
}

/// Requests an upgrade from the backend on the port that the query contains, and tunnels to it.
async fn tunnel(mut request: Request<Incoming>) -> Response<Body> {
    let port: u16 = request.uri().query().unwrap().parse().unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection.with_upgrades());
    let ask = Request::builder()
        .uri("/upgrade")
        .header(header::HOST, "backend")
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "echo")
        .body(Body::empty())
        .unwrap();
    let mut response = sender.send_request(ask).await.unwrap();
    let backend = hyper::upgrade::on(&mut response);
    let client = hyper::upgrade::on(&mut request);
    let idle = Some(Duration::from_secs(60));
    tokio::spawn(super::upgrade::tunnel(client, backend, idle));
    response.map(|_| Body::empty())
}

/// Records events as text.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<String>>);

impl Observer for Recorder {
    fn observe(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

impl Recorder {
    fn count(&self, text: &str) -> usize {
        let events = self.0.lock().unwrap();
        events.iter().filter(|event| event.contains(text)).count()
    }

    async fn expect(&self, text: &str) {
        eventually(|| self.count(text) > 0)
            .await
            .unwrap_or_else(|()| panic!("no {text} in {:?}", self.0.lock().unwrap()));
    }
}

/// A port that is being served, and what the test observes about it.
struct Rig {
    address: SocketAddr,
    listener: Arc<ListenerConfig>,
    events: Arc<Recorder>,
    drain: Drain,
}

impl Rig {
    /// A plain HTTP port.
    async fn plain(edit: impl FnOnce(&mut ListenerSettings)) -> Self {
        let listener = listener_config(edit);
        Self::with(
            TcpSettings::default(),
            listener.clone(),
            PortProtocol::Plain(listener),
        )
        .await
    }

    async fn with(tcp: TcpSettings, listener: Arc<ListenerConfig>, protocol: PortProtocol) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let port = address.port();
        let config = Arc::new(ArcSwap::from_pointee(PortConfig {
            slot: 0,
            port,
            tcp,
            protocol,
        }));
        let events = Arc::new(Recorder::default());
        let drain = Drain::new();
        let server = Server {
            handler: TestHandler,
            stream_log: Arc::new(()),
            observer: events.clone(),
        };
        tokio::spawn(serve_listener(socket, config, server, drain.clone()));
        Self {
            address,
            listener,
            events,
            drain,
        }
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends `bytes` on a new connection and reads until it is closed.
    async fn talk(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client.rest().await
    }
}

pub(crate) fn listener_config(edit: impl FnOnce(&mut ListenerSettings)) -> Arc<ListenerConfig> {
    let mut settings = ListenerSettings::default();
    edit(&mut settings);
    Arc::new(ListenerConfig {
        id: ListenerId::default(),
        settings: Arc::new(settings),
        tls: None,
        clients: None,
        connections: Arc::default(),
        streams: None,
    })
}

/// Context of an in-memory connection, and the recorder of its events.
fn context(
    drain: &Drain,
    edit: impl FnOnce(&mut ListenerSettings),
) -> (ConnectionContext<TestHandler>, Arc<Recorder>) {
    let events = Arc::new(Recorder::default());
    let address: SocketAddr = "192.0.2.1:1".parse().unwrap();
    let context = ConnectionContext {
        info: Arc::new(ConnInfo::new(
            ConnectionAddrs::of_tcp(address, address),
            0,
            80,
            None,
        )),
        settings: listener_config(edit).settings.clone(),
        handler: TestHandler,
        observer: events.clone(),
        drain: drain.clone(),
        guard: ConnectionGuard::new(80, events.clone(), drain),
        expects_proxy: false,
    };
    (context, events)
}

/// A client that sends and receives bytes.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads a response with a Content-Length; returns its head in lower case and its body.
    pub(crate) async fn response(&mut self) -> (String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(self.0.read_u8()).await.expect("a response"));
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        soon(self.0.read_exact(&mut body)).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    /// Reads until the connection is closed or reset.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = soon(self.0.read_to_end(&mut bytes)).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Awaits `future` for at most [`SOON`].
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.expect("in time")
}

/// Waits until `condition` holds, at most [`SOON`].
async fn eventually(mut condition: impl FnMut() -> bool) -> Result<(), ()> {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.map_err(drop)
}
