//! `tls.clientValidation`: verification of client certificates.
//!
//! ```text
//! ClientValidation (as written) --refs--> ValidationRefs: mode and conditions, with references to CAs and
//!                                         revocation lists, which the caller resolves
//! ```

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use towergate_core::text::TextMatch;
use towergate_tls::client_conditions::{AltNameCondition, AltNameKind, AltNameMatch};
use towergate_tls::{ClientAuthMode, ClientConditions};

use super::text_match;
use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{ObjectRef, StringMatch, StringMatchKind};
use crate::field_path::FieldPath;

string_enum! {
    /// Whether a client certificate is required, and whether it is verified.
    pub enum ClientValidationMode {
        Request = "Request",
        RequireAny = "RequireAny",
        VerifyIfGiven = "VerifyIfGiven",
        RequireAndVerify = "RequireAndVerify",
    }
}

api_struct! {
    /// Verification of client certificates.
    pub struct ClientValidation, rules {
        /// Whether connections without a certificate are accepted. `mode` takes precedence.
        optional: bool = "optional" Deprecated("mode"),
        /// Whether a client certificate is required and verified. Default: `RequireAndVerify`.
        mode: ClientValidationMode = "mode",
        /// ConfigMaps and Secrets with CA certificates under `ca.crt`.
        ca_certificate_refs: Vec<ObjectRef> = "caCertificateRefs" [Items(0, 8)],
        /// Accepted SHA-256 hashes of public keys, in base64.
        spki_hashes: Vec<String> = "spkiHashes",
        /// Accepted SHA-256 hashes of certificates, in hexadecimal.
        certificate_hashes: Vec<String> = "certificateHashes",
        /// Conditions on subject alternative names. One of them must match.
        subject_alt_names: SubjectAltNames = "subjectAltNames",
        /// Certificate revocation lists.
        crl: Crl = "crl",
        /// Whether expired certificates are accepted. Default: `false`.
        allow_expired_certificate: bool = "allowExpiredCertificate",
    }

    /// Conditions on subject alternative names.
    pub struct SubjectAltNames {
        /// Conditions on DNS names.
        dns_names: Vec<StringMatch> = "dnsNames",
        /// Conditions on e-mail addresses.
        email_addresses: Vec<StringMatch> = "emailAddresses",
        /// Conditions on IP addresses.
        ip_addresses: Vec<StringMatch> = "ipAddresses",
        /// Conditions on URIs.
        uris: Vec<StringMatch> = "uris",
        /// Conditions on names of other types.
        other_names: Vec<OtherName> = "otherNames",
    }

    /// A condition on an `otherName`.
    pub struct OtherName {
        /// Object identifier of the name's type.
        oid: String = "oid" [Required],
        /// Type of the comparison. Default: `Exact`.
        kind: StringMatchKind = "type" [DefaultText("Exact")],
        /// Text or regular expression to compare with.
        value: String = "value" [Required, Length(1, 1024)],
    }

    /// Certificate revocation lists.
    pub struct Crl {
        /// Secrets and ConfigMaps with revocation lists under `ca.crl`.
        refs: Vec<ObjectRef> = "refs" [Required, Items(1, 8)],
        /// Whether only the client's own certificate is checked, not its chain. Default: `false`.
        only_verify_leaf_certificate: bool = "onlyVerifyLeafCertificate",
    }
}

/// Verification of client certificates, with references to the CA certificates.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidationRefs {
    /// Whether a certificate is required and verified.
    pub mode: ClientAuthMode,
    /// ConfigMaps and Secrets with CA certificates. Not empty in the modes that verify.
    pub authorities: Vec<ObjectRef>,
    /// Conditions on certificates in addition to their CA.
    pub conditions: ClientConditions,
    /// Revocation lists. `None`: revocation is not checked.
    pub revocation: Option<RevocationRefs>,
    /// Whether certificates are accepted after their expiry.
    pub allow_expired: bool,
}

/// References to revocation lists.
#[derive(Clone, Debug, PartialEq)]
pub struct RevocationRefs {
    /// Secrets and ConfigMaps with revocation lists. Never empty.
    pub lists: Vec<ObjectRef>,
    /// Whether only the client's own certificate is checked, not its intermediate CAs.
    pub only_leaf: bool,
}

impl ClientValidation {
    fn rules(&self, report: &mut Report) {
        use ClientValidationMode as Mode;
        report.rule(
            self.allow_expired_certificate != Some(true)
                || matches!(
                    self.mode,
                    None | Some(Mode::VerifyIfGiven | Mode::RequireAndVerify)
                ),
            "allowExpiredCertificate can only be set when mode is VerifyIfGiven or RequireAndVerify",
        );
    }

