//! Sockets: which listener has which, across all Gateways.
//!
//! In a cluster each Gateway has addresses of its own. Elsewhere several may be bound to the same, and
//! then their listeners must get along as those of one Gateway do. The older Gateway's has the socket.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use towergate_tls::NamePattern;

use super::gateway::{Gateways, ListenerState};
use super::report::{Report, Subject};
use super::world::World;

/// What a socket is taken for.
#[derive(Debug)]
struct Claim {
    https: bool,
    hostnames: HashSet<NamePattern>,
}

/// The port to bind for a port of a Gateway.
pub(super) fn bound(world: &World<'_>, port: i32) -> u16 {
    let port = u16::try_from(port).unwrap_or_default();
    world.scope.ports.get(&port).copied().unwrap_or(port)
}

const HELP: &str =
    "Give each Gateway addresses of its own to bind, or its listeners host names of their own.";

/// States that a listener does not have its socket.
fn lose(
    listener: &mut ListenerState<'_>,
    reason: &'static str,
    port: u16,
    tell: impl FnOnce(String),
) {
    let what = match reason {
        "HostnameConflict" => "this host name",
        _ => "another protocol",
    };
    let message = format!(
        "Another Gateway, or another port that is bound as the same, has {what} of port {port} on these addresses."
    );
    listener
        .conditions
        .set("Conflicted", true, reason, &*message);
    listener
        .conditions
        .set("Accepted", false, "PortUnavailable", &*message);
    listener
        .conditions
        .set("Programmed", false, "Invalid", &*message);
    tell(message);
}

/// Gives each socket to the first listener of each host name. The others are not programmed.
pub(super) fn claim(world: &World<'_>, gateways: &mut Gateways<'_>, report: &mut Report) {
    let mut claims: HashMap<(Vec<IpAddr>, u16), Claim> = HashMap::new();
    for gateway in &mut gateways.list {
        let subject = Subject::new("Gateway", gateway.object);
        for (at, listener) in gateway.listeners.iter_mut().enumerate() {
            if !listener.ready() {
                continue;
            }
            let port = bound(world, listener.spec.port);
            let https = listener.spec.protocol == "HTTPS";
            let claim = claims
                .entry((gateway.bind.clone(), port))
                .or_insert_with(|| Claim {
                    https,
                    hostnames: HashSet::new(),
                });
            let reason = match (
                claim.https == https,
                claim.hostnames.contains(&listener.hostname),
            ) {
                (false, _) => "ProtocolConflict",
                (true, true) => "HostnameConflict",
                (true, false) => {
                    claim.hostnames.insert(listener.hostname.clone());
                    continue;
                }
            };
            lose(listener, reason, port, |message| {
                let field = format!("spec.listeners[{at}].port");
                report.error("port-taken", &subject, field, message, HELP);
            });
        }
    }
}
