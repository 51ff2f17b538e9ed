//! How clients' addresses are found: what follows from the choice, for people who made it by accident.

use towergate_policy::ClientTrafficPolicySpec;

use super::super::gateway::Gateways;
use super::super::report::{Report, Subject};
use super::super::world::World;
use crate::objects::Object;

/// Reports what a ClientTrafficPolicy, or none at all, means for clients' addresses.
pub(super) fn check(world: &World<'_>, gateways: &Gateways<'_>, report: &mut Report) {
    let policies = &world.objects.client_traffic_policies;
    for gateway in &gateways.list {
        let key = gateway.object.key();
        let targeted = policies.values().any(|policy| {
            let targets = policy.spec.targets();
            let mut refs = targets.refs();
            policy.meta.namespace == key.namespace
                && (!targets.selectors.is_empty()
                    || refs.any(|target| target.name.as_deref() == Some(&*key.name)))
        });
        if !targeted {
            report.note(
                "client-address-unknown",
                &Subject::new("Gateway", gateway.object),
                "",
                "No ClientTrafficPolicy: the other end of the connection counts as the client.",
                "Behind a load balancer that sends PROXY headers every request is answered 400: set proxyProtocol. Behind an HTTP proxy, set clientIPDetection.",
            );
        }
    }
    for policy in policies.values() {
        proxy_protocol(policy, report);
        forwarded_for(policy, report);
    }
}

fn proxy_protocol(policy: &Object<ClientTrafficPolicySpec>, report: &mut Report) {
    let subject = Subject::new("ClientTrafficPolicy", policy);
    let Some(settings) = &policy.spec.proxy_protocol else {
        return;
    };
    if settings.optional == Some(true) {
        report.warn(
            "proxy-protocol-optional",
            &subject,
            "spec.proxyProtocol.optional",
            "Connections without a PROXY header are served, too: whoever reaches the port directly is not seen as who they are.",
            "Set optional to false once every client comes through the load balancer.",
        );
    } else {
        report.note(
            "proxy-protocol-required",
            &subject,
            "spec.proxyProtocol",
            "Connections without a PROXY header are closed: also health checks of the load balancer, and curl to the address of a pod or node.",
            "",
        );
    }
}

fn forwarded_for(policy: &Object<ClientTrafficPolicySpec>, report: &mut Report) {
    let subject = Subject::new("ClientTrafficPolicy", policy);
    let detection = policy.spec.client_ip_detection.as_ref();
    let Some(settings) = detection.and_then(|detection| detection.x_forwarded_for.as_ref()) else {
        return;
    };
    let hops = settings.num_trusted_hops.unwrap_or_default();
    report.note(
        "forwarded-for-trusted",
        &subject,
        "spec.clientIPDetection.xForwardedFor",
        "X-Forwarded-For tells who the client is: who reaches the port without the proxy in front can write it, and without any such header the other end of the connection counts.",
        "Let only the proxy reach the port.",
    );
    if hops > 1 {
        report.note(
            "trusted-hops",
            &subject,
            "spec.clientIPDetection.xForwardedFor.numTrustedHops",
            format!(
                "The entry at place {hops} from the right of X-Forwarded-For is the client: with fewer proxies in front, it is what the caller wrote; with more, it is one of the proxies."
            ),
            "Count the proxies in front of the gateway that add to the header.",
        );
    }
}
