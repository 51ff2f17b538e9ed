//! Assignment of sockets to listeners, across all Gateways.
//!
//! In a cluster, each Gateway has its own addresses. Elsewhere, several Gateways may share addresses. Their
//! listeners then share sockets like the listeners of one Gateway, and the older Gateway takes precedence.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use towergate_tls::NamePattern;

use super::gateway::{Gateways, ListenerProtocol, ListenerState, ProtocolFamily};
use super::object_index::ObjectIndex;
use super::report::Report;
use crate::finding::FindingCode;
use crate::status::{ConditionType, ListenerReason};

const HELP: &str = "bind each Gateway to its own addresses (--bind NAMESPACE/NAME=ADDR), or give the listeners different hostnames";

/// The port to bind for a port of a Gateway.
pub(super) fn bound(index: &ObjectIndex<'_>, port: i32) -> u16 {
    let port = u16::try_from(port).unwrap_or_default();
    index.options.ports.get(&port).copied().unwrap_or(port)
}

/// Assigns each socket to the first listener of each hostname. The other listeners are not programmed.
pub(super) fn claim(index: &ObjectIndex<'_>, gateways: &mut Gateways<'_>, report: &mut Report) {
    let mut sockets = Sockets::default();
    for gateway in &mut gateways.list {
        for at in gateway.listeners.indices() {
            let subject = gateway.subject(gateway.listeners[at].set);
            let listener = &mut gateway.listeners[at];
            if !listener.ready() {
                continue;
            }
            let port = bound(index, listener.spec.port);
            let taken = match is_reserved(index, port, listener) {
                true => Err(SocketConflict::Reserved),
                false => sockets.take(&gateway.bind, port, listener),
            };
            if let Err(taken) = taken {
                let message = taken.message(port);
                let field = format!("spec.listeners[{}].port", listener.at);
                report.error(
                    FindingCode::PortTaken,
                    &subject,
                    field,
                    &*message,
                    taken.help(),
                );
                taken.state(listener, &message);
            }
        }
    }
}

/// Whether the data plane itself uses the socket of a listener. Binding it would fail, which would
/// block every update of the plan.
fn is_reserved(index: &ObjectIndex<'_>, port: u16, listener: &ListenerState<'_>) -> bool {
    listener.protocol != Some(ListenerProtocol::Udp) && index.options.reserved.contains(&port)
}

/// Assigned sockets.
#[derive(Default)]
struct Sockets {
    claims: HashMap<(Vec<IpAddr>, Number), Claim>,
    /// For each address, the group of addresses with which it is bound. If two groups of sockets had an
    /// address in common, the kernel would distribute the connections of this address between the groups at
    /// random.
    groups: HashMap<(IpAddr, Number), Vec<IpAddr>>,
}

/// A port, and whether it is a UDP port.
type Number = (u16, bool);

/// Protocol and hostnames of a socket.
struct Claim {
    family: ProtocolFamily,
    hostnames: HashSet<NamePattern>,
}

/// Reason why a listener does not get its socket.
#[derive(Clone, Copy, Debug)]
enum SocketConflict {
    Protocol,
    Hostname,
    Whole,
    Address,
    /// The data plane itself uses the socket.
    Reserved,
}

