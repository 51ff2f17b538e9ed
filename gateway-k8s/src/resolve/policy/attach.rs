//! Policies of routes (BackendTrafficPolicy, SecurityPolicy): who is first at each place, and what is in
//! force for a rule on a listener.
//!
//! From the most to the least specific: rule, route, listener, ListenerSet, Gateway. A policy of a rule
//! or route that has a `mergeType` is merged into the most specific of those below the route.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;

use towergate_policy::common::{Deprecated, Targets};

use super::super::report::{Report, Subject};
use super::super::world::{World, by_age};
use super::ancestors::{accept, ancestor, refuse, warn};
use super::target::{Places, Target, section_field};
use super::{Unusable, admitted, note, tell};
use crate::api::reference::ParentReference;
use crate::objects::{Object, ObjectKey, Store};
use crate::status::{PolicyStatus, StatusKey, Statuses};

/// A policy that is attached to routes.
pub(crate) trait RouteSpec: Debug + Clone {
    /// The kind of the policy.
    const KIND: &'static str;
    /// What is in force.
    type Effect;

    /// What the policy is attached to.
    fn targets(&self) -> Targets<'_>;
    /// Deprecated fields that are given.
    fn old_fields(&self) -> Vec<Deprecated>;
    /// Whether the policy is merged into its parent.
    fn merges(&self) -> bool;
    /// The policy put over its parent.
    fn merged(&self, parent: &Self) -> Self;
    /// What is in force. `policy` is its name, `headers` whether `x-ratelimit-*` are sent.
    fn effect(&self, policy: &str, headers: bool) -> Result<Self::Effect, Unusable>;
}

/// Policies of one kind, by place.
#[derive(Debug)]
pub(crate) struct Attached<'a, S> {
    places: HashMap<Target, &'a Object<S>>,
}

impl<S> Default for Attached<'_, S> {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
        }
    }
}

/// A policy that is in force, with the one that it is merged into.
#[derive(Debug)]
pub(crate) struct InForce<'a, S> {
    pub(crate) policy: &'a Object<S>,
    pub(crate) parent: Option<&'a Object<S>>,
}

impl<S> Clone for InForce<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for InForce<'_, S> {}

impl<S: RouteSpec> InForce<'_, S> {
    /// Names of the policies, for comparison.
    pub(crate) fn key(&self) -> (ObjectKey, Option<ObjectKey>) {
        (self.policy.key(), self.parent.map(Object::key))
    }

    /// What is in force.
    pub(crate) fn effect(&self, headers: bool) -> Result<S::Effect, Unusable> {
        let spec = &self.policy.spec;
        admitted(&self.policy.misread)?;
        let name = self.policy.key().to_string();
        match self.parent {
            Some(parent) => {
                admitted(&parent.misread)?;
                spec.merged(&parent.spec).effect(&name, headers)
            }
            None => spec.effect(&name, headers),
        }
    }
}

/// A listener: its Gateway, its ListenerSet if it has one, and its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct On<'n> {
    pub(crate) gateway: usize,
    pub(crate) set: Option<usize>,
    pub(crate) listener: &'n str,
}

impl On<'_> {
    /// The places of policies that count there, the most specific first.
    fn places(self) -> impl Iterator<Item = Target> {
        let Self { gateway, set, .. } = self;
        let listener = Target::Listener(gateway, set, self.listener.to_owned());
        let set = set.map(|set| Target::Set(gateway, set));
        [Some(listener), set, Some(Target::Gateway(gateway))]
            .into_iter()
            .flatten()
    }
}

