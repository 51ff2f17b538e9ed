//! BackendTLSPolicies: TLS towards the ports of Services.
//!
//! A policy for a port wins over one for the whole Service, the older over the younger. A backend whose
//! policy cannot be used is not spoken to at all: plain text instead of TLS, or TLS to just anybody,
//! would be worse than no answer.

use std::collections::{BTreeMap, HashMap};

use towergate_core::plan::BackendProtocol;
use towergate_tls::client::{ClientTls, SubjectAltName};

use super::super::authority::{self, Bundle, Why};
use super::super::grant::{From, To};
use super::super::world::{World, by_age};
use crate::api::GATEWAY_GROUP;
use crate::api::policy::{BackendTlsPolicySpec, BackendTlsPolicyValidation};
use crate::api::reference::{LocalObjectReference, ParentReference};
use crate::objects::{Object, ObjectKey};
use crate::status::PolicyStatus;

/// Namespace, Service and port name (empty: every port).
type Target<'a> = (&'a str, &'a str, &'a str);

/// All BackendTLSPolicies.
#[derive(Debug)]
pub(crate) struct BackendTls<'a> {
    winners: HashMap<Target<'a>, &'a Object<BackendTlsPolicySpec>>,
    /// Policies with a target that an older policy has. They are in force for their other targets.
    conflicts: Vec<(&'a Object<BackendTlsPolicySpec>, Target<'a>)>,
    /// The Gateways through which a target, a Service with a port name as in [`Target`], is reached.
    reached: HashMap<(ObjectKey, String), Vec<ParentReference>>,
    settings: HashMap<ObjectKey, Result<Settings, Unusable>>,
    statuses: BTreeMap<ObjectKey, PolicyStatus>,
}

/// What a policy sets.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    server_name: String,
    subject_alt_names: Vec<SubjectAltName>,
    roots_pem: Option<String>,
    /// Some of the references are wrong: a reason and a message.
    faults: Option<(&'static str, String)>,
}

/// Why a policy cannot be used.
#[derive(Clone, Debug)]
struct Unusable {
    accepted: &'static str,
    resolved: Option<&'static str>,
    message: String,
}

impl Settings {
    /// How a backend that speaks `protocol` is spoken to.
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
        }
    }
}

