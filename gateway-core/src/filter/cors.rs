//! Cross-origin resource sharing (Gateway API `HTTPCORSFilter`, GEP-1767; the CORS protocol of the Fetch
//! standard).
//!
//! A browser sends a preflight request before a cross-origin request, and also checks the response to the
//! cross-origin request. The gateway replies to preflights. It forwards all other requests, regardless of
//! their origin, and adds the CORS fields to their responses. The browser enforces the permissions.
//!
//! ```
//! use http::{HeaderMap, HeaderValue, Method};
//! use towergate_core::filter::{Allowed, Cors};
//!
//! let cors = Cors {
//!     origins: vec!["https://*.example.com".parse()?],
//!     methods: Allowed::of(["GET", "PUT"])?,
//!     ..Cors::default()
//! };
//! let mut asked = HeaderMap::new();
//! asked.insert("origin", HeaderValue::from_static("https://shop.example.com"));
//! asked.insert("access-control-request-method", HeaderValue::from_static("PUT"));
//!
//! let decision = cors.decide(&Method::OPTIONS, &asked);
//! assert!(decision.preflight);
//!
//! let mut response = HeaderMap::new();
//! decision.headers.apply(&mut response);
//! assert_eq!(response["access-control-allow-origin"], "https://shop.example.com");
//! assert_eq!(response["access-control-allow-methods"], "GET, PUT");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, InvalidHeaderValue, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{OriginPattern, OriginText};
use crate::LocalReply;
use crate::policy::{HeadPolicy, HeadPolicyLayer, RequestHead};
use crate::text::Text;

/// Applies [`Cors`] in front of any HTTP service: `CorsLayer::new(cors)`.
pub type CorsLayer = HeadPolicyLayer<Cors>;

const ANY: HeaderValue = HeaderValue::from_static("*");

/// Permissions of other origins. Default: no origin is allowed.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Cors {
    /// Allowed origins.
    pub origins: Vec<OriginPattern>,
    /// Further allowed origins, compared as text. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origin_texts: Vec<OriginText>,
    /// Whether cookies and other credentials are allowed. Default: `false`.
    pub credentials: bool,
    /// Allowed methods. `GET`, `HEAD` and `POST` need not be listed, because browsers always allow them.
    pub methods: Allowed,
    /// Allowed request header fields.
    pub headers: Allowed,
    /// Response header fields that scripts can read.
    pub expose: Allowed,
    /// Cache lifetime of a preflight response in seconds. Default: the default of the browser.
    pub max_age: Option<u32>,
    /// Whether responses have the CORS fields that Envoy would send. Default: `false`. If true, responses
    /// contain the origin of the request instead of `*`, and no `Vary`. The response to a preflight from an
    /// origin that is not allowed contains the allowed methods and fields, but no allowed origin.
    /// `Access-Control-Expose-Headers` may be `*` with credentials.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_envoy: bool,
    /// Whether responses have the CORS fields that ingress-nginx would send. Default: `false`. If true, every
    /// response to an allowed origin has all CORS fields and no `Vary`. `OPTIONS` requests from an allowed
    /// origin receive 204; `OPTIONS` requests from other origins are forwarded. `*` also allows requests
    /// without an origin.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub every_response: bool,
}

/// Value of a CORS field that lists names.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum Allowed {
    /// The field is omitted.
    #[default]
    Nothing,
    /// Comma-separated list of names.
    Names(Text<HeaderValue>),
    /// All names: `*`.
    Any,
}

/// CORS decision about a request.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Whether the request is a preflight. If true, the gateway replies without a body.
    pub preflight: bool,
    /// CORS fields of the response.
    pub headers: CorsHeaders,
}

/// CORS fields of a response.
#[derive(Clone, Debug, Default)]
pub struct CorsHeaders {
    fields: Vec<(HeaderName, HeaderValue)>,
    /// Whether the response depends on the origin. If true, `vary` is added.
    varies: bool,
}

impl Allowed {
    /// Allows the given names, or all names if `*` is one of them.
    ///
    /// # Errors
    /// Fails if a name contains a character that is invalid in a field value.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidHeaderValue> {
        let names: Vec<_> = names.into_iter().collect();
        match &names[..] {
            [] => Ok(Self::Nothing),
            names if names.contains(&"*") => Ok(Self::Any),
            names => Ok(Self::Names(names.join(", ").parse()?)),
        }
    }

    /// Value of the field. With credentials, browsers treat `*` as a literal name, so `*` is replaced by
    /// `asked`, the names that the client requested.
    fn value(&self, credentials: bool, asked: Option<HeaderValue>) -> Option<HeaderValue> {
        match self {
            Self::Nothing => None,
            Self::Names(names) => Some((**names).clone()),
            Self::Any if credentials => asked,
            Self::Any => Some(ANY),
        }
    }
}

