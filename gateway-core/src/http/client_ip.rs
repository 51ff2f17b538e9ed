//! Who the client is.

use std::net::IpAddr;

use http::HeaderName;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::plan::Text;

/// The client's address as detected, in the extensions of a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ClientIp(pub IpAddr);

/// Where the client's address is found (ClientTrafficPolicy `clientIPDetection`).
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
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
