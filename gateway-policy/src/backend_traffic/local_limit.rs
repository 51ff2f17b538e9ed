//! `rateLimit` of a BackendTrafficPolicy as a [`LocalRateLimit`].

use std::time::Duration;

use towergate_core::plan::TextMatch;

use super::RouteContext;
use super::limit::{
    ClientSelector, CostSource, CostSpecifier, HeaderSelector, QuerySelector, RateLimit,
    RateLimitRule, RateLimitType, RateLimitUnit, SelectorKind, SourceKind, SourceSelector,
    XRateLimitHeaders,
};
use crate::FieldError;
use crate::common::{MethodMatch, PathMatch, PathMatchKind};
use crate::parse::{header_name, network, number};
use crate::rate_limit::{
    HeaderRule, Limit, LimitRule, LocalRateLimit, MethodRule, PathRule, PathTest, QueryRule,
    Selector, SourceRule, ValueTest,
};

const RULES: &str = "spec.rateLimit.local.rules";

/// The local rate limit. `None`: the policy has none.
pub(super) fn rate_limit(
    limit: Option<&RateLimit>,
    context: RouteContext<'_>,
) -> Result<Option<LocalRateLimit>, FieldError> {
    let Some(RateLimit {
        kind,
        global,
        local,
    }) = limit
    else {
        return Ok(None);
    };
    if global.is_none() && kind == &Some(RateLimitType::Global) {
        return Err(FieldError::invalid(
            "spec.rateLimit",
            "global configuration empty for rateLimit",
        ));
    }
    if let Some(RateLimitType::Other(word)) = kind {
        return Err(FieldError::unknown_value("spec.rateLimit.type", word));
    }
    let Some(local) = local else {
        if kind == &Some(RateLimitType::Local) {
            return Err(FieldError::invalid(
                "spec.rateLimit",
                "local configuration empty for rateLimit",
            ));
        }
        return Ok(None);
    };
    let rules = local.rules.as_deref().unwrap_or_default();
    local_limit(rules, context).map(Some)
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
    let RateLimitRule {
        client_selectors,
        limit,
        cost,
        shared,
        shadow_mode,
        x_rate_limit_headers,
    } = rule;
    let limit = limit.clone().unwrap_or_default();
    if limit.from_metadata.is_some() {
        return Err(FieldError::invalid(
            field,
            "limit fromMetadata is not supported for Local Rate Limits",
        ));
    }
    let (request, response) = cost
        .clone()
        .map_or((None, None), |c| (c.request, c.response));
    if response.is_some() {
        return Err(FieldError::invalid(
            field,
            "response cost is not supported for Local Rate Limits",
        ));
    }
    let requests = number(format!("{field}.limit.requests"), limit.requests)?;
    let selectors = client_selectors.as_deref().unwrap_or_default();
    Ok(LimitRule {
        selectors: selectors
            .iter()
            .map(|selector| convert_selector(&format!("{field}.clientSelectors"), selector))
            .collect::<Result<_, _>>()?,
        limit: Limit {
            requests: requests
                .ok_or_else(|| FieldError::invalid(field, "limit.requests is missing"))?,
            period: period(&format!("{field}.limit.unit"), limit.unit.as_ref())?,
            cost: request_cost(&format!("{field}.cost.request"), request.as_ref())?,
            shared: shared.unwrap_or(false),
            shadow: shadow_mode.unwrap_or(false),
            headers: shown(
                &format!("{field}.xRateLimitHeaders"),
                x_rate_limit_headers.as_ref(),
            )?,
        },
    })
}

/// As in Envoy Gateway, a month has 30 days and a year 365.
fn period(field: &str, unit: Option<&RateLimitUnit>) -> Result<Duration, FieldError> {
    const DAY: u64 = 86_400;
    let seconds = match unit {
        Some(RateLimitUnit::Second) => 1,
        Some(RateLimitUnit::Minute) => 60,
        Some(RateLimitUnit::Hour) => 3_600,
        Some(RateLimitUnit::Day) => DAY,
        Some(RateLimitUnit::Week) => 7 * DAY,
        Some(RateLimitUnit::Month) => 30 * DAY,
        Some(RateLimitUnit::Year) => 365 * DAY,
        Some(RateLimitUnit::Other(word)) => return Err(FieldError::unknown_value(field, word)),
        None => return Err(FieldError::invalid(field, "Required value")),
    };
    Ok(Duration::from_secs(seconds))
}

fn request_cost(field: &str, cost: Option<&CostSpecifier>) -> Result<u32, FieldError> {
    let Some(CostSpecifier {
        from,
        number: cost,
        metadata,
    }) = cost
    else {
        return Ok(1);
    };
    FieldError::require(
        metadata.is_none() && from != &Some(CostSource::Metadata),
        format!("{field}.metadata"),
    )?;
    if let Some(CostSource::Other(word)) = from {
        return Err(FieldError::unknown_value(format!("{field}.from"), word));
    }
    Ok(number(format!("{field}.number"), *cost)?.unwrap_or(1))
}

