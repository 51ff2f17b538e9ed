//! Signature schemes of handshakes (`signature_algorithms` of RFC 8446, section 4.2.3).
//!
//! A list of schemes restricts both sides of a handshake. A listener signs only with these schemes, in the
//! order of the list, and accepts only these schemes from clients with certificates. A connection to a
//! backend accepts only these schemes from the backend, and signs only with them.
//!
//! ```
//! use towergate_tls::signature_schemes::check_signature_scheme;
//!
//! assert_eq!(check_signature_scheme("ECDSA+SHA256"), Some("ecdsa_secp256r1_sha256"));
//! assert_eq!(check_signature_scheme("rsa_pkcs1_sha1"), None);
//! ```

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureAlgorithm,
    SignatureScheme,
};

use crate::error::TlsError;

/// Schemes, their IANA names, and their names in OpenSSL.
const SCHEMES: [(SignatureScheme, &str, &[&str]); 10] = [
    (
        SignatureScheme::ECDSA_NISTP256_SHA256,
        "ecdsa_secp256r1_sha256",
        &["ECDSA+SHA256"],
    ),
    (
        SignatureScheme::ECDSA_NISTP384_SHA384,
        "ecdsa_secp384r1_sha384",
        &["ECDSA+SHA384"],
    ),
    (
        SignatureScheme::ECDSA_NISTP521_SHA512,
        "ecdsa_secp521r1_sha512",
        &["ECDSA+SHA512"],
    ),
    (SignatureScheme::ED25519, "ed25519", &["Ed25519"]),
    (
        SignatureScheme::RSA_PSS_SHA256,
        "rsa_pss_rsae_sha256",
        &["RSA-PSS+SHA256", "PSS+SHA256"],
    ),
    (
        SignatureScheme::RSA_PSS_SHA384,
        "rsa_pss_rsae_sha384",
        &["RSA-PSS+SHA384", "PSS+SHA384"],
    ),
    (
        SignatureScheme::RSA_PSS_SHA512,
        "rsa_pss_rsae_sha512",
        &["RSA-PSS+SHA512", "PSS+SHA512"],
    ),
    (
        SignatureScheme::RSA_PKCS1_SHA256,
        "rsa_pkcs1_sha256",
        &["RSA+SHA256"],
    ),
    (
        SignatureScheme::RSA_PKCS1_SHA384,
        "rsa_pkcs1_sha384",
        &["RSA+SHA384"],
    ),
    (
        SignatureScheme::RSA_PKCS1_SHA512,
        "rsa_pkcs1_sha512",
        &["RSA+SHA512"],
    ),
];

/// The IANA name of a supported scheme, given its IANA or OpenSSL name. `None`: the scheme does not exist or
/// is not supported. Schemes with SHA-1 are not supported.
pub fn check_signature_scheme(name: &str) -> Option<&'static str> {
    let known = SCHEMES
        .iter()
        .find(|(_, iana, others)| *iana == name || others.contains(&name));
    known.map(|(_, iana, _)| *iana)
}

/// The schemes with these IANA names.
///
/// # Errors
/// [`TlsError::SignatureScheme`] names the first scheme that is not supported.
pub(crate) fn parse(names: &[String]) -> Result<Vec<SignatureScheme>, TlsError> {
    let parse = |name: &String| {
        let known = SCHEMES.iter().find(|(_, iana, _)| iana == name);
        let unknown = || TlsError::SignatureScheme(name.clone());
        known.map(|(scheme, ..)| *scheme).ok_or_else(unknown)
    };
    names.iter().map(parse).collect()
}

/// Restricts `key` to signatures with the schemes of `allowed`, in this order. Empty: no restriction.
pub(crate) fn restrict(key: CertifiedKey, allowed: &[SignatureScheme]) -> CertifiedKey {
    if allowed.is_empty() {
        return key;
    }
    let inner = key.key.clone();
    CertifiedKey {
        key: Arc::new(RestrictedKey {
            inner,
            allowed: allowed.into(),
        }),
        ..key
    }
}

