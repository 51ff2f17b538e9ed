//! `spec.tls.backend`: the certificate that a Gateway shows to backends that speak TLS.
//!
//! If it cannot be used, backends with TLS are not spoken to through this Gateway: a backend that lets
//! anybody in who shows nothing would be used as somebody else than was meant.

use std::sync::Arc;

use towergate_core::plan::Filter;
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

    /// Has it shown to those of `backends` that speak TLS, and to those that `filters` send copies to.
    pub(in super::super) fn show(
        &self,
        filters: &mut Vec<Filter>,
        backends: &mut [WeightedBackend],
    ) {
        if self.is_none() {
            return;
        }
        self.show_to_mirrors(filters);
        for weighted in backends {
            self.show_to_mirrors(&mut weighted.filters);
            if let Destination::Backend(backend) = &weighted.destination {
                let shown = self.of(backend);
                weighted.destination = shown.map_or(Destination::Invalid, Destination::Backend);
            }
        }
    }

    fn show_to_mirrors(&self, filters: &mut Vec<Filter>) {
        filters.retain_mut(|filter| {
            let Filter::Mirror(mirror) = filter else {
                return true;
            };
            let shown = self.of(&mirror.backend);
            shown.map(|backend| mirror.backend = backend).is_some()
        });
    }

    /// A backend that is shown this certificate if it speaks TLS; `None`: it must not be spoken to.
    fn of(&self, backend: &Arc<Backend>) -> Option<Arc<Backend>> {
        let Some(tls) = &backend.tls else {
            return Some(backend.clone());
        };
        match self {
            Self::None => Some(backend.clone()),
            Self::Unusable => None,
            Self::Certificate(certificate) => {
                let tls = ClientTls {
                    identity: Some(certificate.clone()),
                    ..ClientTls::clone(tls)
                };
                Some(Arc::new(Backend {
                    tls: Some(Arc::new(tls)),
                    ..Backend::clone(backend)
                }))
            }
        }
    }
}
