//! Access logs of ingress-nginx, line by line.
//!
//! The supported formats are the combined format of nginx, and the default format of ingress-nginx (ConfigMap
//! key `log-format-upstream`), which extends it:
//!
//! ```text
//! $remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer"
//! "$http_user_agent" $request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] …
//! ```
//!
//! JSON objects are also supported. Their members have the names of the documentation of ingress-nginx, or
//! other common names of the same variables.
//!
//! Neither text format contains the host. A format that begins with `$host` or `$scheme://$host` is also
//! supported. If a line begins with the pod name of `kubectl logs --prefix`, or with the time of
//! `--timestamps`, this prefix is skipped.
//!
//! Source: `docs/user-guide/nginx-configuration/log-format.md` of ingress-nginx; `log_format` and
//! `ngx_http_log_escape` of nginx's `ngx_http_log_module`.
//!
//! ```
//! use towergate_k8s::ingress::access_log::parse_line;
//!
//! let line = r#"192.0.2.7 - - [30/Nov/2026:11:50:00 +0000] "GET /a?b=c HTTP/1.1" 200 5 "-" "curl/8" 80 0.001 [web-app-80] [] 10.0.0.1:80 5 0.001 200 f1"#;
//!
//! let request = parse_line(line)?;
//!
//! assert_eq!((&*request.method, &*request.target, request.status), ("GET", "/a?b=c", 200));
//! assert_eq!(request.upstream.as_deref(), Some("web-app-80"));
//! # Ok::<(), towergate_k8s::ingress::access_log::LogLineError>(())
//! ```

use std::fmt;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_until, take_while, take_while1};
use nom::character::complete::{char, digit1};
use nom::combinator::{map_res, opt, verify};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

use super::access_log_json::parse_object;

/// A request in an access log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoggedRequest {
    /// Host, if the format begins with it or the request line contains it. Lower case, without port.
    pub host: Option<String>,
    /// Whether the request arrived over TLS, if the format begins with `$scheme://$host`.
    pub https: Option<bool>,
    /// Address of the client (`$remote_addr`).
    pub client: String,
    /// Whether the request contained a user name of Basic authentication.
    pub has_user: bool,
    /// Method.
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// Status of the response.
    pub status: u16,
    /// `$proxy_upstream_name`: `namespace-service-port` of the path's backend.
    pub upstream: Option<String>,
}

/// Why a line contains no request.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum LogLineError {
    /// The line has no known format. For example, it is a message of the controller.
    Format,
    /// The client sent something other than an HTTP request.
    Request,
}

impl fmt::Display for LogLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "not in a known format of ingress-nginx",
            Self::Request => "no HTTP request",
        })
    }
}

impl std::error::Error for LogLineError {}

/// Parses a line without its line break.
///
/// # Errors
/// If the line contains no request.
pub fn parse_line(line: &str) -> Result<LoggedRequest, LogLineError> {
    if line.starts_with('{') {
        return parse_object(line);
    }
    let (_, fields) = fields(line).map_err(|_| LogLineError::Format)?;
    let text = unescape(fields.request).ok_or(LogLineError::Request)?;
    let (method, uri) = request_line(&text).ok_or(LogLineError::Request)?;
    let (authority, target) = absolute_form(uri).ok_or(LogLineError::Request)?;
    let (scheme, named) = fields
        .leading
        .map_or((None, None), |(scheme, host)| (scheme, Some(host)));
    let host = authority.or(named).map(host_name);
    if host.as_deref().is_some_and(|host| !is_host(host)) {
        return Err(LogLineError::Request);
    }
    Ok(LoggedRequest {
        host,
        https: scheme.map(|scheme| scheme == "https"),
        client: fields.client.to_owned(),
        has_user: !matches!(fields.user, "-" | ""),
        method: method.to_owned(),
        target,
        status: fields.status,
        upstream: fields
            .upstream
            .filter(|name| !matches!(*name, "-" | ""))
            .map(str::to_owned),
    })
}

/// The fields of a line as written.
struct RawFields<'a> {
    leading: Option<(Option<&'a str>, &'a str)>,
    client: &'a str,
    user: &'a str,
    request: &'a str,
    status: u16,
    upstream: Option<&'a str>,
}

