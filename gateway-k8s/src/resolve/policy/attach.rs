//! Attachment of policies of routes (BackendTrafficPolicy, SecurityPolicy): the policy of each target, and
//! the statuses.
//!
//! Targets from the most to the least specific: rule, route, listener, ListenerSet, Gateway. A policy of a
//! rule or route with a `mergeType` is merged into the most specific policy of the listener, ListenerSet or
//! Gateway.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use towergate_policy::common::TargetKind;

use super::super::indexed::{GatewayIndex, ListenerSetIndex, RouteIndex};
use super::super::object_index::{ObjectIndex, by_age};
use super::super::report::{Report, Subject};
use super::ancestors::{accept, ancestor, applicable, refuse, warn};
use super::effective::{Attached, InForce, On, RoutePolicySpec};
use super::target::{PolicyTarget, TargetIndex, section_field};
use super::{TARGETS_UNREADABLE, Unusable, admitted, note, report_unreadable, report_unusable};
use crate::api::reference::ParentReference;
use crate::objects::{Object, Store};
use crate::status::{ConditionType, PolicyReason, PolicyStatus, StatusKey, Statuses};

/// Attaches all policies of a kind and sets their statuses.
pub(super) fn attach<'a, S: RoutePolicySpec>(
    places: &TargetIndex<'_, 'a>,
    store: &'a Store<S>,
    report: &mut Report,
    statuses: &mut Statuses,
) -> Attached<'a, S> {
    let policies = by_age(store.values());
    let mut stages: [Vec<(usize, PolicyTarget)>; 6] = Default::default();
    let mut unreadable = Vec::new();
    for (at, policy) in policies.iter().enumerate() {
        let found = places.find(S::KIND, policy, policy.spec.targets());
        if found.whole_namespace || !found.closes.is_empty() {
            unreadable.push((at, found.closes, found.whole_namespace));
        }
        for target in found.places {
            let stage = match target {
                PolicyTarget::Rule(..) => 0,
                PolicyTarget::Route(_) => 1,
                PolicyTarget::Listener(_, Some(_), _) => 2,
                PolicyTarget::Set(..) => 3,
                PolicyTarget::Listener(_, None, _) => 4,
                PolicyTarget::Gateway(_) => 5,
            };
            stages[stage].push((at, target));
        }
    }
    let mut run = RouteAttacher {
        places,
        policies,
        attached: Attached::default(),
        statuses: BTreeMap::new(),
        overrides: HashMap::new(),
        merged: HashMap::new(),
        report,
    };
    run.claim(stages.iter().flatten());
    for (at, closed, whole_namespace) in unreadable {
        run.close(at, closed, whole_namespace);
    }
    let (of_routes, of_listeners) = stages.split_at(2);
    for (at, target) in of_routes.iter().flatten() {
        run.state_route(*at, target);
    }
    for (at, target) in of_listeners.iter().flatten() {
        run.state_gateway(*at, target);
    }
    run.finish(places.index, statuses)
}

/// A target within another target.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Child {
    Route(RouteIndex),
    Set(GatewayIndex, ListenerSetIndex),
    Listener(GatewayIndex, Option<ListenerSetIndex>, String),
}

struct RouteAttacher<'r, 'p, 'a, S> {
    places: &'r TargetIndex<'p, 'a>,
    policies: Vec<&'a Object<S>>,
    attached: Attached<'a, S>,
    statuses: BTreeMap<usize, PolicyStatus>,
    /// For each Gateway, ListenerSet and listener: the targets within it that have their own policy.
    overrides: HashMap<PolicyTarget, BTreeSet<Child>>,
    /// For each target: the routes whose policies are merged into its policy.
    merged: HashMap<PolicyTarget, BTreeSet<Child>>,
    report: &'r mut Report,
}

