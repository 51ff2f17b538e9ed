//! Client certificates: the trusted CAs, and the treatment of clients without a valid certificate.
//!
//! | mode | no certificate | a certificate that does not verify | a verified certificate |
//! |---|---|---|---|
//! | [`Required`](ClientAuthMode::Required) | rejected | rejected | identified |
//! | [`Optional`](ClientAuthMode::Optional) | accepted | rejected | identified |
//! | [`Requested`](ClientAuthMode::Requested) | accepted | accepted, not identified | identified |
//! | [`RequiredUnverified`](ClientAuthMode::RequiredUnverified) | rejected | accepted, not identified | identified |
//!
//! A certificate verifies if it chains to a CA, is valid in time, is not revoked and fulfils the
//! [`ClientConditions`]. A certificate that fails the conditions is rejected in every mode.
//!
//! *Identified* means that [`Negotiated::client`](crate::acceptor::Negotiated::client) contains the
//! certificate. In every mode, this field contains only verified certificates, and a client must prove
//! possession of the key of its certificate.
//!
//! A resumed session carries the certificate of its first handshake, without a new proof. The certificate is
//! therefore verified again: the client is rejected if its certificate has expired, or if the CA of the
//! certificate is not trusted at this time.
//!
//! Several CA certificates may have the same subject and serial number. These certificates are tried in turn
//! until one of them verifies the signature.
//!
//! Certificates of X.509 version 1 are accepted directly below a CA (see `version_one`), unless revocation
//! lists are configured, because the lists are not applied to these certificates.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::client::read_roots;
use crate::client_conditions::{ClientConditions, ConditionChecker};
use crate::error::TlsError;
use crate::peer::{ClientCertificate, Sha256};
use crate::provider::Provider;
use crate::revocation::{Revocation, first_expiry, read_revocation_lists};
use crate::version_one::VersionOneVerifier;

/// Requirements for client certificates.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ClientAuth {
    /// CA certificates as PEM. May be empty in the modes that accept unverified certificates; then no client
    /// is identified.
    pub roots_pem: String,
    /// Treatment of clients without a valid certificate.
    pub mode: ClientAuthMode,
    /// Conditions that certificates must fulfil, in addition to being issued by a trusted CA.
    #[serde(default, skip_serializing_if = "ClientConditions::is_empty")]
    pub conditions: ClientConditions,
    /// Revocation lists. `None`: revocation is not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Revocation>,
    /// Whether certificates are accepted after their `notAfter`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_expired: bool,
}

/// Treatment of clients without a valid certificate.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ClientAuthMode {
    /// Clients without a valid certificate are rejected (Gateway API `AllowValidOnly`, Envoy Gateway
    /// `RequireAndVerify`).
    #[default]
    Required,
    /// Clients without a certificate are accepted; clients with an invalid certificate are rejected (Envoy
    /// Gateway `VerifyIfGiven`).
    Optional,
    /// All clients are accepted; clients without a valid certificate are not identified (Gateway API
    /// `AllowInsecureFallback`, Envoy Gateway `Request`).
    Requested,
    /// Clients without a certificate are rejected; clients with an invalid certificate are accepted, but not
    /// identified (Envoy Gateway `RequireAny`).
    RequiredUnverified,
}

impl ClientAuthMode {
    /// Whether a client without a certificate is rejected.
    fn requires(self) -> bool {
        matches!(self, Self::Required | Self::RequiredUnverified)
    }

    /// Whether a client with an invalid certificate is rejected.
    fn verifies(self) -> bool {
        matches!(self, Self::Required | Self::Optional)
    }
}

impl ClientAuth {
    /// Checks that the settings can be built with `provider`. `None`: aws-lc-rs, if the feature `aws-lc-rs`
    /// is enabled.
    ///
    /// # Errors
    /// The errors of [`build`](Self::build); an error if there is no provider.
    pub fn check_by(&self, provider: Option<&Provider>) -> Result<(), TlsError> {
        let provider = match provider {
            Some(Provider(provider)) => provider.clone(),
            #[cfg(feature = "aws-lc-rs")]
            None => crate::provider::default_provider(),
            #[cfg(not(feature = "aws-lc-rs"))]
            None => return Err(crate::certificate::CertificateError::NoProvider.into()),
        };
        self.build(&provider).map(drop)
    }

    /// Builds the verifier of client certificates.
    ///
    /// # Errors
    /// [`TlsError::Roots`] if there is no CA certificate in a mode that rejects invalid certificates, or if a
    /// CA certificate is malformed; [`TlsError::Revocation`] and [`TlsError::AltName`] for revocation lists
    /// and conditions.
    pub fn build(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<ClientVerifier>, TlsError> {
        self.verifier(provider, Vec::new()).map(Arc::new)
    }

    /// As [`Self::build`], but accepts only handshake signatures with one of `schemes`. If `schemes` is
    /// empty, all schemes that the provider supports are accepted.
    pub(crate) fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
        schemes: Vec<SignatureScheme>,
    ) -> Result<ClientVerifier, TlsError> {
        let chains = match self.roots_pem.is_empty() && !self.mode.verifies() {
            true => None,
            false => Some(ChainVerifier::new(self, provider)?),
        };
        Ok(ClientVerifier {
            chains,
            version_one: VersionOneVerifier::new(&self.roots_pem, provider),
            conditions: self.conditions.build(provider)?,
            mode: self.mode,
            algorithms: provider.signature_verification_algorithms,
            schemes,
            sha256: Sha256::of(provider),
        })
    }
}

