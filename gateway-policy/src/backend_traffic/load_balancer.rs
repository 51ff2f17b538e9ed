//! `loadBalancer`: selection of endpoints.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;
use towergate_core::plan;
use towergate_core::text::Text;

use super::consistent_hash::ConsistentHash;
use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::DurationText;
use crate::field_path::FieldPath;
use crate::parse::header_name;

string_enum! {
    /// An algorithm for the selection of endpoints.
    pub enum LoadBalancerType {
        ConsistentHash = "ConsistentHash",
        LeastRequest = "LeastRequest",
        Random = "Random",
        RoundRobin = "RoundRobin",
        BackendUtilization = "BackendUtilization",
        DynamicModule = "DynamicModule" Unsupported,
    }
}

api_struct! {
    /// Selection of endpoints.
    pub struct LoadBalancer, rules {
        /// Algorithm.
        kind: LoadBalancerType = "type" [Required],
        /// Settings of `ConsistentHash`.
        consistent_hash: ConsistentHash = "consistentHash",
        /// Settings of `BackendUtilization`.
        backend_utilization: BackendUtilization = "backendUtilization",
        /// Settings of `DynamicModule`.
        dynamic_module: DynamicModule = "dynamicModule" Unsupported,
        /// Selection of the endpoint by a header of the request.
        endpoint_override: EndpointOverride = "endpointOverride",
        /// Gradual increase of the requests to a new endpoint.
        slow_start: SlowStart = "slowStart",
        /// Selection of endpoints by zone.
        zone_aware: ZoneAware = "zoneAware",
    }

    /// Settings of `BackendUtilization`: weights from the load reports (ORCA) of endpoints.
    pub struct BackendUtilization {
        /// Time during which an endpoint must report before its weight is applied. Default: 10 seconds.
        blackout_period: DurationText = "blackoutPeriod",
        /// Time after which a weight without a new report expires. Default: 3 minutes.
        weight_expiration_period: DurationText = "weightExpirationPeriod",
        /// Time between two calculations of weights, at least 100 milliseconds. Default: 1 second.
        weight_update_period: DurationText = "weightUpdatePeriod",
        /// Penalty for the error rate, in percent: 100 is a factor of 1.
        error_utilization_penalty_percent: i64 = "errorUtilizationPenaltyPercent" [Range(0, 4294967295)],
        /// Names of the metrics that determine the utilization.
        metric_names: Vec<String> = "metricNamesForComputingUtilization",
        /// Whether load reports are kept in the headers of responses. Default: `false`.
        keep_response_headers: bool = "keepResponseHeaders" [DefaultFlag(false)],
        /// Load reports over a separate gRPC stream.
        out_of_band: OutOfBand = "outOfBand" Ignored,
    }

    /// Load reports over a separate gRPC stream.
    pub struct OutOfBand, rules {
        /// Time between two reports. Default: 10 seconds.
        reporting_period: DurationText = "reportingPeriod",
        /// Port of the reports. Default: that of the endpoint.
        port: i64 = "port" [Range(1, 65535)],
        /// `:authority` of the stream. Default: the host name of the endpoint.
        authority: String = "authority" [Length(1, 259), Pattern("^[^\\x00\\n\\r]*$")],
    }

    /// Settings of `DynamicModule`: an algorithm in a shared library.
    pub struct DynamicModule {
        /// Name of the module.
        name: String = "name" [Required, Length(1, 253), Pattern("^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")],
        /// Name of the algorithm within the module.
        lb_policy_name: String = "lbPolicyName" [Required, Length(1, 253)],
        /// Settings of the algorithm.
        config: serde_json::Value = "config",
    }

    /// Selection of the endpoint by a header of the request.
    pub struct EndpointOverride {
        /// Sources of the endpoint. The first that is present is used.
        extract_from: Vec<ExtractFrom> = "extractFrom" [Required, Items(1, 10)],
    }

    /// A source of the endpoint.
    pub struct ExtractFrom {
        /// Name of a header with `IP:port`, or a list of them.
        header: String = "header",
    }

    /// Gradual increase of the requests to a new endpoint.
    pub struct SlowStart {
        /// Time until a new endpoint receives its full share.
        window: DurationText = "window" [Required],
    }

    /// Selection of endpoints by zone.
    pub struct ZoneAware {
        /// Preference of the gateway's own zone.
        prefer_local: PreferLocal = "preferLocal",
        /// Weights of zones.
        weighted_zones: Vec<WeightedZone> = "weightedZones",
    }

    /// Preference of the gateway's own zone.
    pub struct PreferLocal {
        /// Preference of the gateway's own zone even if requests are then distributed unevenly over
        /// endpoints.
        force: Force = "force",
        /// Minimum number of endpoints for which the preference applies.
        min_endpoints_threshold: i64 = "minEndpointsThreshold",
        /// Share of the requests for which the preference applies, in percent. Default: 100.
        percentage_enabled: i64 = "percentageEnabled" [Range(0, 100)],
    }

    /// Preference of the gateway's own zone even if requests are then distributed unevenly over endpoints.
    pub struct Force {
        /// Minimum number of endpoints in the zone for which the preference applies.
        min_endpoints_in_zone_threshold: i64 = "minEndpointsInZoneThreshold",
    }

    /// The weight of a zone.
    pub struct WeightedZone {
        /// Name of the zone (label `topology.kubernetes.io/zone`).
        zone: String = "zone" [Required],
        /// Weight of the zone. Zones that are not listed have the weight 1.
        weight: i64 = "weight" [Required],
    }
}

