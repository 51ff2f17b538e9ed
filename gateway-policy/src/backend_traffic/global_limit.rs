//! `rateLimit.global` of a BackendTrafficPolicy as a [`GlobalRateLimit`].

use super::RouteContext;
use super::limit::{CostSource, CostSpecifier, RateLimit, RateLimitRule, RateLimitUnit};
use super::local_limit::{convert_selector, shown};
use crate::FieldError;
use crate::global_rate_limit::{GlobalLimitRule, GlobalRateLimit, LimitUnit};
use crate::parse::number;

const RULES: &str = "spec.rateLimit.global.rules";

/// The global rate limit. `None`: the policy has none.
pub(super) fn global_limit(
    limit: Option<&RateLimit>,
    context: RouteContext<'_>,
) -> Result<Option<GlobalRateLimit>, FieldError> {
    let rules = limit.and_then(|limit| limit.global.as_ref()?.rules.as_deref());
    let Some(rules @ [_, ..]) = rules else {
        return Ok(None);
    };
    let service = context.references.rate_limit_service().ok_or_else(|| {
        FieldError::invalid(
            "spec.rateLimit.global",
            "no rate limit service is configured (--rate-limit-service)",
        )
    })?;
    let rules = rules.iter().enumerate();
    let rules = rules.map(|(index, written)| rule(&format!("{RULES}[{index}]"), written));
    Ok(Some(GlobalRateLimit {
        service,
        listener: context.listener.to_owned(),
        policy: context.policy.to_owned(),
        headers: context.rate_limit_headers,
        rules: rules.collect::<Result<_, _>>()?,
    }))
}

fn rule(field: &str, rule: &RateLimitRule) -> Result<GlobalLimitRule, FieldError> {
    let RateLimitRule {
        client_selectors,
        limit,
        cost,
        shared,
        shadow_mode,
        x_rate_limit_headers,
    } = rule;
    let limit = limit.clone().unwrap_or_default();
    FieldError::require(
        limit.from_metadata.is_none(),
        format!("{field}.limit.fromMetadata"),
    )?;
    let requests = number(format!("{field}.limit.requests"), limit.requests)?;
    let cost = cost.clone().unwrap_or_default();
    let selectors = client_selectors.as_deref().unwrap_or_default();
    let selectors = selectors
        .iter()
        .map(|selector| convert_selector(&format!("{field}.clientSelectors"), selector));
    Ok(GlobalLimitRule {
        selectors: selectors.collect::<Result<_, _>>()?,
        requests: requests
            .ok_or_else(|| FieldError::invalid(field, "limit.requests is missing"))?,
        unit: unit(&format!("{field}.limit.unit"), limit.unit.as_ref())?,
        shared: shared.unwrap_or(false),
        shadow: shadow_mode.unwrap_or(false),
        headers: shown(
            &format!("{field}.xRateLimitHeaders"),
            x_rate_limit_headers.as_ref(),
        )?,
        request_cost: fixed_cost(&format!("{field}.cost.request"), cost.request.as_ref())?,
        response_cost: fixed_cost(&format!("{field}.cost.response"), cost.response.as_ref())?,
    })
}

fn unit(field: &str, unit: Option<&RateLimitUnit>) -> Result<LimitUnit, FieldError> {
    Ok(match unit {
        Some(RateLimitUnit::Second) => LimitUnit::Second,
        Some(RateLimitUnit::Minute) => LimitUnit::Minute,
        Some(RateLimitUnit::Hour) => LimitUnit::Hour,
        Some(RateLimitUnit::Day) => LimitUnit::Day,
        Some(RateLimitUnit::Week) => LimitUnit::Week,
        Some(RateLimitUnit::Month) => LimitUnit::Month,
        Some(RateLimitUnit::Year) => LimitUnit::Year,
        Some(RateLimitUnit::Other(word)) => return Err(FieldError::unknown_value(field, word)),
        None => return Err(FieldError::invalid(field, "Required value")),
    })
}

/// A cost that is a number. A cost in the metadata of a request is not supported.
fn fixed_cost(field: &str, cost: Option<&CostSpecifier>) -> Result<Option<u32>, FieldError> {
    let Some(CostSpecifier {
        from,
        number: cost,
        metadata,
    }) = cost
    else {
        return Ok(None);
    };
    FieldError::require(
        metadata.is_none() && from != &Some(CostSource::Metadata),
        format!("{field}.metadata"),
    )?;
    if let Some(CostSource::Other(word)) = from {
        return Err(FieldError::unknown_value(format!("{field}.from"), word));
    }
    number(format!("{field}.number"), *cost)
}