impl Cors {
    /// Decides how a request with this head is treated: whether it is a preflight, and which CORS fields its
    /// response receives.
    pub fn decide(&self, method: &Method, headers: &HeaderMap) -> Decision {
        let origin = headers.get(ORIGIN).filter(|origin| !origin.is_empty());
        if self.every_response {
            return self.decide_alike(method, origin);
        }
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD);
        let asked = asked.filter(|asked| *method == Method::OPTIONS && !asked.is_empty());
        let preflight = origin.is_some() && asked.is_some();
        let mut fields = CorsHeaders {
            fields: Vec::new(),
            // Preflights need no `vary`, because responses to OPTIONS are not cacheable (RFC 9110, section
            // 9.3.7).
            varies: !preflight && !self.as_envoy && !self.same_for_all(),
        };
        let allowed = origin.filter(|origin| self.allows(origin));
        if let Some(origin) = allowed {
            self.grant(origin, &mut fields);
        }
        if preflight && (allowed.is_some() || self.as_envoy) {
            self.permit(headers, &mut fields);
        }
        Decision {
            preflight,
            headers: fields,
        }
    }

    /// The decision if [`every_response`](Self::every_response) is set: preflights and other requests receive
    /// the same fields.
    fn decide_alike(&self, method: &Method, origin: Option<&HeaderValue>) -> Decision {
        let allowed = match self.origins.contains(&OriginPattern::Any) {
            true => Some(ANY),
            false => origin.filter(|origin| self.allows(origin)).cloned(),
        };
        let mut headers = CorsHeaders::default();
        let Some(allowed) = allowed else {
            return Decision::default();
        };
        headers.add(ACCESS_CONTROL_ALLOW_ORIGIN, Some(allowed));
        let credentials = HeaderValue::from_static("true");
        let credentials = self.credentials.then_some(credentials);
        headers.add(ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials);
        headers.add(
            ACCESS_CONTROL_ALLOW_METHODS,
            self.methods.value(false, None),
        );
        headers.add(
            ACCESS_CONTROL_ALLOW_HEADERS,
            self.headers.value(false, None),
        );
        headers.add(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            self.expose.value(false, None),
        );
        headers.add(ACCESS_CONTROL_MAX_AGE, self.max_age.map(HeaderValue::from));
        Decision {
            preflight: *method == Method::OPTIONS,
            headers,
        }
    }

    /// Whether the response is the same for all origins.
    fn same_for_all(&self) -> bool {
        !self.credentials && self.origins.contains(&OriginPattern::Any)
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let origin = origin.to_str().unwrap_or_default();
        self.origins.iter().any(|pattern| pattern.matches(origin))
            || self.origin_texts.iter().any(|text| text.matches(origin))
    }

    /// Adds the fields that every response to this origin contains.
    fn grant(&self, origin: &HeaderValue, fields: &mut CorsHeaders) {
        let allowed = match self.same_for_all() && !self.as_envoy {
            true => ANY,
            false => origin.clone(),
        };
        fields.add(ACCESS_CONTROL_ALLOW_ORIGIN, Some(allowed));
        let credentials = HeaderValue::from_static("true");
        fields.add(
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            self.credentials.then_some(credentials),
        );
        let expose = self.expose.value(self.credentials && !self.as_envoy, None);
        fields.add(ACCESS_CONTROL_EXPOSE_HEADERS, expose);
    }

    /// Adds the fields that only a preflight response contains.
    fn permit(&self, headers: &HeaderMap, fields: &mut CorsHeaders) {
        let method = headers.get(ACCESS_CONTROL_REQUEST_METHOD).cloned();
        let names = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        let credentials = self.credentials;
        fields.add(
            ACCESS_CONTROL_ALLOW_METHODS,
            self.methods.value(credentials, method),
        );
        fields.add(
            ACCESS_CONTROL_ALLOW_HEADERS,
            self.headers.value(credentials, names),
        );
        fields.add(ACCESS_CONTROL_MAX_AGE, self.max_age.map(HeaderValue::from));
    }
}

impl HeadPolicy for Cors {
    /// Replies to preflights. Adds the CORS fields to every response, including local replies.
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        let head = &request.head;
        let Decision { preflight, headers } = self.decide(&head.method, &head.headers);
        if !headers.is_empty() {
            request.on_response_headers(|response| headers.apply(response));
        }
        if preflight {
            let status = match self.every_response {
                true => StatusCode::NO_CONTENT,
                false => StatusCode::OK,
            };
            return Err(LocalReply::new(status, "cors_response"));
        }
        Ok(())
    }
}

impl CorsHeaders {
    fn add(&mut self, name: HeaderName, value: Option<HeaderValue>) {
        self.fields.extend(value.map(|value| (name, value)));
    }

    /// Whether [`Self::apply`] leaves every response unchanged.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && !self.varies
    }

    /// Adds the CORS fields to a response, replacing those of the backend. As in Envoy, `self` contains no
    /// field if the origin is absent or not allowed; then the CORS fields of the backend are kept.
    pub fn apply(self, response: &mut HeaderMap) {
        for (name, value) in self.fields {
            response.insert(name, value);
        }
        if self.varies && !varies_by_origin(response) {
            response.append(VARY, HeaderValue::from_static("Origin"));
        }
    }
}

/// Whether `vary` contains `origin` or `*` (RFC 9110, section 12.5.5).
fn varies_by_origin(response: &HeaderMap) -> bool {
    let lines = response.get_all(VARY).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
}

#[cfg(test)]
mod tests;