pub(super) fn shown(
    field: &str,
    headers: Option<&XRateLimitHeaders>,
) -> Result<Option<bool>, FieldError> {
    match headers {
        None => Ok(None),
        Some(XRateLimitHeaders::Off) => Ok(Some(false)),
        Some(XRateLimitHeaders::DraftVersion03) => Ok(Some(true)),
        Some(XRateLimitHeaders::Other(word)) => Err(FieldError::unknown_value(field, word)),
    }
}

pub(super) fn convert_selector(
    field: &str,
    selector: &ClientSelector,
) -> Result<Selector, FieldError> {
    let ClientSelector {
        headers,
        methods,
        path,
        source_cidr,
        query_params,
    } = selector;
    let selector = Selector {
        headers: (headers.iter().flatten())
            .map(|header| header_rule(&format!("{field}.headers"), header))
            .collect::<Result<_, _>>()?,
        methods: (methods.iter().flatten())
            .map(|method| method_rule(&format!("{field}.methods"), method))
            .collect::<Result<_, _>>()?,
        path: (path.as_ref())
            .map(|path| path_rule(&format!("{field}.path"), path))
            .transpose()?,
        source: (source_cidr.as_ref())
            .map(|source| source_rule(&format!("{field}.sourceCIDR"), source))
            .transpose()?,
        query: (query_params.iter().flatten())
            .map(|param| query_rule(&format!("{field}.queryParams"), param))
            .collect::<Result<_, _>>()?,
    };
    if selector == Selector::default() {
        return Err(FieldError::invalid(
            field,
            "at least one of headers, methods, path, sourceCIDR or queryParams must be specified",
        ));
    }
    Ok(selector)
}

fn header_rule(field: &str, header: &HeaderSelector) -> Result<HeaderRule, FieldError> {
    let HeaderSelector {
        kind,
        name,
        value,
        invert,
    } = header;
    Ok(HeaderRule {
        name: header_name(field, name.as_deref().unwrap_or_default())?,
        test: value_test(field, kind.as_ref(), value.as_deref(), *invert)?,
    })
}

fn query_rule(field: &str, param: &QuerySelector) -> Result<QueryRule, FieldError> {
    let QuerySelector {
        kind,
        name,
        value,
        invert,
    } = param;
    Ok(QueryRule {
        name: name
            .clone()
            .filter(|name| !name.is_empty())
            .ok_or_else(|| FieldError::invalid(field, "name is required"))?,
        test: value_test(field, kind.as_ref(), value.as_deref(), *invert)?,
    })
}

fn value_test(
    field: &str,
    kind: Option<&SelectorKind>,
    value: Option<&str>,
    invert: Option<bool>,
) -> Result<ValueTest, FieldError> {
    let invert = invert.unwrap_or(false);
    let value = match (kind, value) {
        (Some(SelectorKind::Distinct), None) if !invert => return Ok(ValueTest::Distinct),
        (Some(SelectorKind::Distinct), _) => {
            return Err(FieldError::invalid(
                field,
                "invert and value are not applicable for the type Distinct",
            ));
        }
        (Some(SelectorKind::Other(word)), _) => return Err(FieldError::unknown_value(field, word)),
        (_, None) => return Err(FieldError::invalid(field, "a value is required")),
        (Some(SelectorKind::RegularExpression), Some(text)) => {
            TextMatch::regex(text).map_err(|error| FieldError::invalid(field, error))?
        }
        (None | Some(SelectorKind::Exact), Some(text)) => TextMatch::Exact(text.to_owned()),
    };
    Ok(ValueTest::Is { value, invert })
}

fn method_rule(field: &str, method: &MethodMatch) -> Result<MethodRule, FieldError> {
    let MethodMatch { value, invert } = method;
    let method = value.as_ref().map_or("", crate::common::Method::as_str);
    Ok(MethodRule {
        method: method
            .parse()
            .map_err(|error| FieldError::invalid(field, format_args!("{method:?}: {error}")))?,
        invert: invert.unwrap_or(false),
    })
}

fn path_rule(field: &str, path: &PathMatch) -> Result<PathRule, FieldError> {
    let PathMatch {
        kind,
        value,
        invert,
    } = path;
    let value = value.clone().unwrap_or_else(|| "/".to_owned());
    let test = match kind {
        None | Some(PathMatchKind::PathPrefix) => {
            PathTest::Prefix(value.trim_end_matches('/').to_owned())
        }
        Some(PathMatchKind::Exact) => PathTest::Text(TextMatch::Exact(value)),
        Some(PathMatchKind::RegularExpression) => PathTest::Text(
            TextMatch::regex(&value).map_err(|error| FieldError::invalid(field, error))?,
        ),
        Some(PathMatchKind::Other(word)) => return Err(FieldError::unknown_value(field, word)),
    };
    Ok(PathRule {
        test,
        invert: invert.unwrap_or(false),
    })
}

fn source_rule(field: &str, source: &SourceSelector) -> Result<SourceRule, FieldError> {
    let SourceSelector {
        kind,
        value,
        invert,
    } = source;
    let distinct = match kind {
        None | Some(SourceKind::Exact) => false,
        Some(SourceKind::Distinct) => true,
        Some(SourceKind::Other(word)) => return Err(FieldError::unknown_value(field, word)),
    };
    Ok(SourceRule {
        network: network(field, value.as_deref().unwrap_or_default())?,
        distinct,
        invert: invert.unwrap_or(false),
    })
}
