//! Client certificates of X.509 version 1.
//!
//! `openssl x509 -req` without extensions issues certificates of this version, and guides for Envoy Gateway
//! use this command. Envoy accepts these certificates. webpki, which verifies all other certificates, rejects
//! them. A version 1 certificate has no extensions, and therefore no alternative names. It is accepted as a
//! client certificate if
//!
//! - one of the configured CAs issued and signed it itself: a version 1 certificate is never an intermediate;
//! - this CA has no name constraints, because name constraints cannot be checked on a certificate without
//!   alternative names;
//! - its validity period includes the current time.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::{CertificateError, DigitallySignedStruct, Error};
use rustls_pki_types::{
    CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::Any;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Version};

use crate::pem;

/// Verifies client certificates of version 1.
pub(crate) struct VersionOneVerifier {
    cas: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl VersionOneVerifier {
    /// A verifier that trusts the CA certificates in `roots_pem`.
    pub(crate) fn new(roots_pem: &str, provider: &CryptoProvider) -> Self {
        let sections = pem::sections(roots_pem.as_bytes());
        Self {
            cas: sections.into_iter().flatten().collect(),
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Verifies a certificate; `None` if it is not of version 1.
    pub(crate) fn verify(
        &self,
        der: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Option<Result<(), Error>> {
        let leaf = read(der)?;
        let result = self.verify_read(der, &leaf, now);
        Some(result.map_err(Error::InvalidCertificate))
    }

    fn verify_read(
        &self,
        der: &[u8],
        leaf: &X509Certificate<'_>,
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        if leaf.tbs_certificate.signature != leaf.signature_algorithm {
            return Err(CertificateError::BadEncoding);
        }
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now < leaf.validity().not_before.timestamp() {
            return Err(CertificateError::NotValidYet);
        }
        if now > leaf.validity().not_after.timestamp() {
            return Err(CertificateError::Expired);
        }
        let mut named = false;
        for ca in &self.cas {
            let Ok((_, ca)) = X509Certificate::from_der(ca) else {
                continue;
            };
            if ca.subject().as_raw() != leaf.issuer().as_raw()
                || !matches!(ca.name_constraints(), Ok(None))
            {
                continue;
            }
            named = true;
            if self.is_signed(der, leaf, ca.public_key()) == Some(true) {
                return Ok(());
            }
        }
        Err(match named {
            true => CertificateError::BadSignature,
            false => CertificateError::UnknownIssuer,
        })
    }

    /// Whether the signature of the certificate can be verified with the public key `key`. `None`: the
    /// certificate is malformed.
    fn is_signed(
        &self,
        der: &[u8],
        leaf: &X509Certificate<'_>,
        key: &SubjectPublicKeyInfo<'_>,
    ) -> Option<bool> {
        let signed = leaf.tbs_certificate.as_ref();
        let (_, whole) = Any::from_der(der).ok()?;
        let (_, algorithm) = Any::from_der(whole.data.get(signed.len()..)?).ok()?;
        let key_algorithm = key_algorithm(key)?;
        let usable = |one: &&&dyn SignatureVerificationAlgorithm| {
            one.signature_alg_id().as_ref() == algorithm.data
                && one.public_key_alg_id().as_ref() == key_algorithm
        };
        let signature = &leaf.signature_value.data;
        Some(self.algorithms.all.iter().filter(usable).any(|one| {
            let valid = one.verify_signature(&key.subject_public_key.data, signed, signature);
            valid.is_ok()
        }))
    }

    /// Verifies the signature of a TLS 1.2 handshake; `None` if the certificate is not of version 1.
    pub(crate) fn verify_tls12(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Option<Result<HandshakeSignatureValid, Error>> {
        let leaf = read(der)?;
        let key = leaf.public_key();
        let mut mapping = self.algorithms.mapping.iter();
        let (_, candidates) = mapping.find(|(scheme, _)| *scheme == signed.scheme)?;
        let algorithm = key_algorithm(key);
        let valid = candidates
            .iter()
            .filter(|one| Some(one.public_key_alg_id().as_ref()) == algorithm)
            .any(|one| {
                let key = &key.subject_public_key.data;
                one.verify_signature(key, message, signed.signature())
                    .is_ok()
            });
        Some(if valid {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        })
    }

    /// Verifies the signature of a TLS 1.3 handshake; `None` if the certificate is not of version 1.
    pub(crate) fn verify_tls13(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Option<Result<HandshakeSignatureValid, Error>> {
        let leaf = read(der)?;
        let key = SubjectPublicKeyInfoDer::from(leaf.public_key().raw);
        Some(verify_tls13_signature_with_raw_key(
            message,
            &key,
            signed,
            &self.algorithms,
        ))
    }
}

/// Parses a certificate of version 1; `None` if it has another version or is malformed.
fn read<'d>(der: &'d CertificateDer<'_>) -> Option<X509Certificate<'d>> {
    let (rest, leaf) = X509Certificate::from_der(der).ok()?;
    let is_first = leaf.version() == X509Version::V1 && leaf.extensions().is_empty();
    (is_first && rest.is_empty()).then_some(leaf)
}

/// The contents of the `AlgorithmIdentifier` of a key.
fn key_algorithm<'k>(key: &SubjectPublicKeyInfo<'k>) -> Option<&'k [u8]> {
    let (_, whole) = Any::from_der(key.raw).ok()?;
    let (_, algorithm) = Any::from_der(whole.data).ok()?;
    Some(algorithm.data)
}