    /// Converts this section of the spec. `at` is the path of the section, for errors.
    pub(super) fn refs(&self, at: FieldPath<'_>) -> Result<ValidationRefs, FieldError> {
        let Self {
            optional,
            mode,
            ca_certificate_refs,
            spki_hashes,
            certificate_hashes,
            subject_alt_names,
            crl,
            allow_expired_certificate,
        } = self;
        use ClientValidationMode as Mode;
        let mode = match mode {
            None if *optional == Some(true) => ClientAuthMode::Optional,
            None | Some(Mode::RequireAndVerify) => ClientAuthMode::Required,
            Some(Mode::VerifyIfGiven) => ClientAuthMode::Optional,
            Some(Mode::Request) => ClientAuthMode::Requested,
            Some(Mode::RequireAny) => ClientAuthMode::RequiredUnverified,
            Some(Mode::Other(value)) => {
                return Err(FieldError::unknown_value(at.field("mode"), value));
            }
        };
        let authorities = ca_certificate_refs.clone().unwrap_or_default();
        let verifies = matches!(mode, ClientAuthMode::Required | ClientAuthMode::Optional);
        if authorities.is_empty() && verifies {
            return Err(FieldError::invalid(
                at.field("caCertificateRefs"),
                "at least one is needed to verify certificates",
            ));
        }
        let spki = spki_hashes.as_deref().unwrap_or_default();
        let certificates = certificate_hashes.as_deref().unwrap_or_default();
        let names = subject_alt_names.as_ref();
        let names = names.map(|names| names.conditions(at.field("subjectAltNames")));
        let revocation = crl.as_ref().map(|crl| crl.refs(at.field("crl")));
        Ok(ValidationRefs {
            mode,
            authorities,
            conditions: ClientConditions {
                certificate_hashes: certificate_hashes_of(
                    at.field("certificateHashes"),
                    certificates,
                )?,
                spki_hashes: spki_hashes_of(at.field("spkiHashes"), spki)?,
                alt_names: names.transpose()?.unwrap_or_default(),
            },
            revocation: revocation.transpose()?,
            allow_expired: *allow_expired_certificate == Some(true),
        })
    }
}

/// SHA-256 hashes of certificates: 64 hexadecimal digits, or pairs of them separated by colons.
fn certificate_hashes_of(
    at: FieldPath<'_>,
    hashes: &[String],
) -> Result<Vec<[u8; 32]>, FieldError> {
    let decode = |(index, text): (usize, &String)| {
        let paired = text.len() == 95 && text.bytes().skip(2).step_by(3).all(|byte| byte == b':');
        let digits = match paired {
            true => text.replace(':', ""),
            false => text.clone(),
        };
        let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
        let hash = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        hash.ok_or_else(|| {
            FieldError::invalid(at.item(index), "a SHA-256 hash has 64 hexadecimal digits")
        })
    };
    hashes.iter().enumerate().map(decode).collect()
}

/// SHA-256 hashes of public keys, in base64.
fn spki_hashes_of(at: FieldPath<'_>, hashes: &[String]) -> Result<Vec<[u8; 32]>, FieldError> {
    let decode = |(index, text): (usize, &String)| {
        let bytes = BASE64.decode(text.as_bytes()).ok();
        let hash = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        hash.ok_or_else(|| {
            FieldError::invalid(at.item(index), "a SHA-256 hash has 44 characters of base64")
        })
    };
    hashes.iter().enumerate().map(decode).collect()
}

impl SubjectAltNames {
    fn conditions(&self, at: FieldPath<'_>) -> Result<Vec<AltNameCondition>, FieldError> {
        let Self {
            dns_names,
            email_addresses,
            ip_addresses,
            uris,
            other_names,
        } = self;
        let mut conditions = Vec::new();
        for (field, kind, matches) in [
            ("dnsNames", AltNameKind::Dns, dns_names),
            ("emailAddresses", AltNameKind::Email, email_addresses),
            ("ipAddresses", AltNameKind::Ip, ip_addresses),
            ("uris", AltNameKind::Uri, uris),
        ] {
            let at = at.field(field);
            for (index, matching) in matches.iter().flatten().enumerate() {
                conditions.push(AltNameCondition {
                    kind: kind.clone(),
                    matching: alt_name_match(at.item(index), matching)?,
                });
            }
        }
        let at = at.field("otherNames");
        for (index, name) in other_names.iter().flatten().enumerate() {
            conditions.push(name.condition(at.item(index))?);
        }
        Ok(conditions)
    }
}

impl OtherName {
    fn condition(&self, at: FieldPath<'_>) -> Result<AltNameCondition, FieldError> {
        let Self { oid, kind, value } = self;
        let oid = oid.clone().unwrap_or_default();
        let mut parts = oid.split('.');
        if !oid.contains('.') || !parts.all(|part| part.parse::<u64>().is_ok()) {
            return Err(FieldError::invalid(
                at.field("oid"),
                format_args!("{oid:?} is not an object identifier"),
            ));
        }
        let matching = StringMatch {
            kind: kind.clone(),
            value: value.clone(),
        };
        Ok(AltNameCondition {
            kind: AltNameKind::Other(oid),
            matching: alt_name_match(at, &matching)?,
        })
    }
}

