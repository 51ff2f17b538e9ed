//! Access log lines in a user-defined format with Envoy's command operators.

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;

use http::{HeaderName, HeaderValue};
use towergate_core::access_log::{Entry, LoggedFields};
use towergate_core::format::write_rfc3339;
use towergate_policy::envoy_proxy::{LogLine, LogOperator, LogPart, LogSource};

use super::names;

/// A log entry, and the header fields whose values it contains.
#[derive(Clone, Copy)]
struct Logged<'a> {
    entry: &'a Entry,
    names: &'a LoggedFields,
}

/// Writes `entry` as one line. `names` are the header fields that `format` reads.
pub(super) fn write(format: &LogLine, names: &LoggedFields, entry: &Entry, out: &mut Vec<u8>) {
    let logged = Logged { entry, names };
    match format {
        LogLine::Text(parts) => {
            let start = out.len();
            write_text(parts, logged, "-", out);
            // A value from the client must not end the line.
            for byte in &mut out[start..] {
                if byte.is_ascii_control() {
                    *byte = b' ';
                }
            }
        }
        LogLine::Json(fields) => write_object(fields, logged, out),
    }
    out.push(b'\n');
}

fn write_object(fields: &[(String, Vec<LogPart>)], logged: Logged<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (name, parts)) in fields.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        // Writing to memory cannot fail.
        let _ = serde_json::to_writer(&mut *out, name);
        out.push(b':');
        write_json(parts, logged, out);
    }
    out.push(b'}');
}

/// Writes a value of a JSON format. A single operator without a value becomes `null`, and a single numeric
/// operator becomes a number. Everything else becomes a string.
fn write_json(parts: &[LogPart], logged: Logged<'_>, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    let present = match parts {
        [LogPart::Operator(operator, _)] => value(*operator, logged.entry, &mut text),
        [LogPart::First(sources, _)] => first(sources, logged, &mut text),
        _ => true,
    };
    if !present {
        out.extend_from_slice(b"null");
        return;
    }
    if matches!(parts, [LogPart::Operator(operator, _)] if is_number(*operator)) {
        out.append(&mut text);
        return;
    }
    text.clear();
    write_text(parts, logged, "-", &mut text);
    let _ = serde_json::to_writer(out, &String::from_utf8_lossy(&text));
}

fn write_text(parts: &[LogPart], logged: Logged<'_>, missing: &str, out: &mut Vec<u8>) {
    for part in parts {
        let start = out.len();
        let (present, limit) = match part {
            LogPart::Literal(text) => {
                out.extend_from_slice(text.as_bytes());
                continue;
            }
            LogPart::Operator(operator, limit) => (value(*operator, logged.entry, out), limit),
            LogPart::First(sources, limit) => (first(sources, logged, out), limit),
        };
        if !present {
            out.extend_from_slice(missing.as_bytes());
        }
        if let Some(limit) = limit {
            out.truncate(out.len().min(start + limit));
        }
    }
}

/// Writes the value of the first source that has a value. Returns whether a value was written.
fn first(sources: &[LogSource], logged: Logged<'_>, out: &mut Vec<u8>) -> bool {
    let fields = logged.entry.fields.as_deref();
    let find = |names: &[HeaderName], values: Option<&Vec<Option<HeaderValue>>>, name| {
        let at = names.iter().position(|known| known == name)?;
        values?.get(at)?.clone()
    };
    sources.iter().any(|source| match source {
        LogSource::Operator(operator) => value(*operator, logged.entry, out),
        LogSource::RequestField(name) => {
            let values = fields.map(|fields| &fields.request);
            header(out, find(&logged.names.request, values, name).as_ref())
        }
        LogSource::ResponseField(name) => {
            let values = fields.map(|fields| &fields.response);
            header(out, find(&logged.names.response, values, name).as_ref())
        }
    })
}

fn is_number(operator: LogOperator) -> bool {
    use LogOperator as O;
    matches!(
        operator,
        O::BytesReceived
            | O::BytesSent
            | O::DirectRemotePort
            | O::DownstreamLocalPort
            | O::DownstreamRemotePort
            | O::Duration
            | O::ResponseCode
    )
}

