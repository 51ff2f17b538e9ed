//! Access logs in JSON: `log-format-upstream` as documented for ingress-nginx, and variants of it.
//!
//! The names of the members are chosen by users. Each part of a request has several known names.

use serde_json::{Map, Value};

use super::access_log::{
    LogLineError, LoggedRequest, absolute_form, host_name, is_host, request_line,
};

const REQUEST: &[&str] = &["request"];
const METHOD: &[&str] = &["method", "request_method", "http_method", "verb"];
const HOST: &[&str] = &[
    "vhost",
    "host",
    "http_host",
    "request_host",
    "server_name",
    "domain",
];
/// Names of the request target as sent.
const TARGET: &[&str] = &["request_uri", "requestUri", "url"];
/// Names of the decoded path (`$uri`).
const PATH: &[&str] = &["path", "uri"];
const QUERY: &[&str] = &["request_query", "query", "args", "query_string"];
const STATUS: &[&str] = &["status", "status_code", "response_code"];
const CLIENT: &[&str] = &[
    "remote_addr",
    "client_ip",
    "remote_ip",
    "client",
    "x_real_ip",
];
const USER: &[&str] = &["remote_user", "user"];
const SCHEME: &[&str] = &["scheme", "pass_access_scheme", "x_scheme"];
const UPSTREAM: &[&str] = &["proxy_upstream_name", "upstream_name", "ingress_upstream"];

/// Parses a line whose first character is `{`.
///
/// # Errors
/// If the line is not one JSON object with a request, a path and a status.
pub(super) fn parse_object(line: &str) -> Result<LoggedRequest, LogLineError> {
    let object: Map<String, Value> =
        serde_json::from_str(line).map_err(|_| LogLineError::Format)?;
    let part = |names: &[&str]| names.iter().find_map(|name| text(object.get(*name)?));
    let status = part(STATUS).and_then(|status| status.parse().ok());
    let status = status.ok_or(LogLineError::Format)?;
    let (method, uri) = match part(REQUEST) {
        Some(line) => {
            let (method, uri) = request_line(&line).ok_or(LogLineError::Request)?;
            (method.to_owned(), uri.to_owned())
        }
        None => {
            let method = part(METHOD).ok_or(LogLineError::Format)?;
            let path = part(TARGET).or_else(|| part(PATH).map(|path| encoded(&path)));
            let mut uri = path.ok_or(LogLineError::Format)?;
            if let Some(query) = part(QUERY).filter(|_| !uri.contains('?')) {
                uri.push('?');
                uri.push_str(query.trim_start_matches('?'));
            }
            (method, uri)
        }
    };
    let (authority, target) = absolute_form(&uri).ok_or(LogLineError::Request)?;
    let named = part(HOST).filter(|host| host != "_");
    let host = authority.map(str::to_owned).or(named);
    let host = host.map(|host| host_name(&host));
    if host.as_deref().is_some_and(|host| !is_host(host)) {
        return Err(LogLineError::Request);
    }
    Ok(LoggedRequest {
        host,
        https: part(SCHEME).map(|scheme| scheme == "https"),
        client: part(CLIENT).unwrap_or_default(),
        has_user: part(USER).is_some(),
        method,
        target,
        status,
        upstream: part(UPSTREAM),
    })
}

/// The text of a member. `None`: the member is absent, empty or `-`.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (!matches!(text.as_str(), "" | "-")).then_some(text)
}

/// Percent-encodes a decoded path for a request target. A path that contains `?` or `%` is a target as sent,
/// and is returned unchanged.
fn encoded(path: &str) -> String {
    let is_as_sent = path.contains('?') || path.contains('%');
    if is_as_sent {
        return path.to_owned();
    }
    path.bytes()
        .map(|byte| match byte {
            b'#' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' => format!("%{byte:02X}"),
            byte if byte.is_ascii_graphic() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(line: &str) -> Result<String, LogLineError> {
        parse_object(line).map(|request| request.target)
    }

    #[test]
    fn the_documented_format_is_read() {
        let line = r#"{"time": "2026-11-30T11:50:00+00:00", "remote_addr": "192.0.2.7", "x_forwarded_for": "192.0.2.7", "request_id": "f1", "remote_user": "-", "bytes_sent": 5, "request_time": 0.001, "status": 200, "vhost": "App.test", "request_proto": "HTTP/2.0", "path": "/a \u00e4", "request_query": "b=c", "request_length": 80, "duration": 0.001,"method": "GET", "http_referrer": "", "http_user_agent": "curl/8" }"#;

        let request = parse_object(line).expect("valid");

        assert_eq!(
            request,
            LoggedRequest {
                host: Some("app.test".to_owned()),
                https: None,
                client: "192.0.2.7".to_owned(),
                has_user: false,
                method: "GET".to_owned(),
                target: "/a%20%C3%A4?b=c".to_owned(),
                status: 200,
                upstream: None,
            }
        );
    }

    #[test]
    fn a_request_line_or_a_target_as_sent_is_kept() {
        for (line, expected) in [
            (
                r#"{"status": "404", "request": "GET /a%20b?c HTTP/1.1"}"#,
                "/a%20b?c",
            ),
            (
                r#"{"status": 200, "method": "GET", "request_uri": "/a?b", "args": "b"}"#,
                "/a?b",
            ),
            (
                r#"{"status": 200, "method": "GET", "uri": "/a%2Fb", "args": ""}"#,
                "/a%2Fb",
            ),
        ] {
            assert_eq!(target(line).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn lines_without_a_request_are_errors() {
        for (line, error) in [
            ("{", LogLineError::Format),
            (
                r#"{"level": "info", "msg": "started"}"#,
                LogLineError::Format,
            ),
            (r#"{"status": 400, "request": ""}"#, LogLineError::Format),
            (
                r#"{"status": 400, "request": "\u0016"}"#,
                LogLineError::Request,
            ),
            (
                r#"{"status": 200, "method": "GET", "path": "/", "host": "a/b"}"#,
                LogLineError::Request,
            ),
        ] {
            assert_eq!(parse_object(line), Err(error), "{line}");
        }
    }
}
