//! Conditions in the Common Expression Language.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use http::header::{REFERER, USER_AGENT};
use http::{HeaderMap, Version, request};
use serde::{Deserialize, Serialize};
use towergate_core::conn::ConnInfo;
use towergate_core::plan::{Source, Text};

use super::{Access, Subject};
use crate::cel::{AttributeSet, CelType, Environment, Expression, ExpressionError, Value};

/// The variables of a condition: the supported attributes of Envoy for requests and connections.
///
/// Source: Envoy documentation, "Attributes".
const REQUEST: Environment = Environment::new(&[
    (
        "request",
        &[
            ("path", CelType::Text),
            ("url_path", CelType::Text),
            ("query", CelType::Text),
            ("host", CelType::Text),
            ("scheme", CelType::Text),
            ("method", CelType::Text),
            ("headers", CelType::Attributes(&CelType::Text)),
            ("referer", CelType::Text),
            ("useragent", CelType::Text),
            ("id", CelType::Text),
            ("protocol", CelType::Text),
        ],
    ),
    ("source", ENDPOINT),
    ("destination", ENDPOINT),
    (
        "connection",
        &[
            ("mtls", CelType::Bool),
            ("requested_server_name", CelType::Text),
            ("tls_version", CelType::Text),
            ("subject_peer_certificate", CelType::Text),
            ("dns_san_peer_certificate", CelType::Text),
            ("uri_san_peer_certificate", CelType::Text),
            ("sha256_peer_certificate_digest", CelType::Text),
        ],
    ),
    (
        "metadata",
        &[(
            "filter_metadata",
            CelType::Attributes(&CelType::Attributes(&CelType::Any)),
        )],
    ),
]);

/// The attributes of `source` and `destination`.
const ENDPOINT: &[(&str, CelType)] = &[("address", CelType::Text), ("port", CelType::Number)];

/// The metadata namespace of verified tokens, as Envoy names it.
const TOKENS: &str = "envoy.filters.http.jwt_authn";

/// A condition on a request that must be true, in addition to the other parts of its rule.
///
/// `metadata.filter_metadata['envoy.filters.http.jwt_authn']` has the claims of verified tokens by
/// the name of their provider. If a condition has no value (for example because a header field is
/// not present, or has several lines), it holds in a rule that denies and fails in a rule that
/// allows. Several lines have no value, because implementations differ: they use the first line,
/// the last, or all of them joined.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The expression.
    pub expression: Text<AccessExpression>,
    /// The policy's token providers: name and [identity](crate::jwt::TokenProvider::identity).
    pub providers: Vec<(String, String)>,
}

/// A compiled expression with its text.
#[derive(Clone, Debug)]
pub struct AccessExpression {
    text: Arc<str>,
    compiled: Arc<Expression>,
}

impl FromStr for AccessExpression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        Ok(Self {
            compiled: Arc::new(Expression::compile(text, &REQUEST)?),
            text: text.into(),
        })
    }
}

impl Source for AccessExpression {
    fn source(&self) -> &str {
        &self.text
    }
}

impl Condition {
    pub(super) fn matches(&self, subject: &Subject<'_>, access: Access) -> bool {
        let facts = Facts {
            subject,
            headers: Headers(subject.head),
            providers: &self.providers,
        };
        // In the order of `REQUEST`.
        let variables = [
            Value::Attributes(&RequestAttributes(&facts)),
            Value::Attributes(&SourceAttributes(&facts)),
            Value::Attributes(&DestinationAttributes(&facts)),
            Value::Attributes(&ConnectionAttributes(&facts)),
            Value::Attributes(&Metadata(FilterMetadata(VerifiedClaims(&facts)))),
        ];
        let holds = self.expression.compiled.holds(&variables);
        holds.unwrap_or(access == Access::Deny)
    }
}

/// The values from which the attributes are computed.
#[derive(Debug)]
struct Facts<'r> {
    subject: &'r Subject<'r>,
    headers: Headers<'r>,
    providers: &'r [(String, String)],
}

/// `request`.
#[derive(Debug)]
struct RequestAttributes<'r>(&'r Facts<'r>);

impl AttributeSet for RequestAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        let head = self.0.subject.head;
        let field = |name: &str| text_of(&head.headers, name).map(Value::from);
        match name {
            "path" => path_and_query(head).map(Value::from),
            "url_path" => Some(Value::from(head.uri.path())),
            "query" => Some(Value::from(head.uri.query().unwrap_or_default())),
            "host" => authority(head).map(Value::from),
            "scheme" => Some(Value::from(scheme(self.0.subject))),
            "method" => Some(Value::from(head.method.as_str())),
            "headers" => Some(Value::Attributes(&self.0.headers)),
            "referer" => field("referer"),
            "useragent" => field("user-agent"),
            "id" => field("x-request-id"),
            "protocol" => Some(Value::from(protocol(head.version))),
            _ => None,
        }
    }

    fn contains(&self, name: &str) -> bool {
        let headers = &self.0.subject.head.headers;
        match name {
            "referer" => headers.contains_key(REFERER),
            "useragent" => headers.contains_key(USER_AGENT),
            _ => self.attribute(name).is_some(),
        }
    }
}