/// Writes the value of an operator. Returns whether a value was written.
fn value(operator: LogOperator, entry: &Entry, out: &mut Vec<u8>) -> bool {
    use LogOperator as O;
    let client = SocketAddr::new(entry.client, entry.client_port);
    let rule = entry.rule.as_deref();
    let stream = rule.is_some_and(names::is_stream);
    let details = Some(&*entry.details).filter(|details| !details.is_empty());
    let fingerprints = entry.fingerprints.as_deref();
    match operator {
        O::StartTime => {
            write_rfc3339(out, entry.start);
            true
        }
        O::Method => text(out, entry.method.as_ref().map(http::Method::as_str)),
        O::Path => text(out, Some(&*entry.path).filter(|path| !path.is_empty())),
        O::Authority => text(out, entry.authority.as_deref()),
        O::ForwardedFor => header(out, entry.forwarded_for.as_ref()),
        O::UserAgent => header(out, entry.user_agent.as_ref()),
        O::RequestId => header(out, entry.request_id.as_ref()),
        O::Protocol => text(out, entry.protocol.map(names::protocol)),
        O::ResponseCode => shown(out, Some(names::status(entry))),
        O::ResponseFlags => {
            let flags = Some(&*entry.flags).filter(|flags| !flags.is_empty());
            text(out, flags.or(Some("-")))
        }
        O::ResponseCodeDetails => text(out, details.filter(|_| !stream)),
        O::ConnectionTermination => text(out, details.filter(|_| stream)),
        O::UpstreamTransportFailure => text(out, entry.upstream_failure.as_deref()),
        O::BytesReceived => shown(out, Some(entry.bytes_received)),
        O::BytesSent => shown(out, Some(entry.bytes_sent)),
        O::Duration => shown(out, Some(names::millis(entry.duration))),
        O::UpstreamTime => shown(out, entry.upstream_time.map(names::millis)),
        O::UpstreamHost => shown(out, entry.upstream_host.as_ref()),
        O::UpstreamLocalAddress => shown(out, entry.upstream_local),
        O::DownstreamLocalAddress => shown(out, Some(entry.downstream_local)),
        O::DownstreamLocalIp => shown(out, Some(entry.downstream_local.ip())),
        O::DownstreamLocalPort => shown(out, Some(entry.downstream_local.port())),
        O::DownstreamRemoteAddress => shown(out, Some(client)),
        O::DownstreamRemoteIp => shown(out, Some(client.ip())),
        O::DownstreamRemotePort => shown(out, Some(client.port())),
        O::DirectRemoteAddress => shown(out, Some(entry.peer)),
        O::DirectRemoteIp => shown(out, Some(entry.peer.ip())),
        O::DirectRemotePort => shown(out, Some(entry.peer.port())),
        O::DownstreamTlsCipher => text(out, entry.tls.map(|tls| tls.cipher)),
        O::DownstreamTlsVersion => text(out, entry.tls.map(|tls| tls.version)),
        O::Ja3Fingerprint => text(out, fingerprints.and_then(|found| found.ja3.as_deref())),
        O::Ja4Fingerprint => text(out, fingerprints.and_then(|found| found.ja4.as_deref())),
        O::RequestedServerName => text(out, entry.server_name.as_deref()),
        // A direct response has a route but no cluster.
        O::UpstreamCluster => {
            let rule = rule.filter(|_| entry.details != "direct_response");
            rule.map(|rule| names::cluster(out, rule)).is_some()
        }
        O::RouteName => {
            let rule = rule.filter(|_| !stream);
            rule.map(|rule| names::route(out, rule)).is_some()
        }
    }
}

fn text(out: &mut Vec<u8>, value: Option<&str>) -> bool {
    let Some(value) = value else {
        return false;
    };
    out.extend_from_slice(value.as_bytes());
    true
}

fn header(out: &mut Vec<u8>, value: Option<&HeaderValue>) -> bool {
    let Some(value) = value else {
        return false;
    };
    out.extend_from_slice(value.as_bytes());
    true
}

