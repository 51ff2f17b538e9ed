//! Formats of access log lines: Envoy's command operators, restricted to those with a value in the
//! access log.
//!
//! Syntax: `%NAME%`, `%NAME(ARGUMENT)%`, `%NAME:LIMIT%` with a limit in bytes, `%%` for a percent sign. A
//! JSON object is also a format: each value is a string with operators. An operator without a value in the
//! access log is an error.
//!
//! ```
//! use towergate_policy::envoy_proxy::LogLine;
//!
//! let line: LogLine = "%START_TIME% %REQ(:METHOD)% %RESPONSE_CODE%".parse()?;
//! assert!(matches!(line, LogLine::Text(parts) if parts.len() == 5));
//! let error = "%UPSTREAM_PEER_SUBJECT%".parse::<LogLine>().unwrap_err();
//! assert_eq!(error, "%UPSTREAM_PEER_SUBJECT% is not supported in an access log");
//! # Ok::<(), String>(())
//! ```

use std::str::FromStr;

use http::HeaderName;
use serde_json::{Map, Value};
use towergate_core::access_log::LoggedFields;

use super::{EnvoyProxyAccessLog, LogCondition};
use crate::cel::ExpressionError;

/// The format of a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LogLine {
    /// A text.
    Text(Vec<LogPart>),
    /// A JSON object of strings, in the order of its keys.
    Json(Vec<(String, Vec<LogPart>)>),
}

/// A part of a format.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LogPart {
    /// A text.
    Literal(String),
    /// A value, with a limit in bytes.
    Operator(LogOperator, Option<usize>),
    /// The first of several values that is present, with a limit in bytes.
    First(Vec<LogSource>, Option<usize>),
}

/// A value of `REQ(X)`, of `RESP(X)`, or an alternative of `REQ(X?Y)`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LogSource {
    /// A value with its own operator.
    Operator(LogOperator),
    /// A header field of the request.
    RequestField(HeaderName),
    /// A header field of the response.
    ResponseField(HeaderName),
}

macro_rules! log_operators {
    ($($(#[$doc:meta])* $operator:ident = $($name:literal)|+,)*) => {
        /// A value of the access log.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum LogOperator {$(
            #[doc = concat!($("`", $name, "` "),+)]
            $operator,
        )*}

        impl LogOperator {
            /// The operator with this text, which is in upper case.
            fn find(text: &str) -> Option<Self> {
                match text {
                    $($($name)|+ => Some(Self::$operator),)*
                    _ => None,
                }
            }
        }
    };
}

log_operators! {
    Authority = "REQ(:AUTHORITY)" | "REQ(HOST)",
    BytesReceived = "BYTES_RECEIVED",
    BytesSent = "BYTES_SENT",
    ConnectionTermination = "CONNECTION_TERMINATION_DETAILS",
    DirectRemoteAddress = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    DirectRemoteIp = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    DirectRemotePort = "DOWNSTREAM_DIRECT_REMOTE_PORT",
    DownstreamLocalAddress = "DOWNSTREAM_LOCAL_ADDRESS",
    DownstreamLocalIp = "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    DownstreamLocalPort = "DOWNSTREAM_LOCAL_PORT",
    DownstreamRemoteAddress = "DOWNSTREAM_REMOTE_ADDRESS",
    DownstreamRemoteIp = "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    DownstreamRemotePort = "DOWNSTREAM_REMOTE_PORT",
    Ja3Fingerprint = "TLS_JA3_FINGERPRINT",
    Ja4Fingerprint = "TLS_JA4_FINGERPRINT",
    DownstreamTlsCipher = "DOWNSTREAM_TLS_CIPHER",
    DownstreamTlsVersion = "DOWNSTREAM_TLS_VERSION",
    Duration = "DURATION",
    ForwardedFor = "REQ(X-FORWARDED-FOR)",
    Method = "REQ(:METHOD)",
    Path = "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)" | "REQ(:PATH)" | "REQ(PATH)",
    Protocol = "PROTOCOL",
    RequestId = "REQ(X-REQUEST-ID)",
    RequestedServerName = "REQUESTED_SERVER_NAME",
    ResponseCode = "RESPONSE_CODE",
    ResponseCodeDetails = "RESPONSE_CODE_DETAILS",
    ResponseFlags = "RESPONSE_FLAGS",
    RouteName = "ROUTE_NAME",
    StartTime = "START_TIME",
    UpstreamCluster = "UPSTREAM_CLUSTER",
    UpstreamHost = "UPSTREAM_HOST",
    UpstreamLocalAddress = "UPSTREAM_LOCAL_ADDRESS",
    UpstreamTime = "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)",
    UpstreamTransportFailure = "UPSTREAM_TRANSPORT_FAILURE_REASON",
    UserAgent = "REQ(USER-AGENT)",
}

