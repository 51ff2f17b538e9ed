//! The request path, in one place.
//!
//! | step | work | local reply |
//! |---|---|---|
//! | 1 | listener: by SNI, or by `Host` on a plain port | |
//! | 2 | sanitize: one `Host`, one framing, a normalised path | 4xx, redirect to the unescaped path |
//! | 3 | early header edits; they follow step 2, so that a client cannot undo them with `Connection` | |
//! | 4 | client address, then `x-forwarded-*` | 403, 404 |
//! | 5 | health check of the listener | 200, 503 |
//! | 6 | authority: must belong to the listener that TLS selected | 421 |
//! | 7 | rule: host, then the precedence of Gateway API | 404, 500 |
//! | 8 | policies, in the order of [`Stage`](crate::policy::Stage), before any filter changes the request; then gRPC-Web to gRPC | those of the policies |
//! | 9 | invalid rule; redirect | 500; 3xx |
//! | 10 | upgrade, if the rule allows it | 403 |
//! | 11 | backendRef by weight and its redirect; request edits, first those of the backendRef; rewrite; mirrors | 3xx, 500 |
//! | 12 | forward: deadline, retries, breaker, balancing, connection | 5xx |
//! | 13 | response: filters in reverse, policies in reverse, late edits of the listener | |
//!
//! Local replies also pass the last parts of step 13: the response halves of policies that have run, late
//! edits and the access log. The codec's replies to malformed requests ([`Handler::handle_codec_reply`]) only
//! pass late edits and the access log.

mod chain_run;
mod exchange;
mod head_edits;
mod inbound;
pub mod layer;
mod request_body;
mod request_context;
mod response_body;
#[cfg(test)]
mod tests;
mod timers;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, request};
use hyper::body::Incoming;

use exchange::{Exchange, format_connection};
use inbound::InboundRequest;

use crate::access_log::{AccessLog, Entry};
use crate::conn::{ConnInfo, Drain};
use crate::format::{FormatContext, FormatExchange};
use crate::http::Authority;
use crate::observer::{Event, Observer};
use crate::pin_boxed::pin_boxed_with;
use crate::plan::ListenerId;
use crate::serve::Handler;
use crate::snapshot::{ListenerSnapshot, PortSnapshot, SnapshotHandle};
use crate::stream::StreamLog;
use crate::{Body, Error, LocalReply};

const HEALTHCHECKED: HeaderName = HeaderName::from_static("x-envoy-upstream-healthchecked-cluster");

/// Responds to requests according to the current snapshot.
#[derive(Clone)]
pub struct Router {
    shared: Arc<Shared>,
}

/// State shared by all requests.
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
        age: Duration,
    ) -> Response<Bytes> {
        let snapshot = self.shared.handle.current();
        let Some(port) = snapshot.ports.get(conn.slot).and_then(Option::as_ref) else {
            return reply.into_response(false);
        };
        // Without a head, the host is unknown, so on a port without TLS the first listener applies.
        let listener = listener_of(port, conn, None);
        if !recorded {
            Exchange::record_reply(&self.shared, &listener.id, conn, &reply, age);
        }
        let (flags, details) = (reply.flag, reply.details.clone());
        let mut response = reply.into_response(false);
        let status = response.status();
        let late = &listener.settings.headers.late;
        late.apply_with(response.headers_mut(), |headers, format| {
            format.header_value(&FormatContext {
                request: None,
                response: Some(headers),
                connection: Some(format_connection(conn)),
                exchange: Some(FormatExchange {
                    status: Some(status),
                    flags,
                    details: &details,
                    connection: Some(conn.id),
                    ..FormatExchange::begun(SystemTime::now() - age)
                }),
                logged: None,
            })
        });
        response
    }

    fn handle_incomplete_head(&self, conn: &Arc<ConnInfo>, age: Duration) {
        let snapshot = self.shared.handle.current();
        if let Some(port) = snapshot.ports.get(conn.slot).and_then(Option::as_ref) {
            let listener = listener_of(port, conn, None);
            Exchange::record_incomplete(&self.shared, &listener.id, conn, age);
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

/// Responds to one request. Every request gets a response.
async fn respond(
    shared: Arc<Shared>,
    conn: Arc<ConnInfo>,
    request: Request<Body>,
) -> Response<Body> {
    let snapshot = shared.handle.current();
    let (head, body) = request.into_parts();
    let Some(port) = snapshot.ports.get(conn.slot).and_then(Option::as_ref) else {
        // The port has been removed, but the connection is still open.
        return Error::NoRoute.reply().into_response_to(&head.headers);
    };
    let mut inbound = InboundRequest::new(&shared, &conn, port, head);
    let result = inbound.respond(body).await;
    inbound.finish(result)
}

/// The listener of a request. With TLS, it is the listener that the server name of the handshake selected.
/// Without TLS, it is the listener that matches the host. If no listener matches the host, it is the first
/// listener.
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

/// The authority of a head that is not sanitized yet.
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

/// The reply to a health check of the listener. Its header `x-envoy-upstream-healthchecked-cluster` contains
/// the name of the Gateway.
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
