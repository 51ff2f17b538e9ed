//! A certificate chain with its private key, parsed from PEM and checked.
//!
//! All errors of a chain and its key are found when a [`Certificate`] is created, so every `Certificate` can
//! be served. The validity period is not checked: an expired certificate is served, because clients may still
//! accept it. The caller can check the dates and log a warning.
//!
//! ```
//! use towergate_tls::Certificate;
//!
//! let made = rcgen::generate_simple_self_signed(["a.test".to_owned(), "*.b.test".to_owned()])?;
//! let certificate = Certificate::from_pem(made.cert.pem(), made.signing_key.serialize_pem())?;
//!
//! assert_eq!(certificate.names, ["a.test".parse()?, "*.b.test".parse()?]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::key_type::{algorithm, private_key_fault};
use crate::{NamePattern, Provider, pem};

/// A certificate chain and its private key, checked to belong together.
#[derive(Clone, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// Chain as PEM, leaf first.
    pub chain_pem: String,
    /// Private key as PEM. `Debug` does not show it.
    pub key_pem: String,
    /// Names that the leaf is valid for: the DNS names of the SAN extension, or the common name if there are
    /// none. A wildcard in a certificate covers exactly one label (RFC 9525, section 6.3). A wildcard in the
    /// hostname of a listener covers one or more labels.
    pub names: Vec<NamePattern>,
    /// Start of validity, seconds since the epoch.
    pub not_before: i64,
    /// End of validity, seconds since the epoch.
    pub not_after: i64,
    /// Algorithm of the key.
    pub algorithm: KeyAlgorithm,
}

/// The algorithm of a certificate's key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// ECDSA on P-256, P-384 or P-521.
    Ecdsa,
    /// RSA.
    Rsa,
    /// Ed25519.
    Ed25519,
}

/// Error in a chain or its key. The messages do not contain the key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The text of the chain is empty.
    #[error("the certificate is empty")]
    EmptyCertificate,
    /// The text of the key is empty.
    #[error("the private key is empty")]
    EmptyKey,
    /// The PEM data has no `CERTIFICATE` section.
    #[error("there is no certificate in the PEM text")]
    NoCertificate,
    /// A `CERTIFICATE` section is malformed, or is not an X.509 certificate.
    #[error("certificate {0} of the chain cannot be read")]
    Malformed(usize),
    /// The PEM data has no section with a private key.
    #[error("there is no private key in the PEM text")]
    NoKey,
    /// The private key is encrypted.
    #[error("the private key is encrypted")]
    EncryptedKey,
    /// The section of the private key is malformed.
    #[error(
        "the private key cannot be read as RSA with 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519"
    )]
    MalformedKey,
    /// The key is neither ECDSA on P-256, P-384 or P-521, nor RSA with 2048 to 8192 bits, nor Ed25519. The text
    /// names the type of the key and the supported types.
    #[error("the key is not supported: {0}")]
    UnsupportedKey(String),
    /// The key does not match the first certificate.
    #[error("the private key does not belong to the first certificate")]
    KeyMismatch,
    /// The caller passed no crypto provider, and the crate was built without the feature `aws-lc-rs`, which
    /// adds a default provider.
    #[error("no crypto provider is configured")]
    NoProvider,
}

impl Certificate {
    /// Reads a chain (leaf first) and its key with the default crypto provider, aws-lc-rs.
    ///
    /// # Errors
    /// [`CertificateError`].
    #[cfg(feature = "aws-lc-rs")]
    pub fn from_pem(
        cert_pem: impl AsRef<[u8]>,
        key_pem: impl AsRef<[u8]>,
    ) -> Result<Self, CertificateError> {
        static PROVIDER: std::sync::LazyLock<std::sync::Arc<CryptoProvider>> =
            std::sync::LazyLock::new(crate::default_provider);
        Self::from_pem_with(&PROVIDER, cert_pem, key_pem)
    }

    /// Reads a chain (leaf first) and its key with `provider`. `None`: aws-lc-rs, if the feature `aws-lc-rs`
    /// is enabled.
    ///
    /// # Errors
    /// [`CertificateError`]; [`CertificateError::NoProvider`] if `provider` is `None` and the feature
    /// `aws-lc-rs` is disabled.
    pub fn from_pem_by(
        provider: Option<&Provider>,
        cert_pem: impl AsRef<[u8]>,
        key_pem: impl AsRef<[u8]>,
    ) -> Result<Self, CertificateError> {
        match provider {
            Some(Provider(provider)) => Self::from_pem_with(provider, cert_pem, key_pem),
            #[cfg(feature = "aws-lc-rs")]
            None => Self::from_pem(cert_pem, key_pem),
            #[cfg(not(feature = "aws-lc-rs"))]
            None => Err(CertificateError::NoProvider),
        }
    }

