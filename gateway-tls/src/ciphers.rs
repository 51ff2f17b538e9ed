//! Names of TLS 1.2 cipher suites and of key-exchange groups.
//!
//! rustls supports only AEAD suites with ephemeral keys. The error for a suite or group that Envoy supports
//! and rustls does not is `Unsupported`; for a name that neither supports, the error is `Unknown`.
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

/// Error in the name of a cipher suite.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CipherError {
    /// The name is not that of a TLS 1.2 suite. The suites of TLS 1.3 cannot be configured.
    #[error("{0:?} is not a TLS 1.2 cipher suite")]
    Unknown(String),
    /// A suite without forward secrecy or without AEAD, or a suite that the provider does not support.
    #[error("cipher suite {0} is not supported; use ECDHE with AES-GCM or ChaCha20-Poly1305")]
    Unsupported(String),
}

/// Error in the name of a key-exchange group.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The name is not that of a key-exchange group.
    #[error("{0:?} is not a key-exchange group")]
    Unknown(String),
    /// A group that the provider does not support.
    #[error("key-exchange group {0} is not supported")]
    Unsupported(String),
}

/// Supported TLS 1.2 suites: suite, IANA name, OpenSSL name.
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

/// TLS 1.2 suites that BoringSSL supports and rustls does not: IANA name, OpenSSL name.
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

/// Key-exchange groups: number, name, aliases.
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

/// Returns the IANA name of a supported TLS 1.2 cipher suite, given its IANA or OpenSSL name.
///
/// # Errors
/// [`CipherError`] if the suite does not exist or is not supported.
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

/// Returns the name of a supported key-exchange group, given this name or an alias, such as its name in
/// OpenSSL.
///
/// # Errors
/// [`GroupError`] if the group does not exist or is not supported.
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

/// Selects all TLS 1.3 suites of the provider, and the TLS 1.2 suites that `names` lists, in the order of
/// `names`.
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

/// Whether a client that offers `suites` prefers AES-256 but also offers AES-128, and `ours` contains both
/// suites. For this client, the server's order of suites avoids AES-256.
///
/// The client chooses between AES and ChaCha20, because the choice depends on its hardware. The choice
/// between AES-128 and AES-256 does not depend on hardware, but SHA-384, which the suites with AES-256 use,
/// increases the CPU time of a handshake by a fifth. A client that requires keys of 256 bits does not offer
/// AES-128.
pub(crate) fn has_shorter_key(suites: &[CipherSuite], ours: &[SupportedCipherSuite]) -> bool {
    let is_ours = |suite: &CipherSuite| ours.iter().any(|our| our.suite() == *suite);
    let first = suites.iter().copied().find(is_ours);
    first
        .and_then(shorter)
        .is_some_and(|shorter| is_ours(&shorter) && suites.contains(&shorter))
}

/// The suite with AES-128 that corresponds to a suite with AES-256; `None` for other suites.
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

/// Moves suites with AES-256 after the other suites of their protocol version.
#[cfg(feature = "aws-lc-rs")]
pub(crate) fn sort(suites: &mut [SupportedCipherSuite]) {
    suites.sort_by_key(|suite| (suite.tls13().is_none(), shorter(suite.suite()).is_some()));
}

/// Selects the groups of the provider that `names` lists, in the order of `names`.
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

/// The IANA name of a suite that rustls negotiates; empty for any other suite.
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

/// The name of a group; empty for a group without a name.
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
    fn suites_that_only_envoy_supports_are_unsupported_not_unknown() {
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
    fn a_group_has_aliases() {
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
    fn the_server_chooses_only_between_the_key_lengths_of_aes() {
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
    fn the_default_provider_supports_every_accepted_name() {
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
