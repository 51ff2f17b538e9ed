//! `filterOrder`: the order of Envoy's filters.
//!
//! The order of the five authentication filters is applied: it determines which identity an authorization
//! service receives. The order of all other policies is fixed. An entry that changes only their order has no
//! effect and causes a warning. An order that places a limit before authentication is rejected, because in the
//! fixed order the limit would not apply to clients that authentication rejects.

use towergate_core::policy::{RoutePolicy, Stage};

use crate::Policy;
use crate::api_struct::api_struct;
use crate::backend_traffic::{LIMITS_BEFORE_AUTHENTICATION, MAX_REQUEST_BODY};
use crate::check::Report;
use crate::security::AUTHORIZATION_BEFORE_AUTHENTICATION;

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
/// The filter after all others, which no entry may name.
const ROUTER: &str = "router";
/// Filters that authenticate clients, in Envoy Gateway's order, and the stages of their policies.
const AUTHENTICATION: [(&str, Stage); 5] = [
    ("ext_authz", Stage::ExternalAuth),
    ("api_key_auth", Stage::ApiKey),
    ("basic_auth", Stage::BasicAuth),
    ("oauth2", Stage::Oidc),
    ("jwt_authn", Stage::Jwt),
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
        let names = [
            ("name", &self.name),
            ("before", &self.before),
            ("after", &self.after),
        ];
        for (field, name) in names {
            let name = name.as_deref().unwrap_or_default();
            let known = name
                .strip_prefix(PREFIX)
                .is_some_and(|short| short != ROUTER && DEFAULT.contains(&short));
            if !name.is_empty() && !known {
                report.violation(format!(
                    "{field}: {name:?} is not a filter of Envoy Gateway"
                ));
            }
        }
    }

    /// The name of the filter without prefix.
    fn filter(&self) -> &str {
        short(self.name.as_deref().unwrap_or_default())
    }

    /// Whether the entry contains the filter.
    fn names(&self, filter: &str) -> bool {
        let names = [&self.name, &self.before, &self.after];
        names
            .into_iter()
            .flatten()
            .any(|name| short(name) == filter)
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

/// The order of authentication on a Gateway: the stages of the policies in the order in which they run.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct AuthenticationOrder([Stage; 5]);

impl Default for AuthenticationOrder {
    /// The order of Envoy Gateway.
    fn default() -> Self {
        Self(AUTHENTICATION.map(|(_, stage)| stage))
    }
}

impl AuthenticationOrder {
    /// The relative order of the authentication filters in `filters`.
    fn of(filters: &[&str]) -> Self {
        let place = |name: &str| filters.iter().position(|filter| *filter == name);
        let mut sorted = AUTHENTICATION;
        sorted.sort_by_key(|(name, _)| place(name));
        Self(sorted.map(|(_, stage)| stage))
    }

    /// Moves the policies that authenticate clients to their positions in this order.
    pub fn apply(&self, policies: &mut [Policy]) {
        for policy in policies {
            let own = policy.stage();
            let position = self.0.iter().position(|stage| *stage == own);
            let slot = position.map(|position| AUTHENTICATION[position].1);
            if let Some(stage) = slot.filter(|slot| *slot != own) {
                let policy_at_stage = Box::new(policy.clone());
                *policy = Policy::AtStage(stage, policy_at_stage);
            }
        }
    }
}

/// The order of authentication, and the indexes of the entries that have no effect on it.
pub(super) fn authentication_order(
    positions: &[FilterPosition],
) -> (AuthenticationOrder, Vec<usize>) {
    let mut filters = DEFAULT.to_vec();
    let mut order = AuthenticationOrder::default();
    let mut ignored = Vec::new();
    for (index, position) in positions.iter().enumerate() {
        let unchanged = filters.clone();
        position.apply(&mut filters);
        let changed = AuthenticationOrder::of(&filters);
        if changed == order && filters != unchanged {
            ignored.push(index);
        }
        order = changed;
    }
    (order, ignored)
}

/// The reason why `positions` cannot be applied: index and description of the first position that places a
/// limit before authentication.
pub(super) fn needed(positions: &[FilterPosition]) -> Option<(usize, String)> {
    let mut order = DEFAULT.to_vec();
    for position in positions {
        position.apply(&mut order);
    }
    let place = |name: &str| order.iter().position(|filter| *filter == name);
    let pairs = LIMITS
        .iter()
        .flat_map(|limit| AUTHENTICATION.map(|(other, _)| (*limit, other)))
        .filter(|(limit, other)| place(limit) < place(other));
    let pairs: Vec<_> = pairs.collect();
    // A limit that an entry names explains the error best.
    let named = |(limit, _): &&(&str, &str)| positions.iter().any(|position| position.names(limit));
    let (limit, authentication) = *pairs.iter().find(named).or(pairs.first())?;
    let moved = |position: &FilterPosition| [limit, authentication].contains(&position.filter());
    let index = positions.iter().position(moved)?;
    let text = format!(
        "{limit} before {authentication} is not supported: {}",
        alternative(limit)
    );
    Some((index, text))
}

/// How a limit is placed before authentication without `filterOrder`.
fn alternative(limit: &str) -> String {
    match limit {
        "rbac" => format!(
            "set the annotation {AUTHORIZATION_BEFORE_AUTHENTICATION} of the SecurityPolicy, or remove the entry"
        ),
        "ratelimit" => format!(
            "use rateLimit.local with the annotation {LIMITS_BEFORE_AUTHENTICATION} of the BackendTrafficPolicy, or remove the entry"
        ),
        "buffer" => format!(
            "set the annotations {MAX_REQUEST_BODY} and {LIMITS_BEFORE_AUTHENTICATION} of the BackendTrafficPolicy, or remove the entry"
        ),
        _ => format!(
            "set the annotation {LIMITS_BEFORE_AUTHENTICATION} of the BackendTrafficPolicy, or remove the entry"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext_auth::{AuthService, ExternalAuth, HttpAuthService};

    /// Positions from entries such as `ext_authz after jwt_authn`.
    fn positions(entries: &[&str]) -> Vec<FilterPosition> {
        let name = |short: &str| Some(format!("{PREFIX}{short}"));
        let position = |entry: &&str| {
            let words: Vec<_> = entry.split(' ').collect();
            let target = name(words[2]);
            let (before, after) = match words[1] {
                "before" => (target, None),
                _ => (None, target),
            };
            FilterPosition {
                name: name(words[0]),
                before,
                after,
            }
        };
        entries.iter().map(position).collect()
    }

    #[test]
    fn a_limit_before_authentication_is_refused_with_its_alternative() {
        for (entries, index, alternative) in [
            (
                &["local_ratelimit before ext_authz"][..],
                0,
                LIMITS_BEFORE_AUTHENTICATION,
            ),
            (
                &["cors after jwt_authn", "jwt_authn after rbac"],
                1,
                AUTHORIZATION_BEFORE_AUTHENTICATION,
            ),
            (&["ratelimit before jwt_authn"], 0, "rateLimit.local"),
            (&["buffer before ext_authz"], 0, MAX_REQUEST_BODY),
            (&["basic_auth before compressor"], 0, ""),
        ] {
            let (found, text) = needed(&positions(entries)).expect("it is refused");

            assert_eq!(found, index, "{entries:?}");
            assert!(text.contains(alternative), "{text}");
        }
    }

    #[test]
    fn other_orders_protect_nothing_less_without_effect() {
        for entries in [
            &[][..],
            &["cors after jwt_authn"],
            &["wasm before jwt_authn"],
            &["ratelimit before cors", "ratelimit after rbac"],
            &["ext_authz after jwt_authn"],
        ] {
            assert_eq!(needed(&positions(entries)), None, "{entries:?}");
        }
    }

    #[test]
    fn the_order_of_authentication_is_applied() {
        use Stage::{ApiKey, BasicAuth, ExternalAuth, Jwt, Oidc};
        for (entries, expected, ignored) in [
            (
                &["ext_authz after jwt_authn"][..],
                [ApiKey, BasicAuth, Oidc, Jwt, ExternalAuth],
                &[][..],
            ),
            (
                &["jwt_authn before ext_authz"],
                [Jwt, ExternalAuth, ApiKey, BasicAuth, Oidc],
                &[],
            ),
            (
                &["ext_authz before rbac", "cors after jwt_authn"],
                [ApiKey, BasicAuth, Oidc, Jwt, ExternalAuth],
                &[1],
            ),
            (
                &["wasm before ext_authz", "ext_authz after fault"],
                [ExternalAuth, ApiKey, BasicAuth, Oidc, Jwt],
                &[0, 1],
            ),
        ] {
            let found = authentication_order(&positions(entries));

            assert_eq!(found, (AuthenticationOrder(expected), ignored.to_vec()));
        }
    }

    #[test]
    fn a_policy_has_the_stage_of_its_position() {
        let service = AuthService::Http(HttpAuthService::default());
        let auth = Policy::ExternalAuth(ExternalAuth::new(service, Vec::new()));
        let cors = Policy::Cors(Default::default());
        let mut policies = [auth.clone(), cors.clone()];
        let (order, _) = authentication_order(&positions(&["ext_authz after jwt_authn"]));

        AuthenticationOrder::default().apply(&mut policies);
        assert_eq!(policies, [auth, cors.clone()]);
        order.apply(&mut policies);

        assert_eq!(policies[0].stage(), Stage::Jwt);
        assert_eq!(policies[1], cors);
    }

    #[test]
    fn names_that_are_not_filters_of_envoy_gateway_are_violations() {
        for (entries, field) in [
            (&["foo before ext_authz"], "name"),
            (&["ext_authz after router"], "after"),
            (&["ext_authz before Cors"], "before"),
        ] {
            let positions = positions(entries);
            let violations = Report::of(&positions[0]).violations;

            let text = violations.first().expect("a violation").to_string();
            assert!(text.contains(field), "{text}");
        }
    }
}
