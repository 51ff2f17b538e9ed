//! Steps 2 to 13 of the request path, as numbered in [`super`].

use std::pin::pin;

use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderMap, Request, Response, StatusCode, Version, request};
use hyper::upgrade::OnUpgrade;

use super::exchange::Exchange;
use super::{Shared, bodies, health_reply, timers};
use crate::conn::ConnInfo;
use crate::filter::{DirectResponse, HeaderEdits, Redirect, RedirectFacts, RegexRewrite};
use crate::format::{FormatContext, FormatRequest};
use crate::grpc_web::GrpcWeb;
use crate::http::client_ip::ClientIp;
use crate::http::forwarded::X_FORWARDED_PROTO;
use crate::http::names::Names;
use crate::http::sanitize::{self, Sanitized};
use crate::http::{Upgrade, client_ip, forwarded};
use crate::plan::{Filter, RouteKind};
use crate::policy::chain::{ChainCursor, ChainStop};
use crate::policy::{
    BodyPolicy, FilledFields, PolicyRequest, RequestFacts, RequestHead, ResponseEffects, Stage,
};
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

/// A request whose head is sanitized and whose client is known.
pub(super) struct SanitizedRequest {
    pub(super) sanitized: Sanitized,
    pub(super) client: ClientIp,
}

/// A request that matches a rule.
pub(super) struct RoutedRequest<'a> {
    pub(super) clean: SanitizedRequest,
    pub(super) found: MatchedRoute<'a, RuleTarget>,
}

/// The parts of a request. The head is borrowed: a move costs more than all edits.
pub(super) struct RequestParts<'h> {
    pub(super) head: &'h mut request::Parts,
    pub(super) body: Body,
    /// Connection of a client that requests an upgrade.
    pub(super) connection: Option<OnUpgrade>,
}

/// State of a request that the response needs.
pub(super) struct ResponseState<'e> {
    pub(super) exchange: &'e mut Exchange,
    pub(super) effects: &'e mut ResponseEffects,
    /// The request is gRPC-Web, and is translated to gRPC.
    pub(super) grpc_web: bool,
}

