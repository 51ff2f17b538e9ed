//! BackendTLSPolicy: TLS to a Service.

use std::collections::BTreeMap;

use super::reference::{LocalObjectReference, PolicyTarget};

objects! {
    /// `spec` of a BackendTLSPolicy.
    pub struct BackendTlsPolicySpec {
        /// Services. `sectionName` is the name of a port.
        pub target_refs: Vec<PolicyTarget>,
        /// Trusted CAs and expected names.
        pub validation: BackendTlsPolicyValidation,
        /// Implementation-specific options.
        pub options: BTreeMap<String, String>,
    }

    /// Trusted CAs and expected names.
    pub struct BackendTlsPolicyValidation {
        /// ConfigMaps with CA certificates under `ca.crt`.
        #[serde(rename = "caCertificateRefs")]
        pub ca_certificate_refs: Vec<LocalObjectReference>,
        /// `System`: the CA certificates of the system.
        #[serde(rename = "wellKnownCACertificates")]
        pub well_known_ca_certificates: Option<String>,
        /// Server name (SNI). The certificate must have it unless `subjectAltNames` are set.
        pub hostname: String,
        /// Alternative names; the certificate must have one of them.
        pub subject_alt_names: Vec<SubjectAltName>,
    }

    /// A subject alternative name.
    pub struct SubjectAltName {
        /// `Hostname` or `URI`.
        #[serde(rename = "type")]
        pub kind: String,
        /// DNS name, for type `Hostname`.
        pub hostname: Option<String>,
        /// URI, for type `URI`.
        pub uri: Option<String>,
    }
}
