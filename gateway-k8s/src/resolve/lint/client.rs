//! Detection of the client address, and its consequences that users easily overlook.

use towergate_policy::ClientTrafficPolicySpec;
use towergate_policy::client_traffic::XForwardedFor;

use super::super::gateway::{GatewayState, Gateways, ListenerProtocol};
use super::super::indexed::{GatewayIndex, ListenerIndex};
use super::super::object_index::ObjectIndex;
use super::super::policy::Policies;
use super::super::report::{Report, Subject};
use crate::finding::FindingCode;
use crate::objects::Object;

/// Advice if no policy configures the detection of the client address.
const SET_DETECTION: &str = "behind a load balancer that sends PROXY headers, set proxyProtocol in a ClientTrafficPolicy, otherwise every request gets 400; behind an HTTP proxy, set clientIPDetection; if clients connect directly, set clientIPDetection.directSourceIP: {}";

/// Consequence if no policy configures the detection of the client address.
const PEER_IS_CLIENT: &str = "the client address is the peer address of the connection";

/// Reports consequences of ClientTrafficPolicies, or of their absence, for client addresses.
pub(super) fn check(
    index: &ObjectIndex<'_>,
    gateways: &Gateways<'_>,
    policies: &Policies<'_>,
    report: &mut Report,
) {
    for (at, gateway) in gateways.list.indexed() {
        unknown(at, gateway, policies, report);
    }
    for policy in index.objects.client_traffic_policies.values() {
        // Errors of policies are reported elsewhere.
        let targeted = targeted(policy, gateways);
        if policy.unreadable_fields.is_empty() && !targeted.is_empty() {
            proxy_protocol(policy, report);
            forwarded_for(policy, report);
            old_version(policy, report);
            tcp_idle(policy, &targeted, report);
        }
    }
}

/// Reports listeners without a policy that configures the detection of the client address.
fn unknown(
    at: GatewayIndex,
    gateway: &GatewayState<'_>,
    policies: &Policies<'_>,
    report: &mut Report,
) {
    if gateway.is_refused() {
        return;
    }
    let subject = Subject::new("Gateway", gateway.object);
    let of_requests = |listener: &ListenerIndex| {
        let protocol = gateway.listeners[*listener].protocol;
        protocol.is_none_or(ListenerProtocol::is_http)
    };
    let all: Vec<_> = gateway.listeners.indices().filter(of_requests).collect();
    if all.is_empty() && !gateway.listeners.is_empty() {
        return;
    }
    let policy = |listener: ListenerIndex| policies.client.policy(at, listener);
    let is_silent = |listener: &&ListenerIndex| {
        // Errors of policies are reported elsewhere.
        policy(**listener).is_none_or(|policy| {
            policy.unreadable_fields.is_empty() && !policy.spec.sets_client_address()
        })
    };
    let silent: Vec<_> = all.iter().filter(is_silent).copied().collect();
    if silent.len() == all.len() {
        let cause = match silent.iter().any(|listener| policy(*listener).is_some()) {
            true => {
                "no ClientTrafficPolicy of the Gateway sets where the client address comes from"
            }
            false => "no ClientTrafficPolicy targets the Gateway",
        };
        return report.note(
            FindingCode::ClientAddressUnknown,
            &subject,
            "spec",
            format!("{cause}; {PEER_IS_CLIENT}"),
            SET_DETECTION,
        );
    }
    for at in silent {
        let listener = &gateway.listeners[at];
        let name = &listener.spec.name;
        let cause = match policy(at) {
            Some(policy) => format!(
                "ClientTrafficPolicy {} of listener {name:?} does not set where the client address comes from",
                policy.meta.name
            ),
            None => format!("no ClientTrafficPolicy targets listener {name:?}"),
        };
        let message = format!("{cause}; {PEER_IS_CLIENT}");
        let field = format!("spec.listeners[{}].name", listener.at);
        report.note(
            FindingCode::ClientAddressUnknown,
            &gateway.subject(listener.set),
            field,
            message,
            SET_DETECTION,
        );
    }
}

