//! The spec of a Backend: endpoints outside the Services of the cluster.
//!
//! ```
//! use towergate_policy::backend::BackendSpec;
//!
//! let spec: BackendSpec = serde_json::from_str(
//!     r#"{"endpoints": [{"fqdn": {"hostname": "api.example.com", "port": 443}}]}"#,
//! )?;
//! let endpoints = spec.endpoints.expect("the spec has endpoints");
//! let fqdn = endpoints[0].fqdn.as_ref().expect("the endpoint is a name");
//! assert_eq!(fqdn.hostname.as_deref(), Some("api.example.com"));
//! # Ok::<(), serde_json::Error>(())
//! ```

use towergate_tls::limits::TlsLimits;

use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::client_traffic::{Fingerprint, TlsBounds, TlsVersionBound};
use crate::common::{DNS_NAME, ObjectRef};
use crate::field_path::FieldPath;

/// A host name in lower case, with an optional dot at its end.
const FQDN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\.?$";

string_enum! {
    /// How the endpoints of a Backend are found.
    pub enum BackendType {
        Endpoints = "Endpoints",
        DynamicResolver = "DynamicResolver",
    }

    /// An application protocol of a Backend.
    pub enum BackendAppProtocol {
        H2c = "gateway.envoyproxy.io/h2c",
        Ws = "gateway.envoyproxy.io/ws",
        Wss = "gateway.envoyproxy.io/wss",
    }

    /// A set of CA certificates.
    pub enum WellKnownCaCertificates {
        System = "System",
    }
}

api_struct! {
    /// A backend that is not a Service.
    pub struct BackendSpec {
        /// How the endpoints are found: listed here, or by the host of each request. Default: `Endpoints`.
        kind: BackendType = "type" [DefaultText("Endpoints")],
        /// Endpoints of type `Endpoints`.
        endpoints: Vec<BackendEndpoint> = "endpoints" [Items(1, 256)],
        /// Application protocols of the endpoints. Default: HTTP/1.1.
        app_protocols: Vec<BackendAppProtocol> = "appProtocols",
        /// Whether the backend receives requests only while too few endpoints of the rule's other
        /// backends are healthy. Default: `false`.
        fallback: bool = "fallback",
        /// TLS of connections to the endpoints. Default: plain text. A BackendTLSPolicy for the Backend takes
        /// precedence for name and CA certificates.
        tls: BackendTls = "tls",
    }

    /// An endpoint: exactly one of `fqdn`, `ip` and `unix`.
    pub struct BackendEndpoint {
        /// Name of an endpoint with an IP address or socket, for TLS and host rewrites.
        hostname: String = "hostname" [Length(1, 253), Pattern(DNS_NAME)],
        /// A host name, resolved by DNS.
        fqdn: FqdnEndpoint = "fqdn",
        /// An IP address.
        ip: IpEndpoint = "ip",
        /// A Unix domain socket.
        unix: UnixSocket = "unix",
        /// Topology zone of the endpoint.
        zone: String = "zone",
    }

    /// A host name with a port.
    pub struct FqdnEndpoint {
        /// DNS name.
        hostname: String = "hostname" [Required, Length(1, 253), Pattern(FQDN)],
        /// Port.
        port: i64 = "port" [Required, Range(0, 65535)],
    }

    /// An IP address with a port.
    pub struct IpEndpoint {
        /// IPv4 or IPv6 address.
        address: String = "address" [Required, Length(3, 45)],
        /// Port.
        port: i64 = "port" [Required, Range(0, 65535)],
    }

    /// A Unix domain socket.
    pub struct UnixSocket {
        /// Path of the socket.
        path: String = "path" [Required],
    }

    /// TLS of connections to the endpoints of a Backend.
    pub struct BackendTls {
        /// ConfigMaps or Secrets with CA certificates under `ca.crt`.
        ca_certificate_refs: Vec<CaCertificateRef> = "caCertificateRefs" [Items(0, 8)],
        /// `System`: the CA certificates of the system.
        well_known_ca_certificates: WellKnownCaCertificates = "wellKnownCACertificates",
        /// Whether any certificate is accepted. Default: `false`.
        insecure_skip_verify: bool = "insecureSkipVerify" [DefaultFlag(false)],
        /// Server name (SNI), which the certificate must have. Default: the host name of the endpoints.
        sni: String = "sni" [Length(1, 253), Pattern(DNS_NAME)],
        /// Whether the server name is the endpoint's host name, which is also the default without
        /// `sni`.
        auto_sni_from_endpoint_hostname: bool = "autoSNIFromEndpointHostname",
        /// Client certificate: a Secret of type `kubernetes.io/tls`.
        client_certificate_ref: ObjectRef = "clientCertificateRef",
        /// Lowest version offered. Default: 1.2.
        min_version: TlsVersionBound = "minVersion",
        /// Highest version offered. Default: 1.3.
        max_version: TlsVersionBound = "maxVersion",
        /// Cipher suites of TLS 1.2.
        ciphers: Vec<String> = "ciphers",
        /// Key-exchange groups.
        ecdh_curves: Vec<String> = "ecdhCurves",
        /// Signature algorithms.
        signature_algorithms: Vec<String> = "signatureAlgorithms",
        /// ALPN protocols. Default: that of the application protocol.
        alpn_protocols: Vec<String> = "alpnProtocols",
        /// Has no effect on connections to backends, as in Envoy Gateway.
        fingerprints: Vec<Fingerprint> = "fingerprints",
    }

    /// An object with CA certificates, in the namespace of the Backend.
    pub struct CaCertificateRef {
        /// API group of the object; empty: the core group.
        group: String = "group" [Required, Length(0, 253)],
        /// Kind of the object.
        kind: String = "kind" [Required, Length(1, 63)],
        /// Name of the object.
        name: String = "name" [Required, Length(1, 253)],
    }
}

impl BackendTls {
    /// Versions, cipher suites, key-exchange groups and signature schemes of connections.
    ///
    /// # Errors
    /// The first field with a value that is not supported, or versions in the wrong order.
    pub fn limits(&self) -> Result<TlsLimits, FieldError> {
        let at = FieldPath::SPEC.field("tls");
        let bounds = TlsBounds {
            min: self.min_version.as_ref(),
            max: self.max_version.as_ref(),
            ciphers: self.ciphers.as_deref(),
            curves: self.ecdh_curves.as_deref(),
            signatures: self.signature_algorithms.as_deref(),
        };
        let limits = bounds.limits(at)?;
        match limits.min_version <= limits.max_version {
            true => Ok(limits),
            false => Err(FieldError::invalid(
                at,
                "minVersion must be smaller or equal to maxVersion",
            )),
        }
    }
}
