//! BackendTLSPolicies: TLS to ports of Services and to Backends.
//!
//! A policy for a port takes precedence over one for the whole Service, and an older policy over a younger
//! one. A backend whose policy cannot be enforced gets no connection: plain text, or TLS without
//! verification, would be less secure than configured.

use std::collections::{BTreeMap, HashMap};

use towergate_core::plan::BackendProtocol;
use towergate_policy::SchemaViolation;
use towergate_tls::client::{ClientTls, SubjectAltName};

use super::super::ca_bundle::{self, CaBundle, CaErrorCause};
use super::super::grant::{From, To};
use super::super::object_index::{ObjectIndex, by_age};
use crate::api::GATEWAY_GROUP;
use crate::api::policy::{BackendTlsPolicySpec, BackendTlsPolicyValidation};
use crate::api::reference::{LocalObjectReference, ParentReference, PolicyTargetReference};
use crate::decode::nearest;
use crate::objects::{EVERY_NAMESPACE, Object, ObjectKey};
use crate::status::{ConditionType, PolicyReason, PolicyStatus};

/// Kind (Service or Backend), namespace, name and port name (empty: every port).
type TlsTarget<'a> = (&'a str, &'a str, &'a str, &'a str);

/// The kinds that a BackendTLSPolicy can target.
const KINDS: [&str; 2] = ["Service", "Backend"];

/// All BackendTLSPolicies.
#[derive(Debug)]
pub(crate) struct BackendTls<'a> {
    winners: HashMap<TlsTarget<'a>, &'a Object<BackendTlsPolicySpec>>,
    /// Policies with a target that belongs to an older policy. They apply to their other targets.
    conflicts: Vec<(&'a Object<BackendTlsPolicySpec>, TlsTarget<'a>)>,
    /// Policies with a target that cannot be read.
    closing: Vec<Closing<'a>>,
    /// For each target (kind, name and port name): the parents of the routes, and the policies, that refer to
    /// the target.
    reached: HashMap<(&'static str, ObjectKey, String), Vec<ParentReference>>,
    settings: HashMap<ObjectKey, Result<Settings, InvalidBackendTls>>,
    statuses: BTreeMap<ObjectKey, PolicyStatus>,
}

/// Services to which no connection is made, because an unreadable policy may target them.
#[derive(Debug)]
struct Closing<'a> {
    policy: &'a Object<BackendTlsPolicySpec>,
    /// Name of the Services; `None`: all in the namespace of the policy.
    name: Option<&'a str>,
}

impl<'a> Closing<'a> {
    /// The Services that `policy` may target in addition to those that it names explicitly.
    fn of(policy: &'a Object<BackendTlsPolicySpec>) -> Vec<Self> {
        let targets = &policy.spec.target_refs;
        let is_unreadable = |target: &PolicyTargetReference| {
            target.name.is_empty()
                || policy.meta.namespace == EVERY_NAMESPACE
                || target.kind != OTHER_KIND && !KINDS.contains(&&*target.kind)
        };
        let unreadable = targets.iter().filter(|target| is_unreadable(target));
        let mut closing: Vec<_> = unreadable
            .map(|target| Self {
                policy,
                name: Some(&*target.name).filter(|name| !name.is_empty()),
            })
            .collect();
        let list = |fault: &SchemaViolation| {
            let field = fault.field.strip_prefix("spec.").unwrap_or_default();
            !field.contains(['.', '[']) && nearest(field, ["targetRefs"]).is_some()
        };
        if !policy.unreadable_fields.is_empty()
            && (targets.is_empty() || policy.unreadable_fields.iter().any(list))
        {
            closing.push(Self { policy, name: None });
        }
        closing
    }

    fn covers(&self, service: &ObjectKey) -> bool {
        let namespace = &*self.policy.meta.namespace;
        (namespace == EVERY_NAMESPACE || namespace == service.namespace)
            && self.name.is_none_or(|name| name == service.name)
    }
}

/// A kind that a policy may target and that is not a backend.
const OTHER_KIND: &str = "ServiceImport";

/// The settings of a policy.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    server_name: String,
    subject_alt_names: Vec<SubjectAltName>,
    roots_pem: Option<String>,
    /// Reason and message if some CA references are invalid.
    faults: Option<(PolicyReason, String)>,
}

/// Reasons and message of a policy that cannot be enforced.
#[derive(Clone, Debug)]
struct InvalidBackendTls {
    accepted: PolicyReason,
    resolved: Option<PolicyReason>,
    message: String,
}

impl Settings {
    /// Client TLS settings for a backend with `protocol`.
    pub(crate) fn client(&self, protocol: BackendProtocol) -> ClientTls {
        let alpn = match protocol {
            BackendProtocol::Http1 => "http/1.1",
            BackendProtocol::Http2 => "h2",
        };
        ClientTls {
            server_name: self.server_name.clone(),
            subject_alt_names: self.subject_alt_names.clone(),
            roots_pem: self.roots_pem.clone(),
            alpn: vec![alpn.to_owned()],
            identity: None,
            accept_any_certificate: false,
            limits: towergate_tls::limits::TlsLimits::default(),
        }
    }
}

