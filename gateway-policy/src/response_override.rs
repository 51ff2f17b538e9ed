//! Replacement of responses by their status and header fields.
//!
//! The first rule that matches a response replaces it completely. No part of the original response is kept:
//! no body, no cookie, no validator. A rule that does not restrict the origin also applies to local replies
//! of the gateway. The policy is the outermost one, so it also replaces local replies of other policies.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, request};
use http_body::Body as _;
use serde::{Deserialize, Serialize};
use towergate_core::format::Format;
use towergate_core::plan::{Text, TextMatch};
use towergate_core::policy::{BodyPolicy, PolicyRequest, PolicyResponse};
use towergate_core::{Body, HeaderList, LocalReply};

/// Replaces responses. The first rule that matches applies.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ResponseReplacement {
    /// Rules, in order of evaluation.
    pub rules: Vec<std::sync::Arc<ReplacementRule>>,
}

/// A condition on responses, and their replacement.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ReplacementRule {
    /// Inclusive ranges of statuses. One of them must contain the response's status. Empty: any
    /// status.
    pub statuses: Vec<(u16, u16)>,
    /// Header fields that must all be present with a matching value.
    pub headers: Vec<(Text<HeaderName>, TextMatch)>,
    /// Origin of the response.
    pub origin: ResponseOrigin,
    /// The response that the client receives.
    pub replacement: Replacement,
}

/// Origin of a response.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum ResponseOrigin {
    /// The backend or the gateway.
    #[default]
    Any,
    /// The gateway itself: a local reply.
    Gateway,
    /// A backend.
    Backend,
}

/// Replacement of a response.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum Replacement {
    /// Another response.
    Response(ReplacementResponse),
    /// A redirect.
    Redirect(ReplacementRedirect),
}

/// A response that replaces another one.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ReplacementResponse {
    /// Status. `None`: that of the original response.
    pub status: Option<u16>,
    /// Media type of the body. `None`: `text/plain`.
    pub content_type: Option<Text<HeaderValue>>,
    /// Body.
    pub body: ReplacementBody,
    /// Fields that replace all fields of the same name. Operators of the response have the values of the original. If a
    /// value is empty, the field is not set.
    pub set: Vec<(Text<HeaderName>, Text<Format>)>,
    /// Fields to add.
    pub add: Vec<(Text<HeaderName>, Text<Format>)>,
}

/// The body of a response that replaces another one.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum ReplacementBody {
    /// Text that is the same for all requests.
    Plain(String),
    /// Text with command operators. Operators of the response return the values of the original response.
    Format(Text<Format>),
}

/// A redirect that replaces a response. Parts that are not set are taken from the request.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ReplacementRedirect {
    /// Status. Default: 302.
    pub status: Option<u16>,
    /// Scheme.
    pub scheme: Option<String>,
    /// Host name, without port.
    pub host: Option<String>,
    /// Port. `None`: if neither scheme nor host name is set, the port of the request, else the default of the
    /// scheme.
    pub port: Option<u16>,
    /// Path. The query of the request is kept.
    pub path: Option<String>,
}

impl Default for ReplacementBody {
    fn default() -> Self {
        Self::Plain(String::new())
    }
}

impl BodyPolicy for ResponseReplacement {
    fn wrap(&self, request: &mut PolicyRequest<'_>) -> Result<(), LocalReply> {
        let rules = self.rules.clone();
        let is_redirect = |rule: &std::sync::Arc<ReplacementRule>| {
            matches!(rule.replacement, Replacement::Redirect(_))
        };
        let target = rules
            .iter()
            .any(is_redirect)
            .then(|| RequestTarget::of(request.head));
        let head = request.head.method == Method::HEAD;
        if rules.iter().any(|rule| rule.reads_request()) {
            request.keep_head();
        }
        request.on_response(move |response| {
            let original = (&*response.response, response.local);
            let Some(rule) = rules
                .iter()
                .find(|rule| rule.matches(original.0, original.1))
            else {
                return;
            };
            rule.apply(response, target.as_ref());
            if head {
                *response.response.body_mut() = Body::empty();
            }
        });
        Ok(())
    }
}

impl ReplacementRule {
    /// Whether the rule applies to a response. Switched protocols are never replaced.
    fn matches(&self, response: &Response<Body>, local: bool) -> bool {
        let status = response.status();
        let origin = match self.origin {
            ResponseOrigin::Any => true,
            ResponseOrigin::Gateway => local,
            ResponseOrigin::Backend => !local,
        };
        let in_range = |(first, last): &(u16, u16)| (*first..=*last).contains(&status.as_u16());
        origin
            && status != StatusCode::SWITCHING_PROTOCOLS
            && (self.statuses.is_empty() || self.statuses.iter().any(in_range))
            && self.headers.iter().all(|(name, expected)| {
                let mut values = response.headers().get_all(&**name).into_iter();
                values.any(|value| value.to_str().is_ok_and(|value| expected.matches(value)))
            })
    }

