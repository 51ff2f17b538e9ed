//! `loadBalancer` of a BackendTrafficPolicy as a value of the plan.

use towergate_core::plan::{CookieHash, HashKey, LoadBalancer as Plan};

use super::balance::{
    ConsistentHash, ConsistentHashType, Cookie, LoadBalancer, LoadBalancerType, ZoneAware,
};
use crate::FieldError;
use crate::common::HeaderNameRef;
use crate::parse::{duration, header_name, number};

const HASH: &str = "spec.loadBalancer.consistentHash";

/// Entries of a Maglev table if the policy names no number.
const TABLE_SIZE: u32 = 65_537;

/// How an endpoint is chosen.
pub(super) fn load_balancer(balancer: Option<&LoadBalancer>) -> Result<Plan, FieldError> {
    let Some(balancer) = balancer else {
        return Ok(Plan::default());
    };
    let LoadBalancer {
        kind,
        consistent_hash,
        backend_utilization,
        dynamic_module,
        endpoint_override,
        slow_start,
        zone_aware,
    } = balancer;
    let zones = zone_aware.as_ref().is_some_and(|zones| {
        let ZoneAware {
            prefer_local,
            weighted_zones,
        } = zones;
        prefer_local.is_some() || weighted_zones.is_some()
    });
    for (field, asked) in [
        (
            "spec.loadBalancer.backendUtilization",
            backend_utilization.is_some(),
        ),
        ("spec.loadBalancer.dynamicModule", dynamic_module.is_some()),
        (
            "spec.loadBalancer.endpointOverride",
            endpoint_override.is_some(),
        ),
        ("spec.loadBalancer.slowStart", slow_start.is_some()),
        ("spec.loadBalancer.zoneAware", zones),
    ] {
        FieldError::require(!asked, field)?;
    }
    match (kind, consistent_hash) {
        (Some(LoadBalancerType::ConsistentHash), Some(hash)) => maglev(hash),
        (Some(LoadBalancerType::ConsistentHash), None) | (_, Some(_)) => Err(FieldError::invalid(
            "spec.loadBalancer",
            "If LoadBalancer type is consistentHash, consistentHash field needs to be set.",
        )),
        (None | Some(LoadBalancerType::LeastRequest), None) => Ok(Plan::LeastRequest),
        (Some(LoadBalancerType::Random), None) => Ok(Plan::Random),
        (Some(LoadBalancerType::RoundRobin), None) => Ok(Plan::RoundRobin),
        (
            Some(
                word @ (LoadBalancerType::BackendUtilization
                | LoadBalancerType::DynamicModule
                | LoadBalancerType::Other(_)),
            ),
            None,
        ) => Err(FieldError::invalid(
            "spec.loadBalancer.type",
            format_args!("{} is not supported", word.as_str()),
        )),
    }
}

fn maglev(hash: &ConsistentHash) -> Result<Plan, FieldError> {
    let ConsistentHash {
        kind,
        header,
        headers,
        cookie,
        query_params,
        table_size,
    } = hash;
    let missing = |name: &str| {
        FieldError::invalid(
            HASH,
            format_args!("If consistent hash type is {name}, the {name} field must be set."),
        )
    };
    let key = match kind {
        Some(ConsistentHashType::SourceIp) => HashKey::SourceIp,
        Some(ConsistentHashType::Header) => {
            let header = header.as_ref().ok_or_else(|| missing("header"))?;
            header_key(std::slice::from_ref(header))?
        }
        Some(ConsistentHashType::Headers) => {
            header_key(headers.as_deref().ok_or_else(|| missing("headers"))?)?
        }
        Some(ConsistentHashType::Cookie) => {
            cookie_key(cookie.as_ref().ok_or_else(|| missing("cookie"))?)?
        }
        Some(ConsistentHashType::QueryParams) => {
            let params = query_params
                .as_ref()
                .ok_or_else(|| missing("queryParams"))?;
            let name = |p: &super::balance::QueryParam| p.name.clone().unwrap_or_default();
            HashKey::Query(params.iter().map(name).collect())
        }
        Some(ConsistentHashType::Other(word)) => {
            return Err(FieldError::unknown_value(&format!("{HASH}.type"), word));
        }
        None => return Err(FieldError::invalid(HASH, "type is missing")),
    };
    let field = format!("{HASH}.tableSize");
    let size = number::<u32>(&field, *table_size)?.unwrap_or(TABLE_SIZE);
    if size > 5_000_011 || !is_prime(size) {
        return Err(FieldError::invalid(
            field,
            format_args!("{size} is no prime number up to 5000011"),
        ));
    }
    Ok(Plan::ConsistentHash {
        key,
        table_size: size as usize,
    })
}

