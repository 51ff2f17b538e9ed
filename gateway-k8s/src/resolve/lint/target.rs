//! Policies whose targets do not exist. These policies have no status, because the target may belong to
//! another controller.

use towergate_core::plan::RouteKind;
use towergate_policy::common::{TargetKind, Targets};

use super::super::object_index::ObjectIndex;
use super::super::policy::{Selected, Selection, target_field};
use super::super::report::{Report, Subject};
use crate::api::meta::ObjectMeta;
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
    for (at, selector) in targets.selectors.iter().enumerate() {
        let selection = Selection::new(index, kind, &policy.meta, selector);
        let field = format!("spec.targetSelectors[{at}]");
        selected(index, &selection, &subject, &field, report);
    }
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

/// Reports a selector without targets, and selected objects that no ReferenceGrant permits.
fn selected(
    index: &ObjectIndex<'_>,
    selection: &Selection<'_, '_>,
    subject: &Subject<'_>,
    field: &str,
    report: &mut Report,
) {
    // The validation reports selectors that cannot be read.
    let Some(kind) = selection.target_kind() else {
        return;
    };
    let name = kind.name();
    let mut is_any = false;
    for (key, meta) in metas(index, kind) {
        match selection.select(kind, meta) {
            Selected::No => continue,
            Selected::Yes => {}
            Selected::NotGranted => report.error(
                FindingCode::ReferenceNotGranted,
                subject,
                field,
                format!(
                    "the selector selects {name} {key}, but no ReferenceGrant permits the policy to apply to it; the policy is not in force there"
                ),
                format!(
                    "add a ReferenceGrant in namespace {}, or select fewer namespaces",
                    key.namespace
                ),
            ),
        }
        is_any = true;
    }
    if !is_any {
        report.warn(
            FindingCode::PolicyTargetMissing,
            subject,
            field,
            format!("the selector selects no {name}; it has no effect"),
            "correct the kind, the labels or the namespaces of the selector",
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
    metas(index, kind).into_iter().map(|(key, _)| key).collect()
}

/// All objects of a kind.
fn metas<'a>(index: &ObjectIndex<'a>, kind: TargetKind) -> Vec<(&'a ObjectKey, &'a ObjectMeta)> {
    macro_rules! of {
        ($objects:ident) => {{
            let objects = index.objects.$objects.iter();
            objects.map(|(key, object)| (key, &object.meta)).collect()
        }};
    }
    match kind {
        TargetKind::Gateway => of!(gateways),
        TargetKind::ListenerSet => of!(listener_sets),
        TargetKind::Route(RouteKind::Http) => of!(http_routes),
        TargetKind::Route(RouteKind::Grpc) => of!(grpc_routes),
        TargetKind::Route(RouteKind::Tls) => of!(tls_routes),
        TargetKind::Route(RouteKind::Tcp) => of!(tcp_routes),
        TargetKind::Route(RouteKind::Udp) => of!(udp_routes),
    }
}
