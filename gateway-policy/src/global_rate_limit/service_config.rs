//! The configuration of the rate limit service: the limit of each descriptor that the gateway sends.

use std::collections::BTreeMap;

use serde::Serialize;
use towergate_core::access_log::RuleName;
use towergate_core::plan::{Plan, Rule};

use super::{DescriptorEntry, GlobalRateLimit};
use crate::Policy;

/// One domain, as one YAML file of [envoyproxy/ratelimit](https://github.com/envoyproxy/ratelimit).
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct ServiceConfig {
    /// Name of the domain.
    pub domain: String,
    /// Descriptors, each with its nested descriptors.
    pub descriptors: Vec<ServiceDescriptor>,
}

/// One level of a descriptor: an entry, and the entries below it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct ServiceDescriptor {
    /// Key of the entry.
    pub key: String,
    /// Value of the entry. `None`: each value has its own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Limit. Only the last level has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<ServiceLimit>,
    /// Whether requests are counted and never rejected.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shadow_mode: bool,
    /// The levels below this level.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub descriptors: Vec<Self>,
}

/// A number of requests in a period.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct ServiceLimit {
    /// Period.
    pub unit: &'static str,
    /// Number of requests in a period.
    pub requests_per_unit: u32,
}

impl ServiceConfig {
    /// The domains of a plan, in the order of their names.
    pub fn of_plan(plan: &Plan<Policy>) -> Vec<Self> {
        let mut domains = BTreeMap::new();
        let listeners = plan.ports.iter().flat_map(|port| &port.listeners);
        for route in listeners.flat_map(|listener| &listener.routes) {
            for rule in &route.rules {
                let limits = rule.policies.iter().filter_map(|policy| match policy {
                    Policy::GlobalRateLimit(limit) => Some(limit),
                    _ => None,
                });
                for limit in limits {
                    for hostname in &route.hostnames {
                        add(&mut domains, limit, rule, &hostname.to_string());
                    }
                }
            }
        }
        let named = |(domain, descriptors)| Self {
            domain,
            descriptors,
        };
        domains.into_iter().map(named).collect()
    }
}

/// Adds the limits of a rule for a hostname of its route.
fn add(
    domains: &mut BTreeMap<String, Vec<ServiceDescriptor>>,
    limit: &GlobalRateLimit,
    rule: &Rule<Policy>,
    hostname: &str,
) {
    for (index, counted) in limit.rules.iter().enumerate() {
        let (domain, owners) = match counted.shared {
            true => (
                &limit.policy,
                vec![format!("{}/rule/{index}", limit.policy)],
            ),
            false => {
                let matches = 0..rule.matches.len();
                let owners = matches.map(|matched| route_name(rule, matched, hostname));
                (&limit.listener, owners.collect())
            }
        };
        let descriptors = domains.entry(domain.clone()).or_default();
        for owner in owners {
            let mut entries = counted.template(index, &owner).into_iter();
            // A descriptor has at least two entries.
            let Some(first) = entries.next() else {
                continue;
            };
            let mut level = descend(descriptors, first);
            for entry in entries {
                level = descend(&mut level.descriptors, entry);
            }
            level.rate_limit = Some(ServiceLimit {
                unit: counted.unit.name(),
                requests_per_unit: counted.requests,
            });
            level.shadow_mode = counted.shadow;
        }
    }
}

fn route_name(rule: &Rule<Policy>, matched: usize, hostname: &str) -> String {
    let name = RuleName {
        route: rule.route.clone(),
        rule: rule.index,
        matched,
        hostname: hostname.into(),
    };
    let mut text = Vec::new();
    name.write_route_name(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The level of an entry, which is added if it does not exist.
fn descend(levels: &mut Vec<ServiceDescriptor>, entry: DescriptorEntry) -> &mut ServiceDescriptor {
    let same = |level: &ServiceDescriptor| level.key == entry.key && level.value == entry.value;
    let at = levels.iter().position(same).unwrap_or_else(|| {
        levels.push(ServiceDescriptor {
            key: entry.key,
            value: entry.value,
            ..ServiceDescriptor::default()
        });
        levels.len() - 1
    });
    &mut levels[at]
}
