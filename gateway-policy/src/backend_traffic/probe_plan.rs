//! `healthCheck.active` of a BackendTrafficPolicy as a value of the plan.

use std::time::Duration;

use http::Method;
use towergate_core::plan;

use super::health::{
    ActiveHealthCheck, GrpcCheck, HealthCheckType, HttpCheck, Overrides, Payload, PayloadType,
    TcpCheck,
};
use crate::FieldError;
use crate::common::DurationText;
use crate::parse::{duration, number};

const FIELD: &str = "spec.healthCheck.active";

/// Probes of endpoints.
pub(super) fn active(active: &ActiveHealthCheck) -> Result<plan::ActiveCheck, FieldError> {
    let ActiveHealthCheck {
        timeout,
        interval,
        initial_jitter,
        unhealthy_threshold,
        healthy_threshold,
        kind,
        http,
        tcp,
        grpc,
        overrides,
        health_check_log,
    } = active;
    FieldError::require(health_check_log.is_none(), &at("healthCheckLog"))?;
    let Overrides { port } = overrides.clone().unwrap_or_default();
    let threshold = |name: &str, value: Option<i64>, default| match number(&at(name), value)? {
        Some(0) => Err(FieldError::invalid(at(name), "must be greater than 0")),
        value => Ok(value.unwrap_or(default)),
    };
    let jitter = duration(&at("initialJitter"), initial_jitter.as_ref())?;
    let probe = match kind {
        Some(HealthCheckType::Http) => http_probe(http.as_ref())?,
        Some(HealthCheckType::Tcp) => tcp_probe(tcp.as_ref())?,
        Some(HealthCheckType::Grpc) => {
            let GrpcCheck { service } = grpc.clone().unwrap_or_default();
            plan::Probe::Grpc(service.unwrap_or_default())
        }
        Some(HealthCheckType::Other(word)) => {
            return Err(FieldError::unknown_value(&at("type"), word));
        }
        None => return Err(FieldError::invalid(at("type"), "is required")),
    };
    Ok(plan::ActiveCheck {
        timeout: time("timeout", timeout.as_ref(), 1)?,
        interval: time("interval", interval.as_ref(), 3)?,
        initial_jitter: jitter.unwrap_or_default(),
        unhealthy: threshold("unhealthyThreshold", *unhealthy_threshold, 3)?,
        healthy: threshold("healthyThreshold", *healthy_threshold, 1)?,
        port: number(&at("overrides.port"), port)?,
        probe,
    })
}

fn at(name: &str) -> String {
    format!("{FIELD}.{name}")
}

fn time(name: &str, text: Option<&DurationText>, default: u64) -> Result<Duration, FieldError> {
    match duration(&at(name), text)? {
        Some(Duration::ZERO) => Err(FieldError::invalid(at(name), "must be greater than 0")),
        time => Ok(time.unwrap_or(Duration::from_secs(default))),
    }
}

fn http_probe(http: Option<&HttpCheck>) -> Result<plan::Probe, FieldError> {
    let HttpCheck {
        hostname,
        path,
        method,
        expected_statuses,
        retriable_statuses,
        expected_response,
        request_body,
    } = http.cloned().unwrap_or_default();
    let Some(path) = path.filter(|path| path.starts_with('/')) else {
        return Err(FieldError::invalid(at("http.path"), "must start with /"));
    };
    let method = method.filter(|method| !method.is_empty());
    let method = method.map_or(Ok(Method::GET), |method| method.parse());
    let Ok(method) = method else {
        return Err(FieldError::invalid(at("http.method"), "is no method"));
    };
    let expected = statuses("http.expectedStatuses", expected_statuses.as_deref())?;
    Ok(plan::Probe::Http(plan::HttpProbe {
        host: hostname,
        path,
        method: method.into(),
        expected: match expected.is_empty() {
            true => vec![200],
            false => expected,
        },
        retriable: statuses("http.retriableStatuses", retriable_statuses.as_deref())?,
        wanted: payload("http.expectedResponse", expected_response.as_ref())?,
        body: payload("http.requestBody", request_body.as_ref())?,
    }))
}

fn statuses(name: &str, list: Option<&[i64]>) -> Result<Vec<u16>, FieldError> {
    let list = list.unwrap_or_default().iter();
    list.map(|code| Ok(number(&at(name), Some(*code))?.unwrap_or(200)))
        .collect()
}

fn tcp_probe(tcp: Option<&TcpCheck>) -> Result<plan::Probe, FieldError> {
    let TcpCheck { send, receive } = tcp.cloned().unwrap_or_default();
    Ok(plan::Probe::Tcp {
        send: payload("tcp.send", send.as_ref())?,
        receive: payload("tcp.receive", receive.as_ref())?,
    })
}

fn payload(name: &str, payload: Option<&Payload>) -> Result<Vec<u8>, FieldError> {
    let Some(Payload { kind, text, binary }) = payload else {
        return Ok(Vec::new());
    };
    match kind {
        Some(PayloadType::Binary) => {
            let text = binary.as_deref().unwrap_or_default();
            data_encoding::BASE64
                .decode(text.as_bytes())
                .map_err(|_| FieldError::invalid(at(name), "binary is no base64"))
        }
        Some(PayloadType::Other(word)) => Err(FieldError::unknown_value(&at(name), word)),
        Some(PayloadType::Text) | None => Ok(text.clone().unwrap_or_default().into_bytes()),
    }
}
