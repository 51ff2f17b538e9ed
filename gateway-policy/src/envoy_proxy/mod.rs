//! The spec of an EnvoyProxy: settings of the data planes of a GatewayClass or a Gateway.
//!
//! Sections of pods and Services that Kubernetes defines, such as `affinity`, are kept as JSON: the API server
//! checks them in the objects that contain them. Fields that configure Envoy itself have the class
//! [`Ignored`](crate::check::FieldClass::Ignored): the Gateway is served without them, with a warning.
//!
//! ```
//! use towergate_policy::envoy_proxy::{EnvoyProxySpec, ProcessSettings};
//!
//! let spec: EnvoyProxySpec = serde_json::from_str(
//!     r#"{"concurrency": 4, "logging": {"level": {"default": "debug"}}, "shutdown": {"drainTimeout": "90s"}}"#,
//! )?;
//! let settings = ProcessSettings::of(&spec);
//! assert_eq!((settings.workers, settings.log.as_deref()), (Some(4), Some("debug")));
//! # Ok::<(), serde_json::Error>(())
//! ```

mod access_log;
mod backend_tls;
mod filter_order;
mod kubernetes;
mod log_condition;
mod process;

pub use access_log::{FileLog, LogLine};
pub use backend_tls::BackendTlsLimits;
pub use filter_order::{AuthenticationOrder, FilterPosition};
pub use kubernetes::{
    EnvoyContainer, EnvoyDaemonSet, EnvoyDeployment, EnvoyDisruptionBudget, EnvoyHpa,
    EnvoyKubernetesProvider, EnvoyPod, EnvoyService, EnvoyServiceType, ObjectPatch, PatchKind,
    TrafficPolicy,
};
pub use log_condition::LogCondition;
pub use process::ProcessSettings;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use self::access_log::AppliedLog;
use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::backend_traffic::MergeType;
use crate::check::Report;
use crate::client_traffic::TlsVersionBound;
use crate::common::{DurationText, ObjectRef};
use crate::merge::MergedSpec;
use crate::schema::Schema;

string_enum! {
    /// How data planes are run.
    pub enum ProviderKind {
        Kubernetes = "Kubernetes",
        Host = "Host" Ignored,
    }

    /// The address families of data planes and Services.
    pub enum IpFamily {
        IPv4 = "IPv4",
        IPv6 = "IPv6",
        DualStack = "DualStack",
    }

    /// Whether requests are sent to the endpoints of a Service or to its cluster IP.
    pub enum ProxyRoutingType {
        Endpoint = "Endpoint",
        Service = "Service",
    }

    /// The level of the process log.
    pub enum LogLevel {
        Trace = "trace",
        Debug = "debug",
        Info = "info",
        Warn = "warn",
        Error = "error",
    }
}

