//! `healthCheck`: health of endpoints, and `healthCheck.passive`: ejection of endpoints that fail.

use towergate_core::plan;

use super::active_health::ActiveHealthCheck;
use crate::FieldError;
use crate::api_struct::api_struct;
use crate::common::DurationText;
use crate::field_path::FieldPath;
use crate::parse::{number, percent, positive_duration};

api_struct! {
    /// Health of endpoints.
    pub struct HealthCheck {
        /// Health checks by probes. Default: off.
        active: ActiveHealthCheck = "active",
        /// Ejection of endpoints that fail. If present, it is enabled.
        passive: PassiveHealthCheck = "passive",
        /// Percentage of healthy endpoints below which health is ignored. 0: never. Default: 50.
        panic_threshold: i64 = "panicThreshold" [Range(0, 100)],
    }

    /// Ejection of endpoints that fail (Envoy: outlier detection).
    pub struct PassiveHealthCheck {
        /// Whether connection failures and timeouts are counted separately from responses. Default:
        /// `false`.
        split_external_local_origin_errors: bool = "splitExternalLocalOriginErrors" [DefaultFlag(false)],
        /// Time between two evaluations. Default: 3 seconds.
        interval: DurationText = "interval" [DefaultText("3s")],
        /// Number of consecutive connection failures that eject an endpoint, if they are counted
        /// separately. 0: off. Default: 5.
        consecutive_local_origin_failures: i64 = "consecutiveLocalOriginFailures" [Range(0, 4294967295), DefaultNumber(5)],
        /// Number of consecutive responses 502, 503 or 504 that eject an endpoint. 0: off. Default: 0.
        consecutive_gateway_errors: i64 = "consecutiveGatewayErrors" [Range(0, 4294967295)],
        /// Number of consecutive responses 5xx that eject an endpoint. 0: off. Default: 5.
        consecutive_5xx_errors: i64 = "consecutive5XxErrors" [Range(0, 4294967295), DefaultNumber(5)],
        /// Duration of an ejection, multiplied by the number of recent ejections. Default: 30 seconds.
        base_ejection_time: DurationText = "baseEjectionTime" [DefaultText("30s")],
        /// Maximum percentage of ejected endpoints. 0 means 10. Default: 10.
        max_ejection_percent: i64 = "maxEjectionPercent" [Range(0, 100), DefaultNumber(10)],
        /// Percentage of failed requests within an interval that ejects an endpoint. Default: off.
        failure_percentage_threshold: i64 = "failurePercentageThreshold" [Range(0, 100)],
        /// Whether one endpoint may be ejected regardless of `maxEjectionPercent`. Default: `false`.
        always_eject_one_endpoint: bool = "alwaysEjectOneEndpoint" [DefaultFlag(false)],
    }
}

impl HealthCheck {
    /// Converts the section, and sets the results in `traffic`.
    pub(super) fn apply(
        &self,
        at: FieldPath<'_>,
        traffic: &mut plan::Traffic,
    ) -> Result<(), FieldError> {
        let Self {
            active,
            passive,
            panic_threshold,
        } = self;
        if let Some(passive) = passive {
            traffic.outlier = Some(passive.outlier(at.field("passive"))?);
        }
        if let Some(active) = active {
            traffic.probe = Some(active.check_plan(at.field("active"))?);
        }
        if let Some(threshold) = percent(at.field("panicThreshold"), *panic_threshold)? {
            traffic.panic_threshold = threshold;
        }
        Ok(())
    }
}

impl PassiveHealthCheck {
    fn outlier(&self, at: FieldPath<'_>) -> Result<plan::OutlierDetection, FieldError> {
        let Self {
            split_external_local_origin_errors,
            interval,
            consecutive_local_origin_failures,
            consecutive_gateway_errors,
            consecutive_5xx_errors,
            base_ejection_time,
            max_ejection_percent,
            failure_percentage_threshold,
            always_eject_one_endpoint,
        } = self;
        let defaults = plan::OutlierDetection::default();
        let time = |name, text: Option<&DurationText>, default| {
            let time = positive_duration(at.field(name), text)?;
            Ok::<_, FieldError>(time.unwrap_or(default))
        };
        let count = |name, value: Option<i64>, default: u32| {
            Ok::<_, FieldError>(number(at.field(name), value)?.unwrap_or(default))
        };
        let max = percent(at.field("maxEjectionPercent"), *max_ejection_percent)?;
        let failure = at.field("failurePercentageThreshold");
        Ok(plan::OutlierDetection {
            split_local: split_external_local_origin_errors.unwrap_or(defaults.split_local),
            interval: time("interval", interval.as_ref(), defaults.interval)?,
            consecutive_local: count(
                "consecutiveLocalOriginFailures",
                *consecutive_local_origin_failures,
                defaults.consecutive_local,
            )?,
            consecutive_gateway: count(
                "consecutiveGatewayErrors",
                *consecutive_gateway_errors,
                defaults.consecutive_gateway,
            )?,
            consecutive_5xx: count(
                "consecutive5XxErrors",
                *consecutive_5xx_errors,
                defaults.consecutive_5xx,
            )?,
            base_time: time(
                "baseEjectionTime",
                base_ejection_time.as_ref(),
                defaults.base_time,
            )?,
            max_percent: max.filter(|max| *max > 0).unwrap_or(defaults.max_percent),
            failure_percent: percent(failure, *failure_percentage_threshold)?,
            always_one: always_eject_one_endpoint.unwrap_or(defaults.always_one),
        })
    }
}
