//! API keys (SecurityPolicy `apiKeyAuth`).
//!
//! The key is read from the first place that has a non-empty key, even if this key is invalid. Keys are
//! looked up by their SHA-256 digest, so the duration of a look-up reveals nothing about a key.

use std::borrow::Cow;
use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use http::header::{AUTHORIZATION, COOKIE};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, StatusCode, Uri, request};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use towergate_core::LocalReply;
use towergate_core::plan::Text;
use towergate_core::policy::{FilledFields, HeadPolicy, PolicyError, RequestHead};

use crate::secret::SecretText;

/// The keys with which requests are admitted.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ApiKeyAuthentication {
    /// Clients, each with its key.
    pub credentials: Vec<ApiKeyCredential>,
    /// Places from which the key is read, in order of precedence. Never empty.
    pub sources: Vec<ApiKeyPlace>,
    /// The header field in which the backend receives the client's name.
    pub forward_client: Option<Text<HeaderName>>,
    /// Whether keys are removed from the request before it is forwarded.
    pub sanitize: bool,
}

/// A client and its key.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ApiKeyCredential {
    /// The client's name.
    pub client: String,
    /// The client's API key.
    pub key: SecretText,
}

/// A place in a request that can contain the API key.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum ApiKeyPlace {
    /// A header field; in `Authorization`, after the scheme `Bearer`.
    Header(Text<HeaderName>),
    /// A query parameter.
    Param(String),
    /// A cookie.
    Cookie(String),
}

/// The reason why a request is rejected. Messages are those of Envoy.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("Client authentication failed.")]
#[non_exhaustive]
pub enum ApiKeyError {
    /// The request has no key.
    Missing,
    /// No client has the key.
    Unknown,
}

impl ApiKeyError {
    /// The details of the response code in the access log, as in Envoy.
    pub const fn details(self) -> &'static str {
        match self {
            Self::Missing => "missing_api_key",
            Self::Unknown => "unknown_api_key",
        }
    }
}

/// Two clients have the same key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("clients {first} and {second} have the same key")]
pub struct DuplicateKey {
    first: String,
    second: String,
}

/// Finds the client of a request by its key.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    clients: HashMap<[u8; 32], String>,
    sources: Vec<ApiKeyPlace>,
}

impl ApiKeys {
    /// The keys of `rule`. If a client has two credentials, the first one applies. White space at the end of
    /// a key is removed, because Secrets that are created from files often end with a line feed.
    ///
    /// # Errors
    /// If two clients have the same key.
    pub fn new(rule: &ApiKeyAuthentication) -> Result<Self, DuplicateKey> {
        let mut clients = HashMap::new();
        let mut names: Vec<&str> = Vec::new();
        for credential in &rule.credentials {
            if names.contains(&credential.client.as_str()) {
                continue;
            }
            names.push(&credential.client);
            let key = credential.key.expose().trim_end();
            if key.is_empty() {
                continue;
            }
            let earlier = clients.insert(hash(key), credential.client.clone());
            if let Some(first) = earlier {
                let second = credential.client.clone();
                return Err(DuplicateKey { first, second });
            }
        }
        let sources = rule.sources.clone();
        Ok(Self { clients, sources })
    }

    /// The client of a request.
    ///
    /// # Errors
    /// If the request has no key, or no client has this key.
    pub fn client(&self, head: &request::Parts) -> Result<&str, ApiKeyError> {
        let mut places = self.sources.iter();
        let key = places.find_map(|place| place.key(head));
        let client = self.clients.get(&hash(&key.ok_or(ApiKeyError::Missing)?));
        client.map(String::as_str).ok_or(ApiKeyError::Unknown)
    }
}

/// Admits requests with the key of a client.
#[derive(Clone, Debug)]
pub struct ApiKeyPolicy {
    keys: ApiKeys,
    forward: Option<HeaderName>,
    sanitize: bool,
}

impl ApiKeyPolicy {
    /// A policy for `rule`.
    ///
    /// # Errors
    /// If two clients have the same key.
    pub fn new(rule: &ApiKeyAuthentication) -> Result<Self, PolicyError> {
        let keys = ApiKeys::new(rule);
        Ok(Self {
            keys: keys.map_err(|error| PolicyError::new(error.to_string()))?,
            forward: rule.forward_client.as_deref().cloned(),
            sanitize: rule.sanitize,
        })
    }
}

