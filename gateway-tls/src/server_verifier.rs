//! Verification of backend certificates in two cases that rustls does not cover: any certificate is accepted,
//! or the expected name is not the server name of the connection.
//!
//! [`HandshakeVerifier`] verifies the signatures of the handshake; a [`CertificateCheck`] decides on the
//! certificate.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::trusted_leaf::TrustedLeaves;

/// Decides on the certificate of a backend.
pub(crate) trait CertificateCheck: fmt::Debug + Send + Sync {
    /// Checks a certificate and the chain that the backend sent. `server_name` is the name of the connection.
    ///
    /// # Errors
    /// The reason of the rejection.
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error>;
}

/// Accepts a certificate that passes `check`, if the handshake is signed with its key.
#[derive(Debug)]
pub(crate) struct HandshakeVerifier<C> {
    /// Signature algorithms of the handshake.
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
    pub(crate) check: C,
}

impl<C: CertificateCheck> ServerCertVerifier for HandshakeVerifier<C> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check
            .check(end_entity, intermediates, server_name, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Accepts every certificate.
#[derive(Debug)]
pub(crate) struct AnyCertificate;

impl CertificateCheck for AnyCertificate {
    fn check(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _now: UnixTime,
    ) -> Result<(), Error> {
        Ok(())
    }
}

/// Accepts certificates that webpki accepts, and certificates in `trusted` with a matching name.
#[derive(Debug)]
pub(crate) struct ChainOrTrustedLeaf {
    /// Verifies certificates that are not in `trusted`.
    pub(crate) chains: Arc<WebPkiServerVerifier>,
    pub(crate) trusted: TrustedLeaves,
}

impl CertificateCheck for ChainOrTrustedLeaf {
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        match self.trusted.verify(end_entity, now) {
            None => self
                .chains
                .verify_server_cert(end_entity, intermediates, server_name, &[], now)
                .map(drop),
            Some(verified) => {
                verified?;
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)
            }
        }
    }
}

/// Accepts a certificate whose chain verifies and that contains at least one of the expected names.
pub(crate) struct AltNames {
    pub(crate) roots: Arc<RootCertStore>,
    /// CA certificates that the backend may present as its own certificate.
    pub(crate) trusted: TrustedLeaves,
    /// Signature algorithms of the chain.
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
    pub(crate) hostnames: Vec<ServerName<'static>>,
    pub(crate) uris: Vec<String>,
}

impl AltNames {
    fn contain_a_uri_of(&self, end_entity: &CertificateDer<'_>) -> bool {
        if self.uris.is_empty() {
            return false;
        }
        let Ok((_, certificate)) = X509Certificate::from_der(end_entity) else {
            return false;
        };
        let Ok(Some(san)) = certificate.subject_alternative_name() else {
            return false;
        };
        san.value.general_names.iter().any(|name| match name {
            GeneralName::URI(uri) => self.uris.iter().any(|expected| expected == uri),
            _ => false,
        })
    }
}

impl CertificateCheck for AltNames {
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        match self.trusted.verify(end_entity, now) {
            Some(verified) => verified?,
            None => verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &self.roots,
                intermediates,
                now,
                self.algorithms.all,
            )?,
        }
        let holds = |name| verify_server_name(&certificate, name).is_ok();
        if self.hostnames.iter().any(holds) || self.contain_a_uri_of(end_entity) {
            return Ok(());
        }
        Err(CertificateError::NotValidForName.into())
    }
}

impl fmt::Debug for AltNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AltNames")
            .field("hostnames", &self.hostnames)
            .field("uris", &self.uris)
            .finish_non_exhaustive()
    }
}
