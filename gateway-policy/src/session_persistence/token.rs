//! The value of a session: an endpoint and the times at which the session expires.
//!
//! ```text
//! 10.0.0.7:8080;end=1764500000;idle=1764490000     in base64, or sealed
//! ```

use std::fmt::Write;

use data_encoding::BASE64;

use towergate_core::plan::EndpointAddress;

use crate::oidc::{SessionKeyError, SessionKeys};

/// Maximum length of a value, in bytes.
const LONGEST: usize = 512;

/// Purpose of the sealed values.
const PURPOSE: &str = "session persistence";

/// A session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionToken {
    /// Endpoint of the session.
    pub endpoint: EndpointAddress,
    /// Absolute expiry time, in seconds since the epoch. `None`: no limit.
    pub end: Option<u64>,
    /// Time at which the session expires without a further request, in seconds since the epoch. `None`: no
    /// limit.
    pub idle_end: Option<u64>,
}

/// Writes and reads sessions.
#[derive(Debug)]
pub struct SessionTokens(Option<SessionKeys>);

impl SessionTokens {
    /// Creates the writer and reader for the rule that `identity` names. Values are sealed with keys that are
    /// derived from `secrets`. Without secrets, values are base64.
    ///
    /// # Errors
    /// A secret is too short.
    pub fn new(secrets: &[&str], identity: &str) -> Result<Self, SessionKeyError> {
        let keys = (!secrets.is_empty()).then(|| SessionKeys::derive(secrets, identity));
        keys.transpose().map(Self)
    }

    /// The value of `session`. `None`: the random source failed.
    pub fn issue(&self, session: &SessionToken) -> Option<String> {
        let text = session.text();
        match &self.0 {
            Some(keys) => keys.seal(PURPOSE, text.as_bytes()),
            None => Some(BASE64.encode(text.as_bytes())),
        }
    }

    /// The session of a value. `None`: the gateway did not issue the value.
    pub fn open(&self, value: &str) -> Option<SessionToken> {
        if value.len() > LONGEST {
            return None;
        }
        let text = match &self.0 {
            Some(keys) => keys.open(PURPOSE, value)?,
            None => BASE64.decode(value.as_bytes()).ok()?,
        };
        SessionToken::parse(std::str::from_utf8(&text).ok()?)
    }
}

impl SessionToken {
    fn text(&self) -> String {
        let mut text = self.endpoint.to_string();
        for (name, time) in [("end", self.end), ("idle", self.idle_end)] {
            if let Some(time) = time {
                // Writing to a string cannot fail.
                let _ = write!(text, ";{name}={time}");
            }
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let mut session = Self {
            endpoint: parts.next()?.parse().ok()?,
            end: None,
            idle_end: None,
        };
        for part in parts {
            let (name, time) = part.split_once('=')?;
            let time = Some(time.parse().ok()?);
            match name {
                "end" => session.end = time,
                "idle" => session.idle_end = time,
                _ => return None,
            }
        }
        Some(session)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "a key of 32 bytes, which is hidden";

    fn any_session() -> impl Strategy<Value = SessionToken> {
        let times = || proptest::option::of(any::<u64>());
        let address = any::<(std::net::IpAddr, u16)>();
        (address, times(), times()).prop_map(|(address, end, idle_end)| SessionToken {
            endpoint: std::net::SocketAddr::from(address).into(),
            end,
            idle_end,
        })
    }

    proptest! {
        #[test]
        fn a_session_is_read_as_it_was_written(session in any_session(), sealed: bool) {
            let keys: &[&str] = if sealed { &[KEY] } else { &[] };
            let tokens = SessionTokens::new(keys, "rule").unwrap();

            prop_assert_eq!(tokens.open(&tokens.issue(&session).unwrap()), Some(session));
        }

        #[test]
        fn no_value_of_a_client_is_a_panic(value in ".{0,80}", sealed: bool) {
            let keys: &[&str] = if sealed { &[KEY] } else { &[] };

            SessionTokens::new(keys, "rule").unwrap().open(&value);
        }
    }

    #[test]
    fn a_value_without_keys_is_that_of_envoy() {
        let tokens = SessionTokens::new(&[], "rule").unwrap();

        let session = tokens.open("MTI3LjAuMC4xOjE5NTAx").unwrap();

        assert_eq!(session.endpoint.to_string(), "127.0.0.1:19501");
        assert_eq!(tokens.issue(&session).unwrap(), "MTI3LjAuMC4xOjE5NTAx");
    }

    #[test]
    fn with_keys_a_value_shows_no_address_and_only_the_own_ones_are_read() {
        let tokens = SessionTokens::new(&[KEY], "rule").unwrap();
        let session = tokens.open("MTI3LjAuMC4xOjE5NTAx");
        assert_eq!(session, None, "an address in clear");

        let other = SessionTokens::new(&[KEY], "another rule").unwrap();
        let session = SessionToken {
            endpoint: "127.0.0.1:80".parse().unwrap(),
            end: None,
            idle_end: None,
        };
        assert_eq!(tokens.open(&other.issue(&session).unwrap()), None);
    }
}
