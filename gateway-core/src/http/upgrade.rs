//! Upgrade requests (RFC 9110, section 7.8), and CONNECT (section 9.3.6).
//!
//! [`Upgrade::take`] removes the upgrade request from a head. The matched rule accepts or rejects the
//! upgrade. [`Upgrade::restore`] adds an accepted upgrade in canonical form. A backend therefore receives
//! only upgrades that the rule accepts. An upgrade to `h2c` is always removed: a client could use it to
//! bypass all rules.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::header_presence::HeaderPresence;
use crate::text::TextMatch;

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// A request whose connection becomes a tunnel if the response permits it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Upgrade {
    /// An upgrade to a protocol. The value is the name of the protocol as received.
    Protocol(HeaderValue),
    /// The method CONNECT.
    Connect,
}

impl Upgrade {
    /// Removes `Upgrade` and `HTTP2-Settings`. Returns the protocol if `Connection` has the `upgrade` option.
    /// `h2c` and the protocols in `ignored` are disregarded. Must be called before `Connection` is removed.
    ///
    /// If the request names several protocols, or has several `Upgrade` lines that are not empty (RFC 9110,
    /// section 5.6.1.2), the result is the protocol `,`, which no rule allows.
    pub fn take(headers: &mut HeaderMap, ignored: &[TextMatch]) -> Option<Self> {
        if !HeaderPresence::of(headers).has(HeaderPresence::HOP_BY_HOP) {
            return None;
        }
        headers.remove(HTTP2_SETTINGS);
        if !headers.contains_key(UPGRADE) {
            return None;
        }
        let asked = has_token(headers, &CONNECTION, "upgrade");
        let is_filled = |line: &&HeaderValue| {
            let mut elements = line.as_bytes().split(|&byte| byte == b',');
            elements.any(|element| !element.trim_ascii().is_empty())
        };
        let mut lines = headers.get_all(UPGRADE).iter().filter(is_filled);
        let first = lines.next().cloned();
        let alone = lines.next().is_none();
        headers.remove(UPGRADE);

        let value = first.filter(|_| asked)?;
        let Ok(text) = value.to_str() else {
            return Some(Self::Protocol(value));
        };
        let left: Vec<&str> = text
            .split(',')
            .map(str::trim)
            .filter(|protocol| !protocol.is_empty() && !is_ignored(protocol, ignored))
            .collect();
        match left[..] {
            [] if alone => None,
            [protocol] if alone && protocol.len() < text.len() => {
                HeaderValue::from_str(protocol).ok().map(Self::Protocol)
            }
            [_] if alone => Some(Self::Protocol(value)),
            // The request names several protocols. The result is the protocol `,`, which no rule can allow.
            _ => Some(Self::Protocol(HeaderValue::from_static(","))),
        }
    }

    /// Whether `allowed` contains the protocol, ignoring case. False for CONNECT, which has no protocol.
    pub fn is_one_of<T: AsRef<str>>(&self, allowed: &[T]) -> bool {
        let asked = self.protocol();
        allowed.iter().any(|protocol| {
            asked.is_some_and(|asked| {
                asked
                    .as_bytes()
                    .eq_ignore_ascii_case(protocol.as_ref().as_bytes())
            })
        })
    }

    /// The protocol as received. `None` for CONNECT.
    pub fn protocol(&self) -> Option<&HeaderValue> {
        match self {
            Self::Protocol(protocol) => Some(protocol),
            Self::Connect => None,
        }
    }

    /// Whether a response with `status` turns the connection into a tunnel.
    pub fn is_granted_by(&self, status: StatusCode) -> bool {
        match self {
            Self::Protocol(_) => status == StatusCode::SWITCHING_PROTOCOLS,
            Self::Connect => status.is_success(),
        }
    }

    /// Adds the upgrade request to a head for the backend.
    pub fn restore(&self, headers: &mut HeaderMap) {
        if let Self::Protocol(protocol) = self {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, protocol.clone());
        }
    }
}

fn is_ignored(protocol: &str, ignored: &[TextMatch]) -> bool {
    protocol.eq_ignore_ascii_case("h2c") || ignored.iter().any(|rule| rule.matches(protocol))
}

/// Whether a list-based field contains `token`, ignoring case.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|line| {
        line.as_bytes()
            .split(|&b| b == b',')
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    fn taken(lines: &[(&'static str, &'static str)], ignored: &[TextMatch]) -> Option<String> {
        let mut headers = headers(lines);
        let upgrade = Upgrade::take(&mut headers, ignored);
        assert!(!headers.contains_key(UPGRADE) && !headers.contains_key(HTTP2_SETTINGS));
        upgrade.map(|u| u.protocol().unwrap().to_str().unwrap().to_owned())
    }

    #[test]
    fn an_upgrade_counts_only_when_connection_asks_for_it() {
        let websocket = Some("websocket".to_owned());
        for (lines, expected) in [
            (
                vec![("upgrade", "websocket"), ("connection", "Upgrade")],
                websocket.clone(),
            ),
            (
                vec![
                    ("upgrade", "websocket"),
                    ("connection", "keep-alive, UPGRADE"),
                ],
                websocket,
            ),
            (vec![("upgrade", "websocket")], None),
            (
                vec![("upgrade", "websocket"), ("connection", "close")],
                None,
            ),
            (vec![("connection", "Upgrade")], None),
        ] {
            assert_eq!(taken(&lines, &[]), expected, "{lines:?}");
        }
    }

    #[test]
    fn h2c_and_ignored_protocols_count_as_not_sent() {
        let ignored = [TextMatch::Exact("spdy/3.1".to_owned())];
        for (value, expected) in [
            ("h2c", None),
            ("H2C", None),
            ("h2c,", None),
            ("spdy/3.1, h2c", None),
            ("h2", Some("h2")),
            ("foo", Some("foo")),
            ("websocket, h2c", Some("websocket")),
            ("websocket, foo", Some(",")),
        ] {
            let lines = [
                ("upgrade", value),
                ("connection", "upgrade, http2-settings"),
                ("http2-settings", "AA"),
            ];

            assert_eq!(taken(&lines, &ignored).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn two_lines_are_never_allowed() {
        let mut headers = headers(&[
            ("upgrade", "websocket"),
            ("upgrade", "h2c"),
            ("connection", "upgrade"),
        ]);

        let upgrade = Upgrade::take(&mut headers, &[]).unwrap();

        assert!(!upgrade.is_one_of(&["websocket", "h2c"]));
    }

    #[test]
    fn empty_lines_and_elements_are_not_protocols() {
        let websocket = Some("websocket".to_owned());
        for (first, second, expected) in [
            ("", "websocket", &websocket),
            (" , ", "websocket", &websocket),
            (", websocket", "", &websocket),
            ("", ",", &None),
        ] {
            let lines = [
                ("upgrade", first),
                ("upgrade", second),
                ("connection", "upgrade"),
            ];

            assert_eq!(&taken(&lines, &[]), expected, "{first:?} {second:?}");
        }
    }

    #[test]
    fn a_granted_one_is_put_back_in_one_spelling() {
        let mut sent = headers(&[("upgrade", "WebSocket"), ("connection", "close, upgrade")]);
        let upgrade = Upgrade::take(&mut sent, &[]).unwrap();

        upgrade.restore(&mut sent);

        assert!(upgrade.is_one_of(&["websocket"]) && !upgrade.is_one_of(&["h2c"]));
        assert_eq!(
            sent,
            headers(&[("connection", "Upgrade"), ("upgrade", "WebSocket")])
        );
    }
}
