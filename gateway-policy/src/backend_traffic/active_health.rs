//! `healthCheck.active`: health checks of endpoints by probes.

use std::time::Duration;

use http::Method;
use towergate_core::plan;

use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{DNS_NAME, DurationText};
use crate::field_path::FieldPath;
use crate::parse::{duration, number, positive_duration, status};

string_enum! {
    /// The protocol of a probe.
    pub enum HealthCheckType {
        Http = "HTTP",
        Tcp = "TCP",
        Grpc = "GRPC",
    }

    /// The encoding of a payload.
    pub enum PayloadType {
        Text = "Text",
        Binary = "Binary",
    }

    /// An event of health checking.
    pub enum CheckLogMatch {
        Failure = "Failure",
        FailureSeriesStart = "FailureSeriesStart",
        Success = "Success",
        HealthyTransition = "HealthyTransition",
    }

    /// A destination of events.
    pub enum CheckLogSinkType {
        File = "File",
    }
}

api_struct! {
    /// Health checks of endpoints by probes.
    pub struct ActiveHealthCheck, rules {
        /// Time limit of a probe. Default: 1 second.
        timeout: DurationText = "timeout" [DefaultText("1s")],
        /// Time between two probes of an endpoint. Default: 3 seconds.
        interval: DurationText = "interval" [DefaultText("3s")],
        /// Maximum random delay of the first probe. Default: 0.
        initial_jitter: DurationText = "initialJitter",
        /// Number of consecutive failures after which an endpoint is unhealthy. Default: 3.
        unhealthy_threshold: i64 = "unhealthyThreshold" [Range(1, 2147483647), DefaultNumber(3)],
        /// Number of consecutive successes after which an endpoint is healthy. Default: 1.
        healthy_threshold: i64 = "healthyThreshold" [Range(1, 2147483647), DefaultNumber(1)],
        /// Protocol of probes.
        kind: HealthCheckType = "type" [Required],
        /// Settings of HTTP probes.
        http: HttpCheck = "http",
        /// Settings of TCP probes.
        tcp: TcpCheck = "tcp",
        /// Settings of gRPC probes.
        grpc: GrpcCheck = "grpc",
        /// Differences between probes and requests.
        overrides: Overrides = "overrides",
        /// Log of health-check events.
        health_check_log: CheckLog = "healthCheckLog" Ignored,
    }

    /// Settings of HTTP probes.
    pub struct HttpCheck, rules {
        /// `Host` of probes. Default: the route's first host name without a wildcard, or else the
        /// endpoint's address.
        hostname: String = "hostname" [Length(1, 253), Pattern(DNS_NAME)],
        /// Path of probes.
        path: String = "path" [Required, Length(1, 1024)],
        /// Method of probes. Default: `GET`.
        method: String = "method" [Length(0, 16)],
        /// Statuses that mean success. Default: 200.
        expected_statuses: Vec<i64> = "expectedStatuses" [Range(100, 599)],
        /// Statuses that count as one failure. Any other unexpected status makes the endpoint unhealthy
        /// at once.
        retriable_statuses: Vec<i64> = "retriableStatuses" [Range(100, 599)],
        /// Payload that the response's body must contain.
        expected_response: Payload = "expectedResponse",
        /// Body of probes, for the methods POST and PUT.
        request_body: Payload = "requestBody",
    }

    /// Settings of TCP probes.
    pub struct TcpCheck {
        /// Payload to send.
        send: Payload = "send",
        /// Payload that must be received.
        receive: Payload = "receive",
    }

    /// Settings of gRPC probes.
    pub struct GrpcCheck {
        /// Name of the service. Default: the whole server.
        service: String = "service",
    }

    /// Differences between probes and requests.
    pub struct Overrides {
        /// Port of probes. Default: that of requests.
        port: i64 = "port" [Range(1, 65535)],
    }

    /// A sequence of bytes.
    pub struct Payload, rules {
        /// Encoding of the payload.
        kind: PayloadType = "type" [Required],
        /// Payload as text.
        text: String = "text",
        /// Payload in base64.
        binary: String = "binary",
    }

    /// Log of health-check events.
    pub struct CheckLog, rules {
        /// Events to log. Default: all.
        matches: Vec<CheckLogMatch> = "matches" [Items(0, 4)],
        /// Destinations. Default: standard output.
        sinks: Vec<CheckLogSink> = "sinks" [Items(0, 1)],
    }

    /// A destination of events.
    pub struct CheckLogSink, rules {
        /// Type of the destination.
        kind: CheckLogSinkType = "type" [Required],
        /// Settings of a file.
        file: CheckLogFile = "file",
    }

    /// A file for events.
    pub struct CheckLogFile {
        /// Path of the file.
        path: String = "path" [Required, Length(1, 1024)],
    }
}

