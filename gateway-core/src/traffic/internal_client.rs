//! HTTP client for services that the gateway itself calls: external authorization, JWKS, OIDC token
//! endpoints, rate limit services.
//!
//! A call uses the same stack as a client's request: weighted backends, load balancing, retries,
//! circuit breaker, outlier detection, pooled connections and TLS of a [`Forwarder`]. No policy
//! opens its own connections.
//!
//! ```text
//! policy ──Request──> InternalClient ──> Forwarder::pick ──> attempts ──> Pool ──> service
//!                       call timeout      weighted backend    retries      HTTP/1, HTTP/2
//! ```
//!
//! A client is built once for each snapshot and shared by all workers. The client may be used in any tokio
//! runtime.

use std::fmt;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::{Instant, timeout_at};
use towergate_tls::connector::CryptoProvider;

use super::{ForwardContext, Forwarder};
use crate::Body;
use crate::balance::Clusters;
use crate::body::BoxError;
use crate::error::Error;
use crate::live::Live;
use crate::observer::Observer;
use crate::plan::{
    Backend, BackendId, BackendProtocol, Destination, Endpoint, Endpoints, Traffic, WeightedBackend,
};

/// Timeout of a call unless [`InternalClient::with_timeout`] sets another.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// HTTP client for services that the gateway itself calls.
///
/// A request is sent as given: no `x-forwarded-*` or `x-envoy-*` header of a client is added. The
/// authority of its URI, or its `Host`, names the service. The backend's protocol determines
/// whether HTTP/1.1 or HTTP/2 is used. Filters of the backends are not applied, and a connection is
/// never upgraded.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use towergate_core::Body;
/// use towergate_core::error::Error;
/// use towergate_core::plan::{
///     Backend, BackendId, BackendProtocol, Destination, Traffic, WeightedBackend,
/// };
/// use towergate_core::policy::{InternalClient, Live};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let authorization = WeightedBackend {
///     weight: 1,
///     filters: Vec::new(),
///     destination: Destination::Backend(Arc::new(Backend {
///         id: BackendId::service("auth", "ext-authz", 9000),
///         protocol: BackendProtocol::Http1,
///         tls: None,
///         hosts: Vec::new(),
///         fallback: false,
///         dynamic: None,
///     })),
/// };
/// let (live, provider) = (Live::default(), towergate_tls::default_provider());
/// let traffic = Arc::new(Traffic::default());
/// let client = InternalClient::new("a policy", traffic, &[authorization], &live, &provider)
///     .with_timeout(Duration::from_secs(1));
///
/// let request = http::Request::get("http://ext-authz.auth/check").body(Body::empty()).unwrap();
/// let error = client.send(request).await.unwrap_err();
///
/// assert!(matches!(error, Error::NoEndpoint), "the backend has no endpoint yet");
/// # });
/// ```
#[derive(Clone)]
pub struct InternalClient {
    forwarder: Arc<Forwarder>,
    observer: Arc<dyn Observer>,
    timeout: Duration,
}

/// A response body that has been read to its end.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CollectedBody {
    /// All data of the body.
    pub data: Bytes,
    /// Trailers, for example `grpc-status`.
    pub trailers: Option<HeaderMap>,
}

