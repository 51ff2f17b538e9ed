//! The path of a request from its head to its response, in two parts: route matching, then the
//! actions of the rule.
//!
//! Route matching only uses the head, and does not wait. If no rule matches, the request body has therefore
//! not been read, and a program that embeds the gateway can handle the request itself.

use std::sync::Arc;

use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, request};
use hyper::upgrade::OnUpgrade;

use super::exchange::Exchange;
use super::request_context::{
    RequestContext, RequestParts, ResponseState, RoutedRequest, SanitizedRequest,
};
use super::{Shared, listener_of, response_body};
use crate::conn::ConnInfo;
use crate::format::{Format, FormatRequest};
use crate::grpc_web::WebEncoding;
use crate::http::grpc::is_grpc;
use crate::http::header_presence::HeaderPresence;
use crate::http::{Sanitized, Upgrade};
use crate::policy::{Formatter, ResponseEffects};
use crate::snapshot::PortSnapshot;
use crate::{Body, Error, LocalReply};

/// A request after route matching.
pub(super) struct InboundRequest<'a> {
    context: RequestContext<'a>,
    head: request::Parts,
    version: Version,
    /// Client connection of an upgrade request.
    connection: Option<OnUpgrade>,
    grpc: bool,
    /// Whether the request is gRPC-Web, and is translated to gRPC.
    grpc_web: bool,
    /// Whether the connection closes after this request, because the client uses HTTP/1.0.
    last: bool,
    exchange: Box<Exchange>,
    outcome: RouteOutcome<'a>,
    effects: ResponseEffects,
}

/// Result of route matching.
enum RouteOutcome<'a> {
    /// A rule matches.
    Routed(RoutedRequest<'a>),
    /// No rule matches.
    Unrouted(SanitizedRequest),
    /// The request is a health check of the listener.
    HealthCheck(Sanitized),
    /// A local reply that does not depend on a rule. `None` after the reply has been returned.
    Replied(Option<LocalReply>),
}

