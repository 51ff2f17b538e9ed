//! SecurityPolicies that are in force, but probably do not protect as intended.
//!
//! | module | subject |
//! |---|---|
//! | `credentials` | credentials and keys without encryption |
//! | `login` | paths of OpenID Connect that the policy does not serve |
//! | `peer_address` | authorization by an address that may be that of a load balancer |
//! | `recompute` | authentication that a recomputed route skips |
//! | `replaced` | policies that more specific ones replace |

mod credentials;
mod login;
mod peer_address;
mod recompute;
mod replaced;

use std::collections::{BTreeMap, BTreeSet};

use towergate_policy::{Policy, SecurityPolicySpec};
use towergate_tls::NamePattern;

use super::super::gateway::{Gateways, ListenerProtocol, ListenerState};
use super::super::indexed::{GatewayIndex, ListenerIndex, RouteIndex};
use super::super::object_index::ObjectIndex;
use super::super::policy::{InForce, On, Policies};
use super::super::report::{Report, Subject};
use super::super::route::{Routes, RuleDraft};
use crate::objects::{Object, ObjectKey};

type SecurityPolicy = Object<SecurityPolicySpec>;

/// Input of the checks.
#[derive(Clone, Copy)]
struct Inputs<'p, 'a> {
    index: &'p ObjectIndex<'a>,
    gateways: &'p Gateways<'a>,
    routes: &'p Routes<'a>,
    policies: &'p Policies<'a>,
}

/// Reports SecurityPolicies that do not protect as intended.
pub(super) fn check(
    index: &ObjectIndex<'_>,
    gateways: &Gateways<'_>,
    routes: &Routes<'_>,
    policies: &Policies<'_>,
    report: &mut Report,
) {
    if policies.security.is_empty() {
        return;
    }
    let inputs = Inputs {
        index,
        gateways,
        routes,
        policies,
    };
    let uses = Uses::collect(inputs);
    let paths = login::LoginPaths::new(inputs, &uses.rules);
    for used in uses.policies.values() {
        let subject = Subject::new("SecurityPolicy", used.policy);
        if used.rules.is_empty() {
            replaced::report_unused(used, &subject, report);
            continue;
        }
        // An unreadable policy fails closed, so it admits no unintended requests.
        if !used.policy.unreadable_fields.is_empty() {
            continue;
        }
        credentials::check(used, &subject, report);
        peer_address::check(used, inputs, &subject, report);
        paths.check(used, &subject, report);
        replaced::check(used, &uses, &subject, report);
        recompute::check(used, &uses, &subject, report);
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

impl Place<'_, '_> {
    fn is_https(&self) -> bool {
        self.listener.protocol == Some(ListenerProtocol::Https)
    }

    fn is_http(&self) -> bool {
        self.listener.protocol == Some(ListenerProtocol::Http)
    }
}

/// A rule of a route on a listener, with the policies in force.
#[derive(Clone, Copy)]
struct PlacedRule<'p, 'a> {
    place: Place<'p, 'a>,
    route: RouteIndex,
    /// `None`: the rule applies to connections or datagrams.
    rule: Option<&'p RuleDraft>,
    in_force: Option<InForce<'a, SecurityPolicySpec>>,
}

impl<'a> PlacedRule<'_, 'a> {
    /// The policy in force, and the policy into which it is merged.
    fn policies(&self) -> impl Iterator<Item = &'a SecurityPolicy> {
        let in_force = self.in_force;
        let policies = in_force.map(|in_force| [Some(in_force.policy), in_force.parent]);
        policies.into_iter().flatten().flatten()
    }

    fn is_under(&self, policy: &SecurityPolicy) -> bool {
        self.policies().any(|applied| applied.key() == policy.key())
    }

    /// Whether a filter of the rule calls an authorization service.
    fn has_external_auth(&self) -> bool {
        let is_external = |policy: &Policy| matches!(policy, Policy::ExternalAuth(_));
        self.rule
            .is_some_and(|rule| rule.policies.iter().any(is_external))
    }
}

/// The rules of all listeners, and the policies by name.
struct Uses<'p, 'a> {
    rules: Vec<PlacedRule<'p, 'a>>,
    policies: BTreeMap<ObjectKey, PolicyUse<'p, 'a>>,
}

/// Where a policy applies.
struct PolicyUse<'p, 'a> {
    policy: &'a SecurityPolicy,
    /// Rules for which the policy is in force.
    rules: Vec<PlacedRule<'p, 'a>>,
    /// Policies that replace this policy.
    replaced_by: BTreeSet<ObjectKey>,
    /// Less specific policies with access control. This policy has no access control and replaces them.
    drops: BTreeMap<ObjectKey, &'a SecurityPolicy>,
}

impl<'p, 'a> Uses<'p, 'a> {
    fn collect(inputs: Inputs<'p, 'a>) -> Self {
        let mut uses = Self {
            rules: Vec::new(),
            policies: BTreeMap::new(),
        };
        for (route, state) in inputs.routes.indexed() {
            for attachment in &state.attachments {
                let gateway = &inputs.gateways.list[attachment.gateway];
                for (listener, hostnames) in &attachment.listeners {
                    let place = Place {
                        gateway: attachment.gateway,
                        at: *listener,
                        listener: &gateway.listeners[*listener],
                        hostnames,
                    };
                    let rules = state.rules.iter();
                    let rules = rules.map(|rule| (rule.name.as_deref(), Some(rule)));
                    let stream = state.stream.iter();
                    let stream = stream.map(|draft| (draft.name.as_deref(), None));
                    for (name, rule) in rules.chain(stream) {
                        uses.add(inputs.policies, (route, name), place, rule);
                    }
                }
            }
        }
        uses
    }

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
        let placed = PlacedRule {
            place,
            route,
            rule,
            in_force: policies.security.find(route, name, on),
        };
        self.rules.push(placed);
        for applied in placed.policies() {
            self.of(applied).rules.push(placed);
        }
        let Some(InForce { policy, .. }) = placed.in_force else {
            return;
        };
        for candidate in policies.security.candidates(route, name, on) {
            if placed.is_under(candidate) {
                continue;
            }
            self.of(candidate).replaced_by.insert(policy.key());
            if replaced::loses_access_control(&placed, candidate) {
                self.of(policy).drops.insert(candidate.key(), candidate);
            }
        }
    }

    fn of(&mut self, policy: &'a SecurityPolicy) -> &mut PolicyUse<'p, 'a> {
        self.policies
            .entry(policy.key())
            .or_insert_with(|| PolicyUse {
                policy,
                rules: Vec::new(),
                replaced_by: BTreeSet::new(),
                drops: BTreeMap::new(),
            })
    }
}

/// The sections of a policy that authenticate requests. Each of them runs before `jwt` or is `jwt`.
fn authentication(spec: &SecurityPolicySpec) -> impl Iterator<Item = &'static str> {
    let sections = [
        (spec.ext_auth.is_some(), "extAuth"),
        (spec.api_key_auth.is_some(), "apiKeyAuth"),
        (spec.basic_auth.is_some(), "basicAuth"),
        (spec.oidc.is_some(), "oidc"),
        (spec.jwt.is_some(), "jwt"),
    ];
    sections
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
}

#[cfg(test)]
mod tests;
