//! Connections to backends, their health and their timers as values of the plan.

use std::time::Duration;

use towergate_core::plan;

use super::cluster::{ClusterConnection, Http2, Preconnect, RetryBudget, TcpKeepalive};
use super::health::{HealthCheck, PassiveHealthCheck};
use super::probe_plan;
use crate::FieldError;
use crate::client_traffic::connection::{http2, keepalive};
use crate::common::{DurationText, Fraction};
use crate::parse::{bytes, duration, number};

/// Sockets, buffers and HTTP/2.
pub(super) fn connection(
    connection: Option<&ClusterConnection>,
    tcp: Option<&TcpKeepalive>,
    h2: Option<&Http2>,
) -> Result<plan::BackendConnection, FieldError> {
    const BYTES: u64 = u32::MAX as u64;
    let ClusterConnection {
        buffer_limit,
        socket_buffer_limit,
        preconnect,
    } = connection.cloned().unwrap_or_default();
    check_preconnect(preconnect.unwrap_or_default())?;
    let size = |name: &str, quantity: Option<&_>| {
        let bytes = bytes(&format!("spec.connection.{name}"), quantity, 0, BYTES)?;
        Ok::<_, FieldError>(bytes.and_then(|bytes| usize::try_from(bytes).ok()))
    };
    Ok(plan::BackendConnection {
        keepalive: keepalive(tcp)?,
        socket_buffer: size("socketBufferLimit", socket_buffer_limit.as_ref())?,
        buffer: size("bufferLimit", buffer_limit.as_ref())?,
        http2: http2("spec.http2", h2)?,
    })
}

/// 100 per cent is one connection for each that is needed: none in advance.
fn check_preconnect(preconnect: Preconnect) -> Result<(), FieldError> {
    let Preconnect {
        per_endpoint_percent,
        predictive_percent,
    } = preconnect;
    for (name, percent) in [
        ("perEndpointPercent", per_endpoint_percent),
        ("predictivePercent", predictive_percent),
    ] {
        FieldError::require(
            percent.is_none_or(|percent| percent == 100),
            &format!("spec.connection.preconnect.{name}"),
        )?;
    }
    Ok(())
}

/// Retries as a share of requests.
pub(super) fn retry_budget(
    budget: Option<&RetryBudget>,
) -> Result<Option<plan::RetryBudget>, FieldError> {
    const PERCENT: &str = "spec.circuitBreaker.retryBudget.percent";
    let Some(RetryBudget {
        percent,
        min_retry_concurrency,
    }) = budget
    else {
        return Ok(None);
    };
    let Some(Fraction {
        numerator,
        denominator,
    }) = percent
    else {
        return Err(FieldError::invalid(PERCENT, "is required"));
    };
    let numerator = number(&format!("{PERCENT}.numerator"), *numerator)?.unwrap_or(0);
    let denominator = number(&format!("{PERCENT}.denominator"), *denominator)?.unwrap_or(100);
    if denominator == 0 || numerator > denominator {
        return Err(FieldError::invalid(
            PERCENT,
            "numerator must be less than or equal to denominator",
        ));
    }
    let min_retries = number(
        "spec.circuitBreaker.retryBudget.minRetryConcurrency",
        *min_retry_concurrency,
    )?;
    Ok(Some(plan::RetryBudget {
        numerator,
        denominator,
        // Envoy's.
        min_retries: min_retries.unwrap_or(3),
    }))
}

/// The idle time of streams; a time for whole requests changes what the listener's means.
pub(super) fn stream_idle(
    idle: Option<&DurationText>,
    request: Option<&DurationText>,
) -> Result<plan::StreamIdle, FieldError> {
    let idle = duration("spec.timeout.http.streamIdleTimeout", idle)?;
    Ok(match (idle, request) {
        (Some(Duration::ZERO), _) => plan::StreamIdle::Never,
        (Some(idle), _) => plan::StreamIdle::After(idle),
        (None, Some(_)) => plan::StreamIdle::Request,
        (None, None) => plan::StreamIdle::Listener,
    })
}

/// By the answers to requests, by probes, and the share of healthy endpoints that is enough.
type Health = (
    Option<plan::OutlierDetection>,
    Option<plan::ActiveCheck>,
    u32,
);

/// Health of endpoints.
pub(super) fn health(health: Option<&HealthCheck>) -> Result<Health, FieldError> {
    let HealthCheck {
        active,
        passive,
        panic_threshold,
    } = health.cloned().unwrap_or_default();
    let panic = percent("spec.healthCheck.panicThreshold", panic_threshold)?;
    let default = plan::Traffic::default().panic_threshold;
    let passive = passive.as_ref().map(outlier).transpose()?;
    Ok((
        passive,
        active.as_ref().map(probe_plan::active).transpose()?,
        panic.unwrap_or(default),
    ))
}

fn outlier(passive: &PassiveHealthCheck) -> Result<plan::OutlierDetection, FieldError> {
    const FIELD: &str = "spec.healthCheck.passive";
    let PassiveHealthCheck {
        split_external_local_origin_errors,
        interval,
        consecutive_local_origin_failures,
        consecutive_gateway_errors,
        consecutive_5xx_errors,
        base_ejection_time,
        max_ejection_percent,
        failure_percentage_threshold,
        always_eject_one_endpoint,
    } = passive;
    let defaults = plan::OutlierDetection::default();
    let time = |name: &str, text: Option<&_>, default| {
        let field = format!("{FIELD}.{name}");
        match duration(&field, text)? {
            Some(Duration::ZERO) => Err(FieldError::invalid(field, "must be greater than 0")),
            time => Ok(time.unwrap_or(default)),
        }
    };
    let count = |name: &str, count: Option<i64>, default: u32| {
        let count = number(&format!("{FIELD}.{name}"), count)?;
        Ok::<_, FieldError>(count.unwrap_or(default))
    };
    let at = |name: &str| format!("{FIELD}.{name}");
    let max = percent(&at("maxEjectionPercent"), *max_ejection_percent)?;
    Ok(plan::OutlierDetection {
        split_local: split_external_local_origin_errors.unwrap_or(defaults.split_local),
        interval: time("interval", interval.as_ref(), defaults.interval)?,
        consecutive_local: count(
            "consecutiveLocalOriginFailures",
            *consecutive_local_origin_failures,
            defaults.consecutive_local,
        )?,
        consecutive_gateway: count(
            "consecutiveGatewayErrors",
            *consecutive_gateway_errors,
            defaults.consecutive_gateway,
        )?,
        consecutive_5xx: count(
            "consecutive5XxErrors",
            *consecutive_5xx_errors,
            defaults.consecutive_5xx,
        )?,
        base_time: time(
            "baseEjectionTime",
            base_ejection_time.as_ref(),
            defaults.base_time,
        )?,
        // 0 is the default too.
        max_percent: max.filter(|max| *max > 0).unwrap_or(defaults.max_percent),
        failure_percent: percent(
            &at("failurePercentageThreshold"),
            *failure_percentage_threshold,
        )?,
        always_one: always_eject_one_endpoint.unwrap_or(defaults.always_one),
    })
}

fn percent(field: &str, value: Option<i64>) -> Result<Option<u32>, FieldError> {
    match number(field, value)? {
        Some(percent) if percent > 100 => Err(FieldError::invalid(field, "is more than 100")),
        percent => Ok(percent),
    }
}
