//! Access logs: conditions on entries, destinations, and formats of lines.
//!
//! A format is a text with [command operators](towergate_core::format), or a JSON object of such texts.
//!
//! ```
//! use towergate_policy::envoy_proxy::LogLine;
//!
//! let line: LogLine = "%START_TIME% %REQ(:METHOD)% %RESPONSE_CODE%".parse()?;
//! assert!(matches!(line, LogLine::Text(_)));
//! let error = "%UPSTREAM_PEER_SUBJECT%".parse::<LogLine>().unwrap_err();
//! assert_eq!(error, "command operator %UPSTREAM_PEER_SUBJECT% is not supported");
//! # Ok::<(), String>(())
//! ```

use std::str::FromStr;

use serde_json::{Map, Value};
use towergate_core::access_log::LoggedFields;
use towergate_core::format::{Format, FormatError};
use towergate_core::plan::Text;

use super::{EnvoyProxyAccessLog, LogCondition};
use crate::cel::ExpressionError;

/// The format of a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LogLine {
    /// A text.
    Text(Text<Format>),
    /// A JSON object of strings, in the order of its keys.
    Json(Vec<(String, Text<Format>)>),
}

impl FromStr for LogLine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |text: &str| text.parse().map_err(|error: FormatError| error.to_string());
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

impl LogLine {
    /// What the log must record for the format, except for members of an entry.
    pub fn fields(&self) -> LoggedFields {
        let formats: Vec<&Format> = match self {
            Self::Text(format) => vec![format],
            Self::Json(fields) => fields.iter().map(|(_, format)| &**format).collect(),
        };
        let mut fields = LoggedFields::default();
        for format in formats {
            fields.add(&format.logged_fields());
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
    /// The file; `None`: the default access log, or no access log if `off` is set.
    pub(super) file: Option<FileLog>,
    /// Whether requests are not logged: by `disable`, or because none of the settings can be applied. The default
    /// access log may contain what the settings omit on purpose.
    pub(super) off: bool,
    /// Paths of the fields that have no effect. A reason is added where it is not obvious.
    pub(super) ignored: Vec<String>,
}

impl AppliedLog {
    /// Applies the first setting with a file. All other settings have no effect.
    pub(super) fn of(log: &EnvoyProxyAccessLog) -> Self {
        let mut applied = Self::default();
        if log.disable == Some(true) {
            applied.off = true;
            return applied;
        }
        let settings = log.settings.as_deref().unwrap_or_default();
        for (at, setting) in settings.iter().enumerate() {
            let path = format!("spec.telemetry.accessLog.settings[{at}]");
            applied.setting(&path, setting);
        }
        applied.off = !settings.is_empty() && applied.file.is_none();
        applied
    }

    fn setting(&mut self, path: &str, setting: &Value) {
        let list = |field: &str| setting[field].as_array().map_or(&[][..], Vec::as_slice);
        let Some(conditions) = self.conditions(path, list("matches")) else {
            return;
        };
        let kind = setting["type"].as_str().unwrap_or("Route");
        if kind != "Route" {
            // A log of type Listener has entries of connections without a route only.
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
        let (text, errors) = match (&format["text"], &format["json"]) {
            (Value::String(text), Value::Null) => {
                Format::replace_unsupported(text.trim_end_matches('\n'))
            }
            (Value::Null, Value::Object(members)) => supported_members(members),
            _ => return None,
        };
        let errors = errors.into_iter();
        let errors = errors.map(|error| format!("{path}.format ({error})"));
        self.ignored.extend(errors);
        Some(text)
    }
}

/// A JSON format without what is not supported: operators become `-`, members that are not strings are removed.
fn supported_members(members: &Map<String, Value>) -> (String, Vec<FormatError>) {
    let mut errors = Vec::new();
    let strings = members.iter().filter_map(|(name, value)| {
        let (text, found) = Format::replace_unsupported(value.as_str()?);
        errors.extend(found);
        Some((name.clone(), Value::String(text)))
    });
    let text = Value::Object(strings.collect()).to_string();
    (text, errors)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn header_fields_without_their_own_member_are_recorded() {
        let line: LogLine = concat!(
            "%REQ(X-Real-IP?X-Forwarded-For):9% %RESP(content-type)% %REQ(x-real-ip)%",
            "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
        )
        .parse()
        .expect("it is a format");

        assert_eq!(line.fields().request, ["x-real-ip"]);
        assert_eq!(line.fields().response, ["content-type"]);
        assert!(!line.fields().durations);
        let times: LogLine = r#"{"a": "%GRPC_STATUS%", "b": "%REQUEST_DURATION%"}"#
            .parse()
            .expect("it is a format");
        assert_eq!(times.fields().request, ["content-type"]);
        assert_eq!(times.fields().response, ["grpc-status"]);
        assert!(times.fields().durations);
    }

    #[test]
    fn what_cannot_be_written_is_refused_by_name() {
        for (text, expected) in [
            ("%REQ(a b)%", "%REQ(a b)%"),
            ("%RESP()%", "%RESP()%"),
            ("%START_TIME(%Q)%", "%START_TIME(%Q)%"),
            ("%DURATION:x%", "starts no command operator"),
            (r#"{"a": 1}"#, "a: only strings"),
            (r#"{"a": "%NO%"}"#, "%NO%"),
        ] {
            let error = text.parse::<LogLine>().expect_err("it is refused");
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn settings_that_cannot_be_applied_do_not_result_in_the_default_log() {
        let applied = |settings: Value| {
            let log = serde_json::from_value(json!({ "settings": settings }));
            AppliedLog::of(&log.expect("the section is read"))
        };
        let file = json!([{ "type": "File", "file": { "path": "/dev/stdout" } }]);
        for setting in [
            json!({ "matches": ["metadata.a"], "sinks": file }),
            json!({ "sinks": [{ "type": "OpenTelemetry", "openTelemetry": { "host": "a" } }] }),
            json!({ "type": "Listener", "sinks": file }),
        ] {
            let found = applied(json!([setting]));

            assert!(found.off && found.file.is_none(), "{setting}");
            assert_eq!(found.ignored.len(), 1, "{setting}");
        }
        let route = applied(json!([{ "type": "Route", "sinks": file }]));
        assert!(!route.off && route.file.is_some());
        assert!(!applied(json!([])).off);
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
        let json = json!({"a": "%UNKNOWN%", "b": {"c": "%PROTOCOL%"}, "d": "%PROTOCOL%"});
        let members = json.as_object().expect("an object");

        let (part, errors) = supported_members(members);

        assert_eq!(part, r#"{"a":"-","d":"%PROTOCOL%"}"#);
        assert_eq!(errors.len(), 1);
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
