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
        if !matches!(
            target_kind,
            "Gateway" | "ListenerSet" | "HTTPRoute" | "GRPCRoute"
        ) {
            report.error(
                "policy-target-missing",
                &subject,
                field,
                format!("The policy is not in force: {target_kind} {key} is of a kind that is not served."),
                "Target a Gateway, a ListenerSet, an HTTPRoute or a GRPCRoute.",
            );
            continue;
        }
        if exists(world, target_kind, &key) {
            continue;
        }
        let elsewhere = elsewhere(world, target_kind, name);
        let Some(elsewhere) = elsewhere else {
            let near = nearest_name(world, target_kind, &key);
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

fn nearest_name<'a>(world: &World<'a>, kind: &str, key: &ObjectKey) -> Option<&'a str> {
    match kind {
        "Gateway" => near(world.objects.gateways.keys(), key),
        "ListenerSet" => near(world.objects.listener_sets.keys(), key),
        "HTTPRoute" => near(world.objects.http_routes.keys(), key),
        "GRPCRoute" => near(world.objects.grpc_routes.keys(), key),
        _ => None,
    }
}

fn exists(world: &World<'_>, kind: &str, key: &ObjectKey) -> bool {
    match kind {
        "Gateway" => world.objects.gateways.contains_key(key),
        "ListenerSet" => world.objects.listener_sets.contains_key(key),
        "HTTPRoute" => world.objects.http_routes.contains_key(key),
        "GRPCRoute" => world.objects.grpc_routes.contains_key(key),
        _ => false,
    }
}

/// An object of this kind and name in some namespace.
fn elsewhere(world: &World<'_>, kind: &str, name: &str) -> Option<ObjectKey> {
    fn find<'k>(mut keys: impl Iterator<Item = &'k ObjectKey>, name: &str) -> Option<ObjectKey> {
        keys.find(|key| key.name == name).cloned()
    }
    match kind {
        "Gateway" => find(world.objects.gateways.keys(), name),
        "ListenerSet" => find(world.objects.listener_sets.keys(), name),
        "HTTPRoute" => find(world.objects.http_routes.keys(), name),
        "GRPCRoute" => find(world.objects.grpc_routes.keys(), name),
        _ => None,
    }
}