impl<'a> RequestContext<'a> {
    /// Steps 2 to 4. `names` are the names of the fields in `head`.
    pub(super) fn sanitize(
        &self,
        head: &mut request::Parts,
        names: Names,
        exchange: &mut Exchange,
    ) -> Result<SanitizedRequest, LocalReply> {
        let settings = &self.listener.settings;
        let sanitized = sanitize::named(head, names, settings, self.conn.tls.is_some())?;
        if sanitized.upgrade.is_some() {
            exchange.note_switching();
        }
        self.edit_head(&settings.headers.early, head, exchange);
        let names = match settings.headers.early.is_empty() {
            true => names,
            false => Names::of(&head.headers),
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

    /// Steps 8 to 13. The response halves of policies are added to `state`.
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
                // Boxed: only rules with a policy that waits pay for it.
                let waited =
                    Box::pin(self.wait_for_policies(cursor, routed, &mut parts, &mut state)).await;
                if let Err(reply) = waited {
                    drop(parts.body);
                    // A small body has arrived by now; the rest of a longer body is not read.
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
        // For policies every request is HTTP/1.1. The protocol to the backend may be that of the
        // client.
        parts.head.version = routed.clean.sanitized.version;
        if state.grpc_web {
            self.translate_grpc_web(routed, &mut parts, &mut state)?;
        }
        let RoutedRequest { clean, found } = &*routed;
        let exchange = state.exchange;
        let (picked, upgrade) = self.prepare(routed, &mut parts, exchange)?;
        let switch = upgrade.zip(parts.connection);
        let context = self.context(clean, switch.as_ref().map(|(upgrade, _)| *upgrade));
        let request = Request::from_parts(take_head(parts.head), parts.body);
        let mut run = picked.start(context, request);
        let (rule, timeouts) = (&found.payload.rule, &self.listener.settings.timeouts);
        exchange.timeouts.idle = rule
            .traffic
            .stream_idle
            .limit(timeouts.stream_idle, rule.traffic.request_timeout);
        let result = timers::run(
            pin!(run.forward()),
            timeouts,
            exchange.timeouts,
            exchange.progress(),
            rule.traffic.request_timeout,
        )
        .await;
        let error = match result {
            Ok(Ok(forwarded)) => {
                let client = switch.map(|(_, client)| client);
                let response = self.take_response(forwarded, client, exchange);
                return Ok(self.edit_response(found, &picked, response, exchange));
            }
            Ok(Err(error)) => {
                let error = exchange.note_failed(run.into_failure(error));
                if let Error::RequestBody(cause) = &error
                    && bodies::ended_early(&**cause)
                {
                    exchange.note_left();
                }
                error
            }
            Err(error) => {
                // Its drop makes the rest of the request body available to `drain_request`.
                drop(run);
                error
            }
        };
        if !clean.sanitized.expects_continue {
            // Boxed, like other paths of few requests.
            Box::pin(exchange.drain_request()).await;
        }
        Err(error.into())
    }

    /// Step 8, up to the first policy that waits; `true` if there is one. If a policy requires the
    /// route to be matched again, the chain of the new rule continues after the stage of that
    /// policy. Stages only increase, so this terminates.
    fn run_policies(
        &self,
        cursor: &mut ChainCursor,
        routed: &mut RoutedRequest<'a>,
        parts: &mut RequestParts<'_>,
        state: &mut ResponseState<'_>,
    ) -> Result<bool, LocalReply> {
        loop {
            let target = routed.found.payload;
            let facts = self.facts(&routed.clean, target);
            let head = RequestHead::new(parts.head, facts, state.effects);
            let mut request = PolicyRequest::new(head, &mut parts.body);
            let stop = target.rule.steps.policies.run(cursor, &mut request);
            if let Some(path) = request.take_logged_path() {
                state.exchange.note_path(path);
            }
            match stop? {
                ChainStop::End => return Ok(false),
                ChainStop::Waits => return Ok(true),
                ChainStop::RecomputeRoute(stage) => {
                    *cursor = self.recompute_route(stage, routed, parts.head, state.exchange)?;
                }
            }
        }
    }

    /// Step 8, from a policy that waits to the last one. The timers of the client's side apply, as a policy
    /// may wait for the request body.
    async fn wait_for_policies(
        &self,
        mut cursor: ChainCursor,
        routed: &mut RoutedRequest<'a>,
        parts: &mut RequestParts<'_>,
        state: &mut ResponseState<'_>,
    ) -> Result<(), LocalReply> {
        let timeouts = &self.listener.settings.timeouts;
        loop {
            let target = routed.found.payload;
            let chain = &target.rule.steps.policies;
            if let Some(policy) = chain.waiting(cursor) {
                let facts = self.facts(&routed.clean, target);
                let head = RequestHead::new(parts.head, facts, state.effects);
                let mut request = PolicyRequest::new(head, &mut parts.body);
                let exchange = &*state.exchange;
                timers::run(
                    pin!(policy.run(&mut request)),
                    timeouts,
                    exchange.timeouts,
                    exchange.progress(),
                    None,
                )
                .await??;
                let stop = chain.complete(&mut cursor, &mut request);
                if let Some(ChainStop::RecomputeRoute(stage)) = stop {
                    cursor = self.recompute_route(stage, routed, parts.head, state.exchange)?;
                }
            }
            if !self.run_policies(&mut cursor, routed, parts, state)? {
                return Ok(());
            }
        }
    }

    /// Translates a gRPC-Web request to gRPC, and its response back. Policies see the request of the browser.
    fn translate_grpc_web(
        &self,
        routed: &RoutedRequest<'_>,
        parts: &mut RequestParts<'_>,
        state: &mut ResponseState<'_>,
    ) -> Result<(), LocalReply> {
        let facts = self.facts(&routed.clean, routed.found.payload);
        let head = RequestHead::new(parts.head, facts, state.effects);
        GrpcWeb.wrap(&mut PolicyRequest::new(head, &mut parts.body))?;
        // Where the protocol follows the client's, gRPC requires HTTP/2.
        parts.head.version = Version::HTTP_2;
        Ok(())
    }

    /// Matches the request again; the result continues in the chain of the new rule.
    fn recompute_route(
        &self,
        stage: Stage,
        routed: &mut RoutedRequest<'a>,
        head: &request::Parts,
        exchange: &mut Exchange,
    ) -> Result<ChainCursor, Error> {
        routed.found = self.match_route(head, &routed.clean, exchange)?;
        Ok(routed.found.payload.rule.steps.policies.after(stage))
    }

    fn facts<'f>(&'f self, clean: &SanitizedRequest, target: &'f RuleTarget) -> RequestFacts<'f> {
        RequestFacts {
            client: Some(clean.client.0),
            version: Some(clean.sanitized.version),
            connection: Some(self.conn),
            route: Some(&target.name),
            ..RequestFacts::default()
        }
    }

    /// Steps 9 to 11: edits the request, selects its backendRef, and returns the upgrade that is granted.
    fn prepare<'t>(
        &self,
        routed: &'t RoutedRequest<'_>,
        parts: &mut RequestParts<'_>,
        exchange: &mut Exchange,
    ) -> Result<(SelectedBackend<'t>, Option<&'t Upgrade>), LocalReply> {
        let RoutedRequest { clean, found } = routed;
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
        // Only a policy leaves a preferred endpoint.
        let preferred = match rule.steps.policies.is_empty() {
            true => None,
            false => head.extensions.get().copied(),
        };
        let picked = rule.forwarder.pick(clean.client.0, head, preferred);
        let picked = picked.map_err(|error| invalid_backend_reply(&error, kind))?;
        for filter in picked.filters() {
            if let Filter::Redirect(redirect) = filter {
                return Err(self.redirect(redirect, found, head, &clean.sanitized, exchange)?);
            }
        }
        self.edit_request(found, &picked, head, &clean.sanitized, exchange)?;
        exchange.note_forwarded(head);
        if self.response_reads_request(found, &picked) {
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
        Ok((picked, upgrade))
    }

    /// Step 4.
    fn detect_client(
        &self,
        head: &mut request::Parts,
        names: Names,
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

    /// Step 5: whether the request is a health check of the listener. As in Envoy, the path is compared with its
    /// query.
    pub(super) fn is_health_check(&self, head: &request::Parts) -> bool {
        self.listener.settings.health_check_path.as_deref() == Some(head.uri.path())
            && head.uri.query().is_none()
    }

    /// Step 5: the reply to a health check.
    pub(super) async fn health(&self, sanitized: &Sanitized, exchange: &Exchange) -> LocalReply {
        // A client that waits for `100 Continue` has sent no body.
        if !sanitized.expects_continue {
            exchange.drain_request().await;
        }
        let leaving = self.shared.drain.is_leaving();
        health_reply(leaving, &self.listener.id.gateway)
    }

    /// Step 6. A connection serves one listener: otherwise a client could use it to bypass the policies of
    /// another (Gateway API, `Listener.hostname`).
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

    /// Step 9: the redirect.
    fn redirect(
        &self,
        redirect: &Redirect,
        found: &MatchedRoute<'_, RuleTarget>,
        head: &request::Parts,
        sanitized: &Sanitized,
        exchange: &Exchange,
    ) -> Result<LocalReply, LocalReply> {
        let rule = &found.payload.rule;
        let scheme = head
            .headers
            .get(X_FORWARDED_PROTO)
            .and_then(|scheme| scheme.to_str().ok());
        let facts = RedirectFacts {
            scheme: scheme.unwrap_or_default(),
            authority: &sanitized.authority,
            listener_port: self.listener.port,
            path: head.uri.path_and_query().ok_or_else(filter_failed)?,
            matched_prefix: matched_prefix(found, head),
        };
        let (status, location) = redirect.location(facts).map_err(|_| filter_failed())?;
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, location);
        for edit in rule.steps.response_edits.iter().rev() {
            let request = FormatRequest::of(head);
            edit.apply_with(&mut headers, |headers, format| {
                let response = Some((status, headers));
                format.header_value(&exchange.format_context(self.conn, Some(request), response))
            });
        }
        Ok(LocalReply::new(status, "direct_response").with_headers(headers))
    }

    /// Step 11.
    fn edit_request(
        &self,
        found: &MatchedRoute<'_, RuleTarget>,
        picked: &SelectedBackend<'_>,
        head: &mut request::Parts,
        sanitized: &Sanitized,
        exchange: &Exchange,
    ) -> Result<(), Error> {
        let rule = &found.payload.rule;
        let mut rewrite = rule.steps.rewrite.as_deref();
        for filter in picked.filters() {
            match filter {
                Filter::RequestHeaders(edits) => self.edit_head(edits, head, exchange),
                Filter::Rewrite(own) => rewrite = Some(own),
                Filter::RegexRewrite(own) => self.rewrite_by_regex(own, head, sanitized)?,
                _ => {}
            }
        }
        for edit in &rule.steps.request_edits {
            self.edit_head(edit, head, exchange);
        }
        if let Some(rewrite) = &rule.steps.regex_rewrite {
            self.rewrite_by_regex(rewrite, head, sanitized)?;
        }
        if let Some(rewrite) = rewrite {
            let prefix = matched_prefix(found, head).map(str::to_owned);
            let envoy_headers = self.listener.settings.headers.envoy_headers;
            rewrite
                .apply(head, &sanitized.authority, prefix.as_deref(), envoy_headers)
                .map_err(|_| filter_failed())?;
        }
        Ok(())
    }

    fn rewrite_by_regex(
        &self,
        rewrite: &RegexRewrite,
        head: &mut request::Parts,
        sanitized: &Sanitized,
    ) -> Result<(), Error> {
        let envoy_headers = self.listener.settings.headers.envoy_headers;
        let rewritten = rewrite.apply(head, &sanitized.authority, envoy_headers);
        rewritten.map_err(|_| filter_failed())
    }

    /// Step 9: the direct response, with the edits of the rule.
    fn direct_response(
        &self,
        direct: &DirectResponse,
        found: &MatchedRoute<'_, RuleTarget>,
        head: &request::Parts,
        exchange: &Exchange,
    ) -> LocalReply {
        let request = FormatRequest::of(head);
        let mut reply = direct.reply(|headers, format| {
            format.text(&FormatContext {
                response: Some(headers),
                ..exchange.format_context(self.conn, Some(request), None)
            })
        });
        let edits = &found.payload.rule.steps.response_edits;
        if !edits.is_empty() {
            let mut headers: HeaderMap = std::mem::take(&mut reply.headers).into_iter().collect();
            for edit in edits.iter().rev() {
                edit.apply_with(&mut headers, |headers, format| {
                    let response = Some((reply.status, headers));
                    format.header_value(&exchange.format_context(
                        self.conn,
                        Some(request),
                        response,
                    ))
                });
            }
            reply = reply.with_headers(headers);
        }
        reply
    }

    fn context<'c>(
        &'c self,
        clean: &SanitizedRequest,
        upgrade: Option<&'c Upgrade>,
    ) -> ForwardContext<'c> {
        let settings = &self.listener.settings;
        ForwardContext {
            client: clean.client.0,
            observer: &self.shared.observer,
            envoy_headers: settings.headers.envoy_headers,
            preserve_header_case: settings.http1.preserve_header_case,
            upgrade,
            connection: Some(self.conn),
        }
    }

