//! `filterOrder`: the order of Envoy's filters.
//!
//! The order of policies is fixed. Another order has no effect and causes a warning. An order that places a
//! limit before authentication is rejected, because in the fixed order the limit would not apply to clients
//! that authentication rejects.

use crate::api_struct::api_struct;
use crate::check::Report;

/// Prefix of the names of filters.
const PREFIX: &str = "envoy.filters.http.";
/// Names of the filters without [`PREFIX`], in the order of Envoy Gateway.
const DEFAULT: [&str; 28] = [
    "custom_response",
    "health_check",
    "fault",
    "cors",
    "csrf",
    "header_mutation",
    "ext_authz",
    "api_key_auth",
    "basic_auth",
    "oauth2",
    "jwt_authn",
    "stateful_session",
    "buffer",
    "lua",
    "ext_proc",
    "wasm",
    "dynamic_modules",
    "geoip",
    "rbac",
    "local_ratelimit",
    "ratelimit",
    "bandwidth_limit",
    "grpc_web",
    "grpc_stats",
    "credential_injector",
    "compressor",
    "dynamic_forward_proxy",
    "router",
];
/// Filters that authenticate clients.
const AUTHENTICATION: [&str; 5] = [
    "ext_authz",
    "api_key_auth",
    "basic_auth",
    "oauth2",
    "jwt_authn",
];
/// Filters that reject requests regardless of credentials.
const LIMITS: [&str; 4] = ["buffer", "rbac", "local_ratelimit", "ratelimit"];

api_struct! {
    /// The place of a filter of Envoy.
    pub struct FilterPosition, rules {
        /// Filter that is moved.
        name: String = "name" [Required],
        /// Filter before which it is placed.
        before: String = "before",
        /// Filter after which it is placed.
        after: String = "after",
    }
}

impl FilterPosition {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.before.is_some() || self.after.is_some(),
            "one of before or after must be specified",
        );
        report.rule(
            self.before.is_none() || self.after.is_none(),
            "only one of before or after can be specified",
        );
    }

    /// The name of the filter without prefix.
    fn filter(&self) -> &str {
        short(self.name.as_deref().unwrap_or_default())
    }

    /// Moves the filter in `order`. Unknown filters are not moved.
    fn apply<'a>(&'a self, order: &mut Vec<&'a str>) {
        let (target, offset) = match (&self.before, &self.after) {
            (Some(before), _) => (short(before), 0),
            (None, Some(after)) => (short(after), 1),
            (None, None) => return,
        };
        let name = self.filter();
        if name == target || !order.contains(&name) || !order.contains(&target) {
            return;
        }
        order.retain(|filter| *filter != name);
        if let Some(at) = order.iter().position(|filter| *filter == target) {
            order.insert(at + offset, name);
        }
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

/// The reason why `positions` cannot be ignored: index and description of the first position that places a
/// limit before authentication.
pub(super) fn needed(positions: &[FilterPosition]) -> Option<(usize, String)> {
    let mut order = DEFAULT.to_vec();
    for position in positions {
        position.apply(&mut order);
    }
    let place = |name: &str| order.iter().position(|filter| *filter == name);
    let (limit, authentication) = LIMITS
        .iter()
        .flat_map(|limit| AUTHENTICATION.iter().map(move |other| (*limit, *other)))
        .find(|(limit, other)| place(limit) < place(other))?;
    let moved = |position: &FilterPosition| [limit, authentication].contains(&position.filter());
    let index = positions.iter().position(moved)?;
    let text = format!(
        "{limit} before {authentication} is not supported: set the annotation {} of the BackendTrafficPolicy, or remove the entry",
        crate::backend_traffic::LIMITS_BEFORE_AUTHENTICATION
    );
    Some((index, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(positions: &str) -> Option<usize> {
        let positions: Vec<FilterPosition> = serde_json::from_str(positions).expect("positions");
        needed(&positions).map(|(index, _)| index)
    }

    #[test]
    fn a_limit_before_authentication_is_needed() {
        for (positions, index) in [
            (
                r#"[{"name": "envoy.filters.http.local_ratelimit", "before": "envoy.filters.http.ext_authz"}]"#,
                0,
            ),
            (
                r#"[{"name": "envoy.filters.http.cors", "after": "envoy.filters.http.jwt_authn"},
                    {"name": "envoy.filters.http.jwt_authn", "after": "envoy.filters.http.rbac"}]"#,
                1,
            ),
            (
                r#"[{"name": "envoy.filters.http.basic_auth", "before": "envoy.filters.http.router"}]"#,
                0,
            ),
        ] {
            assert_eq!(found(positions), Some(index), "{positions}");
        }
    }

    #[test]
    fn other_orders_protect_nothing_less_without_effect() {
        for positions in [
            "[]",
            r#"[{"name": "envoy.filters.http.cors", "after": "envoy.filters.http.jwt_authn"}]"#,
            r#"[{"name": "envoy.filters.http.wasm", "before": "envoy.filters.http.jwt_authn"}]"#,
            r#"[{"name": "envoy.filters.http.unknown", "before": "envoy.filters.http.ext_authz"}]"#,
            r#"[{"name": "envoy.filters.http.ratelimit", "before": "envoy.filters.http.cors"},
                {"name": "envoy.filters.http.ratelimit", "after": "envoy.filters.http.rbac"}]"#,
        ] {
            assert_eq!(found(positions), None, "{positions}");
        }
    }
}
