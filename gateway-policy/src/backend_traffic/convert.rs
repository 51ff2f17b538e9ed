//! From a BackendTrafficPolicy to values of the plan.

use std::time::Duration;

use towergate_core::plan;

use super::cluster::{
    BackOff, CircuitBreaker, ClusterHttpTimeout, ClusterTcpTimeout, ClusterTimeout, PerEndpoint,
    PerRetry, Retry, RetryOn, RetryTrigger,
};
use super::model::{BackendTrafficPolicySpec, HttpUpgrade, RoutingType};
use super::{balance_plan, cluster_plan, local_limit};
use crate::common::Deprecated;
use crate::parse::{duration, number, timer};
use crate::{FieldError, Policy};

/// What a policy has to know of itself and of where it is applied.
#[derive(Clone, Copy, Debug)]
pub struct RouteContext<'a> {
    /// `namespace/name` of the policy. Routes of one policy share the limits that say so.
    pub policy: &'a str,
    /// Whether the listener sends `x-ratelimit-*` (`HeaderSettings::rate_limit_headers`).
    pub rate_limit_headers: bool,
}

/// What a policy becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficConfig {
    /// How requests travel; what the policy does not say has the default. The timeouts and retries of
    /// an HTTPRoute's own rule win over `request_timeout`, `attempt_timeout` and `retry`.
    pub traffic: plan::Traffic,
    /// Policies in the order in which they run.
    pub policies: Vec<Policy>,
    /// Deprecated fields that are given.
    pub warnings: Vec<Deprecated>,
}

impl BackendTrafficPolicySpec {
    /// What this policy asks for. `mergeType` has no part in it: see [`merge`](super::merge()).
    ///
    /// # Errors
    /// The first field that asks for what the gateway does not do, or whose value does not parse.
    pub fn traffic(&self, context: RouteContext<'_>) -> Result<TrafficConfig, FieldError> {
        let Self {
            target_ref: _,
            target_refs: _,
            target_selectors: _,
            merge_type: _,
            load_balancer,
            retry: retries,
            proxy_protocol: _,
            tcp_keepalive,
            health_check,
            circuit_breaker,
            timeout,
            connection,
            dns: _,
            http2,
            rate_limit,
            bandwidth_limit: _,
            fault_injection: _,
            admission_control: _,
            use_client_protocol: _,
            compression: _,
            compressor: _,
            response_override: _,
            http_upgrade,
            request_buffer: _,
            telemetry: _,
            routing_type,
        } = self;
        self.check_supported()?;
        check_routing(routing_type.as_ref())?;
        let mut traffic = timeouts(timeout.as_ref())?;
        traffic.retry = retries.as_ref().map(retry).transpose()?;
        traffic.load_balancer = balance_plan::load_balancer(load_balancer.as_ref())?;
        if let Some(list) = http_upgrade {
            traffic.upgrades = upgrades(list)?;
        }
        let (limits, per_connection) = breaker(circuit_breaker.as_ref())?;
        traffic.breaker = limits;
        traffic.max_requests_per_connection = per_connection;
        traffic.connection =
            cluster_plan::connection(connection.as_ref(), tcp_keepalive.as_ref(), http2.as_ref())?;
        (traffic.outlier, traffic.probe, traffic.panic_threshold) =
            cluster_plan::health(health_check.as_ref())?;
        let limit = local_limit::rate_limit(rate_limit.as_ref(), context)?;
        Ok(TrafficConfig {
            traffic,
            policies: limit.map(Policy::LocalRateLimit).into_iter().collect(),
            warnings: self.deprecated(),
        })
    }

    /// The deprecated fields that are given; also of a policy that is refused.
    pub fn deprecated(&self) -> Vec<Deprecated> {
        [
            (
                self.target_ref.is_some(),
                "spec.targetRef",
                "spec.targetRefs",
            ),
            (
                self.compression.is_some(),
                "spec.compression",
                "spec.compressor",
            ),
        ]
        .into_iter()
        .filter(|(given, ..)| *given)
        .map(|(_, field, instead)| Deprecated { field, instead })
        .collect()
    }

