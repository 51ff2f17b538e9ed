//! Accepts connections from one socket.
//!
//! [`serve_listener`] serves connections on the runtime of a program that embeds the gateway:
//!
//! ```
//! use std::future::{Ready, ready};
//! use std::sync::Arc;
//!
//! use arc_swap::ArcSwap;
//! use http::{Request, Response};
//! use hyper::body::Incoming;
//! use towergate_core::Body;
//! use towergate_core::conn::{ConnInfo, Drain};
//! use towergate_core::listen::{ListenerConfig, PortConfig, Server, PortProtocol, serve_listener};
//! use towergate_core::serve::Handler;
//!
//! #[derive(Clone)]
//! struct Hello;
//!
//! impl Handler for Hello {
//!     type Future = Ready<Response<Body>>;
//!
//!     fn handle(&self, conn: &Arc<ConnInfo>, _request: Request<Incoming>) -> Self::Future {
//!         ready(Response::new(format!("hello, {}", conn.peer).into()))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let listener = ListenerConfig {
//!     id: Default::default(),
//!     settings: Default::default(),
//!     tls: None,
//!     clients: None,
//!     connections: Default::default(),
//!     streams: None,
//! };
//! let config = PortConfig {
//!     slot: 0,
//!     port: socket.local_addr()?.port(),
//!     tcp: Default::default(),
//!     protocol: PortProtocol::Plain(Arc::new(listener)),
//! };
//! let server = Server {
//!     handler: Hello,
//!     stream_log: Arc::new(()),
//!     observer: Arc::new(()),
//! };
//! let drain = Drain::new();
//!
//! let config = Arc::new(ArcSwap::from_pointee(config));
//! let serving = tokio::spawn(serve_listener(socket, config, server, drain.clone()));
//! drain.start(); // On shutdown.
//! serving.await?;
//! # Ok(())
//! # }
//! ```

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::accept;
use super::config::PortConfig;
use super::server::Server;
use crate::conn::{ConnectionGuard, Drain, LogThrottle, socket};
use crate::pin_boxed::pin_boxed_with;
use crate::serve::Handler;

/// First pause after accepting failed, for example because the limit of file descriptors is reached. Each
/// further pause is twice as long, up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause after accepting failed.
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// Number of yields of the accept loop after which one yield also polls the system for I/O events. The other
/// yields do not, because a poll costs a system call.
const YIELDS_PER_IO_POLL: u32 = 8;

/// Configuration of a port. The inner cell contains the current configuration; the outer cell allows the
/// inner one to be replaced.
pub(super) type ConfigSource = Arc<ArcSwap<ArcSwap<PortConfig>>>;

/// Accepts and serves connections of `listener` on the current runtime until `drain` starts. Open connections
/// continue after the drain has started; [`Drain::drained`] waits for their end.
///
/// `config` is read once per connection.
pub fn serve_listener<H: Handler>(
    listener: TcpListener,
    config: Arc<ArcSwap<PortConfig>>,
    server: Server<H>,
    drain: Drain,
) -> impl Future<Output = ()> + Send {
    let source = Arc::new(ArcSwap::new(config));
    let accepting = drain.token();
    serve_source(listener, source, server, drain, accepting)
}

/// As [`serve_listener`], but the cell with the configuration can be replaced. `accepting` is held until the
/// connections in the accept queue are counted, so that [`Drain::drained`] includes them.
pub(super) async fn serve_source<H: Handler>(
    listener: TcpListener,
    source: ConfigSource,
    server: Server<H>,
    drain: Drain,
    accepting: TaskTrackerToken,
) {
    let port = Port {
        source,
        server,
        drain,
    };
    if let Err(error) = socket::set_up_listener(&listener) {
        tracing::warn!(%error, "setting socket options failed");
    }
    tokio::select! {
        biased;
        () = port.drain.started() => {}
        () = port.accept_all(&listener) => {}
    }
    port.accept_queued(listener);
    drop(accepting);
}

struct Port<H> {
    source: ConfigSource,
    server: Server<H>,
    drain: Drain,
}

impl<H: Handler> Port<H> {
    async fn accept_all(&self, listener: &TcpListener) {
        let mut pause = MIN_PAUSE;
        let mut accepted_since_yield = 0;
        let mut yields: u32 = 0;
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause = back_off(&error, pause).await;
                    continue;
                }
            };
            pause = MIN_PAUSE;
            accepted_since_yield += 1;
            let accepts_per_event = self.serve(stream, peer);
            if accepts_per_event != 0 && accepted_since_yield >= accepts_per_event {
                accepted_since_yield = 0;
                yields = yields.wrapping_add(1);
                yield_to_others(yields.is_multiple_of(YIELDS_PER_IO_POLL)).await;
            }
        }
    }

    /// Serves the connections that are still in the accept queue. Their clients are connected already, and
    /// closing the socket would reset the connections.
    fn accept_queued(&self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else {
            return;
        };
        while let Ok((stream, peer)) = listener.accept() {
            let stream = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                self.serve(stream, peer);
            }
        }
    }

    /// Spawns the task of a connection. Returns `accepts_per_event` of the port.
    fn serve(&self, stream: TcpStream, peer: SocketAddr) -> u32 {
        let config = self.source.load().load_full();
        let accepts_per_event = config.tcp.accepts_per_event;
        if let Err(error) = socket::set_up(&stream, &config.tcp) {
            // Either the client has disconnected, or the system rejects the value of an option.
            tracing::debug!(port = config.port, %error, "setting socket options failed");
        }
        let (server, drain) = (self.server.clone(), self.drain.clone());
        // The connection is counted before its task runs, because the process may exit when no connection is
        // counted.
        let guard = ConnectionGuard::new(config.port, server.observer.clone(), &drain);
        // The future is boxed, because `spawn` copies it several times.
        tokio::spawn(pin_boxed_with(|| {
            accept::serve(stream, peer, config, server, drain, guard)
        }));
        accepts_per_event
    }
}

/// Lets other tasks of the thread run: tasks that are ready. If `poll_io` is set, also tasks for which the
/// system has I/O events.
async fn yield_to_others(poll_io: bool) {
    if poll_io {
        return tokio::task::yield_now().await;
    }
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Pauses after `error`, unless the error affects only one connection. Returns the length of the next pause.
async fn back_off(error: &io::Error, pause: Duration) -> Duration {
    static THROTTLE: LogThrottle = LogThrottle::new(Duration::from_secs(10));
    if concerns_one_connection(error) {
        return pause;
    }
    if THROTTLE.allows() {
        tracing::warn!(%error, "accepting connections failed");
    }
    tokio::time::sleep(pause).await;
    (pause * 2).min(MAX_PAUSE)
}

/// Whether an error of accept(2) affects only one connection: the connection was closed while it was in the
/// accept queue.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_without_file_descriptors_grow_to_a_limit() {
        let full = io::Error::from_raw_os_error(24); // EMFILE
        let start = Instant::now();
        let mut pause = MIN_PAUSE;

        for _ in 0..10 {
            pause = back_off(&full, pause).await;
        }

        assert_eq!(pause, MAX_PAUSE);
        assert!(start.elapsed() > MAX_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_aborted_connection_causes_no_pause() {
        let start = Instant::now();

        back_off(&io::ErrorKind::ConnectionAborted.into(), MIN_PAUSE).await;

        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
