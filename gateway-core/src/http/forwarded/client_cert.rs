//! `X-Forwarded-Client-Cert`: informs backends about the client certificate, in Envoy's format.
//!
//! ```text
//! By=<URI of our certificate>;Hash=<SHA-256>;Cert="…";Chain="…";Subject="…";URI=…;DNS=…
//! ```
//!
//! `By` is repeated for each URI of the server certificate. `URI` and `DNS` are repeated for each name of the
//! client certificate. If the client certificate has no URI, one empty `URI` is written. Each proxy appends
//! one such element, separated by a comma.
//!
//! | mode | verified client certificate | no verified client certificate |
//! |---|---|---|
//! | `Sanitize` | removed | removed |
//! | `ForwardOnly` | kept | removed |
//! | `AppendForward` | appended to | removed |
//! | `SanitizeSet` | replaced | removed |
//! | `AlwaysForwardOnly` | kept | kept |
//!
//! Only verified certificates count. Envoy also forwards unverified certificates, which clients can present
//! with `AllowInsecureFallback`. Envoy writes names without quotes, so a name with a semicolon can forge
//! another key. The gateway quotes these names, as Envoy's documentation of the format requires.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use towergate_tls::ClientCertificate;

use super::joined;
use crate::format::escaped_pem;
use crate::http::settings::{HeaderSettings, XfccDetails, XfccMode};

const NAME: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// Edits `X-Forwarded-Client-Cert` of a request. `client` is the verified client certificate, if any.
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
    headers.insert(
        NAME,
        value.expect("valid values joined by visible ASCII are valid"),
    );
}

/// The element of the header field for one client. It consists of visible ASCII and spaces.
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
        // The subject is not escaped again, because its text is already escaped, including its quotes.
        part(&mut text, "Subject");
        write!(text, "\"{}\"", client.subject()).expect("writing to a string does not fail");
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

/// Writes the separator, if required, and a key.
fn part(text: &mut String, key: &str) {
    if !text.is_empty() {
        text.push(';');
    }
    text.push_str(key);
    text.push('=');
}

/// Writes a name, in quotes if it contains delimiters. Percent-encodes bytes outside visible ASCII; a valid
/// name contains none.
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
            other => write!(text, "%{other:02X}").expect("writing to a string does not fail"),
        }
    }
    if quoted {
        text.push('"');
    }
}

/// Writes PEM in quotes.
fn write_pem(text: &mut String, pem: &str) {
    text.push('"');
    text.push_str(&escaped_pem(pem));
    text.push('"');
}

#[cfg(test)]
mod tests;
