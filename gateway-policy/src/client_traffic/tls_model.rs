//! `spec.tls` of a ClientTrafficPolicy as it is written.

use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{ObjectRef, StringMatch};

string_enum! {
    /// A version of TLS.
    pub enum TlsVersion {
        Auto = "Auto",
        Tls10 = "1.0",
        Tls11 = "1.1",
        Tls12 = "1.2",
        Tls13 = "1.3",
    }

    /// A fingerprint of a ClientHello.
    pub enum Fingerprint {
        Ja3 = "JA3",
        Ja4 = "JA4",
    }

    /// What is asked of clients.
    pub enum ClientValidationMode {
        Request = "Request",
        RequireAny = "RequireAny",
        VerifyIfGiven = "VerifyIfGiven",
        RequireAndVerify = "RequireAndVerify",
    }
}

api_struct! {
    /// TLS with clients.
    pub struct ClientTls, rules {
        /// Client certificates.
        client_validation: ClientValidation = "clientValidation",
        /// The lowest version.
        min_version: TlsVersion = "minVersion",
        /// The highest version.
        max_version: TlsVersion = "maxVersion",
        /// Suites of TLS 1.2, in order of preference.
        ciphers: Vec<String> = "ciphers",
        /// Key-exchange groups.
        ecdh_curves: Vec<String> = "ecdhCurves",
        /// Signature algorithms.
        signature_algorithms: Vec<String> = "signatureAlgorithms",
        /// Protocols offered by ALPN; empty: no ALPN.
        alpn_protocols: Vec<String> = "alpnProtocols",
        /// Resumption.
        session: Session = "session",
        /// Fingerprints to compute.
        fingerprints: Vec<Fingerprint> = "fingerprints",
    }

    /// Sessions of TLS.
    pub struct Session {
        /// Resumption; off if it is not given.
        resumption: Resumption = "resumption",
    }

    /// Resumption.
    pub struct Resumption {
        /// By session tickets.
        stateless: Toggle = "stateless",
        /// By session ids.
        stateful: Toggle = "stateful",
    }

    /// Present means on; nothing to set.
    pub struct Toggle {}

    /// Client certificates.
    pub struct ClientValidation, rules {
        /// Deprecated form of `mode: VerifyIfGiven`.
        optional: bool = "optional",
        /// What is asked of clients.
        mode: ClientValidationMode = "mode",
        /// Authorities.
        ca_certificate_refs: Vec<ObjectRef> = "caCertificateRefs" [Items(0, 8)],
        /// SHA-256 of public keys, base64.
        spki_hashes: Vec<String> = "spkiHashes",
        /// SHA-256 of certificates, hexadecimal.
        certificate_hashes: Vec<String> = "certificateHashes",
        /// Names of which one must be in the certificate.
        subject_alt_names: SubjectAltNames = "subjectAltNames",
        /// Revocation lists.
        crl: Crl = "crl",
        /// Certificates may be out of date.
        allow_expired_certificate: bool = "allowExpiredCertificate",
    }

    /// Names in certificates.
    pub struct SubjectAltNames {
        /// Host names.
        dns_names: Vec<StringMatch> = "dnsNames",
        /// Mail addresses.
        email_addresses: Vec<StringMatch> = "emailAddresses",
        /// IP addresses.
        ip_addresses: Vec<StringMatch> = "ipAddresses",
        /// URIs.
        uris: Vec<StringMatch> = "uris",
        /// Other names.
        other_names: Vec<OtherName> = "otherNames",
    }

    /// A name of another type.
    pub struct OtherName {
        /// The type's object identifier.
        oid: String = "oid" [Required],
        /// How the name is compared.
        kind: crate::common::StringMatchKind = "type",
        /// What it is compared with.
        value: String = "value" [Required, Length(1, 1024)],
    }

    /// Revocation lists.
    pub struct Crl {
        /// Where they are.
        refs: Vec<ObjectRef> = "refs" [Required, Items(1, 8)],
        /// Only the client's own certificate is looked up.
        only_verify_leaf_certificate: bool = "onlyVerifyLeafCertificate",
    }
}

impl ClientTls {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.min_version != Some(TlsVersion::Tls13) || self.ciphers.is_none(),
            "setting ciphers has no effect if the minimum possible TLS version is 1.3",
        );
        let lowest = self.min_version.as_ref().map_or(Some(2), rank).unwrap_or(0);
        let highest = self.max_version.as_ref().map_or(Some(3), rank).unwrap_or(3);
        report.rule(
            lowest <= highest,
            "minVersion must be smaller or equal to maxVersion",
        );
    }
}

/// The order of the versions; `Auto` has none.
fn rank(version: &TlsVersion) -> Option<u8> {
    match version {
        TlsVersion::Auto | TlsVersion::Other(_) => None,
        TlsVersion::Tls10 => Some(0),
        TlsVersion::Tls11 => Some(1),
        TlsVersion::Tls12 => Some(2),
        TlsVersion::Tls13 => Some(3),
    }
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
}
