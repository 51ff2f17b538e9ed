//! Steps 2 to 13 of the request path, as numbered in [`super`]. The policies of step 8 are in [`super::chain_run`],
//! the edits of heads in [`super::head_edits`].

use std::pin::pin;

use http::header::SET_COOKIE;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, request};
use hyper::upgrade::OnUpgrade;

use super::exchange::Exchange;
use super::{Shared, health_reply};
use crate::conn::ConnInfo;
use crate::http::client_ip::ClientIp;
use crate::http::header_presence::HeaderPresence;
use crate::http::sanitize::{self, Sanitized};
use crate::http::{Upgrade, client_ip, forwarded};
use crate::plan::{Filter, RouteKind};
use crate::policy::chain::ChainCursor;
use crate::policy::{FilledFields, ResponseEffects};
use crate::route::{MatchedRoute, Query};
use crate::snapshot::{ListenerSnapshot, PortSnapshot, RuleTarget};
use crate::traffic::{ForwardContext, Forwarded, SelectedBackend};
use crate::{Body, Error, LocalReply};

/// The configuration that applies to a request.
pub(super) struct RequestContext<'a> {
    pub(super) shared: &'a Shared,
    pub(super) conn: &'a ConnInfo,
    pub(super) port: &'a PortSnapshot,
    pub(super) listener: &'a ListenerSnapshot,
}

/// A request with a sanitized head and a known client.
pub(super) struct SanitizedRequest {
    pub(super) sanitized: Sanitized,
    pub(super) client: ClientIp,
}

/// A request that matches a rule.
pub(super) struct RoutedRequest<'a> {
    pub(super) clean: SanitizedRequest,
    pub(super) found: MatchedRoute<'a, RuleTarget>,
}

/// The parts of a request. The head is borrowed, because moving it takes longer than all edits.
pub(super) struct RequestParts<'h> {
    pub(super) head: &'h mut request::Parts,
    pub(super) body: Body,
    /// Client connection of an upgrade request.
    pub(super) connection: Option<OnUpgrade>,
}

/// State of a request that is required for its response.
pub(super) struct ResponseState<'e> {
    pub(super) exchange: &'e mut Exchange,
    pub(super) effects: &'e mut ResponseEffects,
    /// Whether the request is gRPC-Web, and is translated to gRPC.
    pub(super) grpc_web: bool,
}

impl<'a> RequestContext<'a> {
    /// Runs steps 2 to 4. `names` is the set of the field names in `head`.
    pub(super) fn sanitize(
        &self,
        head: &mut request::Parts,
        names: HeaderPresence,
        exchange: &mut Exchange,
    ) -> Result<SanitizedRequest, LocalReply> {
        let settings = &self.listener.settings;
        let sanitized = match head.method == Method::CONNECT {
            true => sanitize::connect(head, names, settings)?,
            false => sanitize::named(head, names, settings, self.conn.tls.is_some())?,
        };
        if sanitized.upgrade.is_some() {
            exchange.note_switching();
        }
        self.edit_head(&settings.headers.early, head, exchange);
        let names = match settings.headers.early.is_empty() {
            true => names,
            false => HeaderPresence::of(&head.headers),
        };
        let client = self.detect_client(head, names, exchange)?;
        Ok(SanitizedRequest { sanitized, client })
    }

