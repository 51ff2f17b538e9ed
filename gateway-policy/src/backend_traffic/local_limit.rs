//! `rateLimit.local` of a BackendTrafficPolicy as a [`LocalRateLimit`].

use std::time::Duration;

use super::RouteContext;
use super::limit::{RateLimit, RateLimitRule};
use super::limit_rule::ParsedRule;
use crate::FieldError;
use crate::global_rate_limit::LimitCost;
use crate::rate_limit::{Limit, LimitRule, LocalRateLimit};

const RULES: &str = "spec.rateLimit.local.rules";

/// The local rate limit. `None`: the policy has no local limit.
pub(super) fn rate_limit(
    limit: Option<&RateLimit>,
    context: RouteContext<'_>,
) -> Result<Option<LocalRateLimit>, FieldError> {
    let local = limit.and_then(|limit| limit.local.as_ref());
    let rules = local.map(|local| local.rules.as_deref().unwrap_or_default());
    rules.map(|rules| local_limit(rules, context)).transpose()
}

fn local_limit(
    rules: &[RateLimitRule],
    context: RouteContext<'_>,
) -> Result<LocalRateLimit, FieldError> {
    let mut limit = LocalRateLimit {
        policy: context.policy.to_owned(),
        headers: context.rate_limit_headers,
        default: None,
        rules: Vec::new(),
        exempt: Vec::new(),
    };
    for (index, written) in rules.iter().enumerate() {
        let field = format!("{RULES}[{index}]");
        let rule = rule(&field, written)?;
        if !rule.selectors.is_empty() {
            limit.rules.push(rule);
        } else if limit.default.replace(rule.limit).is_some() {
            return Err(FieldError::invalid(
                RULES,
                "local rateLimit can not have more than one rule without clientSelectors",
            ));
        }
    }
    let unit = (limit.default.as_ref()).map_or(Duration::from_secs(1), |limit| limit.period);
    let fits = |rule: &LimitRule| rule.limit.period.as_secs().is_multiple_of(unit.as_secs());
    if !limit.rules.iter().all(fits) {
        return Err(FieldError::invalid(
            RULES,
            "local rateLimit rule limit unit must be a multiple of the default limit unit",
        ));
    }
    Ok(limit)
}

fn rule(field: &str, rule: &RateLimitRule) -> Result<LimitRule, FieldError> {
    if (rule.limit.as_ref()).is_some_and(|limit| limit.from_metadata.is_some()) {
        return Err(FieldError::invalid(
            field,
            "limit fromMetadata is not supported for Local Rate Limits",
        ));
    }
    if (rule.cost.as_ref()).is_some_and(|cost| cost.response.is_some()) {
        return Err(FieldError::invalid(
            field,
            "response cost is not supported for Local Rate Limits",
        ));
    }
    let ParsedRule {
        selectors,
        requests,
        unit,
        request_cost,
        response_cost: _,
        shared,
        shadow,
        headers,
    } = ParsedRule::parse(field, rule)?;
    let cost = match request_cost {
        None => 1,
        Some(LimitCost::Fixed(cost)) => cost,
        Some(LimitCost::Metadata(_)) => {
            let field = format!("{field}.cost.request.metadata");
            return Err(FieldError::unsupported(field));
        }
    };
    Ok(LimitRule {
        selectors,
        limit: Limit {
            requests,
            period: unit.period(),
            cost,
            shared,
            shadow,
            headers,
        },
    })
}
