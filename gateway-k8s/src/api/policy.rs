//! BackendTLSPolicy: TLS of connections to a Service. Also the target types of unsupported policies.

use std::collections::BTreeMap;

use serde::Deserialize;
use towergate_policy::common::{TargetRef, TargetSelector, Targets};

use super::reference::{LocalObjectReference, PolicyTargetReference};

objects! {
    /// `spec` of a BackendTLSPolicy.
    pub struct BackendTlsPolicySpec {
        /// Services to which the policy applies. `sectionName` is the name of a port.
        pub target_refs: Vec<PolicyTargetReference>,
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
        /// Server name (SNI). If `subjectAltNames` is empty, the certificate must contain this name.
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

/// Targets of an EnvoyExtensionPolicy.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvoyExtensionPolicySpec {
    /// Target of the policy.
    pub target_ref: Option<TargetRef>,
    /// Targets of the policy.
    pub target_refs: Option<Vec<TargetRef>>,
    /// Further targets, selected by labels.
    pub target_selectors: Option<Vec<TargetSelector>>,
    /// How the policy is merged with a less specific policy. If absent, it replaces the less specific policy.
    pub merge_type: Option<String>,
}

/// Target of an EnvoyPatchPolicy.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvoyPatchPolicySpec {
    /// Target of the policy: a Gateway, or the GatewayClass of merged Gateways.
    pub target_ref: Option<TargetRef>,
}

impl EnvoyExtensionPolicySpec {
    /// The targets of the policy.
    pub fn targets(&self) -> Targets<'_> {
        Targets {
            single: self.target_ref.as_ref(),
            list: self.target_refs.as_deref().unwrap_or_default(),
            selectors: self.target_selectors.as_deref().unwrap_or_default(),
        }
    }
}

impl EnvoyPatchPolicySpec {
    /// The targets of the policy.
    pub fn targets(&self) -> Targets<'_> {
        Targets {
            single: self.target_ref.as_ref(),
            list: &[],
            selectors: &[],
        }
    }
}