    /// Refuses what is not done at all. Fields that ask for nothing pass.
    fn check_supported(&self) -> Result<(), FieldError> {
        let given = |list: Option<usize>| list.is_some_and(|length| length > 0);
        for (field, asked) in [
            ("spec.proxyProtocol", self.proxy_protocol.is_some()),
            ("spec.dns", self.dns.is_some()),
            ("spec.bandwidthLimit", self.bandwidth_limit.is_some()),
            ("spec.faultInjection", self.fault_injection.is_some()),
            ("spec.admissionControl", self.admission_control.is_some()),
            (
                "spec.useClientProtocol",
                self.use_client_protocol == Some(true),
            ),
            (
                "spec.compression",
                given(self.compression.as_ref().map(Vec::len)),
            ),
            (
                "spec.compressor",
                given(self.compressor.as_ref().map(Vec::len)),
            ),
            (
                "spec.responseOverride",
                given(self.response_override.as_ref().map(Vec::len)),
            ),
            ("spec.requestBuffer", self.request_buffer.is_some()),
            ("spec.telemetry", self.telemetry.is_some()),
        ] {
            FieldError::require(!asked, field)?;
        }
        Ok(())
    }
}

fn check_routing(routing: Option<&RoutingType>) -> Result<(), FieldError> {
    match routing {
        None | Some(RoutingType::Endpoint) => Ok(()),
        Some(RoutingType::Service) => Err(FieldError::invalid(
            "spec.routingType",
            "Service is not supported",
        )),
        Some(RoutingType::Other(word)) => Err(FieldError::unknown_value("spec.routingType", word)),
    }
}

/// Traffic with the timers of the policy.
fn timeouts(timeout: Option<&ClusterTimeout>) -> Result<plan::Traffic, FieldError> {
    let defaults = plan::Traffic::default();
    let ClusterTimeout { tcp, http } = timeout.cloned().unwrap_or_default();
    let ClusterTcpTimeout { connect_timeout } = tcp.unwrap_or_default();
    let ClusterHttpTimeout {
        connection_idle_timeout,
        max_connection_duration,
        request_timeout,
        max_stream_duration,
        stream_idle_timeout,
    } = http.unwrap_or_default();
    const CONNECT: &str = "spec.timeout.tcp.connectTimeout";
    let connect = duration(CONNECT, connect_timeout.as_ref())?;
    if connect == Some(Duration::ZERO) {
        return Err(FieldError::invalid(CONNECT, "must be greater than 0"));
    }
    Ok(plan::Traffic {
        stream_idle: cluster_plan::stream_idle(
            stream_idle_timeout.as_ref(),
            request_timeout.as_ref(),
        )?,
        request_timeout: timer(
            "spec.timeout.http.requestTimeout",
            request_timeout.as_ref(),
            defaults.request_timeout,
        )?,
        connect_timeout: connect.unwrap_or(defaults.connect_timeout),
        idle_timeout: timer(
            "spec.timeout.http.connectionIdleTimeout",
            connection_idle_timeout.as_ref(),
            defaults.idle_timeout,
        )?,
        max_connection_duration: timer(
            "spec.timeout.http.maxConnectionDuration",
            max_connection_duration.as_ref(),
            None,
        )?,
        max_stream_duration: timer(
            "spec.timeout.http.maxStreamDuration",
            max_stream_duration.as_ref(),
            None,
        )?,
        ..defaults
    })
}

/// Protocols in lower case. The list replaces the default.
fn upgrades(list: &[HttpUpgrade]) -> Result<Vec<String>, FieldError> {
    let mut upgrades = Vec::new();
    for HttpUpgrade { kind, connect } in list {
        let kind = kind.as_deref().unwrap_or_default().to_ascii_lowercase();
        if kind == "connect" || connect.is_some() {
            return Err(FieldError::invalid(
                "spec.httpUpgrade",
                "CONNECT is not supported",
            ));
        }
        if kind.is_empty() {
            return Err(FieldError::invalid("spec.httpUpgrade", "type is empty"));
        }
        if !upgrades.contains(&kind) {
            upgrades.push(kind);
        }
    }
    Ok(upgrades)
}

/// The limits, and the number of requests per connection.
fn breaker(breaker: Option<&CircuitBreaker>) -> Result<(plan::Breaker, Option<u32>), FieldError> {
    let defaults = plan::Breaker::default();
    let CircuitBreaker {
        max_connections,
        max_pending_requests,
        max_parallel_requests,
        max_parallel_retries,
        max_requests_per_connection,
        per_endpoint,
        retry_budget,
    } = breaker.cloned().unwrap_or_default();
    let limit = |name: &str, limit| number::<u32>(&format!("spec.circuitBreaker.{name}"), limit);
    let per_connection = limit("maxRequestsPerConnection", max_requests_per_connection)?;
    let per_endpoint = match per_endpoint {
        None => None,
        // The schema's default.
        Some(PerEndpoint { max_connections }) => {
            Some(limit("perEndpoint.maxConnections", max_connections)?.unwrap_or(1024))
        }
    };
    let limits = plan::Breaker {
        connections: limit("maxConnections", max_connections)?.unwrap_or(defaults.connections),
        pending: limit("maxPendingRequests", max_pending_requests)?.unwrap_or(defaults.pending),
        requests: limit("maxParallelRequests", max_parallel_requests)?.unwrap_or(defaults.requests),
        retries: limit("maxParallelRetries", max_parallel_retries)?.unwrap_or(defaults.retries),
        retry_budget: cluster_plan::retry_budget(retry_budget.as_ref())?,
        connections_per_endpoint: per_endpoint,
    };
    Ok((limits, per_connection.filter(|requests| *requests > 0)))
}

