//! Host and port of a request.
//!
//! An [`Authority`] is parsed once, from `Host`, `:authority` or an absolute request target. It contains the
//! text as received, for the backend and the access log. It also contains the host in the form that routes
//! match: lower case, without a port, IPv6 addresses in brackets.
//!
//! ```
//! use towergate_core::http::Authority;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let authority: Authority = "App.Example.com:8080".parse()?;
//! assert_eq!(authority.host(), "app.example.com");
//! assert_eq!(authority.port(), Some(8080));
//! assert_eq!(authority.as_str(), "App.Example.com:8080");
//! # Ok(())
//! # }
//! ```

use std::net::Ipv6Addr;
use std::str::FromStr;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Uri};

/// A valid host with an optional port (RFC 3986, section 3.2), without user information.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authority {
    /// Host and port as received.
    text: HeaderValue,
    /// Length of the host in `text`, in bytes.
    host: usize,
    /// The host in lower case. `None` if the host in `text` has no upper-case letters.
    lower: Option<Box<str>>,
    port: Option<u16>,
}

/// Error: the value is not a valid authority.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invalid authority")]
pub struct BadAuthority;

impl Authority {
    /// Parses the value of a `Host` field. Copies the host only if it has upper-case letters.
    ///
    /// # Errors
    /// [`BadAuthority`] if the value is empty or contains one of these: user information, a comma, whitespace
    /// or another invalid character, an invalid escape, an invalid IPv6 address, or a port that is not a
    /// number up to 65535.
    pub fn parse(text: &HeaderValue) -> Result<Self, BadAuthority> {
        let (host, port) = split(text.as_bytes())?;
        let this = Self {
            host: host.len(),
            lower: None,
            port,
            text: text.clone(),
        };
        let lower = host.iter().any(u8::is_ascii_uppercase);
        let lower = lower.then(|| this.host_as_sent().to_ascii_lowercase().into());
        Ok(Self { lower, ..this })
    }

    /// The authority of a request that was not sanitized. The authority of the request target (`:authority`
    /// in HTTP/2) takes precedence over `Host` (RFC 9112, section 3.2.2; RFC 9113, section 8.3.1).
    ///
    /// # Errors
    /// [`BadAuthority`] if both the authority and `Host` are absent, and in the cases of
    /// [`parse`](Self::parse).
    pub fn of(uri: &Uri, headers: &HeaderMap) -> Result<Self, BadAuthority> {
        match uri.authority() {
            Some(authority) => {
                let text = HeaderValue::try_from(authority.as_str()).map_err(|_| BadAuthority)?;
                Self::parse(&text)
            }
            None => Self::parse(headers.get(HOST).ok_or(BadAuthority)?),
        }
    }

    /// The host in the form that routes match: lower case, without the port, IPv6 addresses in brackets.
    pub fn host(&self) -> &str {
        match &self.lower {
            Some(lower) => lower,
            None => self.host_as_sent(),
        }
    }

    /// The host as received, without the port.
    pub fn host_as_sent(&self) -> &str {
        &self.as_str()[..self.host]
    }

    /// The port, if present.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Host and port as received.
    pub fn as_str(&self) -> &str {
        self.text
            .to_str()
            .expect("an authority is parsed from visible ASCII")
    }

    /// Host and port as received.
    pub fn as_header(&self) -> &HeaderValue {
        &self.text
    }

    /// Removes one trailing dot of the host, if present.
    ///
    /// # Errors
    /// [`BadAuthority`] if the remaining host is empty.
    pub fn without_trailing_dot(self) -> Result<Self, BadAuthority> {
        let Some(host) = self.host_as_sent().strip_suffix('.') else {
            return Ok(self);
        };
        let text = [host, &self.as_str()[self.host..]].concat();
        Self::parse(&HeaderValue::try_from(text).map_err(|_| BadAuthority)?)
    }

    /// Whether the hosts are equal. The ports must also be equal if both are present.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let ports = self.port.zip(other.port);
        self.host() == other.host() && ports.is_none_or(|(one, two)| one == two)
    }
}

impl FromStr for Authority {
    type Err = BadAuthority;

    fn from_str(text: &str) -> Result<Self, BadAuthority> {
        Self::parse(&HeaderValue::from_str(text).map_err(|_| BadAuthority)?)
    }
}

/// Splits and validates host and port.
fn split(text: &[u8]) -> Result<(&[u8], Option<u16>), BadAuthority> {
    let find = |text: &[u8], end: u8| text.iter().position(|byte| *byte == end);
    let end = match text.strip_prefix(b"[") {
        Some(address) => {
            let end = find(address, b']').ok_or(BadAuthority)?;
            let address = str::from_utf8(&address[..end]).map_err(|_| BadAuthority)?;
            address.parse::<Ipv6Addr>().map_err(|_| BadAuthority)?;
            end + 2
        }
        None => {
            let end = find(text, b':').unwrap_or(text.len());
            check_name(&text[..end])?;
            end
        }
    };
    let (host, rest) = text.split_at(end);
    Ok((host, parse_port(rest)?))
}

