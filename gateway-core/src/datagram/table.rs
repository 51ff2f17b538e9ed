//! Sessions, indexed by client and by expiry.
//!
//! Each session records the time of its last use. The table schedules a check of the session for the earliest
//! time at which the session can have expired. If the session was used in the meantime, the check is
//! scheduled again. Therefore a datagram of a known client costs only one lookup.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use tokio::time::Instant;

/// An entry of a [`SessionTable`].
pub(super) trait Expiring {
    /// Time at which the entry expires if it is not used again. The time never decreases.
    fn expires_at(&self) -> Instant;
}

/// Sessions of one socket.
#[derive(Debug)]
pub(super) struct SessionTable<K, S> {
    by_key: HashMap<K, TableEntry<S>>,
    by_check: BTreeMap<CheckTime, K>,
    /// Serial number of the next check. It makes check times unique.
    serial: u64,
}

/// Time of a session's next check, with a serial number.
type CheckTime = (Instant, u64);

#[derive(Debug)]
struct TableEntry<S> {
    session: S,
    /// Key of the session in `by_check`.
    check: CheckTime,
}

impl<K, S> Default for SessionTable<K, S> {
    fn default() -> Self {
        Self {
            by_key: HashMap::new(),
            by_check: BTreeMap::new(),
            serial: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, S: Expiring> SessionTable<K, S> {
    /// Number of sessions.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The session of `key`.
    pub(super) fn get(&self, key: &K) -> Option<&S> {
        self.by_key.get(key).map(|entry| &entry.session)
    }

    /// Inserts a session; returns the previous session of `key`.
    pub(super) fn insert(&mut self, key: K, session: S) -> Option<S> {
        let before = self.remove(&key);
        let check = self.schedule(key, session.expires_at());
        self.by_key.insert(key, TableEntry { session, check });
        before
    }

    /// Removes the session of `key`.
    pub(super) fn remove(&mut self, key: &K) -> Option<S> {
        let entry = self.by_key.remove(key)?;
        self.by_check.remove(&entry.check);
        Some(entry.session)
    }

    /// Time at which [`Self::take_expired`] must be called next.
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.by_check.keys().next().map(|(at, _)| *at)
    }

    /// Removes one session that has expired at `now`.
    pub(super) fn take_expired(&mut self, now: Instant) -> Option<S> {
        loop {
            let key = self.first(|check| check <= now)?;
            if self.reschedule(key) <= now {
                return self.remove(&key);
            }
        }
    }

    /// Removes the session that expires first.
    pub(super) fn take_oldest(&mut self) -> Option<S> {
        loop {
            let key = self.first(|_| true)?;
            let before = self.next_check()?;
            if self.reschedule(key) == before {
                return self.remove(&key);
            }
        }
    }

    /// The key of the session whose check is next, if the time of the check satisfies `condition`.
    fn first(&self, condition: impl FnOnce(Instant) -> bool) -> Option<K> {
        let ((check, _), key) = self.by_check.first_key_value()?;
        condition(*check).then_some(*key)
    }

    /// Schedules the check of a session for its current expiry time. Returns this time.
    fn reschedule(&mut self, key: K) -> Instant {
        let entry = self.by_key.get_mut(&key);
        let entry = entry.expect("both maps have the same sessions");
        let expires_at = entry.session.expires_at();
        if expires_at == entry.check.0 {
            return expires_at;
        }
        let before = entry.check;
        self.by_check.remove(&before);
        let check = self.schedule(key, expires_at);
        if let Some(entry) = self.by_key.get_mut(&key) {
            entry.check = check;
        }
        expires_at
    }

    fn schedule(&mut self, key: K, at: Instant) -> CheckTime {
        self.serial += 1;
        let check = (at, self.serial);
        self.by_check.insert(check, key);
        check
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    struct TestSession(Rc<Cell<Instant>>);

    impl Expiring for TestSession {
        fn expires_at(&self) -> Instant {
            self.0.get()
        }
    }

    #[derive(Clone, Debug)]
    enum Action {
        Insert(u8),
        Remove(u8),
        Use(u8),
        Expire,
        Evict,
        Wait(u8),
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            (0u8..8).prop_map(Action::Insert),
            (0u8..8).prop_map(Action::Remove),
            (0u8..8).prop_map(Action::Use),
            Just(Action::Expire),
            Just(Action::Evict),
            (0u8..20).prop_map(Action::Wait),
        ]
    }

    const IDLE: Duration = Duration::from_millis(30);

    proptest! {
        /// The reference implementation is a list that is searched linearly.
        #[test]
        fn sessions_expire_by_their_last_use(actions in proptest::collection::vec(action(), 0..80)) {
            let mut now = Instant::now();
            let mut table = SessionTable::default();
            let mut model: Vec<(u8, TestSession)> = Vec::new();
            for action in actions {
                // Each action occurs at a different time.
                now += Duration::from_micros(1);
                match action {
                    Action::Insert(key) => {
                        let session = TestSession(Rc::new(Cell::new(now + IDLE)));
                        model.retain(|(known, _)| *known != key);
                        model.push((key, session.clone()));
                        table.insert(key, session);
                    }
                    Action::Remove(key) => {
                        let known = model.iter().any(|(known, _)| *known == key);
                        model.retain(|(known, _)| *known != key);
                        prop_assert_eq!(table.remove(&key).is_some(), known);
                    }
                    Action::Use(key) => {
                        if let Some(session) = table.get(&key) {
                            session.0.set(now + IDLE);
                        }
                    }
                    Action::Expire => {
                        while table.take_expired(now).is_some() {}
                        model.retain(|(_, session)| session.expires_at() > now);
                    }
                    Action::Evict => {
                        let oldest = model.iter().map(|(_, session)| session.expires_at()).min();
                        model.retain(|(_, session)| Some(session.expires_at()) != oldest);
                        prop_assert_eq!(table.take_oldest().map(|session| session.expires_at()), oldest);
                    }
                    Action::Wait(millis) => now += Duration::from_millis(millis.into()),
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert_eq!(table.by_check.len(), model.len());
                for (key, _) in &model {
                    prop_assert!(table.get(key).is_some());
                }
                let first = model.iter().map(|(_, session)| session.expires_at()).min();
                prop_assert!(table.next_check() <= first && table.next_check().is_some() == first.is_some());
            }
        }
    }
}
