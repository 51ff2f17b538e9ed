//! The client address is the address of the peer or of an entry. Entries to the left of this entry have no
//! effect.
//!
//! Input, one per line: the lines of `X-Forwarded-For`, then the entries that a proxy appends.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};
use towergate_core::http::client_ip::{ClientIpRule, find};

/// Input: see the module.
pub fn check(bytes: &[u8]) {
    let peer = IpAddr::from([10, 0, 0, 9]);
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        if let Ok(line) = HeaderValue::from_bytes(line) {
            headers.append("x-forwarded-for", line);
        }
    }
    let networks = vec!["10.0.0.0/8".parse().expect("a network")];
    let hops = |hops| ClientIpRule::TrustedHops { hops, append: true };
    let walk = ClientIpRule::TrustedNetworks {
        networks,
        append: true,
    };
    for rule in [ClientIpRule::Peer, hops(1), hops(3), walk] {
        let found = find(peer, &headers, &rule).expect("only a header refuses");
        let lines = headers.get_all("x-forwarded-for").iter();
        let mut entries = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        let is_entry = entries.any(|entry| {
            std::str::from_utf8(entry.trim_ascii()).is_ok_and(|text| text.parse() == Ok(found.ip))
        });
        assert!(found.ip == peer && !found.named || is_entry);
    }

    headers.append("x-forwarded-for", HeaderValue::from_static("203.0.113.7"));
    let found = find(peer, &headers, &hops(1)).expect("only a header refuses");
    assert_eq!(found.ip, IpAddr::from([203, 0, 113, 7]));
}