/// `request.headers`: values by name without regard to case. A field with several lines is present
/// and has no value.
#[derive(Debug)]
struct Headers<'r>(&'r request::Parts);

impl AttributeSet for Headers<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        match name {
            ":path" => path_and_query(self.0).map(Value::from),
            ":authority" => authority(self.0).map(Value::from),
            ":method" => Some(Value::from(self.0.method.as_str())),
            _ => text_of(&self.0.headers, name).map(Value::from),
        }
    }

    fn contains(&self, name: &str) -> bool {
        self.0.headers.contains_key(name) || self.attribute(name).is_some()
    }
}

/// `source`: the client. The port is 0 unless the client is the peer of the connection.
#[derive(Debug)]
struct SourceAttributes<'r>(&'r Facts<'r>);

impl AttributeSet for SourceAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        let subject = self.0.subject;
        let client = subject.client?.to_canonical();
        let peer = subject.connection.map(|connection| connection.peer);
        let peer = peer.filter(|peer| peer.ip().to_canonical() == client);
        let port = peer.map_or(0, |peer| peer.port());
        endpoint(SocketAddr::new(client, port), name)
    }
}

/// `destination`: the local address of the connection.
#[derive(Debug)]
struct DestinationAttributes<'r>(&'r Facts<'r>);

impl AttributeSet for DestinationAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        endpoint(self.0.subject.connection?.local, name)
    }
}

fn endpoint(address: SocketAddr, name: &str) -> Option<Value<'static>> {
    match name {
        "address" => Some(Value::from(address.to_string())),
        "port" => Some(Value::Int(address.port().into())),
        _ => None,
    }
}

/// `connection`: TLS between the client and the gateway.
#[derive(Debug)]
struct ConnectionAttributes<'r>(&'r Facts<'r>);

impl AttributeSet for ConnectionAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        let tls = self.0.subject.connection.and_then(|own| own.tls.as_ref());
        let certificate = tls.and_then(|tls| tls.client.as_deref());
        if name == "mtls" {
            return Some(Value::Bool(certificate.is_some()));
        }
        let first = |names: &'_ [String]| names.first().cloned().map(Value::from);
        match name {
            "requested_server_name" => tls?.server_name.as_deref().map(Value::from),
            "tls_version" => Some(Value::from(tls?.version)),
            "subject_peer_certificate" => Some(Value::from(certificate?.subject())),
            "dns_san_peer_certificate" => first(certificate?.dns_names()),
            "uri_san_peer_certificate" => first(certificate?.uris()),
            "sha256_peer_certificate_digest" => Some(Value::from(certificate?.sha256())),
            _ => None,
        }
    }
}

/// `metadata`.
#[derive(Debug)]
struct Metadata<'r>(FilterMetadata<'r>);

impl AttributeSet for Metadata<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        (name == "filter_metadata").then_some(Value::Attributes(&self.0))
    }
}

/// `metadata.filter_metadata`, which has one namespace.
#[derive(Debug)]
struct FilterMetadata<'r>(VerifiedClaims<'r>);

impl AttributeSet for FilterMetadata<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        (name == TOKENS).then_some(Value::Attributes(&self.0))
    }
}

/// The claims of the first token of each provider, by the name of the provider.
#[derive(Debug)]
struct VerifiedClaims<'r>(&'r Facts<'r>);

impl AttributeSet for VerifiedClaims<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        let facts = self.0;
        let mut known = facts.providers.iter();
        let (_, identity) = known.find(|(known, _)| known == name)?;
        facts.subject.tokens.of(identity).next().map(Value::Object)
    }
}

fn path_and_query(head: &request::Parts) -> Option<&str> {
    head.uri.path_and_query().map(|target| target.as_str())
}

/// `Host`, or the authority of the target.
fn authority(head: &request::Parts) -> Option<&str> {
    let target = head.uri.authority().map(|authority| authority.as_str());
    text_of(&head.headers, "host").or(target)
}

fn scheme(subject: &Subject<'_>) -> &'static str {
    match subject
        .connection
        .and_then(|own: &ConnInfo| own.tls.as_ref())
    {
        Some(_) => "https",
        None => "http",
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// The line of a field; `None`: it is not present, has several lines, or is not UTF-8.
fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next().filter(|_| lines.next().is_none())?;
    std::str::from_utf8(line.as_bytes()).ok()
}