impl ActiveHealthCheck {
    fn rules(&self, report: &mut Report) {
        let is = |kind: HealthCheckType| self.kind.as_ref() == Some(&kind);
        report.rule(
            is(HealthCheckType::Http) == self.http.is_some(),
            "If Health Checker type is HTTP, http field needs to be set.",
        );
        report.rule(
            is(HealthCheckType::Tcp) == self.tcp.is_some(),
            "If Health Checker type is TCP, tcp field needs to be set.",
        );
        report.rule(
            self.grpc.is_none() || is(HealthCheckType::Grpc),
            "The grpc field can only be set if the Health Checker type is GRPC.",
        );
    }
    /// Converts the section. A merge may leave settings of another type of probe in the section; they are
    /// ignored.
    pub(super) fn check_plan(&self, at: FieldPath<'_>) -> Result<plan::ActiveCheck, FieldError> {
        let Self {
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
            health_check_log: _,
        } = self.clone();
        let Overrides { port } = overrides.unwrap_or_default();
        let time = |name, text: Option<&DurationText>, default| {
            let time = positive_duration(at.field(name), text)?;
            Ok::<_, FieldError>(time.unwrap_or(Duration::from_secs(default)))
        };
        let threshold = |name, value, default| match number(at.field(name), value)? {
            Some(0) => Err(FieldError::invalid(
                at.field(name),
                "must be greater than 0",
            )),
            value => Ok(value.unwrap_or(default)),
        };
        let jitter = duration(at.field("initialJitter"), initial_jitter.as_ref())?;
        let probe = match kind {
            Some(HealthCheckType::Http) => http.unwrap_or_default().probe(at.field("http"))?,
            Some(HealthCheckType::Tcp) => tcp.unwrap_or_default().probe(at.field("tcp"))?,
            Some(HealthCheckType::Grpc) => {
                let GrpcCheck { service } = grpc.unwrap_or_default();
                plan::Probe::Grpc(service.unwrap_or_default())
            }
            Some(HealthCheckType::Other(value)) => {
                return Err(FieldError::unknown_value(at.field("type"), &value));
            }
            None => return Err(FieldError::invalid(at.field("type"), "Required value")),
        };
        Ok(plan::ActiveCheck {
            timeout: time("timeout", timeout.as_ref(), 1)?,
            interval: time("interval", interval.as_ref(), 3)?,
            initial_jitter: jitter.unwrap_or_default(),
            unhealthy: threshold("unhealthyThreshold", unhealthy_threshold, 3)?,
            healthy: threshold("healthyThreshold", healthy_threshold, 1)?,
            port: number(at.field("overrides").field("port"), port)?,
            probe,
        })
    }
}

impl HttpCheck {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.request_body.is_none() || matches!(self.method.as_deref(), Some("POST" | "PUT")),
            "The requestBody field can only be set when method is POST or PUT.",
        );
    }
    fn probe(&self, at: FieldPath<'_>) -> Result<plan::Probe, FieldError> {
        let Self {
            hostname,
            path,
            method,
            expected_statuses,
            retriable_statuses,
            expected_response,
            request_body,
        } = self.clone();
        let Some(path) = path.filter(|path| path.starts_with('/')) else {
            return Err(FieldError::invalid(at.field("path"), "must start with /"));
        };
        let method = method.filter(|method| !method.is_empty());
        let method = method.map_or(Ok(Method::GET), |method| method.parse());
        let Ok(method) = method else {
            return Err(FieldError::invalid(
                at.field("method"),
                "is not an HTTP method",
            ));
        };
        let statuses = |name, list: Option<Vec<i64>>| {
            let list = list.unwrap_or_default().into_iter().enumerate();
            list.map(|(index, code)| status(at.field(name).item(index), code))
                .collect::<Result<Vec<_>, _>>()
        };
        let mut expected = statuses("expectedStatuses", expected_statuses)?;
        if expected.is_empty() {
            expected.push(200);
        }
        Ok(plan::Probe::Http(plan::HttpProbe {
            host: hostname,
            path,
            method: method.into(),
            expected,
            retriable: statuses("retriableStatuses", retriable_statuses)?,
            wanted: bytes(at.field("expectedResponse"), expected_response.as_ref())?,
            body: bytes(at.field("requestBody"), request_body.as_ref())?,
        }))
    }
}

impl TcpCheck {
    fn probe(&self, at: FieldPath<'_>) -> Result<plan::Probe, FieldError> {
        let Self { send, receive } = self;
        Ok(plan::Probe::Tcp {
            send: bytes(at.field("send"), send.as_ref())?,
            receive: bytes(at.field("receive"), receive.as_ref())?,
        })
    }
}

/// The bytes of an optional payload.
fn bytes(at: FieldPath<'_>, payload: Option<&Payload>) -> Result<Vec<u8>, FieldError> {
    let Some(Payload { kind, text, binary }) = payload else {
        return Ok(Vec::new());
    };
    match kind {
        Some(PayloadType::Binary) => {
            let text = binary.as_deref().unwrap_or_default();
            data_encoding::BASE64
                .decode(text.as_bytes())
                .map_err(|_| FieldError::invalid(at.field("binary"), "is not base64"))
        }
        Some(PayloadType::Other(value)) => Err(FieldError::unknown_value(at.field("type"), value)),
        Some(PayloadType::Text) | None => Ok(text.clone().unwrap_or_default().into_bytes()),
    }
}

impl Payload {
    fn rules(&self, report: &mut Report) {
        report.rule(
            (self.kind == Some(PayloadType::Text)) == self.text.is_some(),
            "If payload type is Text, text field needs to be set.",
        );
        report.rule(
            (self.kind == Some(PayloadType::Binary)) == self.binary.is_some(),
            "If payload type is Binary, binary field needs to be set.",
        );
    }
}

impl CheckLog {
    fn rules(&self, report: &mut Report) {
        use CheckLogMatch as Match;
        let matches = self.matches.as_deref().unwrap_or_default();
        let failure = |m: &Match| matches!(m, Match::Failure | Match::FailureSeriesStart);
        let success = |m: &Match| matches!(m, Match::Success | Match::HealthyTransition);
        report.rule(
            matches.iter().any(failure) == matches.iter().any(success),
            "a failure type and a success type must both be specified together",
        );
    }
}

impl CheckLogSink {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.kind != Some(CheckLogSinkType::File) || self.file.is_some(),
            "If ProxyHealthCheckLogSink type is File, file field needs to be set.",
        );
    }
}
