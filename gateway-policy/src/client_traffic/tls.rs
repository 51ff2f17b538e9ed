//! `tls`: settings of TLS connections with clients.
//!
//! Versions and cipher suites that rustls does not implement are rejected by name: TLS 1.0 and 1.1, suites
//! with CBC, suites without forward secrecy. If they were omitted instead, handshakes of clients that require
//! them would fail without an explanation.

use towergate_core::plan;
use towergate_tls::ClientAuth;
use towergate_tls::limits::{TlsLimits, TlsVersion};
use towergate_tls::signature_schemes::check_signature_scheme;

use super::client_validation::{ClientValidation, ValidationRefs};
use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::field_path::FieldPath;

string_enum! {
    /// A bound of the TLS versions.
    pub enum TlsVersionBound {
        Auto = "Auto",
        Tls10 = "1.0" Unsupported,
        Tls11 = "1.1" Unsupported,
        Tls12 = "1.2",
        Tls13 = "1.3",
    }

    /// A fingerprint of a ClientHello.
    pub enum Fingerprint {
        Ja3 = "JA3",
        Ja4 = "JA4",
    }
}

api_struct! {
    /// Settings of TLS connections with clients.
    pub struct ClientTls, rules {
        /// Verification of client certificates. Default: none is requested.
        client_validation: ClientValidation = "clientValidation",
        /// Lowest version offered. Default: 1.2.
        min_version: TlsVersionBound = "minVersion",
        /// Highest version offered. Default: 1.3.
        max_version: TlsVersionBound = "maxVersion",
        /// Cipher suites of TLS 1.2, in order of preference, by OpenSSL or IANA name.
        ciphers: Vec<String> = "ciphers",
        /// Key-exchange groups, in order of preference.
        ecdh_curves: Vec<String> = "ecdhCurves",
        /// Signature algorithms.
        signature_algorithms: Vec<String> = "signatureAlgorithms",
        /// ALPN protocols. An empty list disables ALPN. Default: `h2` and `http/1.1` on HTTPS listeners.
        alpn_protocols: Vec<String> = "alpnProtocols",
        /// Session resumption. Default: off.
        session: Session = "session",
        /// Fingerprints of the ClientHello for command operators. Default: none.
        fingerprints: Vec<Fingerprint> = "fingerprints",
    }

    /// Settings of TLS sessions.
    pub struct Session {
        /// Session resumption. Default: off.
        resumption: Resumption = "resumption",
    }

    /// Session resumption.
    pub struct Resumption {
        /// Resumption by session ticket. If present, it is enabled.
        stateless: Toggle = "stateless",
        /// Resumption by session ID. If present, it is enabled.
        stateful: Toggle = "stateful",
    }

    /// An option without settings. If present, it is enabled.
    pub struct Toggle {}
}

/// TLS settings of a listener, without its certificates. The defaults are those of Envoy Gateway.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsParameters {
    /// Versions, cipher suites, key-exchange groups and signature schemes that are offered.
    pub limits: TlsLimits,
    /// ALPN protocols. Empty: no ALPN. `None`: the listener's default.
    pub alpn: Option<Vec<String>>,
    /// Whether sessions are resumed by session ID.
    pub stateful_resumption: bool,
    /// Whether sessions are resumed by session ticket.
    pub stateless_resumption: bool,
    /// Verification of client certificates. `None`: none is requested.
    pub client_validation: Option<ValidationRefs>,
    /// Verification of client certificates, with the CA certificates themselves. The conversion sets `None`.
    /// The caller resolves the references in `client_validation` and sets this field.
    pub clients: Option<ClientAuth>,
}

/// Supported cipher suites of TLS 1.2: OpenSSL name, IANA name.
const CIPHERS: [(&str, &str); 6] = [
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    ),
];

/// Supported key-exchange groups: the accepted names, the name in the settings.
const GROUPS: [(&[&str], &str); 4] = [
    (&["X25519MLKEM768"], "X25519MLKEM768"),
    (&["X25519"], "X25519"),
    (&["P-256", "prime256v1", "secp256r1"], "P-256"),
    (&["P-384", "secp384r1"], "P-384"),
];