impl<'a, S: RouteSpec> Attached<'a, S> {
    /// What is in force for a rule of a route on a listener.
    pub(crate) fn find(
        &self,
        route: usize,
        rule: Option<&str>,
        on: On<'_>,
    ) -> Option<InForce<'a, S>> {
        let of_rule = rule.and_then(|name| self.places.get(&Target::Rule(route, name.to_owned())));
        let own = of_rule.or_else(|| self.places.get(&Target::Route(route)));
        let parent = || self.parent(on).map(|(policy, _)| policy);
        match own.copied() {
            Some(policy) => Some(InForce {
                policy,
                parent: policy.spec.merges().then(parent).flatten(),
            }),
            None => parent().map(|policy| InForce {
                policy,
                parent: None,
            }),
        }
    }

    /// The policy of a listener into which one of a route is merged, and its place.
    fn parent(&self, on: On<'_>) -> Option<(&'a Object<S>, Target)> {
        on.places()
            .find_map(|place| Some((*self.places.get(&place)?, place)))
    }

    /// Whether there are no policies.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// Attaches all policies of a kind and states how they stand.
pub(super) fn attach<'a, S: RouteSpec>(
    places: &Places<'_, 'a>,
    store: &'a Store<S>,
    report: &mut Report,
    statuses: &mut Statuses,
) -> Attached<'a, S> {
    let policies = by_age(store.values());
    let mut stages: [Vec<(usize, Target)>; 6] = Default::default();
    for (at, policy) in policies.iter().enumerate() {
        for target in places.find(S::KIND, &policy.meta, policy.spec.targets()) {
            let stage = match target {
                Target::Rule(..) => 0,
                Target::Route(_) => 1,
                Target::Listener(_, Some(_), _) => 2,
                Target::Set(..) => 3,
                Target::Listener(_, None, _) => 4,
                Target::Gateway(_) => 5,
            };
            stages[stage].push((at, target));
        }
    }
    let mut run = Run {
        places,
        policies,
        attached: Attached::default(),
        statuses: BTreeMap::new(),
        overrides: HashMap::new(),
        merged: HashMap::new(),
        report,
    };
    run.claim(stages.iter().flatten());
    let (of_routes, of_listeners) = stages.split_at(2);
    for (at, target) in of_routes.iter().flatten() {
        run.state_route(*at, target);
    }
    for (at, target) in of_listeners.iter().flatten() {
        run.state_gateway(*at, target);
    }
    run.finish(places.world, statuses)
}

/// What may be attached below a place.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Child {
    Route(usize),
    Set(usize, usize),
    Listener(usize, Option<usize>, String),
}

struct Run<'r, 'p, 'a, S> {
    places: &'r Places<'p, 'a>,
    policies: Vec<&'a Object<S>>,
    attached: Attached<'a, S>,
    statuses: BTreeMap<usize, PolicyStatus>,
    /// Below a Gateway, ListenerSet or listener: what has a policy of its own.
    overrides: HashMap<Target, BTreeSet<Child>>,
    /// Below a place: what is merged into its policy.
    merged: HashMap<Target, BTreeSet<Child>>,
    report: &'r mut Report,
}

