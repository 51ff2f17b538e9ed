//! Steps 2 to 13 of the request path: see [`super`].

use std::pin::pin;

use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderMap, Request, Response, StatusCode, request};
use hyper::upgrade::OnUpgrade;

use super::exchange::Exchange;
use super::{Shared, bodies, health_reply, timers};
use crate::conn::ConnInfo;
use crate::filter::{Cors, Redirect, RedirectFacts};
use crate::http::client_ip::ClientIp;
use crate::http::forwarded::X_FORWARDED_PROTO;
use crate::http::names::Names;
use crate::http::sanitize::{self, Sanitized};
use crate::http::{Upgrade, client_ip, forwarded};
use crate::plan::Filter;
use crate::policy::ResponseEdits;
use crate::route::{Found, Query};
use crate::snapshot::{ListenerSnapshot, PortSnapshot, Target};
use crate::traffic::{ForwardContext, Forwarded, SelectedBackend};
use crate::{Body, Error, LocalReply};

/// Where a request arrived.
pub(super) struct Step<'a> {
    pub(super) shared: &'a Shared,
    pub(super) conn: &'a ConnInfo,
    pub(super) port: &'a PortSnapshot,
    pub(super) listener: &'a ListenerSnapshot,
}

/// A request whose head is clean.
pub(super) struct Clean {
    pub(super) asked: Sanitized,
    pub(super) client: ClientIp,
}

/// A request that a rule takes.
pub(super) struct Taken<'a> {
    pub(super) clean: Clean,
    pub(super) found: Found<'a, Target>,
}

/// What came of a request besides its name. The head is borrowed, as moving it costs more than its edits.
pub(super) struct Came<'h> {
    pub(super) head: &'h mut request::Parts,
    pub(super) body: Body,
    /// The client's connection, if it wants to switch protocols.
    pub(super) connection: Option<OnUpgrade>,
}

impl<'a> Step<'a> {
    /// Steps 2 to 4, of a head that has these `names`.
    pub(super) fn clean(
        &self,
        head: &mut request::Parts,
        names: Names,
        exchange: &mut Exchange,
    ) -> Result<Clean, LocalReply> {
        let settings = &self.listener.settings;
        let asked = sanitize::named(head, names, settings, self.conn.tls.is_some())?;
        if asked.upgrade.is_some() {
            exchange.note_switching();
        }
        settings.headers.early.apply(&mut head.headers);
        let client = self.find_client(head, exchange)?;
        Ok(Clean { asked, client })
    }

