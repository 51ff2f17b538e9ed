//! `spec.tls.backend`: the client certificate that a Gateway presents to TLS backends.
//!
//! If the certificate is not usable, the Gateway does not connect to TLS backends: a backend with optional
//! client certificates would treat the Gateway as an anonymous client.

use std::sync::Arc;

use towergate_policy::references::author_and_name;
use towergate_tls::Certificate;

use super::super::object_index::ObjectIndex;
use super::super::report::{Report, Subject};
use super::certificate::{self, ReferenceError};
use super::owner::Owner;
use super::parameters;
use crate::api::ENVOY_GROUP;
use crate::api::gateway::GatewaySpec;
use crate::api::reference::SecretObjectReference;
use crate::finding::FindingCode;
use crate::objects::Object;
use crate::status::{ConditionType, Conditions, GatewayReason};

/// Client certificate that a Gateway presents to backends.
#[derive(Clone, Debug, Default)]
pub(in super::super) enum BackendClientCert {
    /// No certificate is configured.
    #[default]
    None,
    /// The certificate.
    Certificate(Arc<Certificate>),
    /// The configured certificate is not usable.
    Unusable,
}

impl BackendClientCert {
    /// Resolves the certificate, and sets `ResolvedRefs` of the Gateway.
    pub(super) fn find(
        index: &ObjectIndex<'_>,
        gateway: &Object<GatewaySpec>,
        conditions: &mut Conditions<GatewayReason>,
        report: &mut Report,
        subject: &Subject<'_>,
    ) -> Self {
        let backend = gateway.spec.tls.as_ref().map(|tls| tls.backend.as_ref());
        let Some(backend) = backend else {
            return Self::of_parameters(index, gateway, conditions, report, subject);
        };
        let reference = backend.and_then(|tls| tls.client_certificate_ref.as_ref());
        if reference.is_none() {
            let found = Self::of_parameters(index, gateway, conditions, report, subject);
            if !found.is_none() {
                return found;
            }
        }
        let owner = Owner::new("Gateway", &gateway.meta);
        let found = reference.map(|reference| certificate::find(index, owner, reference));
        let fault = match found {
            Some(Err(fault)) => fault,
            found => {
                let message = "every reference is resolved";
                conditions.set(
                    ConditionType::ResolvedRefs,
                    true,
                    GatewayReason::ResolvedRefs,
                    message,
                );
                let certificate = found.and_then(Result::ok);
                return certificate.map_or(Self::None, |found| Self::Certificate(Arc::new(found)));
            }
        };
        let (reason, code) = match fault.cause {
            ReferenceError::NotGranted => (
                GatewayReason::RefNotPermitted,
                FindingCode::ReferenceNotGranted,
            ),
            ReferenceError::Unusable => (
                GatewayReason::InvalidClientCertificateRef,
                FindingCode::CertificateNotUsable,
            ),
        };
        let message = format!("client certificate not usable: {}", fault.message);
        conditions.set(ConditionType::ResolvedRefs, false, reason, &*message);
        report.error(
            code,
            subject,
            "spec.tls.backend.clientCertificateRef",
            message,
            "correct the reference; until then requests to TLS backends get 500",
        );
        Self::Unusable
    }

    /// Resolves `backendTLS.clientCertificateRef` of the EnvoyProxy of the Gateway.
    fn of_parameters(
        index: &ObjectIndex<'_>,
        gateway: &Object<GatewaySpec>,
        conditions: &mut Conditions<GatewayReason>,
        report: &mut Report,
        subject: &Subject<'_>,
    ) -> Self {
        let found = match parameters::gateway_parameters(index.objects, gateway) {
            Ok(Some(found)) => found,
            Ok(None) => return Self::None,
            // The EnvoyProxy is missing or invalid, so it is unknown whether it sets a certificate.
            Err(_) => return Self::Unusable,
        };
        let Some(tls) = &found.backend_tls else {
            return Self::None;
        };
        let reference = tls.client_certificate_ref.as_ref();
        let own = parameters::namespace(index.objects, gateway);
        let certificate = reference.map(|reference| {
            let (namespace, name) = author_and_name(&own, reference.name.as_deref());
            let owner = Owner {
                group: ENVOY_GROUP,
                kind: "EnvoyProxy",
                namespace,
            };
            let secret = SecretObjectReference {
                group: reference.group.clone(),
                kind: reference.kind.clone(),
                name: name.to_owned(),
                namespace: reference.namespace.clone(),
            };
            certificate::find(index, owner, &secret)
        });
        let error = match certificate {
            None => return Self::None,
            Some(Ok(found)) => return Self::Certificate(Arc::new(found)),
            Some(Err(error)) => error.message,
        };
        let message = format!("EnvoyProxy: client certificate not usable: {error}");
        let names = (
            GatewayReason::InvalidClientCertificateRef,
            FindingCode::CertificateNotUsable,
        );
        Self::refuse(names, message, conditions, report, subject)
    }

    /// Reports an error in the EnvoyProxy that makes TLS backends unavailable.
    pub(super) fn refuse(
        (reason, code): (GatewayReason, FindingCode),
        message: String,
        conditions: &mut Conditions<GatewayReason>,
        report: &mut Report,
        subject: &Subject<'_>,
    ) -> Self {
        conditions.set(ConditionType::ResolvedRefs, false, reason, &*message);
        report.error(
            code,
            subject,
            "spec.infrastructure.parametersRef",
            message,
            "correct the EnvoyProxy; until then requests to TLS backends get 500",
        );
        Self::Unusable
    }

    /// Whether no certificate is configured.
    pub(in super::super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}