impl<'a, S: RouteSpec> Run<'_, '_, 'a, S> {
    /// The first at each place that exists has it.
    fn claim<'t>(&mut self, targets: impl Iterator<Item = &'t (usize, Target)>) {
        for (at, target) in targets {
            if self.exists(target) {
                self.attached
                    .places
                    .entry(target.clone())
                    .or_insert(self.policies[*at]);
            }
        }
    }

    fn exists(&self, target: &Target) -> bool {
        match target {
            Target::Gateway(_) | Target::Set(..) | Target::Route(_) => true,
            Target::Listener(gateway, set, name) => {
                self.places.gateways.list[*gateway].has_listener(*set, name)
            }
            Target::Rule(route, name) => {
                let names = self.places.routes[*route].route.rule_names();
                names.contains(&Some(name.as_str()))
            }
        }
    }

    /// Whether the policy has the place; if not, why.
    fn holds(&self, at: usize, target: &Target) -> Result<(), (&'static str, Unusable)> {
        match self.attached.places.get(target) {
            None => Err(("TargetNotFound", self.no_section(at, target))),
            Some(policy) if policy.key() == self.policies[at].key() => Ok(()),
            Some(policy) => Err((
                "Conflicted",
                Unusable::target(format!(
                    "{} {} is older and has the target.",
                    S::KIND,
                    policy.key()
                )),
            )),
        }
    }

    /// That the listener or rule that a policy names is not there.
    fn no_section(&self, at: usize, target: &Target) -> Unusable {
        let targets = self.policies[at].spec.targets();
        match target {
            Target::Listener(gateway, set, name) => {
                let state = &self.places.gateways.list[*gateway];
                let field = section_field(targets, state.target_of(*set), name);
                Unusable::section(field, state.no_listener(*set, name))
            }
            Target::Rule(route, name) => {
                let route = self.places.routes[*route].route;
                let field = section_field(targets, (route.kind(), &route.meta().name), name);
                let message = format!("{} {} has no rule named {name}.", route.kind(), route.key());
                let names: Vec<_> = route.rule_names().into_iter().flatten().collect();
                let help = match names.as_slice() {
                    [] => format!("Give one of its rules the name {name}."),
                    names => format!("Name one of its rules: {}.", names.join(", ")),
                };
                Unusable::section(field, (message, help))
            }
            Target::Gateway(_) | Target::Set(..) | Target::Route(_) => {
                Unusable::target("The target is not there.".to_owned())
            }
        }
    }

    fn refuse(
        &mut self,
        at: usize,
        ancestors: &[ParentReference],
        reason: &'static str,
        fault: &Unusable,
    ) {
        let subject = Subject::new(S::KIND, self.policies[at]);
        tell(self.report, &subject, reason, fault);
        let status = self.statuses.entry(at).or_default();
        refuse(status, ancestors, reason, &fault.message);
    }

    fn state_route(&mut self, at: usize, target: &Target) {
        let (Target::Route(route) | Target::Rule(route, _)) = *target else {
            return;
        };
        let state = &self.places.routes[route];
        let mut ancestors = Vec::new();
        for attachment in &state.attachments {
            let (at, set) = (attachment.gateway, attachment.set);
            let section = attachment.parent.section_name.as_deref();
            ancestors.push(ancestor(&self.places.gateways.list[at], set, section));
            let below = match (section, set) {
                (Some(name), set) => Target::Listener(at, set, name.to_owned()),
                (None, Some(set)) => Target::Set(at, set),
                (None, None) => Target::Gateway(at),
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
        if policy.spec.merges() {
            self.merge(at, route);
        } else if let Err(fault) = (InForce {
            policy,
            parent: None,
        })
        .effect(true)
        {
            self.refuse(at, &ancestors, "Invalid", &fault);
        }
        let status = self.statuses.entry(at).or_default();
        accept(status, &ancestors);
        warn(status, &ancestors, &policy.spec.old_fields());
        if matches!(target, Target::Route(_)) {
            self.state_overridden_rules(at, route, &ancestors);
        }
    }

    /// Merges the policy of a route into that of each listener which takes the route.
    fn merge(&mut self, at: usize, route: usize) {
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
                let in_force = InForce {
                    policy,
                    parent: parent.as_ref().map(|(parent, _)| *parent),
                };
                if let Err(fault) = in_force.effect(true) {
                    self.refuse(at, &ancestors, "Invalid", &fault);
                    continue;
                }
                let Some((parent, place)) = parent else {
                    continue;
                };
                self.merged
                    .entry(place)
                    .or_default()
                    .insert(Child::Route(route));
                let message = format!("Merged with policy {}.", parent.key());
                let status = self.statuses.entry(at).or_default();
                status
                    .conditions(&ancestors[0])
                    .set("Merged", true, "Merged", message);
            }
        }
    }

    fn state_overridden_rules(&mut self, at: usize, route: usize, ancestors: &[ParentReference]) {
        let names = self.places.routes[route]
            .route
            .rule_names()
            .into_iter()
            .flatten();
        let mut rules: Vec<_> = names
            .filter(|name| {
                let place = Target::Rule(route, (*name).to_owned());
                self.attached.places.contains_key(&place)
            })
            .collect();
        rules.sort_unstable();
        if rules.is_empty() {
            return;
        }
        let message = format!(
            "These rules have a policy of their own: {}.",
            rules.join(", ")
        );
        let status = self.statuses.entry(at).or_default();
        for ancestor in ancestors {
            status
                .conditions(ancestor)
                .set("Overridden", true, "Overridden", &*message);
        }
    }

    fn state_gateway(&mut self, at: usize, target: &Target) {
        // The place, the one that it is part of, and what it is there.
        let (gateway, set, section, part) = match target {
            Target::Gateway(gateway) => (*gateway, None, None, None),
            Target::Set(gateway, set) => {
                let part = (Target::Gateway(*gateway), Child::Set(*gateway, *set));
                (*gateway, Some(*set), None, Some(part))
            }
            Target::Listener(gateway, set, name) => {
                let whole = set.map_or(Target::Gateway(*gateway), |set| Target::Set(*gateway, set));
                let part = (whole, Child::Listener(*gateway, *set, name.clone()));
                (*gateway, *set, Some(name.as_str()), Some(part))
            }
            Target::Route(_) | Target::Rule(..) => return,
        };
        let ancestors = [ancestor(&self.places.gateways.list[gateway], set, section)];
        if let Err((reason, fault)) = self.holds(at, target) {
            return self.refuse(at, &ancestors, reason, &fault);
        }
        if let Some((whole, part)) = part {
            self.overrides.entry(whole).or_default().insert(part);
        }
        let policy = self.policies[at];
        if let Err(fault) = (InForce {
            policy,
            parent: None,
        })
        .effect(true)
        {
            self.refuse(at, &ancestors, "Invalid", &fault);
        }
        let merged = self.merged.get(target).cloned().unwrap_or_default();
        let overridden: BTreeSet<_> = self.below(target).difference(&merged).cloned().collect();
        let (merged, overridden) = (self.names(&merged), self.names(&overridden));
        let status = self.statuses.entry(at).or_default();
        accept(status, &ancestors);
        warn(status, &ancestors, &policy.spec.old_fields());
        let conditions = status.conditions(&ancestors[0]);
        if !merged.is_empty() {
            let message = format!("These are merged into the policy: {merged}.");
            conditions.set("Merged", true, "Merged", message);
        }
        if !overridden.is_empty() {
            let message = format!("These have a policy of their own: {overridden}.");
            conditions.set("Overridden", true, "Overridden", message);
        }
    }

    /// What has a policy of its own below a place: of a Gateway or ListenerSet also what is below its
    /// parts, of a listener also the routes that name the whole.
    fn below(&self, target: &Target) -> BTreeSet<Child> {
        let mut below = self.overrides.get(target).cloned().unwrap_or_default();
        let whole = match target {
            Target::Gateway(_) | Target::Set(..) => {
                let parts = self.overrides.iter();
                let parts = parts.filter(|(place, _)| place.is_part_of(target));
                below.extend(parts.flat_map(|(_, children)| children.iter().cloned()));
                return below;
            }
            Target::Listener(gateway, None, _) => Target::Gateway(*gateway),
            Target::Listener(gateway, Some(set), _) => Target::Set(*gateway, *set),
            Target::Route(_) | Target::Rule(..) => return below,
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

    fn finish(self, world: &World<'_>, statuses: &mut Statuses) -> Attached<'a, S> {
        for (at, status) in self.statuses {
            let policy = self.policies[at];
            let key = StatusKey::new(S::KIND, policy.key());
            note(world, statuses, key, policy.meta.generation, status);
        }
        self.attached
    }
}
