//! Settings for the resolution of backend host names.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings for the resolution of a backend's host names.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct DnsSettings {
    /// Whether an answer is used for the time to live of its records instead of the time `refresh`. Default:
    /// true.
    pub respect_ttl: bool,
    /// Time until a name without an address is resolved again. If `respect_ttl` is false, the time until any
    /// name is resolved again. The minimum is 1 s. Default: 30 s, as in Envoy Gateway.
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
    /// IPv4 addresses. If there are none, IPv6 addresses.
    #[default]
    Ipv4Preferred,
    /// IPv6 addresses. If there are none, IPv4 addresses.
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
