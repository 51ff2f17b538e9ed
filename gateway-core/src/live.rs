//! State that is kept across configuration changes. The parameters of an instance are its key.

use std::any::{Any, TypeId};
use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use foldhash::HashMap;

/// Shared state with parameters as keys: equal parameters return the same instance. An instance is freed when
/// its last user drops it. `Live` is used when a snapshot is built, not when a request is served. Clones
/// share the instances.
#[derive(Clone, Default)]
pub struct Live {
    maps: Arc<Mutex<HashMap<TypeId, Box<dyn Any + Send>>>>,
}

type Known<K, V> = HashMap<K, Weak<V>>;

impl Live {
    /// Returns the instance for `key`. If there is no instance, `make` creates it.
    pub fn share<K, V>(&self, key: K, make: impl FnOnce(&K) -> Arc<V>) -> Arc<V>
    where
        K: Eq + Hash + Send + 'static,
        V: Send + Sync + 'static,
    {
        let shared = self.try_share(key, |key| Ok::<_, Infallible>(make(key)));
        shared.unwrap_or_else(|never| match never {})
    }

    /// Returns the instance for `key`. If there is no instance, `make` creates it.
    ///
    /// # Errors
    /// The error of `make`. The next call tries again.
    pub fn try_share<K, V, E>(
        &self,
        key: K,
        make: impl FnOnce(&K) -> Result<Arc<V>, E>,
    ) -> Result<Arc<V>, E>
    where
        K: Eq + Hash + Send + 'static,
        V: Send + Sync + 'static,
    {
        if let Some(value) =
            self.with(|map: &mut Known<K, V>| map.get(&key).and_then(Weak::upgrade))
        {
            return Ok(value);
        }
        // The lock is not held during this call, because `make` may call `share` for parts of the instance.
        let made = make(&key)?;
        Ok(self.with(|map: &mut Known<K, V>| {
            if map.len() == map.capacity() {
                map.retain(|_, value| value.strong_count() > 0);
            }
            // Another thread may have inserted an instance in the meantime.
            let known = map.get(&key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                map.insert(key, Arc::downgrade(&made));
                made
            })
        }))
    }

    /// Calls `act` with the instances of one type.
    fn with<K, V, T>(&self, act: impl FnOnce(&mut Known<K, V>) -> T) -> T
    where
        K: Send + 'static,
        V: Send + Sync + 'static,
    {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        let map = maps
            .entry(TypeId::of::<(K, V)>())
            .or_insert_with(|| Box::new(Known::<K, V>::default()));
        act(map.downcast_mut().expect("the key is the id of this type"))
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_parameters_return_the_same_instance_while_it_is_used() {
        let live = Live::default();

        let first = live.share("key", |_| Arc::new(1));
        let second = live.share("key", |_| Arc::new(2));
        assert!(Arc::ptr_eq(&first, &second));
        drop((first, second));

        assert_eq!(*live.share("key", |_| Arc::new(3)), 3);
    }

    #[test]
    fn an_instance_that_cannot_be_made_is_made_by_the_next_call() {
        let live = Live::default();

        let failed = live.try_share("key", |_| Err::<Arc<i32>, _>("no"));
        let made = live.try_share("key", |_| Ok::<_, &str>(Arc::new(1)));

        assert_eq!((failed, made.as_deref()), (Err("no"), Ok(&1)));
    }

    #[test]
    fn an_instance_may_have_shared_parts() {
        let live = Live::default();

        let whole = live.share("whole", |_| {
            Arc::new((live.share("part", |_| Arc::new(1)), 2))
        });

        assert!(Arc::ptr_eq(&whole.0, &live.share("part", |_| Arc::new(3))));
    }
}
