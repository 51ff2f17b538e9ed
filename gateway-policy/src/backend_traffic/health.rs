//! `healthCheck` of a BackendTrafficPolicy as it is written.

use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{DNS_NAME, DurationText};

string_enum! {
    /// What a probe speaks.
    pub enum HealthCheckType {
        Http = "HTTP",
        Tcp = "TCP",
        Grpc = "GRPC",
    }

    /// How a payload is written.
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

    /// Where events go.
    pub enum CheckLogSinkType {
        File = "File",
    }
}

api_struct! {
    /// Health of endpoints.
    pub struct HealthCheck {
        /// By probes.
        active: ActiveHealthCheck = "active",
        /// By the answers to requests: present means on.
        passive: PassiveHealthCheck = "passive",
        /// Below this share of healthy endpoints, health does not count.
        panic_threshold: i64 = "panicThreshold" [Range(0, 100)],
    }

    /// Health by probes.
    pub struct ActiveHealthCheck, rules {
        /// How long an answer may take.
        timeout: DurationText = "timeout",
        /// Time between probes.
        interval: DurationText = "interval",
        /// Random time before the first.
        initial_jitter: DurationText = "initialJitter",
        /// Failures until an endpoint is unhealthy.
        unhealthy_threshold: i64 = "unhealthyThreshold" [Range(1, 2147483647)],
        /// Successes until it is healthy.
        healthy_threshold: i64 = "healthyThreshold" [Range(1, 2147483647)],
        /// What is spoken.
        kind: HealthCheckType = "type" [Required],
        /// Options of HTTP.
        http: HttpCheck = "http",
        /// Options of TCP.
        tcp: TcpCheck = "tcp",
        /// Options of gRPC.
        grpc: GrpcCheck = "grpc",
        /// What differs from requests.
        overrides: Overrides = "overrides",
        /// A log of its events.
        health_check_log: CheckLog = "healthCheckLog",
    }

    /// A probe by HTTP.
    pub struct HttpCheck, rules {
        /// `Host`.
        hostname: String = "hostname" [Length(1, 253), Pattern(DNS_NAME)],
        /// The path.
        path: String = "path" [Required, Length(1, 1024)],
        /// The method.
        method: String = "method" [Length(0, 16)],
        /// Statuses of a success.
        expected_statuses: Vec<i64> = "expectedStatuses" [Range(100, 599)],
        /// Statuses that count towards the threshold.
        retriable_statuses: Vec<i64> = "retriableStatuses" [Range(100, 599)],
        /// What must be in the body.
        expected_response: Payload = "expectedResponse",
        /// The body that is sent.
        request_body: Payload = "requestBody",
    }

    /// A probe by TCP.
    pub struct TcpCheck {
        /// What is sent.
        send: Payload = "send",
        /// What must come.
        receive: Payload = "receive",
    }

    /// A probe by gRPC.
    pub struct GrpcCheck {
        /// The service that is asked for.
        service: String = "service",
    }

    /// What differs from requests.
    pub struct Overrides {
        /// The port.
        port: i64 = "port" [Range(1, 65535)],
    }

    /// Bytes.
    pub struct Payload, rules {
        /// How they are written.
        kind: PayloadType = "type" [Required],
        /// As text.
        text: String = "text",
        /// In base64.
        binary: String = "binary",
    }

    /// A log of events.
    pub struct CheckLog, rules {
        /// Which events.
        matches: Vec<CheckLogMatch> = "matches" [Items(0, 4)],
        /// Where they go.
        sinks: Vec<CheckLogSink> = "sinks" [Items(0, 1)],
    }

    /// Where events go.
    pub struct CheckLogSink, rules {
        /// What it is.
        kind: CheckLogSinkType = "type" [Required],
        /// The file.
        file: CheckLogFile = "file",
    }

    /// A file of events.
    pub struct CheckLogFile {
        /// Its path.
        path: String = "path" [Required, Length(1, 1024)],
    }

    /// Health by the answers to requests.
    pub struct PassiveHealthCheck {
        /// Failures to connect count apart.
        split_external_local_origin_errors: bool = "splitExternalLocalOriginErrors",
        /// Time between sweeps.
        interval: DurationText = "interval",
        /// Failures to connect in a row.
        consecutive_local_origin_failures: i64 = "consecutiveLocalOriginFailures" [Range(0, 4294967295)],
        /// 502, 503 and 504 in a row.
        consecutive_gateway_errors: i64 = "consecutiveGatewayErrors" [Range(0, 4294967295)],
        /// 5xx in a row.
        consecutive_5xx_errors: i64 = "consecutive5XxErrors" [Range(0, 4294967295)],
        /// How long, times the number of ejections.
        base_ejection_time: DurationText = "baseEjectionTime",
        /// The largest share of endpoints that is ejected.
        max_ejection_percent: i64 = "maxEjectionPercent" [Range(0, 100)],
        /// The share of failures.
        failure_percentage_threshold: i64 = "failurePercentageThreshold" [Range(0, 100)],
        /// One may always be ejected.
        always_eject_one_endpoint: bool = "alwaysEjectOneEndpoint",
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
}

impl HttpCheck {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.request_body.is_none() || matches!(self.method.as_deref(), Some("POST" | "PUT")),
            "The requestBody field can only be set when method is POST or PUT.",
        );
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
