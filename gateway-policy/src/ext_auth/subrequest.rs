//! Check requests in the form of nginx (`auth_request`), with the header fields of ingress-nginx.
//!
//! The check request has its own path, host and method, and no content. It contains the header fields of the
//! client. `X-Original-URL`, `X-Original-Method` and `X-Auth-Request-Redirect` describe the client's request.
//! A status from 200 to 299 allows the request, 401 and 403 deny it, and every other status is a failed call.

use std::net::IpAddr;

use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, LOCATION, SET_COOKIE, UPGRADE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, request};
use serde::{Deserialize, Serialize};
use towergate_core::plan::Text;
use towergate_core::{Body, LocalReply};

use super::changes::is_editable;
use super::{EditAction, HeaderEdit, RequestChanges, ServiceError, Verdict};

const X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_REDIRECT: HeaderName = HeaderName::from_static("x-auth-request-redirect");
const X_SENT_FROM: HeaderName = HeaderName::from_static("x-sent-from");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_SCHEME: HeaderName = HeaderName::from_static("x-scheme");

/// A service that receives check requests in the form of nginx's `auth_request`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SubrequestService {
    /// Path and query of a check request.
    pub path: String,
    /// Fields of a response that allows the request. The backend receives them; the client's own fields of
    /// these names are removed.
    pub headers_to_backend: Vec<Text<HeaderName>>,
    /// Settings from the annotation, such as host and method of check requests.
    pub settings: SubrequestSettings,
}

/// Settings of a [`SubrequestService`], deserialized from the JSON of an annotation.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubrequestSettings {
    /// `Host` of a check request.
    pub host: String,
    /// Method of a check request. Default: `GET`. If it is set, the service also receives `X-Original-URI` and `X-Scheme`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Value of `X-Auth-Request-Redirect`. Default: path and query of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<String>,
    /// Address to which a client is redirected if the service returns 401. Default: the client receives the 401.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<AddressTemplate>,
    /// Whether cookies of the service are added to every response. Default: only to responses with a status
    /// of success or redirection.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always_set_cookies: bool,
}

/// An address with placeholders for parts of the request: `{scheme}`, `{host}`, `{uri}` (path and query) and
/// `{escaped-uri}`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressTemplate(Vec<AddressPart>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum AddressPart {
    Literal(String),
    Scheme,
    Host,
    Uri,
    EscapedUri,
}

impl TryFrom<String> for AddressTemplate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or("a `{` has no `}`")?;
            parts.push(AddressPart::Literal(literal.to_owned()));
            parts.push(match name {
                "scheme" => AddressPart::Scheme,
                "host" => AddressPart::Host,
                "uri" => AddressPart::Uri,
                "escaped-uri" => AddressPart::EscapedUri,
                _ => {
                    return Err(format!(
                        "{{{name}}} is unknown; known are {{scheme}}, {{host}}, {{uri}} and {{escaped-uri}}"
                    ));
                }
            });
            rest = after;
        }
        parts.push(AddressPart::Literal(rest.to_owned()));
        let literals = parts.iter().filter_map(|part| match part {
            AddressPart::Literal(text) => Some(text),
            _ => None,
        });
        if literals
            .into_iter()
            .any(|text| HeaderValue::from_str(text).is_err())
        {
            return Err("the address has characters that a header field cannot have".to_owned());
        }
        Ok(Self(parts))
    }
}

impl From<AddressTemplate> for String {
    fn from(template: AddressTemplate) -> Self {
        let parts = template.0.iter().map(|part| match part {
            AddressPart::Literal(text) => text.as_str(),
            AddressPart::Scheme => "{scheme}",
            AddressPart::Host => "{host}",
            AddressPart::Uri => "{uri}",
            AddressPart::EscapedUri => "{escaped-uri}",
        });
        parts.collect()
    }
}

/// The address of the client's request.
#[derive(Clone, Copy, Debug)]
struct OriginalAddress<'a> {
    scheme: &'a str,
    host: &'a str,
    uri: &'a str,
}

impl<'a> OriginalAddress<'a> {
    fn of(head: &'a request::Parts) -> Self {
        let field = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let own = head.uri.authority().map(|authority| authority.as_str());
        Self {
            scheme: field(X_FORWARDED_PROTO)
                .or(head.uri.scheme_str())
                .unwrap_or("http"),
            host: own.or_else(|| field(HOST)).unwrap_or_default(),
            uri: head.uri.path_and_query().map_or("/", |path| path.as_str()),
        }
    }
}

impl AddressTemplate {
    fn write(&self, address: OriginalAddress<'_>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                AddressPart::Literal(literal) => text.push_str(literal),
                AddressPart::Scheme => text.push_str(address.scheme),
                AddressPart::Host => text.push_str(address.host),
                AddressPart::Uri => text.push_str(address.uri),
                AddressPart::EscapedUri => escape(address.uri, &mut text),
            }
        }
        text
    }
}

