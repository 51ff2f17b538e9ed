//! Sockets: which listener has which, across all Gateways. Those of UDP are a world of their own.
//!
//! In a cluster each Gateway has addresses of its own. Elsewhere several may be bound to the same, and
//! then their listeners must get along as those of one Gateway do. The older Gateway's has the socket.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use towergate_tls::NamePattern;

use super::gateway::{Gateways, ListenerState};
use super::report::Report;
use super::world::World;

const HELP: &str = "Give each Gateway addresses of its own (--bind NAMESPACE/NAME=ADDR), or its listeners host names of their own.";

/// The port to bind for a port of a Gateway.
pub(super) fn bound(world: &World<'_>, port: i32) -> u16 {
    let port = u16::try_from(port).unwrap_or_default();
    world.scope.ports.get(&port).copied().unwrap_or(port)
}

/// Gives each socket to the first listener of each host name. The others are not programmed.
pub(super) fn claim(world: &World<'_>, gateways: &mut Gateways<'_>, report: &mut Report) {
    let mut sockets = Sockets::default();
    for gateway in &mut gateways.list {
        for at in 0..gateway.listeners.len() {
            let subject = gateway.subject(gateway.listeners[at].set);
            let listener = &mut gateway.listeners[at];
            if !listener.ready() {
                continue;
            }
            let port = bound(world, listener.spec.port);
            let taken = match is_reserved(world, port, listener) {
                true => Err(Taken::Reserved),
                false => sockets.take(&gateway.bind, port, listener),
            };
            if let Err(taken) = taken {
                let message = taken.message(port);
                let field = format!("spec.listeners[{}].port", listener.at);
                report.error("port-taken", &subject, field, &*message, taken.help());
                taken.state(listener, &message);
            }
        }
    }
}

/// Whether the data plane itself needs the socket of a listener. A plan that has it could not be bound
/// at all, and so would stop every change for all of its listeners.
fn is_reserved(world: &World<'_>, port: u16, listener: &ListenerState<'_>) -> bool {
    family(&listener.spec.protocol) != "UDP" && world.scope.reserved.contains(&port)
}

/// Sockets that are taken.
#[derive(Default)]
struct Sockets {
    claims: HashMap<(Vec<IpAddr>, Number), Claim>,
    /// With which addresses together an address is bound. Two groups of sockets for one address would
    /// share its connections at random.
    groups: HashMap<(IpAddr, Number), Vec<IpAddr>>,
}

/// A port, and whether it is one of UDP.
type Number = (u16, bool);

/// What a socket is taken for.
struct Claim {
    family: &'static str,
    hostnames: HashSet<NamePattern>,
}

/// What all listeners of a socket speak.
pub(super) fn family(protocol: &str) -> &'static str {
    match protocol {
        "HTTPS" | "TLS" => "TLS",
        "TCP" => "TCP",
        "UDP" => "UDP",
        _ => "HTTP",
    }
}

/// Why a listener does not get its socket.
#[derive(Clone, Copy, Debug)]
enum Taken {
    Protocol,
    Hostname,
    Whole,
    Address,
    /// By the data plane itself.
    Reserved,
}

impl Sockets {
    fn take(
        &mut self,
        bind: &[IpAddr],
        port: u16,
        listener: &ListenerState<'_>,
    ) -> Result<(), Taken> {
        let family = family(&listener.spec.protocol);
        let port = (port, family == "UDP");
        let groups = bind
            .iter()
            .filter_map(|address| self.groups.get(&(*address, port)));
        if groups.into_iter().any(|group| group != bind) {
            return Err(Taken::Address);
        }
        let claim = self
            .claims
            .entry((bind.to_vec(), port))
            .or_insert_with(|| Claim {
                family,
                hostnames: HashSet::new(),
            });
        if claim.family != family {
            return Err(Taken::Protocol);
        }
        if !claim.hostnames.insert(listener.hostname.clone()) {
            return Err(match family {
                // Nothing tells apart what comes to two listeners.
                "TCP" | "UDP" => Taken::Whole,
                _ => Taken::Hostname,
            });
        }
        for address in bind {
            self.groups
                .entry((*address, port))
                .or_insert_with(|| bind.to_vec());
        }
        Ok(())
    }
}

impl Taken {
    fn message(self, port: u16) -> String {
        let what = match self {
            Self::Protocol => "another protocol on",
            Self::Hostname => "this host name on",
            Self::Whole => "the whole of",
            Self::Address => "some, but not all, of the addresses on",
            Self::Reserved => {
                return format!("The data plane itself has port {port}: no listener may use it.");
            }
        };
        format!(
            "Another Gateway, or another port that is bound as the same, has {what} port {port}."
        )
    }