fn header_key(headers: &[HeaderNameRef]) -> Result<HashKey, FieldError> {
    let name = |header: &HeaderNameRef| {
        header_name(
            &format!("{HASH}.headers"),
            header.name.as_deref().unwrap_or_default(),
        )
    };
    headers
        .iter()
        .map(name)
        .collect::<Result<_, _>>()
        .map(HashKey::Headers)
}

fn cookie_key(cookie: &Cookie) -> Result<HashKey, FieldError> {
    let Cookie {
        name,
        ttl,
        attributes,
    } = cookie;
    let name = name.clone().unwrap_or_default();
    // A name of a cookie is a token, as the name of a header is (RFC 6265, section 4.1.1).
    header_name(&format!("{HASH}.cookie.name"), &name)?;
    let plain = |text: &str| !text.contains([';', '\r', '\n', '\0']);
    for (key, value) in attributes.iter().flatten() {
        if !plain(key) || !plain(value) {
            return Err(FieldError::invalid(
                format!("{HASH}.cookie.attributes"),
                format_args!("{key:?} is no attribute"),
            ));
        }
    }
    Ok(HashKey::Cookie(CookieHash {
        name,
        ttl: duration(&format!("{HASH}.cookie.ttl"), ttl.as_ref())?,
        attributes: attributes.clone().unwrap_or_default().into_iter().collect(),
    }))
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(json: serde_json::Value) -> Result<Plan, FieldError> {
        load_balancer(Some(&serde_json::from_value(json).unwrap()))
    }

    #[test]
    fn a_hash_without_a_size_has_the_table_of_envoy() {
        let plan = convert(serde_json::json!({
            "type": "ConsistentHash",
            "consistentHash": {"type": "SourceIP"},
        }));

        assert_eq!(
            plan,
            Ok(Plan::ConsistentHash {
                key: HashKey::SourceIp,
                table_size: 65_537,
            })
        );
    }

    #[test]
    fn a_table_whose_size_is_not_prime_is_refused() {
        for size in [0, 1, 4, 1024, 65_536, 5_000_013] {
            let plan = convert(serde_json::json!({
                "type": "ConsistentHash",
                "consistentHash": {"type": "SourceIP", "tableSize": size},
            }));

            assert!(plan.is_err(), "{size}");
        }
    }

    #[test]
    fn what_a_hash_needs_and_lacks_is_named() {
        for (kind, missing) in [
            ("Header", "header"),
            ("Headers", "headers"),
            ("Cookie", "cookie"),
            ("QueryParams", "queryParams"),
        ] {
            let plan = convert(serde_json::json!({
                "type": "ConsistentHash",
                "consistentHash": {"type": kind},
            }));

            let message = plan.unwrap_err().message;
            assert!(
                message.contains(&format!("the {missing} field")),
                "{message}"
            );
        }
    }

    #[test]
    fn a_cookie_keeps_its_attributes_and_lifetime() {
        let plan = convert(serde_json::json!({
            "type": "ConsistentHash",
            "consistentHash": {"type": "Cookie", "cookie": {
                "name": "stick", "ttl": "60s", "attributes": {"SameSite": "Strict"},
            }},
        }));

        let Ok(Plan::ConsistentHash {
            key: HashKey::Cookie(cookie),
            ..
        }) = plan
        else {
            panic!("{plan:?}");
        };
        assert_eq!(cookie.ttl, Some(std::time::Duration::from_secs(60)));
        assert_eq!(
            cookie.attributes,
            [("SameSite".to_owned(), "Strict".to_owned())]
        );
    }
}