impl ClientTls {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.min_version != Some(TlsVersionBound::Tls13) || self.ciphers.is_none(),
            "setting ciphers has no effect if the minimum possible TLS version is 1.3",
        );
        let version = TlsVersionBound::order;
        let min = (self.min_version.as_ref()).map_or(Some(2), version);
        let max = (self.max_version.as_ref()).map_or(Some(3), version);
        report.rule(
            min.unwrap_or(0) <= max.unwrap_or(3),
            "minVersion must be smaller or equal to maxVersion",
        );
    }

    /// The fingerprints to compute.
    pub(super) fn fingerprints(&self) -> plan::FingerprintSettings {
        let listed = self.fingerprints.as_deref().unwrap_or_default();
        plan::FingerprintSettings {
            ja3: listed.contains(&Fingerprint::Ja3),
            ja4: listed.contains(&Fingerprint::Ja4),
        }
    }

    /// Converts this section of the spec. `at` is the path of the section, for errors.
    pub(super) fn parameters(&self, at: FieldPath<'_>) -> Result<TlsParameters, FieldError> {
        let Self {
            client_validation,
            min_version,
            max_version,
            ciphers,
            ecdh_curves,
            signature_algorithms,
            alpn_protocols,
            session,
            fingerprints: _,
        } = self;
        let limits = TlsBounds {
            min: min_version.as_ref(),
            max: max_version.as_ref(),
            ciphers: ciphers.as_deref(),
            curves: ecdh_curves.as_deref(),
            signatures: signature_algorithms.as_deref(),
        };
        let limits = limits.limits(at)?;
        let alpn = alpn_protocols
            .as_deref()
            .map(|names| protocols(at.field("alpnProtocols"), names));
        let validation = client_validation
            .as_ref()
            .map(|validation| validation.refs(at.field("clientValidation")));
        let Session { resumption } = session.clone().unwrap_or_default();
        let Resumption {
            stateless,
            stateful,
        } = resumption.unwrap_or_default();
        Ok(TlsParameters {
            limits,
            alpn: alpn.transpose()?,
            stateful_resumption: stateful.is_some(),
            stateless_resumption: stateless.is_some(),
            client_validation: validation.transpose()?,
            clients: None,
        })
    }
}

impl TlsVersionBound {
    /// Position in the order of versions. `None` for `Auto`.
    fn order(&self) -> Option<u8> {
        match self {
            Self::Auto | Self::Other(_) => None,
            Self::Tls10 => Some(0),
            Self::Tls11 => Some(1),
            Self::Tls12 => Some(2),
            Self::Tls13 => Some(3),
        }
    }
}

/// The fields of a TLS section that limit what is negotiated, as written in the policy.
pub(crate) struct TlsBounds<'a> {
    pub(crate) min: Option<&'a TlsVersionBound>,
    pub(crate) max: Option<&'a TlsVersionBound>,
    pub(crate) ciphers: Option<&'a [String]>,
    pub(crate) curves: Option<&'a [String]>,
    pub(crate) signatures: Option<&'a [String]>,
}

impl TlsBounds<'_> {
    /// Converts the fields. `at` is the path of the section.
    pub(crate) fn limits(&self, at: FieldPath<'_>) -> Result<TlsLimits, FieldError> {
        let defaults = TlsLimits::default();
        let min = version(at.field("minVersion"), self.min)?;
        let max = version(at.field("maxVersion"), self.max)?;
        Ok(TlsLimits {
            min_version: min.unwrap_or(defaults.min_version),
            max_version: max.unwrap_or(defaults.max_version),
            ciphers: suites(at.field("ciphers"), self.ciphers.unwrap_or_default())?,
            groups: groups(at.field("ecdhCurves"), self.curves.unwrap_or_default())?,
            signature_schemes: signature_schemes(
                at.field("signatureAlgorithms"),
                self.signatures.unwrap_or_default(),
            )?,
        })
    }
}

/// Converts a version; `None`: the default.
fn version(
    at: FieldPath<'_>,
    version: Option<&TlsVersionBound>,
) -> Result<Option<TlsVersion>, FieldError> {
    use TlsVersionBound as Version;
    match version {
        None | Some(Version::Auto) => Ok(None),
        Some(Version::Tls12) => Ok(Some(TlsVersion::Tls12)),
        Some(Version::Tls13) => Ok(Some(TlsVersion::Tls13)),
        Some(version @ (Version::Tls10 | Version::Tls11 | Version::Other(_))) => {
            Err(FieldError::unsupported_value(at, version.as_str()))
        }
    }
}

/// Cipher suites by IANA name. `[A|B]` is a group of suites of equal preference.
fn suites(at: FieldPath<'_>, names: &[String]) -> Result<Vec<String>, FieldError> {
    let mut suites = Vec::new();
    for (index, entry) in names.iter().enumerate() {
        let members = entry.strip_prefix('[').and_then(|e| e.strip_suffix(']'));
        for name in members.unwrap_or(entry).split('|') {
            let known = CIPHERS.iter().find(|(a, b)| *a == name || *b == name);
            let unsupported = || FieldError::unsupported_value(at.item(index), name);
            let (_, iana) = known.ok_or_else(unsupported)?;
            suites.push((*iana).to_owned());
        }
    }
    Ok(suites)
}

