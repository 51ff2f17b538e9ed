//! Conditions on access log entries in the Common Expression Language (`telemetry.accessLog.settings[].matches`).
//!
//! ```
//! use towergate_policy::envoy_proxy::LogCondition;
//!
//! let errors: LogCondition = "response.code >= 400 || 'x-debug' in request.headers".parse()?;
//! assert_eq!(errors.fields().request, ["x-debug"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use towergate_core::access_log::{Entry, LoggedFields};
use towergate_core::plan::EndpointAddress;

use crate::cel::{
    AttributeSet, CelType, EndpointAttributes, Environment, Expression, ExpressionError, Value,
    attribute_table, protocol,
};

/// The variables of a condition. Only attributes whose values an entry contains are supported.
///
/// Source: Envoy documentation, "Attributes".
const ENTRY: Environment = Environment::new(&[
    ("request", RequestAttributes::ATTRIBUTES),
    ("response", ResponseAttributes::ATTRIBUTES),
    ("source", EndpointAttributes::ATTRIBUTES),
    ("destination", EndpointAttributes::ATTRIBUTES),
    ("connection", ConnectionAttributes::ATTRIBUTES),
    ("upstream", UpstreamAttributes::ATTRIBUTES),
]);

/// A condition on an entry. A condition without a value does not hold. An example is a condition on a header
/// field that is missing.
///
/// Names of header fields in `request.headers` and `response.headers` must be literals.
#[derive(Clone, Debug)]
pub struct LogCondition {
    text: Arc<str>,
    expression: Arc<Expression>,
    fields: Arc<LoggedFields>,
}

impl PartialEq for LogCondition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for LogCondition {}

impl FromStr for LogCondition {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        let expression = Expression::compile(text, &ENTRY)?.compile_patterns()?;
        // Any literal that is a valid field name is treated as one. Surplus names only add fields that no
        // condition reads.
        let literals = expression.literals();
        let names = |variable: &str| match expression.uses(variable, "headers") {
            true => literals
                .iter()
                .filter_map(|text| HeaderName::from_bytes(text.as_bytes()).ok())
                .collect(),
            false => Vec::new(),
        };
        let fields = LoggedFields {
            request: names("request"),
            response: names("response"),
        };
        Ok(Self {
            text: text.into(),
            fields: Arc::new(fields),
            expression: Arc::new(expression),
        })
    }
}

impl LogCondition {
    /// The text of the expression.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Names of the header fields that the condition reads.
    pub fn fields(&self) -> &LoggedFields {
        &self.fields
    }

    /// Whether the condition holds for `entry`. `names` are the names of the header fields that the entry
    /// contains.
    pub fn holds(&self, entry: &Entry, names: &LoggedFields) -> bool {
        let variables = EntryVariables::new(entry, names);
        self.expression.holds(&variables.values()).unwrap_or(false)
    }
}

/// The values of the variables in [`ENTRY`].
struct EntryVariables<'e> {
    request: RequestAttributes<'e>,
    response: ResponseAttributes<'e>,
    source: EndpointAttributes,
    destination: EndpointAttributes,
    connection: ConnectionAttributes<'e>,
    upstream: UpstreamAttributes<'e>,
}

impl<'e> EntryVariables<'e> {
    fn new(entry: &'e Entry, names: &'e LoggedFields) -> Self {
        let fields = entry.fields.as_deref();
        let client = SocketAddr::new(entry.client, entry.client_port);
        Self {
            request: RequestAttributes {
                entry,
                headers: Headers {
                    names: &names.request,
                    values: fields.map_or(&[], |fields| &fields.request),
                },
            },
            response: ResponseAttributes {
                entry,
                headers: Headers {
                    names: &names.response,
                    values: fields.map_or(&[], |fields| &fields.response),
                },
            },
            source: EndpointAttributes(Some(client)),
            destination: EndpointAttributes(Some(entry.downstream_local)),
            connection: ConnectionAttributes(entry),
            upstream: UpstreamAttributes(entry.upstream_host.as_ref()),
        }
    }