const CONSISTENT_HASH_RULE: &str =
    "If LoadBalancer type is consistentHash, consistentHash field needs to be set.";

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
            CONSISTENT_HASH_RULE,
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
    /// Whether the next endpoint is known in advance, as `preconnect.predictivePercent` requires.
    pub(super) fn is_predictable(&self) -> bool {
        matches!(
            self.kind,
            Some(LoadBalancerType::RoundRobin | LoadBalancerType::Random)
        )
    }

    /// Converts the section: algorithm, slow start, and the headers that contain the address of the endpoint.
    pub(super) fn apply(
        &self,
        at: FieldPath<'_>,
        traffic: &mut plan::Traffic,
    ) -> Result<(), FieldError> {
        traffic.load_balancer = self.balancer(at)?;
        if let Some(slow) = &self.slow_start {
            traffic.slow_start = Some(slow.time(at.field("slowStart"))?);
        }
        if let Some(named) = &self.endpoint_override {
            traffic.endpoint_headers = named.headers(at.field("endpointOverride"))?;
        }
        if let Some(zones) = &self.zone_aware {
            traffic.zones = zones.balancing(at.field("zoneAware"))?;
        }
        Ok(())
    }

    /// The algorithm.
    pub(super) fn balancer(&self, at: FieldPath<'_>) -> Result<plan::LoadBalancer, FieldError> {
        let Self {
            kind,
            consistent_hash,
            backend_utilization,
            dynamic_module: _,
            endpoint_override: _,
            slow_start: _,
            zone_aware: _,
        } = self;
        use LoadBalancerType as Type;
        match (kind, consistent_hash) {
            (Some(Type::ConsistentHash), Some(hash)) => hash.balancer(at.field("consistentHash")),
            (Some(Type::ConsistentHash), None) | (_, Some(_)) => {
                Err(FieldError::invalid(at, CONSISTENT_HASH_RULE))
            }
            (None | Some(Type::LeastRequest), None) => Ok(plan::LoadBalancer::LeastRequest),
            (Some(Type::Random), None) => Ok(plan::LoadBalancer::Random),
            (Some(Type::RoundRobin), None) => Ok(plan::LoadBalancer::RoundRobin),
            (Some(Type::BackendUtilization), None) => {
                let settings = backend_utilization.as_ref();
                let settings = settings.map(BackendUtilization::balancing);
                Ok(plan::LoadBalancer::Utilization(
                    settings.unwrap_or_default(),
                ))
            }
            (Some(kind @ (Type::DynamicModule | Type::Other(_))), None) => Err(
                FieldError::unsupported_value(at.field("type"), kind.as_str()),
            ),
        }
    }
}

/// Minimum time between two calculations of weights, as in Envoy.
const MIN_UPDATE_PERIOD: Duration = Duration::from_millis(100);