impl<'a> InboundRequest<'a> {
    /// Steps 1 to 7.
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        conn: &'a ConnInfo,
        port: &'a PortSnapshot,
        mut head: request::Parts,
    ) -> Self {
        // hyper stores the connection of an upgrade request in the extensions.
        let connection = head.extensions.remove();
        let names = HeaderPresence::of(&head.headers);
        let typed = names.has(HeaderPresence::CONTENT_TYPE);
        let grpc = typed && is_grpc(&head.headers);
        let last = head.version < Version::HTTP_11 && !asks_keep_alive(&head.headers);
        let listener = listener_of(port, conn, Some(&head));
        let grpc_web =
            typed && listener.grpc_web && !grpc && WebEncoding::of_request(&head.headers).is_some();
        let mut exchange = Exchange::new(shared, &listener.id, conn, &head);
        let context = RequestContext {
            shared,
            conn,
            port,
            listener,
        };
        let outcome = match_route(&context, &mut head, names, &mut exchange);
        Self {
            context,
            version: head.version,
            head,
            connection,
            grpc,
            grpc_web,
            last,
            exchange,
            outcome,
            effects: ResponseEffects::default(),
        }
    }

    /// Returns the head if no rule matches. The head is sanitized and its extensions contain the client
    /// address. The request is not logged.
    #[expect(
        clippy::result_large_err,
        reason = "nearly all requests return the error variant"
    )]
    pub(super) fn into_unrouted(self) -> Result<request::Parts, Self> {
        let RouteOutcome::Unrouted(SanitizedRequest { sanitized, client }) = self.outcome else {
            return Err(self);
        };
        let mut head = self.head;
        if let Some(upgrade) = &sanitized.upgrade {
            upgrade.restore(&mut head.headers);
        }
        head.extensions.insert(sanitized);
        head.extensions.insert(client);
        if let Some(connection) = self.connection {
            head.extensions.insert(connection);
        }
        self.exchange.forget();
        Ok(head)
    }

    /// Runs steps 8 to 13. [`Self::finish`] completes the result. The method borrows the request, so that the
    /// head is not stored twice while the backend responds.
    pub(super) async fn respond(&mut self, body: Body) -> Result<Response<Body>, LocalReply> {
        let settings = &self.context.listener.settings;
        let body = self.exchange.count_request(body, settings);
        match &mut self.outcome {
            RouteOutcome::Routed(routed) => {
                let parts = RequestParts {
                    head: &mut self.head,
                    body,
                    connection: self.connection.take(),
                };
                let state = ResponseState {
                    exchange: &mut self.exchange,
                    effects: &mut self.effects,
                    grpc_web: self.grpc_web,
                };
                self.context.respond(routed, parts, state).await
            }
            RouteOutcome::HealthCheck(sanitized) => {
                drop(body);
                // The future is boxed, so that requests that are not health checks, which are the majority,
                // reserve no memory for it.
                Err(Box::pin(self.context.health(sanitized, &self.exchange)).await)
            }
            RouteOutcome::Unrouted(_) => Err(Error::NoRoute.into()),
            RouteOutcome::Replied(reply) => {
                Err(reply.take().unwrap_or_else(|| Error::NoRoute.into()))
            }
        }
    }

    /// Completes step 13 for every response: response halves of policies, late edits, access log.
    pub(super) fn finish(mut self, result: Result<Response<Body>, LocalReply>) -> Response<Body> {
        let settings = &self.context.listener.settings;
        // If the response precedes the end of the request, the connection is closed: keeping it would require
        // reading the rest of the request.
        let unread = self.version < Version::HTTP_2
            && match &result {
                Ok(_) => !self.exchange.body_complete(),
                Err(_) => !self.exchange.request_complete(),
            };
        let local = result.is_err();
        let mut response = result.unwrap_or_else(|reply| {
            self.exchange.note_reply(&reply);
            reply.into_response(self.grpc)
        });
        if !self.effects.is_empty() {
            let request = FormatRequest::of(&self.head);
            let format = |format: &Format, response: (StatusCode, &HeaderMap)| {
                let (conn, response) = (self.context.conn, Some(response));
                format.text(&self.exchange.format_context(conn, Some(request), response))
            };
            let effects = std::mem::take(&mut self.effects);
            let log = effects.apply(&mut response, local, self.grpc, Formatter(&format));
            self.exchange.note_policies(log);
        }
        let late = &settings.headers.late;
        if !late.is_empty() {
            let status = response.status();
            let request = FormatRequest::of(&self.head);
            late.apply_with(response.headers_mut(), |headers, format| {
                let (conn, response) = (self.context.conn, Some((status, headers)));
                format.header_value(&self.exchange.format_context(conn, Some(request), response))
            });
        }
        if self.last || unread {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response_body::finish(self.exchange, response, settings)
    }
}

/// Whether an HTTP/1.0 client requests a persistent connection (RFC 9112, appendix C.2.2).
pub(super) fn asks_keep_alive(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CONNECTION).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"keep-alive"))
}

fn match_route<'a>(
    context: &RequestContext<'a>,
    head: &mut request::Parts,
    names: HeaderPresence,
    exchange: &mut Exchange,
) -> RouteOutcome<'a> {
    let clean = match context.sanitize(head, names, exchange) {
        Ok(clean) => clean,
        Err(reply) => return RouteOutcome::Replied(Some(reply)),
    };
    if context.is_health_check(head) {
        return RouteOutcome::HealthCheck(clean.sanitized);
    }
    match context.match_route(head, &clean, exchange) {
        Ok(found) => RouteOutcome::Routed(RoutedRequest { clean, found }),
        // CONNECT requests are not passed on to another service, because other services do not support them.
        Err(Error::NoRoute) if clean.sanitized.upgrade != Some(Upgrade::Connect) => {
            RouteOutcome::Unrouted(clean)
        }
        Err(error) => RouteOutcome::Replied(Some(error.into())),
    }
}