    /// Reads a chain (leaf first) and its key with `provider`.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn from_pem_with(
        provider: &CryptoProvider,
        cert_pem: impl AsRef<[u8]>,
        key_pem: impl AsRef<[u8]>,
    ) -> Result<Self, CertificateError> {
        let (cert_pem, key_pem) = (cert_pem.as_ref(), key_pem.as_ref());
        if cert_pem.trim_ascii().is_empty() {
            return Err(CertificateError::EmptyCertificate);
        }
        if key_pem.trim_ascii().is_empty() {
            return Err(CertificateError::EmptyKey);
        }
        let chain = read_chain(cert_pem)?;
        let key = read_key(key_pem)?;
        let leaf = Leaf::read(&chain[0])?;
        load(provider, chain, key)?;
        let text = |pem: &[u8]| String::from_utf8_lossy(pem).into_owned();
        Ok(Self {
            chain_pem: certificate_sections(&text(&pem::normalize(cert_pem))),
            key_pem: text(key_pem),
            names: leaf.names,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            algorithm: leaf.algorithm,
        })
    }

    /// Converts the certificate into the form that rustls serves.
    ///
    /// # Errors
    /// The errors of [`Certificate::from_pem_with`], if `provider` does not support an algorithm that the
    /// provider passed to `from_pem_with` supports.
    pub fn load(&self, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
        load(
            provider,
            read_chain(self.chain_pem.as_bytes())?,
            read_key(self.key_pem.as_bytes())?,
        )
    }
}

fn load(
    provider: &CryptoProvider,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, CertificateError> {
    let fault = private_key_fault(&key);
    let loaded = provider.key_provider.load_private_key(key);
    let key = loaded.map_err(|_| {
        fault.map_or(
            CertificateError::MalformedKey,
            CertificateError::UnsupportedKey,
        )
    })?;
    // The keys are compared without rustls, because its parser rejects certificates of version 1, which some
    // clients accept. Some providers cannot derive the public key from a private key. With such a provider, a
    // mismatch is detected only in the handshake.
    if let Some(public) = key.public_key() {
        let (_, leaf) =
            X509Certificate::from_der(&chain[0]).map_err(|_| CertificateError::Malformed(0))?;
        if public.as_ref() != leaf.public_key().raw {
            return Err(CertificateError::KeyMismatch);
        }
    }
    Ok(CertifiedKey::new(chain, key))
}

fn read_chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain = pem::sections(pem)
        .into_iter()
        .enumerate()
        .map(|(at, section)| section.map_err(|_| CertificateError::Malformed(at)))
        .collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate);
    }
    Ok(chain)
}

fn read_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    use rustls_pki_types::pem::Error::NoItemsFound;
    const ENCRYPTED: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];
    let holds = |text: &[u8]| pem.windows(text.len()).any(|window| window == text);
    if ENCRYPTED.into_iter().any(holds) {
        return Err(CertificateError::EncryptedKey);
    }
    pem::first_section(pem).map_err(|error| match error {
        NoItemsFound => CertificateError::NoKey,
        _ => CertificateError::MalformedKey,
    })
}

/// The `CERTIFICATE` sections of PEM data, which may contain other sections, including the key.
fn certificate_sections(pem: &str) -> String {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    pem.split(BEGIN)
        .skip(1)
        .filter_map(|rest| rest.split_once(END))
        .map(|(base64, _)| format!("{BEGIN}\n{}\n{END}\n", base64.trim()))
        .collect()
}

/// The parts of a leaf certificate that the gateway uses.
struct Leaf {
    names: Vec<NamePattern>,
    not_before: i64,
    not_after: i64,
    algorithm: KeyAlgorithm,
}

impl Leaf {
    fn read(der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let (_, leaf) =
            X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed(0))?;
        Ok(Self {
            names: names(&leaf),
            not_before: leaf.validity().not_before.timestamp(),
            not_after: leaf.validity().not_after.timestamp(),
            algorithm: algorithm(leaf.public_key())?,
        })
    }
}

/// DNS names of the SAN extension, or the common names if there are none, as in Envoy.
fn names(leaf: &X509Certificate<'_>) -> Vec<NamePattern> {
    let san = leaf.subject_alternative_name().ok().flatten();
    let dns: Vec<&str> = san
        .iter()
        .flat_map(|san| &san.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        })
        .collect();
    if !dns.is_empty() {
        return dns.into_iter().filter_map(name).collect();
    }
    leaf.subject()
        .iter_common_name()
        .filter_map(|common| name(common.as_str().ok()?))
        .collect()
}