/// Appends `text`. All characters except unreserved ones are percent-encoded (RFC 3986, section 2.3).
fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// Whether a field of the client is sent to the service unchanged.
fn is_passed_on(name: &HeaderName) -> bool {
    let own = [
        CONTENT_LENGTH,
        CONTENT_TYPE,
        EXPECT,
        UPGRADE,
        X_ORIGINAL_URL,
        X_ORIGINAL_METHOD,
        X_REDIRECT,
        X_SENT_FROM,
        X_REAL_IP,
        X_SCHEME,
    ];
    let text = name.as_str();
    is_editable(name)
        && !own.contains(name)
        && !text.starts_with("x-forwarded-")
        && !text.starts_with("x-envoy-")
        && !text.starts_with("proxy-")
}

impl SubrequestSettings {
    /// Checks that check requests can be built.
    ///
    /// # Errors
    /// Host, method or redirect are invalid.
    pub fn check(&self) -> Result<(), String> {
        for text in [Some(&self.host), self.redirect.as_ref()]
            .into_iter()
            .flatten()
        {
            if HeaderValue::from_str(text).is_err() {
                return Err(format!("{text:?} cannot be part of a header field"));
            }
        }
        match &self.method {
            Some(method) if Method::from_bytes(method.as_bytes()).is_err() => {
                Err(format!("{method:?} is not a method"))
            }
            _ => Ok(()),
        }
    }
}

impl SubrequestService {
    /// The check request for a request of `client` with this head.
    pub(super) fn question(
        &self,
        head: &request::Parts,
        client: Option<IpAddr>,
    ) -> Result<Request<Body>, http::Error> {
        let address = OriginalAddress::of(head);
        let mut question = Request::new(Body::empty());
        *question.uri_mut() = self.path.parse()?;
        if let Some(method) = &self.settings.method {
            *question.method_mut() = Method::from_bytes(method.as_bytes())?;
        }
        let headers = question.headers_mut();
        for (name, value) in head.headers.iter().filter(|(name, _)| is_passed_on(name)) {
            headers.append(name, value.clone());
        }
        let url = format!("{}://{}{}", address.scheme, address.host, address.uri);
        headers.insert(HOST, HeaderValue::from_str(&self.settings.host)?);
        headers.insert(X_ORIGINAL_URL, HeaderValue::from_str(&url)?);
        headers.insert(
            X_ORIGINAL_METHOD,
            HeaderValue::from_str(head.method.as_str())?,
        );
        let redirect = self.settings.redirect.as_deref().unwrap_or(address.uri);
        headers.insert(X_REDIRECT, HeaderValue::from_str(redirect)?);
        headers.insert(
            X_SENT_FROM,
            HeaderValue::from_static("nginx-ingress-controller"),
        );
        if let Some(client) = client {
            let client = HeaderValue::from_str(&client.to_string())?;
            headers.insert(X_REAL_IP, client.clone());
            headers.insert(X_FORWARDED_FOR, client);
        }
        if self.settings.method.is_some() {
            headers.insert(X_ORIGINAL_URI, HeaderValue::from_str(address.uri)?);
            headers.insert(X_SCHEME, HeaderValue::from_str(address.scheme)?);
        }
        Ok(question)
    }