    /// Whether the replacement depends on the head of the request.
    fn reads_request(&self) -> bool {
        match &self.replacement {
            Replacement::Response(ReplacementResponse { body, set, add, .. }) => {
                let body = match body {
                    ReplacementBody::Format(format) => format.reads_request(),
                    ReplacementBody::Plain(_) => false,
                };
                body || set
                    .iter()
                    .chain(add)
                    .any(|(_, value)| value.reads_request())
            }
            Replacement::Redirect(_) => false,
        }
    }

    /// Replaces a response. As in Envoy, the flag in the access log is kept and the details are empty.
    fn apply(&self, response: &mut PolicyResponse<'_>, target: Option<&RequestTarget>) {
        let fields = match &self.replacement {
            Replacement::Response(replacement) => replacement.fields(response),
            Replacement::Redirect(_) => ReplacementFields::default(),
        };
        let reply = match &self.replacement {
            Replacement::Response(replacement) => replacement.reply(response),
            Replacement::Redirect(redirect) => {
                match target.and_then(|target| redirect.location(target)) {
                    Some(location) => {
                        let code = redirect
                            .status
                            .and_then(|code| StatusCode::from_u16(code).ok());
                        LocalReply::redirect(code.unwrap_or(StatusCode::FOUND), location, "")
                    }
                    // Without a location, the original response must still be withheld, because this is the
                    // purpose of the rule.
                    None => LocalReply::new(StatusCode::INTERNAL_SERVER_ERROR, ""),
                }
            }
        };
        let mut replaced: Response<Body> = reply.into_response(response.grpc);
        // A response 204 or 304 has no content (RFC 9110, sections 15.3.5 and 15.4.5). Replies to gRPC clients have
        // status 200 here, and their body is in `grpc-message`.
        let has_content = !matches!(
            replaced.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        if !has_content {
            *replaced.body_mut() = Body::empty();
            replaced.headers_mut().remove(CONTENT_TYPE);
        }
        if let Replacement::Response(_) = &self.replacement {
            let is_empty = replaced.body().is_end_stream();
            fields.edit(replaced.headers_mut(), is_empty);
        }
        if !has_content {
            replaced.headers_mut().remove(CONTENT_LENGTH);
        }
        *response.response = replaced;
        response.local = true;
        response.set_details("");
    }
}

impl ReplacementResponse {
    fn reply(&self, original: &PolicyResponse<'_>) -> LocalReply {
        let status = self
            .status
            .and_then(|status| StatusCode::from_u16(status).ok());
        let body = match &self.body {
            ReplacementBody::Plain(text) => Bytes::from(text.clone()),
            ReplacementBody::Format(format) => original.format(format).unwrap_or_default().into(),
        };
        let reply = LocalReply::new(status.unwrap_or(original.response.status()), "");
        let has_body = !body.is_empty();
        let reply = reply.with_body(body);
        match &self.content_type {
            Some(kind) if has_body => reply.with_header(CONTENT_TYPE, HeaderValue::clone(kind)),
            _ => reply,
        }
    }