/// Parses a name in a certificate. Returns `None` if the name is a lone asterisk, or if no client can send it
/// as a server name.
fn name(text: &str) -> Option<NamePattern> {
    match text.to_ascii_lowercase().parse().ok()? {
        NamePattern::Any => None,
        pattern => Some(pattern),
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod tests {
    use proptest::prelude::*;
    use rcgen::{DnType, date_time_ymd};

    use super::*;
    use crate::testing::{Key, TEST_CA, params};

    macro_rules! testdata {
        ($name:literal) => {
            include_str!(concat!("../testdata/", $name))
        };
    }

    fn names(names: &[NamePattern]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_dates_and_algorithm_are_those_of_the_leaf() {
        let mut params = params(&["A.test", "*.b.test", "192.0.2.1", "spiffe://c.test/d"]);
        params
            .distinguished_name
            .push(DnType::CommonName, "common.test");
        params.not_before = date_time_ymd(2001, 9, 9);
        params.not_after = date_time_ymd(2033, 5, 18);
        let (cert, key) = TEST_CA.sign(&params, Key::P384);

        let certificate = Certificate::from_pem(cert, key).unwrap();

        assert_eq!(names(&certificate.names), ["a.test", "*.b.test"]);
        assert_eq!(certificate.not_before, 999_993_600);
        assert_eq!(certificate.not_after, 1_999_987_200);
        assert_eq!(certificate.algorithm, KeyAlgorithm::Ecdsa);
    }

    #[test]
    fn without_dns_names_the_common_name_is_used() {
        let certificate =
            Certificate::from_pem(testdata!("sec1.pem"), testdata!("sec1.key")).unwrap();

        assert_eq!(names(&certificate.names), ["sec1.test"]);
    }

    #[test]
    fn names_that_no_client_can_send_are_left_out() {
        let (cert, key) = TEST_CA.sign(&params(&["*", "under_score.test"]), Key::P256);

        let certificate = Certificate::from_pem(cert, key).unwrap();

        assert_eq!(certificate.names, []);
    }

    #[test]
    fn all_key_types_and_encodings_are_read() {
        for (key, algorithm) in [
            (Key::P256, KeyAlgorithm::Ecdsa),
            (Key::Rsa, KeyAlgorithm::Rsa),
            (Key::Ed25519, KeyAlgorithm::Ed25519),
        ] {
            let (cert, key) = TEST_CA.sign(&params(&["a.test"]), key);
            let certificate = Certificate::from_pem(cert, key).unwrap();
            assert_eq!(certificate.algorithm, algorithm);
        }
        let pkcs1 = Certificate::from_pem(testdata!("pkcs1.pem"), testdata!("pkcs1.key"));
        assert_eq!(pkcs1.unwrap().algorithm, KeyAlgorithm::Rsa);
    }

    #[test]
    fn a_certificate_of_version_1_is_served() {
        let certificate =
            Certificate::from_pem(testdata!("version1.pem"), testdata!("version1.key")).unwrap();

        assert_eq!(names(&certificate.names), ["version1.test"]);
        assert!(certificate.load(&crate::default_provider()).is_ok());
        let other = Certificate::from_pem(testdata!("version1.pem"), testdata!("sec1.key"));
        assert_eq!(other, Err(CertificateError::KeyMismatch));
    }

    #[test]
    fn only_the_chain_of_a_longer_text_is_kept() {
        let (cert, key) = TEST_CA.sign(&params(&["a.test"]), Key::P256);
        let bundle = format!("Subject: a.test\n{key}{cert}\r\n{}", TEST_CA.pem);

        let certificate = Certificate::from_pem(&bundle, &bundle).unwrap();

        assert!(!certificate.chain_pem.contains("PRIVATE KEY"));
        let provider = crate::default_provider();
        assert_eq!(certificate.load(&provider).unwrap().cert.len(), 2);
    }

    /// Cases from the documentation of Go's `encoding/pem`, which Kubernetes and Envoy Gateway use.
    #[test]
    fn texts_that_go_accepts_are_accepted() {
        let (cert, key) = TEST_CA.sign(&params(&["a.test"]), Key::P256);
        let lines: Vec<&str> = cert.lines().collect();
        let (first, last) = (lines[0], lines[lines.len() - 1]);
        let base64 = lines[1..lines.len() - 1].concat();
        for text in [
            cert.clone(),
            cert.replace('\n', "\r\n"),
            cert.trim_end().to_owned(),
            format!("\n\n{cert}\n\n"),
            format!("Bag Attributes\n    friendlyName: a: b\n{cert}trailing text\n"),
            format!("{first}\n{base64}\n{last}\n"),
            format!("{first}  \n{base64}\n{last}  \n"),
            format!(
                "{first}\n\n  {}\n\t{}\n{last}",
                &base64[..64],
                &base64[64..]
            ),
            format!("{cert}{cert}"),
            format!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END X-----\n{cert}"),
            format!("-----BEGIN CERTIFICATE----\nAAAA\n-----END CERTIFICATE-----\n{cert}"),
        ] {
            let read = Certificate::from_pem(&text, &key);

            assert!(read.is_ok(), "{read:?}: {text}");
        }
    }

    /// Go skips a section with malformed base64 or without an END line. This crate reports an error, because
    /// skipping the section would remove a certificate from the chain.
    #[test]
    fn malformed_sections_are_errors() {
        let (cert, key) = TEST_CA.sign(&params(&["a.test"]), Key::P256);
        let (body, _) = cert.split_once("-----END").unwrap();
        for text in [
            body.to_owned(),
            format!("{body}-----END CERTIFICATE----\n"),
            format!("{body}-----END PRIVATE KEY-----\n"),
            format!("{cert}{body}"),
            format!("{cert}-----BEGIN CERTIFICATE-----\nA&A=\n-----END CERTIFICATE-----\n"),
        ] {
            assert!(Certificate::from_pem(&text, &key).is_err(), "{text}");
        }
    }

    #[test]
    fn a_chain_and_a_key_may_have_headers() {
        let (cert, key) = TEST_CA.sign(&params(&["a.test"]), Key::P256);
        let with_headers = |pem: &str| pem.replace("-----\nMI", "-----\nX-Note: a\n b: c\n\nMI");
        assert_ne!(with_headers(&key), key);

        let read = Certificate::from_pem(with_headers(&cert), with_headers(&key)).unwrap();

        assert!(read.load(&crate::default_provider()).is_ok());
        assert!(crate::client::read_roots(&with_headers(&TEST_CA.pem)).is_ok());
    }

    #[test]
    fn each_fault_has_an_error_of_its_own() {
        use CertificateError as E;
        let (cert, key) = TEST_CA.sign(&params(&["a.test"]), Key::P256);
        let (_, other) = TEST_CA.sign(&params(&["a.test"]), Key::P256);
        let (_, rsa) = TEST_CA.sign(&params(&["a.test"]), Key::Rsa);
        let (cert, key) = (cert.as_str(), key.as_str());
        let base64 = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        let not_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let not_a_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let broken_chain = format!("{cert}{base64}");
        let root_first = format!("{}{cert}", TEST_CA.pem);
        let cases = [
            ("", key, E::EmptyCertificate),
            (" \n", key, E::EmptyCertificate),
            (cert, "\n", E::EmptyKey),
            ("hello", key, E::NoCertificate),
            (key, key, E::NoCertificate),
            (base64, key, E::Malformed(0)),
            (not_x509, key, E::Malformed(0)),
            (&broken_chain, key, E::Malformed(1)),
            (cert, cert, E::NoKey),
            (cert, testdata!("pkcs8-encrypted.key"), E::EncryptedKey),
            (cert, testdata!("sec1-encrypted.key"), E::EncryptedKey),
            (cert, not_a_key, E::MalformedKey),
            (cert, &other, E::KeyMismatch),
            (cert, &rsa, E::KeyMismatch),
            (&root_first, key, E::KeyMismatch),
            (
                testdata!("secp256k1.pem"),
                testdata!("secp256k1.key"),
                E::UnsupportedKey(
                    "ECDSA on the curve secp256k1; use P-256, P-384 or P-521".to_owned(),
                ),
            ),
            (
                testdata!("rsa1024.pem"),
                testdata!("rsa1024.key"),
                E::UnsupportedKey("RSA with 1024 bits; use 2048 to 8192 bits".to_owned()),
            ),
        ];

        for (cert, key, expected) in cases {
            let error = Certificate::from_pem(cert, key).unwrap_err();

            assert_eq!(error, expected, "{cert}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// The parser either rejects a text or returns a certificate that rustls can load.
        #[test]
        fn a_changed_text_is_an_error_or_a_certificate_that_loads(
            at in 0..2_000usize,
            byte in any::<u8>(),
            is_key in any::<bool>(),
        ) {
            let mut texts = [
                testdata!("sec1.pem").as_bytes().to_vec(),
                testdata!("sec1.key").as_bytes().to_vec(),
            ];
            let text = &mut texts[usize::from(is_key)];
            let at = at % text.len();
            text[at] = byte;

            if let Ok(certificate) = Certificate::from_pem(&texts[0], &texts[1]) {
                prop_assert!(certificate.load(&crate::default_provider()).is_ok());
            }
        }
    }
}