fn fields(line: &str) -> IResult<&str, RawFields<'_>> {
    let (rest, _) = opt(terminated(bracketed, char(' '))).parse(line)?;
    let (rest, _) = opt(terminated(timestamp, char(' '))).parse(rest)?;
    let (rest, (leading, client)) = alt((
        terminated(address, tag(" - ")).map(|client| (None, client)),
        (
            terminated(leading, char(' ')),
            terminated(address, tag(" - ")),
        )
            .map(|(leading, client)| (Some(leading), client)),
    ))
    .parse(rest)?;
    // Versions of ingress-nginx before 0.25 write the address of the client a second time.
    let (rest, _) = opt(terminated(bracketed, tag(" - "))).parse(rest)?;
    let (rest, user) = take_until(" [").parse(rest)?;
    let (rest, _) = preceded(char(' '), bracketed).parse(rest)?;
    let (rest, request) = preceded(char(' '), quoted).parse(rest)?;
    let (rest, status) = preceded(char(' '), map_res(digit1, str::parse)).parse(rest)?;
    let (rest, _) = preceded(char(' '), alt((digit1, tag("-")))).parse(rest)?;
    let (rest, _) = (preceded(char(' '), quoted), preceded(char(' '), quoted)).parse(rest)?;
    let (rest, upstream) = opt(upstream).parse(rest)?;
    let fields = RawFields {
        leading,
        client,
        user,
        request,
        status,
        upstream,
    };
    Ok((rest, fields))
}

/// Parses ` $request_length $request_time [$proxy_upstream_name]`.
fn upstream(input: &str) -> IResult<&str, &str> {
    let number = || {
        preceded(
            char(' '),
            take_while1(|c: char| c.is_ascii_digit() || c == '.' || c == '-'),
        )
    };
    let (rest, _) = (number(), number()).parse(input)?;
    preceded(char(' '), bracketed).parse(rest)
}

fn address(input: &str) -> IResult<&str, &str> {
    let part = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
    // `unix:` is the address of a client on a local socket.
    alt((tag("unix:"), take_while1(part))).parse(input)
}

/// Parses `$host` or `$scheme://$host`.
fn leading(input: &str) -> IResult<&str, (Option<&str>, &str)> {
    let part = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    let scheme = terminated(alt((tag("https"), tag("http"))), tag("://"));
    (opt(scheme), take_while1(part)).parse(input)
}

/// Parses a time of `--timestamps`, such as `2026-11-30T11:50:00.000000000Z`.
fn timestamp(input: &str) -> IResult<&str, &str> {
    let part = |c: char| c.is_ascii_digit() || "-:.+TZ".contains(c);
    verify(take_while1(part), |text: &str| text.contains('T')).parse(input)
}

fn bracketed(input: &str) -> IResult<&str, &str> {
    delimited(char('['), take_till(|c| c == ']'), char(']')).parse(input)
}

/// Parses a field in quotes. The first quote ends it, because nginx escapes quotes in the field.
fn quoted(input: &str) -> IResult<&str, &str> {
    delimited(char('"'), take_while(|c| c != '"'), char('"')).parse(input)
}

/// Replaces `\xHH` by the byte. `None`: the bytes are not UTF-8.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once("\\x") {
        bytes.extend_from_slice(plain.as_bytes());
        let digits = escaped
            .get(..2)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &escaped[2..];
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = escaped;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// Splits a request line into method and target (RFC 9112, section 3). In nginx's log, a target may contain
/// spaces.
pub(super) fn request_line(text: &str) -> Option<(&str, &str)> {
    let (method, rest) = text.split_once(' ')?;
    let (target, version) = rest.rsplit_once(' ')?;
    let token = |c: u8| c.is_ascii_uppercase() || c == b'-' || c == b'_';
    let visible = |c: char| !c.is_control() && c != ' ';
    let valid = !method.is_empty()
        && method.bytes().all(token)
        && version.starts_with("HTTP/")
        && target.chars().all(visible);
    valid.then_some((method, target))
}