impl<'a> BackendTls<'a> {
    /// Settles which policy has which target.
    pub(crate) fn new(world: &World<'a>) -> Self {
        let mut winners: HashMap<Target<'a>, &'a Object<BackendTlsPolicySpec>> = HashMap::new();
        let mut conflicts = Vec::new();
        let mut statuses = BTreeMap::new();
        for policy in by_age(world.objects.backend_tls_policies.values()) {
            statuses.insert(policy.key(), PolicyStatus::default());
            for target in policy
                .spec
                .target_refs
                .iter()
                .filter(|target| target.kind == "Service")
            {
                let section = target.section_name.as_deref().unwrap_or_default();
                let key = (
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
            reached: HashMap::new(),
            settings: HashMap::new(),
            statuses,
        }
    }

    /// What the policy of a port of a Service sets; `None`: it has no policy. `ancestors` are the
    /// Gateways through which the Service is reached.
    ///
    /// # Errors
    /// What is wrong with the policy: the backend must not be spoken to.
    pub(crate) fn find(
        &mut self,
        world: &World<'_>,
        service: &ObjectKey,
        port: &str,
        ancestors: &[ParentReference],
    ) -> Result<Option<Settings>, String> {
        let (namespace, name) = (service.namespace.as_str(), service.name.as_str());
        let of_port = self.winners.get(&(namespace, name, port));
        let of_all = || self.winners.get(&(namespace, name, ""));
        let (section, policy) = match of_port {
            Some(policy) => (port, *policy),
            None => match of_all() {
                Some(policy) => ("", *policy),
                None => return Ok(None),
            },
        };
        let reached = (service.clone(), section.to_owned());
        let reached = self.reached.entry(reached).or_default();
        for ancestor in ancestors {
            if !reached.contains(ancestor) {
                reached.push(ancestor.clone());
            }
        }
        let settings = self
            .settings
            .entry(policy.key())
            .or_insert_with(|| read(world, policy));
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

    /// The statuses, once every route is resolved.
    pub(crate) fn statuses(mut self) -> BTreeMap<ObjectKey, PolicyStatus> {
        for (policy, target) in &self.conflicts {
            let (namespace, name, section) = *target;
            let winner = self.winners[target].key();
            let message =
                format!("BackendTLSPolicy {winner} is older and has the target Service {name}.");
            let reached = (ObjectKey::new(namespace, name), section.to_owned());
            let status = self.statuses.entry(policy.key()).or_default();
            for ancestor in self.reached.get(&reached).into_iter().flatten() {
                let conditions = status.conditions(ancestor);
                conditions.set("Accepted", false, "Conflicted", &*message);
            }
        }
        self.statuses
    }
}

fn state(
    status: &mut PolicyStatus,
    ancestor: &ParentReference,
    settings: &Result<Settings, Unusable>,
) {
    let conditions = status.conditions(ancestor);
    let unresolved = match settings {
        Ok(settings) => {
            conditions.set("Accepted", true, "Accepted", "The policy is in force.");
            settings.faults.clone()
        }
        Err(fault) => {
            let message = format!("{}.", fault.message);
            conditions.set("Accepted", false, fault.accepted, &*message);
            fault.resolved.map(|reason| (reason, message))
        }
    };
    match unresolved {
        Some((reason, message)) => conditions.set("ResolvedRefs", false, reason, message),
        None => conditions.set(
            "ResolvedRefs",
            true,
            "ResolvedRefs",
            "Every reference is resolved.",
        ),
    }
}

/// What a policy sets.
fn read(world: &World<'_>, policy: &Object<BackendTlsPolicySpec>) -> Result<Settings, Unusable> {
    if let Some(fault) = policy.misread.first() {
        return Err(invalid(fault.to_string()));
    }
    let validation = &policy.spec.validation;
    let (roots_pem, faults) = match roots(world, &policy.meta.namespace, validation)? {
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

fn invalid(message: String) -> Unusable {
    Unusable {
        accepted: "Invalid",
        resolved: None,
        message,
    }
}

fn names(validation: &BackendTlsPolicyValidation) -> Result<Vec<SubjectAltName>, Unusable> {
    if validation
        .hostname
        .parse()
        .ok()
        .filter(|name| matches!(name, towergate_tls::NamePattern::Exact(_)))
        .is_none()
    {
        return Err(invalid(format!(
            "validation.hostname {:?} is no host name",
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
                    "subjectAltNames: {kind:?} needs its own field only"
                ))),
            },
        )
        .collect()
}

/// Trusted certificates as PEM, with what is wrong with some of the references.
type Roots = (String, Option<(&'static str, String)>);

/// The trusted certificates; `None`: those of the system.
fn roots(
    world: &World<'_>,
    namespace: &str,
    validation: &BackendTlsPolicyValidation,
) -> Result<Option<Roots>, Unusable> {
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
                "InvalidCACertificateRef",
                "no CA certificate is named".to_owned(),
            ));
        }
        (Some(other), _) => {
            return Err(invalid(format!(
                "wellKnownCACertificates {other:?} is not known: System is"
            )));
        }
    }
    let bundle = bundle(world, namespace, refs);
    let reason = match bundle.why() {
        Some(Why::Kind) => "InvalidKind",
        Some(Why::Content | Why::NotGranted) => "InvalidCACertificateRef",
        None => return Ok(Some((bundle.pem, None))),
    };
    let message = bundle.message("caCertificateRefs");
    match bundle.pem.is_empty() {
        true => Err(unresolved(reason, message.trim_end_matches('.').to_owned())),
        // Whoever trusts fewer than was meant is no less safe.
        false => Ok(Some((bundle.pem, Some((reason, message))))),
    }
}

fn bundle(world: &World<'_>, namespace: &str, refs: &[LocalObjectReference]) -> Bundle {
    let from = From {
        group: GATEWAY_GROUP,
        kind: "BackendTLSPolicy",
        namespace,
    };
    let mut bundle = Bundle::default();
    for (at, reference) in refs.iter().enumerate() {
        let to = To {
            group: &reference.group,
            kind: &reference.kind,
            namespace,
            name: &reference.name,
        };
        bundle.add(at, authority::find(world, from, to));
    }
    bundle
}

fn unresolved(reason: &'static str, message: String) -> Unusable {
    Unusable {
        accepted: "NoValidCACertificate",
        resolved: Some(reason),
        message,
    }
}
