//! Policies that name what is not there. Nothing is said in their status, since the target may be
//! somebody else's; so it is said here.

use towergate_policy::common::Targets;

use super::super::policy::target_field;
use super::super::report::{Report, Subject};
use super::super::world::World;
use crate::decode::nearest;
use crate::objects::{Object, ObjectKey};

/// Reports policies without a target.
pub(super) fn check(world: &World<'_>, report: &mut Report) {
    let objects = world.objects;
    for policy in objects.client_traffic_policies.values() {
        targets(
            world,
            "ClientTrafficPolicy",
            policy,
            policy.spec.targets(),
            report,
        );
    }
    for policy in objects.backend_traffic_policies.values() {
        targets(
            world,
            "BackendTrafficPolicy",
            policy,
            policy.spec.targets(),
            report,
        );
    }
    for policy in objects.security_policies.values() {
        targets(
            world,
            "SecurityPolicy",
            policy,
            policy.spec.targets(),
            report,
        );
    }
    for policy in objects.backend_tls_policies.values() {
        let subject = Subject::new("BackendTLSPolicy", policy);
        for (at, target) in policy.spec.target_refs.iter().enumerate() {
            let key = ObjectKey::new(&*policy.meta.namespace, &*target.name);
            if target.kind == "Service" && !objects.services.contains_key(&key) {
                let field = format!("spec.targetRefs[{at}]");
                let near = near(objects.services.keys(), &key);
                missing(report, &subject, field, ("Service", &key), near);
            }
        }
    }
}

fn targets<S>(
    world: &World<'_>,
    kind: &'static str,
    policy: &Object<S>,
    targets: Targets<'_>,
    report: &mut Report,
) {
    let subject = Subject::new(kind, policy);
    for (at, target) in targets.refs().enumerate() {
        let name = target.name.as_deref().unwrap_or_default();
        let target_kind = target.kind.as_deref().unwrap_or_default();
        let key = ObjectKey::new(&*policy.meta.namespace, name);
        let field = target_field(targets, at);
        if names(world, target_kind).is_none() {
            report.error(
                "policy-target-missing",
                &subject,
                field,
                format!("The policy is not in force: {target_kind} {key} is of a kind that is not served."),
                "Target a Gateway, a ListenerSet or a route.",
            );
            continue;
        }
        let names = || names(world, target_kind).into_iter().flatten();
        if names().any(|other| *other == key) {
            continue;
        }
        let Some(elsewhere) = names().find(|other| other.name == name) else {
            let near = near(names(), &key);
            missing(report, &subject, field, (target_kind, &key), near);
            continue;
        };
        report.error(
            "policy-namespace",
            &subject,
            field,
            format!(
                "The policy is not in force: it looks for {target_kind} {key}, and {elsewhere} is in another namespace."
            ),
            format!("Move the policy to namespace {}.", elsewhere.namespace),
        );
    }
}

fn missing(
    report: &mut Report,
    subject: &Subject<'_>,
    field: String,
    (kind, key): (&str, &ObjectKey),
    near: Option<&str>,
) {
    let message = format!("The policy is not in force: there is no {kind} {key}.");
    let help = match near {
        Some(near) => format!("Did you mean `{near}`?"),
        None => "Name an object that is there.".to_owned(),
    };
    report.error("policy-target-missing", subject, field, message, help);
}

/// The name in the namespace of `key` that may have been meant.
fn near<'k>(keys: impl Iterator<Item = &'k ObjectKey>, key: &ObjectKey) -> Option<&'k str> {
    let names = keys.filter(|other| other.namespace == key.namespace);
    nearest(&key.name, names.map(|other| other.name.as_str()))
}

/// The names of all objects of a kind that policies are for; `None`: it is none.
fn names<'a>(world: &World<'a>, kind: &str) -> Option<Vec<&'a ObjectKey>> {
    let objects = world.objects;
    Some(match kind {
        "Gateway" => objects.gateways.keys().collect(),
        "ListenerSet" => objects.listener_sets.keys().collect(),
        "HTTPRoute" => objects.http_routes.keys().collect(),
        "GRPCRoute" => objects.grpc_routes.keys().collect(),
        "TLSRoute" => objects.tls_routes.keys().collect(),
        "TCPRoute" => objects.tcp_routes.keys().collect(),
        "UDPRoute" => objects.udp_routes.keys().collect(),
        _ => return None,
    })
}
