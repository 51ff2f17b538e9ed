//! Protocols and TLS modes of listeners.

use std::fmt::{self, Display, Formatter};

use towergate_core::plan::RouteKind;

/// Protocol of a listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ListenerProtocol {
    Http,
    Https,
    Tls,
    Tcp,
    Udp,
}

/// How a listener treats TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TlsMode {
    Terminate,
    Passthrough,
}

/// The protocol that all listeners of a socket share.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum ProtocolFamily {
    /// HTTP in plain text.
    Http,
    /// HTTPS or TLS. Listeners of one port are distinguished by SNI.
    Tls,
    Tcp,
    Udp,
}

impl ListenerProtocol {
    /// Parses the protocol of a listener. `None`: not supported.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "HTTP" => Some(Self::Http),
            "HTTPS" => Some(Self::Https),
            "TLS" => Some(Self::Tls),
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            _ => None,
        }
    }

    /// The family of the protocol.
    pub(crate) const fn family(self) -> ProtocolFamily {
        match self {
            Self::Http => ProtocolFamily::Http,
            Self::Https | Self::Tls => ProtocolFamily::Tls,
            Self::Tcp => ProtocolFamily::Tcp,
            Self::Udp => ProtocolFamily::Udp,
        }
    }

    /// Whether the protocol carries HTTP requests.
    pub(crate) const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// Kinds of routes that may attach. `mode` is `None` for an unsupported TLS mode.
    pub(super) const fn route_kinds(self, mode: Option<TlsMode>) -> &'static [RouteKind] {
        match (self, mode) {
            (Self::Http | Self::Https, _) => &[RouteKind::Http, RouteKind::Grpc],
            (Self::Tls, Some(TlsMode::Passthrough)) => &[RouteKind::Tls],
            (Self::Tls, Some(TlsMode::Terminate) | None) => &[RouteKind::Tcp, RouteKind::Tls],
            (Self::Tcp, _) => &[RouteKind::Tcp],
            (Self::Udp, _) => &[RouteKind::Udp],
        }
    }
}

impl TlsMode {
    /// Parses `tls.mode`. `None`: not supported. Default: [`Self::Terminate`].
    pub(super) fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("Terminate") => Some(Self::Terminate),
            Some("Passthrough") => Some(Self::Passthrough),
            Some(_) => None,
        }
    }
}

impl Display for ListenerProtocol {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

impl Display for ProtocolFamily {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "HTTP",
            Self::Tls => "HTTPS or TLS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}
