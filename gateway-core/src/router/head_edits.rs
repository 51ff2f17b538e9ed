//! Edits of heads by filters: steps 9, 11 and 13 of the request path, as numbered in [`super`].

use http::{HeaderMap, Response, StatusCode, request};

use super::exchange::Exchange;
use super::request_context::{RequestContext, RequestParts};
use crate::filter::{DirectResponse, HeaderEdits, Redirect, RedirectFacts, RegexRewrite};
use crate::format::{FormatContext, FormatRequest};
use crate::http::forwarded::X_FORWARDED_PROTO;
use crate::http::sanitize::Sanitized;
use crate::plan::Filter;
use crate::policy::FilledFields;
use crate::route::MatchedRoute;
use crate::snapshot::RuleTarget;
use crate::traffic::SelectedBackend;
use crate::{Body, Error, LocalReply};

impl RequestContext<'_> {
    /// Step 9: the local reply of the rule's redirect filter, if the rule has one.
    pub(super) fn redirect(
        &self,
        redirect: &Redirect,
        found: &MatchedRoute<'_, RuleTarget>,
        head: &request::Parts,
        sanitized: &Sanitized,
        exchange: &Exchange,
    ) -> Result<LocalReply, LocalReply> {
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
        let reply = LocalReply::redirect(status, location, "direct_response");
        Ok(self.edit_reply(reply, found, head, exchange))
    }

    /// Step 11.
    pub(super) fn edit_request(
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
                // Redirects have been applied before, and each of the other filters is applied in its own
                // step.
                Filter::Redirect(_)
                | Filter::ResponseHeaders(_)
                | Filter::Mirror(_)
                | Filter::Credential(_) => {}
                // These filters are not supported in a backendRef.
                Filter::Cors(_) | Filter::DirectResponse(_) => return Err(filter_failed()),
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
                .map_err(|_| Error::InvalidRewrite)?;
        }
        Ok(())
    }

    /// Adds the credentials of the backendRef. The only later step is forwarding, so no other step reads the
    /// credentials.
    pub(super) fn add_credentials(picked: &SelectedBackend<'_>, parts: &mut RequestParts<'_>) {
        let mut added = false;
        for filter in picked.filters() {
            if let Filter::Credential(credential) = filter {
                let value = credential.secret.expose();
                let (name, overwrite) = (&credential.header, credential.overwrite);
                FilledFields::set(parts.head, name, value, overwrite);
                added = true;
            }
        }
        if added {
            FilledFields::guard_trailers(parts.head, &mut parts.body);
        }
    }

    fn rewrite_by_regex(
        &self,
        rewrite: &RegexRewrite,
        head: &mut request::Parts,
        sanitized: &Sanitized,
    ) -> Result<(), Error> {
        let envoy_headers = self.listener.settings.headers.envoy_headers;
        let rewritten = rewrite.apply(head, &sanitized.authority, envoy_headers);
        rewritten.map_err(|_| Error::InvalidRewrite)
    }

    /// Step 9: the direct response of the rule, with the response edits of the rule applied.
    pub(super) fn direct_response(
        &self,
        direct: &DirectResponse,
        found: &MatchedRoute<'_, RuleTarget>,
        head: &request::Parts,
        exchange: &Exchange,
    ) -> LocalReply {
        let request = FormatRequest::of(head);
        let reply = direct.reply(|headers, format| {
            format.text(&FormatContext {
                response: Some(headers),
                ..exchange.format_context(self.conn, Some(request), None)
            })
        });
        self.edit_reply(reply, found, head, exchange)
    }

    /// Applies the response edits of a rule to its local reply.
    fn edit_reply(
        &self,
        reply: LocalReply,
        found: &MatchedRoute<'_, RuleTarget>,
        head: &request::Parts,
        exchange: &Exchange,
    ) -> LocalReply {
        let edits = &found.payload.rule.steps.response_edits;
        if edits.is_empty() {
            return reply;
        }
        let status = reply.status;
        let request = Some(FormatRequest::of(head));
        reply.edit_headers(|headers| {
            for edits in edits.iter().rev() {
                self.edit_fields(edits, status, headers, request, exchange);
            }
        })
    }

    /// Step 13, the response filters of the rule.
    pub(super) fn edit_response(
        &self,
        found: &MatchedRoute<'_, RuleTarget>,
        picked: &SelectedBackend<'_>,
        mut response: Response<Body>,
        exchange: &Exchange,
    ) -> Response<Body> {
        let status = response.status();
        let headers = response.headers_mut();
        for filter in picked.filters() {
            if let Filter::ResponseHeaders(edits) = filter {
                self.edit_fields(edits, status, headers, None, exchange);
            }
        }
        for edits in found.payload.rule.steps.response_edits.iter().rev() {
            self.edit_fields(edits, status, headers, None, exchange);
        }
        response
    }

    /// Whether a value of the response depends on the head of the request.
    pub(super) fn response_reads_request(
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
    pub(super) fn edit_head(
        &self,
        edits: &HeaderEdits,
        head: &mut request::Parts,
        exchange: &Exchange,
    ) {
        edits.apply_to_request_with(head, |request, format| {
            format.header_value(&exchange.format_context(self.conn, Some(request), None))
        });
    }

    /// Edits the fields of a response. `request` may be `None` if the request was forwarded: the exchange
    /// then contains a copy of the request head if an edit reads it.
    fn edit_fields(
        &self,
        edits: &HeaderEdits,
        status: StatusCode,
        headers: &mut HeaderMap,
        request: Option<FormatRequest<'_>>,
        exchange: &Exchange,
    ) {
        edits.apply_with(headers, |headers, format| {
            let response = Some((status, headers));
            format.header_value(&exchange.format_context(self.conn, request, response))
        });
    }
}

/// The part of the path that the prefix of the rule matched.
fn matched_prefix<'h>(
    found: &MatchedRoute<'_, RuleTarget>,
    head: &'h request::Parts,
) -> Option<&'h str> {
    head.uri.path().get(..found.prefix?)
}

/// The error of a filter that cannot be applied. The request fails.
fn filter_failed() -> Error {
    Error::Failed(StatusCode::INTERNAL_SERVER_ERROR)
}