impl FromStr for LogLine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.trim_start().starts_with('{') {
            return parse(text).map(Self::Text);
        }
        let object: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))?;
        let fields = object.into_iter().map(|(name, value)| match value {
            Value::String(text) => Ok((name, parse(&text)?)),
            _ => Err(format!("{name}: only strings are supported")),
        });
        fields.collect::<Result<_, String>>().map(Self::Json)
    }
}

/// The parts of a format string.
fn parse(text: &str) -> Result<Vec<LogPart>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let unclosed = || format!("%{after} has no closing percent sign");
        let end = after.find('%').ok_or_else(unclosed)?;
        let (operator, after) = (&after[..end], &after[end + 1..]);
        if !literal.is_empty() {
            parts.push(LogPart::Literal(std::mem::take(&mut literal)));
        }
        parts.push(parse_operator(operator)?);
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(LogPart::Literal(literal));
    }
    Ok(parts)
}

fn parse_operator(text: &str) -> Result<LogPart, String> {
    let unsupported = || format!("%{text}% is not supported in an access log");
    let after_arguments = text.rfind(')').map_or(0, |at| at + 1);
    let limit_at = text[after_arguments..].rfind(':');
    let (name, limit) = match limit_at.map(|at| at + after_arguments) {
        Some(at) => {
            let limit = text[at + 1..].parse::<usize>();
            (&text[..at], Some(limit.map_err(|_| unsupported())?))
        }
        None => (text, None),
    };
    if let Some(operator) = LogOperator::find(&name.to_ascii_uppercase()) {
        return Ok(LogPart::Operator(operator, limit));
    }
    let sources = sources(name).ok_or_else(unsupported)?;
    Ok(LogPart::First(sources, limit))
}

/// The alternatives of `REQ(X?Y)` or `RESP(X?Y)`.
fn sources(operator: &str) -> Option<Vec<LogSource>> {
    let (kind, arguments) = operator.strip_suffix(')')?.split_once('(')?;
    let field: fn(HeaderName) -> LogSource = match kind {
        "REQ" => LogSource::RequestField,
        "RESP" => LogSource::ResponseField,
        _ => return None,
    };
    let (first, second) = match arguments.split_once('?') {
        Some((first, second)) => (first, Some(second)),
        None => (arguments, None),
    };
    let source = |name: &str| {
        let operator = LogOperator::find(&format!("{kind}({})", name.to_ascii_uppercase()));
        match operator {
            Some(operator) => Some(LogSource::Operator(operator)),
            None => HeaderName::from_bytes(name.as_bytes()).ok().map(field),
        }
    };
    [Some(first), second]
        .into_iter()
        .flatten()
        .map(source)
        .collect()
}

impl LogLine {
    /// Names of the header fields that the format contains, except those with an operator of their own.
    pub fn fields(&self) -> LoggedFields {
        let parts: Vec<&LogPart> = match self {
            Self::Text(parts) => parts.iter().collect(),
            Self::Json(fields) => fields.iter().flat_map(|(_, parts)| parts).collect(),
        };
        let mut fields = LoggedFields::default();
        let sources = parts.into_iter().filter_map(|part| match part {
            LogPart::First(sources, _) => Some(sources),
            LogPart::Literal(_) | LogPart::Operator(..) => None,
        });
        for source in sources.flatten() {
            let (names, name) = match source {
                LogSource::Operator(_) => continue,
                LogSource::RequestField(name) => (&mut fields.request, name),
                LogSource::ResponseField(name) => (&mut fields.response, name),
            };
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        fields
    }
}

/// An access log in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileLog {
    /// Path of the file, or `-` for standard output.
    pub path: String,
    /// Format as text, which [`LogLine`] parses; `None`: the default format.
    pub format: Option<String>,
    /// Conditions on entries. An entry is written if at least one of them holds. Empty: all entries are
    /// written.
    pub conditions: Vec<LogCondition>,
}

/// The settings of an access log that are applied.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct AppliedLog {
    /// The file; `None`: the default access log.
    pub(super) file: Option<FileLog>,
    /// Paths of the fields that have no effect, with the reason if it is not obvious.
    pub(super) ignored: Vec<String>,
}