impl<'a> BackendTls<'a> {
    /// Assigns each target to its policy.
    pub(crate) fn new(index: &ObjectIndex<'a>) -> Self {
        let mut winners: HashMap<TlsTarget<'a>, &'a Object<BackendTlsPolicySpec>> = HashMap::new();
        let mut conflicts = Vec::new();
        let mut statuses = BTreeMap::new();
        let mut closing = Vec::new();
        for policy in by_age(index.objects.backend_tls_policies.values()) {
            statuses.insert(policy.key(), PolicyStatus::default());
            closing.extend(Closing::of(policy));
            for target in policy
                .spec
                .target_refs
                .iter()
                .filter(|target| KINDS.contains(&&*target.kind))
            {
                // A Backend has no named ports, so a section name selects the whole Backend.
                let section = match &*target.kind {
                    "Backend" => "",
                    _ => target.section_name.as_deref().unwrap_or_default(),
                };
                let key = (
                    target.kind.as_str(),
                    policy.meta.namespace.as_str(),
                    target.name.as_str(),
                    section,
                );
                match winners.get(&key) {
                    None => drop(winners.insert(key, policy)),
                    Some(winner) if winner.key() == policy.key() => {}
                    Some(_) => conflicts.push((policy, key)),
                }
            }
        }
        Self {
            winners,
            conflicts,
            closing,
            reached: HashMap::new(),
            settings: HashMap::new(),
            statuses,
        }
    }

