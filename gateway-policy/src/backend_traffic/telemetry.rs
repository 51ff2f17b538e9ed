//! `telemetry`: tracing and metrics of routes.

use std::collections::BTreeMap;

use towergate_core::plan::STAT_NAME_OPERATORS;

use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::Fraction;

string_enum! {
    /// The source of a tag's value.
    pub enum CustomTagType {
        Literal = "Literal",
        Environment = "Environment",
        RequestHeader = "RequestHeader",
    }
}

api_struct! {
    /// Tracing and metrics.
    pub struct Telemetry {
        /// Tracing.
        tracing: Tracing = "tracing" Ignored,
        /// Metrics.
        metrics: Metrics = "metrics",
    }

    /// Metrics.
    pub struct Metrics, rules {
        /// Name of the route in metrics. May contain `%ROUTE_KIND%`, `%ROUTE_NAMESPACE%`,
        /// `%ROUTE_NAME%` and `%ROUTE_RULE_NAME%`.
        route_stat_name: String = "routeStatName",
    }

    /// Tracing.
    pub struct Tracing {
        /// Traced share of the requests whose client demands tracing.
        client_sampling_fraction: Fraction = "clientSamplingFraction",
        /// Share of all requests that are traced.
        sampling_fraction: Fraction = "samplingFraction",
        /// Maximum share of traced requests.
        overall_sampling_fraction: Fraction = "overallSamplingFraction",
        /// Tags of spans. Superseded by `tags`.
        custom_tags: BTreeMap<String, CustomTag> = "customTags",
        /// Tags of spans. Values may contain command operators.
        tags: BTreeMap<String, String> = "tags",
        /// Names of spans.
        span_name: SpanName = "spanName",
    }

    /// Names of spans.
    pub struct SpanName {
        /// Name of the span of the request to the backend.
        client: String = "client" [Required],
        /// Name of the span of the client's request.
        server: String = "server" [Required],
    }

    /// A tag of spans.
    pub struct CustomTag {
        /// Source of the value. Default: `Literal`.
        kind: CustomTagType = "type" [DefaultText("Literal")],
        /// Value as text.
        literal: LiteralTag = "literal",
        /// Environment variable with the value.
        environment: EnvironmentTag = "environment",
        /// Request header with the value.
        request_header: HeaderTag = "requestHeader",
    }

    /// The value of a tag.
    pub struct LiteralTag {
        /// Value of the tag.
        value: String = "value" [Required],
    }

    /// An environment variable with the value of a tag.
    pub struct EnvironmentTag {
        /// Name of the variable.
        name: String = "name" [Required],
        /// Value of the tag if the variable is not set.
        default_value: String = "defaultValue",
    }

    /// A request header with the value of a tag.
    pub struct HeaderTag {
        /// Name of the header.
        name: String = "name" [Required],
        /// Value of the tag if the header is not present.
        default_value: String = "defaultValue",
    }
}

/// The name of the route in metrics. `None`: the policy sets no name, or the name contains an unknown
/// operator. The policy's remarks report an unknown operator.
pub(super) fn route_stat_name(telemetry: Option<Telemetry>) -> Option<String> {
    let name = telemetry?.metrics?.route_stat_name?;
    (!name.is_empty() && unknown_operator(&name).is_none()).then_some(name)
}

/// The first operator of a name that is not one of [`STAT_NAME_OPERATORS`].
fn unknown_operator(name: &str) -> Option<String> {
    let mut rest = name;
    while let Some((_, operator)) = rest.split_once('%') {
        let (word, after) = operator.split_once('%')?;
        let operator = format!("%{word}%");
        if !STAT_NAME_OPERATORS.contains(&&*operator) {
            return Some(operator);
        }
        rest = after;
    }
    None
}

impl Metrics {
    fn rules(&self, report: &mut Report) {
        let name = self.route_stat_name.as_deref();
        if let Some(operator) = name.and_then(unknown_operator) {
            report.ignored_value("routeStatName", &operator);
        }
    }
}
