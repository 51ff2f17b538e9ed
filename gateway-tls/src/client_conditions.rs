//! Conditions on the hashes and subject alternative names of client certificates. They apply in addition to
//! the verification of the chain.
//!
//! ```text
//! ClientConditions (settings) --build--> ConditionChecker --check(certificate)--> Ok, or a rejected certificate
//! ```
//!
//! Conditions on hashes and on names are independent. If there are hashes of certificates or public keys, at
//! least one hash must match. If there are conditions on names, at least one condition must match a name of
//! the certificate.

use std::net::IpAddr;

use regex::Regex;
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, Error};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::{Any, Class, Tag};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::error::TlsError;
use crate::peer::Sha256;

/// Conditions on a client certificate. The default accepts every certificate.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ClientConditions {
    /// SHA-256 hashes of accepted certificates (DER).
    pub certificate_hashes: Vec<[u8; 32]>,
    /// SHA-256 hashes of accepted public keys (DER of SubjectPublicKeyInfo; RFC 7469, section 2.4).
    pub spki_hashes: Vec<[u8; 32]>,
    /// Conditions on subject alternative names. At least one condition must match.
    pub alt_names: Vec<AltNameCondition>,
}

/// Condition on one kind of subject alternative names (RFC 5280, section 4.2.1.6).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct AltNameCondition {
    /// Kind of the names that are compared.
    pub kind: AltNameKind,
    /// Comparison that is applied to the name as a string.
    pub matching: AltNameMatch,
}

/// Kind of a subject alternative name.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AltNameKind {
    /// `dNSName`. [`AltNameMatch::Exact`] ignores case, and a name `*.example.com` of a certificate matches
    /// `a.example.com`, as in Envoy.
    Dns,
    /// `rfc822Name`.
    Email,
    /// `iPAddress`, compared in its canonical text form (RFC 5952).
    Ip,
    /// `uniformResourceIdentifier`.
    Uri,
    /// `otherName` with this object identifier, in dotted form. Only values of a string type match.
    Other(String),
}

/// Comparison of a subject alternative name, as a string, with a configured value.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AltNameMatch {
    /// The text equals this value.
    Exact(String),
    /// The text starts with this value.
    Prefix(String),
    /// The text ends with this value.
    Suffix(String),
    /// This regular expression matches a part of the text. To match the whole text, the expression must
    /// contain anchors.
    Regex(String),
}

impl ClientConditions {
    /// Whether every certificate is accepted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Compiles the conditions.
    ///
    /// # Errors
    /// [`TlsError::AltName`] if a regular expression is invalid.
    pub(crate) fn build(&self, provider: &CryptoProvider) -> Result<ConditionChecker, TlsError> {
        let Self {
            certificate_hashes,
            spki_hashes,
            alt_names,
        } = self;
        let build = |condition: &AltNameCondition| condition.build();
        Ok(ConditionChecker {
            certificate_hashes: certificate_hashes.clone(),
            spki_hashes: spki_hashes.clone(),
            alt_names: alt_names.iter().map(build).collect::<Result<_, _>>()?,
            sha256: Sha256::of(provider),
        })
    }
}

impl AltNameCondition {
    fn build(&self) -> Result<AltNameChecker, TlsError> {
        let Self { kind, matching } = self;
        let regex = match matching {
            AltNameMatch::Regex(expression) => {
                Some(Regex::new(expression).map_err(|error| TlsError::AltName(error.to_string()))?)
            }
            _ => None,
        };
        let canonical = match (kind, matching) {
            (AltNameKind::Ip, AltNameMatch::Exact(text)) => AltNameMatch::Exact(
                text.parse::<IpAddr>()
                    .map_or_else(|_| text.clone(), |address| address.to_string()),
            ),
            _ => matching.clone(),
        };
        Ok(AltNameChecker {
            kind: kind.clone(),
            matching: canonical,
            regex,
        })
    }
}

/// Checks certificates against [`ClientConditions`].
#[derive(Debug)]
pub(crate) struct ConditionChecker {
    certificate_hashes: Vec<[u8; 32]>,
    spki_hashes: Vec<[u8; 32]>,
    alt_names: Vec<AltNameChecker>,
    sha256: Sha256,
}

impl ConditionChecker {
    /// Checks the certificate of a client.
    ///
    /// # Errors
    /// The certificate fails a condition, or is malformed.
    pub(crate) fn check(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        let hashed = !self.certificate_hashes.is_empty() || !self.spki_hashes.is_empty();
        if !hashed && self.alt_names.is_empty() {
            return Ok(());
        }
        let (_, read) = X509Certificate::from_der(leaf)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if hashed && !self.has_hash(leaf, &read) || !self.has_name(&read) {
            let failure = CertificateError::ApplicationVerificationFailure;
            return Err(Error::InvalidCertificate(failure));
        }
        Ok(())
    }

    fn has_hash(&self, leaf: &[u8], read: &X509Certificate<'_>) -> bool {
        let listed = |list: &[[u8; 32]], data: &[u8]| {
            !list.is_empty()
                && (self.sha256.hash(data)).is_some_and(|hash| list.iter().any(|one| hash == *one))
        };
        listed(&self.certificate_hashes, leaf) || listed(&self.spki_hashes, read.public_key().raw)
    }

