//! Address of an endpoint: an IP address with a port, or a Unix domain socket.

use std::fmt;
use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Address of an endpoint. Its text form is `192.0.2.1:80`, `[2001:db8::1]:80`, or an absolute path.
///
/// ```
/// use towergate_core::plan::EndpointAddress;
///
/// let socket: EndpointAddress = "/run/apps/web.sock".parse()?;
///
/// assert_eq!(socket.ip_and_port(), None);
/// assert_eq!(socket.to_string(), "/run/apps/web.sock");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum EndpointAddress {
    /// IP address and port, for TCP or UDP.
    Ip(SocketAddr),
    /// Absolute path of a Unix domain socket, for byte streams.
    Unix(Arc<str>),
}

impl EndpointAddress {
    /// Maximum length of the path of a Unix domain socket in bytes (Linux, `unix(7)`).
    pub const MAX_PATH: usize = 107;

    /// The IP address and port. `None` for a Unix domain socket.
    pub fn ip_and_port(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The port. `None` for a Unix domain socket.
    pub fn port(&self) -> Option<u16> {
        self.ip_and_port().map(|address| address.port())
    }

    /// The host for requests that the gateway itself sends: the IP address and port, or `localhost` for a
    /// Unix domain socket.
    pub(crate) fn host(&self) -> String {
        match self {
            Self::Ip(address) => address.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl From<SocketAddr> for EndpointAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for EndpointAddress {
    fn from(address: (I, u16)) -> Self {
        Self::Ip(address.into())
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => path.fmt(f),
        }
    }
}

impl FromStr for EndpointAddress {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        match text.starts_with('/') {
            true => Ok(Self::Unix(text.into())),
            false => text.parse().map(Self::Ip),
        }
    }
}

impl Serialize for EndpointAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EndpointAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = EndpointAddress;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an IP address with a port, or an absolute path")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<EndpointAddress, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_from_its_text() {
        for text in ["192.0.2.1:80", "[2001:db8::1]:81", "/run/a b.sock"] {
            let address: EndpointAddress = text.parse().unwrap();
            let json = serde_json::to_string(&address).unwrap();

            assert_eq!(address.to_string(), text);
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(
                serde_json::from_str::<EndpointAddress>(&json).unwrap(),
                address
            );
        }
    }

    #[test]
    fn a_relative_path_is_no_address() {
        assert!("run/a.sock".parse::<EndpointAddress>().is_err());
    }
}