impl BackendUtilization {
    /// The settings, with defaults for absent fields.
    fn balancing(&self) -> plan::UtilizationBalancing {
        let default = plan::UtilizationBalancing::default();
        let time = |written: &Option<DurationText>, default| {
            let written = written.as_ref().and_then(DurationText::parse);
            written.unwrap_or(default)
        };
        let percent = self.error_utilization_penalty_percent.unwrap_or_default();
        plan::UtilizationBalancing {
            blackout: time(&self.blackout_period, default.blackout),
            expiration: time(&self.weight_expiration_period, default.expiration),
            update_period: time(&self.weight_update_period, default.update_period)
                .max(MIN_UPDATE_PERIOD),
            error_penalty_percent: u32::try_from(percent).unwrap_or(u32::MAX),
            metrics: self.metric_names.clone().unwrap_or_default(),
            keep_reports: self.keep_response_headers == Some(true),
        }
    }
}

impl EndpointOverride {
    /// Names of the headers that contain the address of the endpoint.
    pub(super) fn headers(&self, at: FieldPath<'_>) -> Result<Vec<Text<HeaderName>>, FieldError> {
        let at = at.field("extractFrom");
        let sources = self.extract_from.as_deref().unwrap_or_default();
        if sources.is_empty() {
            return Err(FieldError::invalid(at, "Required value"));
        }
        let sources = sources.iter().enumerate();
        let headers = sources.map(|(index, source)| {
            let name = source.header.as_deref().unwrap_or_default();
            header_name(at.item(index).field("header"), name)
        });
        headers.collect()
    }
}

impl SlowStart {
    /// Time until a new endpoint receives its full share.
    pub(super) fn time(&self, at: FieldPath<'_>) -> Result<Duration, FieldError> {
        let at = at.field("window");
        let window = self.window.as_ref().and_then(DurationText::parse);
        window.ok_or_else(|| FieldError::invalid(at, "a duration is required"))
    }
}

impl ZoneAware {
    /// Shares of the zones. `None`: endpoints are selected regardless of zones.
    fn balancing(&self, at: FieldPath<'_>) -> Result<Option<plan::ZoneBalancing>, FieldError> {
        match (&self.weighted_zones, &self.prefer_local) {
            (Some(zones), _) => {
                let zones = zones.iter().enumerate();
                let weights =
                    zones.map(|(index, zone)| zone.entry(at.field("weightedZones").item(index)));
                let weights: BTreeMap<_, _> = weights.collect::<Result<_, _>>()?;
                Ok(Some(plan::ZoneBalancing::Weighted(weights)))
            }
            (None, Some(local)) => {
                let local = local.zone(at.field("preferLocal"))?;
                Ok(Some(plan::ZoneBalancing::PreferLocal(local)))
            }
            (None, None) => Ok(None),
        }
    }
}

impl WeightedZone {
    fn entry(&self, at: FieldPath<'_>) -> Result<(String, u32), FieldError> {
        let weight = count(at.field("weight"), self.weight.unwrap_or_default())?;
        Ok((self.zone.clone().unwrap_or_default(), weight))
    }
}

impl PreferLocal {
    /// The preference, with defaults for absent fields.
    fn zone(&self, at: FieldPath<'_>) -> Result<plan::LocalZone, FieldError> {
        let default = plan::LocalZone::default();
        let min_endpoints = self
            .min_endpoints_threshold
            .map_or(Ok(default.min_endpoints), |least| {
                count(at.field("minEndpointsThreshold"), least)
            });
        let percent = self
            .percentage_enabled
            .map_or(Ok(default.percent), |percent| {
                count(at.field("percentageEnabled"), percent)
            });
        let force = self.force.as_ref().map(|force| {
            let least = force.min_endpoints_in_zone_threshold.unwrap_or(1);
            count(
                at.field("force").field("minEndpointsInZoneThreshold"),
                least,
            )
        });
        Ok(plan::LocalZone {
            min_endpoints: min_endpoints?,
            percent: percent?,
            force: force.transpose()?,
        })
    }
}

/// Converts a number, which must be at least 0.
fn count(at: FieldPath<'_>, number: i64) -> Result<u32, FieldError> {
    match number {
        0.. => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        _ => Err(FieldError::invalid(at, "must not be negative")),
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
