//! Assigns Gateways to addresses and data planes.
//!
//! ```text
//! claims ──place──> Placement ──resolve──> Plan of all ──split──> plan of each data plane ──> Publisher
//! ```

mod backends;
mod provisioned;
mod publish;
mod readiness;
mod runner;
mod shared;
mod waiting;

pub(crate) use publish::Published;
pub(crate) use readiness::Verdicts;
pub(crate) use runner::{Inputs, run};
pub(crate) use shared::SHARED;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use towergate_core::plan::Plan;
use towergate_k8s::resolve::{every_address, gateway_parameters};
use towergate_k8s::{ObjectKey, Objects, Statuses};
use towergate_policy::Policy;

use self::shared::Shared;
use crate::address_pool::{Claim, Pool, Role};
use crate::provision::{Fate, GatewayToRun, Provisioner, gateways};

/// The data planes of Gateways.
pub(crate) enum Planes {
    /// One data plane for all Gateways, each on an address of a pool.
    Shared(Shared),
    /// Data planes per Gateway, created by this provisioner.
    Provisioned(Arc<Provisioner>),
}

/// The placement of Gateways. It is an input of `resolve`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Placement {
    /// Addresses to bind, by `namespace/name`. Every Gateway of this controller has an entry.
    pub(crate) bind: BTreeMap<String, Vec<IpAddr>>,
    /// Addresses at which clients reach Gateways, by `namespace/name`. Gateways without an address have no
    /// entry.
    pub(crate) assigned: BTreeMap<String, Vec<String>>,
    /// The port that data planes bind, by port of the Gateway. Ports that are bound unchanged have no entry.
    pub(crate) ports: BTreeMap<u16, u16>,
    /// Addresses that the data planes of a Gateway bind, by `namespace/name`. Only Gateways whose EnvoyProxy
    /// sets `ipFamily` have an entry.
    pub(crate) everywhere: BTreeMap<String, Vec<IpAddr>>,
    /// TCP ports of the admin and health endpoints of data planes. Listeners cannot use them.
    pub(crate) reserved: BTreeSet<u16>,
    /// Gateways that no data plane serves yet, with the cause. `None`: unknown cause.
    pub(crate) waiting: BTreeMap<String, Option<String>>,
    /// Gateways that their data planes cannot serve, with the reason.
    pub(crate) refused: BTreeMap<String, String>,
}

impl Planes {
    /// One data plane for all Gateways, on addresses of `pool`.
    pub(crate) fn shared(pool: Pool) -> Self {
        Self::Shared(Shared::new(pool))
    }

    /// Places all Gateways. `claims` contains every Gateway of this controller, oldest first.
    pub(crate) fn place(&mut self, claims: &[Claim], role: Role, verdicts: &Verdicts) -> Placement {
        match self {
            Self::Shared(shared) => shared.place(claims, role, verdicts),
            Self::Provisioned(by) => {
                provisioned::place(claims, verdicts, |gateway| by.observe(gateway))
            }
        }
    }

    /// The plan of each data plane, by name of the data plane.
    pub(crate) fn split(
        &self,
        plan: Plan<Policy>,
        placement: &Placement,
    ) -> BTreeMap<String, Plan<Policy>> {
        match self {
            Self::Shared(_) => [(SHARED.to_owned(), shared::reached(plan, placement))].into(),
            Self::Provisioned(_) => provisioned::split(plan, placement),
        }
    }
}

impl Placement {
    /// Sets `Programmed` to `False` for Gateways that are not served yet or cannot be served.
    pub(crate) fn mark(&self, statuses: &mut Statuses) {
        waiting::mark(statuses, &self.waiting, &self.refused);
    }

    /// Reads the address families of data planes.
    pub(crate) fn set_families(&mut self, objects: &Objects) {
        for gateway in objects.gateways.values() {
            let name = gateway.key().to_string();
            let found = gateway_parameters(objects, gateway).ok().flatten();
            let family = found.and_then(|found| found.ip_family.clone());
            if let Some(family) = family.filter(|_| self.bind.contains_key(&name)) {
                self.everywhere.insert(name, every_address(&family));
            }
        }
    }

    /// The Gateways to provision.
    pub(crate) fn to_run(
        &self,
        objects: &Objects,
        statuses: &Statuses,
        controller: &str,
    ) -> Vec<GatewayToRun> {
        let mut to_run = gateways(objects, statuses, controller);
        for gateway in &mut to_run {
            if gateway.fate == Fate::Run && ends(objects, &gateway.key) {
                gateway.fate = Fate::Keep;
            }
            let assigned = self.assigned.get(&gateway.key.to_string());
            let assigned = assigned.into_iter().flatten();
            gateway.pool = assigned.filter_map(|text| text.parse().ok()).collect();
        }
        to_run
    }
}

/// Whether a Gateway or its namespace is being deleted. In both cases nothing is provisioned: the existing
/// objects are deleted with the Gateway or the namespace, and no object can be created in a namespace that is
/// being deleted.
fn ends(objects: &Objects, gateway: &ObjectKey) -> bool {
    let namespace = ObjectKey::new("", &*gateway.namespace);
    let namespace = objects.namespaces.get(&namespace).map(|found| &found.meta);
    let gateway = objects.gateways.get(gateway).map(|found| &found.meta);
    let mut metas = namespace.into_iter().chain(gateway);
    metas.any(|meta| meta.deletion_timestamp.is_some())
}

/// A distinct unreachable address for each index, from class E (RFC 1112, section 4).
fn nowhere(at: u32) -> IpAddr {
    const CLASS_E: u32 = 0xF000_0000;
    Ipv4Addr::from(CLASS_E + at % 0x0FFF_FFFF).into()
}

#[cfg(test)]
mod tests {
    use towergate_k8s::decode::decode;

    use super::*;

    #[test]
    fn what_is_being_deleted_ends() {
        let gateway = |namespace: &str, name: &str, more: &str| {
            format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n\
                 metadata: {{namespace: {namespace}, name: {name}{more}}}\n\
                 spec: {{gatewayClassName: c, listeners: []}}\n---\n"
            )
        };
        let time = ", deletionTimestamp: \"2026-01-01T00:00:00Z\"";
        let namespace =
            format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: going{time}}}\n");
        let text =
            gateway("d", "stays", "") + &gateway("d", "goes", time) + &gateway("going", "a", "");

        let objects = decode("a.yaml", &(text + &namespace)).objects;

        let ends = |namespace, name| ends(&objects, &ObjectKey::new(namespace, name));
        assert!(!ends("d", "stays"));
        assert!(ends("d", "goes"));
        assert!(ends("going", "a"));
    }
}
