//! Conditions on access log entries in the Common Expression Language (`telemetry.accessLog.settings[].matches`).
//!
//! ```
//! use towergate_policy::envoy_proxy::LogCondition;
//!
//! let errors: LogCondition = "response.code >= 400 || 'x-debug' in request.headers".parse()?;
//! assert_eq!(errors.fields().request, ["x-debug"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::borrow::Cow;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Version};
use towergate_core::access_log::{Entry, LoggedFields};
use towergate_core::plan::EndpointAddress;

use crate::cel::{AttributeSet, CelType, Environment, Expression, ExpressionError, Value};

/// The variables of a condition: those attributes of Envoy whose values an entry contains.
///
/// Source: Envoy documentation, "Attributes".
const ENTRY: Environment = Environment::new(&[
    (
        "request",
        &[
            ("path", CelType::Text),
            ("url_path", CelType::Text),
            ("query", CelType::Text),
            ("host", CelType::Text),
            ("method", CelType::Text),
            ("headers", CelType::Attributes(&CelType::Text)),
            ("useragent", CelType::Text),
            ("id", CelType::Text),
            ("protocol", CelType::Text),
            ("size", CelType::Number),
            ("duration", CelType::Duration),
        ],
    ),
    (
        "response",
        &[
            ("code", CelType::Number),
            ("code_details", CelType::Text),
            ("headers", CelType::Attributes(&CelType::Text)),
            ("size", CelType::Number),
        ],
    ),
    (
        "source",
        &[("address", CelType::Text), ("port", CelType::Number)],
    ),
    (
        "destination",
        &[("address", CelType::Text), ("port", CelType::Number)],
    ),
    (
        "connection",
        &[
            ("requested_server_name", CelType::Text),
            ("tls_version", CelType::Text),
        ],
    ),
    ("upstream", &[("address", CelType::Text)]),
]);

/// A condition on an entry. A condition without a value, for example on a header field that is not present, does not hold.
///
/// Names of header fields in `request.headers` and `response.headers` are literals.
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
        let expression = Expression::compile(text, &ENTRY)?;
        // Other literals that are also names of fields are harmless.
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

    /// Whether the condition holds for `entry`, whose header fields have `names`.
    pub fn holds(&self, entry: &Entry, names: &LoggedFields) -> bool {
        let fields = entry.fields.as_deref();
        let request = RequestAttributes {
            entry,
            headers: Headers {
                names: &names.request,
                values: fields.map_or(&[], |fields| &fields.request),
            },
        };
        let response = ResponseAttributes {
            entry,
            headers: Headers {
                names: &names.response,
                values: fields.map_or(&[], |fields| &fields.response),
            },
        };
        let client = SocketAddr::new(entry.client, entry.client_port).into();
        // In the order of `ENTRY`.
        let variables = [
            Value::Attributes(&request),
            Value::Attributes(&response),
            Value::Attributes(&Address(Some(&client))),
            Value::Attributes(&Address(Some(&entry.downstream_local.into()))),
            Value::Attributes(&ConnectionAttributes(entry)),
            Value::Attributes(&Address(entry.upstream_host.as_ref())),
        ];
        self.expression.holds(&variables).unwrap_or(false)
    }
}

/// `request`.
#[derive(Debug)]
struct RequestAttributes<'e> {
    entry: &'e Entry,
    headers: Headers<'e>,
}

impl AttributeSet for RequestAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        let entry = self.entry;
        // A connection without requests has no such attribute.
        let method = entry.method.as_ref()?;
        let (path, query) = match entry.path.split_once('?') {
            Some((path, query)) => (path, query),
            None => (&*entry.path, ""),
        };
        match name {
            "path" => Some(Value::from(&*entry.path)),
            "url_path" => Some(Value::from(path)),
            "query" => Some(Value::from(query)),
            "host" => entry.authority.as_deref().map(Value::from),
            "method" => Some(Value::from(method.as_str())),
            "headers" => Some(Value::Attributes(&self.headers)),
            "useragent" => text_of(entry.user_agent.as_ref()),
            "id" => text_of(entry.request_id.as_ref()),
            "protocol" => entry.protocol.map(|version| Value::from(protocol(version))),
            "size" => Some(integer(entry.bytes_received)),
            "duration" => {
                let nanoseconds = i64::try_from(entry.duration.as_nanos());
                Some(Value::Duration(nanoseconds.unwrap_or(i64::MAX)))
            }
            _ => None,
        }
    }
}

/// `response`. A request without a response has code 0, as in Envoy.
#[derive(Debug)]
struct ResponseAttributes<'e> {
    entry: &'e Entry,
    headers: Headers<'e>,
}

impl AttributeSet for ResponseAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        let entry = self.entry;
        match name {
            "code" => {
                let code = entry.status.map_or(0, |status| status.as_u16());
                Some(Value::Int(code.into()))
            }
            "code_details" => Some(Value::from(&*entry.details)),
            "headers" => Some(Value::Attributes(&self.headers)),
            "size" => Some(integer(entry.bytes_sent)),
            _ => None,
        }
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

/// An address of a connection.
#[derive(Debug)]
struct Address<'e>(Option<&'e EndpointAddress>);

impl AttributeSet for Address<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        let address = self.0?;
        match name {
            "address" => Some(Value::Text(Cow::Owned(address.to_string()))),
            "port" => Some(Value::Int(address.ip_and_port()?.port().into())),
            _ => None,
        }
    }
}

/// `connection`: that of the client.
#[derive(Debug)]
struct ConnectionAttributes<'e>(&'e Entry);

impl AttributeSet for ConnectionAttributes<'_> {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "requested_server_name" => self.0.server_name.as_deref().map(Value::from),
            "tls_version" => self.0.tls.map(|tls| Value::from(tls.version)),
            _ => None,
        }
    }
}

fn text_of(value: Option<&HeaderValue>) -> Option<Value<'_>> {
    std::str::from_utf8(value?.as_bytes()).ok().map(Value::from)
}

fn integer(value: u64) -> Value<'static> {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}
