//! `rateLimit.global` of a BackendTrafficPolicy as a [`GlobalRateLimit`].

use super::RouteContext;
use super::limit::{LimitMetadata, RateLimit, RateLimitRule};
use super::limit_rule::{ParsedRule, metadata_key};
use crate::FieldError;
use crate::global_rate_limit::{GlobalLimitRule, GlobalRateLimit, LimitCost};
use crate::request_metadata::EXT_AUTHZ;

const RULES: &str = "spec.rateLimit.global.rules";

/// The global rate limit. `None`: the policy has no global limit.
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
    let from_metadata = rule.limit.as_ref();
    let from_metadata = from_metadata.and_then(|limit| limit.from_metadata.as_ref());
    let limit_from = from_metadata.map(|LimitMetadata { namespace, key }| {
        let field = format!("{field}.limit.fromMetadata");
        metadata_key(&field, namespace.as_deref(), key.as_deref())
    });
    let ParsedRule {
        selectors,
        requests,
        unit,
        request_cost,
        response_cost,
        shared,
        shadow,
        headers,
    } = ParsedRule::parse(field, rule)?;
    Ok(GlobalLimitRule {
        selectors,
        requests,
        unit,
        shared,
        shadow,
        headers,
        limit_from: limit_from.transpose()?,
        request_cost,
        response_cost: response_cost.map(cost_of_response),
    })
}

/// The cost of a response. Only external authorization sets metadata, so a cost in another namespace never
/// has a value. That cost is replaced by 1; otherwise the response would not be counted.
fn cost_of_response(written: LimitCost) -> LimitCost {
    match written {
        LimitCost::Metadata(key) if key.namespace != EXT_AUTHZ => LimitCost::Fixed(1),
        written => written,
    }
}