/// The Gateways that a policy targets in its own namespace.
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
            FindingCode::ProxyProtocolOptional,
            &subject,
            "spec.proxyProtocol.optional",
            "connections without a PROXY header are accepted; their client address is the peer address",
            "set optional to false once every client connects through the load balancer",
        );
    } else {
        report.note(
            FindingCode::ProxyProtocolRequired,
            &subject,
            "spec.proxyProtocol",
            "connections without a PROXY header are closed, including health checks of the load balancer and curl to a pod or node",
            "connect through the load balancer, and let its health checks send the header",
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
    let proxied = listeners.any(|one| {
        matches!(
            one.protocol,
            Some(ListenerProtocol::Tls | ListenerProtocol::Tcp)
        )
    });
    if !proxied && tcp.is_some_and(|tcp| tcp.idle_timeout.is_some()) {
        report.warn(
            FindingCode::TimeoutWithoutEffect,
            &Subject::new("ClientTrafficPolicy", policy),
            "spec.timeout.tcp.idleTimeout",
            "the timeout has no effect: it applies to TLS and TCP listeners, and the Gateway has no listener of this kind",
            "set timeout.http.idleTimeout for connections without a request, or remove the field",
        );
    }
}

/// Reports that a proxy in front must not use HTTP/1.0, the default of older versions of nginx. Policies that
/// list the networks of the proxy are not reported.
fn old_version(policy: &Object<ClientTrafficPolicySpec>, report: &mut Report) {
    let detection = policy.spec.client_ip_detection.as_ref();
    let field = match detection {
        Some(detection)
            if detection
                .x_forwarded_for
                .as_ref()
                .is_some_and(believes_every_peer) =>
        {
            "xForwardedFor"
        }
        Some(detection) if detection.custom_header.is_some() => "customHeader",
        Some(_) | None => return,
    };
    let http1 = policy.spec.http1.as_ref();
    if http1.is_some_and(|http1| http1.http10.is_some()) {
        return;
    }
    report.note(
        FindingCode::Http10Rejected,
        &Subject::new("ClientTrafficPolicy", policy),
        format!("spec.clientIPDetection.{field}"),
        "a proxy is in front, and requests over HTTP/1.0 get 426; older versions of nginx use HTTP/1.0 by default",
        "let the proxy use HTTP/1.1 (nginx: proxy_http_version 1.1), or set spec.http1.http10: {}",
    );
}

/// Whether `X-Forwarded-For` is trusted from every peer. `trustedCIDRs` restricts trust to peers in
/// its networks.
fn believes_every_peer(settings: &XForwardedFor) -> bool {
    let every = |cidr: &String| cidr.ends_with("/0");
    match &settings.trusted_cidrs {
        Some(networks) => networks.iter().any(every),
        None => true,
    }
}

fn forwarded_for(policy: &Object<ClientTrafficPolicySpec>, report: &mut Report) {
    let subject = Subject::new("ClientTrafficPolicy", policy);
    let detection = policy.spec.client_ip_detection.as_ref();
    let Some(settings) = detection.and_then(|detection| detection.x_forwarded_for.as_ref()) else {
        return;
    };
    let hops = settings.num_trusted_hops.unwrap_or_default();
    if believes_every_peer(settings) {
        report.note(
            FindingCode::ForwardedForTrusted,
            &subject,
            "spec.clientIPDetection.xForwardedFor",
            "the client address is taken from X-Forwarded-For, which clients that reach the port without the proxy can forge; without the header, the client address is the peer address",
            "allow connections to the port only from the proxy, or list its networks in trustedCIDRs",
        );
    }
    if hops > 1 {
        report.note(
            FindingCode::TrustedHops,
            &subject,
            "spec.clientIPDetection.xForwardedFor.numTrustedHops",
            format!(
                "the client address is entry {hops} of X-Forwarded-For, counted from the right; with fewer proxies in front, clients can forge the entry, and with more, the entry is the address of a proxy"
            ),
            "count the proxies in front of the gateway that append to the header",
        );
    }
}
