//! Routes of TLS and TCP connections and UDP datagrams: TLSRoute, TCPRoute and UDPRoute.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use towergate_tls::NamePattern;

use super::{ListenerId, RouteId, Traffic, WeightedBackend};

/// A TLSRoute, TCPRoute or UDPRoute, attached to one listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamRoute {
    /// Kind, namespace and name.
    pub id: Arc<RouteId>,
    /// Name of the route's only rule (`name`), if set.
    pub rule: Option<String>,
    /// Intersection of the server names of a TLSRoute and the listener. For other kinds, any name. Never
    /// empty.
    pub hostnames: Vec<NamePattern>,
    /// As [`Route::written_hostnames`](super::Route::written_hostnames).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub written_hostnames: Vec<NamePattern>,
    /// Connect timeout, limits and load balancing. Settings that concern requests are ignored.
    pub traffic: Arc<Traffic>,
    /// Backends with their weights, without filters. If there are no backends, connections are closed at
    /// once.
    pub backends: Vec<WeightedBackend>,
    /// Clients that may connect. `None`: all clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<StreamAccess>,
}

/// Clients that may connect. The first rule whose networks contain the client's address applies.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct StreamAccess {
    /// The rules, in order.
    pub rules: Vec<StreamAccessRule>,
    /// Whether clients that are in the networks of no rule may connect.
    pub allow_others: bool,
}

/// Networks, and whether their clients may connect.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct StreamAccessRule {
    /// Networks, without IPv4-mapped addresses.
    pub networks: Vec<IpNet>,
    /// Whether these clients may connect.
    pub allow: bool,
}

impl StreamAccess {
    /// Whether a client may connect.
    pub fn admits(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let contains = |rule: &&StreamAccessRule| {
            rule.networks
                .iter()
                .any(|network| network.contains(&client))
        };
        let rule = self.rules.iter().find(contains);
        rule.map_or(self.allow_others, |rule| rule.allow)
    }
}

/// A UDP socket, and the routes of its datagrams.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatagramPort {
    /// Addresses to bind.
    pub addresses: Vec<IpAddr>,
    /// Port to bind. It differs from the port in the Gateway if that port is mapped to another port.
    pub port: u16,
    /// Name of the listener.
    pub id: ListenerId,
    /// Idle timeout of a client session. Envoy default: 60 s.
    pub idle_timeout: Duration,
    /// Attached UDPRoutes. The oldest route is first, and receives all datagrams. Without a route, datagrams
    /// are dropped.
    pub routes: Vec<Arc<StreamRoute>>,
}

impl StreamRoute {
    /// Pairs each server name with the name as written in the route.
    pub(crate) fn hostname_pairs(&self) -> impl Iterator<Item = (&NamePattern, &NamePattern)> {
        super::route::hostname_pairs(&self.hostnames, &self.written_hostnames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_with_the_address_decides() {
        let rule = |network: &str, allow| StreamAccessRule {
            networks: vec![network.parse().unwrap()],
            allow,
        };
        let access = StreamAccess {
            rules: vec![rule("192.0.2.7/32", false), rule("192.0.2.0/24", true)],
            allow_others: false,
        };

        for (client, admitted) in [
            ("192.0.2.7", false),
            ("192.0.2.8", true),
            ("::ffff:192.0.2.8", true),
            ("::ffff:192.0.2.7", false),
            ("198.51.100.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(access.admits(client.parse().unwrap()), admitted, "{client}");
        }
    }
}
