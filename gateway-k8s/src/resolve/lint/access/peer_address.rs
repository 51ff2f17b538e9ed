//! Authorization by a client address that may be that of a load balancer.

use towergate_policy::security::AuthorizationRule;

use super::super::super::report::{Report, Subject};
use super::{Inputs, Place, PolicyUse};
use crate::finding::FindingCode;

/// Reports authorization rules by client address on listeners that do not configure the source of this
/// address.
pub(super) fn check(
    used: &PolicyUse<'_, '_>,
    inputs: Inputs<'_, '_>,
    subject: &Subject<'_>,
    report: &mut Report,
) {
    let authorization = used.policy.spec.authorization.as_ref();
    let rules = authorization.and_then(|authorization| authorization.rules.as_ref());
    let mut rules = rules.into_iter().flatten().enumerate();
    let by_address = rules.find_map(|(at, rule)| Some((at, address_field(rule)?)));
    let unset = used
        .rules
        .iter()
        .find(|placed| !configures_address(&placed.place, inputs));
    if let (Some((rule, field)), Some(placed)) = (by_address, unset) {
        let message = format!(
            "no ClientTrafficPolicy sets how listener {:?} determines the client address; behind a load balancer, the rule compares the address of the load balancer",
            placed.place.listener.spec.name
        );
        report.warn(
            FindingCode::AuthorizationByPeerAddress,
            subject,
            format!("spec.authorization.rules[{rule}].{field}"),
            message,
            "set proxyProtocol or clientIPDetection in a ClientTrafficPolicy; if clients connect directly, set clientIPDetection.directSourceIP: {}",
        );
    }
}

/// The field of a rule that depends on the client address.
fn address_field(rule: &AuthorizationRule) -> Option<&'static str> {
    let principal = rule.principal.as_ref();
    let networks = principal.is_some_and(|one| one.client_cidrs.is_some());
    let locations = principal.is_some_and(|one| one.client_ip_geo_locations.is_some());
    let expression = rule.cel.as_deref().is_some_and(reads_address);
    let fields = [
        (networks, "principal.clientCIDRs"),
        (locations, "principal.clientIPGeoLocations"),
        (expression, "cel"),
    ];
    let mut fields = fields.into_iter();
    fields.find_map(|(is_set, field)| is_set.then_some(field))
}

/// Whether a CEL expression has the attribute `source.address`.
fn reads_address(expression: &str) -> bool {
    let compact: String = expression.split_whitespace().collect();
    let spellings = [
        "source.address",
        "source['address']",
        r#"source["address"]"#,
    ];
    spellings.iter().any(|text| compact.contains(text))
}

/// Whether a ClientTrafficPolicy determines the client address on a listener.
fn configures_address(place: &Place<'_, '_>, inputs: Inputs<'_, '_>) -> bool {
    let client = &inputs.policies.client;
    let own = client.policy(place.gateway, place.at);
    let detects = own.is_some_and(|policy| {
        // A listener with an unreadable policy fails closed, so no finding is needed.
        !policy.unreadable_fields.is_empty() || policy.spec.client_ip_detection.is_some()
    });
    detects || expects_proxy_header(place, inputs)
}

/// Whether connections to the port of a listener start with a PROXY header.
pub(super) fn expects_proxy_header(place: &Place<'_, '_>, inputs: Inputs<'_, '_>) -> bool {
    let listeners = &inputs.gateways.list[place.gateway].listeners;
    let mut of_port = listeners
        .indexed()
        .filter(|(_, other)| other.spec.port == place.listener.spec.port);
    of_port.any(|(at, _)| {
        let tcp = inputs.policies.client.tcp(place.gateway, at);
        tcp.proxy_protocol.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_with_the_client_address_is_recognized() {
        for (expression, reads) in [
            ("source.address.startsWith('10.')", true),
            ("source . address == 'a'", true),
            ("source['address'] == 'a'", true),
            (r#"source[ "address" ] == 'a'"#, true),
            ("request.path == '/a'", false),
            ("destination.address == 'a'", false),
        ] {
            assert_eq!(reads_address(expression), reads, "{expression}");
        }
    }
}