    fn has_name(&self, read: &X509Certificate<'_>) -> bool {
        if self.alt_names.is_empty() {
            return true;
        }
        // A repeated or malformed extension is treated as an extension without names.
        let extension = read.subject_alternative_name().ok().flatten();
        let mut names = extension.iter().flat_map(|san| &san.value.general_names);
        names.any(|name| self.alt_names.iter().any(|one| one.matches(name)))
    }
}

#[derive(Debug)]
struct AltNameChecker {
    kind: AltNameKind,
    matching: AltNameMatch,
    /// Compiled form of `matching`, if it is a regular expression.
    regex: Option<Regex>,
}

impl AltNameChecker {
    fn matches(&self, name: &GeneralName<'_>) -> bool {
        match (&self.kind, name) {
            (AltNameKind::Dns, GeneralName::DNSName(name)) => match &self.matching {
                AltNameMatch::Exact(expected) => covers(name, expected),
                _ => self.matches_text(name),
            },
            (AltNameKind::Email, GeneralName::RFC822Name(name))
            | (AltNameKind::Uri, GeneralName::URI(name)) => self.matches_text(name),
            (AltNameKind::Ip, GeneralName::IPAddress(bytes)) => {
                address(bytes).is_some_and(|address| self.matches_text(&address.to_string()))
            }
            (AltNameKind::Other(expected), GeneralName::OtherName(oid, value)) => {
                oid.to_id_string() == *expected
                    && other_text(value).is_some_and(|text| self.matches_text(text))
            }
            _ => false,
        }
    }

    /// Compares a name. A name with a zero byte never matches, because some parsers end a name at this byte.
    fn matches_text(&self, text: &str) -> bool {
        !text.contains('\0')
            && match &self.matching {
                AltNameMatch::Exact(value) => text == value,
                AltNameMatch::Prefix(value) => text.starts_with(value.as_str()),
                AltNameMatch::Suffix(value) => text.ends_with(value.as_str()),
                AltNameMatch::Regex(_) => {
                    (self.regex.as_ref()).is_some_and(|regex| regex.is_match(text))
                }
            }
    }
}

