//! Core kinds, with the fields that the gateway uses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

objects! {
    /// `spec` of a Service.
    pub struct ServiceSpec {
        /// Type, such as `ClusterIP` or `ExternalName`.
        #[serde(rename = "type")]
        pub kind: Option<String>,
        /// Cluster IP address; `"None"` for a headless Service.
        #[serde(rename = "clusterIP")]
        pub cluster_ip: Option<String>,
        /// DNS name of a Service of type `ExternalName`.
        pub external_name: Option<String>,
        /// Ports.
        pub ports: Vec<ServicePort>,
        /// Labels of the pods of the Service.
        pub selector: BTreeMap<String, String>,
    }

    /// A port of a Service.
    pub struct ServicePort {
        /// Name.
        pub name: Option<String>,
        /// Port number in routes.
        pub port: u16,
        /// `TCP`, `UDP` or `SCTP`.
        pub protocol: Option<String>,
        /// Application protocol, such as `kubernetes.io/h2c`.
        pub app_protocol: Option<String>,
        /// Port of the pods.
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
        /// Ports of the endpoints. A port has the name of the corresponding port of the Service.
        pub ports: Vec<SlicePort>,
    }

    /// An endpoint of a slice.
    pub struct SliceEndpoint {
        /// Addresses.
        pub addresses: Vec<String>,
        /// Conditions.
        pub conditions: EndpointConditions,
        /// Zone.
        pub zone: Option<String>,
    }

    /// Conditions of an endpoint. An absent `ready` means ready.
    pub struct EndpointConditions {
        /// Whether the endpoint accepts traffic.
        pub ready: Option<bool>,
        /// Whether the endpoint responds to requests, even while it terminates.
        pub serving: Option<bool>,
        /// Whether the endpoint is terminating.
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
        /// Application protocol.
        pub app_protocol: Option<String>,
    }
}

/// A Secret. `Debug` shows no values.
#[derive(Clone, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    /// Type, such as `kubernetes.io/tls`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Values in base64.
    #[serde(deserialize_with = "crate::api::null_is_unset")]
    pub data: BTreeMap<String, String>,
    /// Values as text; takes precedence over `data`.
    #[serde(deserialize_with = "crate::api::null_is_unset")]
    pub string_data: BTreeMap<String, String>,
}

impl Secret {
    /// The value of `key`. `stringData` takes precedence over `data`, as in the API server.
    ///
    /// # Errors
    /// If the value is not base64.
    pub fn value(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        if let Some(text) = self.string_data.get(key) {
            return Ok(Some(text.clone().into_bytes()));
        }
        self.data.get(key).map(|text| base64(text)).transpose()
    }
}

impl ConfigMap {
    /// The value of `key` in `data` or `binaryData`.
    ///
    /// # Errors
    /// If the value is not base64.
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

/// Decodes base64 with line breaks.
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

/// A Namespace. Only its metadata is used.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Namespace {}
