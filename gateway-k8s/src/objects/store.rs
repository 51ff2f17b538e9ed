//! Objects of one kind, by name.

use std::collections::{BTreeMap, btree_map};
use std::ops::Index;
use std::sync::Arc;

use super::{Object, ObjectKey};

/// Objects of one kind. Clones share the objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Store<S>(BTreeMap<ObjectKey, Arc<Object<S>>>);

impl<S> Default for Store<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S> Store<S> {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the store has no objects.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The object of this name.
    pub fn get(&self, key: &ObjectKey) -> Option<&Object<S>> {
        self.0.get(key).map(|object| &**object)
    }

    /// Whether the store has an object of this name.
    pub fn contains_key(&self, key: &ObjectKey) -> bool {
        self.0.contains_key(key)
    }

    /// The names, in order.
    pub fn keys(&self) -> btree_map::Keys<'_, ObjectKey, Arc<Object<S>>> {
        self.0.keys()
    }

    /// The objects, in order of name.
    pub fn values(&self) -> impl Iterator<Item = &Object<S>> {
        self.0.values().map(|object| &**object)
    }

    /// Names and objects, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Object<S>)> {
        self.0.iter().map(|(key, object)| (key, &**object))
    }

    /// Mutable references to the objects. Shared objects are cloned.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Object<S>>
    where
        S: Clone,
    {
        self.0.values_mut().map(Arc::make_mut)
    }

    /// Adds an object. Returns the previous object of this name.
    pub fn insert(
        &mut self,
        key: ObjectKey,
        object: impl Into<Arc<Object<S>>>,
    ) -> Option<Arc<Object<S>>> {
        self.0.insert(key, object.into())
    }

    /// Removes an object.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Arc<Object<S>>> {
        self.0.remove(key)
    }

    /// Keeps the objects for which `keep` returns `true`.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Object<S>) -> bool) {
        self.0.retain(|_, object| keep(object));
    }

    /// Adds the objects of `other` that are missing or invalid here and for which `keep` returns `true`.
    pub(super) fn fill_from(
        &mut self,
        other: &Self,
        mut keep: impl FnMut(&ObjectKey, &Object<S>) -> bool,
    ) {
        for (key, object) in &other.0 {
            let better = |now: &Object<S>| {
                !now.unreadable_fields.is_empty() && object.unreadable_fields.is_empty()
            };
            if self.get(key).is_none_or(better) && keep(key, object) {
                self.0.insert(key.clone(), object.clone());
            }
        }
    }
}

impl<S> Index<&ObjectKey> for Store<S> {
    type Output = Object<S>;

    /// # Panics If the store has no object of this name.
    fn index(&self, key: &ObjectKey) -> &Object<S> {
        &self.0[key]
    }
}

impl<S, const N: usize> From<[(ObjectKey, Object<S>); N]> for Store<S> {
    fn from(objects: [(ObjectKey, Object<S>); N]) -> Self {
        let objects = objects.into_iter();
        Self(objects.map(|(key, object)| (key, object.into())).collect())
    }
}