/// Bytes that are valid in a name without an escape: unreserved characters and `sub-delims` of RFC 3986. Two
/// of these are excluded: `,` joins field lines, and `*` denotes wildcards in routes.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < plain.len() {
        plain[byte] = matches!(
            byte as u8,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~'
                | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'+' | b';' | b'='
        );
        byte += 1;
    }
    plain
};

/// Validates a name or an IPv4 address: plain bytes and escapes.
fn check_name(name: &[u8]) -> Result<(), BadAuthority> {
    let mut rest = name;
    while let Some(at) = rest.iter().position(|byte| !PLAIN[usize::from(*byte)]) {
        rest = match &rest[at..] {
            [b'%', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                tail
            }
            _ => return Err(BadAuthority),
        };
    }
    if name.is_empty() {
        Err(BadAuthority)
    } else {
        Ok(())
    }
}

/// Parses an empty string, `:`, or `:` and a number.
fn parse_port(text: &[u8]) -> Result<Option<u16>, BadAuthority> {
    match text {
        b"" | b":" => Ok(None),
        [b':', digits @ ..] => {
            let port = digits.iter().try_fold(0u16, |port, digit| {
                let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
                port.checked_mul(10)?.checked_add(digit)
            });
            port.map(Some).ok_or(BadAuthority)
        }
        _ => Err(BadAuthority),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &[u8]) -> Result<Authority, BadAuthority> {
        Authority::parse(&HeaderValue::from_bytes(text).map_err(|_| BadAuthority)?)
    }

    #[test]
    fn valid_hosts_are_split() {
        for (text, host, port) in [
            ("a.test", "a.test", None),
            ("A.TeST:80", "a.test", Some(80)),
            ("a.test:", "a.test", None),
            ("a.test.:80", "a.test.", Some(80)),
            ("127.0.0.1:65535", "127.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1]:8080", "[2001:db8::1]", Some(8080)),
            ("a%2etest", "a%2etest", None),
            ("under_score.test", "under_score.test", None),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ] {
            let authority = parse(text.as_bytes()).unwrap();

            assert_eq!((authority.host(), authority.port()), (host, port), "{text}");
            assert_eq!(authority.as_str(), text);
        }
    }

    #[test]
    fn what_names_no_host_is_refused() {
        for text in [
            "",
            ":80",
            "u@a.test",
            "u:p@a.test",
            "a test",
            "a.test, b.test",
            "a.test,b.test",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a\"b",
            "<a>",
            "a|b",
            "a^b",
            "a`b",
            "{a}",
            "*",
            "*.a.test",
            "a.test:port",
            "a.test:-1",
            "a.test:+1",
            "a.test:65536",
            "a.test:80:80",
            "a.test:8 0",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[]",
            "[a]",
            "[::1%25eth0]",
            "[v1.a]",
            "]",
            "a%2",
            "a%zz",
        ] {
            assert_eq!(parse(text.as_bytes()), Err(BadAuthority), "{text}");
        }
        assert_eq!(parse(b"\xe9.test"), Err(BadAuthority));
    }

    #[test]
    fn a_trailing_dot_goes_once() {
        for (text, expected) in [
            ("A.EXAMPLE.COM.", Some("A.EXAMPLE.COM")),
            ("a.example.com.:80", Some("a.example.com:80")),
            ("a.example.com..", Some("a.example.com.")),
            ("a.example.com:80", Some("a.example.com:80")),
            (".", None),
        ] {
            let stripped = parse(text.as_bytes()).unwrap().without_trailing_dot();

            assert_eq!(
                stripped.as_ref().ok().map(Authority::as_str),
                expected,
                "{text}"
            );
        }
    }

    proptest! {
        /// Host and port together equal the original text, except for its case.
        #[test]
        fn host_and_port_are_all_there_is(text in "[a-zA-Z0-9.:\\[\\]%@_,-]{0,20}") {
            if let Ok(authority) = parse(text.as_bytes()) {
                let port = authority.as_str()[authority.host_as_sent().len()..].to_owned();

                prop_assert_eq!(format!("{}{port}", authority.host()), text.to_ascii_lowercase());
                prop_assert!(!authority.host().contains(['@', ',', '/', ' ']));
                prop_assert!(!authority.host().contains(':') || authority.host().starts_with('['));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            if let Ok(authority) = parse(&bytes) {
                let _ = authority.without_trailing_dot();
            }
        }
    }
}
