//! `backendTLS`: TLS of the connections to backends.

use towergate_tls::client::ClientTls;
use towergate_tls::limits::TlsLimits;

use super::EnvoyProxyBackendTls;
use crate::FieldError;
use crate::client_traffic::TlsBounds;
use crate::field_path::FieldPath;

/// Names of ALPN protocols.
const ALPN: [&str; 3] = ["http/1.0", "http/1.1", "h2"];

/// Limits of the TLS connections from a Gateway to backends.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BackendTlsLimits {
    /// Versions, cipher suites and key-exchange groups.
    pub limits: TlsLimits,
    /// ALPN protocols that may be offered. Empty: any.
    pub alpn: Vec<String>,
}

impl BackendTlsLimits {
    /// Whether there are no limits.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Restricts the TLS settings of a backend to these limits. A limit that the backend itself sets takes
    /// precedence. `None`: no TLS version or no ALPN protocol is left.
    pub fn restrict(&self, tls: &ClientTls) -> Option<ClientTls> {
        let mut restricted = tls.clone();
        let defaults = TlsLimits::default();
        let (own, all) = (&mut restricted.limits, &self.limits);
        if own.min_version == defaults.min_version {
            own.min_version = all.min_version;
        }
        if own.max_version == defaults.max_version {
            own.max_version = all.max_version;
        }
        if own.ciphers.is_empty() {
            own.ciphers.clone_from(&all.ciphers);
        }
        if own.groups.is_empty() {
            own.groups.clone_from(&all.groups);
        }
        if own.signature_schemes.is_empty() {
            own.signature_schemes.clone_from(&all.signature_schemes);
        }
        if own.min_version > own.max_version {
            return None;
        }
        if !self.alpn.is_empty() {
            restricted.alpn.retain(|name| self.alpn.contains(name));
        }
        let has_alpn = !restricted.alpn.is_empty() || tls.alpn.is_empty();
        has_alpn.then_some(restricted)
    }
}

impl EnvoyProxyBackendTls {
    /// The limits of the section.
    ///
    /// # Errors
    /// The first field with a value that is not supported, or versions in the wrong order. TLS backends are
    /// then unavailable, because connections could have less protection than configured.
    pub fn limits(&self) -> Result<BackendTlsLimits, FieldError> {
        let at = FieldPath::SPEC.field("backendTLS");
        let bounds = TlsBounds {
            min: self.min_version.as_ref(),
            max: self.max_version.as_ref(),
            ciphers: self.ciphers.as_deref(),
            curves: self.ecdh_curves.as_deref(),
            signatures: self.signature_algorithms.as_deref(),
        };
        let limits = bounds.limits(at)?;
        if limits.min_version > limits.max_version {
            let message = "minVersion must be smaller or equal to maxVersion";
            return Err(FieldError::invalid(at, message));
        }
        let alpn = self.alpn_protocols.clone().unwrap_or_default();
        let unknown = alpn.iter().position(|name| !ALPN.contains(&name.as_str()));
        if let Some(index) = unknown {
            let at = at.field("alpnProtocols");
            return Err(FieldError::unsupported_value(at.item(index), &alpn[index]));
        }
        Ok(BackendTlsLimits { limits, alpn })
    }
}

#[cfg(test)]
mod tests {
    use towergate_tls::limits::TlsVersion;

    use super::*;

    fn limits(text: &str) -> Result<BackendTlsLimits, String> {
        let tls: EnvoyProxyBackendTls = serde_json::from_str(text).expect("the section is read");
        tls.limits().map_err(|error| error.to_string())
    }

    fn backend() -> ClientTls {
        ClientTls {
            server_name: "a.test".to_owned(),
            subject_alt_names: Vec::new(),
            roots_pem: None,
            alpn: vec!["http/1.1".to_owned()],
            identity: None,
            accept_any_certificate: false,
            limits: TlsLimits::default(),
        }
    }

    #[test]
    fn versions_suites_groups_and_protocols_are_read() {
        let found = limits(
            r#"{"minVersion": "1.2", "maxVersion": "1.2", "ciphers": ["ECDHE-RSA-AES128-GCM-SHA256"],
                "ecdhCurves": ["X25519"], "alpnProtocols": ["h2", "http/1.1"]}"#,
        )
        .expect("supported");

        assert_eq!(found.limits.max_version, TlsVersion::Tls12);
        assert_eq!(
            found.limits.ciphers,
            ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]
        );
        assert_eq!(found.limits.groups, ["X25519"]);
        assert_eq!(found.alpn, ["h2", "http/1.1"]);
        assert!(limits("{}").expect("nothing is set").is_default());
    }

    #[test]
    fn what_the_client_cannot_do_is_named() {
        for (text, field) in [
            (r#"{"minVersion": "1.0"}"#, "spec.backendTLS.minVersion"),
            (
                r#"{"minVersion": "1.3", "maxVersion": "1.2"}"#,
                "maxVersion",
            ),
            (
                r#"{"alpnProtocols": ["h2", "foo"]}"#,
                "spec.backendTLS.alpnProtocols[1]",
            ),
            (r#"{"ciphers": ["NULL-MD5"]}"#, "spec.backendTLS.ciphers[0]"),
            (
                r#"{"signatureAlgorithms": ["ed25519", "rsa_pkcs1_sha1"]}"#,
                "spec.backendTLS.signatureAlgorithms[1]",
            ),
        ] {
            let error = limits(text).expect_err(text);
            assert!(error.contains(field), "{text}: {error}");
        }
    }

    #[test]
    fn a_limit_of_the_backend_takes_precedence() {
        let all = limits(
            r#"{"minVersion": "1.3", "ecdhCurves": ["P-256"], "signatureAlgorithms": ["ECDSA+SHA256"]}"#,
        )
        .expect("supported");
        let mut own = backend();
        own.limits.groups = vec!["P-384".to_owned()];

        let restricted = all.restrict(&own).expect("a version is left");

        assert_eq!(restricted.limits.min_version, TlsVersion::Tls13);
        assert_eq!(restricted.limits.groups, ["P-384"]);
        assert_eq!(
            restricted.limits.signature_schemes,
            ["ecdsa_secp256r1_sha256"]
        );
    }

    #[test]
    fn a_backend_without_a_version_or_protocol_in_common_gets_no_connection() {
        let old = limits(r#"{"maxVersion": "1.2"}"#).expect("supported");
        let mut new = backend();
        new.limits.min_version = TlsVersion::Tls13;
        let h2 = limits(r#"{"alpnProtocols": ["h2"]}"#).expect("supported");

        assert!(old.restrict(&new).is_none());
        assert!(h2.restrict(&backend()).is_none());
    }
}
