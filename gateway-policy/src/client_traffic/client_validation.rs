//! `tls.clientValidation`: verification of client certificates.

use towergate_tls::ClientAuthMode;

use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{ObjectRef, StringMatch, StringMatchKind};
use crate::field_path::FieldPath;

string_enum! {
    /// Whether a client certificate is required, and whether it is verified.
    pub enum ClientValidationMode {
        Request = "Request" Unsupported,
        RequireAny = "RequireAny" Unsupported,
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
        spki_hashes: Vec<String> = "spkiHashes" Unsupported,
        /// Accepted SHA-256 hashes of certificates, in hexadecimal.
        certificate_hashes: Vec<String> = "certificateHashes" Unsupported,
        /// Conditions on subject alternative names. One of them must match.
        subject_alt_names: SubjectAltNames = "subjectAltNames" Unsupported,
        /// Certificate revocation lists.
        crl: Crl = "crl" Unsupported,
        /// Whether expired certificates are accepted. Default: `false`.
        allow_expired_certificate: bool = "allowExpiredCertificate" Unsupported,
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
        kind: StringMatchKind = "type",
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
    /// Whether a certificate is required.
    pub mode: ClientAuthMode,
    /// ConfigMaps and Secrets with CA certificates. Never empty.
    pub authorities: Vec<ObjectRef>,
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

    /// Converts the section. Modes without verification are not supported: backends would receive
    /// unverified facts about clients.
    pub(super) fn refs(&self, at: FieldPath<'_>) -> Result<ValidationRefs, FieldError> {
        let Self {
            optional,
            mode,
            ca_certificate_refs,
            spki_hashes: _,
            certificate_hashes: _,
            subject_alt_names: _,
            crl: _,
            allow_expired_certificate: _,
        } = self;
        use ClientValidationMode as Mode;
        let mode = match mode {
            None if *optional == Some(true) => ClientAuthMode::Optional,
            None | Some(Mode::RequireAndVerify) => ClientAuthMode::Required,
            Some(Mode::VerifyIfGiven) => ClientAuthMode::Optional,
            Some(mode @ (Mode::Request | Mode::RequireAny | Mode::Other(_))) => {
                let field = at.field("mode");
                return Err(FieldError::unsupported_value(field, mode.as_str()));
            }
        };
        let authorities = ca_certificate_refs.clone().unwrap_or_default();
        if authorities.is_empty() {
            return Err(FieldError::invalid(
                at.field("caCertificateRefs"),
                "at least one is needed to verify certificates",
            ));
        }
        Ok(ValidationRefs { mode, authorities })
    }
}