    /// Steps 6 and 7.
    pub(super) fn find(
        &self,
        head: &request::Parts,
        clean: &Clean,
        exchange: &mut Exchange,
    ) -> Result<Found<'a, Target>, Error> {
        let host = clean.asked.authority.host();
        self.check_authority(host)?;
        self.find_rule(head, host, exchange)
    }

    /// Steps 8 to 13. `edits` gets what guards add to the response, whoever gives it.
    pub(super) async fn answer(
        &self,
        taken: &Taken<'_>,
        mut came: Came<'_>,
        exchange: &mut Exchange,
        edits: &mut ResponseEdits,
    ) -> Result<Response<Body>, LocalReply> {
        let Taken { clean, found } = taken;
        let (picked, upgrade) = self.ready(taken, &mut came, exchange, edits)?;
        let switch = upgrade.zip(came.connection);
        let context = self.context(clean, switch.as_ref().map(|(upgrade, _)| *upgrade));
        let mut run = picked.start(context, Request::from_parts(take(came.head), came.body));
        let (rule, timeouts) = (&found.payload.rule, &self.listener.settings.timeouts);
        exchange.patience.idle = rule
            .traffic
            .stream_idle
            .limit(timeouts.stream_idle, rule.traffic.request_timeout);
        let result = timers::run(
            pin!(run.forward()),
            timeouts,
            exchange.patience,
            exchange.progress(),
            rule.traffic.request_timeout,
        )
        .await;
        let error = match result {
            Ok(Ok(forwarded)) => {
                let client = switch.map(|(_, client)| client);
                let response = self.take_response(forwarded, client, exchange);
                return Ok(self.edit_response(found, &picked, response));
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
                // What it has of the request's body is to be found by who reads the rest.
                drop(run);
                error
            }
        };
        if !clean.asked.expects_continue {
            // Boxed, as are other ways that few requests go.
            Box::pin(exchange.finish_request()).await;
        }
        Err(error.into())
    }

    /// Steps 8 to 11: the request as it goes on, its backendRef, and the upgrade that is granted.
    fn ready<'t>(
        &self,
        taken: &'t Taken<'_>,
        came: &mut Came<'_>,
        exchange: &mut Exchange,
        edits: &mut ResponseEdits,
    ) -> Result<(SelectedBackend<'t>, Option<&'t Upgrade>), LocalReply> {
        let Taken { clean, found } = taken;
        let Came { head, body, .. } = came;
        let rule = &found.payload.rule;
        if let Some(cors) = &rule.steps.cors {
            check_origin(cors, head, exchange)?;
        }
        if !rule.steps.guards.is_empty() {
            // Only they look for it there.
            head.extensions.insert(clean.client);
        }
        for guard in &rule.steps.guards {
            edits.extend(guard.check(head)?);
        }
        if let Some(redirect) = &rule.steps.redirect {
            return Err(self.redirect(redirect, found, head, &clean.asked)?);
        }
        let upgrade = check_upgrade(found, &clean.asked)?;
        let picked = rule.forwarder.pick()?;
        for filter in picked.filters() {
            if let Filter::Redirect(redirect) = filter {
                return Err(self.redirect(redirect, found, head, &clean.asked)?);
            }
        }
        self.edit(found, &picked, head, &clean.asked)?;
        exchange.note_forwarded(head);
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
    fn find_client(
        &self,
        head: &mut request::Parts,
        exchange: &mut Exchange,
    ) -> Result<ClientIp, LocalReply> {
        let settings = &self.listener.settings;
        let found = client_ip::find(self.conn.peer.ip(), &head.headers, &settings.client_ip)?;
        if found.named {
            exchange.entry.client = found.ip;
            exchange.entry.client_port = 0;
        }
        let applied = forwarded::apply(&mut head.headers, self.conn, settings);
        exchange.note_forwarded(head);
        applied?;
        Ok(ClientIp(found.ip))
    }

    /// Step 5: whether the listener itself is asked.
    pub(super) fn is_health_check(&self, head: &request::Parts) -> bool {
        self.listener.settings.health_check_path.as_deref() == Some(head.uri.path())
    }

    /// Step 5: the answer.
    pub(super) async fn health(&self, asked: &Sanitized, exchange: &Exchange) -> LocalReply {
        // Reads what is at hand of a request that no backend takes, unless the client waits to be asked.
        if !asked.expects_continue {
            exchange.finish_request().await;
        }
        let leaving = self.shared.drain.is_leaving();
        health_reply(leaving, &self.listener.id.gateway)
    }

    /// Step 6: one connection serves one listener, or a client could reach past another's policies
    /// (Gateway API, `Listener.hostname`).
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
    ) -> Result<Found<'a, Target>, Error> {
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
        match target.rule.steps.respond {
            Some(status) => Err(Error::Failed(status)),
            None => Ok(found),
        }
    }

    /// Step 9: the answer.
    fn redirect(
        &self,
        redirect: &Redirect,
        found: &Found<'_, Target>,
        head: &request::Parts,
        asked: &Sanitized,
    ) -> Result<LocalReply, LocalReply> {
        let rule = &found.payload.rule;
        let scheme = head
            .headers
            .get(X_FORWARDED_PROTO)
            .and_then(|scheme| scheme.to_str().ok());
        let facts = RedirectFacts {
            scheme: scheme.unwrap_or_default(),
            authority: &asked.authority,
            listener_port: self.listener.port,
            path: head.uri.path_and_query().ok_or_else(broken)?,
            matched_prefix: matched_prefix(found, head),
        };
        let (status, location) = redirect.location(facts).map_err(|_| broken())?;
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, location);
        for edit in rule.steps.response_edits.iter().rev() {
            edit.apply(&mut headers);
        }
        Ok(LocalReply::new(status, "direct_response").with_headers(headers))
    }

    /// Step 11.
    fn edit(
        &self,
        found: &Found<'_, Target>,
        picked: &SelectedBackend<'_>,
        head: &mut request::Parts,
        asked: &Sanitized,
    ) -> Result<(), Error> {
        let rule = &found.payload.rule;
        let mut rewrite = rule.steps.rewrite.as_deref();
        for filter in picked.filters() {
            match filter {
                Filter::RequestHeaders(edits) => edits.apply(&mut head.headers),
                Filter::Rewrite(own) => rewrite = Some(own),
                _ => {}
            }
        }
        for edit in &rule.steps.request_edits {
            edit.apply(&mut head.headers);
        }
        if let Some(rewrite) = rewrite {
            let prefix = matched_prefix(found, head).map(str::to_owned);
            let envoy_headers = self.listener.settings.headers.envoy_headers;
            rewrite
                .apply(head, &asked.authority, prefix.as_deref(), envoy_headers)
                .map_err(|_| broken())?;
        }
        Ok(())
    }

    fn context<'c>(&'c self, clean: &Clean, upgrade: Option<&'c Upgrade>) -> ForwardContext<'c> {
        let settings = &self.listener.settings;
        ForwardContext {
            client: clean.client.0,
            observer: &self.shared.observer,
            envoy_headers: settings.headers.envoy_headers,
            preserve_header_case: settings.http1.preserve_header_case,
            upgrade,
        }
    }

    /// The backend's response, and the tunnel if it grants one to `client`.
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

    /// The rule's part of step 13.
    fn edit_response(
        &self,
        found: &Found<'_, Target>,
        picked: &SelectedBackend<'_>,
        mut response: Response<Body>,
    ) -> Response<Body> {
        for filter in picked.filters() {
            if let Filter::ResponseHeaders(edits) = filter {
                edits.apply(response.headers_mut());
            }
        }
        for edit in found.payload.rule.steps.response_edits.iter().rev() {
            edit.apply(response.headers_mut());
        }
        response
    }
}

