//! How clients' addresses are found: what follows from the choice, for people who made it by accident.

use towergate_policy::ClientTrafficPolicySpec;

use super::super::gateway::{GatewayState, Gateways};
use super::super::policy::Policies;
use super::super::report::{Report, Subject};
use super::super::world::World;
use crate::objects::Object;

/// What to do where nothing says how clients' addresses are found.
const SAY_IT: &str = "Behind a load balancer that sends PROXY headers set proxyProtocol in a ClientTrafficPolicy: without it every request is answered 400. Behind an HTTP proxy set clientIPDetection. Where clients connect directly, say so with clientIPDetection.directSourceIP: {}.";

/// Reports what a ClientTrafficPolicy, or none at all, means for clients' addresses.
pub(super) fn check(
    world: &World<'_>,
    gateways: &Gateways<'_>,
    policies: &Policies<'_>,
    report: &mut Report,
) {
    for (at, gateway) in gateways.list.iter().enumerate() {
        unknown(at, gateway, policies, report);
    }
    for policy in world.objects.client_traffic_policies.values() {
        // What is wrong with one that is not in force is told elsewhere.
        let targeted = targeted(policy, gateways);
        if policy.misread.is_empty() && !targeted.is_empty() {
            proxy_protocol(policy, report);
            forwarded_for(policy, report);
            tcp_idle(policy, &targeted, report);
        }
    }
}

/// Reports listeners for which nothing says how clients' addresses are found.
fn unknown(at: usize, gateway: &GatewayState<'_>, policies: &Policies<'_>, report: &mut Report) {
    let subject = Subject::new("Gateway", gateway.object);
    let of_requests = |listener: &usize| {
        let protocol = gateway.listeners[*listener].spec.protocol.as_str();
        !matches!(protocol, "TLS" | "TCP" | "UDP")
    };
    let all: Vec<_> = (0..gateway.listeners.len()).collect();
    let all: Vec<_> = all.into_iter().filter(of_requests).collect();
    if all.is_empty() && !gateway.listeners.is_empty() {
        return;
    }
    let bare = |listener: &&usize| policies.client.find(at, **listener).is_none();
    let bare: Vec<_> = all.iter().filter(bare).copied().collect();
    if bare.len() == all.len() {
        let message = "No ClientTrafficPolicy is for this Gateway: the other end of the connection counts as the client.";
        return report.note("client-address-unknown", &subject, "spec", message, SAY_IT);
    }
    for listener in bare {
        let message = format!(
            "No ClientTrafficPolicy is for listener {}: the other end of the connection counts as the client.",
            gateway.listeners[listener].spec.name
        );
        let field = format!("spec.listeners[{listener}].name");
        report.note("client-address-unknown", &subject, field, message, SAY_IT);
    }
}

/// The Gateways of ours that a policy names, which are of its own namespace.
fn targeted<'g, 'a>(
    policy: &Object<ClientTrafficPolicySpec>,
    gateways: &'g Gateways<'a>,
) -> Vec<&'g GatewayState<'a>> {
    let targets = policy.spec.targets();
    let ours = gateways.list.iter().filter(|gateway| {
        let meta = &gateway.object.meta;
        let named = |name: &Option<String>| name.as_deref() == Some(meta.name.as_str());
        meta.namespace == policy.meta.namespace
            && (!targets.selectors.is_empty() || targets.refs().any(|target| named(&target.name)))
    });
    ours.collect()
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
            "Connect by way of the load balancer, and let its health checks send the header, too.",
        );
    }
}

fn tcp_idle(
    policy: &Object<ClientTrafficPolicySpec>,
    targeted: &[&GatewayState<'_>],
    report: &mut Report,
) {
    let timeout = policy.spec.timeout.as_ref();
    let tcp = timeout.and_then(|timeout| timeout.tcp.as_ref());
    let mut listeners = targeted.iter().flat_map(|gateway| &gateway.listeners);
    let proxied = listeners.any(|one| matches!(&*one.spec.protocol, "TLS" | "TCP"));
    if !proxied && tcp.is_some_and(|tcp| tcp.idle_timeout.is_some()) {
        report.warn(
            "timeout-without-effect",
            &Subject::new("ClientTrafficPolicy", policy),
            "spec.timeout.tcp.idleTimeout",
            "This time is for listeners of TLS and TCP, of which the Gateway has none: it has no effect.",
            "For connections without a request set timeout.http.idleTimeout, or remove the field.",
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
        "Let nobody but the proxy reach the port.",
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
