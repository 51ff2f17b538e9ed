//! BackendTLSPolicy: how the gateway speaks TLS to a Service.

use std::collections::BTreeMap;

use super::reference::{LocalObjectReference, PolicyTarget};

objects! {
    /// `spec` of a BackendTLSPolicy.
    pub struct BackendTlsPolicySpec {
        /// Services; `sectionName` is a port's name.
        pub target_refs: Vec<PolicyTarget>,
        /// Whom to trust, and whom to expect.
        pub validation: BackendTlsPolicyValidation,
        /// Settings of the implementation.
        pub options: BTreeMap<String, String>,
    }

    /// Whom to trust, and whom to expect.
    pub struct BackendTlsPolicyValidation {
        /// ConfigMaps with trusted certificates under `ca.crt`.
        #[serde(rename = "caCertificateRefs")]
        pub ca_certificate_refs: Vec<LocalObjectReference>,
        /// `System` instead.
        #[serde(rename = "wellKnownCACertificates")]
        pub well_known_ca_certificates: Option<String>,
        /// Sent as SNI, and expected in the certificate unless `subjectAltNames` are given.
        pub hostname: String,
        /// Names of which the certificate must have one.
        pub subject_alt_names: Vec<SubjectAltName>,
    }

    /// A name in a certificate.
    pub struct SubjectAltName {
        /// `Hostname` or `URI`.
        #[serde(rename = "type")]
        pub kind: String,
        /// For `Hostname`.
        pub hostname: Option<String>,
        /// For `URI`.
        pub uri: Option<String>,
    }
}
