//! Names of TLS 1.2 cipher suites and of key-exchange groups: what can be served, and what is known
//! but cannot.
//!
//! rustls has AEAD suites with ephemeral keys only. A name that Envoy would serve and we cannot is
//! an error of its own, so that it is reported and not dropped.
//!
//! ```
//! use towergate_tls::ciphers::{CipherError, check_cipher};
//!
//! let iana = check_cipher("ECDHE-RSA-AES128-GCM-SHA256");
//! assert_eq!(iana, Ok("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"));
//! assert!(matches!(check_cipher("AES128-SHA"), Err(CipherError::Unsupported(_))));
//! assert!(matches!(check_cipher("ROT13"), Err(CipherError::Unknown(_))));
//! ```

use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{CipherSuite, NamedGroup, SupportedCipherSuite};

/// A name that cannot be served.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CipherError {
    /// Not the name of a TLS 1.2 suite. (Those of TLS 1.3 are fixed.)
    #[error("{0:?} is not a TLS 1.2 cipher suite")]
    Unknown(String),
    /// A suite without forward secrecy or without AEAD, or one that the provider lacks.
    #[error("cipher suite {0} is not supported: only ECDHE with AES-GCM or ChaCha20-Poly1305 is")]
    Unsupported(String),
}

/// A name that cannot be served.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GroupError {
    /// Not the name of a group.
    #[error("{0:?} is not a key-exchange group")]
    Unknown(String),
    /// A group that the provider lacks.
    #[error("key-exchange group {0} is not supported")]
    Unsupported(String),
}

/// TLS 1.2 suites that can be served: the suite, its IANA name, its OpenSSL name.
const SUITES: [(CipherSuite, &str, &str); 6] = [
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
    ),
];

/// TLS 1.2 suites that BoringSSL serves and rustls does not: IANA name, OpenSSL name.
const UNSUPPORTED_SUITES: [(&str, &str); 13] = [
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        "ECDHE-ECDSA-AES128-SHA",
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
        "ECDHE-RSA-AES128-SHA256",
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        "ECDHE-ECDSA-AES256-SHA",
    ),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "ECDHE-RSA-AES256-SHA"),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
    ("TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"),
    ("TLS_RSA_WITH_AES_256_CBC_SHA", "AES256-SHA"),
    ("TLS_RSA_WITH_3DES_EDE_CBC_SHA", "DES-CBC3-SHA"),
    (
        "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA",
        "ECDHE-PSK-AES128-CBC-SHA",
    ),
    (
        "TLS_ECDHE_PSK_WITH_AES_256_CBC_SHA",
        "ECDHE-PSK-AES256-CBC-SHA",
    ),
    (
        "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-PSK-CHACHA20-POLY1305",
    ),
];

/// Groups: their number, their name, and other names for them.
const GROUPS: [(NamedGroup, &str, &[&str]); 6] = [
    (NamedGroup::X25519MLKEM768, "X25519MLKEM768", &[]),
    (
        NamedGroup::secp256r1MLKEM768,
        "P256MLKEM768",
        &["SecP256r1MLKEM768"],
    ),
    (NamedGroup::X25519, "X25519", &["x25519"]),
    (
        NamedGroup::secp256r1,
        "P-256",
        &["prime256v1", "secp256r1", "P256"],
    ),
    (NamedGroup::secp384r1, "P-384", &["secp384r1", "P384"]),
    (NamedGroup::secp521r1, "P-521", &["secp521r1", "P521"]),
];

/// The IANA name of a TLS 1.2 cipher suite that can be served, given its IANA or OpenSSL name.
///
/// # Errors
/// [`CipherError`] if there is no such suite, or if it cannot be served.
pub fn check_cipher(name: &str) -> Result<&'static str, CipherError> {
    if let Some((_, iana, _)) = SUITES.iter().find(|(_, i, o)| *i == name || *o == name) {
        return Ok(iana);
    }
    let known = UNSUPPORTED_SUITES
        .iter()
        .any(|(iana, openssl)| *iana == name || *openssl == name);
    Err(if known {
        CipherError::Unsupported(name.to_owned())
    } else {
        CipherError::Unknown(name.to_owned())
    })
}

