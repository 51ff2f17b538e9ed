//! SecurityPolicies that are in force, but probably do not protect as intended.

use std::collections::{BTreeMap, BTreeSet};

use http::Uri;
use towergate_core::plan::{Filter, Match, PathMatch};
use towergate_policy::SecurityPolicySpec;
use towergate_tls::NamePattern;

use super::super::gateway::{Gateways, ListenerProtocol, ListenerState};
use super::super::indexed::{GatewayIndex, ListenerIndex, RouteIndex};
use super::super::policy::{InForce, On, Policies};
use super::super::report::{Report, Subject};
use super::super::route::{Routes, RuleDraft};
use crate::finding::FindingCode;
use crate::objects::{Object, ObjectKey};

/// Path to which an OpenID provider redirects by default.
const CALLBACK: &str = "/oauth2/callback";

/// Reports SecurityPolicies that do not protect as intended.
pub(super) fn check(
    gateways: &Gateways<'_>,
    routes: &Routes<'_>,
    policies: &Policies<'_>,
    report: &mut Report,
) {
    if policies.security.is_empty() {
        return;
    }
    let mut uses = Uses::default();
    for (at, state) in routes.indexed() {
        for attachment in &state.attachments {
            let gateway = &gateways.list[attachment.gateway];
            for (listener, hostnames) in &attachment.listeners {
                let place = Place {
                    gateway: attachment.gateway,
                    at: *listener,
                    listener: &gateway.listeners[*listener],
                    hostnames,
                };
                let rules = state
                    .rules
                    .iter()
                    .map(|rule| (rule.name.as_deref(), Some(rule)));
                let stream = state
                    .stream
                    .iter()
                    .map(|draft| (draft.name.as_deref(), None));
                for (name, rule) in rules.chain(stream) {
                    uses.add(policies, (at, name), place, rule);
                }
            }
        }
    }
    for used in uses.policies.values() {
        used.report(policies, report);
    }
}

/// A listener to which a route is attached.
#[derive(Clone, Copy)]
struct Place<'p, 'a> {
    gateway: GatewayIndex,
    at: ListenerIndex,
    listener: &'p ListenerState<'a>,
    hostnames: &'p [NamePattern],
}

/// Policies by name.
#[derive(Default)]
struct Uses<'p, 'a> {
    policies: BTreeMap<ObjectKey, PolicyUse<'p, 'a>>,
}

/// Where a policy applies.
struct PolicyUse<'p, 'a> {
    policy: &'a Object<SecurityPolicySpec>,
    /// Rules and listeners on which the policy is in force.
    rules: Vec<(Place<'p, 'a>, Option<&'p RuleDraft>)>,
    /// Policies that replace it.
    replaced_by: BTreeSet<ObjectKey>,
}

impl<'p, 'a> Uses<'p, 'a> {
    fn add(
        &mut self,
        policies: &Policies<'a>,
        (route, name): (RouteIndex, Option<&str>),
        place: Place<'p, 'a>,
        rule: Option<&'p RuleDraft>,
    ) {
        let on = On {
            gateway: place.gateway,
            set: place.listener.set,
            listener: &place.listener.spec.name,
        };
        let Some(InForce { policy, parent, .. }) = policies.security.find(route, name, on) else {
            return;
        };
        for applied in [Some(policy), parent].into_iter().flatten() {
            self.of(applied).rules.push((place, rule));
        }
        for candidate in policies.security.candidates(route, name, on) {
            let applies = candidate.key() == policy.key()
                || parent.is_some_and(|parent| parent.key() == candidate.key());
            if !applies {
                self.of(candidate).replaced_by.insert(policy.key());
            }
        }
    }

    fn of(&mut self, policy: &'a Object<SecurityPolicySpec>) -> &mut PolicyUse<'p, 'a> {
        self.policies
            .entry(policy.key())
            .or_insert_with(|| PolicyUse {
                policy,
                rules: Vec::new(),
                replaced_by: BTreeSet::new(),
            })
    }
}

impl PolicyUse<'_, '_> {
    fn report(&self, policies: &Policies<'_>, report: &mut Report) {
        let subject = Subject::new("SecurityPolicy", self.policy);
        if self.rules.is_empty() {
            let names: Vec<_> = self.replaced_by.iter().map(ObjectKey::to_string).collect();
            let message = format!(
                "the policy protects nothing: {} replaces it on every route that it covers",
                names.join(", ")
            );
            return report.warn(
                FindingCode::PolicyReplaced,
                &subject,
                "spec.targetRefs",
                message,
                "set mergeType in the more specific policies, or remove this one",
            );
        }
        if !self.policy.misread.is_empty() {
            return;
        }
        self.plain_text(&subject, report);
        self.peer_address(policies, &subject, report);
        self.redirect_url(&subject, report);
    }