impl AppliedLog {
    /// Applies the first setting with a file. All other settings have no effect.
    pub(super) fn of(log: &EnvoyProxyAccessLog) -> Self {
        let mut applied = Self::default();
        if log.disable == Some(true) {
            return applied;
        }
        for (at, setting) in log.settings.iter().flatten().enumerate() {
            let path = format!("spec.telemetry.accessLog.settings[{at}]");
            applied.setting(&path, setting);
        }
        applied
    }

    fn setting(&mut self, path: &str, setting: &Value) {
        let list = |field: &str| setting[field].as_array().map_or(&[][..], Vec::as_slice);
        let Some(conditions) = self.conditions(path, list("matches")) else {
            return;
        };
        let kind = setting["type"].as_str().unwrap_or("Route");
        if !matches!(kind, "Route" | "Listener") {
            self.ignored.push(format!("{path} (type: {kind})"));
            return;
        }
        for (at, sink) in list("sinks").iter().enumerate() {
            let sink_path = format!("{path}.sinks[{at}]");
            match (sink["file"]["path"].as_str(), &self.file) {
                (Some(file), None) => {
                    let format = self.format(path, &setting["format"]);
                    let path = if file == "/dev/stdout" { "-" } else { file };
                    let path = path.to_owned();
                    let conditions = conditions.clone();
                    self.file = Some(FileLog {
                        path,
                        format,
                        conditions,
                    });
                }
                (Some(_), Some(_)) => self.ignored.push(format!("{sink_path} (second file)")),
                (None, _) => self.ignored.push(sink_path),
            }
        }
    }

    /// The conditions of a setting; `None`: one of them is not supported, so the setting has no effect.
    fn conditions(&mut self, path: &str, texts: &[Value]) -> Option<Vec<LogCondition>> {
        let conditions = texts.iter().enumerate().map(|(at, text)| {
            let parsed = text.as_str().unwrap_or_default().parse();
            parsed.map_err(|error: ExpressionError| format!("{path}.matches[{at}] ({error})"))
        });
        let conditions = conditions.collect::<Result<_, _>>();
        conditions.map_err(|error| self.ignored.push(error)).ok()
    }

    /// The format of a setting. `None`: the default format. Operators that are not supported become `-`. The
    /// default format does not replace a format with such operators, because it may contain values that the
    /// setting omits on purpose, such as the query of a URL.
    fn format(&mut self, path: &str, format: &Value) -> Option<String> {
        let text = match (&format["text"], &format["json"]) {
            (Value::String(text), Value::Null) => text.trim_end_matches('\n').to_owned(),
            (Value::Null, json @ Value::Object(_)) => json.to_string(),
            _ => return None,
        };
        match text.parse::<LogLine>() {
            Ok(_) => Some(text),
            Err(error) => {
                self.ignored.push(format!("{path}.format ({error})"));
                Some(supported_part(&text, &format["json"]))
            }
        }
    }
}

/// The supported part of a format: operators that are not supported become `-`, and members of `json` that
/// are not strings are removed.
fn supported_part(text: &str, json: &Value) -> String {
    let Some(members) = json.as_object() else {
        return replace_unsupported(text);
    };
    let strings = members.iter().filter_map(|(name, value)| {
        let text = replace_unsupported(value.as_str()?);
        Some((name.clone(), Value::String(text)))
    });
    Value::Object(strings.collect()).to_string()
}

