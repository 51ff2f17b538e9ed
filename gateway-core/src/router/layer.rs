//! The gateway as a Layer or service inside another HTTP server.
//!
//! ```text
//! request ──GatewayService──> a rule of the port matches ──> proxied
//!                         └─> no rule matches ──> the inner service (GatewayLayer), or 404 (PortService)
//! ```
//!
//! The embedding program accepts connections and serves HTTP. The gateway reads the properties of a
//! connection from the extensions of its requests. Routes, policies, retries, access log and metrics work as
//! they do on the gateway's own sockets. The embedding program is responsible for PROXY headers, TLS, and the
//! time limits and other limits of connections.
//!
//! ```
//! use axum::{Router, body::Body, routing::get};
//! use http::Request;
//! use tower::{Layer, ServiceExt};
//! use towergate_core::gateway::{Gateway, Options};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gateway = Gateway::new(Options::default());
//! let own = Router::new().route("/own", get(|| async { "mine" }));
//! let app = gateway.layer(80).layer(own); // Outside axum, which then routes sanitized paths.
//!
//! // There is no plan yet, so the inner service receives every request.
//! let request = Request::get("/own").header("host", "a.test").body(Body::empty())?;
//! assert_eq!(app.oneshot(request).await?.status(), 200);
//! # Ok(())
//! # }
//! ```

use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::inbound::InboundRequest;
use super::{Router, Shared};
use crate::body::BoxError;
use crate::conn::ConnInfo;
use crate::conn::ConnectionAddrs;
use crate::snapshot::Snapshot;
use crate::{Body, Error};

/// Function that finds the connection of a request in its extensions.
type Find = fn(&Extensions) -> Option<Arc<ConnInfo>>;

/// The connection of a request, from the extensions that the gateway or another server sets. It is read from
/// [`ConnInfo`] (alone or in an [`Arc`]), from [`ConnectionAddrs`], or from a [`SocketAddr`], the address of
/// the peer.
pub fn known_connection(extensions: &Extensions) -> Option<Arc<ConnInfo>> {
    let shared = || extensions.get::<Arc<ConnInfo>>().cloned();
    let conn = || extensions.get::<ConnInfo>().cloned();
    let ends = || {
        extensions
            .get::<ConnectionAddrs>()
            .copied()
            .map(ConnInfo::from)
    };
    let peer = || extensions.get::<SocketAddr>().copied().map(ConnInfo::from);
    shared().or_else(|| conn().or_else(ends).or_else(peer).map(Arc::new))
}

/// One port of the plan. It serves requests that another server has received.
#[derive(Clone)]
struct Embedded<F> {
    router: Router,
    port: u16,
    find: F,
}

impl<F: Fn(&Extensions) -> Option<Arc<ConnInfo>>> Embedded<F> {
    /// The connection of the request. If it is unknown, the client is `0.0.0.0`, an address that rules should
    /// not trust.
    fn connection(&self, extensions: &Extensions) -> Arc<ConnInfo> {
        let unknown = || ConnInfo::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        (self.find)(extensions).unwrap_or_else(|| unknown().into())
    }
}

impl<F> fmt::Debug for Embedded<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// Proxies requests that match a rule of one port of the plan. All other requests go to the inner service.
///
/// Created by [`Gateway::layer`](crate::Gateway::layer). A request to the inner service is sanitized: early
/// header edits have been applied, `x-forwarded-*` fields are set, and its extensions contain
/// [`Sanitized`](crate::http::Sanitized) and [`ClientIp`](crate::http::client_ip::ClientIp). A request that
/// cannot be sanitized is rejected. Requests to the inner service are not logged.
///
/// The port is looked up for each request, so a plan may add or remove the port. If the plan does not have
/// the port, every request goes to the inner service. If two ports have the same number, the one that was
/// applied first is used.
#[derive(Clone, Debug)]
pub struct GatewayLayer<F = Find>(Embedded<F>);

impl GatewayLayer {
    pub(crate) fn new(router: Router, port: u16) -> Self {
        Self(Embedded {
            router,
            port,
            find: known_connection,
        })
    }
}