    fn help(self) -> &'static str {
        match self {
            Self::Reserved => "Give the listener another port.",
            _ => HELP,
        }
    }

    /// States that a listener does not have its socket.
    fn state(self, listener: &mut ListenerState<'_>, message: &str) {
        let conflict = match self {
            Self::Protocol | Self::Whole => Some("ProtocolConflict"),
            Self::Hostname => Some("HostnameConflict"),
            Self::Address | Self::Reserved => None,
        };
        let conditions = &mut listener.conditions;
        if let Some(reason) = conflict {
            conditions.set("Conflicted", true, reason, message);
        }
        conditions.set("Accepted", false, "PortUnavailable", message);
        conditions.set("Programmed", false, "Invalid", message);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::decode::decode;
    use crate::resolve::{Scope, resolve};

    /// Which of two Gateways with one plain listener each have their socket.
    fn programmed(bind: [&[&str]; 2], hostnames: [&str; 2], ports: [u16; 2]) -> [bool; 2] {
        let gateway = |at: usize| {
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "metadata": { "name": format!("g{at}"), "namespace": "d" },
                "spec": { "gatewayClassName": "c", "listeners": [{
                    "name": "l", "port": ports[at], "protocol": "HTTP", "hostname": hostnames[at],
                }] },
            })
        };
        let text = format!("{}\n---\n{}", gateway(0), gateway(1));
        let addresses = |at: usize| bind[at].iter().map(|text| text.parse().unwrap()).collect();
        let scope = Scope {
            controller_name: String::new(),
            serve_unclassed: true,
            ports: [(81, 80), (82, 19001)].into(),
            reserved: [19001].into(),
            bind: Vec::new(),
            bind_gateway: [("d/g0".into(), addresses(0)), ("d/g1".into(), addresses(1))].into(),
            ..Scope::default()
        };
        let resolution = resolve(&decode("in.yaml", &text).objects, &scope);
        let listeners = resolution
            .plan
            .ports
            .iter()
            .flat_map(|port| &port.listeners);
        let names: Vec<_> = listeners
            .map(|listener| listener.id.gateway.clone())
            .collect();
        ["g0", "g1"].map(|name| names.iter().any(|held| held == name))
    }

    const HERE: &[&str] = &["192.0.2.1"];
    const BOTH: &[&str] = &["192.0.2.1", "192.0.2.2"];
    const THERE: &[&str] = &["192.0.2.2"];

    #[test]
    fn gateways_share_a_socket_by_host_name() {
        assert_eq!(
            programmed([HERE, HERE], ["a.test", "b.test"], [80, 80]),
            [true, true]
        );
        assert_eq!(
            programmed([HERE, HERE], ["a.test", "a.test"], [80, 80]),
            [true, false]
        );
        assert_eq!(
            programmed([HERE, THERE], ["a.test", "a.test"], [80, 80]),
            [true, true]
        );
    }

    #[test]
    fn ports_that_are_bound_as_the_same_are_the_same() {
        assert_eq!(
            programmed([HERE, HERE], ["a.test", "a.test"], [80, 81]),
            [true, false]
        );
        assert_eq!(
            programmed([HERE, HERE], ["a.test", "a.test"], [80, 83]),
            [true, true]
        );
    }

    /// Nor does a listener that is bound as one, or has addresses or a host name of its own.
    #[test]
    fn a_port_of_the_data_plane_itself_is_nobodys() {
        for port in [19001, 82] {
            assert_eq!(
                programmed([HERE, THERE], ["a.test", "b.test"], [port, 80]),
                [false, true]
            );
        }
    }

    #[test]
    fn whose_port_is_reserved_is_told_so() {
        let status = |protocol: &str| {
            let gateway = json!({
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "metadata": { "name": "g", "namespace": "d" },
                "spec": { "gatewayClassName": "c", "listeners": [
                    { "name": "l", "port": 19001, "protocol": protocol },
                ] },
            });
            let scope = Scope {
                reserved: [19001].into(),
                ..Scope::default()
            };
            let objects = decode("in.yaml", &gateway.to_string()).objects;
            let statuses = resolve(&objects, &scope).statuses;
            let objects: Vec<String> = statuses.objects().map(|o| o.to_string()).collect();
            objects.concat()
        };
        for protocol in ["HTTP", "TCP"] {
            let status = status(protocol);
            assert!(status.contains("PortUnavailable"), "{status}");
            assert!(status.contains("has port 19001"), "{status}");
            assert!(!status.contains("Conflict"), "{status}");
        }
        assert!(!status("UDP").contains("PortUnavailable"));
    }

    #[test]
    fn an_address_is_bound_with_the_same_others_only() {
        assert_eq!(
            programmed([HERE, BOTH], ["a.test", "b.test"], [80, 80]),
            [true, false]
        );
    }
}
