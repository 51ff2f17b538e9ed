//! Lists with their own index types.
//!
//! Resolution refers to Gateways, ListenerSets, listeners and routes by their place in a list. Each list
//! has its index type, so using an index of one list for another list does not compile.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Index, IndexMut};

/// The index type of a list.
pub(super) trait ListIndex: Copy + Debug {
    fn new(at: usize) -> Self;
    fn get(self) -> usize;
}

macro_rules! list_index {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub(super) struct $name(usize);

        impl ListIndex for $name {
            fn new(at: usize) -> Self {
                Self(at)
            }

            fn get(self) -> usize {
                self.0
            }
        }
    )*};
}

list_index! {
    /// A Gateway of this controller, in order of age.
    GatewayIndex
    /// A ListenerSet of a Gateway, in order of age.
    ListenerSetIndex
    /// A listener of a Gateway. Listeners of the Gateway itself precede those of its ListenerSets.
    ListenerIndex
    /// A route of any kind, in order of precedence.
    RouteIndex
}

/// A listener: its Gateway, and its index in that Gateway.
pub(super) type ListenerPlace = (GatewayIndex, ListenerIndex);

/// A list that is indexed by `I`.
#[derive(Debug)]
pub(super) struct Indexed<I, T> {
    items: Vec<T>,
    index: PhantomData<I>,
}

impl<I: ListIndex, T> Indexed<I, T> {
    pub(super) fn push(&mut self, item: T) {
        self.items.push(item);
    }

    /// The items with their indices.
    pub(super) fn indexed(&self) -> impl Iterator<Item = (I, &T)> {
        self.indices().zip(&self.items)
    }

    /// All indices.
    pub(super) fn indices(&self) -> impl Iterator<Item = I> + use<I, T> {
        (0..self.items.len()).map(I::new)
    }
}

impl<I, T> Default for Indexed<I, T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<I, T> From<Vec<T>> for Indexed<I, T> {
    fn from(items: Vec<T>) -> Self {
        Self {
            items,
            index: PhantomData,
        }
    }
}

impl<I, T> FromIterator<T> for Indexed<I, T> {
    fn from_iter<A: IntoIterator<Item = T>>(items: A) -> Self {
        Vec::from_iter(items).into()
    }
}

impl<I, T> Deref for Indexed<I, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<I, T> DerefMut for Indexed<I, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items
    }
}

impl<I: ListIndex, T> Index<I> for Indexed<I, T> {
    type Output = T;

    fn index(&self, at: I) -> &T {
        &self.items[at.get()]
    }
}

impl<I: ListIndex, T> IndexMut<I> for Indexed<I, T> {
    fn index_mut(&mut self, at: I) -> &mut T {
        &mut self.items[at.get()]
    }
}

impl<'l, I, T> IntoIterator for &'l Indexed<I, T> {
    type Item = &'l T;
    type IntoIter = std::slice::Iter<'l, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<'l, I, T> IntoIterator for &'l mut Indexed<I, T> {
    type Item = &'l mut T;
    type IntoIter = std::slice::IterMut<'l, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter_mut()
    }
}