    /// The values, in the order of [`ENTRY`].
    fn values(&self) -> [Value<'_>; 6] {
        [
            Value::Attributes(&self.request),
            Value::Attributes(&self.response),
            Value::Attributes(&self.source),
            Value::Attributes(&self.destination),
            Value::Attributes(&self.connection),
            Value::Attributes(&self.upstream),
        ]
    }
}

/// The attributes of the variable `request`.
#[derive(Debug)]
struct RequestAttributes<'e> {
    entry: &'e Entry,
    headers: Headers<'e>,
}

attribute_table!(RequestAttributes<'_>, |this| {
    "path": CelType::Text => Some(Value::from(&*this.entry.path)),
    "url_path": CelType::Text => Some(Value::from(path_and_query(this.entry).0)),
    "query": CelType::Text => Some(Value::from(path_and_query(this.entry).1)),
    "host": CelType::Text => this.entry.authority.as_deref().map(Value::from),
    "method": CelType::Text => Some(Value::from(this.entry.method.as_ref()?.as_str())),
    "headers": CelType::Attributes(&CelType::Text) => Some(Value::Attributes(&this.headers)),
    "useragent": CelType::Text => text_of(this.entry.user_agent.as_ref()),
    "id": CelType::Text => text_of(this.entry.request_id.as_ref()),
    "protocol": CelType::Text => this.entry.protocol.map(protocol),
    "size": CelType::Number => Some(integer(this.entry.bytes_received)),
    "duration": CelType::Duration => Some(duration(this.entry.duration)),
});

impl AttributeSet for RequestAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        // A connection without requests has no request attributes.
        self.entry.method.as_ref()?;
        self.value(name)
    }
}

/// `response`. A request without a response has code 0, as in Envoy.
#[derive(Debug)]
struct ResponseAttributes<'e> {
    entry: &'e Entry,
    headers: Headers<'e>,
}

attribute_table!(ResponseAttributes<'_>, |this| {
    "code": CelType::Number => {
        let code = this.entry.status.map_or(0, |status| status.as_u16());
        Some(Value::Int(code.into()))
    },
    "code_details": CelType::Text => Some(Value::from(&*this.entry.details)),
    "headers": CelType::Attributes(&CelType::Text) => Some(Value::Attributes(&this.headers)),
    "size": CelType::Number => Some(integer(this.entry.bytes_sent)),
});

impl AttributeSet for ResponseAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.value(name)
    }
}

/// Header fields of a message: the first line of each, by name without regard to case.
#[derive(Debug)]
struct Headers<'e> {
    names: &'e [HeaderName],
    values: &'e [Option<HeaderValue>],
}

impl AttributeSet for Headers<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        let mut names = self.names.iter();
        let at = names.position(|known| known.as_str().eq_ignore_ascii_case(name))?;
        text_of(self.values.get(at)?.as_ref())
    }
}

/// `connection`: the connection of the client.
#[derive(Debug)]
struct ConnectionAttributes<'e>(&'e Entry);

attribute_table!(ConnectionAttributes<'_>, |this| {
    "requested_server_name": CelType::Text => this.0.server_name.as_deref().map(Value::from),
    "tls_version": CelType::Text => this.0.tls.map(|tls| Value::from(tls.version)),
});

impl AttributeSet for ConnectionAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.value(name)
    }
}

/// `upstream`: the endpoint of the backend. `None`: none was selected.
#[derive(Debug)]
struct UpstreamAttributes<'e>(Option<&'e EndpointAddress>);

attribute_table!(UpstreamAttributes<'_>, |this| {
    "address": CelType::Text => Some(Value::from(this.0?.to_string())),
});

impl AttributeSet for UpstreamAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.value(name)
    }
}

/// Path and query of the target.
fn path_and_query(entry: &Entry) -> (&str, &str) {
    entry.path.split_once('?').unwrap_or((&entry.path, ""))
}

