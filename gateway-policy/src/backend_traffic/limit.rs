//! `rateLimit` of a BackendTrafficPolicy as it is written.

use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{MethodMatch, PathMatch};

string_enum! {
    /// Who counts (deprecated).
    pub enum RateLimitType {
        Global = "Global",
        Local = "Local",
    }

    /// The time in which requests are counted.
    pub enum RateLimitUnit {
        Second = "Second",
        Minute = "Minute",
        Hour = "Hour",
        Day = "Day",
        Week = "Week",
        Month = "Month",
        Year = "Year",
    }

    /// How a header or query parameter selects.
    pub enum SelectorKind {
        Exact = "Exact",
        RegularExpression = "RegularExpression",
        Distinct = "Distinct",
    }

    /// How an address selects.
    pub enum SourceKind {
        Exact = "Exact",
        Distinct = "Distinct",
    }

    /// Where a number comes from.
    pub enum CostSource {
        Number = "Number",
        Metadata = "Metadata",
    }

    /// Which `x-ratelimit-*` fields a response gets.
    pub enum XRateLimitHeaders {
        Off = "Off",
        DraftVersion03 = "DraftVersion03",
    }
}

api_struct! {
    /// Rate limits.
    pub struct RateLimit {
        /// Who counts (deprecated).
        kind: RateLimitType = "type",
        /// Counted by a service for all gateways.
        global: GlobalRateLimit = "global",
        /// Counted by each gateway.
        local: LocalRateLimitSpec = "local",
    }

    /// Limits counted by a service.
    pub struct GlobalRateLimit {
        /// The rules.
        rules: Vec<RateLimitRule> = "rules" [Required, Items(0, 256)],
    }

    /// Limits counted by each gateway.
    pub struct LocalRateLimitSpec, rules {
        /// The rules.
        rules: Vec<RateLimitRule> = "rules" [Items(0, 16)],
    }

    /// A limit and what it counts.
    pub struct RateLimitRule {
        /// Whose requests; all if it is empty.
        client_selectors: Vec<ClientSelector> = "clientSelectors" [Items(0, 8)],
        /// How many.
        limit: LimitValue = "limit" [Required],
        /// What each of them costs.
        cost: Cost = "cost",
        /// All routes of the policy count together.
        shared: bool = "shared",
        /// Counted, never refused.
        shadow_mode: bool = "shadowMode",
        /// Which header fields tell about the limit.
        x_rate_limit_headers: XRateLimitHeaders = "xRateLimitHeaders",
    }

    /// What a request must be like; all parts must hold.
    pub struct ClientSelector, rules {
        /// Its headers.
        headers: Vec<HeaderSelector> = "headers" [Items(0, 128)],
        /// Its method is one of these.
        methods: Vec<MethodMatch> = "methods",
        /// Its path.
        path: PathMatch = "path",
        /// Its client's address.
        source_cidr: SourceSelector = "sourceCIDR",
        /// Its query parameters.
        query_params: Vec<QuerySelector> = "queryParams" [Items(0, 16)],
    }

    /// A header that a request must have.
    pub struct HeaderSelector {
        /// How it is compared; `Exact` by default.
        kind: SelectorKind = "type",
        /// Its name.
        name: String = "name" [Required, Length(1, 256)],
        /// What its value is compared with.
        value: String = "value" [Length(0, 1024)],
        /// It must not match.
        invert: bool = "invert",
    }

    /// A query parameter that a request must have.
    pub struct QuerySelector {
        /// How it is compared; `Exact` by default.
        kind: SelectorKind = "type",
        /// Its name.
        name: String = "name" [Required, Length(1, 256)],
        /// What its value is compared with.
        value: String = "value" [Length(0, 1024)],
        /// It must not match.
        invert: bool = "invert",
    }

    /// The network that a client must be in.
    pub struct SourceSelector {
        /// Whether all its clients count together.
        kind: SourceKind = "type",
        /// The network.
        value: String = "value" [Required, Length(1, 256)],
        /// It must not be in it.
        invert: bool = "invert",
    }

    /// How many requests.
    pub struct LimitValue {
        /// So many.
        requests: i64 = "requests" [Required, Range(0, 4294967295)],
        /// In this time.
        unit: RateLimitUnit = "unit" [Required],
        /// Or what another filter says.
        from_metadata: LimitMetadata = "fromMetadata",
    }

    /// A value of another filter.
    pub struct LimitMetadata {
        /// Whose.
        namespace: String = "namespace" [Required, Length(1, 65536)],
        /// Which.
        key: String = "key" [Required, Length(1, 65536)],
    }

    /// What a request costs.
    pub struct Cost {
        /// When it comes.
        request: CostSpecifier = "request",
        /// When its response is over.
        response: CostSpecifier = "response",
    }

    /// A cost.
    pub struct CostSpecifier, rules {
        /// Where it comes from.
        from: CostSource = "from" [Required],
        /// The cost.
        number: i64 = "number" [Range(0, i64::MAX)],
        /// What says it.
        metadata: CostMetadata = "metadata",
    }

    /// A value of another filter.
    pub struct CostMetadata {
        /// Whose.
        namespace: String = "namespace" [Required],
        /// Which.
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
