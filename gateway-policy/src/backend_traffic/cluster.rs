//! How connections to backends are made and used: the part of the spec that other policies share as
//! `backendSettings`.

use super::balance::LoadBalancer;
use super::health::HealthCheck;
use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{DurationText, Fraction, Quantity};

string_enum! {
    /// A version of the PROXY protocol.
    pub enum ProxyProtocolVersion {
        V1 = "V1",
        V2 = "V2",
    }

    /// An event that is worth another try.
    pub enum RetryTrigger {
        ServerError = "5xx",
        GatewayError = "gateway-error",
        Reset = "reset",
        ResetBeforeRequest = "reset-before-request",
        ConnectFailure = "connect-failure",
        Retriable4xx = "retriable-4xx",
        RefusedStream = "refused-stream",
        RetriableStatusCodes = "retriable-status-codes",
        Cancelled = "cancelled",
        DeadlineExceeded = "deadline-exceeded",
        Internal = "internal",
        ResourceExhausted = "resource-exhausted",
        Unavailable = "unavailable",
    }

    /// Which addresses of a host name are used.
    pub enum LookupFamily {
        Ipv4 = "IPv4",
        Ipv6 = "IPv6",
        Ipv4Preferred = "IPv4Preferred",
        Ipv6Preferred = "IPv6Preferred",
        Ipv4AndIpv6 = "IPv4AndIPv6",
    }

    /// What ends when a message is not HTTP/2.
    pub enum InvalidMessageAction {
        TerminateConnection = "TerminateConnection",
        TerminateStream = "TerminateStream",
    }
}