fn shown(out: &mut Vec<u8>, value: Option<impl Display>) -> bool {
    let Some(value) = value else {
        return false;
    };
    // Writing to memory cannot fail.
    let _ = write!(out, "{value}");
    true
}

#[cfg(test)]
mod tests {
    use super::super::names::tests::{entry, unrouted};
    use towergate_core::access_log::LoggedValues;

    use super::*;

    fn line(format: &str, entry: &Entry) -> String {
        let format: LogLine = format.parse().expect("the format is valid");
        let mut out = Vec::new();
        write(&format, &format.fields(), entry, &mut out);
        String::from_utf8(out).expect("it is text")
    }

    #[test]
    fn a_text_has_the_values_of_the_request_and_a_dash_for_missing_ones() {
        let format = "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH):3% %RESPONSE_CODE% %REQ(X-REQUEST-ID)% 5%%";

        assert_eq!(line(format, &entry()), "GET /a? 200 - 5%\n");
    }

    #[test]
    fn a_json_object_has_numbers_texts_and_nulls() {
        let format = r#"{"code": "%RESPONSE_CODE%", "id": "%REQ(X-REQUEST-ID)%", "line": "%REQ(:METHOD)% %REQ(:PATH)%"}"#;

        assert_eq!(
            line(format, &entry()),
            concat!(r#"{"code":200,"id":null,"line":"GET /a?b=\"c\""}"#, "\n")
        );
    }

    #[test]
    fn header_fields_have_the_values_of_request_and_response() {
        let mut entry = entry();
        let value = |text| Some(HeaderValue::from_static(text));
        entry.fields = Some(Box::new(LoggedValues {
            request: vec![None, value("b")],
            response: vec![value("text/plain")],
        }));
        let format =
            r#"{"a": "%REQ(X-A)%", "ab": "%REQ(X-A?X-B)%", "r": "%RESP(CONTENT-TYPE):4%"}"#;

        let expected = concat!(r#"{"a":null,"ab":"b","r":"text"}"#, "\n");
        assert_eq!(line(format, &entry), expected);
        entry.fields = None;
        assert_eq!(line("%REQ(X-A?X-B)%", &entry), "-\n");
    }

    #[test]
    fn no_value_of_the_client_ends_a_line() {
        let mut entry = entry();
        entry.path = "/\n\u{1b}[0m".to_owned();

        assert_eq!(line("%REQ(:PATH)%", &entry), "/  [0m\n");
    }

    #[test]
    fn every_operator_of_the_default_format_agrees_with_it() {
        for entry in [entry(), unrouted()] {
            let mut out = Vec::new();
            super::super::json::write(&entry, &mut out);
            let default: serde_json::Value = serde_json::from_slice(&out).expect("it is JSON");
            for (field, operator) in [
                ("start_time", "%START_TIME%"),
                ("method", "%REQ(:METHOD)%"),
                ("x-envoy-origin-path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
                ("protocol", "%PROTOCOL%"),
                ("response_code", "%RESPONSE_CODE%"),
                ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
                ("bytes_received", "%BYTES_RECEIVED%"),
                ("bytes_sent", "%BYTES_SENT%"),
                ("duration", "%DURATION%"),
                (
                    "x-envoy-upstream-service-time",
                    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
                ),
                ("x-forwarded-for", "%REQ(X-FORWARDED-FOR)%"),
                ("user-agent", "%REQ(USER-AGENT)%"),
                ("x-request-id", "%REQ(X-REQUEST-ID)%"),
                (":authority", "%REQ(:AUTHORITY)%"),
                ("upstream_host", "%UPSTREAM_HOST%"),
                ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
                ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
                ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
                ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
                ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
                ("route_name", "%ROUTE_NAME%"),
            ] {
                let format = serde_json::json!({ field: operator }).to_string();
                let own: serde_json::Value =
                    serde_json::from_str(&line(&format, &entry)).expect("it is JSON");
                assert_eq!(own[field], default[field], "{field}");
            }
        }
    }
}
