//! Envoy's default access log format: one line of text.

use std::fmt::Display;
use std::io::Write;

use http::HeaderValue;
use towergate_core::access_log::Entry;
use towergate_core::format::write_rfc3339;

use super::names;

/// Writes `entry` as one line.
pub(super) fn write(entry: &Entry, out: &mut Vec<u8>) {
    out.push(b'[');
    write_rfc3339(out, entry.start);
    out.extend_from_slice(b"] \"");
    let method = entry.method.as_ref().map_or("-", |method| method.as_str());
    escaped(out, method.as_bytes());
    out.push(b' ');
    escaped(
        out,
        if entry.path.is_empty() {
            b"-"
        } else {
            entry.path.as_bytes()
        },
    );
    let flags = if entry.flags.is_empty() {
        "-"
    } else {
        &entry.flags
    };
    let _ = write!(
        out,
        " {}\" {} {flags} {} {} {} ",
        entry.protocol.map_or("-", names::protocol),
        names::status(entry),
        entry.bytes_received,
        entry.bytes_sent,
        names::millis(entry.duration),
    );
    shown(out, entry.upstream_time.map(names::millis));
    quoted(out, entry.forwarded_for.as_ref().map(HeaderValue::as_bytes));
    quoted(out, entry.user_agent.as_ref().map(HeaderValue::as_bytes));
    quoted(out, entry.request_id.as_ref().map(HeaderValue::as_bytes));
    quoted(out, entry.authority.as_deref().map(str::as_bytes));
    out.extend_from_slice(b" \"");
    shown(out, entry.upstream_host.as_ref());
    out.extend_from_slice(b"\"\n");
}

fn shown(out: &mut Vec<u8>, value: Option<impl Display>) {
    let _ = match value {
        Some(value) => write!(out, "{value}"),
        None => write!(out, "-"),
    };
}

fn quoted(out: &mut Vec<u8>, value: Option<&[u8]>) {
    out.extend_from_slice(b" \"");
    escaped(out, value.unwrap_or(b"-"));
    out.push(b'"');
}

/// Writes a value from a client. Escapes bytes that would end the quoted value or the line.
fn escaped(out: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            0x20..=0x7e | 0x80.. => out.push(byte),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::tests::{entry, stream, unrouted};
    use super::*;

    fn line(entry: &Entry) -> String {
        let mut out = Vec::new();
        write(entry, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn the_line_has_the_format_of_envoy() {
        assert_eq!(
            line(&entry()),
            concat!(
                r#"[2024-02-29T23:59:59.042Z] "GET /a?b=\"c\" HTTP/2" 200 - 3 14 12 11 "192.0.2.1" "café �" "-" "#,
                r#""app.example.com" "10.0.0.1:8080""#,
                "\n"
            )
        );
    }

    #[test]
    fn missing_values_are_dashes() {
        assert!(line(&unrouted()).ends_with("0 NR,DC 3 14 12 - \"-\" \"-\" \"-\" \"-\" \"-\"\n"));
    }

    #[test]
    fn a_tcp_connection_has_dashes_in_place_of_request_values() {
        let line = line(&stream());

        assert!(line.contains("] \"- - -\" 0 - 3 14 12 - \"-\""), "{line}");
        assert!(line.ends_with(" \"10.0.0.1:5432\"\n"), "{line}");
    }

    #[test]
    fn control_characters_of_a_path_are_escaped() {
        let mut entry = entry();
        entry.path = "/\n\"\u{0}".to_owned();

        let line = line(&entry);

        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.contains(r#"/\x0a\"\x00 HTTP/2""#), "{line}");
    }
}
