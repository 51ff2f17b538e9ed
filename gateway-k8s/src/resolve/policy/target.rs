//! Targets of policies: Gateways, ListenerSets, listeners, routes, rules.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use towergate_core::plan::RouteKind;
use towergate_policy::common::{LabelExpression, NamespaceFrom, TargetSelector, Targets};

use super::super::gateway::Gateways;
use super::super::grant::{From, To};
use super::super::object_index::ObjectIndex;
use super::super::route::{Backends, RouteState};
use super::super::selector::Selector;
use super::context::PolicyObjects;
use crate::api::meta::{LabelSelector, LabelSelectorRequirement, ObjectMeta};
use crate::api::{ENVOY_GROUP, GATEWAY_GROUP};
use crate::objects::ObjectKey;
use crate::status::parse_kind;

/// A target of a policy. Listeners and rules may not exist.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum PolicyTarget {
    Gateway(usize),
    /// A ListenerSet of a Gateway.
    Set(usize, usize),
    /// A listener of a Gateway or ListenerSet, by name.
    Listener(usize, Option<usize>, String),
    Route(usize),
    /// A rule of a route, by name.
    Rule(usize, String),
}

impl PolicyTarget {
    /// Whether the target is part of a Gateway or ListenerSet.
    pub(super) fn is_part_of(&self, whole: &Self) -> bool {
        match (self, whole) {
            (Self::Set(of, _) | Self::Listener(of, ..), Self::Gateway(gateway)) => of == gateway,
            (Self::Listener(of, set, _), Self::Set(gateway, whole)) => {
                of == gateway && *set == Some(*whole)
            }
            _ => false,
        }
    }
}

/// All possible targets.
#[derive(Debug)]
pub(super) struct TargetIndex<'p, 'a> {
    pub(super) index: &'p ObjectIndex<'a>,
    backends: &'p RefCell<Backends<'a>>,
    pub(super) gateways: &'p Gateways<'a>,
    pub(super) routes: &'p [RouteState<'a>],
    route_at: HashMap<(RouteKind, ObjectKey), usize>,
}