/// Step 8, before the guards, as in Envoy: a preflight carries no credentials. What the rule says to
/// browsers goes with the answer, also if a guard gives it.
fn check_origin(
    cors: &Cors,
    head: &request::Parts,
    exchange: &mut Exchange,
) -> Result<(), LocalReply> {
    let decision = cors.decide(&head.method, &head.headers);
    exchange.cors = Some(Box::new(decision.marks));
    if decision.preflight {
        return Err(LocalReply::new(StatusCode::OK, "cors_response"));
    }
    Ok(())
}

/// Step 10.
fn check_upgrade<'a>(
    found: &Found<'_, Target>,
    asked: &'a Sanitized,
) -> Result<Option<&'a Upgrade>, Error> {
    match &asked.upgrade {
        Some(upgrade) if !upgrade.is_one_of(&found.payload.rule.traffic.upgrades) => {
            Err(Error::UpgradeRefused)
        }
        upgrade => Ok(upgrade.as_ref()),
    }
}

/// The part of the path that a rule with a prefix matched.
fn matched_prefix<'h>(found: &Found<'_, Target>, head: &'h request::Parts) -> Option<&'h str> {
    head.uri.path().get(..found.prefix?)
}

/// Takes a head from where it is borrowed.
fn take(head: &mut request::Parts) -> request::Parts {
    let (empty, ()) = Request::new(()).into_parts();
    std::mem::replace(head, empty)
}

/// A filter that cannot be applied fails closed.
fn broken() -> Error {
    Error::Failed(StatusCode::INTERNAL_SERVER_ERROR)
}