impl<F> GatewayLayer<F> {
    /// Determines the connection of a request with `find` instead of [`known_connection`], for example from
    /// axum's `ConnectInfo`.
    pub fn with_connection<G>(self, find: G) -> GatewayLayer<G>
    where
        G: Fn(&Extensions) -> Option<Arc<ConnInfo>>,
    {
        let Embedded { router, port, .. } = self.0;
        GatewayLayer(Embedded { router, port, find })
    }
}

impl<S, F: Clone> Layer<S> for GatewayLayer<F> {
    type Service = GatewayService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        GatewayService {
            embedded: self.0.clone(),
            inner,
        }
    }
}

/// Service of [`GatewayLayer`].
#[derive(Clone, Debug)]
pub struct GatewayService<S, F = Find> {
    embedded: Embedded<F>,
    inner: S,
}

type ResponseFuture<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S, F, B, R> Service<Request<B>> for GatewayService<S, F>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send> + Clone + Send + 'static,
    F: Fn(&Extensions) -> Option<Arc<ConnInfo>>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    R: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = self.embedded.router.shared.clone();
        let conn = self.embedded.connection(request.extensions());
        let port = self.embedded.port;
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            match proxy(&shared, &conn, port, request).await {
                Ok(response) => Ok(response),
                Err(request) => {
                    let response = inner.call(request).await?;
                    Ok(response.map(Body::new))
                }
            }
        })
    }
}

/// Responds to a request that matches a rule of the port. Returns any other request.
async fn proxy<B>(
    shared: &Arc<Shared>,
    conn: &ConnInfo,
    port: u16,
    request: Request<B>,
) -> Result<Response<Body>, Request<B>>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let snapshot = shared.handle.current();
    let Some(port) = snapshot.port(port) else {
        return Err(request);
    };
    let (head, body) = request.into_parts();
    match InboundRequest::new(shared, conn, port, head).into_unrouted() {
        Ok(head) => Err(Request::from_parts(head, body)),
        Err(mut inbound) => {
            let result = inbound.respond(Body::new(body)).await;
            Ok(inbound.finish(result))
        }
    }
}

/// Proxies requests that match a rule of one port of the plan. The response to all other requests is 404.
///
/// Created by [`Gateway::service`](crate::Gateway::service).
#[derive(Clone, Debug)]
pub struct PortService<F = Find>(Embedded<F>);

impl PortService {
    pub(crate) fn new(router: Router, port: u16) -> Self {
        Self(GatewayLayer::new(router, port).0)
    }
}

impl<F> PortService<F> {
    /// Determines the connection of a request with `find` instead of [`known_connection`].
    pub fn with_connection<G>(self, find: G) -> PortService<G>
    where
        G: Fn(&Extensions) -> Option<Arc<ConnInfo>>,
    {
        PortService(GatewayLayer(self.0).with_connection(find).0)
    }
}

impl<F, B> Service<Request<B>> for PortService<F>
where
    F: Fn(&Extensions) -> Option<Arc<ConnInfo>>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = self.0.router.shared.clone();
        let conn = self.0.connection(request.extensions());
        let port = self.0.port;
        Box::pin(async move {
            let snapshot = shared.handle.current();
            let (head, body) = request.into_parts();
            Ok(match snapshot.port(port) {
                Some(port) => {
                    let mut inbound = InboundRequest::new(&shared, &conn, port, head);
                    let result = inbound.respond(Body::new(body)).await;
                    inbound.finish(result)
                }
                None => Error::NoRoute.reply().into_response_to(&head.headers),
            })
        })
    }
}

impl Snapshot {
    /// The port with this number. The search is linear, because there are few ports.
    fn port(&self, port: u16) -> Option<&crate::snapshot::PortSnapshot> {
        self.ports.iter().flatten().find(|found| found.port == port)
    }
}

impl From<ConnectionAddrs> for ConnInfo {
    /// A connection without TLS between these addresses, accepted outside the gateway.
    fn from(ends: ConnectionAddrs) -> Self {
        Self::new(ends, usize::MAX, ends.local.port(), None)
    }
}

impl From<SocketAddr> for ConnInfo {
    /// A connection without TLS from this peer. The local address is unknown.
    fn from(peer: SocketAddr) -> Self {
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        ConnectionAddrs::of_tcp(peer, unknown).into()
    }
}

#[cfg(test)]
mod tests;