api_struct! {
    /// Settings of data planes.
    pub struct EnvoyProxySpec, rules {
        /// How data planes are run.
        provider: EnvoyProxyProvider = "provider",
        /// Log of the data plane process.
        logging: EnvoyProxyLogging = "logging",
        /// Access log, metrics and traces.
        telemetry: EnvoyProxyTelemetry = "telemetry",
        /// Shutdown of data planes.
        shutdown: EnvoyProxyShutdown = "shutdown",
        /// Number of worker threads. Default: the number of CPUs.
        concurrency: i64 = "concurrency" [Range(1, 1024)],
        /// Address families of data planes and Services. Default: `IPv4`.
        ip_family: IpFamily = "ipFamily",
        /// TLS of connections to backends.
        backend_tls: EnvoyProxyBackendTls = "backendTLS",
        /// How the EnvoyProxy of a Gateway is combined with that of its GatewayClass. Default: `Replace`.
        merge_type: MergeType = "mergeType",
        /// Whether the Gateways of a GatewayClass share data planes.
        merge_gateways: bool = "mergeGateways" Ignored,
        /// Selection of the backends that share a cluster.
        merge_backends: Value = "mergeBackends" Ignored,
        /// Whether requests are sent to endpoints or to the cluster IP. Default: `Endpoint`.
        routing_type: ProxyRoutingType = "routingType",
        /// Order of Envoy's filters. The order of the authentication filters is applied. A limit cannot be placed before authentication.
        filter_order: Vec<FilterPosition> = "filterOrder",
        /// Whether rules are matched in the order of the manifest.
        preserve_route_order: bool = "preserveRouteOrder" Unsupported,
        /// Bootstrap configuration of Envoy.
        bootstrap: Value = "bootstrap" Ignored,
        /// Arguments of Envoy.
        extra_args: Vec<String> = "extraArgs" Ignored,
        /// GeoIP databases.
        geo_ip: Value = "geoIP" Ignored,
        /// Validation of Lua scripts.
        lua: Value = "lua" Ignored,
        /// Validation of Lua scripts.
        lua_validation: String = "luaValidation" Ignored,
        /// Shared libraries of Envoy.
        dynamic_modules: Vec<Value> = "dynamicModules" Ignored,
    }

    /// How data planes are run.
    pub struct EnvoyProxyProvider, rules {
        /// Provider. In a cluster always `Kubernetes`.
        kind: ProviderKind = "type" [Required],
        /// Settings of the Kubernetes objects that the controller creates for data planes, such as the Deployment and the Service.
        kubernetes: EnvoyKubernetesProvider = "kubernetes",
        /// Envoy as a child process.
        host: Value = "host" Ignored,
    }

    /// Log of the data plane process.
    pub struct EnvoyProxyLogging {
        /// Level by component. The level of `default` is applied.
        level: BTreeMap<String, LogLevel> = "level",
    }

    /// Access log, metrics and traces.
    pub struct EnvoyProxyTelemetry {
        /// Access log.
        access_log: EnvoyProxyAccessLog = "accessLog",
        /// Traces.
        tracing: Value = "tracing" Ignored,
        /// Metrics. They are always served for Prometheus.
        metrics: Value = "metrics" Ignored,
        /// Settings of request IDs, such as whether they contain the tracing decision.
        request_id: Value = "requestID" Ignored,
        /// Log of health checks.
        health_check_log: Value = "healthCheckLog" Ignored,
    }

    /// Access log.
    pub struct EnvoyProxyAccessLog {
        /// Whether requests are not logged. Default: `false`.
        disable: bool = "disable",
        /// Formats and destinations. The first file without conditions is written.
        settings: Vec<Value> = "settings" [Items(0, 50)],
    }

    /// Shutdown of data planes.
    pub struct EnvoyProxyShutdown {
        /// Time limit for requests in flight. Default: 60s.
        drain_timeout: DurationText = "drainTimeout",
        /// Time for which a terminating data plane accepts connections. Default: 10s.
        min_drain_duration: DurationText = "minDrainDuration",
        /// Time after which health checks fail. Data planes are not ready from the beginning of the shutdown.
        health_check_failure_delay: DurationText = "healthCheckFailureDelay" Ignored,
    }

    /// TLS of connections to backends. Values that are not supported make TLS backends unavailable.
    pub struct EnvoyProxyBackendTls {
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
        /// ALPN protocols.
        alpn_protocols: Vec<String> = "alpnProtocols",
        /// Has no effect on connections to backends, as in Envoy Gateway.
        fingerprints: Vec<String> = "fingerprints" Ignored,
    }
}

impl MergedSpec for EnvoyProxySpec {
    fn merge_type(&self) -> Option<&MergeType> {
        self.merge_type.as_ref()
    }

    fn merged_schema() -> &'static Value {
        static SCHEMA: LazyLock<Value> = LazyLock::new(EnvoyProxySpec::schema);
        &SCHEMA
    }
}

impl EnvoyProxySpec {
    /// Whether requests are sent to the cluster addresses of Services. A BackendTrafficPolicy can override
    /// this setting.
    pub fn routes_to_services(&self) -> bool {
        self.routing_type == Some(ProxyRoutingType::Service)
    }

    /// The section `provider.kubernetes`.
    pub fn kubernetes(&self) -> Option<&EnvoyKubernetesProvider> {
        self.provider.as_ref()?.kubernetes.as_ref()
    }

    /// Paths of the fields that are ignored.
    pub fn ignored(&self) -> Vec<String> {
        let mut ignored = Report::of(self).ignored;
        let levels = self
            .logging
            .iter()
            .flat_map(|logging| logging.level.iter().flatten());
        let components = levels.filter(|(component, _)| *component != "default");
        ignored.extend(components.map(|(component, _)| format!("spec.logging.level[{component}]")));
        ignored.extend(self.applied_log().ignored);
        let positions = self.filter_order.as_deref().unwrap_or_default();
        let (_, without_effect) = filter_order::authentication_order(positions);
        let paths = without_effect
            .into_iter()
            .map(|at| format!("spec.filterOrder[{at}]"));
        ignored.extend(paths);
        ignored
    }

    /// The order in which clients are authenticated.
    pub fn authentication_order(&self) -> AuthenticationOrder {
        let positions = self.filter_order.as_deref().unwrap_or_default();
        filter_order::authentication_order(positions).0
    }