/// Verifies client certificates.
pub struct ClientVerifier {
    /// Verifies certificate chains without regard to `mode`, which is applied to the result. `None` if no CA
    /// certificates are configured; then no certificate verifies.
    chains: Option<ChainVerifier>,
    version_one: VersionOneVerifier,
    conditions: ConditionChecker,
    mode: ClientAuthMode,
    algorithms: WebPkiSupportedAlgorithms,
    /// Accepted signature schemes of handshakes. Empty: all schemes that the provider supports.
    schemes: Vec<SignatureScheme>,
    sha256: Sha256,
}

impl ClientVerifier {
    /// Identifies a client by the certificate `chain` that it sent in the handshake. `server` is the server
    /// certificate that the client received.
    ///
    /// # Errors
    /// The client must be rejected: it sent no certificate although one is required, or the certificate of
    /// its resumed session is not valid at this time.
    pub(crate) fn identify(
        &self,
        chain: Option<&[CertificateDer<'static>]>,
        resumed: bool,
        server: Option<&CertificateDer<'_>>,
    ) -> Result<Option<Arc<ClientCertificate>>, Error> {
        let Some((leaf, rest)) = chain.and_then(<[_]>::split_first) else {
            return match self.mode.requires() {
                true => Err(Error::NoCertificatesPresented),
                false => Ok(None),
            };
        };
        if resumed || !self.mode.verifies() {
            self.conditions.check(leaf)?;
            match self.verify(leaf, rest, UnixTime::now()) {
                Ok(_) => {}
                Err(error) if self.mode.verifies() => return Err(error),
                Err(_) => return Ok(None),
            }
        }
        let certificate = ClientCertificate::read(leaf, rest, server, self.sha256);
        Ok(certificate.map(Arc::new))
    }

    fn allows(&self, scheme: SignatureScheme) -> bool {
        self.schemes.is_empty() || self.schemes.contains(&scheme)
    }

    /// Rejects a signature scheme that was not offered to the client. rustls leaves this check to the
    /// verifier.
    fn check_scheme(&self, scheme: SignatureScheme) -> Result<(), Error> {
        match self.allows(scheme) {
            true => Ok(()),
            false => Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into()),
        }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let chains = self.chains.as_ref().ok_or_else(unknown)?;
        chains.verify(leaf, rest, now, &self.version_one)?;
        self.conditions.check(leaf)?;
        Ok(ClientCertVerified::assertion())
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mode.requires()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        let chains = self.chains.as_ref();
        chains.map_or(&[], |chains| chains.verifier.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.mode.verifies() {
            return self.verify(end_entity, intermediates, now);
        }
        // Only the conditions are checked here. `identify` verifies the chain after the handshake.
        self.conditions.check(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_scheme(dss.scheme)?;
        match self.version_one.verify_tls12(message, cert, dss) {
            Some(result) => result,
            None => verify_tls12_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_scheme(dss.scheme)?;
        match self.version_one.verify_tls13(message, cert, dss) {
            Some(result) => result,
            None => verify_tls13_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        schemes.retain(|scheme| self.allows(*scheme));
        schemes
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientVerifier")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// Verifies certificate chains up to the trusted CAs, including revocation and expiry.
struct ChainVerifier {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Time at which the first revocation list expires. `None`: revocation is not checked.
    lists_until: Option<UnixTime>,
    allow_expired: bool,
}

impl ChainVerifier {
    /// An expired chain is verified as of the times at which its certificates expired. This is the maximum
    /// number of such times.
    const MAX_EXPIRED: usize = 4;

    fn new(settings: &ClientAuth, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let roots = Arc::new(read_roots(&settings.roots_pem)?);
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        let mut lists_until = None;
        if let Some(revocation) = &settings.revocation {
            let lists = read_revocation_lists(&revocation.lists_pem)?;
            lists_until = first_expiry(&lists)?;
            builder = builder.with_crls(lists).enforce_revocation_expiration();
            if revocation.only_leaf {
                builder = builder.only_check_end_entity_revocation();
            }
        }
        let verifier = builder
            .build()
            .map_err(|error| match &settings.revocation {
                Some(_) => TlsError::Revocation(error.to_string()),
                None => TlsError::Roots(error.to_string()),
            })?;
        Ok(Self {
            verifier,
            lists_until,
            allow_expired: settings.allow_expired,
        })
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
        version_one: &VersionOneVerifier,
    ) -> Result<(), Error> {
        let expired = match self.verify_at(leaf, rest, now, version_one) {
            Err(error) if self.allow_expired && is_expired(&error) => error,
            other => return other,
        };
        // The verification below uses an earlier time, at which an expired revocation list would be accepted.
        if self.lists_until.is_some_and(|until| until < now) {
            let failure = CertificateError::ExpiredRevocationList;
            return Err(Error::InvalidCertificate(failure));
        }
        // If the chain was valid at any time in the past, it was valid at the expiry time of one of its
        // certificates.
        let chain = std::iter::once(leaf).chain(rest);
        let ends = chain.filter_map(not_after).filter(|end| *end < now);
        let mut verified = ends
            .take(Self::MAX_EXPIRED)
            .map(|end| self.verify_at(leaf, rest, end, version_one));
        match verified.any(|result| result.is_ok()) {
            true => Ok(()),
            false => Err(expired),
        }
    }

    fn verify_at(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
        version_one: &VersionOneVerifier,
    ) -> Result<(), Error> {
        let error = match self.verifier.verify_client_cert(leaf, rest, now) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        match version_one.verify(leaf, now) {
            Some(Ok(())) if self.lists_until.is_some() => Err(Error::InvalidCertificate(
                CertificateError::UnknownRevocationStatus,
            )),
            Some(result) => result,
            None => Err(error),
        }
    }
}

fn is_expired(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. }
        )
    )
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    let seconds = u64::try_from(read.validity().not_after.timestamp()).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}
