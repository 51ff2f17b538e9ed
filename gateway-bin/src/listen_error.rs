//! Messages about addresses that cannot be bound: the listeners concerned, the cause, and what to do.

use std::io;
use std::net::SocketAddr;

use towergate_core::gateway::ApplyError;
use towergate_core::listen::BindError;
use towergate_core::plan::{ListenerId, Plan};

use crate::Failure;

/// Describes an address of `plan` that cannot be bound. With `port_flags`, the advice names flags of `towergate run`.
pub(crate) fn describe<P>(error: &BindError, plan: &Plan<P>, port_flags: bool) -> String {
    let BindError { address, source } = error;
    let (listeners, port) = listeners(*address, plan);
    let subject = match listeners.is_empty() {
        true => String::new(),
        false => format!("listener {}: ", listeners.join(", ")),
    };
    let message = format!("{subject}cannot listen on {address}: {}", cause(source));
    match advice(source.kind(), *address, port, port_flags) {
        Some(advice) => format!("{message}; {advice}"),
        None => message,
    }
}

/// Adds listeners and advice to the addresses of a rejected plan. Other errors are returned
/// unchanged.
pub(crate) fn with_advice<P>(error: Failure, plan: &Plan<P>, port_flags: bool) -> Failure {
    match error.downcast_ref() {
        Some(ApplyError::Listen(errors)) => {
            let lines = errors.iter().map(|one| describe(one, plan, port_flags));
            lines.collect::<Vec<_>>().join("\ntowergate: ").into()
        }
        _ => error,
    }
}

/// Describes the address of a flag such as `--admin` that cannot be bound.
pub(crate) fn describe_flag(flag: &str, address: SocketAddr, error: &io::Error) -> String {
    let advice = match flag {
        "--admin" => "choose another address with --admin ADDR, or turn it off with --admin off",
        _ => "choose another address",
    };
    format!(
        "{flag} {address}: cannot listen: {}; {advice}",
        cause(error)
    )
}

/// The cause, in terms that do not require knowledge of system calls.
fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens on this port".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::AddrNotAvailable => "no interface of this host has this address".to_owned(),
        _ => error.to_string(),
    }
}

fn advice(kind: io::ErrorKind, address: SocketAddr, port: u16, port_flags: bool) -> Option<String> {
    let other = match address.port() {
        privileged @ 0..1024 => 8000 + privileged % 1000,
        port => port.checked_add(1).unwrap_or(8080),
    };
    let flag = format!("--port {port}={other}");
    Some(match (kind, port_flags) {
        (io::ErrorKind::AddrInUse, true) => format!(
            "stop that process (`ss -ltunp` lists it), or bind another port with {flag}; another \
             towergate is replaced with --hand-over, or shares the port with --reuse-port"
        ),
        (io::ErrorKind::AddrInUse, false) => {
            "stop that process (`ss -ltunp` lists it), or change the port of the listener"
                .to_owned()
        }
        (io::ErrorKind::PermissionDenied, true) => format!(
            "grant CAP_NET_BIND_SERVICE (`setcap cap_net_bind_service=+ep` on the program), or bind a port above \
             1023 with {flag}"
        ),
        (io::ErrorKind::PermissionDenied, false) => {
            "grant CAP_NET_BIND_SERVICE to the process, or use a port above 1023".to_owned()
        }
        (io::ErrorKind::AddrNotAvailable, true) => "correct the address of --bind".to_owned(),
        _ => return None,
    })
}

/// The listeners on `address`, and their port in the Gateway.
fn listeners<P>(address: SocketAddr, plan: &Plan<P>) -> (Vec<String>, u16) {
    let name = |id: &ListenerId| format!("{}/{}/{}", id.namespace, id.gateway, id.listener);
    let ports = plan.ports.iter();
    let ports =
        ports.filter(|port| port.port == address.port() && port.addresses.contains(&address.ip()));
    let streams: Vec<_> = ports.flat_map(|port| &port.listeners).collect();
    let datagrams = plan.datagrams.iter();
    let datagrams = datagrams
        .filter(|port| port.port == address.port() && port.addresses.contains(&address.ip()));
    let names = streams.iter().map(|listener| name(&listener.id));
    let names = names.chain(datagrams.map(|port| name(&port.id))).collect();
    let port = streams.first().map(|listener| listener.port);
    (names, port.unwrap_or(address.port()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use towergate_core::plan::{Listener, Port, Protocol};
    use towergate_core::policy::NoPolicy;
    use towergate_tls::NamePattern;

    use super::*;

    fn plan() -> Plan {
        Plan {
            ports: vec![Port {
                addresses: vec![Ipv4Addr::UNSPECIFIED.into()],
                port: 81,
                tcp: Default::default(),
                listeners: vec![Listener {
                    id: ListenerId {
                        namespace: "edge".into(),
                        gateway: "public".into(),
                        listener: "http".into(),
                    },
                    port: 80,
                    hostname: NamePattern::Any,
                    protocol: Protocol::Http,
                    settings: Arc::default(),
                    routes: Vec::new(),
                    streams: Vec::new(),
                    failed: false,
                }],
            }],
            ..Plan::default()
        }
    }

    fn error(kind: io::ErrorKind) -> BindError {
        BindError {
            address: ([0, 0, 0, 0], 81).into(),
            source: kind.into(),
        }
    }

    #[test]
    fn a_message_names_the_listener_the_cause_and_the_flags_that_help() {
        let text = describe(&error(io::ErrorKind::AddrInUse), &plan(), true);

        assert_eq!(
            text,
            "listener edge/public/http: cannot listen on 0.0.0.0:81: another process listens on this port; stop \
             that process (`ss -ltunp` lists it), or bind another port with --port 80=8081; another towergate is \
             replaced with --hand-over, or shares the port with --reuse-port"
        );
    }

    #[test]
    fn a_privileged_port_requires_a_capability_or_another_port() {
        let text = describe(&error(io::ErrorKind::PermissionDenied), &plan(), true);

        assert!(text.contains("permission denied"), "{text}");
        assert!(text.contains("CAP_NET_BIND_SERVICE"), "{text}");
        assert!(text.contains("--port 80=8081"), "{text}");
    }

    #[test]
    fn without_port_flags_the_advice_names_none() {
        for kind in [
            io::ErrorKind::AddrInUse,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::AddrNotAvailable,
        ] {
            let text = describe(&error(kind), &Plan::<NoPolicy>::default(), false);

            assert!(text.starts_with("cannot listen on 0.0.0.0:81: "), "{text}");
            assert!(!text.contains("--"), "{text}");
        }
    }

    #[test]
    fn the_admin_address_can_be_changed_or_turned_off() {
        let address = ([127, 0, 0, 1], 19000).into();
        let error = io::ErrorKind::AddrInUse.into();

        assert_eq!(
            describe_flag("--admin", address, &error),
            "--admin 127.0.0.1:19000: cannot listen: another process listens on this port; choose another address \
             with --admin ADDR, or turn it off with --admin off"
        );
    }
}
