//! `rateLimit`: rate limits of requests.

use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{MethodMatch, PathMatch};

string_enum! {
    /// The place where requests are counted. Superseded by the fields `global` and `local`.
    pub enum RateLimitType {
        Global = "Global",
        Local = "Local",
    }

    /// The period of a limit.
    pub enum RateLimitUnit {
        Second = "Second",
        Minute = "Minute",
        Hour = "Hour",
        Day = "Day",
        Week = "Week",
        Month = "Month",
        Year = "Year",
    }

    /// How a header or query parameter is compared. With `Distinct`, each value has its own limit.
    pub enum SelectorKind {
        Exact = "Exact",
        RegularExpression = "RegularExpression",
        Distinct = "Distinct",
    }

    /// How a client address is compared. With `Distinct`, each address has its own limit.
    pub enum SourceKind {
        Exact = "Exact",
        Distinct = "Distinct",
    }

    /// The source of a cost.
    pub enum CostSource {
        Number = "Number",
        Metadata = "Metadata",
    }

    /// The `x-ratelimit-*` fields of responses.
    pub enum XRateLimitHeaders {
        Off = "Off",
        DraftVersion03 = "DraftVersion03",
    }
}

api_struct! {
    /// Rate limits of requests. Requests above a limit receive 429.
    pub struct RateLimit {
        /// Place where requests are counted. Superseded by the fields `global` and `local`.
        kind: RateLimitType = "type",
        /// Limits that a rate limit service counts for all gateways.
        global: GlobalRateLimitSpec = "global",
        /// Limits that each gateway process counts separately.
        local: LocalRateLimitSpec = "local",
    }

    /// Limits that a rate limit service counts for all gateways.
    pub struct GlobalRateLimitSpec {
        /// Rules. A request counts towards the limits of all rules that match.
        rules: Vec<RateLimitRule> = "rules" [Required, Items(0, 256)],
    }

    /// Limits that each gateway process counts separately.
    pub struct LocalRateLimitSpec, rules {
        /// Rules. One of them may have no `clientSelectors`: it applies to all requests.
        rules: Vec<RateLimitRule> = "rules" [Items(0, 16)],
    }

    /// A limit and a condition on requests.
    pub struct RateLimitRule {
        /// Conditions on requests. One of them must match. Default: all requests match.
        client_selectors: Vec<ClientSelector> = "clientSelectors" [Items(0, 8)],
        /// Maximum number of requests per period.
        limit: LimitValue = "limit" [Required],
        /// Number by which a request counts towards the limit. Default: 1.
        cost: Cost = "cost",
        /// Whether all routes of the policy share the limit. Default: `false`.
        shared: bool = "shared",
        /// Whether requests are counted and never rejected. Default: `false`.
        shadow_mode: bool = "shadowMode",
        /// `x-ratelimit-*` fields of responses. Default: the setting of the listener.
        x_rate_limit_headers: XRateLimitHeaders = "xRateLimitHeaders",
    }

    /// A condition on requests. All of its parts must match.
    pub struct ClientSelector, rules {
        /// Conditions on headers.
        headers: Vec<HeaderSelector> = "headers" [Items(0, 128)],
        /// Conditions on the method. One of them must match.
        methods: Vec<MethodMatch> = "methods",
        /// Condition on the path.
        path: PathMatch = "path",
        /// Condition on the client address.
        source_cidr: SourceSelector = "sourceCIDR",
        /// Conditions on query parameters.
        query_params: Vec<QuerySelector> = "queryParams" [Items(0, 16)],
    }

    /// A condition on a header.
    pub struct HeaderSelector {
        /// Type of the comparison. Default: `Exact`.
        kind: SelectorKind = "type" [DefaultText("Exact")],
        /// Name of the header.
        name: String = "name" [Required, Length(1, 256)],
        /// Text or regular expression to compare with. Absent for `Distinct`.
        value: String = "value" [Length(0, 1024)],
        /// Inverts the condition. Default: `false`.
        invert: bool = "invert" [DefaultFlag(false)],
    }

    /// A condition on a query parameter.
    pub struct QuerySelector {
        /// Type of the comparison. Default: `Exact`.
        kind: SelectorKind = "type" [DefaultText("Exact")],
        /// Name of the parameter.
        name: String = "name" [Required, Length(1, 256)],
        /// Text or regular expression to compare with. Absent for `Distinct`.
        value: String = "value" [Length(0, 1024)],
        /// Inverts the condition. Default: `false`.
        invert: bool = "invert" [DefaultFlag(false)],
    }

    /// A condition on the client address.
    pub struct SourceSelector {
        /// Type of the comparison. Default: `Exact`.
        kind: SourceKind = "type" [DefaultText("Exact")],
        /// Network in CIDR notation.
        value: String = "value" [Required, Length(1, 256)],
        /// Inverts the condition. Default: `false`.
        invert: bool = "invert" [DefaultFlag(false)],
    }

    /// A number of requests per period.
    pub struct LimitValue {
        /// Maximum number of requests.
        requests: i64 = "requests" [Required, Range(0, 4294967295)],
        /// Period.
        unit: RateLimitUnit = "unit" [Required],
        /// Metadata with the limit. For global limits only.
        from_metadata: LimitMetadata = "fromMetadata",
    }

    /// The key of a metadata value.
    pub struct LimitMetadata {
        /// Namespace of the metadata.
        namespace: String = "namespace" [Required, Length(1, 65536)],
        /// Key within the namespace.
        key: String = "key" [Required, Length(1, 65536)],
    }

    /// The number by which a request or response counts towards a limit.
    pub struct Cost {
        /// Cost of the request. Default: 1.
        request: CostSpecifier = "request",
        /// Cost of the response, added at its end. For global limits only. Default: 0.
        response: CostSpecifier = "response",
    }

    /// A cost.
    pub struct CostSpecifier, rules {
        /// Source of the cost.
        from: CostSource = "from" [Required],
        /// Cost, for the source `Number`.
        number: i64 = "number" [Range(0, i64::MAX)],
        /// Metadata with the cost, for the source `Metadata`.
        metadata: CostMetadata = "metadata",
    }

    /// The key of a metadata value.
    pub struct CostMetadata {
        /// Namespace of the metadata.
        namespace: String = "namespace" [Required],
        /// Key within the namespace.
        key: String = "key" [Required],
    }
}

