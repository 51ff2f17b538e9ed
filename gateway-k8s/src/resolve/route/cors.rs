//! The CORS filter, and the matches for preflight requests.

use http::{HeaderName, Method};
use towergate_core::filter::{Allowed, Cors};
use towergate_core::plan::{Match, NameMatch, TextMatch};

use crate::api::http_route;

/// Default of `maxAge`, in seconds (Gateway API).
const MAX_AGE: u32 = 5;

/// Resolves a CORS filter.
pub(super) fn resolve(written: &http_route::Cors) -> Result<Cors, String> {
    let origins = written.allow_origins.iter().map(|text| {
        let parsed = text.parse();
        parsed.map_err(|error| format!("cors.allowOrigins: {error}"))
    });
    let max_age = match written.max_age.map(u32::try_from) {
        None => MAX_AGE,
        Some(Ok(seconds)) if seconds > 0 => seconds,
        Some(_) => return Err("cors.maxAge is less than 1".to_owned()),
    };
    Ok(Cors {
        origins: origins.collect::<Result<_, _>>()?,
        credentials: written.allow_credentials.unwrap_or(false),
        methods: names("allowMethods", &written.allow_methods, is_method)?,
        headers: names("allowHeaders", &written.allow_headers, is_field)?,
        expose: names("exposeHeaders", &written.expose_headers, is_field)?,
        max_age: Some(max_age),
        as_envoy: false,
        every_response: false,
        origin_texts: Vec::new(),
    })
}

fn is_method(name: &str) -> bool {
    Method::from_bytes(name.as_bytes()).is_ok()
}

fn is_field(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok()
}

fn names(field: &str, written: &[String], valid: fn(&str) -> bool) -> Result<Allowed, String> {
    if let Some(wrong) = written.iter().find(|name| *name != "*" && !valid(name)) {
        return Err(format!("cors.{field}: invalid name {wrong:?}"));
    }
    let names = written.iter().map(String::as_str);
    Allowed::of(names).map_err(|error| format!("cors.{field}: {error}"))
}

/// For matches with a method, the matches of their preflight requests, as in Envoy Gateway. A preflight
/// request has method `OPTIONS` and the URL of the actual request, but none of its headers.
pub(in super::super) fn preflights(matches: &[Match]) -> Vec<Match> {
    let preflight = |found: &Match| {
        let method = found.method.as_deref().filter(|m| **m != Method::OPTIONS)?;
        let field = |name, value| NameMatch {
            name: HeaderName::from_static(name).into(),
            value,
        };
        Some(Match {
            path: found.path.clone(),
            method: Some(Method::OPTIONS.into()),
            headers: vec![
                field("origin", TextMatch::regex(".+").ok()?),
                field(
                    "access-control-request-method",
                    TextMatch::Exact(method.as_str().to_owned()),
                ),
            ],
            query: found.query.clone(),
            cookies: Vec::new(),
        })
    };
    matches.iter().filter_map(preflight).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolved(written: serde_json::Value) -> Result<Cors, String> {
        resolve(&serde_json::from_value(written).unwrap())
    }

    #[test]
    fn what_is_not_written_has_its_default() {
        let cors = resolved(json!({ "allowOrigins": ["*"] })).unwrap();

        assert_eq!(cors.max_age, Some(5));
        assert_eq!(cors.methods, Allowed::Nothing);
        assert!(!cors.credentials);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (written, word) in [
            (json!({ "allowOrigins": ["foo.com"] }), "allowOrigins"),
            (json!({ "allowMethods": ["GE T"] }), "allowMethods"),
            (json!({ "allowHeaders": ["x,y"] }), "allowHeaders"),
            (json!({ "exposeHeaders": [""] }), "exposeHeaders"),
            // A plan carries visible ASCII only.
            (json!({ "allowMethods": ["GÉT"] }), "allowMethods"),
            (json!({ "allowHeaders": ["x-é"] }), "allowHeaders"),
            (json!({ "exposeHeaders": ["x-é"] }), "exposeHeaders"),
            (json!({ "maxAge": 0 }), "maxAge"),
            (json!({ "maxAge": -1 }), "maxAge"),
        ] {
            assert!(resolved(written).unwrap_err().contains(word), "{word}");
        }
    }

    #[test]
    fn a_match_with_a_method_takes_the_preflights_for_it() {
        let of = |method: Option<Method>| Match {
            method: method.map(Into::into),
            ..Match::default()
        };

        let found = preflights(&[of(None), of(Some(Method::PUT)), of(Some(Method::OPTIONS))]);

        assert_eq!(found.len(), 1);
        assert_eq!(found[0].method.as_deref(), Some(&Method::OPTIONS));
        assert_eq!(
            found[0].headers[1].value,
            TextMatch::Exact("PUT".to_owned())
        );
    }
}
