//! Normalises addresses of clients and rejects addresses that no client can have.

use std::net::{IpAddr, Ipv4Addr};

/// Converts an IPv4-mapped IPv6 address to IPv4. `None` for an unspecified, multicast or broadcast address,
/// because no host has these addresses (RFC 1122, section 3.2.1.3; RFC 4291, sections 2.5.2 and 2.7).
pub(crate) fn unicast(ip: IpAddr) -> Option<IpAddr> {
    let ip = ip.to_canonical();
    let other = ip.is_unspecified() || ip.is_multicast() || ip == Ipv4Addr::BROADCAST;
    (!other).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_no_host_are_not_unicast() {
        for text in [
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "ff02::1",
            "::ffff:0.0.0.0",
            "::ffff:224.0.0.1",
            "::ffff:255.255.255.255",
        ] {
            assert_eq!(unicast(text.parse().unwrap()), None, "{text}");
        }
        for text in ["127.0.0.1", "10.0.0.1", "::1", "fe80::1", "2001:db8::1"] {
            assert_eq!(unicast(text.parse().unwrap()), text.parse().ok(), "{text}");
        }
    }
}
