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
//! to malformed requests ([`Handler::handle_codec_reply`]).

mod arrival;
mod bodies;
mod exchange;
pub mod layer;
mod step;
#[cfg(test)]
mod tests;
mod timers;

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, request};
use hyper::body::Incoming;

use arrival::Arrival;
use exchange::Exchange;

use crate::access_log::{AccessLog, Entry};
use crate::conn::{ConnInfo, Drain};
use crate::http::Authority;
use crate::observer::{Event, Observer};
use crate::pin_boxed::pin_boxed_with;
use crate::plan::ListenerId;
use crate::serve::Handler;
use crate::snapshot::{ListenerSnapshot, PortSnapshot, SnapshotHandle};
use crate::stream::StreamLog;
use crate::{Body, Error, LocalReply};

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
        pin_boxed_with(|| {
            respond(
                self.shared.clone(),
                conn.clone(),
                request.map(Body::incoming),
            )
        })
    }

    fn handle_codec_reply(
        &self,
        conn: &Arc<ConnInfo>,
        reply: LocalReply,
        recorded: bool,
    ) -> Response<Bytes> {
        let snapshot = self.shared.handle.current();
        let Some(port) = snapshot.ports.get(conn.slot).and_then(Option::as_ref) else {
            return reply.into_response(false);
        };
        // Without a head there is no host: a plain port's first listener stands for all.
        let listener = listener_of(port, conn, None);
        if !recorded {
            Exchange::record_reply(&self.shared, &listener.id, conn, &reply);
        }
        let mut response = reply.into_response(false);
        listener.settings.headers.late.apply(response.headers_mut());
        response
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
        return Error::NoRoute.reply().into_response_to(&head.headers);
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

/// The reply to a health check of the listener. It names the Gateway in the header in which Envoy names
/// its cluster.
fn health_reply(leaving: bool, gateway: &str) -> LocalReply {
    let mut reply = match leaving {
        false => LocalReply::new(StatusCode::OK, "health_check_ok"),
        true => LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, "health_check_failed"),
    };
    if let Ok(gateway) = HeaderValue::from_str(gateway) {
        reply.headers.push((HEALTHCHECKED, gateway));
    }
    reply
}
