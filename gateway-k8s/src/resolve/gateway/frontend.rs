//! `spec.tls.frontend`: validation of client certificates on HTTPS listeners (GEP-91).
//!
//! The settings of a port replace the default settings, even if the settings of the port are empty. Invalid
//! CA references are ignored; if no reference is valid, the listeners are not served.

use std::collections::BTreeMap;

use towergate_tls::{ClientAuth, ClientAuthMode};

use super::super::ca_bundle::{self, CaBundle, CaErrorCause};
use super::super::grant::{From, To};
use super::super::object_index::ObjectIndex;
use super::super::report::{Report, Subject};
use super::listener::ListenerState;
use super::protocol::ListenerProtocol;
use crate::api::GATEWAY_GROUP;
use crate::api::gateway::{FrontendTls, FrontendTlsValidation, GatewaySpec};
use crate::finding::FindingCode;
use crate::objects::Object;
use crate::status::{ConditionType, Conditions, GatewayReason, ListenerReason};

/// Validation of client certificates, by port.
#[derive(Debug, Default)]
pub(super) struct Frontend {
    default: Option<Validation>,
    per_port: BTreeMap<i32, Option<Validation>>,
}

/// Validation of client certificates.
#[derive(Debug)]
enum Validation {
    /// TLS requests a certificate from clients.
    Asked {
        auth: ClientAuth,
        /// Reason and message if some CA references are invalid.
        faults: Option<(ListenerReason, String)>,
    },
    /// No CA certificate is usable.
    Unusable {
        accepted: ListenerReason,
        /// Reason of `ResolvedRefs`.
        resolved: Option<ListenerReason>,
        message: String,
    },
}

impl Frontend {
    /// Resolves the settings of a Gateway.
    pub(super) fn read(
        index: &ObjectIndex<'_>,
        gateway: &Object<GatewaySpec>,
        report: &mut Report,
        subject: &Subject<'_>,
    ) -> Self {
        let tls = gateway.spec.tls.as_ref();
        let Some(frontend) = tls.and_then(|tls| tls.frontend.as_ref()) else {
            return Self::default();
        };
        let mut read = |tls: &Option<FrontendTls>, field: String| {
            let validation = tls.as_ref().and_then(|tls| tls.validation.as_ref())?;
            let bundle = bundle(index, gateway, validation);
            report_invalid(&bundle, &field, report, subject);
            Some(Validation::new(validation, bundle))
        };
        let default = read(&frontend.default, "default".to_owned());
        let mut per_port = BTreeMap::new();
        for (at, of_port) in frontend.per_port.iter().enumerate() {
            // The CRD allows each port once.
            let known = per_port.entry(of_port.port);
            known.or_insert_with(|| read(&of_port.tls, format!("perPort[{at}].tls")));
        }
        Self { default, per_port }
    }

    /// Applies the settings to a listener.
    pub(super) fn check(&self, listener: &mut ListenerState<'_>) {
        if listener.protocol != Some(ListenerProtocol::Https) {
            return;
        }
        let own = self.per_port.get(&listener.spec.port);
        let Some(validation) = own.unwrap_or(&self.default) else {
            return;
        };
        let conditions = &mut listener.conditions;
        match validation {
            Validation::Asked { auth, faults } => {
                listener.clients = Some(auth.clone());
                if let Some((reason, message)) = faults
                    && conditions.find(ConditionType::ResolvedRefs).is_none()
                {
                    conditions.set(ConditionType::ResolvedRefs, false, *reason, &**message);
                }
            }
            Validation::Unusable {
                accepted,
                resolved,
                message,
            } => {
                conditions.set(ConditionType::Accepted, false, *accepted, &**message);
                if let Some(reason) = resolved {
                    conditions.set(ConditionType::ResolvedRefs, false, *reason, &**message);
                }
            }
        }
    }

    /// Sets the condition of the Gateway that reports an insecure validation mode.
    pub(super) fn warn(
        &self,
        conditions: &mut Conditions<GatewayReason>,
        report: &mut Report,
        subject: &Subject<'_>,
    ) {
        let all = self.per_port.values().chain([&self.default]);
        let insecure = |validation: &&Validation| match validation {
            Validation::Asked { auth, .. } => auth.mode == ClientAuthMode::Requested,
            Validation::Unusable { .. } => false,
        };
        if !all.flatten().any(|validation| insecure(&validation)) {
            return;
        }
        let message = "mode AllowInsecureFallback accepts clients without a valid certificate";
        conditions.set(
            ConditionType::InsecureFrontendValidationMode,
            true,
            GatewayReason::ConfigurationChanged,
            message,
        );
        report.warn(
            FindingCode::ClientsNotValidated,
            subject,
            "spec.tls.frontend",
            message,
            "set mode AllowValidOnly, or let the backends authenticate clients",
        );
    }
}