    /// The settings for a port of a Service, or for a Backend; `None` without a policy. `ancestors` are the
    /// parentRefs of the route through which the backend is reached, or the policy that names the backend.
    ///
    /// # Errors
    ///
    /// If the policy cannot be enforced. The gateway must not connect to the backend.
    pub(crate) fn find(
        &mut self,
        index: &ObjectIndex<'_>,
        (kind, service): (&'static str, &ObjectKey),
        port: &str,
        ancestors: &[ParentReference],
    ) -> Result<Option<Settings>, String> {
        if let Some(closing) = self.closing.iter().find(|one| one.covers(service)) {
            let policy = closing.policy;
            let cause = policy.unreadable_fields.first().map(ToString::to_string);
            let cause = cause.unwrap_or_else(|| "the kind of a target is unknown".to_owned());
            let message = format!("a target of the policy cannot be read: {cause}");
            let settings = Err(invalid(message.clone()));
            let status = self.statuses.entry(policy.key()).or_default();
            for ancestor in ancestors {
                state(status, ancestor, &settings);
            }
            return Err(format!("BackendTLSPolicy {}: {message}", policy.key()));
        }
        let (namespace, name) = (service.namespace.as_str(), service.name.as_str());
        let of_port = self.winners.get(&(kind, namespace, name, port));
        let of_all = || self.winners.get(&(kind, namespace, name, ""));
        let (section, policy) = match of_port {
            Some(policy) => (port, *policy),
            None => match of_all() {
                Some(policy) => ("", *policy),
                None => return Ok(None),
            },
        };
        let reached = (kind, service.clone(), section.to_owned());
        let reached = self.reached.entry(reached).or_default();
        for ancestor in ancestors {
            if !reached.contains(ancestor) {
                reached.push(ancestor.clone());
            }
        }
        let settings = self
            .settings
            .entry(policy.key())
            .or_insert_with(|| read(index, policy));
        let status = self.statuses.entry(policy.key()).or_default();
        for ancestor in ancestors {
            state(status, ancestor, settings);
        }
        match settings {
            Ok(settings) => Ok(Some(settings.clone())),
            Err(fault) => Err(format!(
                "BackendTLSPolicy {}: {}",
                policy.key(),
                fault.message
            )),
        }
    }

    /// The statuses, after all routes are resolved.
    pub(crate) fn statuses(mut self) -> BTreeMap<ObjectKey, PolicyStatus> {
        for (policy, target) in &self.conflicts {
            let (kind, namespace, name, section) = *target;
            let winner = self.winners[target].key();
            let message = format!(
                "BackendTLSPolicy {winner} is older and has the same target, {kind} {name}"
            );
            let kind = KINDS.iter().find(|known| **known == kind);
            let reached = (
                kind.copied().unwrap_or_default(),
                ObjectKey::new(namespace, name),
                section.to_owned(),
            );
            let status = self.statuses.entry(policy.key()).or_default();
            for ancestor in self.reached.get(&reached).into_iter().flatten() {
                let conditions = status.conditions(ancestor);
                conditions.set(
                    ConditionType::Accepted,
                    false,
                    PolicyReason::Conflicted,
                    &*message,
                );
            }
        }
        self.statuses
    }
}

fn state(
    status: &mut PolicyStatus,
    ancestor: &ParentReference,
    settings: &Result<Settings, InvalidBackendTls>,
) {
    let conditions = status.conditions(ancestor);
    let unresolved = match settings {
        Ok(settings) => {
            conditions.set(
                ConditionType::Accepted,
                true,
                PolicyReason::Accepted,
                "the policy is in force",
            );
            settings.faults.clone()
        }
        Err(fault) => {
            let message = fault.message.clone();
            conditions.set(ConditionType::Accepted, false, fault.accepted, &*message);
            fault.resolved.map(|reason| (reason, message))
        }
    };
    match unresolved {
        Some((reason, message)) => {
            conditions.set(ConditionType::ResolvedRefs, false, reason, message)
        }
        None => conditions.set(
            ConditionType::ResolvedRefs,
            true,
            PolicyReason::ResolvedRefs,
            "every reference is resolved",
        ),
    }
}

/// The settings of a policy.
fn read(
    index: &ObjectIndex<'_>,
    policy: &Object<BackendTlsPolicySpec>,
) -> Result<Settings, InvalidBackendTls> {
    if let Some(fault) = policy.unreadable_fields.first() {
        return Err(invalid(fault.to_string()));
    }
    let validation = &policy.spec.validation;
    let (roots_pem, faults) = match roots(index, &policy.meta.namespace, validation)? {
        Some((roots, faults)) => (Some(roots), faults),
        None => (None, None),
    };
    let mut options = policy.spec.options.keys();
    if let Some(option) = options.next() {
        return Err(invalid(format!("option {option} is not supported")));
    }
    Ok(Settings {
        server_name: validation.hostname.clone(),
        subject_alt_names: names(validation)?,
        roots_pem,
        faults,
    })
}

fn invalid(message: String) -> InvalidBackendTls {
    InvalidBackendTls {
        accepted: PolicyReason::Invalid,
        resolved: None,
        message,
    }
}

fn names(
    validation: &BackendTlsPolicyValidation,
) -> Result<Vec<SubjectAltName>, InvalidBackendTls> {
    if validation
        .hostname
        .parse()
        .ok()
        .filter(|name| matches!(name, towergate_tls::NamePattern::Exact(_)))
        .is_none()
        || validation.hostname.parse::<std::net::IpAddr>().is_ok()
    {
        return Err(invalid(format!(
            "validation.hostname {:?} is not a valid hostname",
            validation.hostname
        )));
    }
    let names = validation.subject_alt_names.iter();
    names
        .map(
            |name| match (name.kind.as_str(), &name.hostname, &name.uri) {
                ("Hostname", Some(hostname), None) => {
                    Ok(SubjectAltName::Hostname(hostname.clone()))
                }
                ("URI", None, Some(uri)) => Ok(SubjectAltName::Uri(uri.clone())),
                (kind, ..) => Err(invalid(format!(
                    "subjectAltNames: type {kind:?} requires only the field of this type"
                ))),
            },
        )
        .collect()
}

/// CA certificates as PEM, with reason and message if some references are invalid.
type Roots = (String, Option<(PolicyReason, String)>);

/// The CA certificates; `None`: those of the system.
fn roots(
    index: &ObjectIndex<'_>,
    namespace: &str,
    validation: &BackendTlsPolicyValidation,
) -> Result<Option<Roots>, InvalidBackendTls> {
    let refs = &validation.ca_certificate_refs;
    match (
        validation.well_known_ca_certificates.as_deref(),
        refs.is_empty(),
    ) {
        (None | Some(""), false) => {}
        (Some("System"), true) => return Ok(None),
        (Some("System"), false) => {
            return Err(invalid(
                "caCertificateRefs and wellKnownCACertificates exclude each other".to_owned(),
            ));
        }
        (None | Some(""), true) => {
            return Err(unresolved(
                PolicyReason::InvalidCaCertificateRef,
                "no CA certificate is named".to_owned(),
            ));
        }
        (Some(other), _) => {
            return Err(invalid(format!(
                "wellKnownCACertificates {other:?} is not supported; use System"
            )));
        }
    }
    let bundle = bundle(index, namespace, refs);
    let reason = match bundle.why() {
        Some(CaErrorCause::Kind) => PolicyReason::InvalidKind,
        Some(CaErrorCause::Content | CaErrorCause::NotGranted) => {
            PolicyReason::InvalidCaCertificateRef
        }
        None => return Ok(Some((bundle.pem, None))),
    };
    let message = bundle.message("caCertificateRefs");
    match bundle.pem.is_empty() {
        true => Err(unresolved(reason, message)),
        // Ignoring invalid references is safe: fewer CA certificates accept fewer backends.
        false => Ok(Some((bundle.pem, Some((reason, message))))),
    }
}

fn bundle(index: &ObjectIndex<'_>, namespace: &str, refs: &[LocalObjectReference]) -> CaBundle {
    let from = From {
        group: GATEWAY_GROUP,
        kind: "BackendTLSPolicy",
        namespace,
    };
    let mut bundle = CaBundle::default();
    for (at, reference) in refs.iter().enumerate() {
        let to = To {
            group: &reference.group,
            kind: &reference.kind,
            namespace,
            name: &reference.name,
        };
        bundle.add(at, ca_bundle::find(index, from, to));
    }
    bundle
}

fn unresolved(reason: PolicyReason, message: String) -> InvalidBackendTls {
    InvalidBackendTls {
        accepted: PolicyReason::NoValidCaCertificate,
        resolved: Some(reason),
        message,
    }
}