    /// The decision in a response of the service about the request with this head.
    ///
    /// # Errors
    /// [`ServiceError::Status`] for every status except 401, 403 and those from 200 to 299.
    pub(super) fn read_answer(
        &self,
        head: &request::Parts,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Verdict, ServiceError> {
        if status.is_success() {
            return Ok(Verdict::Allow(self.changes(headers)));
        }
        let reply = match status {
            StatusCode::UNAUTHORIZED => match self.sign_in_address(head) {
                Some(location) => LocalReply::new(StatusCode::FOUND, "ext_authz_denied")
                    .with_header(LOCATION, location),
                None => LocalReply::new(status, "ext_authz_denied"),
            },
            StatusCode::FORBIDDEN => LocalReply::new(status, "ext_authz_denied"),
            _ => return Err(ServiceError::Status(status)),
        };
        let mut reply = reply.with_flag("UAEX");
        if status == StatusCode::UNAUTHORIZED {
            for challenge in headers.get_all(WWW_AUTHENTICATE) {
                reply.headers.push((WWW_AUTHENTICATE, challenge.clone()));
            }
        }
        Ok(Verdict::Deny(reply))
    }

    /// `Location` of the sign-in page. `None`: no page is configured, or its address is not a valid field
    /// value.
    fn sign_in_address(&self, head: &request::Parts) -> Option<HeaderValue> {
        let text = self
            .settings
            .sign_in
            .as_ref()?
            .write(OriginalAddress::of(head));
        HeaderValue::try_from(text).ok()
    }

    /// Whether cookies of the service are added to a response with `status`.
    pub(super) fn sets_cookies(&self, status: StatusCode) -> bool {
        self.settings.always_set_cookies || status.is_success() || status.is_redirection()
    }

    /// The changes for an allowed request: the listed fields for the backend, and cookies for the client.
    fn changes(&self, headers: &HeaderMap) -> RequestChanges {
        let mut changes = RequestChanges::default();
        for name in &self.headers_to_backend {
            if let Some(value) = headers.get(&**name) {
                let edit = HeaderEdit::overwrite((**name).clone(), value.clone());
                changes.edits.push(edit);
            }
        }
        changes.response_edits = headers
            .get_all(SET_COOKIE)
            .iter()
            .map(|value| HeaderEdit {
                name: SET_COOKIE,
                value: value.clone(),
                action: EditAction::Add,
            })
            .collect();
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> SubrequestService {
        SubrequestService {
            path: "/check".to_owned(),
            headers_to_backend: vec![HeaderName::from_static("x-user").into()],
            settings: settings(),
        }
    }

    fn settings() -> SubrequestSettings {
        serde_json::from_str(
            r#"{"host": "auth.test",
                "signIn": "https://{host}/start?rd={scheme}://{host}{escaped-uri}"}"#,
        )
        .unwrap()
    }

    fn head() -> request::Parts {
        let request = Request::post("/p?q=1")
            .header("host", "app.test")
            .header("cookie", "a=b")
            .header("x-forwarded-proto", "https")
            .header("x-original-url", "http://evil.test/")
            .header("content-length", "5")
            .header("upgrade", "websocket");
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_service_receives_the_address_of_the_request() {
        let question = service()
            .question(&head(), Some([192, 0, 2, 1].into()))
            .unwrap();

        assert_eq!(question.method(), Method::GET);
        assert_eq!(question.uri(), "/check");
        let mut fields: Vec<String> = question
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        fields.sort();
        assert_eq!(
            fields,
            [
                "cookie: a=b",
                "host: auth.test",
                "x-auth-request-redirect: /p?q=1",
                "x-forwarded-for: 192.0.2.1",
                "x-original-method: POST",
                "x-original-url: https://app.test/p?q=1",
                "x-real-ip: 192.0.2.1",
                "x-sent-from: nginx-ingress-controller",
            ]
        );
    }

    #[test]
    fn only_a_status_of_success_allows() {
        for status in [200, 201, 204, 299] {
            let status = StatusCode::from_u16(status).unwrap();
            let verdict = service().read_answer(&head(), status, &HeaderMap::new());
            assert!(matches!(verdict, Ok(Verdict::Allow(_))), "{status}");
        }
        for status in [100, 302, 400, 404, 500, 503] {
            let status = StatusCode::from_u16(status).unwrap();
            let verdict = service().read_answer(&head(), status, &HeaderMap::new());
            assert!(matches!(verdict, Err(ServiceError::Status(_))), "{status}");
        }
    }

    #[test]
    fn a_client_without_credentials_is_sent_to_the_sign_in_page() {
        let mut answer = HeaderMap::new();
        answer.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));

        let verdict = service().read_answer(&head(), StatusCode::UNAUTHORIZED, &answer);

        let Ok(Verdict::Deny(reply)) = verdict else {
            panic!("401 denies")
        };
        assert_eq!(reply.status, StatusCode::FOUND);
        let location = "https://app.test/start?rd=https://app.test%2Fp%3Fq%3D1";
        assert_eq!(
            reply.headers,
            [
                (LOCATION, HeaderValue::from_static(location)),
                (WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            ]
        );
    }

    #[test]
    fn the_backend_receives_listed_fields_and_the_client_cookies() {
        let mut answer = HeaderMap::new();
        for (name, value) in [("x-user", "ada"), ("x-other", "b"), ("set-cookie", "s=1")] {
            answer.insert(name, HeaderValue::from_static(value));
        }

        let verdict = service().read_answer(&head(), StatusCode::OK, &answer);

        let Ok(Verdict::Allow(changes)) = verdict else {
            panic!("200 allows")
        };
        assert_eq!(changes.edits.len(), 1);
        assert_eq!(changes.edits[0].value, "ada");
        assert_eq!(changes.response_edits.len(), 1);
    }

    #[test]
    fn an_invalid_template_or_setting_is_an_error() {
        for text in ["https://{hots}/", "https://{host", "https://a\n/"] {
            assert!(
                AddressTemplate::try_from(text.to_owned()).is_err(),
                "{text}"
            );
        }
        for broken in [
            SubrequestSettings {
                host: "a\nb".to_owned(),
                ..settings()
            },
            SubrequestSettings {
                method: Some("G T".to_owned()),
                ..settings()
            },
            SubrequestSettings {
                redirect: Some("\n".to_owned()),
                ..settings()
            },
        ] {
            assert!(broken.check().is_err(), "{broken:?}");
        }
        assert_eq!(settings().check(), Ok(()));
    }
}
