//! Detection of the client's address.
//!
//! [`find`] reads only the peer's address and the header fields of a request. Access logs, rate limits and
//! allow lists use the address that [`find`] returns.
//!
//! | rule | client | fallback |
//! |---|---|---|
//! | [`Peer`](ClientIpRule::Peer) | the peer; header fields are ignored | |
//! | [`TrustedHops`](ClientIpRule::TrustedHops) | the nth `X-Forwarded-For` entry from the right | the peer |
//! | [`TrustedNetworks`](ClientIpRule::TrustedNetworks) | the rightmost untrusted entry (1) | the peer |
//! | [`Header`](ClientIpRule::Header) | the first line of the field that is not empty | the peer, or 403 |
//! | [`TrustedHeader`](ClientIpRule::TrustedHeader) | if the peer is trusted: as for `Header` | the peer |
//!
//! (1) If the peer is in the trusted networks. If all entries are trusted, the client is the leftmost entry.
//!
//! All lines of `X-Forwarded-For` form one list. An entry is an IP address with optional whitespace around
//! it, without port, brackets, quotes or prefix length. An unspecified, multicast or broadcast address is
//! invalid, because no client can have this address. An empty line contains no entry (RFC 9110, section
//! 5.6.1.2); an empty entry between commas counts as an entry, as in Envoy. Clients control the leftmost
//! entries. The search therefore starts at the right and stops at the first invalid entry. `TrustedNetworks`
//! examines at most 20 entries, as in Envoy.
//!
//! Two Envoy behaviours are kept for compatibility:
//!
//! - An IPv4-mapped IPv6 address matches no IPv4 network and is returned unchanged. Deny lists must compare
//!   [`ClientIp::canonical`].
//! - Of a custom header, only the first line that is not empty counts. The trusted proxy must replace the
//!   header, not append a line.
//!
//! Unlike in Envoy, an address with a zone (`fe80::1%eth0`) is invalid: a zone is meaningful only on the host
//! that added it.
//!
//! ```
//! use http::HeaderMap;
//! use towergate_core::http::client_ip::{ClientIpRule, find};
//!
//! let peer = "10.0.0.9".parse().unwrap();
//! let mut headers = HeaderMap::new();
//! headers.insert("x-forwarded-for", "6.6.6.6, 203.0.113.1".parse().unwrap());
//!
//! let rule = ClientIpRule::TrustedHops { hops: 1, append: true };
//! assert_eq!(find(peer, &headers, &rule).unwrap().ip.to_string(), "203.0.113.1");
//! assert_eq!(find(peer, &headers, &ClientIpRule::Peer).unwrap().ip, peer);
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tower_layer::Layer;

use crate::LocalReply;
#[cfg(feature = "gateway")]
use crate::conn::ConnInfo;
use crate::conn::ConnectionAddrs;
use crate::policy::{HeadPolicy, HeadPolicyService, RequestHead};
use crate::text::Text;
use crate::unicast::unicast;

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Detected address of the client, an extension of the request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ClientIp(pub IpAddr);

impl ClientIp {
    /// The address for comparison with networks: an IPv4-mapped IPv6 address is converted to IPv4.
    pub fn canonical(self) -> IpAddr {
        self.0.to_canonical()
    }
}

/// Source of the client's address (ClientTrafficPolicy `clientIPDetection`).
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ClientIpRule {
    /// The peer: the source of the TCP connection or of the PROXY protocol header.
    #[default]
    Peer,
    /// The nth entry of `X-Forwarded-For` from the right.
    TrustedHops {
        /// Number of trusted proxies, which is the position of the entry from the right, starting at 1. 0 is
        /// treated as 1.
        hops: u32,
        /// Whether the peer is appended to `X-Forwarded-For`.
        append: bool,
    },
    /// The rightmost entry of `X-Forwarded-For` outside these networks.
    TrustedNetworks {
        /// Networks of the trusted proxies.
        networks: Vec<IpNet>,
        /// Whether the peer is appended to `X-Forwarded-For`.
        append: bool,
    },
    /// The value of this header.
    Header {
        /// Name of the header.
        name: Text<HeaderName>,
        /// Whether a request without a valid value is rejected with 403. If false, the peer is the client.
        fail_closed: bool,
    },
    /// The value of this header, if the peer is in one of these networks. Otherwise the peer.
    TrustedHeader {
        /// Name of the header.
        name: Text<HeaderName>,
        /// Networks of the trusted proxies.
        networks: Vec<IpNet>,
    },
}

/// Maximum number of `X-Forwarded-For` entries that are searched, as in Envoy.
const WALKED: usize = 20;

/// Maximum length of an address in text form, in bytes.
const LONGEST: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();

/// Result of [`find`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DetectedClientIp {
    /// Address of the client.
    pub ip: IpAddr,
    /// Whether a header field supplied the address. If true, the client's port is unknown. If false, the
    /// client is the peer.
    pub named: bool,
}

