//! `spec.tls.backend`: the certificate that a Gateway shows to backends that speak TLS.
//!
//! If it cannot be used, backends with TLS are not spoken to through this Gateway: a backend that lets
//! anybody in who shows nothing would be used as somebody else than was meant.

use std::sync::Arc;

use towergate_core::plan::{Backend, Destination, WeightedBackend};
use towergate_tls::Certificate;
use towergate_tls::client::ClientTls;

use super::super::report::{Report, Subject};
use super::super::world::World;
use super::certificate;
use super::listener::Owner;
use crate::api::gateway::GatewaySpec;
use crate::objects::Object;
use crate::status::Conditions;

/// The certificate that a Gateway shows to backends.
#[derive(Clone, Debug, Default)]
pub(in super::super) enum Identity {
    /// None is asked for.
    #[default]
    None,
    /// This one.
    Certificate(Arc<Certificate>),
    /// The one that is asked for cannot be used.
    Unusable,
}

impl Identity {
    /// Finds the certificate, and states whether what `spec.tls` refers to is in force.
    pub(super) fn find(
        world: &World<'_>,
        gateway: &Object<GatewaySpec>,
        conditions: &mut Conditions,
        report: &mut Report,
        subject: &Subject<'_>,
    ) -> Self {
        let Some(tls) = &gateway.spec.tls else {
            return Self::None;
        };
        let backend = tls.backend.as_ref();
        let reference = backend.and_then(|tls| tls.client_certificate_ref.as_ref());
        let owner = Owner::new("Gateway", &gateway.meta);
        let found = reference.map(|reference| certificate::find(world, owner, reference));
        let fault = match found {
            Some(Err(fault)) => fault,
            found => {
                let message = "Every reference is resolved.";
                conditions.set("ResolvedRefs", true, "ResolvedRefs", message);
                let certificate = found.and_then(Result::ok);
                return certificate.map_or(Self::None, |found| Self::Certificate(Arc::new(found)));
            }
        };
        let (reason, code) = match fault.reason {
            "RefNotPermitted" => ("RefNotPermitted", "reference-not-granted"),
            _ => ("InvalidClientCertificateRef", "certificate-not-usable"),
        };
        let message = format!("The client certificate cannot be used: {}", fault.message);
        conditions.set("ResolvedRefs", false, reason, &*message);
        report.error(
            code,
            subject,
            "spec.tls.backend.clientCertificateRef",
            message,
            "Correct the reference: until then what is for backends with TLS is answered 500.",
        );
        Self::Unusable
    }

    /// Whether backends are the same with it as without.
    pub(in super::super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The same backends; those with TLS are shown this certificate.
    pub(in super::super) fn show(&self, backends: &[WeightedBackend]) -> Vec<WeightedBackend> {
        let backends = backends.iter().cloned();
        let shown = backends.map(|mut weighted| {
            if let Destination::Backend(backend) = &weighted.destination
                && let Some(tls) = &backend.tls
            {
                weighted.destination = match self {
                    Self::None => return weighted,
                    Self::Certificate(certificate) => with(backend, tls, certificate),
                    Self::Unusable => Destination::Invalid,
                };
            }
            weighted
        });
        shown.collect()
    }
}

fn with(backend: &Backend, tls: &ClientTls, certificate: &Arc<Certificate>) -> Destination {
    let tls = ClientTls {
        identity: Some(certificate.clone()),
        ..tls.clone()
    };
    Destination::Backend(Arc::new(Backend {
        tls: Some(Arc::new(tls)),
        ..backend.clone()
    }))
}
