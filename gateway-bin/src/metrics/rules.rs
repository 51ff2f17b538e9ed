//! Counts of rules, keyed by the memory address of the route name.
//!
//! Each request writes the counts of its rule. With thousands of rules, few counts are in the CPU
//! cache, and a lookup by name reads both the name and its copy in the map. A lookup by the address
//! of the name reads neither. Counts move to the name itself at a scrape, or when configuration
//! changes have left many unused addresses.

use std::mem::take;
use std::sync::Arc;

use foldhash::HashMap;
use towergate_core::access_log::RuleName;
use towergate_core::plan::RouteId;

use super::counts::{Histogram, add_each, at};

/// Number of addresses up to which counts are moved to names only at a scrape.
const FEW: usize = 1024;

/// Counts of rules, by route name and rule index.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// The counts by address of the route name and rule index. Each entry keeps its route name alive, so that
    /// the address of the name is not reused.
    by_address: HashMap<(usize, usize), (Arc<RouteId>, Box<RuleCounts>)>,
    by_name: HashMap<RouteId, Vec<RuleCounts>>,
    /// Number of rules in `by_name`.
    named: usize,
}

/// The counts of a rule. A request writes two cache lines.
#[derive(Clone, Debug, Default)]
#[repr(C, align(64))]
pub(super) struct RuleCounts {
    pub(super) requests: u64,
    /// Responses by status class.
    pub(super) classes: [u64; 10],
    /// Time to the response head of the backend.
    pub(super) time: Histogram,
}

impl Rules {
    /// The counts of a rule.
    pub(super) fn at(&mut self, rule: &RuleName) -> &mut RuleCounts {
        if self.by_address.len() > FEW.max(2 * self.named) {
            self.move_to_names();
        }
        let key = (Arc::as_ptr(&rule.route).addr(), rule.rule);
        let new = || (Arc::clone(&rule.route), Box::default());
        let (_, counts) = self.by_address.entry(key).or_insert_with(new);
        counts
    }

    /// Adds the counts of another worker.
    pub(super) fn add(&mut self, mut other: Self) {
        other.move_to_names();
        for (route, rules) in other.by_name {
            for (place, counts) in rules.iter().enumerate() {
                self.add_rule(&route, place, counts);
            }
        }
    }

    /// Returns the counts by route name.
    pub(super) fn added(&self) -> impl Iterator<Item = (&RouteId, &[RuleCounts])> {
        self.by_name
            .iter()
            .map(|(route, rules)| (route, &rules[..]))
    }

    /// Moves all counts from addresses to names.
    fn move_to_names(&mut self) {
        for ((_, place), (route, counts)) in take(&mut self.by_address) {
            self.add_rule(&route, place, &counts);
        }
        self.named = self.by_name.values().map(Vec::len).sum();
    }

    fn add_rule(&mut self, route: &RouteId, place: usize, theirs: &RuleCounts) {
        at(&mut self.by_name, route, |rules| {
            if rules.len() <= place {
                rules.resize(place + 1, RuleCounts::default());
            }
            let mine = &mut rules[place];
            mine.requests += theirs.requests;
            add_each(&mut mine.classes, &theirs.classes);
            mine.time.add(&theirs.time);
        });
    }
}

#[cfg(test)]
mod tests {
    use towergate_core::plan::RouteKind;

    use super::*;

    fn name(route: &str, rule: usize) -> RuleName {
        let route = RouteId {
            kind: RouteKind::Http,
            namespace: "a".to_owned(),
            name: route.to_owned(),
        };
        RuleName {
            route: Arc::new(route),
            rule,
            matched: 0,
            hostname: "*".into(),
        }
    }

    fn requests(rules: &Rules) -> Vec<(&str, Vec<u64>)> {
        let each = |(route, rules): (_, &[RuleCounts])| {
            let route: &RouteId = route;
            let requests = rules.iter().map(|counts| counts.requests).collect();
            (route.name.as_str(), requests)
        };
        let mut all: Vec<_> = rules.added().map(each).collect();
        all.sort();
        all
    }

    #[test]
    fn counts_of_equal_names_at_different_addresses_are_added() {
        let (mut one, mut other, mut totals) = Default::default();
        for rules in [&mut one, &mut other] {
            let rules: &mut Rules = rules;
            rules.at(&name("r", 1)).requests += 1;
            rules.at(&name("r", 0)).requests += 1;
            rules.at(&name("s", 0)).requests += 1;
        }

        Rules::add(&mut totals, one);
        totals.add(other);

        assert_eq!(requests(&totals), [("r", vec![2, 2]), ("s", vec![2])]);
    }

    #[test]
    fn unused_addresses_are_bounded_and_no_count_is_lost() {
        let mut rules = Rules::default();

        for at in 0..10 * FEW {
            rules.at(&name("r", at % 2)).requests += 1;
        }

        assert!(rules.by_address.len() <= FEW + 1);
        let mut totals = Rules::default();
        totals.add(rules);
        assert_eq!(requests(&totals), [("r", vec![5 * FEW as u64; 2])]);
    }

    #[test]
    fn addresses_in_use_are_kept() {
        let names: Vec<_> = (0..4 * FEW).map(|at| name("r", at)).collect();
        let mut rules = Rules::default();

        for _ in 0..3 {
            for name in &names {
                rules.at(name).requests += 1;
            }
        }

        assert_eq!(rules.by_address.len(), names.len());
    }
}
