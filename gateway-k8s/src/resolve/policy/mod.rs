//! Policies: their targets, precedence and enforced settings.
//!
//! ```text
//! target: targets of a policy ──> attach: first policy of each target ──┬─> effective settings
//!                                                                       └─> status of each ancestor
//! ```
//!
//! | kind | targets | the most specific policy applies |
//! |---|---|---|
//! | ClientTrafficPolicy | Gateways, ListenerSets, listeners | whole |
//! | BackendTrafficPolicy, SecurityPolicy | Gateways, ListenerSets, listeners, routes, rules | whole, or merged into its parent |
//! | BackendTLSPolicy | Services, their ports | whole |
//!
//! If several policies have the same target, the oldest one applies, then the first by namespace
//! and name. A policy that cannot be enforced fails closed: its targets return 500.

mod ancestors;
mod attach;
pub(crate) mod backend_tls;
mod backend_traffic;
mod client_traffic;
pub(super) mod context;
mod effective;
mod extension;
mod object_data;
mod security;
mod selection;
pub(super) mod session_keys;
pub(super) mod streams;
mod target;

pub(super) use ancestors::{applicable, without_effect};
pub(super) use backend_traffic::TrafficEffect;
pub(super) use client_traffic::{ClientEffect, ClientTraffic};
pub(super) use effective::{Attached, InForce, On, RoutePolicySpec};
pub(super) use selection::{Selected, Selection};
pub(super) use target::target_field;

use std::borrow::Cow;
use std::cell::RefCell;

use towergate_policy::{BackendTrafficPolicySpec, FieldError, SchemaViolation, SecurityPolicySpec};

use super::gateway::Gateways;
use super::indexed::RouteIndex;
use super::object_index::ObjectIndex;
use super::report::{Report, Subject};
use super::route::overlap::ConnectRules;
use super::route::{Backends, Routes};
use crate::api::policy::{EnvoyExtensionPolicySpec, EnvoyPatchPolicySpec};
use crate::finding::FindingCode;
use crate::objects::EVERY_NAMESPACE;
use crate::status::{PolicyReason, StatusKey, Statuses};
use target::TargetIndex;

/// All policies of Envoy Gateway, with their targets.
#[derive(Debug)]
pub(super) struct Policies<'a> {
    pub(super) client: ClientTraffic<'a>,
    pub(super) traffic: Attached<'a, BackendTrafficPolicySpec>,
    pub(super) security: Attached<'a, SecurityPolicySpec>,
    pub(super) extension: Attached<'a, EnvoyExtensionPolicySpec>,
    pub(super) patch: Attached<'a, EnvoyPatchPolicySpec>,
}

impl Policies<'_> {
    /// Whether there are no policies of routes.
    pub(super) fn are_none_of_routes(&self) -> bool {
        self.traffic.is_empty()
            && self.security.is_empty()
            && self.extension.is_empty()
            && self.patch.is_empty()
    }

    /// Whether an unsupported policy covers a rule of a route on a listener.
    pub(super) fn close(
        &self,
        objects: context::PolicyObjects<'_, '_>,
        route: RouteIndex,
        rule: Option<&str>,
        on: On<'_>,
    ) -> bool {
        fn closes<S: RoutePolicySpec>(
            attached: &Attached<'_, S>,
            objects: context::PolicyObjects<'_, '_>,
            (route, rule, on): (RouteIndex, Option<&str>, On<'_>),
        ) -> bool {
            !attached.is_empty()
                && attached
                    .find(route, rule, on)
                    .is_some_and(|policy| policy.effect(objects).is_err())
        }
        closes(&self.extension, objects, (route, rule, on))
            || closes(&self.patch, objects, (route, rule, on))
    }
}

impl Policies<'_> {
    /// The rules of HTTPRoutes and GRPCRoutes that serve CONNECT requests only.
    pub(super) fn rules_for_connect(
        &self,
        gateways: &Gateways<'_>,
        routes: &Routes<'_>,
    ) -> ConnectRules {
        let mut found = ConnectRules::new();
        let mut objects = self.traffic.places.values();
        if !objects.any(|object| object.spec.serves_connect()) {
            return found;
        }
        for (route, state) in routes.indexed() {
            for attachment in &state.attachments {
                for (listener, _) in &attachment.listeners {
                    let served = &gateways.list[attachment.gateway].listeners[*listener];
                    let on = On {
                        gateway: attachment.gateway,
                        set: served.set,
                        listener: &served.spec.name,
                    };
                    for rule in &state.rules {
                        let policy = self.traffic.find(route, rule.name.as_deref(), on);
                        let connect = policy.is_some_and(|policy| {
                            let mut objects = policy.parent.into_iter().chain([policy.policy]);
                            objects.any(|object| object.spec.serves_connect())
                        });
                        if connect {
                            found.insert((route, rule.index, attachment.gateway, *listener));
                        }
                    }
                }
            }
        }
        found
    }
}

/// Attaches all policies.
pub(super) fn resolve<'a>(
    index: &ObjectIndex<'a>,
    backends: &RefCell<Backends<'a>>,
    gateways: &Gateways<'a>,
    routes: &Routes<'a>,
    report: &mut Report,
    statuses: &mut Statuses,
) -> Policies<'a> {
    let places = TargetIndex::new(index, backends, gateways, routes);
    let objects = index.objects;
    let client = client_traffic::attach(&places, report, statuses);
    let traffic = attach::attach(&places, &objects.backend_traffic_policies, report, statuses);
    let security = attach::attach(&places, &objects.security_policies, report, statuses);
    let extension = attach::attach(&places, &objects.extension_policies, report, statuses);
    let patch = attach::attach(&places, &objects.patch_policies, report, statuses);
    Policies {
        client,
        traffic,
        security,
        extension,
        patch,
    }
}

