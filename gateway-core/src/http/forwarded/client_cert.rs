//! `X-Forwarded-Client-Cert`: what a backend is told of the client's certificate, in Envoy's format.
//!
//! ```text
//! By=<URI of our certificate>;Hash=<SHA-256>;Cert="…";Chain="…";Subject="…";URI=…;DNS=…
//! ```
//!
//! `By` comes once for each URI, `URI` and `DNS` once for each name; `URI` also if there is none. Each
//! proxy on the way appends an element, after a comma.
//!
//! | mode | the client is known | it is not |
//! |---|---|---|
//! | `Sanitize` | dropped | dropped |
//! | `ForwardOnly` | kept | dropped |
//! | `AppendForward` | appended to | dropped |
//! | `SanitizeSet` | replaced | dropped |
//! | `AlwaysForwardOnly` | kept | kept |
//!
//! Known is who showed a certificate that was verified. Envoy takes any that was shown, so where clients
//! may show what they like (`AllowInsecureFallback`), its backends are told of names that nobody vouched
//! for. And it writes names as they are, so that one with a semicolon in it may pose as another part: such
//! a name is put in quotes here, as Envoy's documentation of the format asks for.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use towergate_tls::ClientCertificate;

use super::joined;
use crate::http::settings::{HeaderSettings, XfccDetails, XfccMode};

const NAME: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// Edits the field of a request of `client`, if that is known.
pub(super) fn apply(
    headers: &mut HeaderMap,
    client: Option<&ClientCertificate>,
    settings: &HeaderSettings,
) {
    let element = |client| element(client, settings.xfcc_details);
    match (settings.xfcc, client) {
        (XfccMode::AlwaysForwardOnly, _) | (XfccMode::ForwardOnly, Some(_)) => {}
        (XfccMode::SanitizeSet, Some(client)) => set(headers, element(client).into()),
        (XfccMode::AppendForward, Some(client)) => {
            let element = element(client);
            let mut line = joined(headers, &NAME, element.len() + 1).unwrap_or_default();
            if !line.is_empty() {
                line.push(b',');
            }
            line.extend_from_slice(element.as_bytes());
            set(headers, line);
        }
        (XfccMode::Sanitize, _)
        | (XfccMode::ForwardOnly | XfccMode::AppendForward | XfccMode::SanitizeSet, None) => {
            headers.remove(NAME);
        }
    }
}

fn set(headers: &mut HeaderMap, line: Vec<u8>) {
    let value = HeaderValue::from_maybe_shared(Bytes::from(line));
    headers.insert(NAME, value.expect("valid values and visible ASCII"));
}

/// What is said of one client, in visible ASCII and blanks.
fn element(client: &ClientCertificate, details: XfccDetails) -> String {
    let mut text = String::with_capacity(128);
    for uri in client.server_uris() {
        part(&mut text, "By");
        write_name(&mut text, uri);
    }
    part(&mut text, "Hash");
    text.push_str(client.sha256());
    if details.cert {
        part(&mut text, "Cert");
        write_pem(&mut text, &client.pem());
    }
    if details.chain {
        part(&mut text, "Chain");
        write_pem(&mut text, &client.chain_pem());
    }
    if details.subject {
        // It is escaped already, quotes included.
        part(&mut text, "Subject");
        write!(text, "\"{}\"", client.subject()).expect("a string takes all text");
    }
    if details.uri {
        if client.uris().is_empty() {
            part(&mut text, "URI");
        }
        for uri in client.uris() {
            part(&mut text, "URI");
            write_name(&mut text, uri);
        }
    }
    if details.dns {
        for name in client.dns_names() {
            part(&mut text, "DNS");
            write_name(&mut text, name);
        }
    }
    text
}

/// Begins a part.
fn part(text: &mut String, key: &str) {
    if !text.is_empty() {
        text.push(';');
    }
    text.push_str(key);
    text.push('=');
}

/// Writes a name, in quotes if it has characters with a meaning. What is not visible is escaped as in a
/// URI, which a valid name never needs.
fn write_name(text: &mut String, name: &str) {
    let quoted = name.contains([',', ';', '=', '"', '\\']);
    if quoted {
        text.push('"');
    }
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b'!'..=b'~' => text.push(char::from(byte)),
            other => write!(text, "%{other:02X}").expect("a string takes all text"),
        }
    }
    if quoted {
        text.push('"');
    }
}

/// Writes PEM with the characters escaped that Envoy escapes.
fn write_pem(text: &mut String, pem: &str) {
    text.push('"');
    for character in pem.chars() {
        match character {
            '\n' => text.push_str("%0A"),
            ' ' => text.push_str("%20"),
            '+' => text.push_str("%2B"),
            '/' => text.push_str("%2F"),
            '=' => text.push_str("%3D"),
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests;
