//! Cross-origin requests (Gateway API `HTTPCORSFilter`, GEP-1767; the CORS protocol of the Fetch standard).
//!
//! A browser asks first whether a page of one origin may send a request to another (a preflight), and
//! looks at the answer of the request itself. The filter answers preflights; every other request goes on,
//! whatever its origin is, and its response is marked: it is the browser that keeps it from the page.
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
//! decision.marks.apply(&mut response);
//! assert_eq!(response["access-control-allow-origin"], "https://shop.example.com");
//! assert_eq!(response["access-control-allow-methods"], "GET, PUT");
//! assert_eq!(response["vary"], "Origin");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, InvalidHeaderValue, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};

use super::OriginPattern;
use crate::text::Text;

const ANY: HeaderValue = HeaderValue::from_static("*");

/// What pages of other origins may do. The default allows nothing.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Cors {
    /// Origins whose pages may.
    pub origins: Vec<OriginPattern>,
    /// Whether with cookies and other credentials.
    pub credentials: bool,
    /// With which methods, beside `GET`, `HEAD` and `POST`, which need no permission.
    pub methods: Allowed,
    /// With which header fields.
    pub headers: Allowed,
    /// Which fields of the response the page gets to see.
    pub expose: Allowed,
    /// How long the answer to a preflight holds, in seconds; `None`: as the browser likes.
    pub max_age: Option<u32>,
}

/// A list of names in a CORS field.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum Allowed {
    /// The field is not sent.
    #[default]
    Nothing,
    /// These, as the value of the field.
    Names(Text<HeaderValue>),
    /// All: `*`.
    Any,
}

/// What is to be done with a request.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// It is a preflight: it is answered at once, 200 without a body, and goes nowhere.
    pub preflight: bool,
    /// What its response gets, whoever gives it.
    pub marks: Marks,
}

/// Fields for a response.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    fields: Vec<(HeaderName, HeaderValue)>,
    /// The response depends on the origin.
    varies: bool,
}

impl Allowed {
    /// These names; `*` among them means all.
    ///
    /// # Errors
    /// A name that cannot be part of a field's value.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidHeaderValue> {
        let names: Vec<_> = names.into_iter().collect();
        match &names[..] {
            [] => Ok(Self::Nothing),
            names if names.contains(&"*") => Ok(Self::Any),
            names => Ok(Self::Names(names.join(", ").parse()?)),
        }
    }

    /// The field's value. For browsers `*` is a name like others once credentials are allowed: all is then
    /// what was `asked` for.
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
    /// Looks at the head of a request.
    pub fn decide(&self, method: &Method, headers: &HeaderMap) -> Decision {
        let origin = headers.get(ORIGIN).filter(|origin| !origin.is_empty());
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD);
        let asked = asked.filter(|asked| *method == Method::OPTIONS && !asked.is_empty());
        let preflight = origin.is_some() && asked.is_some();
        let mut marks = Marks {
            fields: Vec::new(),
            varies: !self.same_for_all(),
        };
        if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
            self.grant(origin, &mut marks);
            if preflight {
                self.permit(headers, &mut marks);
            }
        }
        Decision { preflight, marks }
    }

    /// Whether all origins get the same answer.
    fn same_for_all(&self) -> bool {
        !self.credentials && self.origins.contains(&OriginPattern::Any)
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let origin = origin.to_str().unwrap_or_default();
        self.origins.iter().any(|pattern| pattern.matches(origin))
    }

    /// What every response to this origin says.
    fn grant(&self, origin: &HeaderValue, marks: &mut Marks) {
        let told = match self.same_for_all() {
            true => ANY,
            false => origin.clone(),
        };
        marks.add(ACCESS_CONTROL_ALLOW_ORIGIN, Some(told));
        let credentials = HeaderValue::from_static("true");
        marks.add(
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            self.credentials.then_some(credentials),
        );
        let expose = self.expose.value(self.credentials, None);
        marks.add(ACCESS_CONTROL_EXPOSE_HEADERS, expose);
    }

    /// What the answer to a preflight says beside.
    fn permit(&self, headers: &HeaderMap, marks: &mut Marks) {
        let method = headers.get(ACCESS_CONTROL_REQUEST_METHOD).cloned();
        let fields = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        let credentials = self.credentials;
        marks.add(
            ACCESS_CONTROL_ALLOW_METHODS,
            self.methods.value(credentials, method),
        );
        marks.add(
            ACCESS_CONTROL_ALLOW_HEADERS,
            self.headers.value(credentials, fields),
        );
        marks.add(ACCESS_CONTROL_MAX_AGE, self.max_age.map(HeaderValue::from));
    }
}

impl Marks {
    fn add(&mut self, name: HeaderName, value: Option<HeaderValue>) {
        self.fields.extend(value.map(|value| (name, value)));
    }

    /// Whether a response stays as it is.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && !self.varies
    }

    /// Marks a response. What the backend says in these fields is replaced; to an origin that is not
    /// allowed, and to a request without one, its own words stay, as in Envoy.
    pub fn apply(self, response: &mut HeaderMap) {
        for (name, value) in self.fields {
            response.insert(name, value);
        }
        if self.varies && !varies_by_origin(response) {
            response.append(VARY, HeaderValue::from_static("Origin"));
        }
    }
}

/// Whether caches are told already that the response depends on the origin (RFC 9110, section 12.5.5).
fn varies_by_origin(response: &HeaderMap) -> bool {
    let lines = response.get_all(VARY).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
}

#[cfg(test)]
mod tests;