impl<'a, S: RoutePolicySpec> RouteAttacher<'_, '_, 'a, S> {
    /// Assigns each existing target to its first policy.
    fn claim<'t>(&mut self, targets: impl Iterator<Item = &'t (usize, PolicyTarget)>) {
        for (at, target) in targets {
            if self.exists(target) {
                self.attached
                    .places
                    .entry(target.clone())
                    .or_insert(self.policies[*at]);
            }
        }
    }

    /// Handles a policy with unreadable targets: all its possible targets fail closed.
    fn close(&mut self, at: usize, closed: Vec<PolicyTarget>, whole_namespace: bool) {
        let policy = self.policies[at];
        for target in &closed {
            self.attached.closed.entry(target.clone()).or_insert(policy);
        }
        let subject = Subject::new(S::KIND, policy);
        let namespace = whole_namespace.then_some(&*policy.meta.namespace);
        report_unreadable(self.report, &subject, namespace);
        let mut ancestors = Vec::new();
        for target in closed {
            match target {
                PolicyTarget::Gateway(gateway) => {
                    ancestors.push(ancestor(&self.places.gateways.list[gateway], None, None));
                }
                PolicyTarget::Set(gateway, set) => {
                    let gateway = &self.places.gateways.list[gateway];
                    ancestors.push(ancestor(gateway, Some(set), None));
                }
                PolicyTarget::Route(route) => {
                    for attachment in &self.places.routes[route].attachments {
                        let section = attachment.parent.section_name.as_deref();
                        let gateway = &self.places.gateways.list[attachment.gateway];
                        ancestors.push(ancestor(gateway, attachment.set, section));
                    }
                }
                PolicyTarget::Listener(..) | PolicyTarget::Rule(..) => {}
            }
        }
        let message = match admitted(&policy.unreadable_fields) {
            Ok(()) => TARGETS_UNREADABLE.to_owned(),
            Err(fault) => format!("{TARGETS_UNREADABLE}: {}", fault.message),
        };
        let status = self.statuses.entry(at).or_default();
        refuse(status, &ancestors, PolicyReason::Invalid, &message);
    }

    fn exists(&self, target: &PolicyTarget) -> bool {
        match target {
            PolicyTarget::Gateway(_) | PolicyTarget::Set(..) | PolicyTarget::Route(_) => true,
            PolicyTarget::Listener(gateway, set, name) => {
                self.places.gateways.list[*gateway].has_listener(*set, name)
            }
            PolicyTarget::Rule(route, name) => {
                let names = self.places.routes[*route].route.rule_names();
                names.contains(&Some(name.as_str()))
            }
        }
    }

    /// Returns an error if the target belongs to another policy or does not exist.
    fn holds(&self, at: usize, target: &PolicyTarget) -> Result<(), (PolicyReason, Unusable)> {
        match self.attached.places.get(target) {
            None => Err((PolicyReason::TargetNotFound, self.no_section(at, target))),
            Some(policy) if policy.key() == self.policies[at].key() => Ok(()),
            Some(policy) => Err((
                PolicyReason::Conflicted,
                Unusable::target(format!(
                    "{} {} is older and has the same target",
                    S::KIND,
                    policy.key()
                )),
            )),
        }
    }

    /// Error of a policy that names a missing listener or rule.
    fn no_section(&self, at: usize, target: &PolicyTarget) -> Unusable {
        let targets = self.policies[at].spec.targets();
        match target {
            PolicyTarget::Listener(gateway, set, name) => {
                let state = &self.places.gateways.list[*gateway];
                let field = section_field(targets, state.target_of(*set), name);
                Unusable::section(field, state.no_listener(*set, name))
            }
            PolicyTarget::Rule(route, name) => {
                let route = self.places.routes[*route].route;
                let field = section_field(
                    targets,
                    (TargetKind::Route(route.route_kind()), &route.meta().name),
                    name,
                );
                let message = format!(
                    "{} {} has no rule named {name:?}",
                    route.kind(),
                    route.key()
                );
                let names: Vec<_> = route.rule_names().into_iter().flatten().collect();
                let help = match names.as_slice() {
                    [] => format!("name one of its rules {name:?}"),
                    names => format!("use one of its rules: {}", names.join(", ")),
                };
                Unusable::section(field, (message, help))
            }
            PolicyTarget::Gateway(_) | PolicyTarget::Set(..) | PolicyTarget::Route(_) => {
                Unusable::target("the target does not exist".to_owned())
            }
        }
    }

    fn refuse(
        &mut self,
        at: usize,
        ancestors: &[ParentReference],
        reason: PolicyReason,
        fault: &Unusable,
    ) {
        let subject = Subject::new(S::KIND, self.policies[at]);
        report_unusable(self.report, &subject, reason, fault);
        let status = self.statuses.entry(at).or_default();
        refuse(status, ancestors, reason, &fault.message);
    }

    fn state_route(&mut self, at: usize, target: &PolicyTarget) {
        let (PolicyTarget::Route(route) | PolicyTarget::Rule(route, _)) = *target else {
            return;
        };
        let state = &self.places.routes[route];
        let mut ancestors = Vec::new();
        for attachment in &state.attachments {
            let (at, set) = (attachment.gateway, attachment.set);
            let section = attachment.parent.section_name.as_deref();
            ancestors.push(ancestor(&self.places.gateways.list[at], set, section));
            let below = match (section, set) {
                (Some(name), set) => PolicyTarget::Listener(at, set, name.to_owned()),
                (None, Some(set)) => PolicyTarget::Set(at, set),
                (None, None) => PolicyTarget::Gateway(at),
            };
            self.overrides
                .entry(below)
                .or_default()
                .insert(Child::Route(route));
        }
        if let Err((reason, fault)) = self.holds(at, target) {
            return self.refuse(at, &ancestors, reason, &fault);
        }
        let policy = self.policies[at];
        self.state_effect(at, &ancestors);
        if policy.spec.merges() {
            self.merge(at, route);
        } else if let Err(fault) = InForce::alone(policy).effect(self.places.objects()) {
            self.refuse(at, &ancestors, PolicyReason::Invalid, &fault);
        }
        let status = self.statuses.entry(at).or_default();
        accept(status, &ancestors);
        let remarks = applicable(policy.spec.remarks(), self.places.index.objects);
        warn(status, &ancestors, &remarks, PolicyReason::UnsupportedField);
        if matches!(target, PolicyTarget::Route(_)) {
            self.state_overridden_rules(at, route, &ancestors);
        }
    }

    /// Merges the policy of a route into the policy of each listener to which the route attaches.
    fn merge(&mut self, at: usize, route: RouteIndex) {
        let policy = self.policies[at];
        for attachment in &self.places.routes[route].attachments {
            let gateway = &self.places.gateways.list[attachment.gateway];
            for (listener, _) in &attachment.listeners {
                let state = &gateway.listeners[*listener];
                let on = On {
                    gateway: attachment.gateway,
                    set: state.set,
                    listener: &state.spec.name,
                };
                let ancestors = [ancestor(gateway, on.set, Some(on.listener))];
                let parent = self.attached.parent(on);
                if let Some((_, place)) = &parent {
                    self.merged
                        .entry(place.clone())
                        .or_default()
                        .insert(Child::Route(route));
                }
                let parent = parent.map(|(parent, _)| parent);
                let in_force = InForce {
                    parent,
                    ..InForce::alone(policy)
                };
                if let Err(fault) = in_force.effect(self.places.objects()) {
                    let fault = match parent {
                        Some(parent) => self.fault_of_merge(policy, parent, fault),
                        None => fault,
                    };
                    self.refuse(at, &ancestors, PolicyReason::Invalid, &fault);
                    let section = attachment.parent.section_name.as_deref();
                    let attached = [ancestor(gateway, attachment.set, section)];
                    let status = self.statuses.entry(at).or_default();
                    refuse(status, &attached, PolicyReason::Invalid, &fault.message);
                    continue;
                }
                let Some(parent) = parent else {
                    continue;
                };
                let message = format!("merged with policy {}", parent.key());
                let status = self.statuses.entry(at).or_default();
                status.conditions(&ancestors[0]).set(
                    ConditionType::Merged,
                    true,
                    PolicyReason::Merged,
                    message,
                );
            }
        }
    }

    /// The error of a policy that is merged with `parent`. If the policy itself is valid, the error names the
    /// parent, because the field may be that of the parent.
    fn fault_of_merge(&self, policy: &Object<S>, parent: &Object<S>, fault: Unusable) -> Unusable {
        let is_valid = |policy| InForce::alone(policy).effect(self.places.objects()).is_ok();
        if !is_valid(policy) {
            return fault;
        }
        let (kind, name) = (S::KIND, parent.key());
        match is_valid(parent) {
            true => fault.of_merge(&format!("the result of the merge with {kind} {name}")),
            false => fault.of_merge(&format!(
                "the policy is merged with {kind} {name}, which is invalid"
            )),
        }
    }

    /// Sets `Accepted` to false for a valid policy without effect.
    fn state_effect(&mut self, at: usize, ancestors: &[ParentReference]) {
        if self.policies[at].unreadable_fields.is_empty()
            && let Some(message) = S::without_effect()
        {
            let status = self.statuses.entry(at).or_default();
            refuse(status, ancestors, PolicyReason::Invalid, message);
        }
    }

    fn state_overridden_rules(
        &mut self,
        at: usize,
        route: RouteIndex,
        ancestors: &[ParentReference],
    ) {
        let names = self.places.routes[route]
            .route
            .rule_names()
            .into_iter()
            .flatten();
        let mut rules: Vec<_> = names
            .filter(|name| {
                let place = PolicyTarget::Rule(route, (*name).to_owned());
                self.attached.places.contains_key(&place)
            })
            .collect();
        rules.sort_unstable();
        if rules.is_empty() {
            return;
        }
        let message = format!("rules with their own policy: {}", rules.join(", "));
        let status = self.statuses.entry(at).or_default();
        for ancestor in ancestors {
            status.conditions(ancestor).set(
                ConditionType::Overridden,
                true,
                PolicyReason::Overridden,
                &*message,
            );
        }
    }

    fn state_gateway(&mut self, at: usize, target: &PolicyTarget) {
        // `part`: the target that contains this target, and the entry for this target in `overrides`.
        let (gateway, set, section, part) = match target {
            PolicyTarget::Gateway(gateway) => (*gateway, None, None, None),
            PolicyTarget::Set(gateway, set) => {
                let part = (PolicyTarget::Gateway(*gateway), Child::Set(*gateway, *set));
                (*gateway, Some(*set), None, Some(part))
            }
            PolicyTarget::Listener(gateway, set, name) => {
                let whole = set.map_or(PolicyTarget::Gateway(*gateway), |set| {
                    PolicyTarget::Set(*gateway, set)
                });
                let part = (whole, Child::Listener(*gateway, *set, name.clone()));
                (*gateway, *set, Some(name.as_str()), Some(part))
            }
            PolicyTarget::Route(_) | PolicyTarget::Rule(..) => return,
        };
        let ancestors = [ancestor(&self.places.gateways.list[gateway], set, section)];
        if let Err((reason, fault)) = self.holds(at, target) {
            return self.refuse(at, &ancestors, reason, &fault);
        }
        self.state_effect(at, &ancestors);
        if let Some((whole, part)) = part {
            self.overrides.entry(whole).or_default().insert(part);
        }
        let policy = self.policies[at];
        if let Err(fault) = InForce::alone(policy).effect(self.places.objects()) {
            self.refuse(at, &ancestors, PolicyReason::Invalid, &fault);
        }
        let merged = self.merged.get(target).cloned().unwrap_or_default();
        let overridden: BTreeSet<_> = self.below(target).difference(&merged).cloned().collect();
        let (merged, overridden) = (self.names(&merged), self.names(&overridden));
        let status = self.statuses.entry(at).or_default();
        accept(status, &ancestors);
        let remarks = applicable(policy.spec.remarks(), self.places.index.objects);
        warn(status, &ancestors, &remarks, PolicyReason::UnsupportedField);
        let conditions = status.conditions(&ancestors[0]);
        if !merged.is_empty() {
            let message = format!("merged into the policy: {merged}");
            conditions.set(ConditionType::Merged, true, PolicyReason::Merged, message);
        }
        if !overridden.is_empty() {
            let message = format!("replaced by more specific policies: {overridden}");
            conditions.set(
                ConditionType::Overridden,
                true,
                PolicyReason::Overridden,
                message,
            );
        }
    }

    /// Targets with their own policy within a target. For a Gateway or ListenerSet, these include the targets
    /// within its listeners. For a listener, they include routes attached to the whole Gateway or
    /// ListenerSet.
    fn below(&self, target: &PolicyTarget) -> BTreeSet<Child> {
        let mut below = self.overrides.get(target).cloned().unwrap_or_default();
        let whole = match target {
            PolicyTarget::Gateway(_) | PolicyTarget::Set(..) => {
                let parts = self.overrides.iter();
                let parts = parts.filter(|(place, _)| place.is_part_of(target));
                below.extend(parts.flat_map(|(_, children)| children.iter().cloned()));
                return below;
            }
            PolicyTarget::Listener(gateway, None, _) => PolicyTarget::Gateway(*gateway),
            PolicyTarget::Listener(gateway, Some(set), _) => PolicyTarget::Set(*gateway, *set),
            PolicyTarget::Route(_) | PolicyTarget::Rule(..) => return below,
        };
        let of_whole = self.overrides.get(&whole).into_iter().flatten();
        let routes = of_whole.filter(|child| matches!(child, Child::Route(_)));
        below.extend(routes.cloned());
        below
    }

    fn names(&self, children: &BTreeSet<Child>) -> String {
        let names = children.iter().map(|child| match child {
            Child::Listener(_, None, name) => format!("listener {name}"),
            Child::Listener(gateway, Some(set), name) => {
                let gateway = &self.places.gateways.list[*gateway];
                format!("listener {name} of {}", gateway.name_of(Some(*set)))
            }
            Child::Set(gateway, set) => self.places.gateways.list[*gateway].name_of(Some(*set)),
            Child::Route(at) => {
                let route = self.places.routes[*at].route;
                format!("{} {}", route.kind(), route.key())
            }
        });
        let mut names: Vec<_> = names.collect();
        names.sort();
        names.join(", ")
    }

    fn finish(self, index: &ObjectIndex<'_>, statuses: &mut Statuses) -> Attached<'a, S> {
        for (at, status) in self.statuses {
            let policy = self.policies[at];
            let key = StatusKey::new(S::KIND, policy.key());
            note(index, statuses, key, policy.meta.generation, status);
        }
        self.attached
    }
}
