//! One data plane for all Gateways, each on an address of a pool.

use std::collections::HashSet;
use std::net::IpAddr;

use towergate_core::plan::Plan;
use towergate_policy::Policy;

use super::readiness::{Proven, Verdicts};
use super::{Placement, nowhere};
use crate::address_pool::{Claim, Pool, Role};

/// The name of the data plane.
pub(crate) const SHARED: &str = "shared";

/// The shared data plane: its address pool and the readiness of its Gateways.
#[derive(Debug)]
pub(crate) struct Shared {
    pool: Pool,
    proven: Proven,
}

impl Shared {
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            pool,
            proven: Proven::default(),
        }
    }

    pub(super) fn place(&mut self, claims: &[Claim], role: Role, verdicts: &Verdicts) -> Placement {
        let mut bind = self.pool.assign(claims, role);
        let text = |addresses: &Vec<IpAddr>| addresses.iter().map(IpAddr::to_string).collect();
        let assigned = bind.iter();
        let assigned = assigned
            .map(|(name, addresses)| (name.clone(), text(addresses)))
            .collect();
        // A Gateway without an address must not be served on the address of another Gateway or on all
        // addresses.
        for (at, claim) in (0..).zip(claims) {
            let bound = bind.entry(claim.gateway.clone());
            bound.or_insert_with(|| vec![nowhere(at)]);
        }
        let mut placement = Placement {
            bind,
            assigned,
            ..Placement::default()
        };
        let proven = &mut self.proven;
        proven.note_waiting(SHARED, verdicts, claims, &mut placement);
        let all: Vec<&Claim> = claims.iter().collect();
        verdicts.note_refused(SHARED, &all, &mut placement);
        placement
    }
}

/// Removes the parts of the plan that are not on an assigned address.
pub(super) fn reached(mut plan: Plan<Policy>, placement: &Placement) -> Plan<Policy> {
    let addresses = placement.assigned.values().flatten();
    let addresses: HashSet<IpAddr> = addresses.filter_map(|text| text.parse().ok()).collect();
    let bound = |address: &IpAddr| addresses.contains(address);
    plan.ports.retain(|port| port.addresses.iter().all(bound));
    plan.datagrams
        .retain(|port| port.addresses.iter().all(bound));
    plan
}

#[cfg(test)]
mod tests {
    use towergate_core::plan::Port;

    use super::*;
    use crate::address_pool::parse_network;

    fn claim(name: &str) -> Claim {
        Claim {
            gateway: format!("d/{name}"),
            uid: name.to_owned(),
            ..Claim::default()
        }
    }

    #[test]
    fn a_gateway_without_an_address_is_served_nowhere() {
        let network = parse_network("192.0.2.1").expect("a network");
        let mut shared = Shared::new(Pool::new(vec![network], []));
        let claims = [claim("a"), claim("b"), claim("c")];

        let placement = shared.place(&claims, Role::Leader, &Verdicts::default());

        let first: IpAddr = [192, 0, 2, 1].into();
        assert_eq!(
            placement.assigned,
            [("d/a".to_owned(), vec![first.to_string()])].into()
        );
        assert_eq!(placement.bind["d/a"], [first]);
        assert_eq!(placement.waiting.len(), 3, "there is no data plane");
        assert_ne!(placement.bind["d/b"], placement.bind["d/c"]);
        let ports = placement.bind.values().map(|addresses| Port {
            addresses: addresses.clone(),
            port: 80,
            tcp: Default::default(),
            listeners: Vec::new(),
        });
        let plan = Plan {
            ports: ports.collect(),
            datagrams: Vec::new(),
        };
        let left = reached(plan, &placement);
        assert_eq!(left.ports.len(), 1);
        assert_eq!(left.ports[0].addresses, [first]);
    }
}
