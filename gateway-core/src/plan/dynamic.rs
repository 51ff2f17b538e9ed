//! Permitted addresses for backends whose endpoint is the host of each request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Addresses that the gateway may reach if the endpoint is the host of each request. Public addresses and
/// addresses in `allowed` are permitted, unless they are in `denied`.
///
/// ```
/// use towergate_core::plan::DynamicTargets;
///
/// let targets = DynamicTargets {
///     allowed: vec!["10.1.0.0/16".parse()?],
///     denied: vec!["10.1.2.0/24".parse()?],
/// };
/// let permits = |address: &str| targets.permits(address.parse().unwrap());
///
/// assert!(permits("1.1.1.1") && permits("10.1.3.1"));
/// assert!(!permits("10.1.2.1") && !permits("10.2.0.1") && !permits("169.254.169.254"));
/// # Ok::<(), ipnet::AddrParseError>(())
/// ```
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct DynamicTargets {
    /// Networks that are permitted although they are not public.
    pub allowed: Vec<IpNet>,
    /// Networks that are never reached. They take precedence over `allowed`.
    pub denied: Vec<IpNet>,
}

impl DynamicTargets {
    /// Whether requests may be sent to `address`.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !is_in(&self.denied) && (is_public(address) || is_in(&self.allowed))
    }
}

/// Whether an address is public: it is reachable on the Internet (IANA special-purpose address registries,
/// RFC 6890), and is not the metadata service of a cloud.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Platform service of Azure. It is not permitted, although its address is public, because virtual machines
/// trust this address.
const AZURE_PLATFORM: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

fn is_public_v4(address: Ipv4Addr) -> bool {
    let reserved = match address.octets() {
        // The blocks 0/8 ("this network"), 10/8 and 192.168/16 (private), 127/8 (loopback), and 169.254/16
        // (link-local, which includes the metadata services of clouds).
        [0 | 10 | 127, ..] | [169, 254, ..] | [192, 168, ..] => true,
        [172, second, ..] => (16..32).contains(&second),
        // Shared address space behind carrier-grade NAT (RFC 6598).
        [100, second, ..] => (64..128).contains(&second),
        // Blocks for protocol assignments, documentation and 6to4 relays.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] => true,
        // Benchmarks, documentation.
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        // Multicast, reserved and broadcast addresses.
        [first, ..] => first >= 224,
    };
    !reserved && address != AZURE_PLATFORM
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Addresses outside the global unicast range are loopback, unique local, link-local, multicast and NAT64
    // addresses.
    let global = segments[0] & 0xe000 == 0x2000;
    // Protocol assignments (which include Teredo), 6to4 addresses (which contain IPv4 addresses), and
    // documentation.
    let reserved = match (segments[0], segments[1]) {
        (0x2001, second) => second < 0x200 || second == 0xdb8,
        (0x2002, _) => true,
        (0x3fff, second) => second < 0x1000,
        _ => false,
    };
    global && !reserved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn only_public_addresses_are_permitted_by_default() {
        let targets = DynamicTargets::default();
        for (address, permitted) in [
            ("1.1.1.1", true),
            ("100.63.255.255", true),
            ("100.64.0.1", false),
            ("100.100.100.200", false),
            ("127.0.0.1", false),
            ("127.9.8.7", false),
            ("0.0.0.0", false),
            ("10.96.0.1", false),
            ("172.15.0.1", true),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("192.0.0.192", false),
            ("192.0.2.1", false),
            ("169.254.169.254", false),
            ("168.63.129.16", false),
            ("198.19.0.1", false),
            ("203.0.113.9", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:1.1.1.1", true),
            ("64:ff9b::7f00:1", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("ff02::1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
            ("2606:4700:4700::1111", true),
            ("2a00:1450::1", true),
        ] {
            assert_eq!(
                targets.permits(address.parse().unwrap()),
                permitted,
                "{address}"
            );
        }
    }

    #[test]
    fn a_denied_network_takes_precedence_over_an_allowed_one() {
        let targets = DynamicTargets {
            allowed: vec![network("10.0.0.0/8"), network("::1/128")],
            denied: vec![network("10.96.0.0/12"), network("8.8.8.0/24")],
        };
        for (address, permitted) in [
            ("10.1.2.3", true),
            ("10.96.0.1", false),
            ("::ffff:10.1.2.3", true),
            ("::ffff:10.96.0.1", false),
            ("8.8.8.8", false),
            ("8.8.4.4", true),
            ("::1", true),
            ("127.0.0.1", false),
        ] {
            assert_eq!(
                targets.permits(address.parse().unwrap()),
                permitted,
                "{address}"
            );
        }
    }
}