/// Authority and path of a request target. `None`: the target has no path, as with `CONNECT`.
pub(super) fn absolute_form(target: &str) -> Option<(Option<&str>, String)> {
    if target.starts_with('/') || target == "*" {
        return Some((None, target.to_owned()));
    }
    let (scheme, rest) = target.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    (!authority.is_empty()).then_some((Some(authority), path))
}

/// Whether a string is a host name or an address, without port.
pub(super) fn is_host(host: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let address = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_hexdigit() || ".:".contains(c))
    };
    match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(text) => !text.is_empty() && address(text),
        None => !host.is_empty() && host.chars().all(part),
    }
}

pub(super) fn host_name(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = r#"- - [30/Nov/2026:11:50:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "curl/8""#;

    #[test]
    fn the_default_format_is_read() {
        let request = parse_line(
            r#"10.1.2.3 - alice [30/Nov/2026:11:50:00 +0000] "POST /login?next=%2F HTTP/2.0" 302 0 "https://a.test/" "Mozilla/5.0 (X11)" 512 0.030 [shop-web-http] [shop-canary-http] 10.0.0.1:80, 10.0.0.2:80 0, 5 0.001, 0.029 502, 302 abc"#,
        )
        .expect("valid");

        assert_eq!(
            request,
            LoggedRequest {
                host: None,
                https: None,
                client: "10.1.2.3".to_owned(),
                has_user: true,
                method: "POST".to_owned(),
                target: "/login?next=%2F".to_owned(),
                status: 302,
                upstream: Some("shop-web-http".to_owned()),
            }
        );
    }

    #[test]
    fn a_host_in_front_is_read() {
        for (front, host, https) in [
            ("app.test ", Some("app.test"), None),
            ("App.test:8443 ", Some("app.test"), None),
            ("https://app.test ", Some("app.test"), Some(true)),
            ("http://[2001:db8::1] ", Some("[2001:db8::1]"), Some(false)),
            ("[pod/ingress-nginx/controller] ", None, None),
            ("2026-11-30T11:50:00.1Z ", None, None),
            (
                "[pod/x/y] 2026-11-30T11:50:00.1Z app.test ",
                Some("app.test"),
                None,
            ),
        ] {
            let request = parse_line(&format!("{front}2001:db8::7 {TAIL}")).expect("valid");

            assert_eq!(
                (request.host.as_deref(), request.https),
                (host, https),
                "{front}"
            );
            assert_eq!((&*request.client, request.upstream), ("2001:db8::7", None));
        }
    }

    #[test]
    fn an_absolute_target_contains_the_host() {
        let line = TAIL.replace("/a", "http://B.test:80?x");

        let request = parse_line(&format!("192.0.2.1 {line}")).expect("valid");

        assert_eq!(
            (request.host.as_deref(), &*request.target),
            (Some("b.test"), "/?x")
        );
    }

    #[test]
    fn escaped_bytes_are_decoded() {
        let line = TAIL.replace("/a", r"/a\x22b\x5C\xC3\xA4\xg");

        let request = parse_line(&format!("192.0.2.1 {line}")).expect("valid");

        assert_eq!(request.target, "/a\"b\\ä\\xg");
    }

    #[test]
    fn lines_without_a_request_are_errors() {
        let with =
            |request: &str| format!("192.0.2.1 {}", TAIL.replace("GET /a HTTP/1.1", request));

        for line in [
            "",
            "I1130 11:50:00.000000       7 main.go:1] started",
            "192.0.2.1 - - [x] \"GET",
        ] {
            assert_eq!(parse_line(line), Err(LogLineError::Format), "{line}");
        }
        for request in [
            "",
            "-",
            r"\x16\x03\x01",
            "GET /a b HTTP/1.1",
            "CONNECT a.test:443 HTTP/1.1",
            r"GET /\xFF HTTP/1.1",
        ] {
            assert_eq!(
                parse_line(&with(request)),
                Err(LogLineError::Request),
                "{request}"
            );
        }
    }

    #[test]
    fn the_older_format_with_two_addresses_is_read() {
        let line = TAIL.replacen("- -", "- [192.0.2.1] - -", 1);

        assert!(parse_line(&format!("192.0.2.1 {line}")).is_ok());
    }
}
