//! Addresses of Gateways: those to bind, those that a Gateway asks for, those by which it is reached.

use std::net::{IpAddr, Ipv4Addr};

use super::super::world::World;
use crate::api::gateway::GatewaySpec;
use crate::objects::Object;

/// The most addresses that an API server takes in a status.
const MAX_ADDRESSES: usize = 16;

/// By which addresses a Gateway is reached.
#[derive(Debug)]
pub(super) struct Addresses {
    /// IP addresses or host names, for the status.
    pub(super) reported: Vec<String>,
    /// Why the Gateway cannot be reached as it should.
    pub(super) fault: Option<Fault>,
}

/// Why a Gateway cannot be reached as it should.
#[derive(Debug)]
pub(super) struct Fault {
    /// The word of the API.
    pub(super) reason: &'static str,
    /// A sentence.
    pub(super) message: String,
}

/// The addresses to bind for a Gateway.
pub(super) fn bind(world: &World<'_>, object: &Object<GatewaySpec>) -> Vec<IpAddr> {
    let own = world.scope.bind_gateway.get(&object.key().to_string());
    let mut addresses = own.unwrap_or(&world.scope.bind).clone();
    if addresses.is_empty() {
        addresses.push(Ipv4Addr::UNSPECIFIED.into());
    }
    addresses.sort();
    addresses.dedup();
    addresses
}

impl Addresses {
    /// Holds what a Gateway asks for against what it has: the addresses that the scope assigns to it, or
    /// else those that are bound.
    pub(super) fn resolve(
        world: &World<'_>,
        object: &Object<GatewaySpec>,
        bound: &[IpAddr],
    ) -> Self {
        let Some(assigned) = &world.scope.assigned else {
            let holds = |wanted: &str| {
                let wanted = wanted.parse::<IpAddr>();
                wanted
                    .is_ok_and(|wanted| bound.iter().any(|ip| ip.is_unspecified() || *ip == wanted))
            };
            let own = bound.iter().map(IpAddr::to_string).collect();
            return Self::of(&object.spec, own, holds, "not among those that are bound");
        };
        let own = assigned.get(&object.key().to_string());
        let own = own.cloned().unwrap_or_default();
        let holds = |wanted: &str| own.iter().any(|held| is_same(held, wanted));
        Self::of(
            &object.spec,
            own.clone(),
            holds,
            "not assigned to the Gateway",
        )
    }

    /// `own` are the addresses that there are, `holds` says whether one that is wanted is usable, `why`
    /// what is wrong with those that are not.
    fn of(spec: &GatewaySpec, own: Vec<String>, holds: impl Fn(&str) -> bool, why: &str) -> Self {
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let wanted = spec.addresses.iter().map(|address| given(&address.value));
        let wanted: Vec<Option<String>> = wanted.collect();
        let unusable: Vec<&str> = wanted.iter().flatten().map(String::as_str).collect();
        let unusable: Vec<&str> = unusable.into_iter().filter(|one| !holds(one)).collect();
        let fault = match (unusable.as_slice(), own.is_empty()) {
            ([], false) => None,
            ([], true) => Some(Fault {
                reason: "AddressNotAssigned",
                message: "No address is assigned to the Gateway yet.".to_owned(),
            }),
            (unusable, _) => Some(Fault {
                reason: "AddressNotUsable",
                message: format!(
                    "These of spec.addresses are {why}: {}.",
                    unusable.join(", ")
                ),
            }),
        };
        // Who names all addresses has no others. One without a value is any.
        let named: Option<Vec<String>> = wanted.iter().cloned().collect();
        let named = named.filter(|named| !named.is_empty() && fault.is_none());
        let mut reported: Vec<String> = Vec::new();
        for address in named.unwrap_or(own) {
            if !reported.iter().any(|held| is_same(held, &address)) {
                reported.push(address);
            }
        }
        reported.truncate(MAX_ADDRESSES);
        Self { reported, fault }
    }
}

/// Whether two texts are the same IP address or host name.
fn is_same(a: &str, b: &str) -> bool {
    match (a.parse::<IpAddr>(), b.parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a.eq_ignore_ascii_case(b),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is reported, and the reason of the fault.
    fn addresses(wanted: serde_json::Value, own: &[&str]) -> (Vec<String>, Option<&'static str>) {
        let spec: GatewaySpec = serde_json::from_value(json!({ "addresses": wanted })).unwrap();
        let own: Vec<String> = own.iter().map(|text| (*text).to_owned()).collect();
        let holds = |wanted: &str| own.iter().any(|held| is_same(held, wanted));
        let found = Addresses::of(&spec, own.clone(), holds, "elsewhere");
        (found.reported, found.fault.map(|fault| fault.reason))
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_gateway_has_the_addresses_that_it_names_and_no_others() {
        let wanted = json!([{ "value": "192.0.2.2" }]);

        let found = addresses(wanted, &["192.0.2.1", "192.0.2.2"]);

        assert_eq!(found, (texts(&["192.0.2.2"]), None));
    }

    #[test]
    fn an_address_without_a_value_is_any() {
        let any = json!([{ "type": "IPAddress" }]);
        let both = json!([{ "type": "IPAddress" }, { "value": "192.0.2.2" }]);
        let own = ["192.0.2.1", "192.0.2.2"];

        assert_eq!(addresses(any, &own), (texts(&own), None));
        assert_eq!(addresses(both, &own), (texts(&own), None));
    }

    #[test]
    fn one_address_that_cannot_be_had_is_a_fault() {
        let wanted = json!([{ "value": "192.0.2.9" }, { "value": "192.0.2.2" }]);

        let found = addresses(wanted.clone(), &["192.0.2.2"]);

        assert_eq!(found, (texts(&["192.0.2.2"]), Some("AddressNotUsable")));
        assert_eq!(
            addresses(wanted, &[]),
            (texts(&[]), Some("AddressNotUsable"))
        );
    }

    #[test]
    fn a_gateway_without_any_address_is_told_so() {
        assert_eq!(
            addresses(json!([]), &[]),
            (texts(&[]), Some("AddressNotAssigned"))
        );
    }

    #[test]
    fn host_names_are_addresses_and_none_is_told_twice() {
        let own = [
            "lb.example.com",
            "LB.example.com",
            "2001:db8::1",
            "2001:db8:0::1",
        ];

        let found = addresses(json!([]), &own);

        assert_eq!(found, (texts(&["lb.example.com", "2001:db8::1"]), None));
    }
}