/// Key-exchange groups by name.
fn groups(at: FieldPath<'_>, names: &[String]) -> Result<Vec<String>, FieldError> {
    let find = |(index, name): (usize, &String)| {
        let known = GROUPS
            .iter()
            .find(|(names, _)| names.contains(&name.as_str()));
        known
            .map(|(_, group)| (*group).to_owned())
            .ok_or_else(|| FieldError::unsupported_value(at.item(index), name))
    };
    names.iter().enumerate().map(find).collect()
}

/// Signature schemes by IANA name.
fn signature_schemes(at: FieldPath<'_>, names: &[String]) -> Result<Vec<String>, FieldError> {
    let find = |(index, name): (usize, &String)| {
        let known = check_signature_scheme(name);
        known
            .map(str::to_owned)
            .ok_or_else(|| FieldError::unsupported_value(at.item(index), name))
    };
    names.iter().enumerate().map(find).collect()
}

fn protocols(at: FieldPath<'_>, names: &[String]) -> Result<Vec<String>, FieldError> {
    let check = |(index, name): (usize, &String)| match name.as_str() {
        "h2" | "http/1.1" => Ok(name.clone()),
        _ => Err(FieldError::unsupported_value(at.item(index), name)),
    };
    names.iter().enumerate().map(check).collect()
}

#[cfg(test)]
mod tests {
    use towergate_tls::ClientAuthMode;

    use super::super::{ClientTrafficPolicySpec, ListenerContext};
    use super::*;

    fn convert(tls: serde_json::Value) -> Result<TlsParameters, FieldError> {
        let spec = serde_json::json!({ "tls": tls });
        let spec: ClientTrafficPolicySpec = serde_json::from_value(spec).unwrap();
        Ok(spec.listener_settings(ListenerContext::default())?.tls)
    }

    #[test]
    fn suites_have_an_openssl_and_an_iana_name_and_may_form_groups() {
        let tls = convert(serde_json::json!({"ciphers": [
            "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        ]}));

        assert_eq!(
            tls.unwrap().limits.ciphers,
            [
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            ]
        );
    }

    #[test]
    fn versions_and_names_that_rustls_does_not_implement_are_rejected_by_name() {
        for (json, named) in [
            (serde_json::json!({"minVersion": "1.0"}), "1.0"),
            (serde_json::json!({"maxVersion": "1.1"}), "1.1"),
            (
                serde_json::json!({"ciphers": ["ECDHE-RSA-AES128-SHA"]}),
                "ECDHE-RSA-AES128-SHA",
            ),
            (serde_json::json!({"ciphers": ["nonsense"]}), "nonsense"),
            (serde_json::json!({"ecdhCurves": ["P-521"]}), "P-521"),
            (
                serde_json::json!({"alpnProtocols": ["http/1.0"]}),
                "http/1.0",
            ),
            (
                serde_json::json!({"clientValidation": {}}),
                "spec.tls.clientValidation.caCertificateRefs",
            ),
            (
                serde_json::json!({"minVersion": "1.3", "maxVersion": "1.2"}),
                "minVersion",
            ),
        ] {
            let error = convert(json.clone()).unwrap_err();

            assert!(error.message.contains(named), "{json}: {error}");
        }
    }

    #[test]
    fn the_mode_decides_whether_a_certificate_is_required() {
        let authorities = serde_json::json!([{"name": "ca"}]);
        for (json, mode) in [
            (serde_json::json!({}), ClientAuthMode::Required),
            (
                serde_json::json!({"mode": "RequireAndVerify"}),
                ClientAuthMode::Required,
            ),
            (
                serde_json::json!({"mode": "VerifyIfGiven"}),
                ClientAuthMode::Optional,
            ),
            (
                serde_json::json!({"optional": true}),
                ClientAuthMode::Optional,
            ),
            (
                serde_json::json!({"mode": "Request"}),
                ClientAuthMode::Requested,
            ),
            (
                serde_json::json!({"mode": "RequireAny"}),
                ClientAuthMode::RequiredUnverified,
            ),
            (
                serde_json::json!({"optional": false}),
                ClientAuthMode::Required,
            ),
            (
                serde_json::json!({"optional": true, "mode": "RequireAndVerify"}),
                ClientAuthMode::Required,
            ),
        ] {
            let mut validation = json.clone();
            validation["caCertificateRefs"] = authorities.clone();

            let tls = convert(serde_json::json!({"clientValidation": validation})).unwrap();

            let refs = tls.client_validation.unwrap();
            assert_eq!(refs.mode, mode, "{json}");
            assert_eq!(refs.authorities[0].name.as_deref(), Some("ca"));
            assert_eq!(tls.clients, None);
        }
    }

    #[test]
    fn an_empty_list_of_protocols_differs_from_an_absent_one() {
        assert_eq!(convert(serde_json::json!({})).unwrap().alpn, None);
        assert_eq!(
            convert(serde_json::json!({"alpnProtocols": []}))
                .unwrap()
                .alpn,
            Some(Vec::new())
        );
    }
}
