//! Client certificates: the trusted CAs, and the treatment of clients without a valid certificate.
//!
//! | mode | no certificate | a certificate that does not verify | a verified certificate |
//! |---|---|---|---|
//! | [`Required`](ClientAuthMode::Required) | rejected | rejected | identified |
//! | [`Optional`](ClientAuthMode::Optional) | accepted | rejected | identified |
//! | [`Requested`](ClientAuthMode::Requested) | accepted | accepted, not identified | identified |
//!
//! *Identified* means that [`Negotiated::client`](crate::acceptor::Negotiated::client) contains the
//! certificate. It contains verified certificates only, in every mode. In every mode a client must prove
//! possession of the key of its certificate.
//!
//! A resumed session carries the certificate of its first handshake, without a new proof. The certificate
//! is therefore verified again: one that has expired since, or whose CA is no longer trusted, is
//! rejected.
//!
//! Several CA certificates may have the same subject and serial number. All of them are tried until one
//! verifies the signature.
//!
//! Certificates of X.509 version 1 are accepted directly below a CA (see `version_one`).

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};

use crate::client::read_roots;
use crate::error::TlsError;
use crate::peer::{ClientCertificate, Sha256};
use crate::version_one::VersionOneVerifier;

/// Requirements for client certificates.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ClientAuth {
    /// CA certificates as PEM.
    pub roots_pem: String,
    /// Treatment of clients without a valid certificate.
    pub mode: ClientAuthMode,
}

/// Treatment of clients without a valid certificate.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ClientAuthMode {
    /// Clients without a valid certificate are rejected (Gateway API `AllowValidOnly`, Envoy Gateway
    /// `RequireAndVerify`).
    #[default]
    Required,
    /// Clients without a certificate are accepted, those with an invalid one are rejected (Envoy Gateway
    /// `VerifyIfGiven`).
    Optional,
    /// All clients are accepted; those without a valid certificate are not identified (Gateway API
    /// `AllowInsecureFallback`).
    Requested,
}

impl ClientAuth {
    /// Builds the verifier of client certificates.
    ///
    /// # Errors
    /// [`TlsError::Roots`] if there is no CA certificate, or if one is malformed.
    pub fn build(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<ClientVerifier>, TlsError> {
        let roots = Arc::new(read_roots(&self.roots_pem)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| TlsError::Roots(error.to_string()))?;
        Ok(Arc::new(ClientVerifier {
            verifier,
            version_one: VersionOneVerifier::new(&self.roots_pem, provider),
            mode: self.mode,
            sha256: Sha256::of(provider),
        }))
    }
}

/// Verifies client certificates.
pub struct ClientVerifier {
    /// Verifies strictly; `mode` is applied afterwards.
    verifier: Arc<dyn ClientCertVerifier>,
    version_one: VersionOneVerifier,
    mode: ClientAuthMode,
    sha256: Sha256,
}

impl ClientVerifier {
    /// Identifies a client by the `chain` of its handshake. `server` is the certificate that the client
    /// received.
    ///
    /// # Errors
    /// The client must be rejected: the certificate of a resumed session is no longer valid.
    pub(crate) fn identify(
        &self,
        chain: Option<&[CertificateDer<'static>]>,
        resumed: bool,
        server: Option<&CertificateDer<'_>>,
    ) -> Result<Option<Arc<ClientCertificate>>, Error> {
        let Some((leaf, rest)) = chain.and_then(<[_]>::split_first) else {
            return match self.mode {
                ClientAuthMode::Required => Err(Error::NoCertificatesPresented),
                ClientAuthMode::Optional | ClientAuthMode::Requested => Ok(None),
            };
        };
        if resumed || self.mode == ClientAuthMode::Requested {
            let verified = self.verify(leaf, rest, UnixTime::now());
            match (verified, self.mode) {
                (Ok(_), _) => {}
                (Err(_), ClientAuthMode::Requested) => return Ok(None),
                (Err(error), ClientAuthMode::Required | ClientAuthMode::Optional) => {
                    return Err(error);
                }
            }
        }
        let certificate = ClientCertificate::read(leaf, rest, server, self.sha256);
        Ok(certificate.map(Arc::new))
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.verifier.verify_client_cert(leaf, rest, now) {
            Ok(verified) => Ok(verified),
            Err(error) => match self.version_one.verify(leaf, now) {
                Some(result) => result.map(|()| ClientCertVerified::assertion()),
                None => Err(error),
            },
        }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mode == ClientAuthMode::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.mode {
            ClientAuthMode::Required | ClientAuthMode::Optional => {
                self.verify(end_entity, intermediates, now)
            }
            // The certificate is verified after the handshake.
            ClientAuthMode::Requested => Ok(ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.version_one.verify_tls12(message, cert, dss) {
            Some(result) => result,
            None => self.verifier.verify_tls12_signature(message, cert, dss),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.version_one.verify_tls13(message, cert, dss) {
            Some(result) => result,
            None => self.verifier.verify_tls13_signature(message, cert, dss),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientVerifier")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
