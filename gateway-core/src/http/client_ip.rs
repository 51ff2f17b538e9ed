//! Who the client is.
//!
//! [`find`] looks at the peer and at the header fields of a request, and at nothing else. Everything
//! that asks for the client (logs, rate limits, allow lists) takes its result.
//!
//! | rule | answer | when there is none |
//! |---|---|---|
//! | [`Peer`](ClientIpRule::Peer) | the peer, whatever the fields say | |
//! | [`TrustedHops`](ClientIpRule::TrustedHops) | the nth entry of `X-Forwarded-For` from the right | the peer |
//! | [`TrustedNetworks`](ClientIpRule::TrustedNetworks) | if the peer is in the networks, the rightmost entry that is not, else the leftmost | the peer |
//! | [`Header`](ClientIpRule::Header) | the first line of the field | the peer, or 403 |
//!
//! All lines of `X-Forwarded-For` are one list. Its entries are bare addresses with blanks around
//! them: no port, brackets, quotes or prefix length. An empty entry is an entry. The leftmost entries
//! are whatever the client wrote, so the walk starts at the right, and stops at the first entry that
//! is no address. Networks are walked for at most 20 entries, as in Envoy.
//!
//! Two of Envoy's ways that surprise are kept, since users' rules may count on them:
//!
//! - An IPv4-mapped address is in no IPv4 network, and is the client as it stands. Who compares it
//!   with networks of addresses to *refuse* should compare [`ClientIp::canonical`].
//! - Of several lines of a custom header the first counts. So the trusted proxy must replace the
//!   header, not add a line.
//!
//! One is not: an address with a zone (`fe80::1%eth0`) is no address here. The zone means something
//! only on the host that wrote it.
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

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address as detected, in the extensions of a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ClientIp(pub IpAddr);

impl ClientIp {
    /// The address with IPv4-mapped ones as IPv4, for comparing with networks.
    pub fn canonical(self) -> IpAddr {
        self.0.to_canonical()
    }
}

/// Where the client's address is found (ClientTrafficPolicy `clientIPDetection`).
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ClientIpRule {
    /// The peer: the TCP connection's source, or the one of the PROXY header.
    #[default]
    Peer,
    /// The entry of `X-Forwarded-For` at this place from the right, counted from 1; 0 is 1.
    TrustedHops {
        /// Entries written by trusted proxies.
        hops: u32,
        /// Append the peer to `X-Forwarded-For`.
        append: bool,
    },
    /// The rightmost entry of `X-Forwarded-For` that is in none of these networks.
    TrustedNetworks {
        /// The networks of trusted proxies.
        networks: Vec<IpNet>,
        /// Append the peer to `X-Forwarded-For`.
        append: bool,
    },
    /// The value of this header.
    Header {
        /// Its name.
        name: Text<HeaderName>,
        /// Refuse (403) what has no usable value, instead of taking the peer.
        fail_closed: bool,
    },
}

/// Entries of `X-Forwarded-For` that are looked at in search of one outside the trusted networks.
const WALKED: usize = 20;

/// The longest text of an address, in bytes.
const LONGEST: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();

/// The client, and how it was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Found {
    /// Its address.
    pub ip: IpAddr,
    /// A header field named it, so its port is unknown. Else it is the peer.
    pub named: bool,
}

/// Finds the client of a request that came from `peer`.
///
/// # Errors
/// The rule is a header that fails closed, and the header has no usable value: 403.
pub fn find(peer: IpAddr, headers: &HeaderMap, rule: &ClientIpRule) -> Result<Found, LocalReply> {
    let named = match rule {
        ClientIpRule::Peer => None,
        ClientIpRule::TrustedHops { hops, .. } => {
            let before = hops.saturating_sub(1) as usize;
            from_the_right(headers).nth(before).and_then(address)
        }
        ClientIpRule::TrustedNetworks { networks, .. } => walk(peer, headers, networks),
        ClientIpRule::Header { name, fail_closed } => {
            let named = headers
                .get(&**name)
                .and_then(|value| address(value.as_bytes()));
            if named.is_none() && *fail_closed {
                return Err(LocalReply::forbidden("rejecting_because_detection_failed"));
            }
            named
        }
    };
    Ok(Found {
        ip: named.unwrap_or(peer),
        named: named.is_some(),
    })
}

/// The rightmost entry outside `networks`, else the leftmost. `None`: the peer is not trusted, an
/// entry on the way is no address, or there are too many.
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

/// The entries of all lines of `X-Forwarded-For`, the last first. Looks only at what is taken.
fn from_the_right(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    lines.flat_map(|line: &HeaderValue| line.as_bytes().rsplit(|&byte| byte == b','))
}

/// A bare address with blanks around it.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = entry.trim_ascii();
    if entry.len() > LONGEST {
        return None;
    }
    std::str::from_utf8(entry).ok()?.parse().ok()
}

/// The address of the peer, as the gateway or a server around it leaves it in a request's extensions:
/// `ConnInfo`, [`ConnectionAddrs`] or a [`SocketAddr`].
pub fn known_peer(extensions: &Extensions) -> Option<IpAddr> {
    let addrs = || extensions.get::<ConnectionAddrs>().map(|addrs| addrs.peer);
    let plain = || extensions.get::<SocketAddr>().copied();
    let peer = of_gateway(extensions).or_else(addrs).or_else(plain)?;
    Some(peer.ip().to_canonical())
}

/// The peer of a connection that the gateway, or its embedder, describes.
#[cfg(feature = "gateway")]
fn of_gateway(extensions: &Extensions) -> Option<SocketAddr> {
    let shared = || extensions.get::<Arc<ConnInfo>>().map(|conn| conn.peer);
    let owned = || extensions.get::<ConnInfo>().map(|conn| conn.peer);
    shared().or_else(owned)
}

/// Without the gateway no request carries a description of its connection.
#[cfg(not(feature = "gateway"))]
fn of_gateway(_extensions: &Extensions) -> Option<SocketAddr> {
    None
}

/// Inserts [`ClientIp`] into the extensions of requests, or refuses them as [`find`] does.
///
/// A request whose peer is unknown gets no [`ClientIp`]: a guard that needs one then refuses it.
#[derive(Clone, Debug)]
pub struct ClientIpLayer<F = fn(&Extensions) -> Option<IpAddr>> {
    rule: Arc<ClientIpRule>,
    peer: F,
}

impl ClientIpLayer {
    /// Finds by `rule`, with the peer from [`known_peer`].
    pub fn new(rule: ClientIpRule) -> Self {
        Self::with_peer(rule, known_peer)
    }
}

impl<F: Fn(&Extensions) -> Option<IpAddr>> ClientIpLayer<F> {
    /// Finds by `rule`, with the peer that `peer` finds, such as axum's `ConnectInfo`.
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
