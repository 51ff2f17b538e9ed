//! Session persistence (GEP-1619): the requests of a session go to one endpoint.
//!
//! ```text
//! cookie or header ──> SessionTokens::open ──> PreferredEndpoint ──> backendRef and endpoint
//!                                                                          │
//! Set-Cookie or header <── SessionTokens::issue <── RespondingEndpoint <───┘ if it is another endpoint
//! ```
//!
//! Invariant: a value from a client can only select a healthy endpoint of the rule's backendRefs. If it
//! contains another address, has expired or cannot be read, the load balancer picks an endpoint, and the
//! response contains a new value. The gateway keeps no state, so every replica accepts the sessions of all
//! others.

mod cookie_path;
mod token;

pub use token::{SessionToken, SessionTokens};

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use towergate_core::LocalReply;
use towergate_core::plan::{EndpointAddress, PathMatch, Rule, Text};
use towergate_core::policy::{BodyPolicy, BuildContext, PolicyError, PolicyRequest};
use towergate_core::policy::{PreferredEndpoint, RespondingEndpoint, find_cookie};

use crate::Policy;
use crate::secret::SecretText;

/// Session persistence of a rule.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct SessionPersistence {
    /// Where the client stores the session.
    pub carrier: SessionCarrier,
    /// Maximum age of a session. `None`: no limit.
    pub absolute_timeout: Option<Duration>,
    /// Time without a request after which a session ends. `None`: no limit.
    pub idle_timeout: Option<Duration>,
    /// Keys that seal the value. Empty: the value is the base64 of the endpoint's address, as in Envoy.
    pub keys: Vec<SecretText>,
}

/// Where a client stores its session.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum SessionCarrier {
    /// A cookie.
    Cookie {
        /// Name.
        name: String,
        /// Whether the cookie outlives the browser session. `Max-Age` is then the rest of the absolute
        /// timeout.
        permanent: bool,
        /// Attribute `Path`. `None`: the literal part of the path in the match that selected the rule.
        path: Option<String>,
    },
    /// A response header field that the client repeats in its requests.
    Header(Text<HeaderName>),
}

/// Directs the requests of a session to its endpoint.
#[derive(Debug)]
pub struct SessionPersistencePolicy(Arc<SessionRules>);

/// State that the request half and the response half share.
#[derive(Debug)]
struct SessionRules {
    settings: SessionPersistence,
    tokens: SessionTokens,
    /// Path of the cookie for each match of the rule.
    paths: Box<[String]>,
}

impl SessionPersistencePolicy {
    /// Builds the policy for `rule`.
    ///
    /// # Errors
    /// A key is too short.
    pub(crate) fn new(
        settings: &SessionPersistence,
        rule: &Rule<Policy>,
        context: &BuildContext<'_>,
    ) -> Result<Self, PolicyError> {
        let route = context.route;
        let identity = format!(
            "session persistence\n{}\n{}\n{}\n{}",
            route.kind.word(),
            route.namespace,
            route.name,
            context.rule
        );
        let keys: Vec<&str> = settings.keys.iter().map(SecretText::expose).collect();
        let tokens = SessionTokens::new(&keys, &identity)
            .map_err(|error| PolicyError::new(error.to_string()))?;
        let path_of = |matched: &PathMatch| match &settings.carrier {
            SessionCarrier::Cookie {
                path: Some(path), ..
            } => path.clone(),
            _ => cookie_path::of(matched),
        };
        let paths = rule.matches.iter().map(|one| path_of(&one.path));
        Ok(Self(Arc::new(SessionRules {
            settings: settings.clone(),
            tokens,
            paths: paths.collect(),
        })))
    }
}

impl BodyPolicy for SessionPersistencePolicy {
    fn wrap(&self, request: &mut PolicyRequest<'_>) -> Result<(), LocalReply> {
        let rules = self.0.clone();
        let now = SystemTime::now();
        let session = rules.session_of(&request.head.headers, now);
        let endpoint = session.as_ref().map(|session| session.endpoint.clone());
        let extensions = &mut request.head.extensions;
        extensions.insert(PreferredEndpoint(endpoint));
        let matched = request.facts.route.map_or(0, |route| route.matched);
        request.on_response(move |response| {
            // A local reply has no endpoint, so it does not change the session.
            let responding = response.response.extensions_mut().remove();
            if let Some(RespondingEndpoint(endpoint)) = responding {
                let headers = response.response.headers_mut();
                rules.respond(session, endpoint, matched, now, headers);
            }
        });
        Ok(())
    }
}

impl SessionRules {
    /// The unexpired session of a request.
    fn session_of(&self, headers: &HeaderMap, now: SystemTime) -> Option<SessionToken> {
        let value = match &self.settings.carrier {
            SessionCarrier::Cookie { name, .. } => find_cookie(headers, name)?,
            SessionCarrier::Header(name) => headers.get(&**name)?.as_bytes(),
        };
        let session = self.tokens.open(std::str::from_utf8(value).ok()?)?;
        // A session that was created before the timeout was configured has no expiry time, and is replaced.
        let lasts = |limit: Option<Duration>, end: Option<u64>| {
            limit.is_none() || end.is_some_and(|end| seconds_of(now) < end)
        };
        let valid = lasts(self.settings.absolute_timeout, session.end)
            && lasts(self.settings.idle_timeout, session.idle_end);
        valid.then_some(session)
    }

    /// Adds the session to the response of `endpoint`. If the client already has this session, the response
    /// is not changed.
    fn respond(
        &self,
        before: Option<SessionToken>,
        endpoint: EndpointAddress,
        matched: usize,
        now: SystemTime,
        headers: &mut HeaderMap,
    ) {
        let kept = before.filter(|session| session.endpoint == endpoint);
        if kept.is_some() && self.settings.idle_timeout.is_none() {
            return;
        }
        let end_of = |limit: Option<Duration>| Some(seconds_of(now + limit?));
        let session = SessionToken {
            endpoint,
            end: match kept {
                Some(session) => session.end,
                None => end_of(self.settings.absolute_timeout),
            },
            idle_end: end_of(self.settings.idle_timeout),
        };
        let Some(value) = self.tokens.issue(&session) else {
            return;
        };
        match &self.settings.carrier {
            SessionCarrier::Header(name) => {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    headers.insert(&**name, value);
                }
            }
            SessionCarrier::Cookie {
                name, permanent, ..
            } => {
                let left = session.end.map(|end| end.saturating_sub(seconds_of(now)));
                let path = self.paths.get(matched).map_or("/", |path| path);
                let line = cookie_line(name, &value, left.filter(|_| *permanent), path);
                if let Ok(line) = HeaderValue::from_str(&line) {
                    headers.append(SET_COOKIE, line);
                }
            }
        }
    }
}

/// The value of `Set-Cookie`, as in Envoy.
fn cookie_line(name: &str, value: &str, max_age: Option<u64>, path: &str) -> String {
    let mut line = format!("{name}=\"{value}\"");
    if let Some(seconds) = max_age {
        // Writing to a string cannot fail.
        let _ = write!(line, "; Max-Age={seconds}");
    }
    let _ = write!(line, "; Path={path}; HttpOnly");
    line
}

/// Seconds since the epoch.
fn seconds_of(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