/// Whether a DNS name of a certificate covers `name`. The certificate's name may start with `*.` (RFC 6125,
/// section 6.4.3).
fn covers(of_certificate: &str, name: &str) -> bool {
    if of_certificate.eq_ignore_ascii_case(name) {
        return true;
    }
    let parent = of_certificate.strip_prefix("*.");
    let split = name.split_once('.');
    matches!((parent, split), (Some(parent), Some((label, rest)))
        if !label.is_empty() && parent.eq_ignore_ascii_case(rest))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

/// The text of an `otherName`. Its encoding is `[0] EXPLICIT` around a value of a string type; `None` for
/// other encodings.
fn other_text(value: &[u8]) -> Option<&str> {
    let (rest, explicit) = Any::from_der(value).ok()?;
    if !rest.is_empty() || explicit.class() != Class::ContextSpecific || explicit.tag() != Tag(0) {
        return None;
    }
    let (rest, text) = Any::from_der(explicit.data).ok()?;
    let textual = matches!(
        text.tag(),
        Tag::Utf8String | Tag::Ia5String | Tag::PrintableString
    );
    if !rest.is_empty() || text.class() != Class::Universal || !textual {
        return None;
    }
    std::str::from_utf8(text.data).ok()
}

#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod tests {
    use proptest::prelude::*;
    use rcgen::SanType;

    use super::*;
    use crate::default_provider;
    use crate::testing::{Key, TEST_CA, params};

    const PRINCIPAL: [u64; 4] = [1, 3, 6, 1];

    fn der(names: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = params(&[]);
        params.subject_alt_names = names;
        let (pem, _) = TEST_CA.sign(&params, Key::P256);
        use rustls_pki_types::pem::PemObject;
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    fn sample() -> CertificateDer<'static> {
        let ia5 = |text: &str| text.try_into().unwrap();
        let other = rcgen::OtherNameValue::Utf8String("ada@corp".to_owned());
        der(vec![
            SanType::DnsName(ia5("Client.Good.Test")),
            SanType::DnsName(ia5("*.wild.test")),
            SanType::Rfc822Name(ia5("good@client.test")),
            SanType::URI(ia5("spiffe://oracle/good")),
            SanType::IpAddress("192.0.2.7".parse().unwrap()),
            SanType::IpAddress("2001:db8::7".parse().unwrap()),
            SanType::OtherName((PRINCIPAL.to_vec(), other)),
        ])
    }

    fn accepts(conditions: &ClientConditions, leaf: &CertificateDer<'_>) -> bool {
        let checker = conditions.build(&default_provider()).unwrap();
        checker.check(leaf).is_ok()
    }

    fn named(kind: AltNameKind, matching: AltNameMatch) -> ClientConditions {
        ClientConditions {
            alt_names: vec![AltNameCondition { kind, matching }],
            ..ClientConditions::default()
        }
    }

    #[test]
    fn each_kind_of_name_is_compared_with_names_of_its_kind_alone() {
        use AltNameKind::{Dns, Email, Ip, Other, Uri};
        let exact = |text: &str| AltNameMatch::Exact(text.to_owned());
        let prefix = |text: &str| AltNameMatch::Prefix(text.to_owned());
        let suffix = |text: &str| AltNameMatch::Suffix(text.to_owned());
        let regex = |text: &str| AltNameMatch::Regex(text.to_owned());
        let principal = || Other("1.3.6.1".to_owned());
        let leaf = sample();
        for (kind, matching, expected) in [
            (Dns, exact("client.good.test"), true),
            (Dns, exact("good.test"), false),
            (Dns, exact("a.wild.test"), true),
            (Dns, exact("a.b.wild.test"), false),
            (Dns, exact(".wild.test"), false),
            (Dns, exact("wild.test"), false),
            (Dns, suffix(".Good.Test"), true),
            (Dns, suffix(".good.test"), false),
            (Dns, exact("good@client.test"), false),
            (Email, exact("good@client.test"), true),
            (Email, exact("spiffe://oracle/good"), false),
            (Uri, exact("spiffe://oracle/good"), true),
            (Uri, prefix("spiffe://oracle/"), true),
            (Uri, prefix("spiffe://other/"), false),
            (Uri, regex("^(?:spiffe://[a-z]+/good)$"), true),
            (Uri, regex("^(?:spiffe://[a-z]+)$"), false),
            (Ip, exact("192.0.2.7"), true),
            (Ip, exact("192.0.2.70"), false),
            (Ip, exact("2001:DB8:0::7"), true),
            (Ip, prefix("2001:db8::"), true),
            (principal(), exact("ada@corp"), true),
            (principal(), suffix("@corp"), true),
            (Other("1.3.6".to_owned()), exact("ada@corp"), false),
            (Email, exact("ada@corp"), false),
        ] {
            let conditions = named(kind, matching);

            assert_eq!(accepts(&conditions, &leaf), expected, "{conditions:?}");
        }
    }

    #[test]
    fn one_condition_on_names_suffices_and_a_certificate_without_names_fails() {
        let mut conditions = named(AltNameKind::Dns, AltNameMatch::Exact("x.test".to_owned()));
        assert!(!accepts(&conditions, &sample()));
        conditions.alt_names.push(AltNameCondition {
            kind: AltNameKind::Uri,
            matching: AltNameMatch::Prefix("spiffe:".to_owned()),
        });

        assert!(accepts(&conditions, &sample()));
        assert!(!accepts(&conditions, &der(Vec::new())));
    }

    #[test]
    fn one_hash_of_either_list_suffices_beside_a_matching_name() {
        let leaf = sample();
        let sha256 = Sha256::of(&default_provider());
        let (_, read) = X509Certificate::from_der(&leaf).unwrap();
        let hash = |data: &[u8]| <[u8; 32]>::try_from(sha256.hash(data).unwrap()).unwrap();
        let (own, key) = (hash(&leaf), hash(read.public_key().raw));
        let of = |certificates: &[[u8; 32]], keys: &[[u8; 32]]| ClientConditions {
            certificate_hashes: certificates.to_vec(),
            spki_hashes: keys.to_vec(),
            ..ClientConditions::default()
        };
        for (conditions, expected) in [
            (of(&[], &[]), true),
            (of(&[own], &[]), true),
            (of(&[], &[key]), true),
            (of(&[own], &[[0; 32]]), true),
            (of(&[[0; 32]], &[key]), true),
            (of(&[[0; 32]], &[]), false),
            (of(&[key], &[own]), false),
        ] {
            assert_eq!(accepts(&conditions, &leaf), expected, "{conditions:?}");
            let other = AltNameMatch::Exact("x.test".to_owned());
            let both = ClientConditions {
                alt_names: named(AltNameKind::Dns, other).alt_names,
                ..conditions
            };
            assert!(!accepts(&both, &leaf));
        }
    }

    #[test]
    fn an_invalid_expression_is_an_error() {
        let conditions = named(AltNameKind::Dns, AltNameMatch::Regex("(".to_owned()));

        let error = conditions.build(&default_provider()).unwrap_err();

        assert!(matches!(error, TlsError::AltName(_)));
    }

    proptest! {
        /// A wildcard name `*.parent` covers the names one label below `parent`, but neither `parent` nor deeper names.
        #[test]
        fn a_wildcard_covers_exactly_one_label(label in "[a-z]{1,8}", parent in "[a-z]{1,8}\\.test", deeper in "[a-z]{1,3}") {
            let wildcard = format!("*.{parent}");
            let below = format!("{}.{}", label, parent);
            let two_below = format!("{}.{}", deeper, below);

            prop_assert!(covers(&wildcard, &below));
            prop_assert!(!covers(&wildcard, &parent));
            prop_assert!(!covers(&wildcard, &two_below));
        }

        /// The client controls the value of an `otherName`. For any bytes, the parser must return a text or
        /// `None`, without a panic.
        #[test]
        fn any_bytes_of_an_other_name_are_a_text_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = other_text(&bytes);
        }
    }
}
