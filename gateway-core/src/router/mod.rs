//! The request path, in one place.
//!
//! | step | what | may answer |
//! |---|---|---|
//! | 1 | listener: by SNI, or by `Host` on a plain port | |
//! | 2 | sanitize: one Host, one framing, a normal path | 4xx, redirect to the unescaped path |
//! | 3 | early header edits, of a head that is clean: no client can undo them by `Connection` | |
//! | 4 | client address, then `x-forwarded-*` | 403, 404 |
//! | 5 | health check of the listener | 200, 503 |
//! | 6 | the authority must belong to the listener that TLS chose | 421 |
//! | 7 | rule: host, then Gateway API's precedence | 404, 500 |
//! | 8 | CORS; guards: policies see the request before any filter changes it | 200 to preflights; as they say |
//! | 9 | redirect | 3xx |
//! | 10 | upgrade allowed by the rule | 403 |
//! | 11 | backend by weight, its redirect; request edits, the backendRef's before the rule's; rewrite; copies | 3xx, 500 |
//! | 12 | forward: deadline, retries, breaker, balancing, connection | 5xx |
//! | 13 | back: response edits in reverse, what CORS says, then the listener's late edits | |
//!
//! Whoever answers, the answer passes step 13's late edits and the access log. So do the codec's answers
//! to what is no request ([`Handler::refuse`]).

mod arrival;
mod bodies;
mod exchange;
pub mod layer;
mod reply;
mod step;
#[cfg(test)]
mod tests;
mod timers;

use std::pin::Pin;
use std::sync::Arc;

use http::header::CONNECTION;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, request};
use hyper::body::Incoming;

use arrival::Arrival;
use exchange::Exchange;

use crate::access_log::{AccessLog, Entry};
use crate::conn::{ConnInfo, Drain};
use crate::error::Answer;
use crate::http::{Authority, Rejected};
use crate::in_box::in_box;
use crate::observer::{Event, Observer};
use crate::plan::ListenerId;
use crate::policy::{Rejection, ResponseEdits};
use crate::serve::{self, Handler};
use crate::snapshot::{ListenerSnapshot, PortSnapshot, SnapshotHandle};
use crate::stream::StreamLog;
use crate::{Body, Error};

const HEALTHCHECKED: HeaderName = HeaderName::from_static("x-envoy-upstream-healthchecked-cluster");

/// Answers requests by the current snapshot.
#[derive(Clone)]
pub struct Router {
    shared: Arc<Shared>,
}

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) handle: Arc<SnapshotHandle>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) access_log: Option<Arc<dyn AccessLog>>,
    pub(crate) drain: Drain,
}

impl Router {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl Handler for Router {
    type Future = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

    fn handle(&self, conn: &Arc<ConnInfo>, request: Request<Incoming>) -> Self::Future {
        in_box(|| respond(self.shared.clone(), conn.clone(), request.map(Body::from)))
    }

    fn refuse(&self, conn: &Arc<ConnInfo>, refusal: &mut serve::Refusal) {
        let snapshot = self.shared.handle.current();
        let Some(port) = snapshot.ports.get(conn.slot).and_then(Option::as_ref) else {
            return;
        };
        // Without a head there is no host: a plain port's first listener stands for all.
        let listener = listener_of(port, conn, None);
        let late = &listener.settings.headers.late;
        late.apply(&mut refusal.headers);
        if !refusal.begun {
            Exchange::refused(&self.shared, &listener.id, conn, refusal);
        }
    }
}

impl StreamLog for Router {
    fn log_stream(&self, listener: &ListenerId, entry: &Entry) {
        self.shared
            .observer
            .observe(&Event::Stream(listener, entry));
        if let Some(log) = &self.shared.access_log {
            log.write(entry);
        }
    }
}

/// Answers one request, whatever happens.
async fn respond(
    shared: Arc<Shared>,
    conn: Arc<ConnInfo>,
    request: Request<Body>,
) -> Response<Body> {
    let snapshot = shared.handle.current();
    let (head, body) = request.into_parts();
    let Some(port) = snapshot.ports.get(conn.slot).and_then(Option::as_ref) else {
        // The port is gone; the connection drains.
        return reply::reply(&Error::NoRoute.answer(), reply::is_grpc(&head.headers));
    };
    let mut arrival = Arrival::new(&shared, &conn, port, head);
    let answer = arrival.answer(body).await;
    arrival.finish(answer)
}

/// The listener that TLS chose; on a plain port the one that takes the host, else the first.
fn listener_of<'a>(
    port: &'a PortSnapshot,
    conn: &ConnInfo,
    head: Option<&request::Parts>,
) -> &'a ListenerSnapshot {
    let by_name = |name: &str| port.by_host.find(name).copied();
    let index = match &conn.tls {
        Some(tls) => by_name(tls.server_name.as_deref().unwrap_or_default()),
        None if port.listeners.len() == 1 => Some(0),
        None => head
            .and_then(host_of)
            .and_then(|authority| by_name(authority.host())),
    };
    &port.listeners[index.unwrap_or(0)]
}

/// The authority, before anything is known to be right about it.
fn host_of(head: &request::Parts) -> Option<Authority> {
    let target = head
        .uri
        .authority()
        .and_then(|name| HeaderValue::from_str(name.as_str()).ok());
    Authority::parse(
        target
            .as_ref()
            .or_else(|| head.headers.get(http::header::HOST))?,
    )
    .ok()
}

/// Why a request is answered by the gateway itself.
enum Refusal {
    /// There is no answer from a backend.
    Error(Error),
    /// The head is no good.
    Rejected(Rejected),
    /// A policy says no.
    Rejection(Rejection),
    /// The path answers itself: redirects, health checks. With Envoy's response code details.
    Response(Box<Response<Body>>, &'static str),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Rejected> for Refusal {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejection(rejection)
    }
}

impl Refusal {
    /// The answer to a health check of the listener, which names its Gateway as Envoy names its cluster.
    fn health(leaving: bool, gateway: &str) -> Self {
        let mut response = Response::new(Body::Empty);
        if let Ok(gateway) = HeaderValue::from_str(gateway) {
            response.headers_mut().insert(HEALTHCHECKED, gateway);
        }
        if !leaving {
            return Self::Response(Box::new(response), "health_check_ok");
        }
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        Self::Response(Box::new(response), "health_check_failed")
    }

    fn into_response(self, grpc: bool, exchange: &mut Exchange) -> Response<Body> {
        let (answer, headers) = match self {
            Self::Response(response, details) => {
                exchange.entry.details = details.into();
                return *response;
            }
            Self::Rejected(rejected) if rejected.location.is_some() && !grpc => {
                exchange.entry.details = rejected.details.into();
                return rejected.into_response();
            }
            Self::Rejected(rejected) => {
                let close = rejected
                    .close
                    .then(|| (CONNECTION, HeaderValue::from_static("close")));
                (rejected.answer(), close.into_iter().collect())
            }
            Self::Error(error) => {
                if let Error::RequestBody(cause) = &error
                    && bodies::ended_early(&**cause)
                {
                    exchange.note_left();
                }
                (error.answer(), ResponseEdits::new())
            }
            Self::Rejection(no) => {
                let answer = Answer {
                    status: no.status,
                    body: no.body.into(),
                    flag: no.flag,
                    details: no.details.into(),
                };
                (answer, no.headers)
            }
        };
        let mut response = reply::reply(&answer, grpc);
        for (name, value) in headers {
            response.headers_mut().append(name, value);
        }
        if !exchange.has_left() {
            exchange.entry.flags = answer.flag.into();
            exchange.entry.details = answer.details;
        }
        response
    }
}
