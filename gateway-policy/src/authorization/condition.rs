//! Conditions in the Common Expression Language.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use http::header::{REFERER, USER_AGENT};
use http::{HeaderMap, request};
use serde::{Deserialize, Serialize};
use towergate_core::conn::ConnInfo;
use towergate_core::http::path::ComparedPath;
use towergate_core::plan::{Source, Text};
use towergate_tls::ClientCertificate;
use towergate_tls::acceptor::Negotiated;

use super::{Access, Subject};
use crate::cel::{
    AttributeSet, CelType, EndpointAttributes, Environment, Expression, ExpressionError, Value,
    attribute_table, protocol,
};

/// The variables of a condition: the supported attributes of Envoy for requests and connections.
///
/// Source: Envoy documentation, "Attributes".
const REQUEST: Environment = Environment::new(&[
    ("request", RequestAttributes::ATTRIBUTES),
    ("source", EndpointAttributes::ATTRIBUTES),
    ("destination", EndpointAttributes::ATTRIBUTES),
    ("connection", ConnectionAttributes::ATTRIBUTES),
    ("metadata", Metadata::ATTRIBUTES),
]);

/// The metadata namespace of verified tokens, as in Envoy.
const TOKENS: &str = "envoy.filters.http.jwt_authn";

/// A condition on a request. It must hold in addition to the other parts of its rule.
///
/// `metadata.filter_metadata['envoy.filters.http.jwt_authn']` has the claims of verified tokens by the name
/// of their provider. A condition may have no value, for example because a header field is missing or has
/// several lines. A condition without a value holds in a rule that denies, and does not hold in a rule that
/// allows. A field with several lines has no value, because implementations read it differently: the first
/// line, the last line, or all lines joined.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The compiled expression, with its text.
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
            compiled: Arc::new(Expression::compile(text, &REQUEST)?.compile_patterns()?),
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
        let variables = RequestVariables::new(&facts);
        let holds = self.expression.compiled.holds(&variables.values());
        holds.unwrap_or(access == Access::Deny)
    }
}

/// The values of the variables in [`REQUEST`].
struct RequestVariables<'r> {
    request: RequestAttributes<'r>,
    source: EndpointAttributes,
    destination: EndpointAttributes,
    connection: ConnectionAttributes<'r>,
    metadata: Metadata<'r>,
}

impl<'r> RequestVariables<'r> {
    fn new(facts: &'r Facts<'r>) -> Self {
        let local = facts.subject.connection.map(|connection| connection.local);
        Self {
            request: RequestAttributes(facts),
            source: EndpointAttributes(client(facts.subject)),
            destination: EndpointAttributes(local),
            connection: ConnectionAttributes(facts),
            metadata: Metadata(FilterMetadata(VerifiedClaims(facts))),
        }
    }

    /// The values, in the order of [`REQUEST`].
    fn values(&self) -> [Value<'_>; 5] {
        [
            Value::Attributes(&self.request),
            Value::Attributes(&self.source),
            Value::Attributes(&self.destination),
            Value::Attributes(&self.connection),
            Value::Attributes(&self.metadata),
        ]
    }
}

/// The values from which attributes are computed.
#[derive(Debug)]
struct Facts<'r> {
    subject: &'r Subject<'r>,
    headers: Headers<'r>,
    providers: &'r [(String, String)],
}

/// The attributes of the variable `request`.
#[derive(Debug)]
struct RequestAttributes<'r>(&'r Facts<'r>);

attribute_table!(RequestAttributes<'_>, |this| {
    "path": CelType::Text => path_and_query(this.head()).map(Value::from),
    "url_path": CelType::Text => Some(Value::from(url_path(this.head()))),
    "query": CelType::Text => Some(Value::from(this.head().uri.query().unwrap_or_default())),
    "host": CelType::Text => authority(this.head()).map(Value::from),
    "scheme": CelType::Text => Some(Value::from(scheme(this.0.subject))),
    "method": CelType::Text => Some(Value::from(this.head().method.as_str())),
    "headers": CelType::Attributes(&CelType::Text) => Some(Value::Attributes(&this.0.headers)),
    "referer": CelType::Text => this.field("referer"),
    "useragent": CelType::Text => this.field("user-agent"),
    "id": CelType::Text => this.field("x-request-id"),
    "protocol": CelType::Text => Some(protocol(this.0.subject.version)),
});

impl<'r> RequestAttributes<'r> {
    fn head(&self) -> &'r request::Parts {
        self.0.subject.head
    }

    fn field(&self, name: &str) -> Option<Value<'r>> {
        text_of(&self.head().headers, name).map(Value::from)
    }
}

impl AttributeSet for RequestAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.value(name)
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

/// The address of the client. If the client is the peer of the connection, the port is that of the peer;
/// otherwise it is 0.
fn client(subject: &Subject<'_>) -> Option<SocketAddr> {
    let client = subject.client?.to_canonical();
    let peer = subject.connection.map(|connection| connection.peer);
    let peer = peer.filter(|peer| peer.ip().to_canonical() == client);
    Some(SocketAddr::new(client, peer.map_or(0, |peer| peer.port())))
}

/// `connection`: TLS between the client and the gateway.
#[derive(Debug)]
struct ConnectionAttributes<'r>(&'r Facts<'r>);

attribute_table!(ConnectionAttributes<'_>, |this| {
    "mtls": CelType::Bool => Some(Value::Bool(this.certificate().is_some())),
    "requested_server_name": CelType::Text => this.tls()?.server_name.as_deref().map(Value::from),
    "tls_version": CelType::Text => Some(Value::from(this.tls()?.version)),
    "subject_peer_certificate": CelType::Text => Some(Value::from(this.certificate()?.subject())),
    "dns_san_peer_certificate": CelType::Text => first(this.certificate()?.dns_names()),
    "uri_san_peer_certificate": CelType::Text => first(this.certificate()?.uris()),
    "sha256_peer_certificate_digest": CelType::Text => {
        Some(Value::from(this.certificate()?.sha256()))
    },
});

impl<'r> ConnectionAttributes<'r> {
    fn tls(&self) -> Option<&'r Negotiated> {
        self.0.subject.connection?.tls.as_ref()
    }

    fn certificate(&self) -> Option<&'r ClientCertificate> {
        self.tls()?.client.as_deref()
    }
}

impl AttributeSet for ConnectionAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.value(name)
    }
}

fn first(names: &[String]) -> Option<Value<'static>> {
    names.first().cloned().map(Value::from)
}

/// `metadata`.
#[derive(Debug)]
struct Metadata<'r>(FilterMetadata<'r>);

attribute_table!(Metadata<'_>, |this| {
    "filter_metadata": CelType::Attributes(&CelType::Attributes(&CelType::Any)) => {
        Some(Value::Attributes(&this.0))
    },
});

impl AttributeSet for Metadata<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.value(name)
    }
}

/// `metadata.filter_metadata`. Its only namespace is [`TOKENS`], which contains the claims of verified
/// tokens.
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

/// The path with which rules of routes are compared: decoded if the listener decodes paths.
fn url_path(head: &request::Parts) -> &str {
    let compared = head.extensions.get::<ComparedPath>();
    let decoded = compared.and_then(ComparedPath::decoded);
    decoded.unwrap_or_else(|| head.uri.path())
}

/// The value of `Host`. If `Host` has no single value, the authority of the request target.
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

/// The value of a header field; `None`: the field is absent, has several lines, or is not UTF-8.
fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next().filter(|_| lines.next().is_none())?;
    std::str::from_utf8(line.as_bytes()).ok()
}