    /// Steps 6 and 7.
    pub(super) fn match_route(
        &self,
        head: &request::Parts,
        clean: &SanitizedRequest,
        exchange: &mut Exchange,
    ) -> Result<MatchedRoute<'a, RuleTarget>, Error> {
        let host = clean.sanitized.authority.host();
        self.check_authority(host)?;
        self.find_rule(head, host, exchange)
    }

    /// Runs steps 8 to 13. Adds the response halves of policies to `state`.
    pub(super) async fn respond(
        &self,
        routed: &mut RoutedRequest<'a>,
        mut parts: RequestParts<'_>,
        mut state: ResponseState<'_>,
    ) -> Result<Response<Body>, LocalReply> {
        let chain = &routed.found.payload.rule.steps.policies;
        if !chain.is_empty() {
            let mut cursor = ChainCursor::default();
            if self.run_policies(&mut cursor, routed, &mut parts, &mut state)? {
                // This future is boxed, so that only rules with a waiting policy reserve memory for it.
                let waited =
                    Box::pin(self.wait_for_policies(cursor, routed, &mut parts, &mut state)).await;
                if let Err(reply) = waited {
                    drop(parts.body);
                    // A small body has been received completely by now, so it is read. The rest of a longer
                    // body is not read.
                    if !routed.clean.sanitized.expects_continue
                        && reply.status != StatusCode::PAYLOAD_TOO_LARGE
                    {
                        Box::pin(state.exchange.drain_request()).await;
                    }
                    return Err(reply);
                }
            }
            FilledFields::guard_trailers(parts.head, &mut parts.body);
        }
        // Policies receive every request as HTTP/1.1. The version as received is restored, because the
        // backend protocol may follow it.
        parts.head.version = routed.clean.sanitized.version;
        if state.grpc_web {
            self.translate_grpc_web(routed, &mut parts, &mut state)?;
        }
        let RoutedRequest { clean, found } = &*routed;
        let (picked, upgrade) = self.prepare(routed, &mut parts, &mut state)?;
        let exchange = state.exchange;
        let switch = upgrade.zip(parts.connection);
        let context = self.context(clean, switch.as_ref().map(|(upgrade, _)| *upgrade));
        let request = Request::from_parts(take_head(parts.head), parts.body);
        let mut run = picked.start(context, request);
        let traffic = &found.payload.rule.traffic;
        exchange.timeouts.set_rule(traffic);
        let (timeouts, progress) = (exchange.timeouts, exchange.progress());
        let result = timeouts
            .run(pin!(run.forward()), progress, traffic.request_timeout)
            .await;
        let error = match result {
            Ok(Ok(forwarded)) => {
                let client = switch.map(|(_, client)| client);
                let response = self.take_response(forwarded, client, exchange);
                return Ok(self.edit_response(found, &picked, response, exchange));
            }
            Ok(Err(error)) => exchange.note_failed(run.into_failure(error)),
            Err(error) => {
                // Dropping `run` makes the rest of the request body available to `drain_request`.
                drop(run);
                error
            }
        };
        if !clean.sanitized.expects_continue {
            // This future is boxed, because few requests take this path.
            Box::pin(exchange.drain_request()).await;
        }
        Err(error.into())
    }

    /// Steps 9 to 11: edits the request and selects its backendRef. Returns the requested upgrade, if the
    /// rule allows it.
    fn prepare<'t>(
        &self,
        routed: &'t RoutedRequest<'_>,
        parts: &mut RequestParts<'_>,
        state: &mut ResponseState<'_>,
    ) -> Result<(SelectedBackend<'t>, Option<&'t Upgrade>), LocalReply> {
        let RoutedRequest { clean, found } = routed;
        let exchange = &mut *state.exchange;
        let RequestParts { head, body, .. } = parts;
        let rule = &found.payload.rule;
        if let Some(status) = rule.steps.respond {
            return Err(Error::Failed(status).into());
        }
        if let Some(direct) = &rule.steps.direct {
            return Err(self.direct_response(direct, found, head, exchange));
        }
        if let Some(redirect) = &rule.steps.redirect {
            return Err(self.redirect(redirect, found, head, &clean.sanitized, exchange)?);
        }
        let upgrade = check_upgrade(found, &clean.sanitized)?;
        let kind = found.payload.name.route.kind;
        // Only a policy adds a preferred endpoint to the extensions.
        let preferred = match rule.steps.policies.is_empty() {
            true => None,
            false => head.extensions.get().cloned(),
        };
        let picked = rule.forwarder.pick(Some(clean.client.0), head, preferred);
        let picked = picked.map_err(|error| invalid_backend_reply(&error, kind))?;
        for filter in picked.filters() {
            if let Filter::Redirect(redirect) = filter {
                return Err(self.redirect(redirect, found, head, &clean.sanitized, exchange)?);
            }
        }
        self.edit_request(found, &picked, head, &clean.sanitized, exchange)?;
        exchange.note_forwarded(head);
        if state.effects.keeps_head() || self.response_reads_request(found, &picked) {
            exchange.keep_head(head);
        }
        if upgrade.is_none() {
            for mirrors in [&rule.steps.mirrors, picked.mirrors()] {
                if !mirrors.is_empty() {
                    let context = self.context(clean, None);
                    *body = mirrors.send(&context, head, std::mem::take(body));
                }
            }
        }
        Self::add_credentials(&picked, parts);
        Ok((picked, upgrade))
    }

    /// Step 4.
    fn detect_client(
        &self,
        head: &mut request::Parts,
        names: HeaderPresence,
        exchange: &mut Exchange,
    ) -> Result<ClientIp, LocalReply> {
        let settings = &self.listener.settings;
        let found = client_ip::find(self.conn.peer.ip(), &head.headers, &settings.client_ip)?;
        if found.named {
            exchange.entry.client = found.ip;
            exchange.entry.client_port = 0;
        }
        let applied = forwarded::apply_named(&mut head.headers, names, self.conn, settings);
        exchange.note_forwarded(head);
        applied?;
        Ok(ClientIp(found.ip))
    }

    /// Step 5: whether the request is a health check of the listener. As in Envoy, the configured path is
    /// compared with the path and query of the request.
    pub(super) fn is_health_check(&self, head: &request::Parts) -> bool {
        let path = self.listener.settings.health_check_path.as_deref();
        path.is_some() && path == head.uri.path_and_query().map(PathAndQuery::as_str)
    }

    /// Step 5: the reply to a health check.
    pub(super) async fn health(&self, sanitized: &Sanitized, exchange: &Exchange) -> LocalReply {
        // A client that expects `100 Continue` has not sent a body.
        if !sanitized.expects_continue {
            exchange.drain_request().await;
        }
        let leaving = self.shared.drain.is_leaving();
        health_reply(leaving, &self.listener.id.gateway)
    }

    /// Step 6. A connection may use only one listener. Otherwise a client could bypass the policies of
    /// another listener (Gateway API, `Listener.hostname`).
    fn check_authority(&self, host: &str) -> Result<(), Error> {
        if self.port.listeners.len() == 1 {
            return Ok(());
        }
        match self.port.by_host.find(host) {
            Some(index) if std::ptr::eq(&self.port.listeners[*index], self.listener) => Ok(()),
            Some(_) => Err(Error::Misdirected),
            None => Err(Error::NoRoute),
        }
    }

    /// Step 7.
    fn find_rule(
        &self,
        head: &request::Parts,
        host: &str,
        exchange: &mut Exchange,
    ) -> Result<MatchedRoute<'a, RuleTarget>, Error> {
        let query = Query {
            host,
            path: head.uri.path(),
            compared: head.extensions.get(),
            query: head.uri.query(),
            method: &head.method,
            headers: &head.headers,
        };
        let found = self
            .listener
            .table
            .find(&query, self.listener.settings.strict_host)
            .ok_or(Error::NoRoute)?;
        let target = found.payload;
        exchange.entry.rule = Some(target.name.clone());
        if self.listener.failed {
            return Err(Error::Failed(StatusCode::INTERNAL_SERVER_ERROR));
        }
        Ok(found)
    }

    fn context<'c>(
        &'c self,
        clean: &SanitizedRequest,
        upgrade: Option<&'c Upgrade>,
    ) -> ForwardContext<'c> {
        let settings = &self.listener.settings;
        ForwardContext {
            client: Some(clean.client.0),
            observer: &self.shared.observer,
            envoy_headers: settings.headers.envoy_headers,
            preserve_header_case: settings.http1.preserve_header_case,
            upgrade,
            connection: Some(self.conn),
        }
    }

    /// Processes the response of the backend. Starts the tunnel if the backend accepted the upgrade of
    /// `client`.
    fn take_response(
        &self,
        forwarded: Forwarded,
        client: Option<OnUpgrade>,
        exchange: &mut Exchange,
    ) -> Response<Body> {
        exchange.note_answered(&forwarded);
        let mut response = forwarded.response;
        if let Some(cookie) = forwarded.set_cookie {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        if let Some((client, backend)) = client.zip(forwarded.upgrade) {
            exchange.join(client, backend);
        }
        response
    }
}