    /// Takes the response of the backend, and starts the tunnel if an upgrade was granted to `client`.
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

    /// Step 13, the filters of the rule.
    fn edit_response(
        &self,
        found: &MatchedRoute<'_, RuleTarget>,
        picked: &SelectedBackend<'_>,
        mut response: Response<Body>,
        exchange: &Exchange,
    ) -> Response<Body> {
        for filter in picked.filters() {
            if let Filter::ResponseHeaders(edits) = filter {
                self.edit_fields(edits, &mut response, exchange);
            }
        }
        for edits in found.payload.rule.steps.response_edits.iter().rev() {
            self.edit_fields(edits, &mut response, exchange);
        }
        response
    }

    /// Whether a value of the response depends on the head of the request.
    fn response_reads_request(
        &self,
        found: &MatchedRoute<'_, RuleTarget>,
        picked: &SelectedBackend<'_>,
    ) -> bool {
        let of_rule = found.payload.rule.steps.response_edits.iter();
        let of_backend = picked.filters().iter().filter_map(|filter| match filter {
            Filter::ResponseHeaders(edits) => Some(edits),
            _ => None,
        });
        let late = std::iter::once(&self.listener.settings.headers.late);
        of_rule
            .chain(of_backend)
            .chain(late)
            .any(HeaderEdits::reads_request)
    }

