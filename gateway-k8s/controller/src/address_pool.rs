//! Assigns addresses of a pool to Gateways that share one data plane.
//!
//! A Gateway keeps its address, or the address that an earlier controller wrote to its status, unless it
//! requests another one in `spec.addresses`. A request cannot take the address of another Gateway. The
//! address of a deleted Gateway becomes available at once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use towergate_k8s::ObjectKey;

/// Candidate addresses of a Gateway.
type Choice<'a> = &'a dyn Fn(&Claim) -> Vec<IpAddr>;

/// A Gateway with its requested and its reported addresses.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Claim {
    /// `namespace/name` of the Gateway.
    pub(crate) gateway: String,
    /// Namespace and name.
    pub(crate) key: ObjectKey,
    /// Name of the GatewayClass of the Gateway.
    pub(crate) class: String,
    /// `metadata.uid`, which distinguishes a Gateway from a deleted one of the same name.
    pub(crate) uid: String,
    /// Addresses in `spec.addresses`. `None`: the entry is not an IP address.
    pub(crate) wanted: Vec<Option<IpAddr>>,
    /// IP addresses in `status.addresses`.
    pub(crate) reported: Vec<IpAddr>,
    /// Whether the `Programmed` condition of the Gateway is true for its current generation.
    pub(crate) programmed: bool,
}

/// The role of this controller in the assignment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// The controller assigns addresses.
    Leader,
    /// Another controller assigns addresses. This controller reads the addresses from the statuses of
    /// Gateways.
    Follower,
}

/// The addresses of the pool and their assignment.
#[derive(Debug)]
pub(crate) struct Pool {
    networks: Vec<IpNet>,
    exclude: HashSet<IpAddr>,
    /// Assigned addresses by uid of the Gateway.
    given: HashMap<String, Vec<IpAddr>>,
}

impl Pool {
    /// Creates a pool of the addresses of `networks`. Addresses in `exclude` are assigned only to Gateways
    /// that request them.
    pub(crate) fn new(networks: Vec<IpNet>, exclude: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            networks,
            exclude: exclude.into_iter().collect(),
            given: HashMap::new(),
        }
    }

    /// Assigns addresses to all Gateways, oldest first. Returns the addresses by `namespace/name`. A Gateway
    /// without an address has no entry.
    pub(crate) fn assign(&mut self, claims: &[Claim], role: Role) -> BTreeMap<String, Vec<IpAddr>> {
        let before = std::mem::take(&mut self.given);
        let mut taken = HashSet::new();
        let mut given: HashMap<String, Vec<IpAddr>> = HashMap::new();
        let held = |claim: &Claim| before.get(&claim.uid).cloned().unwrap_or_default();
        let reported = |claim: &Claim| claim.reported.clone();
        let wanted = |claim: &Claim| claim.wanted.iter().copied().flatten().collect();
        // A leader uses its own assignment. Directly after its start it has no assignment and uses the
        // addresses in the statuses of Gateways.
        let mut holders: HashMap<IpAddr, &str> = HashMap::new();
        if role == Role::Leader {
            let known = claims.iter().map(|claim| (claim, held(claim)));
            let (known, new): (Vec<_>, Vec<_>) = known.partition(|(_, held)| !held.is_empty());
            let new = new.into_iter().map(|(claim, _)| (claim, reported(claim)));
            for (claim, addresses) in known.into_iter().chain(new) {
                for address in addresses {
                    if self.usable(address, claim) {
                        holders.entry(address).or_insert(&claim.uid);
                    }
                }
            }
        }
        let steps: &[Choice<'_>] = match role {
            Role::Leader => &[&wanted, &held, &reported],
            Role::Follower => &[&reported, &held],
        };
        for step in steps {
            // A Gateway that receives its requested address releases its previous address. The loop repeats,
            // because another Gateway may have requested the released address.
            let mut goes_on = true;
            while std::mem::take(&mut goes_on) {
                for claim in claims {
                    if given.contains_key(&claim.uid) {
                        continue;
                    }
                    let is_anothers = |address: &IpAddr| {
                        let holder = holders.get(address).filter(|uid| **uid != claim.uid);
                        holder.is_some_and(|uid| !given.contains_key(*uid))
                    };
                    let mut usable = step(claim);
                    // An address of an earlier assignment may have left the pool.
                    usable.retain(|address| {
                        self.usable(*address, claim)
                            && !taken.contains(address)
                            && !is_anothers(address)
                    });
                    usable.dedup();
                    if !usable.is_empty() {
                        taken.extend(&usable);
                        given.insert(claim.uid.clone(), usable);
                        goes_on = true;
                    }
                }
            }
        }
        if role == Role::Leader {
            let left = claims
                .iter()
                .filter(|claim| !given.contains_key(&claim.uid));
            let left: Vec<&Claim> = left.collect();
            let mut free = self.free(&taken);
            for claim in left {
                if let Some(address) = free.next() {
                    given.insert(claim.uid.clone(), vec![address]);
                }
            }
        }
        let of = |claim: &Claim| Some((claim.gateway.clone(), given.get(&claim.uid)?.clone()));
        let assigned = claims.iter().filter_map(of).collect();
        self.given = given;
        assigned
    }

    fn usable(&self, address: IpAddr, claim: &Claim) -> bool {
        let inside = self
            .networks
            .iter()
            .any(|network| network.contains(&address));
        inside && (!self.exclude.contains(&address) || claim.wanted.contains(&Some(address)))
    }

    /// Unassigned addresses, lowest first.
    fn free(&self, taken: &HashSet<IpAddr>) -> impl Iterator<Item = IpAddr> {
        let hosts = self.networks.iter().flat_map(hosts);
        hosts.filter(move |address| !taken.contains(address) && !self.exclude.contains(address))
    }
}