/// Adds the status of a policy if the status has entries.
fn note(
    index: &ObjectIndex<'_>,
    statuses: &mut Statuses,
    key: StatusKey,
    generation: i64,
    mut status: crate::status::PolicyStatus,
) {
    status.truncate();
    if !status.ancestors.is_empty() {
        let value = status.to_value(generation, &index.options.controller_name);
        statuses.0.insert(key, value);
    }
}

/// Error of a policy that cannot be enforced, with the field.
#[derive(Clone, Debug)]
pub(super) struct Unusable {
    field: String,
    message: String,
    /// Whether the error is a schema violation, which `lint` reports by field.
    inadmissible: bool,
    /// More specific advice than that of the reason.
    help: Option<String>,
}

impl Unusable {
    /// The message for a condition. A condition has no field, so the message about an invalid policy includes
    /// it.
    fn condition_message(&self, reason: PolicyReason) -> Cow<'_, str> {
        let names_it = self.message.contains(&self.field);
        match reason == PolicyReason::Invalid && !names_it {
            true => format!("{}: {}", self.field, self.message).into(),
            false => Cow::Borrowed(&self.message),
        }
    }

    /// The error of a policy that is merged with another policy. The message contains the field, because the
    /// other policy may set it.
    fn of_merge(self, origin: &str) -> Self {
        let message = self.condition_message(PolicyReason::Invalid);
        let help = "correct the other policy, or remove mergeType; until then the targets of the policy return 500";
        Self {
            field: "spec.mergeType".to_owned(),
            message: format!("{origin}: {message}"),
            help: Some(help.to_owned()),
            ..self
        }
    }

    /// An error about a target that is missing or belongs to another policy.
    fn target(message: String) -> Self {
        Self {
            field: "spec.targetRefs".to_owned(),
            message,
            inadmissible: false,
            help: None,
        }
    }

    /// An error about the missing section that `field` names.
    fn section(field: String, (message, help): (String, String)) -> Self {
        Self {
            field,
            message,
            inadmissible: false,
            help: Some(help),
        }
    }
}

impl From<FieldError> for Unusable {
    fn from(refusal: FieldError) -> Self {
        Self {
            field: refusal.field,
            message: refusal.message,
            inadmissible: false,
            help: None,
        }
    }
}

/// Reason of a policy that makes its namespace fail closed.
const TARGETS_UNREADABLE: &str = "the targets of the policy cannot be read";

/// Reports a policy that makes its possible targets fail closed. The possible targets are everything in
/// `namespace`. If `namespace` is `None`, they are the objects that the readable parts of the selectors
/// select.
fn report_unreadable(report: &mut Report, subject: &Subject<'_>, namespace: Option<&str>) {
    let scope = match namespace {
        None => "everything that the readable part of its selectors selects".to_owned(),
        Some(EVERY_NAMESPACE) => "everything that the policy may cover in any namespace".to_owned(),
        Some(name) => {
            format!(
                "everything in namespace {name} that the policy may cover, including routes on the Gateways of this namespace,"
            )
        }
    };
    report.error(
        FindingCode::PolicyTargetsUnreadable,
        subject,
        "spec.targetRefs",
        format!("{TARGETS_UNREADABLE}; {scope} fails closed"),
        "name group, kind and name of each target in spec.targetRefs",
    );
}

/// Returns an error if there are schema violations.
fn admitted(faults: &[SchemaViolation]) -> Result<(), Unusable> {
    let Some(first) = faults.first() else {
        return Ok(());
    };
    let messages: Vec<_> = faults.iter().map(ToString::to_string).collect();
    Err(Unusable {
        field: first.field.clone(),
        message: messages.join("; "),
        inadmissible: true,
        help: None,
    })
}

/// Reports why a policy is not enforced.
fn report_unusable(
    report: &mut Report,
    subject: &Subject<'_>,
    reason: PolicyReason,
    fault: &Unusable,
) {
    if fault.inadmissible {
        return;
    }
    let (code, help) = match reason {
        PolicyReason::TargetNotFound => (
            FindingCode::PolicyTargetSection,
            "name a listener of the Gateway, or a rule of the route",
        ),
        PolicyReason::Conflicted => (FindingCode::PolicyConflict, "remove one of the policies"),
        PolicyReason::Accepted
        | PolicyReason::Aggregated
        | PolicyReason::DeprecatedField
        | PolicyReason::Invalid
        | PolicyReason::InvalidCaCertificateRef
        | PolicyReason::InvalidKind
        | PolicyReason::Merged
        | PolicyReason::NoValidCaCertificate
        | PolicyReason::Overridden
        | PolicyReason::ResolvedRefs
        | PolicyReason::UnsupportedField
        | PolicyReason::UnsupportedHttp3ClientValidation
        | PolicyReason::Warnings => (
            FindingCode::PolicyInvalid,
            "correct or remove the field; until then the targets of the policy return 500",
        ),
    };
    let help = fault.help.as_deref().unwrap_or(help);
    report.error(code, subject, &*fault.field, &*fault.message, help);
}
