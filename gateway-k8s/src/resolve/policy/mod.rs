//! Policies: what they are attached to, which of them win, and what they set.
//!
//! ```text
//! targets: what a policy names ──> attach: who comes first at each place ──> in force where
//!                                                                            └─> status of each ancestor
//! ```
//!
//! | kind | places | the most specific wins |
//! |---|---|---|
//! | ClientTrafficPolicy | Gateways, ListenerSets, listeners | whole |
//! | BackendTrafficPolicy, SecurityPolicy | Gateways, ListenerSets, listeners, routes, rules | whole, or merged into its parent |
//! | BackendTLSPolicy | Services, their ports | whole |
//!
//! At one place the oldest policy counts, then the first by namespace and name. A policy that asks for
//! what cannot be done fails closed: what it covers answers 500.

mod ancestors;
mod attach;
pub(crate) mod backend_tls;
mod backend_traffic;
mod client_traffic;
mod security;
mod target;

pub(super) use attach::{Attached, InForce, On, RouteSpec};
pub(super) use backend_traffic::TrafficEffect;
pub(super) use client_traffic::{ClientEffect, ClientTraffic};
pub(super) use target::target_field;

use towergate_policy::{BackendTrafficPolicySpec, FieldError, SchemaViolation, SecurityPolicySpec};

use super::gateway::Gateways;
use super::report::{Report, Subject};
use super::route::RouteState;
use super::world::World;
use crate::status::{StatusKey, Statuses};
use target::Places;

/// All policies of Envoy Gateway, and where they are in force.
#[derive(Debug)]
pub(super) struct Policies<'a> {
    pub(super) client: ClientTraffic<'a>,
    pub(super) traffic: Attached<'a, BackendTrafficPolicySpec>,
    pub(super) security: Attached<'a, SecurityPolicySpec>,
}

/// Attaches all policies.
pub(super) fn resolve<'a>(
    world: &World<'a>,
    gateways: &Gateways<'a>,
    routes: &[RouteState<'a>],
    report: &mut Report,
    statuses: &mut Statuses,
) -> Policies<'a> {
    let places = Places::new(world, gateways, routes);
    let objects = world.objects;
    let client = client_traffic::attach(&places, report, statuses);
    let traffic = attach::attach(&places, &objects.backend_traffic_policies, report, statuses);
    let security = attach::attach(&places, &objects.security_policies, report, statuses);
    Policies {
        client,
        traffic,
        security,
    }
}

/// Notes the status of a policy that has one.
fn note(
    world: &World<'_>,
    statuses: &mut Statuses,
    key: StatusKey,
    generation: i64,
    mut status: crate::status::PolicyStatus,
) {
    status.truncate();
    if !status.ancestors.is_empty() {
        let value = status.to_value(generation, &world.scope.controller_name);
        statuses.0.insert(key, value);
    }
}

/// Why a policy cannot be in force, with the field at fault.
#[derive(Clone, Debug)]
pub(super) struct Unusable {
    field: String,
    message: String,
    /// An API server would refuse the policy, which `lint` reports field by field.
    inadmissible: bool,
    /// How to mend it, where more is known than the reason tells.
    help: Option<String>,
}

impl Unusable {
    /// The target cannot be had.
    fn target(message: String) -> Self {
        Self {
            field: "spec.targetRefs".to_owned(),
            message,
            inadmissible: false,
            help: None,
        }
    }

    /// The section that `field` names is not there; `fault` says so, and how to mend it.
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

/// Fails if an API server would refuse the policy.
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

/// Reports why a policy is not in force.
fn tell(report: &mut Report, subject: &Subject<'_>, reason: &str, fault: &Unusable) {
    let (code, help) = match reason {
        _ if fault.inadmissible => return,
        "TargetNotFound" => (
            "policy-target-section",
            "Name a listener of the Gateway, or a rule of the route.",
        ),
        "Conflicted" => ("policy-conflict", "Remove one of the two policies."),
        _ => (
            "policy-invalid",
            "Correct or remove the field: until then what the policy covers answers 500.",
        ),
    };
    let help = fault.help.as_deref().unwrap_or(help);
    report.error(code, subject, &*fault.field, &*fault.message, help);
}
