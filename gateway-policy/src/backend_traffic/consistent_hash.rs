//! `loadBalancer.consistentHash`: the input of the hash and the size of its table.

use std::collections::BTreeMap;

use towergate_core::plan::{CookieHash, HashKey, LoadBalancer as Plan};

use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{DurationText, HeaderNameRef};
use crate::field_path::FieldPath;
use crate::parse::{duration, header_name, number};

string_enum! {
    /// The input of the hash.
    pub enum ConsistentHashType {
        SourceIp = "SourceIP",
        Header = "Header",
        Headers = "Headers",
        Cookie = "Cookie",
        QueryParams = "QueryParams",
    }
}

api_struct! {
    /// Settings of `ConsistentHash`: a Maglev table.
    pub struct ConsistentHash, rules {
        /// Input of the hash.
        kind: ConsistentHashType = "type" [Required],
        /// Header that is hashed. Superseded by `headers`.
        header: HeaderNameRef = "header",
        /// Headers that are hashed.
        headers: Vec<HeaderNameRef> = "headers",
        /// Cookie that is hashed.
        cookie: Cookie = "cookie",
        /// Query parameters that are hashed.
        query_params: Vec<QueryParam> = "queryParams",
        /// Number of entries of the table, a prime. Default: 65537.
        table_size: i64 = "tableSize" [Range(2, 5000011), DefaultNumber(65537)],
    }

    /// The name of a query parameter.
    pub struct QueryParam {
        /// Name of the parameter.
        name: String = "name" [Required],
    }

    /// A cookie that is hashed. It is generated if it is missing and `ttl` is set.
    pub struct Cookie {
        /// Name of the cookie.
        name: String = "name" [Required],
        /// Lifetime of a generated cookie. `0s`: that of the browser's session.
        ttl: DurationText = "ttl",
        /// Additional attributes of a generated cookie.
        attributes: BTreeMap<String, String> = "attributes",
    }
}

/// Default number of entries of a Maglev table.
const TABLE_SIZE: u32 = 65_537;

/// Maximum number of entries of a Maglev table.
const MAX_TABLE_SIZE: u32 = 5_000_011;

fn rule(name: &str) -> String {
    format!("If consistent hash type is {name}, the {name} field must be set.")
}

impl ConsistentHash {
    fn rules(&self, report: &mut Report) {
        use ConsistentHashType as Type;
        let kind = self.kind.as_ref();
        for (wanted, set, name) in [
            (Type::Header, self.header.is_some(), "header"),
            (Type::Headers, self.headers.is_some(), "headers"),
            (Type::Cookie, self.cookie.is_some(), "cookie"),
            (
                Type::QueryParams,
                self.query_params.is_some(),
                "queryParams",
            ),
        ] {
            if (kind == Some(&wanted)) != set {
                report.violation(rule(name));
            }
        }
    }

    /// Converts the section. A merge may leave the input of another type in the section; it is ignored.
    pub(super) fn balancer(&self, at: FieldPath<'_>) -> Result<Plan, FieldError> {
        let Self {
            kind,
            header,
            headers,
            cookie,
            query_params,
            table_size,
        } = self;
        use ConsistentHashType as Type;
        let missing = |name: &str| FieldError::invalid(at, rule(name));
        let key = match kind {
            Some(Type::SourceIp) => HashKey::SourceIp,
            Some(Type::Header) => {
                let header = header.as_ref().ok_or_else(|| missing("header"))?;
                header_key(at.field("header"), std::slice::from_ref(header))?
            }
            Some(Type::Headers) => {
                let headers = headers.as_deref().ok_or_else(|| missing("headers"))?;
                header_key(at.field("headers"), headers)?
            }
            Some(Type::Cookie) => {
                let cookie = cookie.as_ref().ok_or_else(|| missing("cookie"))?;
                HashKey::Cookie(cookie.hash(at.field("cookie"))?)
            }
            Some(Type::QueryParams) => {
                let params = query_params.as_ref();
                let params = params.ok_or_else(|| missing("queryParams"))?;
                let name = |param: &QueryParam| param.name.clone().unwrap_or_default();
                HashKey::Query(params.iter().map(name).collect())
            }
            Some(Type::Other(value)) => {
                return Err(FieldError::unknown_value(at.field("type"), value));
            }
            None => return Err(FieldError::invalid(at.field("type"), "Required value")),
        };
        let field = at.field("tableSize");
        let size = number::<u32>(field, *table_size)?.unwrap_or(TABLE_SIZE);
        if size > MAX_TABLE_SIZE || !is_prime(size) {
            return Err(FieldError::invalid(
                field,
                format_args!("{size} is not a prime number up to {MAX_TABLE_SIZE}"),
            ));
        }
        Ok(Plan::ConsistentHash {
            key,
            table_size: size as usize,
        })
    }
}

fn header_key(at: FieldPath<'_>, headers: &[HeaderNameRef]) -> Result<HashKey, FieldError> {
    let name = |header: &HeaderNameRef| header_name(at, header.name.as_deref().unwrap_or_default());
    let names: Result<_, _> = headers.iter().map(name).collect();
    names.map(HashKey::Headers)
}

impl Cookie {
    fn hash(&self, at: FieldPath<'_>) -> Result<CookieHash, FieldError> {
        let Self {
            name,
            ttl,
            attributes,
        } = self;
        let name = name.clone().unwrap_or_default();
        // The name of a cookie is a token, like that of a header (RFC 6265, section 4.1.1).
        header_name(at.field("name"), &name)?;
        let plain = |text: &str| !text.contains([';', '\r', '\n', '\0']);
        for (key, value) in attributes.iter().flatten() {
            if !plain(key) || !plain(value) {
                return Err(FieldError::invalid(
                    at.field("attributes"),
                    format_args!("{key:?} is not a valid attribute"),
                ));
            }
        }
        Ok(CookieHash {
            name,
            ttl: duration(at.field("ttl"), ttl.as_ref())?,
            attributes: attributes.clone().unwrap_or_default().into_iter().collect(),
        })
    }
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::super::LoadBalancer;
    use super::*;

    fn convert(json: serde_json::Value) -> Result<Plan, FieldError> {
        let spec: LoadBalancer = serde_json::from_value(json).unwrap();
        spec.balancer(FieldPath::SPEC.field("loadBalancer"))
    }

    #[test]
    fn the_default_table_size_is_that_of_envoy() {
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
    fn a_table_size_that_is_not_prime_is_rejected() {
        for size in [0, 1, 4, 1024, 65_536, 5_000_013] {
            let plan = convert(serde_json::json!({
                "type": "ConsistentHash",
                "consistentHash": {"type": "SourceIP", "tableSize": size},
            }));

            assert!(plan.is_err(), "{size}");
        }
    }

    #[test]
    fn a_missing_input_of_the_hash_is_named() {
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
    fn the_attributes_and_the_lifetime_of_a_cookie_are_converted() {
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
