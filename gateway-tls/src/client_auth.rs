//! What clients must show: whose certificates are trusted, and what happens to clients without a good
//! one.
//!
//! | mode | no certificate | a certificate that nobody trusted vouches for | a good one |
//! |---|---|---|---|
//! | [`Required`](ClientAuthMode::Required) | refused | refused | known |
//! | [`Optional`](ClientAuthMode::Optional) | passes | refused | known |
//! | [`Requested`](ClientAuthMode::Requested) | passes | passes, unknown | known |
//!
//! *Known* means that [`Negotiated::client`](crate::acceptor::Negotiated::client) holds the
//! certificate: only one that was verified gets there, whatever the mode. In every mode a client must
//! hold the key of what it shows.
//!
//! A resumed session brings the certificate of the first handshake along, without a new proof. So it is
//! verified again, and one that has expired since, or that is not trusted any more, is refused.
//!
//! Several trusted certificates may have the same subject and serial number: the one whose key made the
//! signature is found by trying all.

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

/// What clients must show.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ClientAuth {
    /// Trusted certificates as PEM.
    pub roots_pem: String,
    /// What happens to clients without a good certificate.
    pub mode: ClientAuthMode,
}

/// What happens to clients without a good certificate.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum ClientAuthMode {
    /// They are refused (Gateway API `AllowValidOnly`, Envoy Gateway `RequireAndVerify`).
    #[default]
    Required,
    /// Without any they pass, with a bad one they are refused (Envoy Gateway `VerifyIfGiven`).
    Optional,
    /// They pass, and nothing is known of them (Gateway API `AllowInsecureFallback`).
    Requested,
}

impl ClientAuth {
    /// Builds what verifies certificates.
    ///
    /// # Errors
    /// [`TlsError::Roots`] if there is no trusted certificate, or one cannot be read.
    pub fn build(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<ClientVerifier>, TlsError> {
        let roots = Arc::new(read_roots(&self.roots_pem)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| TlsError::Roots(error.to_string()))?;
        Ok(Arc::new(ClientVerifier {
            verifier,
            mode: self.mode,
            sha256: Sha256::of(provider),
        }))
    }
}

/// Verifies the certificates of clients.
pub struct ClientVerifier {
    /// Decides strictly; the mode is applied here.
    verifier: Arc<dyn ClientCertVerifier>,
    mode: ClientAuthMode,
    sha256: Sha256,
}

impl ClientVerifier {
    /// What is known of a client after its handshake, in which it showed `chain`. `server` is the
    /// certificate that it was shown.
    ///
    /// # Errors
    /// The client is to be refused: a resumed session has a certificate that is good no more.
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
            let verified = self
                .verifier
                .verify_client_cert(leaf, rest, UnixTime::now());
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
            ClientAuthMode::Required | ClientAuthMode::Optional => self
                .verifier
                .verify_client_cert(end_entity, intermediates, now),
            // Whether it is good is found out after the handshake.
            ClientAuthMode::Requested => Ok(ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
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
