//! `loadBalancer` of a BackendTrafficPolicy as it is written.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{DurationText, HeaderNameRef};

string_enum! {
    /// How an endpoint is chosen.
    pub enum LoadBalancerType {
        ConsistentHash = "ConsistentHash",
        LeastRequest = "LeastRequest",
        Random = "Random",
        RoundRobin = "RoundRobin",
        BackendUtilization = "BackendUtilization",
        DynamicModule = "DynamicModule",
    }

    /// What is hashed.
    pub enum ConsistentHashType {
        SourceIp = "SourceIP",
        Header = "Header",
        Headers = "Headers",
        Cookie = "Cookie",
        QueryParams = "QueryParams",
    }
}

api_struct! {
    /// How an endpoint is chosen.
    pub struct LoadBalancer, rules {
        /// How.
        kind: LoadBalancerType = "type" [Required],
        /// Options of ConsistentHash.
        consistent_hash: ConsistentHash = "consistentHash",
        /// Options of BackendUtilization.
        backend_utilization: BackendUtilization = "backendUtilization",
        /// Options of DynamicModule.
        dynamic_module: DynamicModule = "dynamicModule",
        /// Requests may name their endpoint.
        endpoint_override: EndpointOverride = "endpointOverride",
        /// New endpoints get their share by and by.
        slow_start: SlowStart = "slowStart",
        /// Zones.
        zone_aware: ZoneAware = "zoneAware",
    }

    /// Options of ConsistentHash.
    pub struct ConsistentHash, rules {
        /// What is hashed.
        kind: ConsistentHashType = "type" [Required],
        /// A header (deprecated).
        header: HeaderNameRef = "header",
        /// Headers.
        headers: Vec<HeaderNameRef> = "headers",
        /// A cookie.
        cookie: Cookie = "cookie",
        /// Query parameters.
        query_params: Vec<QueryParam> = "queryParams",
        /// Entries of the table; prime.
        table_size: i64 = "tableSize" [Range(2, 5000011)],
    }

    /// A query parameter.
    pub struct QueryParam {
        /// Its name.
        name: String = "name" [Required],
    }

    /// A cookie.
    pub struct Cookie {
        /// Its name.
        name: String = "name" [Required],
        /// The lifetime of one that is made.
        ttl: DurationText = "ttl",
        /// Further attributes of one that is made.
        attributes: BTreeMap<String, String> = "attributes",
    }

    /// Options of BackendUtilization.
    pub struct BackendUtilization {
        /// Reports are not used before.
        blackout_period: DurationText = "blackoutPeriod",
        /// Reports are not used after.
        weight_expiration_period: DurationText = "weightExpirationPeriod",
        /// Time between calculations.
        weight_update_period: DurationText = "weightUpdatePeriod",
        /// What errors cost.
        error_utilization_penalty_percent: i64 = "errorUtilizationPenaltyPercent" [Range(0, 4294967295)],
        /// Which metrics count.
        metric_names: Vec<String> = "metricNamesForComputingUtilization",
        /// Reports stay in responses.
        keep_response_headers: bool = "keepResponseHeaders",
        /// Reports are asked for.
        out_of_band: OutOfBand = "outOfBand",
    }

    /// Reports are asked for.
    pub struct OutOfBand, rules {
        /// How often.
        reporting_period: DurationText = "reportingPeriod",
        /// On which port.
        port: i64 = "port" [Range(1, 65535)],
        /// With which authority.
        authority: String = "authority" [Length(1, 259), Pattern("^[^\\x00\\n\\r]*$")],
    }

    /// Options of DynamicModule.
    pub struct DynamicModule {
        /// The module.
        name: String = "name" [Required, Length(1, 253), Pattern("^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")],
        /// Its policy.
        lb_policy_name: String = "lbPolicyName" [Required, Length(1, 253)],
        /// The policy's own options.
        config: serde_json::Value = "config",
    }

    /// Requests may name their endpoint.
    pub struct EndpointOverride {
        /// Where.
        extract_from: Vec<ExtractFrom> = "extractFrom" [Required, Items(1, 10)],
    }

    /// Where a request names its endpoint.
    pub struct ExtractFrom {
        /// In this header.
        header: String = "header",
    }

    /// New endpoints get their share by and by.
    pub struct SlowStart {
        /// Until they have all of it.
        window: DurationText = "window" [Required],
    }

    /// Zones.
    pub struct ZoneAware {
        /// The gateway's own zone is preferred.
        prefer_local: PreferLocal = "preferLocal",
        /// Shares of zones.
        weighted_zones: Vec<WeightedZone> = "weightedZones",
    }

    /// The gateway's own zone is preferred.
    pub struct PreferLocal {
        /// Even if the zones are unbalanced.
        force: Force = "force",
        /// Only with so many endpoints.
        min_endpoints_threshold: i64 = "minEndpointsThreshold",
        /// For so many per cent of the requests.
        percentage_enabled: i64 = "percentageEnabled" [Range(0, 100)],
    }

    /// Requests stay in the zone.
    pub struct Force {
        /// Only with so many endpoints in it.
        min_endpoints_in_zone_threshold: i64 = "minEndpointsInZoneThreshold",
    }

    /// The share of a zone.
    pub struct WeightedZone {
        /// The zone.
        zone: String = "zone" [Required],
        /// Its share.
        weight: i64 = "weight" [Required],
    }
}

