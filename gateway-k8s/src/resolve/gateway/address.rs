//! Addresses of Gateways: those to bind, those requested in `spec.addresses`, and those in the status.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use towergate_policy::envoy_proxy::IpFamily;

use super::super::object_index::ObjectIndex;
use super::parameters;
use crate::api::gateway::GatewaySpec;
use crate::objects::Object;
use crate::status::GatewayReason;

/// Maximum number of addresses in a status (CRD of Gateway).
const MAX_ADDRESSES: usize = 16;

/// The addresses of a Gateway, for its status.
#[derive(Debug)]
pub(super) struct Addresses {
    /// IP addresses or hostnames.
    pub(super) reported: Vec<String>,
    /// Error that makes the Gateway not programmed.
    pub(super) error: Option<AddressError>,
}

/// Addresses that are missing or not usable.
#[derive(Debug)]
pub(super) struct AddressError {
    /// Reason of `Programmed`.
    pub(super) reason: GatewayReason,
    pub(super) message: String,
}

/// The addresses to bind for a Gateway.
pub(super) fn bind(index: &ObjectIndex<'_>, object: &Object<GatewaySpec>) -> Vec<IpAddr> {
    let own = index.options.bind_gateway.get(&object.key().to_string());
    let mut addresses = own.unwrap_or(&index.options.bind).clone();
    if own.is_none() && addresses == [IpAddr::from(Ipv4Addr::UNSPECIFIED)] {
        let found = parameters::gateway_parameters(index.objects, object);
        let family = found
            .ok()
            .flatten()
            .and_then(|found| found.ip_family.clone());
        addresses = family.map_or(addresses, |family| every_address(&family));
    }
    if addresses.is_empty() {
        addresses.push(Ipv4Addr::UNSPECIFIED.into());
    }
    addresses.sort();
    addresses.dedup();
    addresses
}

/// The unspecified address of each IP family. Binding it binds all addresses of the machine.
pub fn every_address(family: &IpFamily) -> Vec<IpAddr> {
    let (four, six) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    match family {
        IpFamily::IPv6 => vec![six],
        IpFamily::DualStack => vec![four, six],
        IpFamily::IPv4 | IpFamily::Other(_) => vec![four],
    }
}

impl Addresses {
    /// Compares the addresses that a Gateway requests with its own addresses: the addresses that
    /// `ResolveOptions` assigns to the Gateway or, if it assigns no addresses, the bound addresses.
    pub(super) fn resolve(
        index: &ObjectIndex<'_>,
        object: &Object<GatewaySpec>,
        bound: &[IpAddr],
    ) -> Self {
        let Some(assigned) = &index.options.assigned else {
            let holds = |wanted: &str| {
                let wanted = wanted.parse::<IpAddr>();
                wanted
                    .is_ok_and(|wanted| bound.iter().any(|ip| ip.is_unspecified() || *ip == wanted))
            };
            let own = bound.iter().map(IpAddr::to_string).collect();
            return Self::of(
                &object.spec,
                own,
                holds,
                "is not bound; use an address of this machine, or set --bind",
            );
        };
        let own = assigned.get(&object.key().to_string());
        let own = own.cloned().unwrap_or_default();
        let holds = |wanted: &str| own.iter().any(|held| is_same(held, wanted));
        Self::of(
            &object.spec,
            own.clone(),
            holds,
            "is not assigned to the Gateway",
        )
    }

    /// Compares the requested addresses with `own`, the addresses of the Gateway. `holds` returns whether a
    /// requested address is usable; `why` is the message for an address that is not usable.
    fn of(spec: &GatewaySpec, own: Vec<String>, holds: impl Fn(&str) -> bool, why: &str) -> Self {
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let wanted = spec.addresses.iter().map(|address| given(&address.value));
        let wanted: Vec<Option<String>> = wanted.collect();
        let unusable: Vec<&str> = wanted.iter().flatten().map(String::as_str).collect();
        let unusable: Vec<&str> = unusable.into_iter().filter(|one| !holds(one)).collect();
        let error = match (unusable.as_slice(), own.is_empty()) {
            ([], false) => None,
            ([], true) => Some(AddressError {
                reason: GatewayReason::AddressNotAssigned,
                message: "no address is assigned to the Gateway yet".to_owned(),
            }),
            (unusable, _) => Some(AddressError {
                reason: GatewayReason::AddressNotUsable,
                message: format!("spec.addresses: {} {why}", unusable.join(", ")),
            }),
        };
        // If every requested address has a value, only these addresses are reported. A request
        // without a value accepts any address.
        let named: Option<Vec<String>> = wanted.iter().cloned().collect();
        let named = named.filter(|named| !named.is_empty() && error.is_none());
        let mut reported: Vec<String> = Vec::new();
        for address in named.unwrap_or(own) {
            if !reported.iter().any(|held| is_same(held, &address)) {
                reported.push(address);
            }
        }
        reported.truncate(MAX_ADDRESSES);
        Self { reported, error }
    }
}

/// Whether two strings are the same IP address or hostname.
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

    /// The reported addresses, and the reason of the error.
    fn addresses(wanted: serde_json::Value, own: &[&str]) -> (Vec<String>, Option<GatewayReason>) {
        let spec: GatewaySpec = serde_json::from_value(json!({ "addresses": wanted })).unwrap();
        let own: Vec<String> = own.iter().map(|text| (*text).to_owned()).collect();
        let holds = |wanted: &str| own.iter().any(|held| is_same(held, wanted));
        let found = Addresses::of(&spec, own.clone(), holds, "elsewhere");
        (found.reported, found.error.map(|error| error.reason))
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_gateway_reports_the_requested_addresses_only() {
        let wanted = json!([{ "value": "192.0.2.2" }]);

        let found = addresses(wanted, &["192.0.2.1", "192.0.2.2"]);

        assert_eq!(found, (texts(&["192.0.2.2"]), None));
    }

    #[test]
    fn an_address_without_a_value_is_any_address() {
        let any = json!([{ "type": "IPAddress" }]);
        let both = json!([{ "type": "IPAddress" }, { "value": "192.0.2.2" }]);
        let own = ["192.0.2.1", "192.0.2.2"];

        assert_eq!(addresses(any, &own), (texts(&own), None));
        assert_eq!(addresses(both, &own), (texts(&own), None));
    }

    #[test]
    fn an_unusable_address_is_an_error() {
        let wanted = json!([{ "value": "192.0.2.9" }, { "value": "192.0.2.2" }]);

        let found = addresses(wanted.clone(), &["192.0.2.2"]);

        assert_eq!(
            found,
            (texts(&["192.0.2.2"]), Some(GatewayReason::AddressNotUsable))
        );
        assert_eq!(
            addresses(wanted, &[]),
            (texts(&[]), Some(GatewayReason::AddressNotUsable))
        );
    }

    #[test]
    fn a_gateway_without_addresses_has_an_error() {
        assert_eq!(
            addresses(json!([]), &[]),
            (texts(&[]), Some(GatewayReason::AddressNotAssigned))
        );
    }

    #[test]
    fn hostnames_are_addresses_and_duplicates_are_omitted() {
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