/// Finds the client of a request from `peer`.
///
/// # Errors
/// [`LocalReply`] with 403 if the rule is [`ClientIpRule::Header`] with `fail_closed`, and the header has no
/// valid value.
pub fn find(
    peer: IpAddr,
    headers: &HeaderMap,
    rule: &ClientIpRule,
) -> Result<DetectedClientIp, LocalReply> {
    let named = match rule {
        ClientIpRule::Peer => None,
        ClientIpRule::TrustedHops { hops, .. } => {
            let before = hops.saturating_sub(1) as usize;
            from_the_right(headers).nth(before).and_then(address)
        }
        ClientIpRule::TrustedNetworks { networks, .. } => walk(peer, headers, networks),
        ClientIpRule::Header { name, fail_closed } => {
            let named = from_field(headers, name);
            if named.is_none() && *fail_closed {
                return Err(LocalReply::forbidden("rejecting_because_detection_failed"));
            }
            named
        }
        ClientIpRule::TrustedHeader { name, networks } => {
            let trusted = networks.iter().any(|net| net.contains(&peer));
            trusted.then(|| from_field(headers, name)).flatten()
        }
    };
    Ok(DetectedClientIp {
        ip: named.unwrap_or(peer),
        named: named.is_some(),
    })
}

/// The address in the first line of the field `name` that is not empty.
fn from_field(headers: &HeaderMap, name: &HeaderName) -> Option<IpAddr> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.find(|line| !is_blank(line))?;
    address(line.as_bytes())
}

/// The rightmost entry outside `networks`. If all entries are trusted, the leftmost entry. `None` if the peer
/// is not trusted, an entry is invalid, or there are more than [`WALKED`] trusted entries.
fn walk(peer: IpAddr, headers: &HeaderMap, networks: &[IpNet]) -> Option<IpAddr> {
    let trusted = |ip: IpAddr| networks.iter().any(|net| net.contains(&ip));
    if !trusted(peer) {
        return None;
    }
    let mut entries = from_the_right(headers);
    let mut leftmost = None;
    for entry in entries.by_ref().take(WALKED) {
        let ip = address(entry)?;
        if !trusted(ip) {
            return Some(ip);
        }
        leftmost = Some(ip);
    }
    match entries.next() {
        Some(_) => None,
        None => leftmost,
    }
}

/// Iterates over the entries of all lines of `X-Forwarded-For`, from the right.
fn from_the_right(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let filled = lines.filter(|line| !is_blank(line));
    filled.flat_map(|line: &HeaderValue| line.as_bytes().rsplit(|&byte| byte == b','))
}

fn is_blank(line: &HeaderValue) -> bool {
    line.as_bytes().trim_ascii().is_empty()
}

/// Parses the address of a client. Whitespace around the address is ignored.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = entry.trim_ascii();
    if entry.len() > LONGEST {
        return None;
    }
    let ip = std::str::from_utf8(entry).ok()?.parse().ok()?;
    unicast(ip).map(|_| ip)
}

/// The peer's address in the extensions of a request. The address is read from `ConnInfo`,
/// [`ConnectionAddrs`] or a [`SocketAddr`], whichever is found first in this order.
pub fn known_peer(extensions: &Extensions) -> Option<IpAddr> {
    let addrs = || extensions.get::<ConnectionAddrs>().map(|addrs| addrs.peer);
    let plain = || extensions.get::<SocketAddr>().copied();
    let peer = of_gateway(extensions).or_else(addrs).or_else(plain)?;
    Some(peer.ip().to_canonical())
}

/// The address of the peer in the [`ConnInfo`] of a request.
#[cfg(feature = "gateway")]
fn of_gateway(extensions: &Extensions) -> Option<SocketAddr> {
    let shared = || extensions.get::<Arc<ConnInfo>>().map(|conn| conn.peer);
    let owned = || extensions.get::<ConnInfo>().map(|conn| conn.peer);
    shared().or_else(owned)
}

/// Always `None`, because `ConnInfo` requires the feature `gateway`.
#[cfg(not(feature = "gateway"))]
fn of_gateway(_extensions: &Extensions) -> Option<SocketAddr> {
    None
}

/// Inserts [`ClientIp`] into the extensions of a request, or rejects the request as [`find`] does.
///
/// If the peer is unknown, no [`ClientIp`] is inserted. A policy that requires a client address then rejects
/// the request.
#[derive(Clone, Debug)]
pub struct ClientIpLayer<F = fn(&Extensions) -> Option<IpAddr>> {
    rule: Arc<ClientIpRule>,
    peer: F,
}

impl ClientIpLayer {
    /// Creates a layer with the peer from [`known_peer`].
    pub fn new(rule: ClientIpRule) -> Self {
        Self::with_peer(rule, known_peer)
    }
}

impl<F: Fn(&Extensions) -> Option<IpAddr>> ClientIpLayer<F> {
    /// Creates a layer with the peer from a function, for example from axum's `ConnectInfo`.
    pub fn with_peer(rule: ClientIpRule, peer: F) -> Self {
        Self {
            rule: Arc::new(rule),
            peer,
        }
    }
}

impl<S, F: Clone> Layer<S> for ClientIpLayer<F> {
    type Service = ClientIpService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        HeadPolicyService::new(self.clone(), inner)
    }
}

/// Service of [`ClientIpLayer`].
pub type ClientIpService<S, F = fn(&Extensions) -> Option<IpAddr>> =
    HeadPolicyService<S, ClientIpLayer<F>>;

impl<F> HeadPolicy for ClientIpLayer<F>
where
    F: Fn(&Extensions) -> Option<IpAddr> + Send + Sync + 'static,
{
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        let head = &mut *request.head;
        head.extensions.remove::<ClientIp>();
        if let Some(peer) = (self.peer)(&head.extensions) {
            let found = find(peer, &head.headers, &self.rule)?;
            head.extensions.insert(ClientIp(found.ip));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
