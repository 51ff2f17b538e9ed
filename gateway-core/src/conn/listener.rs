//! Accepting connections from one socket.
//!
//! [`serve_listener`] is all that a program needs that brings its own runtime:
//!
//! ```
//! use std::future::{Ready, ready};
//! use std::sync::Arc;
//!
//! use arc_swap::ArcSwap;
//! use http::{Request, Response};
//! use hyper::body::Incoming;
//! use towergate_core::Body;
//! use towergate_core::conn::{
//!     ConnInfo, Drain, ListenerConfig, PortConfig, Server, Transport, serve_listener,
//! };
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
//!     transport: Transport::Plain(Arc::new(listener)),
//! };
//! let server = Server { handler: Hello, observer: Arc::new(()) };
//! let drain = Drain::new();
//!
//! let config = Arc::new(ArcSwap::from_pointee(config));
//! let serving = tokio::spawn(serve_listener(socket, config, server, drain.clone()));
//! drain.start(); // When the program is told to end.
//! serving.await?;
//! # Ok(())
//! # }
//! ```

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};

use super::drain::Drain;
use super::open::RateLimit;
use super::{PortConfig, accept, socket};
use crate::in_box::in_box;
use crate::observer::Observer;
use crate::serve::Handler;

/// The first pause when no file descriptor is left; it doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(5);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// Every so many turns that others get, the system is asked who else is ready, which costs a system call.
const NEWS: u32 = 8;

/// What connections are served with.
#[derive(Clone)]
pub struct Server<H> {
    /// Answers the requests.
    pub handler: H,
    /// Is told what happens.
    pub observer: Arc<dyn Observer>,
}

/// Where the configuration of a port is found now.
pub(crate) type Source = Arc<ArcSwap<ArcSwap<PortConfig>>>;

/// Serves the connections of `listener` on the current runtime until `drain` starts; then those
/// that are open end by themselves: wait for [`Drain::drained`].
///
/// `config` is read once for each connection.
pub async fn serve_listener<H: Handler>(
    listener: TcpListener,
    config: Arc<ArcSwap<PortConfig>>,
    server: Server<H>,
    drain: Drain,
) {
    serve_source(listener, Arc::new(ArcSwap::new(config)), server, drain).await;
}

/// The same with a configuration that can be moved.
pub(crate) async fn serve_source<H: Handler>(
    listener: TcpListener,
    source: Source,
    server: Server<H>,
    drain: Drain,
) {
    let port = Port {
        source,
        server,
        drain,
    };
    if let Err(error) = socket::set_up_listener(&listener) {
        tracing::warn!(%error, "socket options not set");
    }
    tokio::select! {
        biased;
        () = port.drain.started() => {}
        () = port.accept_all(&listener) => {}
    }
    port.accept_rest(listener);
}

struct Port<H> {
    source: Source,
    server: Server<H>,
    drain: Drain,
}

impl<H: Handler> Port<H> {
    async fn accept_all(&self, listener: &TcpListener) {
        let mut pause = MIN_PAUSE;
        let mut in_a_row = 0;
        let mut turns: u32 = 0;
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause = rest(&error, pause).await;
                    continue;
                }
            };
            pause = MIN_PAUSE;
            in_a_row += 1;
            let turn = self.serve(stream, peer);
            if turn != 0 && in_a_row >= turn {
                in_a_row = 0;
                turns = turns.wrapping_add(1);
                give_way(turns.is_multiple_of(NEWS)).await;
            }
        }
    }

    /// Takes the connections that clients consider open already: closing the socket would reset
    /// them.
    fn accept_rest(&self, listener: TcpListener) {
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

    /// Starts to serve a connection; gives `accepts_per_event`.
    fn serve(&self, stream: TcpStream, peer: SocketAddr) -> u32 {
        let config = self.source.load().load_full();
        let turn = config.tcp.accepts_per_event;
        if let Err(error) = socket::set_up(&stream, &config.tcp) {
            // Either the client has left already, or the system does not take a value.
            tracing::debug!(port = config.port, %error, "socket options not set");
        }
        let (server, drain) = (self.server.clone(), self.drain.clone());
        // In a box of its own, as spawning copies what it gets several times.
        tokio::spawn(in_box(|| {
            accept::serve(stream, peer, config, server, drain)
        }));
        turn
    }
}

/// Lets all others go first that are ready: known to be, or with `news` also those that the system knows of.
async fn give_way(news: bool) {
    if news {
        return tokio::task::yield_now().await;
    }
    let mut given = false;
    poll_fn(|cx| {
        if given {
            return Poll::Ready(());
        }
        given = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits after a failure that would come again at once; gives the next pause.
async fn rest(error: &io::Error, pause: Duration) -> Duration {
    static LAST: RateLimit = RateLimit::new(Duration::from_secs(10));
    if is_about_one_connection(error) {
        return pause;
    }
    if LAST.pass() {
        tracing::warn!(%error, "connections cannot be accepted");
    }
    tokio::time::sleep(pause).await;
    (pause * 2).min(MAX_PAUSE)
}

/// Whether the failure concerns a connection that has ended meanwhile, and not us (accept(2)).
fn is_about_one_connection(error: &io::Error) -> bool {
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
    async fn want_of_descriptors_makes_pauses_that_grow_to_a_bound() {
        let full = io::Error::from_raw_os_error(24); // EMFILE
        let start = Instant::now();
        let mut pause = MIN_PAUSE;

        for _ in 0..10 {
            pause = rest(&full, pause).await;
        }

        assert_eq!(pause, MAX_PAUSE);
        assert!(start.elapsed() > MAX_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_left_early_costs_no_pause() {
        let start = Instant::now();

        rest(&io::ErrorKind::ConnectionAborted.into(), MIN_PAUSE).await;

        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
