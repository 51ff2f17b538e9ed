//! Where Gateways are served: at which addresses, and by which data plane.
//!
//! ```text
//! claims ──place──> Placement ──resolve──> Plan of all ──split──> plan of each data plane ──> Publisher
//! ```

mod publish;
mod shared;

pub(crate) use publish::Published;
pub(crate) use shared::SHARED;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use towergate_core::plan::Plan;
use towergate_policy::Policy;

use self::shared::Shared;
use crate::pool::{Claim, Pool, Role};

/// Where Gateways are served.
#[derive(Debug)]
pub(crate) enum Planes {
    /// By one data plane, each at an address of a pool.
    Shared(Shared),
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
        }
    }
}

/// An address of which there is no network (RFC 1112, section 4: class E), another one for each number.
fn nowhere(at: u32) -> IpAddr {
    const CLASS_E: u32 = 0xF000_0000;
    Ipv4Addr::from(CLASS_E + at % 0x0FFF_FFFF).into()
}
