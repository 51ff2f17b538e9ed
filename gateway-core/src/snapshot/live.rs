//! What must survive a change of the configuration, found by its parameters.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Shared state by parameters: equal parameters, same instance. The last user that drops an instance
/// frees it. Asked when a snapshot is built, never by a request.
#[derive(Default)]
pub struct Live {
    maps: Mutex<HashMap<TypeId, Box<dyn Any + Send>>>,
}

impl Live {
    /// The instance for `key`, made by `make` if there is none.
    pub fn share<K, V>(&self, key: K, make: impl FnOnce(&K) -> Arc<V>) -> Arc<V>
    where
        K: Eq + Hash + Send + 'static,
        V: Send + Sync + 'static,
    {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        let map = maps
            .entry(TypeId::of::<(K, V)>())
            .or_insert_with(|| Box::new(HashMap::<K, Weak<V>>::new()))
            .downcast_mut::<HashMap<K, Weak<V>>>()
            .expect("the type id names the type");
        if let Some(value) = map.get(&key).and_then(Weak::upgrade) {
            return value;
        }
        if map.len() == map.capacity() {
            map.retain(|_, value| value.strong_count() > 0);
        }
        let value = make(&key);
        map.insert(key, Arc::downgrade(&value));
        value
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
    fn equal_parameters_give_the_same_instance_while_it_is_used() {
        let live = Live::default();

        let first = live.share("key", |_| Arc::new(1));
        let second = live.share("key", |_| Arc::new(2));
        assert!(Arc::ptr_eq(&first, &second));
        drop((first, second));

        assert_eq!(*live.share("key", |_| Arc::new(3)), 3);
    }
}