    /// Edits the fields of a request.
    fn edit_head(&self, edits: &HeaderEdits, head: &mut request::Parts, exchange: &Exchange) {
        let request::Parts {
            method,
            uri,
            version,
            headers,
            ..
        } = head;
        edits.apply_with(headers, |headers, format| {
            let request = FormatRequest {
                method: Some(method),
                uri: Some(uri),
                version: Some(*version),
                headers: Some(headers),
            };
            format.header_value(&exchange.format_context(self.conn, Some(request), None))
        });
    }

    /// Edits the fields of a response to a forwarded request.
    fn edit_fields(&self, edits: &HeaderEdits, response: &mut Response<Body>, exchange: &Exchange) {
        let status = response.status();
        edits.apply_with(response.headers_mut(), |headers, format| {
            let response = Some((status, headers));
            format.header_value(&exchange.format_context(self.conn, None, response))
        });
    }
}

/// The reply for a backendRef that cannot be resolved. Calls of a GRPCRoute receive `UNAVAILABLE` (Gateway API,
/// `GRPCRouteRule.backendRefs`).
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
        Some(upgrade) if !upgrade.is_one_of(&found.payload.rule.traffic.upgrades) => {
            Err(Error::UpgradeRefused)
        }
        upgrade => Ok(upgrade.as_ref()),
    }
}

/// The part of the path that the prefix of the rule matched.
fn matched_prefix<'h>(
    found: &MatchedRoute<'_, RuleTarget>,
    head: &'h request::Parts,
) -> Option<&'h str> {
    head.uri.path().get(..found.prefix?)
}

/// Moves a head out and leaves an empty one.
fn take_head(head: &mut request::Parts) -> request::Parts {
    let (empty, ()) = Request::new(()).into_parts();
    std::mem::replace(head, empty)
}

/// The error of a filter that cannot be applied: the request fails.
fn filter_failed() -> Error {
    Error::Failed(StatusCode::INTERNAL_SERVER_ERROR)
}