/// Error of [`InternalClient::send_collected`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The service did not return a response head, or the call exceeded its timeout.
    #[error(transparent)]
    Forward(#[from] Error),
    /// The response body is longer than the limit of the caller.
    #[error("response body exceeds {limit} bytes")]
    BodyTooLarge {
        /// Limit in bytes.
        limit: usize,
    },
    /// The response body ended in an error.
    #[error("response body failed")]
    Body(#[source] BoxError),
}

impl InternalClient {
    /// Builds a client for `backends` with the settings `traffic`. Endpoints, connections and breaker
    /// counters are shared through `live`; `key` identifies the breaker.
    pub fn new<K>(
        key: K,
        traffic: Arc<Traffic>,
        backends: &[WeightedBackend],
        live: &Live,
        provider: &Arc<CryptoProvider>,
    ) -> Self
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
    {
        let key = ClientKey(key);
        Self {
            forwarder: Arc::new(Forwarder::new(key, traffic, backends, live, provider)),
            observer: Arc::new(()),
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// Builds a client for fixed addresses, with default settings and without TLS. It is intended for
    /// programs that use a policy without a gateway.
    pub fn of_addresses(
        addresses: &[SocketAddr],
        protocol: BackendProtocol,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        let id = BackendId::service("", "addresses", 0);
        let backend = WeightedBackend {
            weight: 1,
            filters: Vec::new(),
            destination: Destination::Backend(Arc::new(Backend {
                id: id.clone(),
                protocol,
                tls: None,
                hosts: Vec::new(),
                fallback: false,
                dynamic: None,
            })),
        };
        let live = Live::default();
        let clusters = Clusters::of(&live);
        let client = Self::new((), Arc::default(), &[backend], &live, provider);
        let endpoints = addresses.iter().map(|address| Endpoint {
            address: (*address).into(),
            weight: 1,
            zone: None,
        });
        // The endpoints outlive `clusters`, because the client holds a reference to the cluster that contains
        // them.
        clusters.update(&Endpoints::from([(id, endpoints.collect())]));
        client
    }

    /// Sets the timeout of a whole call, including retries. Default: 10 seconds. The call ends with the
    /// response head for [`Self::send`], and with the end of the body for [`Self::send_collected`]. The
    /// timeouts of the traffic settings apply in addition.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Reports connections, retries and overflows to `observer`.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Sends a request and returns the response once its head has been received. Dropping the body before
    /// its end closes an HTTP/1 connection and resets an HTTP/2 stream.
    ///
    /// # Errors
    /// The cause, if no response is received; [`Error::Timeout`] if the call exceeded its timeout.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        self.send_until(request, self.deadline()).await
    }

    /// Sends a request and reads the response to its end. If the body exceeds `limit` bytes, reading stops
    /// with an error.
    ///
    /// # Errors
    /// The cause, if no complete response is received.
    pub async fn send_collected(
        &self,
        request: Request<Body>,
        limit: usize,
    ) -> Result<Response<CollectedBody>, CallError> {
        let deadline = self.deadline();
        let response = self.send_until(request, deadline).await?;
        let (head, body) = response.into_parts();
        let body = timeout_at(deadline, collect(body, limit))
            .await
            .map_err(|_| Error::Timeout)??;
        Ok(Response::from_parts(head, body))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    async fn send_until(
        &self,
        request: Request<Body>,
        deadline: Instant,
    ) -> Result<Response<Body>, Error> {
        let context = ForwardContext {
            client: None,
            observer: &self.observer,
            envoy_headers: false,
            preserve_header_case: false,
            upgrade: None,
            connection: None,
        };
        // This future is boxed, so that the future of a policy that calls a service stays small.
        let forwarding = Box::pin(self.forwarder.forward(&context, request));
        match timeout_at(deadline, forwarding).await {
            Ok(Ok(forwarded)) => Ok(forwarded.response),
            Ok(Err(failure)) => Err(failure.error),
            Err(_) => Err(Error::Timeout),
        }
    }
}

/// Key of the circuit breaker of an internal client. The separate type prevents a rule with an equal key from
/// sharing the breaker.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct ClientKey<K>(K);

async fn collect(body: Body, limit: usize) -> Result<CollectedBody, CallError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(CallError::BodyTooLarge { limit });
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(CollectedBody {
            trailers: collected.trailers().cloned(),
            data: collected.to_bytes(),
        }),
        Err(error) if error.is::<LengthLimitError>() => Err(CallError::BodyTooLarge { limit }),
        Err(error) => Err(CallError::Body(error)),
    }
}

impl fmt::Debug for InternalClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InternalClient")
            .field("forwarder", &self.forwarder)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
