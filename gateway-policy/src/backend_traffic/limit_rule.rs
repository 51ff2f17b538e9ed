//! The parts that rules of `rateLimit.local` and `rateLimit.global` have in common.

use towergate_core::http::query;
use towergate_core::plan::TextMatch;

use super::limit::{
    ClientSelector, CostMetadata, CostSource, CostSpecifier, HeaderSelector, QuerySelector,
    RateLimitRule, RateLimitUnit, SelectorKind, SourceKind, SourceSelector, XRateLimitHeaders,
};
use crate::FieldError;
use crate::common::{MethodMatch, PathMatch, PathMatchKind};
use crate::global_rate_limit::{LimitCost, LimitUnit};
use crate::parse::{header_name, network, number};
use crate::rate_limit::{
    HeaderRule, MethodRule, PathRule, PathTest, QueryRule, Selector, SourceRule, ValueTest,
};
use crate::request_metadata::{JWT_AUTHN, MetadataKey};

/// A rule whose values have been read.
pub(super) struct ParsedRule {
    /// Conditions, one of which must match. Empty: every request matches.
    pub(super) selectors: Vec<Selector>,
    pub(super) requests: u32,
    pub(super) unit: LimitUnit,
    /// Number by which a request counts towards the limit. `None`: not set.
    pub(super) request_cost: Option<LimitCost>,
    /// Number by which a response counts towards the limit. `None`: not set.
    pub(super) response_cost: Option<LimitCost>,
    pub(super) shared: bool,
    pub(super) shadow: bool,
    /// Whether responses have the `x-ratelimit-*` fields. `None`: the setting of the listener.
    pub(super) headers: Option<bool>,
}

impl ParsedRule {
    /// Reads the rule at `field`. The caller converts `limit.fromMetadata`.
    ///
    /// # Errors
    /// The first field that is not supported, or whose value is invalid.
    pub(super) fn parse(field: &str, rule: &RateLimitRule) -> Result<Self, FieldError> {
        let RateLimitRule {
            client_selectors,
            limit,
            cost,
            shared,
            shadow_mode,
            x_rate_limit_headers,
        } = rule;
        let limit = limit.clone().unwrap_or_default();
        let cost = cost.clone().unwrap_or_default();
        let requests = number(format!("{field}.limit.requests"), limit.requests)?;
        let selectors = client_selectors.as_deref().unwrap_or_default();
        let selectors = selectors
            .iter()
            .map(|selector| convert_selector(&format!("{field}.clientSelectors"), selector));
        Ok(Self {
            selectors: selectors.collect::<Result<_, _>>()?,
            requests: requests
                .ok_or_else(|| FieldError::invalid(field, "limit.requests is missing"))?,
            unit: unit(&format!("{field}.limit.unit"), limit.unit.as_ref())?,
            request_cost: limit_cost(&format!("{field}.cost.request"), cost.request.as_ref())?,
            response_cost: limit_cost(&format!("{field}.cost.response"), cost.response.as_ref())?,
            shared: shared.unwrap_or(false),
            shadow: shadow_mode.unwrap_or(false),
            headers: shown(
                &format!("{field}.xRateLimitHeaders"),
                x_rate_limit_headers.as_ref(),
            )?,
        })
    }
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

fn limit_cost(field: &str, cost: Option<&CostSpecifier>) -> Result<Option<LimitCost>, FieldError> {
    let Some(CostSpecifier {
        from,
        number: cost,
        metadata,
    }) = cost
    else {
        return Ok(None);
    };
    match (from, metadata) {
        (Some(CostSource::Other(word)), _) => {
            Err(FieldError::unknown_value(format!("{field}.from"), word))
        }
        (Some(CostSource::Metadata), Some(CostMetadata { namespace, key })) => {
            let field = format!("{field}.metadata");
            let key = metadata_key(&field, namespace.as_deref(), key.as_deref())?;
            Ok(Some(LimitCost::Metadata(key)))
        }
        (Some(CostSource::Metadata), None) => Err(FieldError::invalid(
            format!("{field}.metadata"),
            "Required value",
        )),
        (None | Some(CostSource::Number), Some(_)) => Err(FieldError::invalid(
            format!("{field}.metadata"),
            "only one of number or metadata can be specified",
        )),
        (None | Some(CostSource::Number), None) => {
            let cost = number(format!("{field}.number"), *cost)?;
            Ok(cost.map(LimitCost::Fixed))
        }
    }
}

/// The name of a metadata value of a request. Claims of tokens are not available as metadata.
pub(super) fn metadata_key(
    field: &str,
    namespace: Option<&str>,
    key: Option<&str>,
) -> Result<MetadataKey, FieldError> {
    let namespace = namespace.unwrap_or_default();
    if namespace == JWT_AUTHN {
        return Err(FieldError::unsupported_value(
            format!("{field}.namespace"),
            namespace,
        ));
    }
    Ok(MetadataKey {
        namespace: namespace.to_owned(),
        key: key.unwrap_or_default().to_owned(),
    })
}

fn shown(field: &str, headers: Option<&XRateLimitHeaders>) -> Result<Option<bool>, FieldError> {
    match headers {
        None => Ok(None),
        Some(XRateLimitHeaders::Off) => Ok(Some(false)),
        Some(XRateLimitHeaders::DraftVersion03) => Ok(Some(true)),
        Some(XRateLimitHeaders::Other(word)) => Err(FieldError::unknown_value(field, word)),
    }
}

fn convert_selector(field: &str, selector: &ClientSelector) -> Result<Selector, FieldError> {
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
    let name = name.as_deref().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| FieldError::invalid(field, "name is required"))?;
    let mut test = value_test(field, kind.as_ref(), value.as_deref(), *invert)?;
    // Query parameters of requests are decoded before they are compared, so the configured value is
    // decoded in the same way.
    if let ValueTest::Is {
        value: TextMatch::Exact(text),
        ..
    } = &mut test
    {
        *text = query::decode(text).into_owned();
    }
    Ok(QueryRule {
        name: query::decode(name).into_owned(),
        test,
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
        None | Some(PathMatchKind::PathPrefix) => PathTest::Prefix(value),
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
