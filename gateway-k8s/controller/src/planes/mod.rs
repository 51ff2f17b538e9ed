//! Where Gateways are served: at which addresses, and by which data plane.
//!
//! ```text
//! claims ──place──> Placement ──resolve──> Plan of all ──split──> plan of each data plane ──> Publisher
//! ```

mod backends;
mod provisioned;
mod publish;
mod runner;
mod shared;
mod waiting;

pub(crate) use publish::Published;
pub(crate) use runner::{Inputs, run};
pub(crate) use shared::SHARED;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use towergate_core::plan::Plan;
use towergate_k8s::{ObjectKey, Objects, Statuses};
use towergate_policy::Policy;

use self::shared::Shared;
use crate::pool::{Claim, Pool, Role};
use crate::provision::{Fate, GatewayToRun, Provisioner, gateways};

/// Where Gateways are served.
pub(crate) enum Planes {
    /// By one data plane, each at an address of a pool.
    Shared(Shared),
    /// By data planes of its own, which are made by this one.
    Provisioned(Arc<Provisioner>),
}

/// What `resolve` is to know of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Placement {
    /// The addresses to bind, by `namespace/name`: every Gateway of ours has some.
    pub(crate) bind: BTreeMap<String, Vec<IpAddr>>,
    /// The addresses by which Gateways are reached; those that are not are missing.
    pub(crate) assigned: BTreeMap<String, Vec<String>>,
    /// Ports that are bound as others.
    pub(crate) ports: BTreeMap<u16, u16>,
    /// Gateways that no data plane serves yet, with what is in the way.
    pub(crate) waiting: BTreeMap<String, Option<String>>,
}

impl Planes {
    /// One data plane for all, at addresses of `pool`.
    pub(crate) fn shared(pool: Pool) -> Self {
        Self::Shared(Shared::new(pool))
    }

    /// Gives each Gateway its place. `claims` are those of all Gateways of ours, the oldest first.
    pub(crate) fn place(&mut self, claims: &[Claim], role: Role) -> Placement {
        match self {
            Self::Shared(shared) => shared.place(claims, role),
            Self::Provisioned(by) => provisioned::place(claims, |gateway| by.observe(gateway)),
        }
    }

    /// The plan of each data plane, by its name.
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
    /// Says in the statuses what is known of places only.
    pub(crate) fn mark(&self, statuses: &mut Statuses) {
        waiting::mark(statuses, &self.waiting);
    }

    /// The Gateways of which objects are to be made.
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

/// Whether a Gateway or its namespace is being deleted: nothing new can be made there, and what there is
/// goes with it.
fn ends(objects: &Objects, gateway: &ObjectKey) -> bool {
    let namespace = ObjectKey::new("", &*gateway.namespace);
    let namespace = objects.namespaces.get(&namespace).map(|found| &found.meta);
    let gateway = objects.gateways.get(gateway).map(|found| &found.meta);
    let mut metas = namespace.into_iter().chain(gateway);
    metas.any(|meta| meta.deletion_timestamp.is_some())
}

/// An address of which there is no network (RFC 1112, section 4: class E), another one for each number.
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