impl ApiKeyPolicy {
    /// Removes the keys from a request, and from the path in the access log. Unknown keys are also removed,
    /// because they may be valid for another policy or may have been valid earlier.
    fn sanitize(&self, request: &mut RequestHead<'_>) {
        let query = request.head.uri.query().map_or(0, str::len);
        for place in &self.keys.sources {
            place.remove(request.head);
        }
        let uri = &request.head.uri;
        if uri.query().map_or(0, str::len) != query {
            let path = uri.path_and_query().map(|path| path.as_str().to_owned());
            request.set_logged_path(path.unwrap_or_default());
        }
    }
}

impl HeadPolicy for ApiKeyPolicy {
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        let client = self.keys.client(request.head);
        let client = client.map(HeaderValue::from_str);
        if let Some(name) = &self.forward {
            // The field for the client's name may itself contain the key, so it is removed only after the key
            // has been read.
            FilledFields::reserve(request.head, name);
        }
        if self.sanitize {
            self.sanitize(request);
        }
        let client = client.map_err(refuse)?;
        if let Some(name) = &self.forward {
            let value = client.map_err(|_| refuse(ApiKeyError::Unknown))?;
            request.head.headers.insert(name, value);
        }
        Ok(())
    }
}

fn refuse(error: ApiKeyError) -> LocalReply {
    LocalReply::new(StatusCode::UNAUTHORIZED, error.details()).with_body(error.to_string())
}

fn hash(key: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
    bytes
}

impl ApiKeyPlace {
    /// The key at this place of the request. `None`: the place has no key, or an empty one.
    fn key<'h>(&self, head: &'h request::Parts) -> Option<Cow<'h, str>> {
        let key = match self {
            Self::Header(name) => {
                let value = head.headers.get(&**name)?.to_str().ok()?;
                let bearer = value
                    .get(..7)
                    .filter(|scheme| scheme.eq_ignore_ascii_case("bearer "));
                match bearer {
                    Some(_) if **name == AUTHORIZATION => value[7..].trim().into(),
                    _ => value.into(),
                }
            }
            Self::Param(name) => {
                let query = head.uri.query()?;
                let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                let mut values = pairs.filter(|(own, _)| decoded(own) == *name);
                decoded(values.next()?.1)
            }
            Self::Cookie(name) => {
                let lines = head.headers.get_all(COOKIE).iter();
                let lines = lines.filter_map(|line| line.to_str().ok());
                let pairs = lines
                    .flat_map(|line| line.split(';'))
                    .filter_map(|pair| pair.split_once('='));
                let mut values = pairs.filter(|(own, _)| own.trim() == name);
                let value = values.next()?.1.trim();
                let quoted = value
                    .strip_prefix('"')
                    .and_then(|rest| rest.strip_suffix('"'));
                quoted.unwrap_or(value).into()
            }
        };
        (!key.is_empty()).then_some(key)
    }

    /// Removes the value at this place from a request.
    pub fn remove(&self, head: &mut request::Parts) {
        match self {
            Self::Header(name) => {
                head.headers.remove(&**name);
            }
            Self::Param(name) => remove_param(&mut head.uri, name),
            Self::Cookie(name) => remove_cookie(head, name),
        }
    }
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