api_struct! {
    /// How connections to backends are made and used.
    pub struct ClusterSettings {
        /// How an endpoint is chosen.
        load_balancer: LoadBalancer = "loadBalancer",
        /// Retries: present means on.
        retry: Retry = "retry",
        /// A PROXY header for backends.
        proxy_protocol: ClusterProxyProtocol = "proxyProtocol",
        /// TCP keep-alive.
        tcp_keepalive: TcpKeepalive = "tcpKeepalive",
        /// Health of endpoints.
        health_check: HealthCheck = "healthCheck",
        /// Limits of what may be under way.
        circuit_breaker: CircuitBreaker = "circuitBreaker",
        /// Timers.
        timeout: ClusterTimeout = "timeout",
        /// Buffers.
        connection: ClusterConnection = "connection",
        /// Resolution of host names.
        dns: Dns = "dns",
        /// HTTP/2.
        http2: Http2 = "http2",
    }

    /// A PROXY header for backends.
    pub struct ClusterProxyProtocol {
        /// Its version.
        version: ProxyProtocolVersion = "version" [Required],
    }

    /// TCP keep-alive: present means on; what is not given is the system's.
    pub struct TcpKeepalive {
        /// Unanswered probes.
        probes: i64 = "probes" [Range(0, 4294967295)],
        /// Idle time before the first probe.
        idle_time: DurationText = "idleTime",
        /// Time between probes.
        interval: DurationText = "interval",
    }

    /// Limits of what may be under way.
    pub struct CircuitBreaker {
        /// Connections.
        max_connections: i64 = "maxConnections" [Range(0, 4294967295)],
        /// Requests that wait for a connection.
        max_pending_requests: i64 = "maxPendingRequests" [Range(0, 4294967295)],
        /// Requests.
        max_parallel_requests: i64 = "maxParallelRequests" [Range(0, 4294967295)],
        /// Retries.
        max_parallel_retries: i64 = "maxParallelRetries" [Range(0, 4294967295)],
        /// Requests on one connection.
        max_requests_per_connection: i64 = "maxRequestsPerConnection" [Range(0, 4294967295)],
        /// Limits of each endpoint.
        per_endpoint: PerEndpoint = "perEndpoint",
        /// Retries as a share of requests; wins over `maxParallelRetries`.
        retry_budget: RetryBudget = "retryBudget",
    }

    /// Limits of an endpoint.
    pub struct PerEndpoint {
        /// Connections.
        max_connections: i64 = "maxConnections" [Range(0, 4294967295)],
    }

    /// Retries as a share of requests.
    pub struct RetryBudget {
        /// The share.
        percent: Fraction = "percent" [Required],
        /// Retries that are always allowed.
        min_retry_concurrency: i64 = "minRetryConcurrency" [Range(0, 4294967295)],
    }

    /// Timers.
    pub struct ClusterTimeout {
        /// Of connections.
        tcp: ClusterTcpTimeout = "tcp",
        /// Of requests.
        http: ClusterHttpTimeout = "http",
    }

    /// Timers of connections.
    pub struct ClusterTcpTimeout {
        /// Until a connection is made.
        connect_timeout: DurationText = "connectTimeout",
    }

    /// Timers of requests.
    pub struct ClusterHttpTimeout {
        /// Idle time of a connection.
        connection_idle_timeout: DurationText = "connectionIdleTimeout",
        /// Age of a connection.
        max_connection_duration: DurationText = "maxConnectionDuration",
        /// Until the response has come.
        request_timeout: DurationText = "requestTimeout",
        /// Age of a request.
        max_stream_duration: DurationText = "maxStreamDuration",
        /// A request without progress.
        stream_idle_timeout: DurationText = "streamIdleTimeout",
    }

    /// Buffers of connections.
    pub struct ClusterConnection {
        /// Bytes buffered per connection.
        buffer_limit: Quantity = "bufferLimit",
        /// Buffers of the socket.
        socket_buffer_limit: Quantity = "socketBufferLimit",
        /// Connections made in advance.
        preconnect: Preconnect = "preconnect",
    }

    /// Connections made in advance.
    pub struct Preconnect {
        /// Per endpoint.
        per_endpoint_percent: i64 = "perEndpointPercent" [Range(100, 300)],
        /// To the endpoints that come next.
        predictive_percent: i64 = "predictivePercent" [Range(100, 4294967295)],
    }

    /// Resolution of host names.
    pub struct Dns {
        /// How often.
        dns_refresh_rate: DurationText = "dnsRefreshRate",
        /// The records' own time to live wins.
        respect_dns_ttl: bool = "respectDnsTtl",
        /// Which addresses are used.
        lookup_family: LookupFamily = "lookupFamily",
    }

    /// HTTP/2.
    pub struct Http2 {
        /// Window of a stream.
        initial_stream_window_size: Quantity = "initialStreamWindowSize",
        /// Window of a connection.
        initial_connection_window_size: Quantity = "initialConnectionWindowSize",
        /// Streams at the same time.
        max_concurrent_streams: i64 = "maxConcurrentStreams" [Range(1, 2147483647)],
        /// What ends when a message is malformed.
        on_invalid_message: InvalidMessageAction = "onInvalidMessage",
        /// PINGs.
        connection_keepalive: ConnectionKeepalive = "connectionKeepalive",
    }

    /// PINGs of HTTP/2.
    pub struct ConnectionKeepalive, rules {
        /// Time between PINGs.
        interval: DurationText = "interval",
        /// Time for the answer.
        timeout: DurationText = "timeout",
        /// Random part of the interval, in per cent.
        interval_jitter: i64 = "intervalJitter" [Range(0, 100)],
        /// A PING goes out only after this long without traffic.
        idle_interval: DurationText = "idleInterval",
    }

    /// Retries.
    pub struct Retry {
        /// Tries after the first.
        num_retries: i64 = "numRetries" [Range(0, 2147483647)],
        /// Tries before the next priority of endpoints.
        num_attempts_per_priority: i64 = "numAttemptsPerPriority",
        /// What is worth another try.
        retry_on: RetryOn = "retryOn",
        /// Timers of each try.
        per_retry: PerRetry = "perRetry",
    }

    /// What is worth another try.
    pub struct RetryOn {
        /// Events.
        triggers: Vec<RetryTrigger> = "triggers",
        /// Statuses.
        http_status_codes: Vec<i64> = "httpStatusCodes" [Range(100, 599)],
    }

    /// Timers of each try.
    pub struct PerRetry {
        /// Until the response has come.
        timeout: DurationText = "timeout",
        /// Time between tries.
        back_off: BackOff = "backOff",
    }

    /// Time between tries.
    pub struct BackOff {
        /// The first step.
        base_interval: DurationText = "baseInterval",
        /// The longest.
        max_interval: DurationText = "maxInterval",
    }
}

impl ConnectionKeepalive {
    fn rules(&self, report: &mut Report) {
        let interval = self.interval.as_ref().and_then(DurationText::parse);
        let timeout = self.timeout.as_ref().and_then(DurationText::parse);
        if let (Some(interval), Some(timeout)) = (interval, timeout) {
            report.rule(timeout < interval, "timeout must be less than interval");
        }
    }
}