impl Sockets {
    fn take(
        &mut self,
        bind: &[IpAddr],
        port: u16,
        listener: &ListenerState<'_>,
    ) -> Result<(), SocketConflict> {
        let Some(family) = listener.protocol.map(ListenerProtocol::family) else {
            return Ok(());
        };
        let port = (port, family == ProtocolFamily::Udp);
        let groups = bind
            .iter()
            .filter_map(|address| self.groups.get(&(*address, port)));
        if groups.into_iter().any(|group| group != bind) {
            return Err(SocketConflict::Address);
        }
        let claim = self
            .claims
            .entry((bind.to_vec(), port))
            .or_insert_with(|| Claim {
                family,
                hostnames: HashSet::new(),
            });
        if claim.family != family {
            return Err(SocketConflict::Protocol);
        }
        if !claim.hostnames.insert(listener.hostname.clone()) {
            return Err(match family {
                // Connections to two TCP listeners of one socket, or datagrams to two UDP listeners, cannot
                // be distinguished.
                ProtocolFamily::Tcp | ProtocolFamily::Udp => SocketConflict::Whole,
                ProtocolFamily::Http | ProtocolFamily::Tls => SocketConflict::Hostname,
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

impl SocketConflict {
    fn message(self, port: u16) -> String {
        let what = match self {
            Self::Protocol => "uses the port for another protocol",
            Self::Hostname => "uses the port for the same hostname",
            Self::Whole => "uses it",
            Self::Address => "uses the port with some, but not all, of the addresses",
            Self::Reserved => {
                return format!("port {port} is used by the data plane itself");
            }
        };
        format!(
            "port {port} is taken: a listener of another Gateway, or another listener that is bound to this port, {what}"
        )
    }

    fn help(self) -> &'static str {
        match self {
            Self::Reserved => "set another port",
            _ => HELP,
        }
    }

    /// Sets the conditions of a listener without a socket.
    fn state(self, listener: &mut ListenerState<'_>, message: &str) {
        let conflict = match self {
            Self::Protocol | Self::Whole => Some(ListenerReason::ProtocolConflict),
            Self::Hostname => Some(ListenerReason::HostnameConflict),
            Self::Address | Self::Reserved => None,
        };
        let conditions = &mut listener.conditions;
        if let Some(reason) = conflict {
            conditions.set(ConditionType::Conflicted, true, reason, message);
        }
        conditions.set(
            ConditionType::Accepted,
            false,
            ListenerReason::PortUnavailable,
            message,
        );
        conditions.set(
            ConditionType::Programmed,
            false,
            ListenerReason::Invalid,
            message,
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::decode::decode;
    use crate::resolve::{ResolveOptions, resolve};

    /// Whether the HTTP listener of each of two Gateways gets its socket.
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
        let options = ResolveOptions {
            controller_name: String::new(),
            serve_unclassed: true,
            ports: [(81, 80), (82, 19001)].into(),
            reserved: [19001].into(),
            bind: Vec::new(),
            bind_gateway: [("d/g0".into(), addresses(0)), ("d/g1".into(), addresses(1))].into(),
            ..ResolveOptions::default()
        };
        let resolution = resolve(&decode("in.yaml", &text).objects, &options);
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
    fn gateways_share_a_socket_by_hostname() {
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
    fn ports_bound_as_one_port_conflict() {
        assert_eq!(
            programmed([HERE, HERE], ["a.test", "a.test"], [80, 81]),
            [true, false]
        );
        assert_eq!(
            programmed([HERE, HERE], ["a.test", "a.test"], [80, 83]),
            [true, true]
        );
    }

    /// The address and hostname of the listener do not matter.
    #[test]
    fn a_port_of_the_data_plane_itself_is_assigned_to_no_listener() {
        for port in [19001, 82] {
            assert_eq!(
                programmed([HERE, THERE], ["a.test", "b.test"], [port, 80]),
                [false, true]
            );
        }
    }

    #[test]
    fn a_listener_on_a_reserved_port_reports_it() {
        let status = |protocol: &str| {
            let gateway = json!({
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "metadata": { "name": "g", "namespace": "d" },
                "spec": { "gatewayClassName": "c", "listeners": [
                    { "name": "l", "port": 19001, "protocol": protocol },
                ] },
            });
            let options = ResolveOptions {
                reserved: [19001].into(),
                ..ResolveOptions::default()
            };
            let objects = decode("in.yaml", &gateway.to_string()).objects;
            let statuses = resolve(&objects, &options).statuses;
            let objects: Vec<String> = statuses.objects().map(|o| o.to_string()).collect();
            objects.concat()
        };
        for protocol in ["HTTP", "TCP"] {
            let status = status(protocol);
            assert!(status.contains("PortUnavailable"), "{status}");
            assert!(status.contains("port 19001 is used"), "{status}");
            assert!(!status.contains("Conflict"), "{status}");
        }
        assert!(!status("UDP").contains("PortUnavailable"));
    }

    #[test]
    fn an_address_belongs_to_one_group_of_addresses() {
        assert_eq!(
            programmed([HERE, BOTH], ["a.test", "b.test"], [80, 80]),
            [true, false]
        );
    }
}