fn alt_name_match(at: FieldPath<'_>, matching: &StringMatch) -> Result<AltNameMatch, FieldError> {
    Ok(match text_match(at, matching)? {
        TextMatch::Exact(text) => AltNameMatch::Exact(text),
        TextMatch::Prefix(text) => AltNameMatch::Prefix(text),
        TextMatch::Suffix(text) => AltNameMatch::Suffix(text),
        TextMatch::Regex(regex) => AltNameMatch::Regex(regex.as_str().to_owned()),
    })
}

impl Crl {
    fn refs(&self, at: FieldPath<'_>) -> Result<RevocationRefs, FieldError> {
        let Self {
            refs,
            only_verify_leaf_certificate,
        } = self;
        let lists = refs.clone().unwrap_or_default();
        if lists.is_empty() {
            return Err(FieldError::invalid(
                at.field("refs"),
                "at least one is needed",
            ));
        }
        Ok(RevocationRefs {
            lists,
            only_leaf: *only_verify_leaf_certificate == Some(true),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(validation: serde_json::Value) -> Result<ValidationRefs, FieldError> {
        let mut validation = validation;
        validation["caCertificateRefs"] = serde_json::json!([{"name": "ca"}]);
        let validation: ClientValidation = serde_json::from_value(validation).unwrap();
        validation.refs(FieldPath::SPEC)
    }

    #[test]
    fn hashes_are_decoded_from_the_forms_that_openssl_prints() {
        let hex = "3caab3e27818257e30a9519ec72019221d24ce56b279e02163c3e26cd4a7a0df";
        let pairs: Vec<_> = hex.as_bytes().chunks(2).collect();
        let colons = String::from_utf8(pairs.join(&b':')).unwrap().to_uppercase();
        let refs = convert(serde_json::json!({
            "certificateHashes": [hex, colons],
            "spkiHashes": ["PSzHBE3uPQRPeaA8nHDpny36zmgxO8nC/goAbSgId9E="],
        }));

        let conditions = refs.unwrap().conditions;
        let [first, second] = conditions.certificate_hashes[..] else {
            panic!("{conditions:?}")
        };
        assert_eq!((first, first[0]), (second, 0x3c));
        assert_eq!(conditions.spki_hashes[0][0], 0x3d);
    }

    #[test]
    fn each_list_of_names_becomes_conditions_of_its_kind() {
        let one = |value: &str| serde_json::json!([{"type": "Suffix", "value": value}]);
        let refs = convert(serde_json::json!({"subjectAltNames": {
            "dnsNames": one("dns"), "emailAddresses": one("email"), "ipAddresses": one("ip"),
            "uris": [{"type": "RegularExpression", "value": "a|b"}],
            "otherNames": [{"oid": "1.3.6.1", "value": "other"}],
        }}));

        let suffix = |text: &str| AltNameMatch::Suffix(text.to_owned());
        let found = refs.unwrap().conditions.alt_names.into_iter();
        let found: Vec<_> = found.map(|one| (one.kind, one.matching)).collect();
        assert_eq!(
            found,
            [
                (AltNameKind::Dns, suffix("dns")),
                (AltNameKind::Email, suffix("email")),
                (AltNameKind::Ip, suffix("ip")),
                (
                    AltNameKind::Uri,
                    AltNameMatch::Regex("^(?:a|b)$".to_owned())
                ),
                (
                    AltNameKind::Other("1.3.6.1".to_owned()),
                    AltNameMatch::Exact("other".to_owned())
                ),
            ]
        );
    }

    #[test]
    fn values_that_cannot_be_enforced_are_rejected_by_name() {
        for (json, named) in [
            (serde_json::json!({"mode": "Nonsense"}), "mode"),
            (serde_json::json!({"spkiHashes": ["x"]}), "spkiHashes[0]"),
            (
                serde_json::json!({"certificateHashes": ["3c:aa"]}),
                "certificateHashes[0]",
            ),
            (
                serde_json::json!({"subjectAltNames": {"uris": [{"type": "RegularExpression", "value": "("}]}}),
                "subjectAltNames.uris[0]",
            ),
            (
                serde_json::json!({"subjectAltNames": {"otherNames": [{"oid": "x", "value": "y"}]}}),
                "subjectAltNames.otherNames[0].oid",
            ),
            (serde_json::json!({"crl": {"refs": []}}), "crl.refs"),
        ] {
            let error = convert(json.clone()).unwrap_err();

            assert_eq!(error.field, format!("spec.{named}"), "{json}");
        }
    }
}