impl<'p, 'a> TargetIndex<'p, 'a> {
    pub(super) fn new(
        index: &'p ObjectIndex<'a>,
        backends: &'p RefCell<Backends<'a>>,
        gateways: &'p Gateways<'a>,
        routes: &'p [RouteState<'a>],
    ) -> Self {
        let routes_at = routes.iter().enumerate();
        let route_at =
            routes_at.map(|(at, state)| ((state.route.route_kind(), state.route.key()), at));
        Self {
            index,
            backends,
            gateways,
            routes,
            route_at: route_at.collect(),
        }
    }

    /// Objects that policies may refer to.
    pub(super) fn objects(&self) -> PolicyObjects<'p, 'a> {
        PolicyObjects {
            index: self.index,
            backends: self.backends,
        }
    }

    /// The targets of a policy that belong to this controller: those of its selectors, the oldest first,
    /// then those of its references.
    pub(super) fn find(
        &self,
        kind: &'static str,
        policy: &ObjectMeta,
        targets: Targets<'_>,
    ) -> Vec<PolicyTarget> {
        let mut found = Vec::new();
        for selector in targets.selectors {
            self.select(kind, policy, selector, &mut found);
        }
        found.sort();
        let mut seen = HashSet::new();
        let named = targets.refs().filter_map(|target| {
            let group = target.group.as_deref().unwrap_or(GATEWAY_GROUP);
            let key = ObjectKey::new(&*policy.namespace, target.name.as_deref()?);
            let section = target
                .section_name
                .as_deref()
                .filter(|name| !name.is_empty());
            (group == GATEWAY_GROUP).then_some(())?;
            self.place(target.kind.as_deref()?, &key, section)
        });
        let places = found.into_iter().map(|(_, place)| place).chain(named);
        places.filter(|place| seen.insert(place.clone())).collect()
    }

    fn place(&self, kind: &str, key: &ObjectKey, section: Option<&str>) -> Option<PolicyTarget> {
        let section = section.map(str::to_owned);
        let kind = match kind {
            "Gateway" => {
                let at = self.gateways.find(key)?;
                return Some(section.map_or(PolicyTarget::Gateway(at), |name| {
                    PolicyTarget::Listener(at, None, name)
                }));
            }
            "ListenerSet" => {
                let (at, set) = self.gateways.find_set(key)?;
                return Some(section.map_or(PolicyTarget::Set(at, set), |name| {
                    PolicyTarget::Listener(at, Some(set), name)
                }));
            }
            other => parse_kind(other)?,
        };
        let at = *self.route_at.get(&(kind, key.clone()))?;
        Some(section.map_or(PolicyTarget::Route(at), |name| PolicyTarget::Rule(at, name)))
    }

    /// Adds the targets of a selector, with their age.
    fn select(
        &self,
        kind: &'static str,
        policy: &ObjectMeta,
        selector: &TargetSelector,
        found: &mut Vec<(Option<String>, PolicyTarget)>,
    ) {
        let group = selector.group.as_deref().unwrap_or(GATEWAY_GROUP);
        let labels = label_selector(
            selector.match_labels.clone(),
            selector.match_expressions.as_deref(),
        );
        let (Ok(labels), true) = (Selector::parse(&labels), group == GATEWAY_GROUP) else {
            return;
        };
        let wanted = selector.kind.as_deref().unwrap_or_default();
        let gateways = self.gateways.list.iter().enumerate();
        let gateways =
            gateways.map(|(at, state)| ("Gateway", &state.object.meta, PolicyTarget::Gateway(at)));
        let sets = self.gateways.list.iter().enumerate();
        let sets = sets.flat_map(|(at, state)| {
            let sets = state.sets.iter().enumerate();
            sets.map(move |(set, state)| {
                (
                    "ListenerSet",
                    &state.object.meta,
                    PolicyTarget::Set(at, set),
                )
            })
        });
        let routes = self.routes.iter().enumerate();
        let routes = routes.map(|(at, state)| {
            (
                state.route.kind(),
                state.route.meta(),
                PolicyTarget::Route(at),
            )
        });
        for (target_kind, meta, place) in gateways.chain(sets).chain(routes) {
            if target_kind != wanted || !labels.takes(&meta.labels) {
                continue;
            }
            let from = From {
                group: ENVOY_GROUP,
                kind,
                namespace: &policy.namespace,
            };
            let to = To {
                group: GATEWAY_GROUP,
                kind: target_kind,
                namespace: &meta.namespace,
                name: &meta.name,
            };
            if self.in_scope(selector, policy, &meta.namespace)
                && self.index.grants.permit(from, to)
            {
                found.push((meta.creation_timestamp.clone(), place));
            }
        }
    }

    /// Whether a selector includes a namespace.
    fn in_scope(&self, selector: &TargetSelector, policy: &ObjectMeta, namespace: &str) -> bool {
        let namespaces = selector.namespaces.as_ref();
        match namespaces.and_then(|namespaces| namespaces.from.as_ref()) {
            None | Some(NamespaceFrom::Same) => policy.namespace == namespace,
            Some(NamespaceFrom::All) => true,
            Some(NamespaceFrom::Selector) => {
                let written = namespaces.and_then(|namespaces| namespaces.selector.as_ref());
                let written = written.map(|written| {
                    let expressions = written.match_expressions.as_deref();
                    label_selector(written.match_labels.clone(), expressions)
                });
                let selector = written.and_then(|written| Selector::parse(&written).ok());
                selector.is_some_and(|selector| selector.takes(&self.index.labels(namespace)))
            }
            Some(NamespaceFrom::Other(_)) => false,
        }
    }
}

/// The field in which a policy names the section `name` of a target, given by kind and name.
pub(super) fn section_field(targets: Targets<'_>, target: (&str, &str), name: &str) -> String {
    let (kind, object) = target;
    let at = targets.refs().position(|named| {
        named.section_name.as_deref() == Some(name)
            && named.kind.as_deref() == Some(kind)
            && named.name.as_deref() == Some(object)
    });
    match at {
        Some(at) => format!("{}.sectionName", target_field(targets, at)),
        None => "spec.targetRefs".to_owned(),
    }
}

/// The field of the target reference at index `at`.
pub(crate) fn target_field(targets: Targets<'_>, at: usize) -> String {
    match targets.single {
        Some(_) if at == 0 => "spec.targetRef".to_owned(),
        Some(_) => format!("spec.targetRefs[{}]", at - 1),
        None => format!("spec.targetRefs[{at}]"),
    }
}

fn label_selector(
    labels: Option<std::collections::BTreeMap<String, String>>,
    expressions: Option<&[LabelExpression]>,
) -> LabelSelector {
    let expressions = expressions.unwrap_or_default().iter();
    LabelSelector {
        match_labels: labels.unwrap_or_default(),
        match_expressions: expressions
            .map(|written| LabelSelectorRequirement {
                key: written.key.clone().unwrap_or_default(),
                operator: written
                    .operator
                    .as_ref()
                    .map(|word| word.as_str().to_owned())
                    .unwrap_or_default(),
                values: written.values.clone().unwrap_or_default(),
            })
            .collect(),
    }
}
