//! Any line is parsed or rejected without a panic, and a parsed request that is written in the format of
//! nginx is parsed to the same request.
//!
//! Input: a line of an access log.

use towergate_k8s::ingress::access_log::{LoggedRequest, parse_line};

/// Checks one input: a line of an access log.
pub fn check(bytes: &[u8]) {
    let Ok(line) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(request) = parse_line(line) else {
        return;
    };
    assert!(
        request.target.starts_with('/') || request.target == "*",
        "{request:?}"
    );
    assert_eq!(parse_line(&write(&request)).as_ref(), Ok(&request));
}

/// The line of a request in the default format, with scheme and host in front of the path if they are known.
pub fn write(request: &LoggedRequest) -> String {
    let scheme = match request.https {
        Some(true) => "https://",
        Some(false) => "http://",
        None => "",
    };
    let front = match &request.host {
        Some(host) => format!("{scheme}{host} "),
        None => String::new(),
    };
    let user = if request.has_user { "user" } else { "-" };
    format!(
        "{front}{} - {user} [30/Nov/2026:11:50:00 +0000] \"{} {} HTTP/1.1\" {} 1 \"-\" \"-\" 1 0.1 [{}] [] - - - - f",
        request.client,
        request.method,
        escape(&request.target),
        request.status,
        request.upstream.as_deref().unwrap_or_default(),
    )
}

/// The escapes of nginx's access log.
fn escape(text: &str) -> String {
    let escaped = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | ..0x20 | 0x7f.. => format!("\\x{byte:02X}"),
        _ => char::from(byte).to_string(),
    });
    escaped.collect()
}
