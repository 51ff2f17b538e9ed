//! Settings of connections to backends. A BackendTrafficPolicy has them in its spec, and other policies have
//! them in `backendSettings`.

use towergate_core::plan;

use super::{CircuitBreaker, ClusterConnection, ClusterTimeout, HealthCheck, LoadBalancer, Retry};
use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::common::{DurationText, Http2, TcpKeepalive};
use crate::field_path::FieldPath;

string_enum! {
    /// A version of the PROXY protocol.
    pub enum ProxyProtocolVersion {
        V1 = "V1",
        V2 = "V2",
    }

    /// The IP versions of a backend's addresses.
    pub enum LookupFamily {
        Ipv4 = "IPv4",
        Ipv6 = "IPv6",
        Ipv4Preferred = "IPv4Preferred",
        Ipv6Preferred = "IPv6Preferred",
        Ipv4AndIpv6 = "IPv4AndIPv6",
    }
}

api_struct! {
    /// Settings of connections to the backends that a policy itself connects to.
    pub struct ClusterSettings {
        /// Selection of endpoints. Default: `LeastRequest`.
        load_balancer: LoadBalancer = "loadBalancer",
        /// Retries. If present, they are enabled.
        retry: Retry = "retry",
        /// PROXY protocol on connections. Default: off.
        proxy_protocol: ClusterProxyProtocol = "proxyProtocol",
        /// TCP keep-alive. Default: probes start after 1 minute of silence.
        tcp_keepalive: TcpKeepalive = "tcpKeepalive",
        /// Health checks of endpoints.
        health_check: HealthCheck = "healthCheck",
        /// Limits of concurrent connections and requests.
        circuit_breaker: CircuitBreaker = "circuitBreaker",
        /// Timeouts of requests and connections.
        timeout: ClusterTimeout = "timeout",
        /// Buffers of connections.
        connection: ClusterConnection = "connection",
        /// DNS resolution of backends.
        dns: Dns = "dns",
        /// Settings of HTTP/2.
        http2: Http2 = "http2",
    }

    /// PROXY protocol on connections to backends.
    pub struct ClusterProxyProtocol {
        /// Version of the PROXY header.
        version: ProxyProtocolVersion = "version" [Required],
    }

    /// DNS resolution of backends.
    pub struct Dns {
        /// Time between two resolutions. Default: 30 seconds.
        dns_refresh_rate: DurationText = "dnsRefreshRate",
        /// Whether the records' time to live takes precedence over `dnsRefreshRate`. Default: `true`.
        respect_dns_ttl: bool = "respectDnsTtl",
        /// IP versions of addresses. Default: `IPv4Preferred`.
        lookup_family: LookupFamily = "lookupFamily",
    }
}

impl ClusterSettings {
    /// Converts the settings. `at` is the path of the object with the settings. The caller has
    /// checked that all fields of the policy are supported.
    ///
    /// # Errors
    /// The first field whose value is invalid.
    pub(crate) fn traffic(&self, at: FieldPath<'_>) -> Result<plan::Traffic, FieldError> {
        let Self {
            load_balancer,
            retry,
            proxy_protocol,
            tcp_keepalive,
            health_check,
            circuit_breaker,
            timeout,
            connection,
            dns,
            http2,
        } = self.clone();
        let mut traffic = timeout.unwrap_or_default().traffic(at.field("timeout"))?;
        let retry = retry.map(|retry| retry.retry(at.field("retry")));
        traffic.retry = retry.transpose()?;
        if let Some(dns) = dns {
            traffic.dns = dns.settings(at.field("dns"))?;
        }
        if let Some(balancer) = load_balancer {
            balancer.apply(at.field("loadBalancer"), &mut traffic)?;
        }
        let breaker = circuit_breaker.unwrap_or_default();
        (traffic.breaker, traffic.max_requests_per_connection) =
            breaker.breaker(at.field("circuitBreaker"))?;
        let keepalive = tcp_keepalive.map(|tcp| tcp.keepalive(at.field("tcpKeepalive")));
        let http2 = http2.unwrap_or_default();
        traffic.connection = plan::BackendConnection {
            keepalive: keepalive.transpose()?,
            http2: http2.settings(at.field("http2"))?,
            proxy_header: proxy_protocol
                .map(|proxy| proxy.version(at.field("proxyProtocol")))
                .transpose()?,
            ..(connection.unwrap_or_default()).connection(at.field("connection"))?
        };
        if let Some(health) = health_check {
            health.apply(at.field("healthCheck"), &mut traffic)?;
        }
        Ok(traffic)
    }
}

impl Dns {
    /// Converts this section of the spec. `at` is the path of the section, for errors.
    fn settings(&self, at: FieldPath<'_>) -> Result<plan::DnsSettings, FieldError> {
        let defaults = plan::DnsSettings::default();
        let refresh = match &self.dns_refresh_rate {
            None => defaults.refresh,
            Some(text) => text.parse().ok_or_else(|| {
                FieldError::invalid(at.field("dnsRefreshRate"), "is not a duration")
            })?,
        };
        Ok(plan::DnsSettings {
            respect_ttl: self.respect_dns_ttl.unwrap_or(defaults.respect_ttl),
            refresh,
            family: match &self.lookup_family {
                None => defaults.family,
                Some(LookupFamily::Ipv4) => plan::DnsFamily::Ipv4,
                Some(LookupFamily::Ipv6) => plan::DnsFamily::Ipv6,
                Some(LookupFamily::Ipv4Preferred) => plan::DnsFamily::Ipv4Preferred,
                Some(LookupFamily::Ipv6Preferred) => plan::DnsFamily::Ipv6Preferred,
                Some(LookupFamily::Ipv4AndIpv6) => plan::DnsFamily::Ipv4AndIpv6,
                Some(LookupFamily::Other(value)) => {
                    return Err(FieldError::unknown_value(at.field("lookupFamily"), value));
                }
            },
        })
    }
}

impl ClusterProxyProtocol {
    /// The version as a value of the plan.
    fn version(&self, at: FieldPath<'_>) -> Result<plan::ProxyHeaderVersion, FieldError> {
        let at = at.field("version");
        match &self.version {
            Some(ProxyProtocolVersion::V1) => Ok(plan::ProxyHeaderVersion::V1),
            Some(ProxyProtocolVersion::V2) => Ok(plan::ProxyHeaderVersion::V2),
            Some(ProxyProtocolVersion::Other(value)) => Err(FieldError::unknown_value(at, value)),
            None => Err(FieldError::invalid(at, "Required value")),
        }
    }
}
