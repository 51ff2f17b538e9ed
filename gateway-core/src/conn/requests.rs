//! The requests in flight of one client connection, counted by rule.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// For each rule, the number of its requests in flight on the connection. One thread serves the connection,
/// so the lock is not contended.
#[derive(Debug, Default)]
pub(crate) struct ConnectionRequests(Mutex<Vec<(RuleKey, u32)>>);

/// Identifies a rule while it has requests in flight. The value is the address of the rule's counters.
pub(crate) type RuleKey = usize;

impl ConnectionRequests {
    /// Counts a request of `rule`. Returns the number of requests of the rule, including this one.
    pub(crate) fn begin(&self, rule: RuleKey) -> u32 {
        let mut counts = self.counts();
        match counts.iter_mut().find(|(key, _)| *key == rule) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                counts.push((rule, 1));
                1
            }
        }
    }

    /// Ends a request of `rule`.
    pub(crate) fn end(&self, rule: RuleKey) {
        let mut counts = self.counts();
        let Some(at) = counts.iter().position(|(key, _)| *key == rule) else {
            return;
        };
        counts[at].1 -= 1;
        if counts[at].1 == 0 {
            // The entry is removed, because its key is an address that may later belong to the counters of
            // another rule.
            counts.swap_remove(at);
        }
    }

    fn counts(&self) -> MutexGuard<'_, Vec<(RuleKey, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_rule_and_forgotten_at_their_end() {
        let requests = ConnectionRequests::default();

        assert_eq!(requests.begin(1), 1);
        assert_eq!(requests.begin(1), 2);
        assert_eq!(requests.begin(2), 1);
        requests.end(1);
        assert_eq!(requests.begin(1), 2);
        for rule in [1, 1, 2] {
            requests.end(rule);
        }

        assert!(requests.counts().is_empty());
    }
}