fn text_of(value: Option<&HeaderValue>) -> Option<Value<'_>> {
    std::str::from_utf8(value?.as_bytes()).ok().map(Value::from)
}

fn integer(value: u64) -> Value<'static> {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

fn duration(value: Duration) -> Value<'static> {
    Value::Duration(i64::try_from(value.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::{Method, StatusCode, Version};
    use towergate_core::access_log::{LoggedTls, LoggedValues};

    use super::*;

    fn names() -> LoggedFields {
        LoggedFields {
            request: vec![HeaderName::from_static("x-in")],
            response: vec![HeaderName::from_static("x-out")],
        }
    }

    /// An entry in which each attribute has a different value.
    fn full_entry() -> Entry {
        Entry {
            start: UNIX_EPOCH,
            duration: Duration::from_secs(3),
            method: Some(Method::PUT),
            path: "/a?b=c".to_owned(),
            protocol: Some(Version::HTTP_2),
            status: Some(StatusCode::IM_A_TEAPOT),
            flags: "UF".into(),
            details: "via_upstream".into(),
            upstream_failure: None,
            bytes_received: 11,
            bytes_sent: 12,
            upstream_time: None,
            forwarded_for: None,
            user_agent: Some(HeaderValue::from_static("curl")),
            request_id: Some(HeaderValue::from_static("id-1")),
            authority: Some("shop.test".to_owned()),
            upstream_host: Some("10.0.0.3:83".parse().unwrap()),
            upstream_local: None,
            downstream_local: "10.0.0.2:82".parse().unwrap(),
            client: "10.0.0.1".parse().unwrap(),
            client_port: 81,
            peer: "10.0.0.9:89".parse().unwrap(),
            server_name: Some("sni.test".to_owned()),
            tls: Some(LoggedTls {
                version: "TLSv1.3",
                cipher: "TLS13_AES_128_GCM_SHA256",
            }),
            fingerprints: None,
            fields: Some(Box::new(LoggedValues {
                request: vec![Some(HeaderValue::from_static("in"))],
                response: vec![Some(HeaderValue::from_static("out"))],
            })),
            rule: None,
        }
    }

    #[test]
    fn every_attribute_has_the_value_of_its_member() {
        let attributes = [
            ("request.path", "'/a?b=c'"),
            ("request.url_path", "'/a'"),
            ("request.query", "'b=c'"),
            ("request.host", "'shop.test'"),
            ("request.method", "'PUT'"),
            ("request.headers['x-in']", "'in'"),
            ("request.useragent", "'curl'"),
            ("request.id", "'id-1'"),
            ("request.protocol", "'HTTP/2'"),
            ("request.size", "11"),
            ("request.duration", "duration('3s')"),
            ("response.code", "418"),
            ("response.code_details", "'via_upstream'"),
            ("response.headers['x-out']", "'out'"),
            ("response.size", "12"),
            ("source.address", "'10.0.0.1:81'"),
            ("source.port", "81"),
            ("destination.address", "'10.0.0.2:82'"),
            ("destination.port", "82"),
            ("connection.requested_server_name", "'sni.test'"),
            ("connection.tls_version", "'TLSv1.3'"),
            ("upstream.address", "'10.0.0.3:83'"),
        ];
        let declared = ENTRY.names().enumerate().map(|(place, _)| {
            let attributes = ENTRY.attributes(place).unwrap_or_default();
            attributes.len()
        });
        assert_eq!(declared.sum::<usize>(), attributes.len());

        for (attribute, value) in attributes {
            let text = format!("{attribute} == {value}");
            let condition: LogCondition = text.parse().unwrap();

            assert!(condition.holds(&full_entry(), &names()), "{text}");
        }
    }

    #[test]
    fn a_connection_without_requests_has_no_attributes_of_a_request() {
        let entry = Entry {
            method: None,
            ..full_entry()
        };

        for text in ["has(request.size)", "has(request.path)"] {
            let condition: LogCondition = text.parse().unwrap();

            assert!(!condition.holds(&entry, &names()), "{text}");
        }
    }
}