fn remove_param(uri: &mut Uri, name: &str) {
    let Some(query) = uri.query() else { return };
    let own = |pair: &&str| decoded(pair.split_once('=').map_or(*pair, |(own, _)| own)) == name;
    if !query.split('&').any(|pair| own(&pair)) {
        return;
    }
    let rest: Vec<&str> = query.split('&').filter(|pair| !own(pair)).collect();
    let mut target = uri.path().to_owned();
    if !rest.is_empty() {
        target.push('?');
        target.push_str(&rest.join("&"));
    }
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = PathAndQuery::try_from(target).ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

fn remove_cookie(head: &mut request::Parts, name: &str) {
    let own = |pair: &str| {
        pair.split_once('=')
            .is_some_and(|(own, _)| own.trim() == name)
    };
    let lines: Vec<_> = head.headers.get_all(COOKIE).iter().cloned().collect();
    head.headers.remove(COOKIE);
    for line in lines {
        let Ok(text) = line.to_str() else { continue };
        let rest: Vec<_> = text
            .split(';')
            .map(str::trim)
            .filter(|pair| !own(pair))
            .collect();
        if let Ok(value) = HeaderValue::from_str(&rest.join("; "))
            && !value.is_empty()
        {
            head.headers.append(COOKIE, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use towergate_core::policy::ResponseEffects;

    use super::*;

    fn credential(client: &str, key: &str) -> ApiKeyCredential {
        ApiKeyCredential {
            client: client.to_owned(),
            key: SecretText::new(key),
        }
    }

    fn header(name: &'static str) -> ApiKeyPlace {
        ApiKeyPlace::Header(HeaderName::from_static(name).into())
    }

    fn rule(sources: Vec<ApiKeyPlace>) -> ApiKeyAuthentication {
        ApiKeyAuthentication {
            credentials: vec![credential("ada", "key-ada\n"), credential("bob", "key-bob")],
            sources,
            forward_client: None,
            sanitize: false,
        }
    }

    fn request(target: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_first_place_with_a_key_decides() {
        let sources = vec![
            header("x-key"),
            header("authorization"),
            ApiKeyPlace::Param("key".to_owned()),
            ApiKeyPlace::Cookie("key".to_owned()),
        ];
        let keys = ApiKeys::new(&rule(sources)).unwrap();
        for (target, headers, expected) in [
            ("/", vec![], Err(ApiKeyError::Missing)),
            ("/", vec![("x-key", "")], Err(ApiKeyError::Missing)),
            ("/", vec![("x-key", "key-ada")], Ok("ada")),
            (
                "/",
                vec![("x-key", "nope"), ("x-key", "key-ada")],
                Err(ApiKeyError::Unknown),
            ),
            (
                "/?key=key-ada",
                vec![("x-key", "nope")],
                Err(ApiKeyError::Unknown),
            ),
            ("/?key=key-ada", vec![("x-key", "")], Ok("ada")),
            ("/?key=key%2Dbob&key=nope", vec![], Ok("bob")),
            ("/", vec![("authorization", "Bearer key-ada")], Ok("ada")),
            ("/", vec![("authorization", "key-ada")], Ok("ada")),
            ("/", vec![("cookie", "a=b; key=\"key-bob\"")], Ok("bob")),
            ("/", vec![("cookie", "key=")], Err(ApiKeyError::Missing)),
        ] {
            assert_eq!(
                keys.client(&request(target, &headers)),
                expected,
                "{target} {headers:?}"
            );
        }
    }

    #[test]
    fn keys_are_removed_from_every_place() {
        let mut head = request(
            "/p?a=1&key=key-ada&b=2&%6bey=x",
            &[
                ("x-key", "key-ada"),
                ("cookie", "a=b; key=k"),
                ("cookie", "key=k"),
            ],
        );

        for place in [
            header("x-key"),
            ApiKeyPlace::Param("key".to_owned()),
            ApiKeyPlace::Cookie("key".to_owned()),
        ] {
            place.remove(&mut head);
        }

        assert_eq!(head.uri, "/p?a=1&b=2");
        assert_eq!(head.headers.len(), 1);
        assert_eq!(head.headers[COOKIE], "a=b");
    }

    #[test]
    fn the_access_log_has_no_key_if_keys_are_removed() {
        for (sanitize, target, logged) in [
            (true, "/p?key=key-ada&a=b", Some("/p?a=b")),
            (true, "/p?key=key-of-nobody", Some("/p")),
            (true, "/p?a=b", None),
            (false, "/p?key=key-ada", None),
        ] {
            let policy = ApiKeyPolicy::new(&ApiKeyAuthentication {
                sanitize,
                ..rule(vec![ApiKeyPlace::Param("key".to_owned())])
            });
            let (mut head, mut effects) = (request(target, &[]), ResponseEffects::default());
            let mut request = RequestHead::outside_gateway(&mut head, &mut effects);

            let result = policy.unwrap().check(&mut request);

            assert_eq!(result.is_ok(), target.contains("key-ada"), "{target}");
            assert_eq!(request.logged_path(), logged, "{target}");
        }
    }

    #[test]
    fn a_query_of_nothing_but_keys_leaves_no_question_mark() {
        let mut head = request("/p?key=key-ada", &[]);

        ApiKeyPlace::Param("key".to_owned()).remove(&mut head);

        assert_eq!(head.uri, "/p");
    }

    #[test]
    fn one_key_of_two_clients_is_refused_and_of_one_client_the_first_counts() {
        let mut rule = rule(vec![header("x-key")]);
        rule.credentials.push(credential("ada", "key-other"));
        let keys = ApiKeys::new(&rule).unwrap();
        assert_eq!(
            keys.client(&request("/", &[("x-key", "key-other")])),
            Err(ApiKeyError::Unknown)
        );

        rule.credentials.push(credential("carl", "key-bob"));
        assert_eq!(
            ApiKeys::new(&rule).unwrap_err().to_string(),
            "clients bob and carl have the same key"
        );
    }
}