impl Validation {
    fn new(written: &FrontendTlsValidation, bundle: CaBundle) -> Self {
        let mode = match written.mode.as_deref() {
            None | Some("" | "AllowValidOnly") => ClientAuthMode::Required,
            Some("AllowInsecureFallback") => ClientAuthMode::Requested,
            Some(other) => {
                return Self::Unusable {
                    accepted: ListenerReason::UnsupportedValue,
                    resolved: None,
                    message: format!(
                        "spec.tls.frontend: unknown mode {other:?}; use AllowValidOnly or AllowInsecureFallback"
                    ),
                };
            }
        };
        let reason = match bundle.why() {
            Some(CaErrorCause::Kind) => ListenerReason::InvalidCaCertificateKind,
            Some(CaErrorCause::NotGranted) => ListenerReason::RefNotPermitted,
            Some(CaErrorCause::Content) | None => ListenerReason::InvalidCaCertificateRef,
        };
        let mut faults = bundle.message("caCertificateRefs");
        if written.ca_certificate_refs.is_empty() {
            "caCertificateRefs is empty".clone_into(&mut faults);
        }
        if bundle.pem.is_empty() {
            return Self::Unusable {
                accepted: ListenerReason::NoValidCaCertificate,
                resolved: Some(reason),
                message: format!("clients cannot be validated: {faults}"),
            };
        }
        Self::Asked {
            auth: ClientAuth {
                roots_pem: bundle.pem,
                mode,
                ..ClientAuth::default()
            },
            faults: (!faults.is_empty()).then(|| {
                (
                    reason,
                    format!("some CA certificates are not usable: {faults}"),
                )
            }),
        }
    }
}

/// Whether the error with this reason has been reported once for the whole Gateway.
pub(super) fn is_reported(listener: &ListenerState<'_>, reason: ListenerReason) -> bool {
    match reason {
        ListenerReason::NoValidCaCertificate
        | ListenerReason::InvalidCaCertificateRef
        | ListenerReason::InvalidCaCertificateKind => true,
        // If a listener has no certificates, the reason concerns its own `certificateRefs`.
        ListenerReason::RefNotPermitted => !listener.certificates.is_empty(),
        ListenerReason::Accepted
        | ListenerReason::HostnameConflict
        | ListenerReason::Invalid
        | ListenerReason::InvalidCertificateRef
        | ListenerReason::InvalidRouteKinds
        | ListenerReason::ListenersNotValid
        | ListenerReason::NoConflicts
        | ListenerReason::OverlappingCertificates
        | ListenerReason::OverlappingHostnames
        | ListenerReason::PartiallyInvalidCertificateRef
        | ListenerReason::PortUnavailable
        | ListenerReason::Programmed
        | ListenerReason::ProtocolConflict
        | ListenerReason::ResolvedRefs
        | ListenerReason::UnsupportedProtocol
        | ListenerReason::UnsupportedTlsMode
        | ListenerReason::UnsupportedValue => false,
    }
}

/// Reports invalid CA references.
fn report_invalid(bundle: &CaBundle, field: &str, report: &mut Report, subject: &Subject<'_>) {
    for (at, fault) in &bundle.faults {
        let (code, help) = match fault.why {
            CaErrorCause::NotGranted => (
                FindingCode::ReferenceNotGranted,
                "add a ReferenceGrant in the namespace of the referenced object",
            ),
            CaErrorCause::Kind | CaErrorCause::Content => (
                FindingCode::CaNotUsable,
                "reference a ConfigMap with certificates under ca.crt; without any, HTTPS listeners are not served",
            ),
        };
        let field = format!("spec.tls.frontend.{field}.validation.caCertificateRefs[{at}]");
        report.error(code, subject, field, &*fault.message, help);
    }
}

fn bundle(
    index: &ObjectIndex<'_>,
    gateway: &Object<GatewaySpec>,
    written: &FrontendTlsValidation,
) -> CaBundle {
    let own = gateway.meta.namespace.as_str();
    let from = From {
        group: GATEWAY_GROUP,
        kind: "Gateway",
        namespace: own,
    };
    let mut bundle = CaBundle::default();
    for (at, reference) in written.ca_certificate_refs.iter().enumerate() {
        let namespace = reference.namespace.as_deref();
        let to = To {
            group: &reference.group,
            kind: &reference.kind,
            namespace: namespace.filter(|name| !name.is_empty()).unwrap_or(own),
            name: &reference.name,
        };
        bundle.add(at, ca_bundle::find(index, from, to));
    }
    bundle
}
