//! Data planes per Gateway, created by the controller.
//!
//! Clients reach a Gateway at the addresses of its Service. For `resolve`, each Gateway is bound to a unique
//! placeholder address, so that ports of Gateways do not conflict; its data planes bind all addresses of
//! their pod.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use towergate_core::plan::Plan;
use towergate_policy::Policy;

use super::readiness::Verdicts;
use super::{Placement, nowhere};
use crate::address_pool::Claim;
use crate::provision::{Fate, GatewayToRun, OWN_PORTS, Observed, bound_ports};

/// Places Gateways by the state of their objects. A ready pod shows that a Gateway is served, because a pod
/// becomes ready when it serves a configuration. Reports are not sufficient, because only some of the data
/// planes are connected to each replica of the controller.
pub(super) fn place(
    claims: &[Claim],
    verdicts: &Verdicts,
    observe: impl Fn(&GatewayToRun) -> Observed,
) -> Placement {
    let mut placement = Placement {
        ports: bound_ports(),
        reserved: OWN_PORTS.into(),
        ..Placement::default()
    };
    for (at, claim) in (0..).zip(claims) {
        let name = &claim.gateway;
        placement.bind.insert(name.clone(), vec![nowhere(at)]);
        let observed = observe(&bare(claim));
        if !observed.addresses.is_empty() {
            placement.assigned.insert(name.clone(), observed.addresses);
        }
        if !observed.available {
            placement.waiting.insert(name.clone(), observed.trouble);
        }
        verdicts.note_refused(name, &[claim], &mut placement);
    }
    placement
}

/// A [`GatewayToRun`] with only those fields that identify the objects of the Gateway.
fn bare(claim: &Claim) -> GatewayToRun {
    GatewayToRun {
        key: claim.key.clone(),
        uid: claim.uid.clone(),
        class: claim.class.clone(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        ports: Default::default(),
        addresses: Vec::new(),
        pool: Vec::new(),
        proxy: None,
        fate: Fate::Keep,
    }
}

/// The plan of each Gateway, by name of the Gateway.
pub(super) fn split(plan: Plan<Policy>, placement: &Placement) -> BTreeMap<String, Plan<Policy>> {
    let everywhere = |name: &str| match placement.everywhere.get(name) {
        Some(addresses) => addresses.clone(),
        None => vec![IpAddr::from(Ipv4Addr::UNSPECIFIED)],
    };
    let names: HashMap<&[IpAddr], &String> = placement
        .bind
        .iter()
        .map(|(name, bound)| (bound.as_slice(), name))
        .collect();
    let mut plans: BTreeMap<String, Plan<Policy>> = placement
        .bind
        .keys()
        .map(|name| (name.clone(), Plan::default()))
        .collect();
    for mut port in plan.ports {
        let Some(name) = names.get(port.addresses.as_slice()) else {
            continue;
        };
        if let Some(plan) = plans.get_mut(*name) {
            port.addresses = everywhere(name);
            plan.ports.push(port);
        }
    }
    for mut port in plan.datagrams {
        let Some(name) = names.get(port.addresses.as_slice()) else {
            continue;
        };
        if let Some(plan) = plans.get_mut(*name) {
            port.addresses = everywhere(name);
            plan.datagrams.push(port);
        }
    }
    plans
}

#[cfg(test)]
mod tests {
    use towergate_core::plan::Port;
    use towergate_k8s::ObjectKey;

    use super::*;

    fn claim(name: &str) -> Claim {
        Claim {
            gateway: format!("d/{name}"),
            key: ObjectKey::new("d", name),
            ..Claim::default()
        }
    }

    #[test]
    fn a_gateway_is_reached_where_its_service_is_and_waits_for_its_pods() {
        let observe = |gateway: &GatewayToRun| match &*gateway.key.name {
            "a" => Observed {
                addresses: vec!["lb.example".to_owned()],
                available: true,
                trouble: None,
            },
            _ => Observed {
                trouble: Some("no room".to_owned()),
                ..Observed::default()
            },
        };

        let placement = place(&[claim("a"), claim("b")], &Verdicts::default(), observe);

        let assigned = [("d/a".to_owned(), vec!["lb.example".to_owned()])];
        assert_eq!(placement.assigned, assigned.into());
        let waiting = [("d/b".to_owned(), Some("no room".to_owned()))];
        assert_eq!(placement.waiting, waiting.into());
        assert_eq!(placement.ports.get(&80), Some(&10080));
        assert_eq!(placement.reserved, [19000, 19001].into());
    }

    #[test]
    fn each_gateway_gets_its_own_ports_and_no_others() {
        let placement = place(
            &[claim("a"), claim("b"), claim("c")],
            &Verdicts::default(),
            |_| Observed::default(),
        );
        let port = |gateway: &str, port: u16| Port {
            addresses: placement.bind[gateway].clone(),
            port,
            tcp: Default::default(),
            listeners: Vec::new(),
        };
        let plan = Plan {
            ports: vec![port("d/a", 80), port("d/b", 80), port("d/a", 443)],
            datagrams: Vec::new(),
        };

        let plans = split(plan, &placement);

        let ports =
            |name: &str| -> Vec<u16> { plans[name].ports.iter().map(|port| port.port).collect() };
        assert_eq!(ports("d/a"), [80, 443]);
        assert_eq!(ports("d/b"), [80]);
        assert!(ports("d/c").is_empty(), "a plan that is empty is one");
        let everywhere = plans.values().flat_map(|plan| &plan.ports);
        assert!(
            everywhere
                .into_iter()
                .all(|port| port.addresses == [IpAddr::from([0, 0, 0, 0])])
        );
    }
}