    /// The settings of the access log that are applied.
    fn applied_log(&self) -> AppliedLog {
        let telemetry = self.telemetry.as_ref();
        let log = telemetry.and_then(|telemetry| telemetry.access_log.as_ref());
        log.map_or_else(AppliedLog::default, AppliedLog::of)
    }

    /// The error of the first value that prevents Gateways from being served. Such a value is invalid, or is
    /// not supported and could send requests to another backend if it were ignored.
    pub fn error(&self) -> Option<String> {
        let report = Report::of(self);
        let violation = report.violations.first().map(ToString::to_string);
        // If the limits of `backendTLS` cannot be applied, only TLS backends are unavailable.
        let of_backends = |error: &&FieldError| error.field.starts_with("spec.backendTLS.");
        let mut unsupported = report
            .unsupported
            .iter()
            .filter(|error| !of_backends(error));
        violation
            .or_else(|| unsupported.next().map(ToString::to_string))
            .or_else(|| {
                let (index, text) = filter_order::needed(self.filter_order.as_deref()?)?;
                Some(format!("spec.filterOrder[{index}]: {text}"))
            })
    }

    fn rules(&self, report: &mut Report) {
        let merges = self.merge_backends.is_some() && self.merge_gateways == Some(true);
        report.rule(
            !merges,
            "mergeGateways and mergeBackends are mutually exclusive",
        );
    }
}

impl EnvoyProxyProvider {
    fn rules(&self, report: &mut Report) {
        let Some(kubernetes) = &self.kubernetes else {
            return;
        };
        let daemons = kubernetes.daemon_set.is_some();
        report.rule(
            !(daemons && kubernetes.deployment.is_some()),
            "only one of envoyDeployment or envoyDaemonSet can be specified",
        );
        report.rule(
            !(daemons && kubernetes.hpa.is_some()),
            "cannot use envoyHpa if envoyDaemonSet is used",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> EnvoyProxySpec {
        serde_json::from_str(text).expect("the spec is read")
    }

    #[test]
    fn fields_of_envoy_itself_are_named_and_do_not_make_the_spec_invalid() {
        let spec = spec(
            r#"{"bootstrap": {"type": "Merge", "value": "a"}, "extraArgs": ["--x"], "mergeGateways": false,
                "logging": {"level": {"default": "info", "upstream": "debug"}},
                "provider": {"type": "Kubernetes", "kubernetes": {"envoyDeployment": {"container": {"image": "envoy"}}}}}"#,
        );

        assert_eq!(spec.error(), None);
        assert_eq!(
            spec.ignored(),
            [
                "spec.provider.kubernetes.envoyDeployment.container.image",
                "spec.bootstrap",
                "spec.extraArgs",
                "spec.logging.level[upstream]",
            ]
        );
    }

    #[test]
    fn invalid_and_risky_values_are_errors_by_name() {
        for (text, field) in [
            (r#"{"concurrency": 0}"#, "spec.concurrency"),
            (r#"{"ipFamily": "IPv5"}"#, "spec.ipFamily"),
            (
                r#"{"shutdown": {"drainTimeout": "soon"}}"#,
                "spec.shutdown.drainTimeout",
            ),
            (r#"{"preserveRouteOrder": true}"#, "spec.preserveRouteOrder"),
            (
                r#"{"filterOrder": [{"name": "envoy.filters.http.ratelimit", "before": "envoy.filters.http.ext_authz"}]}"#,
                "spec.filterOrder[0]",
            ),
            (
                r#"{"filterOrder": [{"name": "envoy.filters.http.cors"}]}"#,
                "spec.filterOrder[0]",
            ),
            (
                r#"{"provider": {"type": "Kubernetes", "kubernetes": {"envoyDeployment": {}, "envoyDaemonSet": {}}}}"#,
                "envoyDaemonSet",
            ),
            (
                r#"{"provider": {"type": "Kubernetes", "kubernetes": {"envoyService":
                    {"type": "ClusterIP", "loadBalancerSourceRanges": ["192.0.2.0/24"]}}}}"#,
                "loadBalancerSourceRanges",
            ),
            (
                r#"{"provider": {"type": "Kubernetes", "kubernetes": {"envoyDaemonSet": {}, "envoyHpa": {"maxReplicas": 2}}}}"#,
                "envoyHpa",
            ),
        ] {
            let error = spec(text).error().unwrap_or_default();
            assert!(error.contains(field), "{text}: {error:?}");
        }
        for text in [
            r#"{"preserveRouteOrder": false}"#,
            r#"{"backendTLS": {"minVersion": "1.0"}}"#,
            r#"{"backendTLS": {"minVersion": "1.0", "maxVersion": "1.1"}}"#,
        ] {
            assert_eq!(spec(text).error(), None, "{text}");
        }
    }
}
