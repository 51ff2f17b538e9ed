//! The few fields of core kinds that are read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

objects! {
    /// `spec` of a Service.
    pub struct ServiceSpec {
        /// `ClusterIP`, `ExternalName` and so on.
        #[serde(rename = "type")]
        pub kind: Option<String>,
        /// The address in the cluster; `None` in text for headless ones.
        #[serde(rename = "clusterIP")]
        pub cluster_ip: Option<String>,
        /// The DNS name of an `ExternalName`.
        pub external_name: Option<String>,
        /// Ports.
        pub ports: Vec<ServicePort>,
        /// Which pods are behind it.
        pub selector: BTreeMap<String, String>,
    }

    /// A port of a Service.
    pub struct ServicePort {
        /// Its name.
        pub name: Option<String>,
        /// The number by which routes name it.
        pub port: u16,
        /// `TCP`, `UDP` or `SCTP`.
        pub protocol: Option<String>,
        /// What is spoken, such as `kubernetes.io/h2c`.
        pub app_protocol: Option<String>,
        /// The port of the pods.
        pub target_port: Option<IntOrString>,
    }
}

/// A number or a name.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(i64),
    /// A name.
    String(String),
}

objects! {
    /// An EndpointSlice (`discovery.k8s.io/v1`).
    pub struct EndpointSlice {
        /// `IPv4`, `IPv6` or `FQDN`.
        pub address_type: String,
        /// Endpoints.
        pub endpoints: Vec<SliceEndpoint>,
        /// Ports, by name as in the Service.
        pub ports: Vec<SlicePort>,
    }

    /// An endpoint of a slice.
    pub struct SliceEndpoint {
        /// Addresses.
        pub addresses: Vec<String>,
        /// State.
        pub conditions: EndpointConditions,
        /// Zone.
        pub zone: Option<String>,
    }

    /// State of an endpoint; missing `ready` means ready.
    pub struct EndpointConditions {
        /// May take traffic.
        pub ready: Option<bool>,
        /// Answers, even if it is terminating.
        pub serving: Option<bool>,
        /// Is being stopped.
        pub terminating: Option<bool>,
    }

    /// A port of a slice.
    pub struct SlicePort {
        /// Name of the Service's port.
        pub name: Option<String>,
        /// Number.
        pub port: Option<u16>,
        /// `TCP`, `UDP` or `SCTP`.
        pub protocol: Option<String>,
        /// What is spoken.
        pub app_protocol: Option<String>,
    }
}

/// A Secret. `Debug` shows no values.
#[derive(Clone, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    /// `kubernetes.io/tls` and so on.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Values in base64.
    #[serde(deserialize_with = "crate::api::null_is_unset")]
    pub data: BTreeMap<String, String>,
    /// Values as they are; wins over `data`.
    #[serde(deserialize_with = "crate::api::null_is_unset")]
    pub string_data: BTreeMap<String, String>,
}

impl Secret {
    /// A value; `stringData` wins over `data`, as it does in an API server.
    ///
    /// # Errors
    /// A sentence, if the value is not base64.
    pub fn value(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        if let Some(text) = self.string_data.get(key) {
            return Ok(Some(text.clone().into_bytes()));
        }
        self.data.get(key).map(|text| base64(text)).transpose()
    }
}

impl ConfigMap {
    /// A value of `data` or `binaryData`.
    ///
    /// # Errors
    /// A sentence, if the value is not base64.
    pub fn value(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        if let Some(text) = self.data.get(key) {
            return Ok(Some(text.clone().into_bytes()));
        }
        self.binary_data
            .get(key)
            .map(|text| base64(text))
            .transpose()
    }
}

/// Base64, in which people break lines.
fn base64(text: &str) -> Result<Vec<u8>, String> {
    let text: String = text.split_ascii_whitespace().collect();
    let decoded = data_encoding::BASE64.decode(text.as_bytes());
    decoded.map_err(|fault| format!("not base64: {fault}"))
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

objects! {
    /// A ConfigMap.
    pub struct ConfigMap {
        /// Values.
        pub data: BTreeMap<String, String>,
        /// Values in base64.
        pub binary_data: BTreeMap<String, String>,
    }
}

/// A Namespace: only its metadata counts.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Namespace {}
