//! Values about a request that one policy sets and later policies use (Envoy: dynamic metadata).
//!
//! ```text
//! external authorization over gRPC ── CheckResponse.dynamic_metadata ──> AuthorizationMetadata
//! MetadataKey ── namespace, key ──> value ──> cost or limit of a global rate limit
//! ```
//!
//! Other sources in Envoy are external processing, Lua, Wasm and the claims of tokens. They set no values
//! here, so a value in their namespaces is always absent. The namespace of claims is rejected.

use std::sync::Arc;

use http::request;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::global_rate_limit::LimitUnit;

/// Namespace of the values of an external authorization.
pub const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";
/// Namespace of the claims of tokens, which is not supported.
pub const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";
/// Largest cost of a request or response, as in Envoy.
const MAX_COST: f64 = 1_000_000_000.0;

/// The values that the external authorizations of a request have returned.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AuthorizationMetadata(pub Arc<Map<String, Value>>);

/// Name of a value.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct MetadataKey {
    /// Namespace: the name of the filter that sets the value, in Envoy.
    pub namespace: String,
    /// Key in the namespace.
    pub key: String,
}

/// A limit that replaces the configured one for a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LimitOverride {
    /// Number of requests in a period.
    pub requests: u32,
    /// Period of the limit.
    pub unit: LimitUnit,
}

impl AuthorizationMetadata {
    /// Adds the values of one authorization to those of earlier ones. If several authorizations set the same
    /// key, the last value applies, as in Envoy.
    pub(crate) fn add(head: &mut request::Parts, values: Map<String, Value>) {
        if values.is_empty() {
            return;
        }
        match head.extensions.get_mut::<Self>() {
            Some(Self(held)) => Arc::make_mut(held).extend(values),
            None => drop(head.extensions.insert(Self(Arc::new(values)))),
        }
    }
}

impl MetadataKey {
    /// The value for a request. `None`: no policy has set it.
    pub fn find<'r>(&self, head: &'r request::Parts) -> Option<&'r Value> {
        if self.namespace != EXT_AUTHZ {
            return None;
        }
        head.extensions
            .get::<AuthorizationMetadata>()?
            .0
            .get(&self.key)
    }

    /// The value as a cost: a number from 0 to 1,000,000,000, rounded down, or a string with such a number.
    /// `None`: the value is absent or invalid.
    pub fn cost(&self, head: &request::Parts) -> Option<u32> {
        let number = match self.find(head)? {
            Value::Number(number) => number.as_f64()?,
            Value::String(text) => text.trim().parse().ok()?,
            _ => return None,
        };
        let valid = (0.0..=MAX_COST).contains(&number);
        valid.then_some(number as u32)
    }

    /// The value as a limit: an object with `requests_per_unit` and `unit`. `None`: the value is absent or
    /// invalid. As in Envoy, the configured limit then applies.
    pub fn limit(&self, head: &request::Parts) -> Option<LimitOverride> {
        let value = self.find(head)?;
        let requests = value.get("requests_per_unit")?.as_f64()?;
        let valid = (0.0..=f64::from(u32::MAX)).contains(&requests);
        let unit = match value.get("unit")?.as_str()? {
            "SECOND" => LimitUnit::Second,
            "MINUTE" => LimitUnit::Minute,
            "HOUR" => LimitUnit::Hour,
            "DAY" => LimitUnit::Day,
            "WEEK" => LimitUnit::Week,
            "MONTH" => LimitUnit::Month,
            "YEAR" => LimitUnit::Year,
            _ => return None,
        };
        valid.then_some(LimitOverride {
            requests: requests as u32,
            unit,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use serde_json::json;

    use super::*;

    fn head(value: Value) -> request::Parts {
        let Value::Object(values) = json!({ "k": value }) else {
            unreachable!("the value is an object");
        };
        let mut head = Request::new(()).into_parts().0;
        head.extensions
            .insert(AuthorizationMetadata(Arc::new(values)));
        head
    }

    fn key(namespace: &str, key: &str) -> MetadataKey {
        MetadataKey {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
        }
    }

    #[test]
    fn a_cost_is_a_number_or_its_text() {
        for (value, expected) in [
            (json!(7), Some(7)),
            (json!(7.9), Some(7)),
            (json!("12"), Some(12)),
            (json!(0), Some(0)),
            (json!(1_000_000_000), Some(1_000_000_000)),
            (json!(1_000_000_001), None),
            (json!(-1), None),
            (json!("NaN"), None),
            (json!("many"), None),
            (json!(true), None),
            (json!({}), None),
        ] {
            assert_eq!(
                key(EXT_AUTHZ, "k").cost(&head(value.clone())),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn a_limit_has_a_number_and_a_unit() {
        let limit = |value: Value| key(EXT_AUTHZ, "k").limit(&head(value));
        let hourly = LimitOverride {
            requests: 42,
            unit: LimitUnit::Hour,
        };

        assert_eq!(
            limit(json!({ "requests_per_unit": 42, "unit": "HOUR" })),
            Some(hourly)
        );
        for invalid in [
            json!({ "requests_per_unit": 42 }),
            json!({ "unit": "HOUR" }),
            json!({ "requests_per_unit": -1, "unit": "HOUR" }),
            json!({ "requests_per_unit": 42, "unit": "Hour" }),
            json!(42),
        ] {
            assert_eq!(limit(invalid.clone()), None, "{invalid}");
        }
    }

    #[test]
    fn a_second_authorization_adds_to_the_values_of_the_first() {
        let values = |value: Value| value.as_object().unwrap().clone();
        let mut head = Request::new(()).into_parts().0;

        AuthorizationMetadata::add(&mut head, values(json!({ "a": 1, "b": 2 })));
        AuthorizationMetadata::add(&mut head, Map::new());
        AuthorizationMetadata::add(&mut head, values(json!({ "b": 3, "c": 4 })));

        let costs = ["a", "b", "c"].map(|name| key(EXT_AUTHZ, name).cost(&head));
        assert_eq!(costs, [Some(1), Some(3), Some(4)]);
    }

    #[test]
    fn only_values_of_the_authorization_are_found() {
        let head = head(json!(1));

        assert_eq!(key(EXT_AUTHZ, "other").cost(&head), None);
        assert_eq!(key("something.com", "k").cost(&head), None);
        assert_eq!(
            key(EXT_AUTHZ, "k").cost(&Request::new(()).into_parts().0),
            None
        );
    }
}
