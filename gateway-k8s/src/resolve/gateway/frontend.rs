//! `spec.tls.frontend`: what clients of the HTTPS listeners of a Gateway must show (GEP-91).
//!
//! What a port has of its own takes the place of the default, also if it asks for nothing. Listeners of
//! other protocols are not concerned. Of several references those that are good count; without any, the
//! listeners are not served at all.

use std::collections::BTreeMap;

use towergate_tls::{ClientAuth, ClientAuthMode};

use super::super::authority::{self, Bundle, Why};
use super::super::grant::{From, To};
use super::super::report::{Report, Subject};
use super::super::world::World;
use super::listener::ListenerState;
use crate::api::GATEWAY_GROUP;
use crate::api::gateway::{FrontendTls, FrontendTlsValidation, GatewaySpec};
use crate::objects::Object;
use crate::status::Conditions;

/// What clients must show, by port.
#[derive(Debug, Default)]
pub(super) struct Frontend {
    default: Option<Validation>,
    per_port: BTreeMap<i32, Option<Validation>>,
}

/// What clients must show.
#[derive(Debug)]
enum Validation {
    /// They are asked.
    Asked {
        auth: ClientAuth,
        /// Some of the references are wrong: a reason and a message.
        faults: Option<(&'static str, String)>,
    },
    /// Nobody can say what is good.
    Unusable {
        accepted: &'static str,
        /// The reason of `ResolvedRefs`.
        resolved: Option<&'static str>,
        message: String,
    },
}

impl Frontend {
    /// Reads what a Gateway asks for.
    pub(super) fn read(
        world: &World<'_>,
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
            let bundle = bundle(world, gateway, validation);
            tell(&bundle, &field, report, subject);
            Some(Validation::new(validation, bundle))
        };
        let default = read(&frontend.default, "default".to_owned());
        let mut per_port = BTreeMap::new();
        for (at, of_port) in frontend.per_port.iter().enumerate() {
            // An API server takes each port once only.
            let known = per_port.entry(of_port.port);
            known.or_insert_with(|| read(&of_port.tls, format!("perPort[{at}].tls")));
        }
        Self { default, per_port }
    }

    /// Tells a listener what its clients must show.
    pub(super) fn check(&self, listener: &mut ListenerState<'_>) {
        if listener.spec.protocol != "HTTPS" {
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
                    && conditions.find("ResolvedRefs").is_none()
                {
                    conditions.set("ResolvedRefs", false, *reason, &**message);
                }
            }
            Validation::Unusable {
                accepted,
                resolved,
                message,
            } => {
                conditions.set("Accepted", false, *accepted, &**message);
                if let Some(reason) = resolved {
                    conditions.set("ResolvedRefs", false, *reason, &**message);
                }
            }
        }
    }

    /// States that clients without a good certificate may come in, if they may.
    pub(super) fn warn(
        &self,
        conditions: &mut Conditions,
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
        let message = "Mode AllowInsecureFallback lets clients in without a valid certificate.";
        conditions.set(
            "InsecureFrontendValidationMode",
            true,
            "ConfigurationChanged",
            message,
        );
        report.warn(
            "clients-not-validated",
            subject,
            "spec.tls.frontend",
            message,
            "Use mode AllowValidOnly, unless backends decide about clients themselves.",
        );
    }
}

impl Validation {
    fn new(written: &FrontendTlsValidation, bundle: Bundle) -> Self {
        let mode = match written.mode.as_deref() {
            None | Some("" | "AllowValidOnly") => ClientAuthMode::Required,
            Some("AllowInsecureFallback") => ClientAuthMode::Requested,
            Some(other) => {
                return Self::Unusable {
                    accepted: "UnsupportedValue",
                    resolved: None,
                    message: format!(
                        "spec.tls.frontend: mode {other:?} is not known: AllowValidOnly and AllowInsecureFallback are."
                    ),
                };
            }
        };
        let reason = match bundle.why() {
            Some(Why::Kind) => "InvalidCACertificateKind",
            Some(Why::NotGranted) => "RefNotPermitted",
            Some(Why::Content) | None => "InvalidCACertificateRef",
        };
        let mut faults = bundle.message("caCertificateRefs");
        if written.ca_certificate_refs.is_empty() {
            "caCertificateRefs names none.".clone_into(&mut faults);
        }
        if bundle.pem.is_empty() {
            return Self::Unusable {
                accepted: "NoValidCACertificate",
                resolved: Some(reason),
                message: format!("No client can be validated: {faults}"),
            };
        }
        Self::Asked {
            auth: ClientAuth {
                roots_pem: bundle.pem,
                mode,
            },
            faults: (!faults.is_empty())
                .then(|| (reason, format!("Some authorities cannot be used: {faults}"))),
        }
    }
}

/// Whether a reason of a listener is about references that were reported once for the Gateway.
pub(super) fn is_told(listener: &ListenerState<'_>, reason: &str) -> bool {
    match reason {
        "NoValidCACertificate" | "InvalidCACertificateRef" | "InvalidCACertificateKind" => true,
        // Without certificates, it is about those.
        "RefNotPermitted" => !listener.certificates.is_empty(),
        _ => false,
    }
}

/// Reports references that lead to nothing.
fn tell(bundle: &Bundle, field: &str, report: &mut Report, subject: &Subject<'_>) {
    for (at, fault) in &bundle.faults {
        let (code, help) = match fault.why {
            Why::NotGranted => (
                "reference-not-granted",
                "Add a ReferenceGrant for it in the namespace of the object that is named.",
            ),
            Why::Kind | Why::Content => (
                "authority-not-usable",
                "Name a ConfigMap with certificates under ca.crt: without any, HTTPS listeners are not served.",
            ),
        };
        let field = format!("spec.tls.frontend.{field}.validation.caCertificateRefs[{at}]");
        report.error(code, subject, field, format!("{}.", fault.message), help);
    }
}

fn bundle(
    world: &World<'_>,
    gateway: &Object<GatewaySpec>,
    written: &FrontendTlsValidation,
) -> Bundle {
    let own = gateway.meta.namespace.as_str();
    let from = From {
        group: GATEWAY_GROUP,
        kind: "Gateway",
        namespace: own,
    };
    let mut bundle = Bundle::default();
    for (at, reference) in written.ca_certificate_refs.iter().enumerate() {
        let namespace = reference.namespace.as_deref();
        let to = To {
            group: &reference.group,
            kind: &reference.kind,
            namespace: namespace.filter(|name| !name.is_empty()).unwrap_or(own),
            name: &reference.name,
        };
        bundle.add(at, authority::find(world, from, to));
    }
    bundle
}
