//! The backends and authentication servers of a proof: one server that records the requests that it receives.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use http::header::HOST;
use http::{HeaderMap, HeaderName, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use towergate_core::Body;
use towergate_k8s::ObjectKey;
use towergate_k8s::ingress::model::AuthCall;

use crate::Failure;

/// Header field of the responses of backends. It contains the number of the request.
const BACKEND: &str = "x-proof-backend";
/// Header field of a request with the status that the authentication server returns.
pub(crate) const AUTH_STATUS: &str = "x-proof-auth-status";
/// Header field that only calls of an authentication server have.
const ORIGINAL_URL: &str = "x-original-url";
/// Status of the authentication server for a request without [`AUTH_STATUS`].
const DENIED: u16 = 401;

/// A request that a backend received.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReceivedByBackend {
    /// Service or Backend.
    pub(crate) name: Option<String>,
    /// Request target.
    pub(crate) target: Option<String>,
    /// Header fields.
    pub(crate) headers: HeaderMap,
}

/// What the server received since the last [`Echo::forget`].
#[derive(Debug, Default)]
struct Records {
    received: Vec<ReceivedByBackend>,
    auth_calls: Vec<AuthCall>,
}

/// A server that records the requests that it receives. It binds all IPv4 addresses and closes connections from other
/// machines.
pub(crate) struct Echo {
    /// Its port.
    pub(crate) port: u16,
    /// Services and Backends by address.
    pub(crate) names: Arc<OnceLock<HashMap<IpAddr, String>>>,
    records: Arc<Mutex<Records>>,
}

impl Echo {
    /// Starts the server. Each response has the header fields that `fields` names.
    ///
    /// # Errors
    /// If no socket can be bound.
    pub(crate) async fn start(fields: Vec<String>) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let this = Self {
            port: listener.local_addr()?.port(),
            names: Arc::default(),
            records: Arc::default(),
        };
        let fields = fields.iter().filter_map(|name| name.parse().ok());
        let fields: Arc<[HeaderName]> = fields.collect();
        let (names, records) = (Arc::clone(&this.names), Arc::clone(&this.records));
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let Ok(local) = stream.local_addr() else {
                    continue;
                };
                // Only this machine may use the server.
                if !peer.ip().is_loopback() {
                    continue;
                }
                let name = names
                    .get()
                    .and_then(|names| names.get(&local.ip()).cloned());
                let (records, fields) = (Arc::clone(&records), Arc::clone(&fields));
                let service = service_fn(move |request: Request<Incoming>| {
                    let response = answer(&request, name.clone(), &fields, &mut lock(&records));
                    async move { response }
                });
                tokio::spawn(async move {
                    // A connection that fails is a request without a response.
                    let _ = match begins_with_preface(&stream).await {
                        true => {
                            let builder = http2::Builder::new(TokioExecutor::new());
                            builder
                                .serve_connection(TokioIo::new(stream), service)
                                .await
                        }
                        false => {
                            let builder = http1::Builder::new();
                            builder
                                .serve_connection(TokioIo::new(stream), service)
                                .await
                        }
                    };
                });
            }
        });
        Ok(this)
    }

    /// Discards the recorded requests and calls.
    pub(crate) fn forget(&self) {
        *lock(&self.records) = Records::default();
    }

    /// The request to which a backend responded with these header fields. Other recorded requests may be
    /// mirrored copies (`mirror-target`).
    pub(crate) fn received(&self, response: &HeaderMap) -> Option<ReceivedByBackend> {
        let number: usize = response.get(BACKEND)?.to_str().ok()?.parse().ok()?;
        lock(&self.records).received.get(number).cloned()
    }

    /// Calls of authentication servers.
    pub(crate) fn auth_calls(&self) -> Vec<AuthCall> {
        lock(&self.records).auth_calls.clone()
    }
}

/// Whether a connection is HTTP/2, the protocol of gRPC.
async fn begins_with_preface(stream: &TcpStream) -> bool {
    let mut first = [0; 3];
    loop {
        match stream.peek(&mut first).await {
            Ok(3) => return &first == b"PRI",
            Ok(0) | Err(_) => return false,
            // The next read may return more.
            Ok(_) => tokio::task::yield_now().await,
        }
    }
}

fn lock(records: &Mutex<Records>) -> MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records a request to the server `name` and answers it.
fn answer(
    request: &Request<Incoming>,
    name: Option<String>,
    fields: &[HeaderName],
    records: &mut Records,
) -> Result<Response<Body>, http::Error> {
    let text = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
    let target = request.uri().path_and_query().map(ToString::to_string);
    if request.headers().contains_key(ORIGINAL_URL) {
        let status = text(AUTH_STATUS).and_then(|text| text.parse().ok());
        let service = name.as_deref().and_then(|name| name.split_once('/'));
        records.auth_calls.push(AuthCall {
            service: service.map(|(namespace, name)| ObjectKey::new(namespace, name)),
            host: text(HOST.as_str()).unwrap_or_default(),
            target: target.unwrap_or_default(),
        });
        return Response::builder()
            .status(status.unwrap_or(DENIED))
            .body(Body::empty());
    }
    let mut response = Response::builder().header(BACKEND, records.received.len());
    records.received.push(ReceivedByBackend {
        name,
        target,
        headers: request.headers().clone(),
    });
    for name in fields {
        response = response.header(name, "sent-by-the-backend");
    }
    response.body(Body::empty())
}
