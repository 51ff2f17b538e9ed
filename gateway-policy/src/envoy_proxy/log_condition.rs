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
use towergate_core::access_log::{Entry, LoggedFields, RuleName};

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
    ("xds", XdsAttributes::ATTRIBUTES),
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
            durations: false,
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
    xds: XdsAttributes<'e>,
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
            upstream: UpstreamAttributes(entry),
            xds: XdsAttributes(entry.rule.as_deref()),
        }
    }

    /// The values, in the order of [`ENTRY`].
    fn values(&self) -> [Value<'_>; 7] {
        [
            Value::Attributes(&self.request),
            Value::Attributes(&self.response),
            Value::Attributes(&self.source),
            Value::Attributes(&self.destination),
            Value::Attributes(&self.connection),
            Value::Attributes(&self.upstream),
            Value::Attributes(&self.xds),
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
    "scheme": CelType::Text => {
        let scheme = if this.entry.tls.is_some() { "https" } else { "http" };
        Some(Value::from(scheme))
    },
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
    "flags": CelType::Number => Some(Value::Int(flag_bits(&this.entry.flags))),
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
    "id": CelType::Number => this.0.connection.map(integer),
    "mtls": CelType::Bool => Some(Value::Bool(this.0.client_certificate.is_some())),
});

impl AttributeSet for ConnectionAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.value(name)
    }
}

/// `upstream`: the endpoint of the backend. `None`: none was selected.
#[derive(Debug)]
struct UpstreamAttributes<'e>(&'e Entry);

attribute_table!(UpstreamAttributes<'_>, |this| {
    "address": CelType::Text => Some(Value::from(this.0.upstream_host.as_ref()?.to_string())),
    "port": CelType::Number => {
        let address = this.0.upstream_host.as_ref()?.ip_and_port()?;
        Some(Value::Int(address.port().into()))
    },
    "local_address": CelType::Text => Some(Value::from(this.0.upstream_local?.to_string())),
    "transport_failure_reason": CelType::Text => {
        Some(Value::from(this.0.upstream_failure.as_deref().unwrap_or_default()))
    },
    "request_attempt_count": CelType::Number => Some(Value::Int(this.0.attempts.into())),
});

impl AttributeSet for UpstreamAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.value(name)
    }
}

/// `xds`: names of Envoy's configuration. `None`: no rule matches.
#[derive(Debug)]
struct XdsAttributes<'e>(Option<&'e RuleName>);

attribute_table!(XdsAttributes<'_>, |this| {
    "route_name": CelType::Text => {
        let rule = this.0.filter(|rule| !rule.is_stream())?;
        Some(name_of(|out| rule.write_route_name(out)))
    },
    "cluster_name": CelType::Text => {
        let rule = this.0?;
        Some(name_of(|out| rule.write_cluster_name(out)))
    },
});

impl AttributeSet for XdsAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.value(name)
    }
}

/// The text that `write` appends.
fn name_of<'v>(write: impl FnOnce(&mut Vec<u8>)) -> Value<'v> {
    let mut name = Vec::new();
    write(&mut name);
    Value::from(String::from_utf8_lossy(&name).into_owned())
}

/// Response flags in the order of their bits in Envoy, from the lowest bit.
const FLAGS: [&str; 29] = [
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC",
    "URX", "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR",
];

/// Response flags, separated by commas, as a bit set.
fn flag_bits(flags: &str) -> i64 {
    let bits = flags
        .split(',')
        .filter_map(|flag| FLAGS.iter().position(|known| *known == flag));
    bits.fold(0, |set, bit| set | 1 << bit)
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
    use towergate_core::plan::{RouteId, RouteKind};

    use super::*;

    fn names() -> LoggedFields {
        LoggedFields {
            request: vec![HeaderName::from_static("x-in")],
            response: vec![HeaderName::from_static("x-out")],
            durations: false,
        }
    }

    /// An entry in which each attribute has a different value.
    fn full_entry() -> Entry {
        Entry {
            start: UNIX_EPOCH,
            duration: Duration::from_secs(3),
            request_duration: None,
            response_duration: None,
            connection: Some(7),
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
            upstream_local: Some("10.0.0.4:84".parse().unwrap()),
            upstream_protocol: None,
            attempts: 2,
            grpc_status: None,
            downstream_local: "10.0.0.2:82".parse().unwrap(),
            client: "10.0.0.1".parse().unwrap(),
            client_port: 81,
            peer: "10.0.0.9:89".parse().unwrap(),
            server_name: Some("sni.test".to_owned()),
            tls: Some(LoggedTls {
                version: "TLSv1.3",
                cipher: "TLS13_AES_128_GCM_SHA256",
            }),
            client_certificate: None,
            fingerprints: None,
            fields: Some(Box::new(LoggedValues {
                request: vec![Some(HeaderValue::from_static("in"))],
                response: vec![Some(HeaderValue::from_static("out"))],
            })),
            rule: Some(Arc::new(RuleName {
                route: Arc::new(RouteId {
                    kind: RouteKind::Http,
                    namespace: "apps".to_owned(),
                    name: "shop".to_owned(),
                }),
                rule: 1,
                matched: 0,
                hostname: "shop.test".into(),
            })),
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
            ("request.scheme", "'https'"),
            ("request.headers['x-in']", "'in'"),
            ("request.useragent", "'curl'"),
            ("request.id", "'id-1'"),
            ("request.protocol", "'HTTP/2'"),
            ("request.size", "11"),
            ("request.duration", "duration('3s')"),
            ("response.code", "418"),
            ("response.code_details", "'via_upstream'"),
            ("response.flags", "32"),
            ("response.headers['x-out']", "'out'"),
            ("response.size", "12"),
            ("source.address", "'10.0.0.1:81'"),
            ("source.port", "81"),
            ("destination.address", "'10.0.0.2:82'"),
            ("destination.port", "82"),
            ("connection.requested_server_name", "'sni.test'"),
            ("connection.tls_version", "'TLSv1.3'"),
            ("connection.id", "7"),
            ("connection.mtls", "false"),
            ("upstream.address", "'10.0.0.3:83'"),
            ("upstream.port", "83"),
            ("upstream.local_address", "'10.0.0.4:84'"),
            ("upstream.transport_failure_reason", "''"),
            ("upstream.request_attempt_count", "2"),
            (
                "xds.route_name",
                "'httproute/apps/shop/rule/1/match/0/shop_test'",
            ),
            ("xds.cluster_name", "'httproute/apps/shop/rule/1'"),
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
