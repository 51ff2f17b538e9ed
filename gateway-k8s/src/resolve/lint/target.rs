//! Policies whose targets do not exist. They have no status, since the target may belong to another
//! controller.

use towergate_core::plan::RouteKind;
use towergate_policy::common::{TargetKind, Targets};

use super::super::object_index::ObjectIndex;
use super::super::policy::target_field;
use super::super::report::{Report, Subject};
use crate::decode::nearest;
use crate::finding::FindingCode;
use crate::objects::{EVERY_NAMESPACE, Object, ObjectKey};

/// Reports policies without a target.
pub(super) fn check(index: &ObjectIndex<'_>, report: &mut Report) {
    let objects = index.objects;
    for policy in objects.client_traffic_policies.values() {
        let (kind, spec) = ("ClientTrafficPolicy", &policy.spec);
        targets(index, kind, policy, spec.targets(), report);
    }
    for policy in objects.backend_traffic_policies.values() {
        let (kind, spec) = ("BackendTrafficPolicy", &policy.spec);
        targets(index, kind, policy, spec.targets(), report);
    }
    for policy in objects.security_policies.values() {
        let (kind, spec) = ("SecurityPolicy", &policy.spec);
        targets(index, kind, policy, spec.targets(), report);
    }
    for policy in objects.extension_policies.values() {
        let (kind, spec) = ("EnvoyExtensionPolicy", &policy.spec);
        targets(index, kind, policy, spec.targets(), report);
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
    index: &ObjectIndex<'_>,
    kind: &'static str,
    policy: &Object<S>,
    targets: Targets<'_>,
    report: &mut Report,
) {
    if policy.meta.namespace == EVERY_NAMESPACE {
        return;
    }
    let subject = Subject::new(kind, policy);
    for (at, target) in targets.refs().enumerate() {
        let name = target.name.as_deref().unwrap_or_default();
        let key = ObjectKey::new(&*policy.meta.namespace, name);
        let field = target_field(targets, at);
        let Some(target_kind) = target.target_kind() else {
            let written = target.kind.as_deref().unwrap_or_default();
            report.error(
                FindingCode::PolicyTargetMissing,
                &subject,
                field,
                format!("policies cannot target {written} {key}; objects of this name fail closed"),
                match nearest(written, TargetKind::ALL.map(TargetKind::name)) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => "target a Gateway, a ListenerSet or a route".to_owned(),
                },
            );
            continue;
        };
        let names = || names(index, target_kind).into_iter();
        if names().any(|other| *other == key) {
            continue;
        }
        let Some(elsewhere) = names().find(|other| other.name == name) else {
            let near = near(names(), &key);
            missing(report, &subject, field, (target_kind.name(), &key), near);
            continue;
        };
        report.error(
            FindingCode::PolicyNamespace,
            &subject,
            field,
            format!(
                "{} {key} not found, but {elsewhere} exists in another namespace; the policy is not in force",
                target_kind.name()
            ),
            format!("move the policy to namespace {}", elsewhere.namespace),
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
    let message = format!("{kind} {key} not found; the policy is not in force");
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "correct the name of the target".to_owned(),
    };
    report.error(
        FindingCode::PolicyTargetMissing,
        subject,
        field,
        message,
        help,
    );
}

/// The most similar name in the namespace of `key`.
fn near<'k>(keys: impl Iterator<Item = &'k ObjectKey>, key: &ObjectKey) -> Option<&'k str> {
    let names = keys.filter(|other| other.namespace == key.namespace);
    nearest(&key.name, names.map(|other| other.name.as_str()))
}

/// The names of all objects of a kind.
fn names<'a>(index: &ObjectIndex<'a>, kind: TargetKind) -> Vec<&'a ObjectKey> {
    let objects = index.objects;
    match kind {
        TargetKind::Gateway => objects.gateways.keys().collect(),
        TargetKind::ListenerSet => objects.listener_sets.keys().collect(),
        TargetKind::Route(RouteKind::Http) => objects.http_routes.keys().collect(),
        TargetKind::Route(RouteKind::Grpc) => objects.grpc_routes.keys().collect(),
        TargetKind::Route(RouteKind::Tls) => objects.tls_routes.keys().collect(),
        TargetKind::Route(RouteKind::Tcp) => objects.tcp_routes.keys().collect(),
        TargetKind::Route(RouteKind::Udp) => objects.udp_routes.keys().collect(),
    }
}
