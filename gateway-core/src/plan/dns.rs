//! How host names of backends are resolved.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Resolution of the host names of a backend.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct DnsSettings {
    /// Whether an answer is used for the time to live of its records, in place of `refresh`. Default: true.
    pub respect_ttl: bool,
    /// Time until a name without an address is resolved again; if `respect_ttl` is false, also any other name. At least
    /// 1 s is used. Default: 30 s, as in Envoy Gateway.
    pub refresh: Duration,
    /// IP versions of addresses.
    pub family: DnsFamily,
}

/// IP versions of the addresses of a name.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum DnsFamily {
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
    /// IPv4, or IPv6 if there is none.
    #[default]
    Ipv4Preferred,
    /// IPv6, or IPv4 if there is none.
    Ipv6Preferred,
    /// Both.
    Ipv4AndIpv6,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            respect_ttl: true,
            refresh: Duration::from_secs(30),
            family: DnsFamily::default(),
        }
    }
}
