//! Addresses of a client connection.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use crate::proxy_protocol::Addresses;

/// Addresses of a client connection. The addresses of a PROXY header replace those of the TCP connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ConnectionAddrs {
    /// Remote address of the TCP connection: the load balancer, if there is one.
    pub tcp_peer: SocketAddr,
    /// Source address of the PROXY header. Without a header, equal to `tcp_peer`. IPv4-mapped IPv6 addresses
    /// are converted to IPv4.
    pub peer: SocketAddr,
    /// Destination address of the PROXY header. Without a header, the local address of the TCP connection.
    pub local: SocketAddr,
}

impl ConnectionAddrs {
    /// Addresses of a TCP connection without a PROXY header.
    pub fn of_tcp(tcp_peer: SocketAddr, local: SocketAddr) -> Self {
        let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        Self {
            tcp_peer: canonical(tcp_peer),
            peer: canonical(tcp_peer),
            local: canonical(local),
        }
    }

    /// Replaces `peer` and `local` by the addresses of a PROXY header. `None` changes nothing.
    #[must_use]
    pub fn replaced_by(self, addresses: Option<Addresses>) -> Self {
        match addresses {
            None => self,
            Some(addresses) => Self {
                peer: addresses.source,
                local: addresses.destination,
                ..self
            },
        }
    }
}

/// Layer that inserts the [`ConnectionAddrs`] of a connection into the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionAddrsLayer(pub ConnectionAddrs);

impl<S> Layer<S> for ConnectionAddrsLayer {
    type Service = ConnectionAddrsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ConnectionAddrsService {
            addrs: self.0,
            inner,
        }
    }
}

/// Service of [`ConnectionAddrsLayer`].
#[derive(Clone, Copy, Debug)]
pub struct ConnectionAddrsService<S> {
    addrs: ConnectionAddrs,
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for ConnectionAddrsService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut req: Request<B>) -> Self::Future {
        req.extensions_mut().insert(self.addrs);
        self.inner.call(req)
    }
}
