//! `spec.tls` of a ClientTrafficPolicy as settings of TLS.
//!
//! What rustls cannot serve is refused by name: TLS 1.0 and 1.1, and suites with CBC or without
//! forward secrecy. They are never left out silently, since a client that needs them would then fail
//! without a reason.

use towergate_tls::server::TlsVersion;
use towergate_tls::{ClientAuth, ClientAuthMode};

use super::tls_model::{
    self, ClientTls, ClientValidation, ClientValidationMode, Resumption, Session,
};
use crate::FieldError;
use crate::common::ObjectRef;

/// How a listener speaks TLS, apart from its certificates. The defaults are Envoy Gateway's.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsParameters {
    /// The lowest version offered.
    pub min_version: TlsVersion,
    /// The highest version offered.
    pub max_version: TlsVersion,
    /// TLS 1.2 suites by IANA name, in order of preference; empty: the default list.
    pub ciphers: Vec<String>,
    /// Key-exchange groups by name, in order of preference; empty: the default list.
    pub groups: Vec<String>,
    /// ALPN protocols; empty: no ALPN; `None`: the listener's default.
    pub alpn: Option<Vec<String>>,
    /// Resumption by session id.
    pub stateful_resumption: bool,
    /// Resumption by session ticket.
    pub stateless_resumption: bool,
    /// What clients must show; `None`: they are not asked for a certificate.
    pub client_validation: Option<ValidationRefs>,
    /// The same with the trusted certificates themselves. Only the caller can read those, so it is
    /// `None` until then.
    pub clients: Option<ClientAuth>,
}

/// What clients must show, and where the trusted certificates are.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidationRefs {
    /// What happens to clients without a good certificate.
    pub mode: ClientAuthMode,
    /// ConfigMaps and Secrets with trusted certificates. Never empty.
    pub authorities: Vec<ObjectRef>,
}

impl Default for TlsParameters {
    fn default() -> Self {
        Self {
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            ciphers: Vec::new(),
            groups: Vec::new(),
            alpn: None,
            stateful_resumption: false,
            stateless_resumption: false,
            client_validation: None,
            clients: None,
        }
    }
}

/// The suites of TLS 1.2 that can be served: OpenSSL's name, IANA's name.
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

/// The groups that can be served: the names in use, and the name that the settings hold.
const GROUPS: [(&[&str], &str); 4] = [
    (&["X25519MLKEM768"], "X25519MLKEM768"),
    (&["X25519"], "X25519"),
    (&["P-256", "prime256v1", "secp256r1"], "P-256"),
    (&["P-384", "secp384r1"], "P-384"),
];

/// The settings that `tls` asks for.
pub(super) fn parameters(tls: Option<&ClientTls>) -> Result<TlsParameters, FieldError> {
    let Some(tls) = tls else {
        return Ok(TlsParameters::default());
    };
    let ClientTls {
        client_validation,
        min_version,
        max_version,
        ciphers,
        ecdh_curves,
        signature_algorithms,
        alpn_protocols,
        session,
        fingerprints,
    } = tls;
    FieldError::require(
        signature_algorithms.as_ref().is_none_or(Vec::is_empty),
        "spec.tls.signatureAlgorithms",
    )?;
    FieldError::require(
        fingerprints.as_ref().is_none_or(Vec::is_empty),
        "spec.tls.fingerprints",
    )?;
    let defaults = TlsParameters::default();
    let min = version("spec.tls.minVersion", min_version.as_ref())?.unwrap_or(defaults.min_version);
    let max = version("spec.tls.maxVersion", max_version.as_ref())?.unwrap_or(defaults.max_version);
    if min > max {
        return Err(FieldError::invalid(
            "spec.tls",
            "minVersion must be smaller or equal to maxVersion",
        ));
    }
    let (stateful_resumption, stateless_resumption) = resumption(session.as_ref());
    Ok(TlsParameters {
        min_version: min,
        max_version: max,
        ciphers: suites(ciphers.as_deref().unwrap_or_default())?,
        groups: groups(ecdh_curves.as_deref().unwrap_or_default())?,
        alpn: alpn_protocols.as_deref().map(protocols).transpose()?,
        stateful_resumption,
        stateless_resumption,
        client_validation: client_validation.as_ref().map(validation).transpose()?,
        clients: None,
    })
}

/// What clients must show. Modes that do not verify anything are refused: what they let backends know
/// about clients, nobody vouches for.
fn validation(written: &ClientValidation) -> Result<ValidationRefs, FieldError> {
    const FIELD: &str = "spec.tls.clientValidation";
    let ClientValidation {
        optional,
        mode,
        ca_certificate_refs,
        spki_hashes,
        certificate_hashes,
        subject_alt_names,
        crl,
        allow_expired_certificate,
    } = written;
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    for (name, refused) in [
        ("spkiHashes", given(spki_hashes)),
        ("certificateHashes", given(certificate_hashes)),
        ("subjectAltNames", subject_alt_names.is_some()),
        ("crl", crl.is_some()),
        (
            "allowExpiredCertificate",
            *allow_expired_certificate == Some(true),
        ),
    ] {
        FieldError::require(!refused, &format!("{FIELD}.{name}"))?;
    }
    let mode = match mode {
        // `mode` says more, so it wins.
        None if *optional == Some(true) => ClientAuthMode::Optional,
        None | Some(ClientValidationMode::RequireAndVerify) => ClientAuthMode::Required,
        Some(ClientValidationMode::VerifyIfGiven) => ClientAuthMode::Optional,
        Some(unverified @ (ClientValidationMode::Request | ClientValidationMode::RequireAny)) => {
            return Err(FieldError::invalid(
                format!("{FIELD}.mode"),
                format_args!("{} is not supported", unverified.as_str()),
            ));
        }
        Some(ClientValidationMode::Other(word)) => {
            return Err(FieldError::unknown_value(&format!("{FIELD}.mode"), word));
        }
    };
    let authorities = ca_certificate_refs.clone().unwrap_or_default();
    if authorities.is_empty() {
        return Err(FieldError::invalid(
            format!("{FIELD}.caCertificateRefs"),
            "at least one is needed to verify certificates",
        ));
    }
    Ok(ValidationRefs { mode, authorities })
}

