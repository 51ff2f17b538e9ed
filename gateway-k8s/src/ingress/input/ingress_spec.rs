//! `spec` of an Ingress.

use serde::Deserialize;
use serde_json::Value;

/// `spec` of an Ingress (`networking.k8s.io/v1`).
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressSpec {
    /// Name of the IngressClass.
    pub ingress_class_name: Option<String>,
    /// Backend of requests that no rule matches.
    pub default_backend: Option<IngressBackend>,
    /// Hosts with TLS.
    pub tls: Vec<IngressTls>,
    /// Hosts and their paths.
    pub rules: Vec<IngressRule>,
}

/// A section of `spec.tls`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressTls {
    /// Host names.
    pub hosts: Vec<String>,
    /// Secret with the certificate.
    pub secret_name: Option<String>,
}

/// A rule: a host and its paths.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct IngressRule {
    /// Host name. `None`: any host that no other rule names.
    pub host: Option<String>,
    /// Paths. `None`: the default backend.
    pub http: Option<IngressHttp>,
}

/// Paths of a rule.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct IngressHttp {
    /// Paths.
    pub paths: Vec<IngressPath>,
}

/// A path and its backend.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressPath {
    /// Path. Default: `/`.
    pub path: Option<String>,
    /// `Exact`, `Prefix` or `ImplementationSpecific`.
    pub path_type: Option<String>,
    /// Backend.
    pub backend: IngressBackend,
}

/// A backend of an Ingress.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct IngressBackend {
    /// A port of a Service.
    pub service: Option<IngressService>,
    /// A backend that is another object than a Service.
    pub resource: Option<Value>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct IngressService {
    /// Name of the Service.
    pub name: String,
    /// Port of the Service.
    pub port: IngressPort,
}

/// A port, by number or by name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct IngressPort {
    /// Number.
    pub number: Option<u16>,
    /// Name.
    pub name: Option<String>,
}
