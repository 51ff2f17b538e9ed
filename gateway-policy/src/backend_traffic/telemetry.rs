//! `telemetry`: tracing and metrics of routes.

use std::collections::BTreeMap;

use towergate_core::plan::STAT_NAME_OPERATORS;

use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::common::Fraction;
use crate::field_path::FieldPath;

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
    pub struct Metrics {
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

/// The name of rules in metrics.
///
/// # Errors
/// It contains an unknown operator.
pub(super) fn route_stat_name(
    at: FieldPath<'_>,
    telemetry: Option<Telemetry>,
) -> Result<Option<String>, FieldError> {
    let name = telemetry.and_then(|telemetry| telemetry.metrics?.route_stat_name);
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let mut rest = name.as_str();
    while let Some((_, operator)) = rest.split_once('%') {
        let Some((word, after)) = operator.split_once('%') else {
            break;
        };
        if !STAT_NAME_OPERATORS.contains(&&*format!("%{word}%")) {
            let message = format!(
                "unknown operator %{word}%; use {}",
                STAT_NAME_OPERATORS.join(", ")
            );
            let at = at.field("metrics.routeStatName");
            return Err(FieldError::invalid(at, message));
        }
        rest = after;
    }
    Ok(Some(name))
}