impl LocalRateLimitSpec {
    fn rules(&self, report: &mut Report) {
        let rules = self.rules.as_deref().unwrap_or_default();
        report.rule(
            rules.iter().all(|rule| {
                rule.cost
                    .as_ref()
                    .is_none_or(|cost| cost.response.is_none())
            }),
            "response cost is not supported for Local Rate Limits",
        );
        let metadata = |rule: &RateLimitRule| {
            rule.limit
                .as_ref()
                .is_some_and(|l| l.from_metadata.is_some())
        };
        report.rule(
            !rules.iter().any(metadata),
            "limit fromMetadata is not supported for Local Rate Limits",
        );
    }
}

impl ClientSelector {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.headers.is_some()
                || self.methods.is_some()
                || self.path.is_some()
                || self.source_cidr.is_some()
                || self.query_params.is_some(),
            "at least one of headers, methods, path, sourceCIDR or queryParams must be specified",
        );
    }
}

impl CostSpecifier {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.number.is_none() || self.metadata.is_none(),
            "only one of number or metadata can be specified",
        );
    }
}

impl RateLimit {
    /// Checks that the section that `type` names is present.
    ///
    /// # Errors
    /// The section is absent, or the type is unknown.
    pub(super) fn check_type(&self) -> Result<(), FieldError> {
        let empty = |section| {
            let message = format!("{section} configuration empty for rateLimit");
            Err(FieldError::invalid("spec.rateLimit", message))
        };
        match &self.kind {
            Some(RateLimitType::Global) if self.global.is_none() => empty("global"),
            Some(RateLimitType::Local) if self.local.is_none() => empty("local"),
            Some(RateLimitType::Other(word)) => {
                Err(FieldError::unknown_value("spec.rateLimit.type", word))
            }
            Some(RateLimitType::Global | RateLimitType::Local) | None => Ok(()),
        }
    }
}
