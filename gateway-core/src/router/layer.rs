//! The gateway inside somebody else's service.
//!
//! ```text
//! request ──GatewayService──> a rule of the port takes it ──> proxied
//!                         └─> none does ──> the inner service (GatewayLayer), or 404 (PortService)
//! ```
//!
//! The host program accepts connections and speaks HTTP; of them the gateway knows what the
//! extensions of a request say. Everything else (routes, policies, retries, access log, metrics) works
//! as it does behind sockets of the gateway's own. What belongs to sockets does not: PROXY headers, TLS,
//! and the timers and limits of connections are the host program's.
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
//! let app = gateway.layer(80).layer(own); // In front, so that routing sees clean paths.
//!
//! // There is no plan yet, so the inner service has it all.
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

use super::arrival::Arrival;
use super::{Router, Shared};
use crate::body::BoxError;
use crate::conn::ConnInfo;
use crate::conn::ConnectionAddrs;
use crate::snapshot::Snapshot;
use crate::{Body, Error};

/// How the connection of a request is found in its extensions.
type Find = fn(&Extensions) -> Option<Arc<ConnInfo>>;

/// The connection of a request, as the gateway or a server around it leaves it in the extensions:
/// [`ConnInfo`], alone or in an [`Arc`], [`ConnectionAddrs`], or the peer as a [`SocketAddr`].
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

/// One port of the plan, for requests that somebody else received.
#[derive(Clone)]
struct Embedded<F> {
    router: Router,
    port: u16,
    find: F,
}

impl<F: Fn(&Extensions) -> Option<Arc<ConnInfo>>> Embedded<F> {
    /// The request's connection; without one the client is `0.0.0.0`, which no rule should trust.
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

/// Proxies what the rules of one port of the plan take; the rest goes to the inner service.
///
/// Made by [`Gateway::layer`](crate::Gateway::layer). What goes to the inner service is clean: early
/// header edits and `x-forwarded-*` are done, and the extensions hold
/// [`Sanitized`](crate::http::Sanitized) and [`ClientIp`](crate::http::client_ip::ClientIp). A request
/// that cannot be cleaned is refused: nobody could say whose it is. Nothing is logged of what goes to
/// the inner service.
///
/// The port is looked up for each request, so it may come and go with plans; without it, everything
/// goes to the inner service. Of two ports with one number, the first that was ever applied counts.
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
    /// Finds the connections of requests with `find` instead of [`known_connection`], such as from
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

/// What [`GatewayLayer`] makes of a service.
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

/// Answers what a rule of the port takes, and gives the rest back.
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
    match Arrival::new(shared, conn, port, head).pass_on() {
        Ok(head) => Err(Request::from_parts(head, body)),
        Err(mut arrival) => {
            let answer = arrival.answer(Body::new(body)).await;
            Ok(arrival.finish(answer))
        }
    }
}

/// Proxies what the rules of one port of the plan take, and answers the rest with 404.
///
/// Made by [`Gateway::service`](crate::Gateway::service).
#[derive(Clone, Debug)]
pub struct PortService<F = Find>(Embedded<F>);

impl PortService {
    pub(crate) fn new(router: Router, port: u16) -> Self {
        Self(GatewayLayer::new(router, port).0)
    }
}

impl<F> PortService<F> {
    /// Finds the connections of requests with `find` instead of [`known_connection`].
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
                    let mut arrival = Arrival::new(&shared, &conn, port, head);
                    let answer = arrival.answer(Body::new(body)).await;
                    arrival.finish(answer)
                }
                None => Error::NoRoute.reply().into_response_to(&head.headers),
            })
        })
    }
}

impl Snapshot {
    /// The port of this number. There are few, so they are looked through.
    fn port(&self, port: u16) -> Option<&crate::snapshot::PortSnapshot> {
        self.ports.iter().flatten().find(|found| found.port == port)
    }
}

impl From<ConnectionAddrs> for ConnInfo {
    /// A plain connection with these ends, which no socket of the gateway has accepted.
    fn from(ends: ConnectionAddrs) -> Self {
        Self::new(ends, usize::MAX, ends.local.port(), None)
    }
}

impl From<SocketAddr> for ConnInfo {
    /// A plain connection from this peer; our end is not known.
    fn from(peer: SocketAddr) -> Self {
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        ConnectionAddrs::of_tcp(peer, unknown).into()
    }
}

#[cfg(test)]
mod tests;