fn version(
    field: &str,
    version: Option<&tls_model::TlsVersion>,
) -> Result<Option<TlsVersion>, FieldError> {
    use tls_model::TlsVersion as Version;
    match version {
        None | Some(Version::Auto) => Ok(None),
        Some(Version::Tls12) => Ok(Some(TlsVersion::Tls12)),
        Some(Version::Tls13) => Ok(Some(TlsVersion::Tls13)),
        Some(old @ (Version::Tls10 | Version::Tls11)) => Err(FieldError::invalid(
            field,
            format_args!("TLS {} is not supported", old.as_str()),
        )),
        Some(Version::Other(word)) => Err(FieldError::unknown_value(field, word)),
    }
}

/// Suites by IANA name. `[A|B]` is a group of equal rank.
fn suites(names: &[String]) -> Result<Vec<String>, FieldError> {
    let mut suites = Vec::new();
    for entry in names {
        let members = entry.strip_prefix('[').and_then(|e| e.strip_suffix(']'));
        for name in members.unwrap_or(entry).split('|') {
            let known = CIPHERS.iter().find(|(a, b)| *a == name || *b == name);
            let Some((_, iana)) = known else {
                return Err(FieldError::invalid(
                    "spec.tls.ciphers",
                    format_args!("the cipher {name} is not supported"),
                ));
            };
            suites.push((*iana).to_owned());
        }
    }
    Ok(suites)
}

fn groups(names: &[String]) -> Result<Vec<String>, FieldError> {
    let find = |name: &String| {
        let known = GROUPS
            .iter()
            .find(|(names, _)| names.contains(&name.as_str()));
        known.map(|(_, group)| (*group).to_owned()).ok_or_else(|| {
            FieldError::invalid(
                "spec.tls.ecdhCurves",
                format_args!("the curve {name} is not supported"),
            )
        })
    };
    names.iter().map(find).collect()
}

fn protocols(names: &[String]) -> Result<Vec<String>, FieldError> {
    let check = |name: &String| match name.as_str() {
        "h2" | "http/1.1" => Ok(name.clone()),
        _ => Err(FieldError::invalid(
            "spec.tls.alpnProtocols",
            format_args!("the protocol {name} is not supported"),
        )),
    };
    names.iter().map(check).collect()
}

/// Whether sessions are resumed by id, and by ticket.
fn resumption(session: Option<&Session>) -> (bool, bool) {
    match session {
        Some(Session {
            resumption:
                Some(Resumption {
                    stateless,
                    stateful,
                }),
        }) => (stateful.is_some(), stateless.is_some()),
        Some(Session { resumption: None }) | None => (false, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(json: serde_json::Value) -> Result<TlsParameters, FieldError> {
        parameters(Some(&serde_json::from_value(json).unwrap()))
    }

    #[test]
    fn suites_are_known_by_both_names_and_in_groups() {
        let tls = convert(serde_json::json!({"ciphers": [
            "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        ]}));

        assert_eq!(
            tls.unwrap().ciphers,
            [
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            ]
        );
    }

    #[test]
    fn what_rustls_cannot_serve_is_refused_by_name() {
        for (json, named) in [
            (serde_json::json!({"minVersion": "1.0"}), "TLS 1.0"),
            (serde_json::json!({"maxVersion": "1.1"}), "TLS 1.1"),
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
            let refusal = convert(json.clone()).unwrap_err();

            assert!(refusal.message.contains(named), "{json}: {refusal}");
        }
    }

    #[test]
    fn clients_are_validated_where_something_is_verified() {
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
    fn what_would_narrow_or_widen_who_passes_is_refused_by_name() {
        for (json, named) in [
            (serde_json::json!({"mode": "Request"}), "mode"),
            (serde_json::json!({"mode": "RequireAny"}), "mode"),
            (serde_json::json!({"mode": "Nonsense"}), "mode"),
            (serde_json::json!({"spkiHashes": ["x"]}), "spkiHashes"),
            (
                serde_json::json!({"certificateHashes": ["x"]}),
                "certificateHashes",
            ),
            (
                serde_json::json!({"subjectAltNames": {"uris": []}}),
                "subjectAltNames",
            ),
            (serde_json::json!({"crl": {"refs": []}}), "crl"),
            (
                serde_json::json!({"allowExpiredCertificate": true}),
                "allowExpiredCertificate",
            ),
        ] {
            let mut validation = json.clone();
            validation["caCertificateRefs"] = serde_json::json!([{"name": "ca"}]);

            let refusal = convert(serde_json::json!({"clientValidation": validation}));

            let field = refusal.unwrap_err().field;
            assert_eq!(
                field,
                format!("spec.tls.clientValidation.{named}"),
                "{json}"
            );
        }
    }

    #[test]
    fn no_protocols_is_not_the_same_as_protocols_not_given() {
        assert_eq!(convert(serde_json::json!({})).unwrap().alpn, None);
        assert_eq!(
            convert(serde_json::json!({"alpnProtocols": []}))
                .unwrap()
                .alpn,
            Some(Vec::new())
        );
    }
}