    /// The values of the fields for the original response.
    fn fields(&self, original: &PolicyResponse<'_>) -> ReplacementFields {
        let evaluated = |list: &[(Text<HeaderName>, Text<Format>)]| {
            let values = list.iter().filter_map(|(name, value)| {
                let value = HeaderValue::from_bytes(&original.format(value)?).ok()?;
                Some((HeaderName::clone(name), value))
            });
            values.collect()
        };
        ReplacementFields {
            set: evaluated(&self.set),
            add: evaluated(&self.add),
        }
    }
}

/// Header fields of a response that replaces another one.
#[derive(Default)]
struct ReplacementFields {
    set: HeaderList,
    add: HeaderList,
}

impl ReplacementFields {
    fn edit(self, headers: &mut HeaderMap, is_empty: bool) {
        for (name, value) in self.set {
            headers.insert(name, value);
        }
        for (name, value) in self.add {
            headers.append(name, value);
        }
        if !headers.contains_key(CONTENT_LENGTH) && is_empty {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    }
}

impl ReplacementRedirect {
    /// The target of the redirect. `None`: neither the request nor the redirect has a host.
    fn location(&self, request: &RequestTarget) -> Option<HeaderValue> {
        let scheme = match &self.scheme {
            Some(scheme) => Scheme::try_from(scheme.as_str()).ok()?,
            None => request.scheme.clone(),
        };
        let (host, own_port) = (request.host.as_deref(), request.port);
        let port = match (self.port, &self.scheme, &self.host) {
            (Some(port), ..) => Some(port),
            (None, None, None) => own_port,
            _ => None,
        };
        let default = if scheme == Scheme::HTTPS { 443 } else { 80 };
        let host = self.host.as_deref().or(host)?;
        let authority = match port.filter(|port| *port != default) {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let path = match (&self.path, request.target.query()) {
            (None, _) => request.target.as_str().to_owned(),
            (Some(path), None) => path.clone(),
            (Some(path), Some(query)) => format!("{path}?{query}"),
        };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(path)
            .build()
            .ok()?;
        HeaderValue::try_from(uri.to_string()).ok()
    }
}

/// The parts of a request that a redirect keeps.
struct RequestTarget {
    scheme: Scheme,
    host: Option<String>,
    port: Option<u16>,
    target: PathAndQuery,
}

impl RequestTarget {
    fn of(head: &request::Parts) -> Self {
        let forwarded = head.headers.get("x-forwarded-proto");
        let forwarded = forwarded.and_then(|scheme| scheme.to_str().ok());
        let authority = match head.uri.authority() {
            Some(authority) => Some(authority.clone()),
            None => {
                let host = head.headers.get(http::header::HOST);
                host.and_then(|host| Authority::try_from(host.as_bytes()).ok())
            }
        };
        let target = head.uri.path_and_query().cloned();
        Self {
            scheme: match forwarded {
                Some("https") => Scheme::HTTPS,
                _ => Scheme::HTTP,
            },
            port: authority.as_ref().and_then(Authority::port_u16),
            host: authority.map(|authority| authority.host().to_owned()),
            target: target.unwrap_or_else(|| PathAndQuery::from_static("/")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use http::Request;
    use http::header::LOCATION;
    use http_body_util::BodyExt;
    use tower::{ServiceExt, service_fn};
    use tower_layer::Layer;
    use towergate_core::policy::{BuiltPolicy, PolicyLayer};

    use super::*;

    fn rule(statuses: &[(u16, u16)], replacement: Replacement) -> Arc<ReplacementRule> {
        Arc::new(ReplacementRule {
            statuses: statuses.to_vec(),
            headers: Vec::new(),
            origin: ResponseOrigin::Any,
            replacement,
        })
    }

    fn text(body: &str) -> Replacement {
        Replacement::Response(ReplacementResponse {
            body: ReplacementBody::Plain(body.to_owned()),
            ..Default::default()
        })
    }

    async fn replaced(
        rules: Vec<Arc<ReplacementRule>>,
        request: http::request::Builder,
        response: http::response::Builder,
    ) -> Response<Body> {
        let (head, ()) = response.body(()).unwrap().into_parts();
        let backend = service_fn(move |_: Request<Body>| {
            let response = Response::from_parts(head.clone(), Body::from("original"));
            async move { Ok::<_, Infallible>(response) }
        });
        let policy = BuiltPolicy::body(ResponseReplacement { rules });
        let service = PolicyLayer::new(policy).layer(backend);
        let request = request.body(Body::empty()).unwrap();
        service.oneshot(request).await.unwrap()
    }

    async fn body(response: Response<Body>) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_body_with_operators_has_the_values_of_the_request_and_of_the_original() {
        let format = "%REQ(x-user)% %REQ(:path)% %RESP(x-id)%, 100%%";
        let replacement = Replacement::Response(ReplacementResponse {
            body: ReplacementBody::Format(format.parse().unwrap()),
            ..Default::default()
        });

        let response = replaced(
            vec![rule(&[(503, 503)], replacement)],
            Request::get("/a?b").header("x-user", "alice"),
            Response::builder().status(503).header("x-id", "7"),
        )
        .await;

        assert_eq!(response.headers().get("x-id"), None);
        assert_eq!(body(response).await, "alice /a?b 7, 100%");
    }

    #[tokio::test]
    async fn nothing_of_the_original_response_is_left() {
        let original = Response::builder()
            .status(404)
            .header("set-cookie", "a=b")
            .header("etag", "\"x\"");

        let response = replaced(
            vec![rule(&[(404, 404)], text("gone"))],
            Request::get("/"),
            original,
        )
        .await;

        assert_eq!(response.status(), 404);
        assert_eq!(response.headers().len(), 2);
        assert_eq!(response.headers()[CONTENT_LENGTH], "4");
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain");
        assert_eq!(body(response).await, "gone");
    }

    #[tokio::test]
    async fn the_first_rule_that_matches_applies() {
        let rules = || {
            vec![
                rule(&[(404, 404)], text("first")),
                rule(&[(400, 499)], text("second")),
            ]
        };
        for (status, expected) in [(404, "first"), (410, "second"), (500, "original")] {
            let original = Response::builder().status(status);

            let response = replaced(rules(), Request::get("/"), original).await;

            assert_eq!(response.status(), status);
            assert_eq!(body(response).await, expected);
        }
    }

    #[tokio::test]
    async fn a_rule_may_depend_on_header_fields_and_change_everything() {
        let field = |name, value: &str| {
            let name = HeaderName::from_static(name);
            (name.into(), value.parse().unwrap())
        };
        let rule = Arc::new(ReplacementRule {
            statuses: Vec::new(),
            headers: vec![(
                HeaderName::from_static("x-broken").into(),
                TextMatch::Exact("yes".to_owned()),
            )],
            origin: ResponseOrigin::Backend,
            replacement: Replacement::Response(ReplacementResponse {
                status: Some(502),
                content_type: Some(HeaderValue::from_static("text/html").into()),
                body: ReplacementBody::Plain("<p>".to_owned()),
                set: vec![(CONTENT_TYPE.into(), "text/css".parse().unwrap())],
                add: vec![
                    field("x-new", "%RESP(x-broken)%"),
                    field("x-path", "%REQ(:path)%"),
                    field("x-none", "%REQ(x-none)%"),
                ],
            }),
        });
        let broken = |value| Response::builder().header("x-broken", value);

        let kept = replaced(vec![rule.clone()], Request::get("/"), broken("no")).await;
        let changed = replaced(vec![rule], Request::get("/"), broken("yes")).await;

        assert_eq!(body(kept).await, "original");
        assert_eq!(changed.status(), 502);
        assert_eq!(changed.headers()[CONTENT_TYPE], "text/css");
        assert_eq!(changed.headers()["x-new"], "yes");
        assert_eq!(changed.headers()["x-path"], "/");
        assert!(!changed.headers().contains_key("x-none"));
    }

    #[tokio::test]
    async fn a_redirect_keeps_the_query_and_what_it_does_not_set() {
        let redirect = |redirect| vec![rule(&[(401, 401)], Replacement::Redirect(redirect))];
        let request = || Request::get("/a?b=c").header("host", "site.test:8080");
        let unauthorized = || Response::builder().status(401);
        let whole = ReplacementRedirect {
            status: Some(301),
            scheme: Some("https".to_owned()),
            host: Some("login.test".to_owned()),
            port: Some(8443),
            path: Some("/in".to_owned()),
        };
        let secure = ReplacementRedirect {
            scheme: Some("https".to_owned()),
            ..Default::default()
        };
        for (to, status, location) in [
            (whole, 301, "https://login.test:8443/in?b=c"),
            (secure, 302, "https://site.test/a?b=c"),
            (
                ReplacementRedirect::default(),
                302,
                "http://site.test:8080/a?b=c",
            ),
        ] {
            let response = replaced(redirect(to), request(), unauthorized()).await;

            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[LOCATION], location);
            assert!(body(response).await.is_empty());
        }
    }

    #[tokio::test]
    async fn a_status_without_content_has_neither_body_nor_length() {
        for status in [204, 304] {
            for body_text in ["text", ""] {
                let replacement = Replacement::Response(ReplacementResponse {
                    status: Some(status),
                    body: ReplacementBody::Plain(body_text.to_owned()),
                    set: vec![(CONTENT_LENGTH.into(), "4".parse().unwrap())],
                    ..Default::default()
                });
                let rules = vec![rule(&[(404, 404)], replacement)];
                let original = Response::builder().status(404);

                let response = replaced(rules, Request::get("/"), original).await;

                assert_eq!(response.status(), status);
                assert!(response.headers().is_empty(), "{:?}", response.headers());
                assert!(body(response).await.is_empty());
            }
            let rules = vec![rule(&[(status, status)], text("text"))];
            let original = Response::builder().status(status);

            let response = replaced(rules, Request::get("/"), original).await;

            assert_eq!(response.status(), status);
            assert!(response.headers().is_empty(), "{:?}", response.headers());
            assert!(body(response).await.is_empty());
        }
    }

    #[tokio::test]
    async fn the_response_to_head_has_no_body() {
        let rules = vec![rule(&[(404, 404)], text("gone"))];
        let original = Response::builder().status(404);

        let response = replaced(rules, Request::head("/"), original).await;

        assert_eq!(response.headers()[CONTENT_LENGTH], "4");
        assert!(body(response).await.is_empty());
    }
}