/// The name of a key-exchange group that can be served, given that or OpenSSL's name.
///
/// # Errors
/// [`GroupError`] if there is no such group, or if it cannot be served.
pub fn check_group(name: &str) -> Result<&'static str, GroupError> {
    match named_group(name)? {
        (NamedGroup::secp521r1 | NamedGroup::secp256r1MLKEM768, _) => {
            Err(GroupError::Unsupported(name.to_owned()))
        }
        (_, group) => Ok(group),
    }
}

fn named_group(name: &str) -> Result<(NamedGroup, &'static str), GroupError> {
    GROUPS
        .iter()
        .find(|(_, group, aliases)| *group == name || aliases.contains(&name))
        .map(|(group, name, _)| (*group, *name))
        .ok_or_else(|| GroupError::Unknown(name.to_owned()))
}

/// The provider's TLS 1.3 suites, and of TLS 1.2 those of `names`, in that order.
pub(crate) fn pick_suites(
    provider: &CryptoProvider,
    names: &[String],
) -> Result<Vec<SupportedCipherSuite>, CipherError> {
    let (tls13, tls12): (Vec<SupportedCipherSuite>, Vec<SupportedCipherSuite>) = provider
        .cipher_suites
        .iter()
        .partition(|suite| suite.tls13().is_some());
    let chosen = names.iter().map(|name| {
        let iana = check_cipher(name)?;
        tls12
            .iter()
            .find(|suite| iana_name(suite.suite()) == iana)
            .copied()
            .ok_or_else(|| CipherError::Unsupported(name.clone()))
    });
    tls13.into_iter().map(Ok).chain(chosen).collect()
}

/// Whether a client that offers `suites` gets another one if those of `ours` go by our order: it begins
/// with AES-256, and would take AES-128.
///
/// Whether AES or ChaCha20 is for the client to say, who knows what its machine is good at. Between the
/// two of AES there is no such difference, while SHA-384, which goes with the longer key, makes a
/// handshake a fifth dearer. Who must have 256 bits offers nothing else.
pub(crate) fn has_shorter_key(suites: &[CipherSuite], ours: &[SupportedCipherSuite]) -> bool {
    let is_ours = |suite: &CipherSuite| ours.iter().any(|our| our.suite() == *suite);
    let first = suites.iter().copied().find(is_ours);
    first
        .and_then(shorter)
        .is_some_and(|shorter| is_ours(&shorter) && suites.contains(&shorter))
}

/// The suite with AES-128 that is otherwise like one with AES-256.
fn shorter(suite: CipherSuite) -> Option<CipherSuite> {
    match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => Some(CipherSuite::TLS13_AES_128_GCM_SHA256),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => {
            Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => {
            Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
        }
        _ => None,
    }
}

/// Puts suites with AES-256 behind the others of their version.
#[cfg(feature = "aws-lc-rs")]
pub(crate) fn sort(suites: &mut [SupportedCipherSuite]) {
    suites.sort_by_key(|suite| (suite.tls13().is_none(), shorter(suite.suite()).is_some()));
}

/// The provider's groups that `names` names, in that order.
pub(crate) fn pick_groups(
    provider: &CryptoProvider,
    names: &[String],
) -> Result<Vec<&'static dyn SupportedKxGroup>, GroupError> {
    names
        .iter()
        .map(|name| {
            let (group, _) = named_group(name)?;
            provider
                .kx_groups
                .iter()
                .find(|offered| offered.name() == group)
                .copied()
                .ok_or_else(|| GroupError::Unsupported(name.clone()))
        })
        .collect()
}

