//! TLS of connections to a Backend: server name, CA certificates and client certificate.

use std::sync::Arc;

use towergate_core::plan::{BackendProtocol, Endpoint};
use towergate_policy::backend::{BackendSpec, BackendTls, WellKnownCaCertificates};
use towergate_tls::Certificate;
use towergate_tls::client::ClientTls;
use towergate_tls::limits::TlsLimits;

use super::super::backend_error::{BackendError, fault, invalid};
use crate::api::ENVOY_GROUP;
use crate::api::reference::SecretObjectReference;
use crate::objects::Object;
use crate::resolve::ca_bundle::{self, CaBundle};
use crate::resolve::gateway::certificate_of_backend;
use crate::resolve::grant::{From, To};
use crate::resolve::object_index::ObjectIndex;
use crate::status::RouteReason;

/// The field with the references to CA certificates.
pub(super) const CA_REFERENCES: &str = "spec.tls.caCertificateRefs";

/// TLS of connections to a Backend.
#[derive(Clone, Debug)]
pub(super) struct BackendObjectTls {
    server_name: String,
    /// `None`: the CA certificates of the system.
    roots_pem: Option<String>,
    /// Messages about CA references without certificates, if another reference has certificates.
    pub(super) ca_faults: Option<String>,
    pub(super) accept_any_certificate: bool,
    pub(super) identity: Option<Arc<Certificate>>,
    pub(super) alpn: Option<Vec<String>>,
    pub(super) limits: TlsLimits,
}

impl BackendObjectTls {
    /// The settings for `protocol`, without a client certificate.
    pub(super) fn client(&self, protocol: BackendProtocol) -> ClientTls {
        let alpn = match protocol {
            BackendProtocol::Http1 => "http/1.1",
            BackendProtocol::Http2 => "h2",
        };
        ClientTls {
            server_name: self.server_name.clone(),
            subject_alt_names: Vec::new(),
            roots_pem: self.roots_pem.clone(),
            alpn: vec![alpn.to_owned()],
            identity: None,
            accept_any_certificate: self.accept_any_certificate,
            limits: self.limits.clone(),
        }
    }
}

/// Resolves the TLS settings of a Backend. `hostname`: the host name that all endpoints share.
pub(super) fn client_tls(
    index: &ObjectIndex<'_>,
    object: &Object<BackendSpec>,
    tls: &BackendTls,
    hostname: Option<&str>,
    endpoints: &[Endpoint],
) -> Result<BackendObjectTls, BackendError> {
    let limits = match tls.limits() {
        Ok(limits) => limits,
        Err(error) => return fault(RouteReason::UnsupportedValue, error.to_string()),
    };
    let accept_any_certificate = tls.insecure_skip_verify == Some(true);
    let bundle = match accept_any_certificate {
        true => None,
        false => roots(index, object, tls)?,
    };
    let ca_faults = bundle
        .as_ref()
        .filter(|bundle| !bundle.faults.is_empty())
        .map(|bundle| bundle.message(CA_REFERENCES));
    let ip = |endpoint: &Endpoint| endpoint.address.ip_and_port().map(|address| address.ip());
    let mut addresses = endpoints.iter().map(ip);
    let address = addresses.next().flatten();
    let address = address.filter(|first| addresses.all(|other| other == Some(*first)));
    let server_name = match (&tls.sni, hostname, address) {
        (Some(sni), ..) => sni.clone(),
        (None, Some(hostname), _) => hostname.to_owned(),
        (None, None, Some(address)) => address.to_string(),
        (None, None, None) => {
            let message =
                "spec.tls.sni is required, because the endpoints have no common host name";
            return invalid(message.to_owned());
        }
    };
    let identity = tls.client_certificate_ref.as_ref().map(|reference| {
        let reference = SecretObjectReference {
            group: reference.group.clone(),
            kind: reference.kind.clone(),
            name: reference.name.clone().unwrap_or_default(),
            namespace: reference.namespace.clone(),
        };
        certificate_of_backend(index, &object.meta, &reference)
    });
    let identity = match identity {
        None => None,
        Some(Ok(certificate)) => Some(Arc::new(certificate)),
        Some(Err(message)) => return invalid(format!("spec.tls.clientCertificateRef: {message}")),
    };
    Ok(BackendObjectTls {
        server_name,
        roots_pem: bundle.map(|bundle| bundle.pem),
        ca_faults,
        accept_any_certificate,
        identity,
        alpn: tls.alpn_protocols.clone(),
        limits,
    })
}

/// The CA certificates; `None`: those of the system.
fn roots(
    index: &ObjectIndex<'_>,
    object: &Object<BackendSpec>,
    tls: &BackendTls,
) -> Result<Option<CaBundle>, BackendError> {
    let references = tls.ca_certificate_refs.as_deref().unwrap_or_default();
    match (&tls.well_known_ca_certificates, references.is_empty()) {
        (Some(WellKnownCaCertificates::System), true) => return Ok(None),
        (None, false) => {}
        (None, true) => {
            return invalid(
                "must specify either CACertificateRefs or WellKnownCACertificates when \
                 InsecureSkipVerify is unset or false"
                    .to_owned(),
            );
        }
        (Some(WellKnownCaCertificates::System), false) => {
            let message = "caCertificateRefs and wellKnownCACertificates exclude each other";
            return invalid(format!("spec.tls: {message}"));
        }
        (Some(WellKnownCaCertificates::Other(other)), _) => {
            let message = format!("wellKnownCACertificates {other:?} is not supported; use System");
            return fault(RouteReason::UnsupportedValue, message);
        }
    }
    let namespace = &*object.meta.namespace;
    let from = From {
        group: ENVOY_GROUP,
        kind: "Backend",
        namespace,
    };
    let mut bundle = CaBundle::default();
    for (at, reference) in references.iter().enumerate() {
        let to = To {
            group: reference.group.as_deref().unwrap_or_default(),
            kind: reference.kind.as_deref().unwrap_or_default(),
            namespace,
            name: reference.name.as_deref().unwrap_or_default(),
        };
        bundle.add(at, ca_bundle::find(index, from, to));
    }
    match bundle.pem.is_empty() {
        // Ignoring invalid references is safe: fewer CA certificates accept fewer backends.
        false => Ok(Some(bundle)),
        true => invalid(bundle.message(CA_REFERENCES)),
    }
}