/// The addresses of a network without its network and broadcast addresses. For IPv6, `IpNet::hosts` includes
/// the network address.
fn hosts(network: &IpNet) -> Box<dyn Iterator<Item = IpAddr>> {
    match network {
        IpNet::V4(v4) => Box::new(v4.hosts().map(IpAddr::V4)),
        IpNet::V6(v6) => {
            let (first, last) = (u128::from(v6.network()), u128::from(v6.broadcast()));
            let first = if first == last { first } else { first + 1 };
            Box::new((first..=last).map(|bits| IpAddr::V6(Ipv6Addr::from(bits))))
        }
    }
}

/// Parses a network in CIDR notation. An address without a prefix length is a network of one address.
///
/// # Errors
/// If the text is neither a network nor an address.
pub(crate) fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address)),
        Err(_) => towergate_policy::parse_cidr(text),
    };
    let network = network.ok_or_else(|| "expected a network such as 10.242.0.0/24".to_owned())?;
    let anywhere = [
        IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Ipv6Addr::UNSPECIFIED.into(),
    ];
    match anywhere.contains(&network.addr()) {
        true => Err("the network contains the unspecified address".to_owned()),
        false => Ok(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        let network = parse_network("10.0.0.0/29").expect("a network");
        Pool::new(vec![network], [ip(2)])
    }

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn claim(name: &str) -> Claim {
        Claim {
            gateway: format!("d/{name}"),
            uid: format!("uid of {name}"),
            ..Claim::default()
        }
    }

    fn wants(name: &str, wanted: &[IpAddr]) -> Claim {
        let wanted = wanted.iter().copied().map(Some).collect();
        Claim {
            wanted,
            ..claim(name)
        }
    }

    fn reports(name: &str, address: IpAddr) -> Claim {
        Claim {
            reported: vec![address],
            ..claim(name)
        }
    }

    fn table(expected: &[(&str, u8)]) -> BTreeMap<String, Vec<IpAddr>> {
        let expected = expected.iter();
        expected
            .map(|(name, last)| (format!("d/{name}"), vec![ip(*last)]))
            .collect()
    }

    #[test]
    fn each_gateway_keeps_its_address_and_free_addresses_are_reused() {
        let mut pool = pool();
        let mut assign = |claims: &[Claim]| pool.assign(claims, Role::Leader);

        // 10.0.0.2 is excluded.
        assert_eq!(
            assign(&[claim("a"), claim("b")]),
            table(&[("a", 1), ("b", 3)])
        );
        assert_eq!(assign(&[claim("b")]), table(&[("b", 3)]));
        assert_eq!(
            assign(&[claim("b"), claim("c")]),
            table(&[("b", 3), ("c", 1)])
        );
    }

    #[test]
    fn a_recreated_gateway_is_a_new_one() {
        let mut pool = pool();
        pool.assign(&[claim("a"), claim("b")], Role::Leader);
        let new = Claim {
            uid: "another".to_owned(),
            ..claim("b")
        };

        let assigned = pool.assign(&[claim("c"), claim("a"), new], Role::Leader);

        assert_eq!(assigned, table(&[("a", 1), ("c", 3), ("b", 4)]));
    }

    #[test]
    fn requested_addresses_take_precedence_including_excluded_ones() {
        let mut pool = pool();
        let assigned = pool.assign(&[claim("a"), wants("b", &[ip(2)])], Role::Leader);
        assert_eq!(assigned, table(&[("a", 1), ("b", 2)]));

        // The older Gateway keeps the address. A requested address outside the pool is replaced by any free
        // address.
        let claims = [
            wants("b", &[ip(2)]),
            wants("c", &[ip(2)]),
            wants("d", &[ip(77)]),
        ];
        assert_eq!(
            pool.assign(&claims, Role::Leader),
            table(&[("b", 2), ("c", 1), ("d", 3)])
        );
    }

    #[test]
    fn of_several_addresses_the_usable_ones_are_bound() {
        let claims = [wants("a", &[ip(77), ip(4), ip(5)])];

        let assigned = pool().assign(&claims, Role::Leader);

        assert_eq!(assigned["d/a"], [ip(4), ip(5)]);
    }

    #[test]
    fn a_new_controller_takes_over_addresses_from_statuses() {
        let claims = [claim("new"), reports("old", ip(1)), reports("moved", ip(2))];

        let assigned = pool().assign(&claims, Role::Leader);

        assert_eq!(assigned, table(&[("old", 1), ("new", 3), ("moved", 4)]));
    }

    #[test]
    fn a_request_cannot_take_the_address_of_another_gateway() {
        let mut held = pool();
        held.assign(&[claim("b")], Role::Leader);

        // "a" is older than "b", but has no precedence over the holder of an address.
        let of_held = held.assign(&[wants("a", &[ip(1)]), claim("b")], Role::Leader);
        let of_reported = pool().assign(
            &[wants("a", &[ip(4)]), reports("b", ip(4)), claim("c")],
            Role::Leader,
        );

        assert_eq!(of_held, table(&[("a", 3), ("b", 1)]));
        assert_eq!(of_reported, table(&[("a", 1), ("b", 4), ("c", 3)]));
        // The address is free after the deletion of its holder.
        let later = held.assign(&[wants("a", &[ip(1)])], Role::Leader);
        assert_eq!(later, table(&[("a", 1)]));
    }

    #[test]
    fn a_released_address_is_available_and_two_gateways_cannot_swap() {
        let mut pool = pool();
        pool.assign(&[claim("a"), claim("b")], Role::Leader);

        let swap = [wants("a", &[ip(3)]), wants("b", &[ip(1)])];
        assert_eq!(
            pool.assign(&swap, Role::Leader),
            table(&[("a", 1), ("b", 3)])
        );
        let moves = [wants("a", &[ip(3)]), wants("b", &[ip(5)])];
        assert_eq!(
            pool.assign(&moves, Role::Leader),
            table(&[("a", 3), ("b", 5)])
        );
    }

    #[test]
    fn a_follower_assigns_nothing_and_follows_statuses() {
        let mut pool = pool();
        pool.assign(&[claim("a"), claim("b")], Role::Leader);

        let assigned = pool.assign(
            &[reports("a", ip(5)), claim("b"), claim("c")],
            Role::Follower,
        );

        assert_eq!(assigned, table(&[("a", 5), ("b", 3)]));
    }

    #[test]
    fn an_exhausted_pool_leaves_the_youngest_without_an_address() {
        let claims: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(claim).into();

        let assigned = pool().assign(&claims, Role::Leader);

        assert_eq!(assigned.len(), 5);
        assert!(!assigned.contains_key("d/f"));
    }

    #[test]
    fn networks_are_parsed_and_the_unspecified_address_is_rejected() {
        assert_eq!(parse_network("10.0.0.7/29"), parse_network("10.0.0.0/29"));
        assert!(parse_network("fd00::1").is_ok());
        for wrong in [
            "",
            "10.0.0.0/33",
            "010.0.0.0/24",
            "0.0.0.0/0",
            "::/0",
            "host",
        ] {
            assert!(parse_network(wrong).is_err(), "{wrong}");
        }
        let six = parse_network("fd00::/126").expect("a network");
        assert_eq!(hosts(&six).count(), 3);
    }
}