/// The IANA name of a suite that rustls negotiates; empty for another.
pub(crate) fn iana_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        suite => SUITES
            .iter()
            .find(|(known, _, _)| *known == suite)
            .map_or("", |(_, iana, _)| *iana),
    }
}

/// The name of a group; empty for one without.
pub(crate) fn group_name(group: NamedGroup) -> &'static str {
    GROUPS
        .iter()
        .find(|(known, _, _)| *known == group)
        .map_or("", |(_, name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_has_its_iana_and_its_openssl_name() {
        assert_eq!(
            check_cipher("ECDHE-RSA-AES128-GCM-SHA256"),
            Ok("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
        );
        assert_eq!(
            check_cipher("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
            Ok("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256")
        );
    }

    #[test]
    fn what_envoy_serves_and_we_cannot_is_not_unknown() {
        for name in [
            "AES128-SHA",
            "ECDHE-RSA-AES128-SHA",
            "TLS_RSA_WITH_AES_256_GCM_SHA384",
        ] {
            assert_eq!(
                check_cipher(name),
                Err(CipherError::Unsupported(name.to_owned()))
            );
        }
        for name in ["", "ROT13", "TLS_AES_128_GCM_SHA256", "aes128-sha"] {
            assert_eq!(
                check_cipher(name),
                Err(CipherError::Unknown(name.to_owned()))
            );
        }
    }

    #[test]
    fn a_group_has_several_names() {
        assert_eq!(check_group("prime256v1"), Ok("P-256"));
        assert_eq!(check_group("secp384r1"), Ok("P-384"));
        assert_eq!(check_group("X25519MLKEM768"), Ok("X25519MLKEM768"));
        assert_eq!(
            check_group("P-521"),
            Err(GroupError::Unsupported("P-521".to_owned()))
        );
        assert_eq!(
            check_group("P-25519"),
            Err(GroupError::Unknown("P-25519".to_owned()))
        );
    }

    #[cfg(feature = "aws-lc-rs")]
    #[test]
    fn only_between_the_suites_of_aes_the_client_does_not_choose() {
        use CipherSuite as S;
        let ours = &crate::default_provider().cipher_suites;
        let (long, short, chacha) = (
            S::TLS13_AES_256_GCM_SHA384,
            S::TLS13_AES_128_GCM_SHA256,
            S::TLS13_CHACHA20_POLY1305_SHA256,
        );
        let old = S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384;
        let unknown = S::TLS_RSA_WITH_AES_256_CBC_SHA;
        let table: [(&[CipherSuite], bool); 7] = [
            (&[long, chacha, short], true),
            (&[unknown, long, short], true),
            (&[short, long], false),
            (&[chacha, long, short], false),
            (&[long, chacha], false),
            (&[old, short], false),
            (&[], false),
        ];
        for (suites, expected) in table {
            assert_eq!(has_shorter_key(suites, ours), expected, "{suites:?}");
        }
        assert!(!has_shorter_key(&[long, short], &ours[1..]), "not ours");
    }

    #[cfg(feature = "aws-lc-rs")]
    #[test]
    fn every_name_that_is_accepted_is_served_by_the_default_provider() {
        let provider = crate::default_provider();
        let suites: Vec<String> = SUITES
            .iter()
            .map(|(_, iana, _)| (*iana).to_owned())
            .collect();
        let groups: Vec<String> = GROUPS
            .iter()
            .filter_map(|(_, name, _)| check_group(name).ok())
            .map(str::to_owned)
            .collect();

        let suites = pick_suites(&provider, &suites).unwrap();
        let groups = pick_groups(&provider, &groups).unwrap();

        let names: Vec<&str> = suites.iter().map(|s| iana_name(s.suite())).collect();
        assert_eq!(names.len(), 9);
        assert_eq!(names[3], "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
        assert!(names.iter().all(|name| !name.is_empty()));
        assert_eq!(groups.len(), 4);
    }
}