impl LoadBalancer {
    fn rules(&self, report: &mut Report) {
        use LoadBalancerType as Type;
        let kind = self.kind.as_ref();
        let is = |wanted: Type| kind == Some(&wanted);
        let zones = self.zone_aware.as_ref();
        let local = zones.is_some_and(|zones| zones.prefer_local.is_some());
        let weighted = zones.is_some_and(|zones| zones.weighted_zones.is_some());
        let slow_starts = [
            Type::RoundRobin,
            Type::LeastRequest,
            Type::BackendUtilization,
        ];

        report.rule(
            is(Type::ConsistentHash) == self.consistent_hash.is_some(),
            "If LoadBalancer type is consistentHash, consistentHash field needs to be set.",
        );
        report.rule(
            is(Type::BackendUtilization) == self.backend_utilization.is_some(),
            "If LoadBalancer type is BackendUtilization, backendUtilization field needs to be set.",
        );
        report.rule(
            is(Type::DynamicModule) == self.dynamic_module.is_some(),
            "If LoadBalancer type is DynamicModule, dynamicModule field needs to be set.",
        );
        report.rule(
            self.slow_start.is_none() || slow_starts.into_iter().any(is),
            "Currently SlowStart is only supported for RoundRobin, LeastRequest, and BackendUtilization load balancers.",
        );
        report.rule(
            !local || !is(Type::ConsistentHash),
            "PreferLocal zone-aware routing is not supported for ConsistentHash load balancers. Use weightedZones instead.",
        );
        report.rule(
            !local || !is(Type::BackendUtilization),
            "PreferLocal zone-aware routing is not currently supported for BackendUtilization load balancers. Only WeightedZones can be used with BackendUtilization.",
        );
        report.rule(
            zones.is_none() || !is(Type::DynamicModule),
            "ZoneAware routing is not supported for DynamicModule load balancers.",
        );
        report.rule(
            !local || !weighted,
            "ZoneAware PreferLocal and WeightedZones cannot be specified together.",
        );
        report.rule(
            self.endpoint_override.is_none() || !is(Type::DynamicModule),
            "EndpointOverride is not supported for DynamicModule load balancers.",
        );
    }
}

impl ConsistentHash {
    fn rules(&self, report: &mut Report) {
        use ConsistentHashType as Type;
        let kind = self.kind.as_ref();
        for (wanted, given, name) in [
            (Type::Header, self.header.is_some(), "header"),
            (Type::Headers, self.headers.is_some(), "headers"),
            (Type::Cookie, self.cookie.is_some(), "cookie"),
            (
                Type::QueryParams,
                self.query_params.is_some(),
                "queryParams",
            ),
        ] {
            if (kind == Some(&wanted)) != given {
                report.fault(format!(
                    "If consistent hash type is {name}, the {name} field must be set."
                ));
            }
        }
    }
}

impl OutOfBand {
    fn rules(&self, report: &mut Report) {
        let period = self.reporting_period.as_ref().and_then(DurationText::parse);
        report.rule(
            period != Some(Duration::ZERO),
            "reportingPeriod must be greater than 0",
        );
    }
}