/// Replaces each unsupported operator with `-`.
fn replace_unsupported(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let Some((operator, after)) = after.split_once('%') else {
            // An operator without an end.
            out.push('-');
            return out;
        };
        match operator.is_empty() || parse_operator(operator).is_ok() {
            true => out.extend(["%", operator, "%"]),
            false => out.push('-'),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operators_literals_and_limits_are_parts() {
        let line = "[%START_TIME%] 100%% %req(:path):5%".parse::<LogLine>();

        assert_eq!(
            line,
            Ok(LogLine::Text(vec![
                LogPart::Literal("[".to_owned()),
                LogPart::Operator(LogOperator::StartTime, None),
                LogPart::Literal("] 100% ".to_owned()),
                LogPart::Operator(LogOperator::Path, Some(5)),
            ]))
        );
    }

    #[test]
    fn header_fields_are_values_with_alternatives() {
        let line: LogLine =
            "%REQ(X-Real-IP?X-Forwarded-For):9% %RESP(content-type)% %REQ(x-real-ip)%"
                .parse()
                .expect("it is a format");

        let LogLine::Text(parts) = &line else {
            panic!("it is a string");
        };
        let name = HeaderName::from_static;
        assert_eq!(
            parts[0],
            LogPart::First(
                vec![
                    LogSource::RequestField(name("x-real-ip")),
                    LogSource::Operator(LogOperator::ForwardedFor),
                ],
                Some(9)
            )
        );
        assert_eq!(line.fields().request, [name("x-real-ip")]);
        assert_eq!(line.fields().response, [name("content-type")]);
    }

    #[test]
    fn what_cannot_be_written_is_refused_by_name() {
        for (text, expected) in [
            ("%REQ(:SCHEME)%", "%REQ(:SCHEME)%"),
            ("%REQ(a b)%", "%REQ(a b)%"),
            ("%RESP()%", "%RESP()%"),
            ("%START_TIME(%s)%", "%START_TIME(%"),
            ("%DURATION:x%", "%DURATION:x%"),
            ("%DURATION", "no closing"),
            (r#"{"a": 1}"#, "a: only strings"),
            (r#"{"a": "%NO%"}"#, "%NO%"),
        ] {
            let error = text.parse::<LogLine>().expect_err("it is refused");
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_first_file_is_written_and_everything_else_is_named() {
        let log: EnvoyProxyAccessLog = serde_json::from_value(json!({ "settings": [
            { "sinks": [{ "type": "OpenTelemetry", "openTelemetry": { "host": "otel" } }] },
            { "matches": ["response.code > 399", "metadata.a"], "sinks": [{ "type": "File", "file": { "path": "/a" } }] },
            { "format": { "type": "Text", "text": "%RESPONSE_CODE%\n" },
              "matches": ["response.code > 399", "request.method == 'GET'"],
              "sinks": [{ "type": "File", "file": { "path": "/dev/stdout" } }] },
            { "sinks": [{ "type": "File", "file": { "path": "/b" } }] },
        ] }))
        .expect("the section is read");

        let applied = AppliedLog::of(&log);

        let file = applied.file.expect("there is a file");
        assert_eq!(
            (&*file.path, file.format.as_deref()),
            ("-", Some("%RESPONSE_CODE%"))
        );
        let settings = "spec.telemetry.accessLog.settings";
        let [sink, condition, second] = &applied.ignored[..] else {
            panic!("{:?}", applied.ignored);
        };
        assert_eq!(*sink, format!("{settings}[0].sinks[0]"));
        assert!(
            condition.starts_with(&format!("{settings}[1].matches[1] (")),
            "{condition}"
        );
        assert_eq!(*second, format!("{settings}[3].sinks[0] (second file)"));
        let texts: Vec<_> = file.conditions.iter().map(LogCondition::text).collect();
        assert_eq!(texts, ["response.code > 399", "request.method == 'GET'"]);
    }

    #[test]
    fn what_is_not_supported_does_not_widen_the_format() {
        for (text, expected) in [
            (
                "%REQ_WITHOUT_QUERY(:PATH)% %RESPONSE_CODE%",
                "- %RESPONSE_CODE%",
            ),
            ("100%% %UNKNOWN%", "100%% -"),
            ("%RESPONSE_CODE% %UNCLOSED", "%RESPONSE_CODE% -"),
        ] {
            let replaced = replace_unsupported(text);

            assert_eq!(replaced, expected);
            assert!(replaced.parse::<LogLine>().is_ok());
        }
        let json = json!({"a": "%UNKNOWN%", "b": {"c": "%PROTOCOL%"}, "d": "%PROTOCOL%"});

        let part = supported_part("", &json);

        assert_eq!(part, r#"{"a":"-","d":"%PROTOCOL%"}"#);
        assert!(part.parse::<LogLine>().is_ok());
    }

    #[test]
    fn an_unknown_operator_is_named_and_replaced() {
        let log: EnvoyProxyAccessLog = serde_json::from_value(json!({ "settings": [{
            "format": { "type": "JSON", "json": { "a": "%UNKNOWN%" } },
            "sinks": [{ "type": "File", "file": { "path": "/var/log/a" } }],
        }] }))
        .expect("the section is read");

        let applied = AppliedLog::of(&log);

        let format = applied.file.and_then(|file| file.format);
        assert_eq!(format.as_deref(), Some(r#"{"a":"-"}"#));
        assert!(
            applied.ignored[0].contains("%UNKNOWN%"),
            "{:?}",
            applied.ignored
        );
    }
}
