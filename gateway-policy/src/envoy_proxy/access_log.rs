//! Formats of access log lines: Envoy's command operators, restricted to those with a value in the
//! access log.
//!
//! Syntax: `%NAME%`, `%NAME(ARGUMENT)%`, `%NAME:LIMIT%` with a limit in bytes, `%%` for a percent sign. A JSON object is
//! a format, too: each value is a text with operators. An operator that the access log does not have is an error.
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

use serde_json::{Map, Value};

use super::EnvoyProxyAccessLog;

/// The format of a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LogLine {
    /// A text.
    Text(Vec<LogPart>),
    /// A JSON object of texts, in the order of its keys.
    Json(Vec<(String, Vec<LogPart>)>),
}

/// A part of a format.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LogPart {
    /// A text.
    Literal(String),
    /// A value, with a limit in bytes.
    Operator(LogOperator, Option<usize>),
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
            /// The operator with this text, in upper case.
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
    DownstreamLocalAddress = "DOWNSTREAM_LOCAL_ADDRESS",
    DownstreamLocalIp = "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    DownstreamLocalPort = "DOWNSTREAM_LOCAL_PORT",
    DownstreamRemoteAddress = "DOWNSTREAM_REMOTE_ADDRESS",
    DownstreamRemoteIp = "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    DownstreamRemotePort = "DOWNSTREAM_REMOTE_PORT",
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
            _ => Err(format!("{name}: only texts are supported")),
        });
        fields.collect::<Result<_, String>>().map(Self::Json)
    }
}

/// The parts of a text.
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
    let operator = LogOperator::find(&name.to_ascii_uppercase());
    let operator = operator.ok_or_else(unsupported)?;
    Ok(LogPart::Operator(operator, limit))
}

/// An access log in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileLog {
    /// Path of the file, or `-` for standard output.
    pub path: String,
    /// Format as text, which [`LogLine`] parses; `None`: the default format.
    pub format: Option<String>,
}

/// The settings of an access log that are applied.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct AppliedLog {
    /// The file; `None`: the default access log.
    pub(super) file: Option<FileLog>,
    /// Paths of the fields without effect, each with a reason where it is not obvious.
    pub(super) ignored: Vec<String>,
}

impl AppliedLog {
    /// Reads the first setting with a file and without conditions; everything else has no effect.
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
        if !list("matches").is_empty() {
            self.ignored.push(format!("{path} (matches)"));
            return;
        }
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
                    self.file = Some(FileLog { path, format });
                }
                (Some(_), Some(_)) => self.ignored.push(format!("{sink_path} (second file)")),
                (None, _) => self.ignored.push(sink_path),
            }
        }
    }

    /// The format of a setting, if it can be written.
    fn format(&mut self, path: &str, format: &Value) -> Option<String> {
        let text = match (&format["text"], &format["json"]) {
            (Value::String(text), Value::Null) => text.trim_end_matches('\n').to_owned(),
            (Value::Null, json @ Value::Object(_)) => json.to_string(),
            _ => return None,
        };
        if !text.contains('%') {
            self.ignored.push(format!("{path}.format (no operator)"));
            return None;
        }
        match text.parse::<LogLine>() {
            Ok(_) => Some(text),
            Err(error) => {
                self.ignored.push(format!("{path}.format ({error})"));
                None
            }
        }
    }
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
    fn what_cannot_be_written_is_refused_by_name() {
        for (text, expected) in [
            ("%REQ(X-OTHER)%", "%REQ(X-OTHER)%"),
            ("%START_TIME(%s)%", "%START_TIME(%"),
            ("%DURATION:x%", "%DURATION:x%"),
            ("%DURATION", "no closing"),
            (r#"{"a": 1}"#, "a: only texts"),
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
            { "matches": ["true"], "sinks": [{ "type": "File", "file": { "path": "/a" } }] },
            { "format": { "type": "Text", "text": "%RESPONSE_CODE%\n" },
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
        assert_eq!(
            applied.ignored,
            [
                format!("{settings}[0].sinks[0]"),
                format!("{settings}[1] (matches)"),
                format!("{settings}[3].sinks[0] (second file)"),
            ]
        );
    }

    #[test]
    fn an_unknown_operator_leaves_the_default_format() {
        let log: EnvoyProxyAccessLog = serde_json::from_value(json!({ "settings": [{
            "format": { "type": "JSON", "json": { "a": "%UNKNOWN%" } },
            "sinks": [{ "type": "File", "file": { "path": "/var/log/a" } }],
        }] }))
        .expect("the section is read");

        let applied = AppliedLog::of(&log);

        assert_eq!(applied.file.and_then(|file| file.format), None);
        assert!(
            applied.ignored[0].contains("%UNKNOWN%"),
            "{:?}",
            applied.ignored
        );
    }
}