fn retry(retry: &Retry) -> Result<plan::Retry, FieldError> {
    let Retry {
        num_retries,
        num_attempts_per_priority,
        retry_on,
        per_retry,
    } = retry;
    FieldError::require(
        num_attempts_per_priority.is_none(),
        "spec.retry.numAttemptsPerPriority",
    )?;
    let PerRetry { timeout, back_off } = per_retry.clone().unwrap_or_default();
    let BackOff {
        base_interval,
        max_interval,
    } = back_off.unwrap_or_default();
    const BASE: &str = "spec.retry.perRetry.backOff.baseInterval";
    const MAX: &str = "spec.retry.perRetry.backOff.maxInterval";
    let base = duration(BASE, base_interval.as_ref())?.unwrap_or(Duration::from_millis(25));
    let max = duration(MAX, max_interval.as_ref())?;
    if base == Duration::ZERO {
        return Err(FieldError::invalid(BASE, "must be greater than 0"));
    }
    if max.is_some_and(|max| max < base) {
        return Err(FieldError::invalid(MAX, "is less than baseInterval"));
    }
    Ok(plan::Retry {
        retries: number("spec.retry.numRetries", *num_retries)?.unwrap_or(2),
        on: retry_events(retry_on.as_ref())?,
        base_interval: base,
        min_interval: Duration::ZERO,
        max_interval: max,
        attempt_timeout: timer("spec.retry.perRetry.timeout", timeout.as_ref(), None)?,
    })
}

/// The triggers of Envoy Gateway when a policy names none.
const DEFAULT_TRIGGERS: [RetryTrigger; 5] = [
    RetryTrigger::ConnectFailure,
    RetryTrigger::RefusedStream,
    RetryTrigger::Unavailable,
    RetryTrigger::Cancelled,
    RetryTrigger::RetriableStatusCodes,
];

fn retry_events(on: Option<&RetryOn>) -> Result<plan::RetryOn, FieldError> {
    let RetryOn {
        triggers,
        http_status_codes,
    } = on.cloned().unwrap_or_default();
    let triggers = triggers.filter(|triggers| !triggers.is_empty());
    let codes = http_status_codes.filter(|codes| !codes.is_empty());
    let statuses = codes
        .unwrap_or_else(|| vec![503])
        .into_iter()
        .map(|code| status("spec.retry.retryOn.httpStatusCodes", code))
        .collect::<Result<Vec<u16>, _>>()?;
    let mut events = plan::RetryOn::default();
    for trigger in triggers.as_deref().unwrap_or(&DEFAULT_TRIGGERS) {
        match trigger {
            RetryTrigger::ServerError => events.server_error = true,
            RetryTrigger::GatewayError => events.gateway_error = true,
            RetryTrigger::Reset => events.reset = true,
            // What fails before the request is sent is the making of the connection.
            RetryTrigger::ResetBeforeRequest | RetryTrigger::ConnectFailure => {
                events.connect_failure = true;
            }
            RetryTrigger::Retriable4xx => events.conflict = true,
            RetryTrigger::RefusedStream => events.refused_stream = true,
            RetryTrigger::RetriableStatusCodes => events.statuses.clone_from(&statuses),
            RetryTrigger::Cancelled => events.grpc_statuses.push(1),
            RetryTrigger::DeadlineExceeded => events.grpc_statuses.push(4),
            RetryTrigger::ResourceExhausted => events.grpc_statuses.push(8),
            RetryTrigger::Internal => events.grpc_statuses.push(13),
            RetryTrigger::Unavailable => events.grpc_statuses.push(14),
            RetryTrigger::Other(word) => {
                return Err(FieldError::unknown_value(
                    "spec.retry.retryOn.triggers",
                    word,
                ));
            }
        }
    }
    events.grpc_statuses.sort_unstable();
    events.grpc_statuses.dedup();
    Ok(events)
}

fn status(field: &str, code: i64) -> Result<u16, FieldError> {
    u16::try_from(code)
        .ok()
        .filter(|code| (100..600).contains(code))
        .ok_or_else(|| FieldError::invalid(field, format_args!("{code} is no status")))
}
