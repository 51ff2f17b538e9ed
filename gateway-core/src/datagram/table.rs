//! Sessions by client, and by how long they have been silent.
//!
//! A session says itself when it was last used; the table only knows since when it may be over, and looks
//! again then. So a datagram of a known client costs one look-up.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use tokio::time::Instant;

/// What a table holds.
pub(super) trait Mortal {
    /// When it is over if nothing more happens. Never earlier than it was before.
    fn due(&self) -> Instant;
}

/// See the page.
#[derive(Debug)]
pub(super) struct Table<K, S> {
    by_key: HashMap<K, Kept<S>>,
    by_due: BTreeMap<Due, K>,
    /// Tells apart what is due at the same time.
    serial: u64,
}

/// When to look at a session again.
type Due = (Instant, u64);

#[derive(Debug)]
struct Kept<S> {
    session: S,
    /// Its place in `by_due`.
    due: Due,
}

impl<K, S> Default for Table<K, S> {
    fn default() -> Self {
        Self {
            by_key: HashMap::new(),
            by_due: BTreeMap::new(),
            serial: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, S: Mortal> Table<K, S> {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn get(&self, key: &K) -> Option<&S> {
        self.by_key.get(key).map(|kept| &kept.session)
    }

    /// Adds a session; gives back the one that `key` had.
    pub(super) fn insert(&mut self, key: K, session: S) -> Option<S> {
        let before = self.remove(&key);
        let due = self.file(key, session.due());
        self.by_key.insert(key, Kept { session, due });
        before
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<S> {
        let kept = self.by_key.remove(key)?;
        self.by_due.remove(&kept.due);
        Some(kept.session)
    }

    /// When [`Self::expired`] is to be asked next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.by_due.keys().next().map(|(at, _)| *at)
    }

    /// Takes one session out that is over by now.
    pub(super) fn expired(&mut self, now: Instant) -> Option<S> {
        loop {
            let key = self.first(|due| due <= now)?;
            if self.renew(key) <= now {
                return self.remove(&key);
            }
        }
    }

    /// Takes the session out that is over first.
    pub(super) fn oldest(&mut self) -> Option<S> {
        loop {
            let key = self.first(|_| true)?;
            let before = self.next_due()?;
            if self.renew(key) == before {
                return self.remove(&key);
            }
        }
    }

    fn first(&self, is_wanted: impl FnOnce(Instant) -> bool) -> Option<K> {
        let ((due, _), key) = self.by_due.first_key_value()?;
        is_wanted(*due).then_some(*key)
    }

    /// Asks the session anew; gives when it is due.
    fn renew(&mut self, key: K) -> Instant {
        let kept = self.by_key.get_mut(&key);
        let kept = kept.expect("both maps have the same sessions");
        let due = kept.session.due();
        if due == kept.due.0 {
            return due;
        }
        let before = kept.due;
        self.by_due.remove(&before);
        let place = self.file(key, due);
        if let Some(kept) = self.by_key.get_mut(&key) {
            kept.due = place;
        }
        due
    }

    fn file(&mut self, key: K, due: Instant) -> Due {
        self.serial += 1;
        let place = (due, self.serial);
        self.by_due.insert(place, key);
        place
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
    struct Toy(Rc<Cell<Instant>>);

    impl Mortal for Toy {
        fn due(&self) -> Instant {
            self.0.get()
        }
    }

    #[derive(Clone, Debug)]
    enum Act {
        Insert(u8),
        Remove(u8),
        Use(u8),
        Expire,
        Evict,
        Wait(u8),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0u8..8).prop_map(Act::Insert),
            (0u8..8).prop_map(Act::Remove),
            (0u8..8).prop_map(Act::Use),
            Just(Act::Expire),
            Just(Act::Evict),
            (0u8..20).prop_map(Act::Wait),
        ]
    }

    const IDLE: Duration = Duration::from_millis(30);

    proptest! {
        /// Against a list that is searched from end to end.
        #[test]
        fn a_session_ends_by_its_last_use_only(acts in proptest::collection::vec(act(), 0..80)) {
            let mut now = Instant::now();
            let mut table = Table::default();
            let mut model: Vec<(u8, Toy)> = Vec::new();
            for act in acts {
                // No two things happen at the same time.
                now += Duration::from_micros(1);
                match act {
                    Act::Insert(key) => {
                        let toy = Toy(Rc::new(Cell::new(now + IDLE)));
                        model.retain(|(known, _)| *known != key);
                        model.push((key, toy.clone()));
                        table.insert(key, toy);
                    }
                    Act::Remove(key) => {
                        let known = model.iter().any(|(known, _)| *known == key);
                        model.retain(|(known, _)| *known != key);
                        prop_assert_eq!(table.remove(&key).is_some(), known);
                    }
                    Act::Use(key) => {
                        if let Some(toy) = table.get(&key) {
                            toy.0.set(now + IDLE);
                        }
                    }
                    Act::Expire => {
                        while table.expired(now).is_some() {}
                        model.retain(|(_, toy)| toy.due() > now);
                    }
                    Act::Evict => {
                        let oldest = model.iter().map(|(_, toy)| toy.due()).min();
                        model.retain(|(_, toy)| Some(toy.due()) != oldest);
                        prop_assert_eq!(table.oldest().map(|toy| toy.due()), oldest);
                    }
                    Act::Wait(millis) => now += Duration::from_millis(millis.into()),
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert_eq!(table.by_due.len(), model.len());
                for (key, _) in &model {
                    prop_assert!(table.get(key).is_some());
                }
                let first = model.iter().map(|(_, toy)| toy.due()).min();
                prop_assert!(table.next_due() <= first && table.next_due().is_some() == first.is_some());
            }
        }
    }
}