/// The reply if a backendRef cannot be resolved. For a GRPCRoute, the gRPC status is `UNAVAILABLE` (Gateway
/// API, `GRPCRouteRule.backendRefs`).
pub(super) fn invalid_backend_reply(error: &Error, kind: RouteKind) -> LocalReply {
    let reply = error.reply();
    LocalReply {
        grpc_status: (kind == RouteKind::Grpc).then_some(14),
        ..reply
    }
}

/// Step 10.
fn check_upgrade<'a>(
    found: &MatchedRoute<'_, RuleTarget>,
    sanitized: &'a Sanitized,
) -> Result<Option<&'a Upgrade>, Error> {
    match &sanitized.upgrade {
        // A CONNECT request is accepted only by a rule with the setting `connect`.
        Some(Upgrade::Connect) if found.payload.rule.traffic.connect.is_none() => {
            Err(Error::NoRoute)
        }
        Some(upgrade @ Upgrade::Connect) => Ok(Some(upgrade)),
        Some(upgrade) if !upgrade.is_one_of(&found.payload.rule.traffic.upgrades) => {
            Err(Error::UpgradeRefused)
        }
        upgrade => Ok(upgrade.as_ref()),
    }
}

/// Moves a head out and leaves an empty one.
fn take_head(head: &mut request::Parts) -> request::Parts {
    let (empty, ()) = Request::new(()).into_parts();
    std::mem::replace(head, empty)
}
