//! Timers, limits and protocols of connections as settings of the plan.

use std::time::Duration;

use towergate_core::plan;

use super::model::{Connection, ConnectionLimit, HttpTimeout, TcpTimeout, Timeout};
use crate::FieldError;
use crate::backend_traffic::{ConnectionKeepalive, Http2, InvalidMessageAction, TcpKeepalive};
use crate::parse::{bytes, duration, number, timer};

/// How long a connection that is proxied as it is may go without a byte. On an HTTP listener the time has no
/// effect in Envoy Gateway either; who reads the manifests warns of it.
pub(super) fn connection_idle(timeout: Option<&Timeout>) -> Result<Option<Duration>, FieldError> {
    let tcp = timeout.and_then(|timeout| timeout.tcp.as_ref());
    timer(
        "spec.timeout.tcp.idleTimeout",
        tcp.and_then(|tcp| tcp.idle_timeout.as_ref()),
        plan::Timeouts::default().idle,
    )
}

/// Timers of requests, and the time for what happens before a listener is known.
pub(super) fn timeouts(
    timeout: Option<&Timeout>,
) -> Result<(plan::Timeouts, Duration), FieldError> {
    let (tcp, http) = match timeout {
        Some(Timeout { tcp, http }) => (
            tcp.clone().unwrap_or_default(),
            http.clone().unwrap_or_default(),
        ),
        None => Default::default(),
    };
    let TcpTimeout {
        idle_timeout: _,
        connection_inspection_timeout,
        tls_handshake_timeout,
    } = tcp;
    let HttpTimeout {
        request_received_timeout,
        request_headers_received_timeout,
        idle_timeout,
        stream_idle_timeout,
    } = http;
    let inspection = duration(
        "spec.timeout.tcp.connectionInspectionTimeout",
        connection_inspection_timeout.as_ref(),
    )?;
    let defaults = plan::Timeouts::default();
    let timeouts = plan::Timeouts {
        idle: timer(
            "spec.timeout.http.idleTimeout",
            idle_timeout.as_ref(),
            defaults.idle,
        )?,
        request_headers: timer(
            "spec.timeout.http.requestHeadersReceivedTimeout",
            request_headers_received_timeout.as_ref(),
            defaults.request_headers,
        )?,
        request: timer(
            "spec.timeout.http.requestReceivedTimeout",
            request_received_timeout.as_ref(),
            defaults.request,
        )?,
        stream_idle: timer(
            "spec.timeout.http.streamIdleTimeout",
            stream_idle_timeout.as_ref(),
            defaults.stream_idle,
        )?,
        tls_handshake: timer(
            "spec.timeout.tcp.tlsHandshakeTimeout",
            tls_handshake_timeout.as_ref(),
            defaults.tls_handshake,
        )?,
    };
    let default = plan::TcpSettings::default().inspection_timeout;
    Ok((timeouts, inspection.unwrap_or(default)))
}

/// Limits of connections, and those settings of the socket that `connection` holds.
pub(super) fn limits(
    connection: Option<&Connection>,
) -> Result<(plan::ConnectionLimits, plan::TcpSettings), FieldError> {
    const BUFFER: u64 = u32::MAX as u64;
    let Connection {
        connection_limit,
        buffer_limit,
        socket_buffer_limit,
        max_accept_per_socket_event,
    } = connection.cloned().unwrap_or_default();
    let buffer = bytes(
        "spec.connection.bufferLimit",
        buffer_limit.as_ref(),
        0,
        BUFFER,
    )?;
    let socket = bytes(
        "spec.connection.socketBufferLimit",
        socket_buffer_limit.as_ref(),
        0,
        BUFFER,
    )?;
    let accepts = number(
        "spec.connection.maxAcceptPerSocketEvent",
        max_accept_per_socket_event,
    )?;
    let defaults = plan::TcpSettings::default();
    let limits = plan::ConnectionLimits {
        buffer: buffer.and_then(|bytes| usize::try_from(bytes).ok()),
        ..connection_limits(connection_limit.unwrap_or_default())?
    };
    let tcp = plan::TcpSettings {
        socket_buffer: socket.and_then(|bytes| usize::try_from(bytes).ok()),
        accepts_per_event: accepts.unwrap_or(defaults.accepts_per_event),
        ..defaults
    };
    Ok((limits, tcp))
}

fn connection_limits(limit: ConnectionLimit) -> Result<plan::ConnectionLimits, FieldError> {
    const FIELD: &str = "spec.connection.connectionLimit";
    let ConnectionLimit {
        value,
        close_delay,
        max_connection_duration,
        max_requests_per_connection,
        max_stream_duration,
    } = limit;
    if value.is_some_and(|value| value < 1) {
        return Err(FieldError::invalid(
            format!("{FIELD}.value"),
            "should be greater than or equal to 1",
        ));
    }
    let requests = number::<u64>(
        &format!("{FIELD}.maxRequestsPerConnection"),
        max_requests_per_connection,
    )?;
    Ok(plan::ConnectionLimits {
        connections: number(&format!("{FIELD}.value"), value)?,
        close_delay: timer(&format!("{FIELD}.closeDelay"), close_delay.as_ref(), None)?,
        max_duration: timer(
            &format!("{FIELD}.maxConnectionDuration"),
            max_connection_duration.as_ref(),
            None,
        )?,
        max_requests: requests.filter(|requests| *requests > 0),
        max_stream_duration: timer(
            &format!("{FIELD}.maxStreamDuration"),
            max_stream_duration.as_ref(),
            None,
        )?,
        buffer: None,
    })
}