    /// Reports credentials on listeners without TLS.
    fn plain_text(&self, subject: &Subject<'_>, report: &mut Report) {
        let spec = &self.policy.spec;
        let sections = [
            (spec.basic_auth.is_some(), "spec.basicAuth", "passwords"),
            (spec.api_key_auth.is_some(), "spec.apiKeyAuth", "API keys"),
            (spec.jwt.is_some(), "spec.jwt", "tokens"),
            (spec.oidc.is_some(), "spec.oidc", "sessions"),
        ];
        let plain = self.rules.iter().find(|(place, rule)| {
            place.listener.protocol == Some(ListenerProtocol::Http)
                && rule.is_some_and(|rule| !rule.filters.iter().any(is_redirect))
        });
        let Some((place, _)) = plain else { return };
        for (_, field, what) in sections.into_iter().filter(|(is_set, ..)| *is_set) {
            let message = format!(
                "{what} are sent without encryption: the policy is in force on listener {:?}, which has protocol HTTP",
                place.listener.spec.name
            );
            report.warn(
                FindingCode::CredentialsInPlainText,
                subject,
                field,
                message,
                "attach the routes to an HTTPS listener, and redirect the HTTP listener to it",
            );
        }
    }

    /// Reports rules by client address where the address may be that of a load balancer.
    fn peer_address(&self, policies: &Policies<'_>, subject: &Subject<'_>, report: &mut Report) {
        let rules = self.policy.spec.authorization.as_ref();
        let rules = rules.and_then(|rules| rules.rules.as_ref());
        let by_address = rules.into_iter().flatten().position(|rule| {
            let principal = rule.principal.as_ref();
            principal.is_some_and(|principal| principal.client_cidrs.is_some())
        });
        let unset = self
            .rules
            .iter()
            .find(|(place, _)| policies.client.find(place.gateway, place.at).is_none());
        if let (Some(rule), Some((place, _))) = (by_address, unset) {
            let message = format!(
                "no ClientTrafficPolicy sets how listener {:?} determines the client address; behind a load balancer, the rule compares the address of the load balancer",
                place.listener.spec.name
            );
            report.warn(
                FindingCode::AuthorizationByPeerAddress,
                subject,
                format!("spec.authorization.rules[{rule}].principal.clientCIDRs"),
                message,
                "set proxyProtocol or clientIPDetection in a ClientTrafficPolicy; if clients connect directly, set clientIPDetection.directSourceIP: {}",
            );
        }
    }

    /// Reports a redirect URL of OpenID Connect that no rule under the policy matches.
    fn redirect_url(&self, subject: &Subject<'_>, report: &mut Report) {
        let Some(oidc) = &self.policy.spec.oidc else {
            return;
        };
        let url = oidc.redirect_url.as_deref();
        // A URL with operators has the host of the request.
        let literal = url.filter(|url| !url.contains('%'));
        let parsed = literal.and_then(|url| url.parse::<Uri>().ok());
        let host = parsed.as_ref().and_then(Uri::host);
        let path = match (&parsed, url) {
            (Some(url), _) => url.path(),
            (None, Some(url)) => url.rsplit_once('%').map_or(CALLBACK, |(_, path)| path),
            (None, None) => CALLBACK,
        };
        let served = self.rules.iter().any(|(place, rule)| {
            let host_fits = host.is_none_or(|host| {
                place.hostnames.is_empty() || place.hostnames.iter().any(|name| name.matches(host))
            });
            host_fits && rule.is_some_and(|rule| may_match(&rule.matches, path))
        });
        if !served {
            let message = format!(
                "no rule under the policy serves {}, to which the provider redirects; no login can complete",
                url.unwrap_or(CALLBACK)
            );
            report.warn(
                FindingCode::OidcRedirectNotServed,
                subject,
                "spec.oidc.redirectURL",
                message,
                "use a host and path that a route under the policy matches",
            );
        }
    }
}

fn is_redirect(filter: &Filter) -> bool {
    matches!(filter, Filter::Redirect(_))
}

/// Whether one of the matches may select a GET request with this path.
fn may_match(matches: &[Match], path: &str) -> bool {
    let fits = |found: &Match| {
        let get = found
            .method
            .as_deref()
            .is_none_or(|method| *method == http::Method::GET);
        let path_fits = match &found.path {
            PathMatch::Exact(exact) => exact == path,
            PathMatch::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                let rest = path.strip_prefix(prefix);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            PathMatch::Regex(expression) => expression.is_match(path),
            PathMatch::Grpc(_) => false,
        };
        get && path_fits
    };
    matches.is_empty() || matches.iter().any(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_served_by_exact_prefix_and_regular_matches() {
        let of = |path: PathMatch| {
            [Match {
                path,
                ..Match::default()
            }]
        };
        for (found, path, served) in [
            (PathMatch::Exact("/a".to_owned()), "/a", true),
            (PathMatch::Exact("/a".to_owned()), "/a/b", false),
            (PathMatch::Prefix("/".to_owned()), "/a/b", true),
            (PathMatch::Prefix("/a/".to_owned()), "/a", true),
            (PathMatch::Prefix("/a".to_owned()), "/ab", false),
        ] {
            assert_eq!(may_match(&of(found.clone()), path), served, "{found:?}");
        }
    }
}
