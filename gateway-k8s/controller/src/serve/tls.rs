//! TLS of the server: TLS 1.3 only, with certificates of the controller's CA on both sides.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use towergate_k8s::wire::plane_of_uri;
use towergate_tls::rustls::pki_types::pem::PemObject;
use towergate_tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use towergate_tls::rustls::server::WebPkiClientVerifier;
use towergate_tls::rustls::version::TLS13;
use towergate_tls::rustls::{RootCertStore, ServerConfig};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::credentials::{Credentials, CredentialsError};

/// Certificate and trusted CAs of the server, which can be replaced at run time. Clones share their state.
#[derive(Clone, Debug)]
pub(crate) struct Tls(Arc<watch::Sender<Arc<ServerConfig>>>);

impl Tls {
    /// Builds the TLS configuration from the credentials of the server.
    ///
    /// # Errors
    /// If the credentials are invalid.
    pub(crate) fn new(credentials: &Credentials) -> Result<Self, CredentialsError> {
        Ok(Self(Arc::new(watch::Sender::new(build(credentials)?))))
    }

    /// Replaces the credentials for new connections.
    ///
    /// # Errors
    /// If the credentials are invalid. The previous credentials are kept.
    pub(crate) fn replace(&self, credentials: &Credentials) -> Result<(), CredentialsError> {
        self.0.send_replace(build(credentials)?);
        Ok(())
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.borrow())
    }
}

fn build(credentials: &Credentials) -> Result<Arc<ServerConfig>, CredentialsError> {
    let unusable = |what: &str| CredentialsError::Unusable(what.to_owned());
    let provider = towergate_tls::default_provider();
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(credentials.authorities.as_bytes()) {
        let root = root.map_err(|_| unusable("ca.crt cannot be read"))?;
        roots
            .add(root)
            .map_err(|_| unusable("ca.crt cannot be trusted"))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| CredentialsError::Unusable(format!("ca.crt: {error}")))?;
    let chain = CertificateDer::pem_slice_iter(credentials.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| unusable("tls.crt cannot be read"))?;
    let key = PrivateKeyDer::from_pem_slice(credentials.key.as_bytes())
        .map_err(|_| unusable("tls.key cannot be read"))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .and_then(|config| {
            config
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain, key)
        })
        .map_err(|error| CredentialsError::Unusable(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session could last longer than the certificate that was verified in its first handshake.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The identity in a verified client certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Identity {
    /// Plane whose plan the client may receive.
    pub(super) plane: String,
    /// Expiry of the certificate.
    pub(super) until: SystemTime,
}

impl Identity {
    /// Reads the identity from a certificate. `None`: the certificate names no plane, or more than one.
    pub(super) fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, leaf) = X509Certificate::from_der(certificate).ok()?;
        let names = leaf.subject_alternative_name().ok().flatten()?;
        let names = &names.value.general_names;
        let planes = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => plane_of_uri(uri),
            _ => None,
        });
        let mut planes = planes.fuse();
        let (Some(plane), None) = (planes.next(), planes.next()) else {
            return None;
        };
        let until = u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or(0);
        Some(Self {
            plane: plane.to_owned(),
            until: UNIX_EPOCH + Duration::from_secs(until),
        })
    }
}