/// Restricts `inner` to signatures of servers with the schemes of `allowed`, in this order. Empty: no
/// restriction.
pub(crate) fn restrict_verifier(
    inner: Arc<dyn ServerCertVerifier>,
    allowed: &[SignatureScheme],
) -> Arc<dyn ServerCertVerifier> {
    if allowed.is_empty() {
        return inner;
    }
    let supported = inner.supported_verify_schemes();
    let allowed = allowed.iter().copied();
    Arc::new(RestrictedVerifier {
        inner,
        allowed: allowed
            .filter(|scheme| supported.contains(scheme))
            .collect(),
    })
}

/// A verifier that accepts only signatures with the schemes of a list.
#[derive(Debug)]
struct RestrictedVerifier {
    inner: Arc<dyn ServerCertVerifier>,
    allowed: Vec<SignatureScheme>,
}

impl RestrictedVerifier {
    /// Rejects a signature whose scheme is not in the list.
    fn check(&self, signed: &DigitallySignedStruct) -> Result<(), Error> {
        match self.allowed.contains(&signed.scheme) {
            true => Ok(()),
            false => Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into()),
        }
    }
}

impl ServerCertVerifier for RestrictedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check(dss)?;
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check(dss)?;
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.allowed.clone()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.inner.requires_raw_public_keys()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.inner.root_hint_subjects()
    }
}

/// A key that signs only with the schemes of a list.
struct RestrictedKey {
    inner: Arc<dyn SigningKey>,
    allowed: Box<[SignatureScheme]>,
}

impl SigningKey for RestrictedKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let mut allowed = self.allowed.iter();
        allowed.find_map(|scheme| match offered.contains(scheme) {
            true => self.inner.choose_scheme(&[*scheme]),
            false => None,
        })
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.inner.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.inner.algorithm()
    }
}

/// Omits the key, which is secret.
impl fmt::Debug for RestrictedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestrictedKey")
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod tests {
    use super::*;
    use crate::{Certificate, default_provider};

    fn key(algorithm: &'static rcgen::SignatureAlgorithm) -> CertifiedKey {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let params = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
        let made = params.self_signed(&key).unwrap();
        let certificate = Certificate::from_pem(made.pem(), key.serialize_pem()).unwrap();
        certificate.load(&default_provider()).unwrap()
    }

    #[test]
    fn a_key_signs_with_the_first_allowed_scheme_that_the_client_offers() {
        use SignatureScheme as S;
        let all: Vec<_> = SCHEMES.iter().map(|(scheme, ..)| *scheme).collect();
        let rsa = || key(&rcgen::PKCS_RSA_SHA256);
        let ecdsa = || key(&rcgen::PKCS_ECDSA_P256_SHA256);
        for (key, allowed, offered, expected) in [
            (rsa(), &[][..], &all[..], Some(S::RSA_PSS_SHA512)),
            (
                rsa(),
                &[S::RSA_PKCS1_SHA384, S::RSA_PSS_SHA256],
                &all,
                Some(S::RSA_PKCS1_SHA384),
            ),
            (
                rsa(),
                &[S::RSA_PKCS1_SHA384, S::RSA_PSS_SHA256],
                &[S::RSA_PSS_SHA256],
                Some(S::RSA_PSS_SHA256),
            ),
            (rsa(), &[S::ECDSA_NISTP256_SHA256], &all, None),
            (
                ecdsa(),
                &[S::RSA_PSS_SHA256, S::ECDSA_NISTP256_SHA256],
                &all,
                Some(S::ECDSA_NISTP256_SHA256),
            ),
            (ecdsa(), &[S::ECDSA_NISTP256_SHA256], &[S::ED25519], None),
        ] {
            let signer = restrict(key, allowed).key.choose_scheme(offered);

            assert_eq!(
                signer.map(|signer| signer.scheme()),
                expected,
                "{allowed:?}"
            );
        }
    }

    #[test]
    fn every_name_is_that_of_one_scheme() {
        for (scheme, iana, others) in SCHEMES {
            for name in others.iter().chain([&iana]) {
                assert_eq!(check_signature_scheme(name), Some(iana));
            }
            assert_eq!(parse(&[iana.to_owned()]).unwrap(), [scheme]);
        }
        assert!(parse(&["rsa_pkcs1_sha1".to_owned()]).is_err());
    }
}