/// TCP keep-alive; present means on.
pub(crate) fn keepalive(
    keepalive: Option<&TcpKeepalive>,
) -> Result<Option<plan::Keepalive>, FieldError> {
    let Some(TcpKeepalive {
        probes,
        idle_time,
        interval,
    }) = keepalive
    else {
        return Ok(None);
    };
    Ok(Some(plan::Keepalive {
        idle: timer("spec.tcpKeepalive.idleTime", idle_time.as_ref(), None)?,
        interval: timer("spec.tcpKeepalive.interval", interval.as_ref(), None)?,
        probes: number("spec.tcpKeepalive.probes", *probes)?,
    }))
}

/// HTTP/2.
pub(crate) fn http2(field: &str, http2: Option<&Http2>) -> Result<plan::Http2Settings, FieldError> {
    const WINDOW: (u64, u64) = (65_535, (1 << 31) - 1);
    let defaults = plan::Http2Settings::default();
    let Some(Http2 {
        initial_stream_window_size,
        initial_connection_window_size,
        max_concurrent_streams,
        on_invalid_message,
        connection_keepalive,
    }) = http2
    else {
        return Ok(defaults);
    };
    let window = |name: &str, size: Option<&_>, default: u32| {
        let size = bytes(&format!("{field}.{name}"), size, WINDOW.0, WINDOW.1)?;
        Ok::<_, FieldError>(
            size.map_or(default, |size| u32::try_from(size).unwrap_or(u32::MAX >> 1)),
        )
    };
    let end_on_invalid = ends_on_invalid(field, on_invalid_message.as_ref())?;
    let streams = number(
        &format!("{field}.maxConcurrentStreams"),
        *max_concurrent_streams,
    )?;
    if streams == Some(0) {
        return Err(FieldError::invalid(
            format!("{field}.maxConcurrentStreams"),
            "should be greater than or equal to 1",
        ));
    }
    let pings = pings(field, connection_keepalive.as_ref())?;
    Ok(plan::Http2Settings {
        end_on_invalid,
        max_concurrent_streams: streams.unwrap_or(defaults.max_concurrent_streams),
        stream_window: window(
            "initialStreamWindowSize",
            initial_stream_window_size.as_ref(),
            defaults.stream_window,
        )?,
        connection_window: window(
            "initialConnectionWindowSize",
            initial_connection_window_size.as_ref(),
            defaults.connection_window,
        )?,
        ..pings
    })
}

/// Whether the connection ends with a malformed message. Unless it is asked for, only the stream does
/// (RFC 9113, section 8.1.1).
fn ends_on_invalid(field: &str, action: Option<&InvalidMessageAction>) -> Result<bool, FieldError> {
    let field = format!("{field}.onInvalidMessage");
    match action {
        None | Some(InvalidMessageAction::TerminateStream) => Ok(false),
        Some(InvalidMessageAction::TerminateConnection) => Ok(true),
        Some(InvalidMessageAction::Other(word)) => Err(FieldError::unknown_value(&field, word)),
    }
}

/// PINGs; the rest has its default.
fn pings(
    field: &str,
    keepalive: Option<&ConnectionKeepalive>,
) -> Result<plan::Http2Settings, FieldError> {
    let defaults = plan::Http2Settings::default();
    let Some(ConnectionKeepalive {
        interval,
        timeout,
        interval_jitter,
        idle_interval,
    }) = keepalive
    else {
        return Ok(defaults);
    };
    let field = format!("{field}.connectionKeepalive");
    let at = |name: &str| format!("{field}.{name}");
    let jitter = number(&at("intervalJitter"), *interval_jitter)?;
    let idle = timer(&at("idleInterval"), idle_interval.as_ref(), None)?;
    let interval = timer(&at("interval"), interval.as_ref(), None)?;
    let timeout = timer(&at("timeout"), timeout.as_ref(), None)?;
    match (interval, timeout) {
        (None, Some(_)) if idle.is_none() => Err(FieldError::invalid(
            at("timeout"),
            "has no effect without interval or idleInterval",
        )),
        (Some(interval), Some(timeout)) if timeout >= interval => Err(FieldError::invalid(
            field,
            "timeout must be less than interval",
        )),
        (keepalive_interval, keepalive_timeout) => Ok(plan::Http2Settings {
            keepalive_interval,
            keepalive_timeout,
            keepalive_jitter: jitter.unwrap_or(defaults.keepalive_jitter),
            keepalive_idle: idle,
            ..defaults
        }),
    }
}
