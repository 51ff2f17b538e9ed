//! The entries of one hostname, looked up by path.
//!
//! All entries are in one slice, grouped by path. In each group, the entry with the highest precedence is
//! first. The other fields of [`HostTable`] contain ranges of this slice. A lookup tries path types from the
//! most to the least specific, and prefixes from the longest to the shortest. The result is the first entry
//! that also fulfils the conditions on method, header fields and query.

use std::cmp::Reverse;
use std::ops::Range;

use foldhash::HashMap;
use towergate_tls::NamePattern;

use super::conditions::Conditions;
use super::paths::{Known, Paths};
use super::pattern::{PathPattern, Patterns, grpc_parts};
use super::rank::{PathKey, PathKind, Rank};
use super::{MatchedRoute, Query};
use crate::route::matches::Match;

/// Entries of one hostname. The table is built once and shared by all route tables with the same entries for
/// this hostname.
#[derive(Clone, Debug)]
pub struct HostTable<T> {
    paths: Paths,
    entries: Box<[Entry<T>]>,
    rare: Option<Box<Rare>>,
    hostname: NamePattern,
}

/// For the rarely used path types, the ranges of their entries.
#[derive(Clone, Debug, Default)]
struct Rare {
    services: HashMap<Box<str>, Range<usize>>,
    methods: HashMap<Box<str>, Range<usize>>,
    patterns: Option<(Patterns, Range<usize>)>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    conditions: Option<Box<Conditions>>,
    payload: T,
}

impl<T> HostTable<T> {
    /// Builds the table of `hostname`. If several entries have the same match, the first one applies.
    ///
    /// # Panics
    /// Panics if there are more than `u32::MAX` entries or bytes of paths.
    pub fn build<'m>(
        hostname: NamePattern,
        entries: impl IntoIterator<Item = (&'m Match, T)>,
    ) -> Self {
        let mut drafts: Vec<Draft<'m, T>> = entries
            .into_iter()
            .map(|(entry, payload)| Draft::new(entry, payload))
            .collect();
        // The sort groups the entries by string, in the byte order that `Paths::build` requires. In each
        // group, the entry with the highest rank is first. The sort is stable: entries of equal rank keep
        // their order.
        drafts.sort_by(|a, b| {
            let way = a.way().cmp(&b.way());
            way.then_with(|| a.key.text.cmp(&b.key.text))
                .then_with(|| Reverse(a.rank).cmp(&Reverse(b.rank)))
        });
        let by_path = drafts.partition_point(|draft| draft.way() == Way::Path);
        let groups = drafts[..by_path].chunk_by(Draft::is_neighbour);
        let paths = Paths::build(groups.map(|group| {
            let exact = group.partition_point(|draft| draft.kind() == PathKind::Exact);
            (&*group[0].key.text, exact, group.len() - exact)
        }));
        Self {
            paths,
            rare: Rare::build(&drafts, by_path),
            entries: drafts.into_iter().map(|draft| draft.entry).collect(),
            hostname,
        }
    }

    /// Hostname of all entries.
    pub fn hostname(&self) -> &NamePattern {
        &self.hostname
    }

    /// The entry with the highest precedence that matches `query`. The host of `query` is ignored.
    pub fn find(&self, query: &Query<'_>) -> Option<MatchedRoute<'_, T>> {
        let path = query.literal_path();
        let last = self.paths.last(path);
        let exact = self.paths.exact(last, path);
        let (payload, prefix) = exact
            .and_then(|entries| self.first(entries, query))
            .or_else(|| self.find_rare(query))
            .map(|payload| (payload, None))
            .or_else(|| self.find_prefix(last, query))?;
        Some(MatchedRoute {
            payload,
            hostname: &self.hostname,
            prefix: match query.compared {
                None => prefix,
                Some(compared) => prefix.map(|length| compared.length_in(query.path, length)),
            },
        })
    }

    /// The first matching entry among the path prefixes. A path that does not start with a slash (`*` or
    /// empty) matches no prefix.
    fn find_prefix(&self, last: Option<Known>, query: &Query<'_>) -> Option<(&T, Option<usize>)> {
        let path = query.literal_path();
        if !path.starts_with('/') {
            return None;
        }
        let mut prefixes = self.paths.prefixes(last, path);
        prefixes.find_map(|(entries, length)| Some((self.first(entries, query)?, Some(length))))
    }

    fn find_rare(&self, query: &Query<'_>) -> Option<&T> {
        let rare = self.rare.as_deref()?;
        grpc_parts(query.literal_path())
            .and_then(|(service, method)| {
                let first = |entries: &Range<usize>| self.first(entries.clone(), query);
                let service = rare.services.get(service).and_then(first);
                service.or_else(|| rare.methods.get(method).and_then(first))
            })
            .or_else(|| {
                let (patterns, range) = rare.patterns.as_ref()?;
                let entries = &self.entries[range.clone()];
                let found = patterns.find(query, |at| entries[at].holds(query))?;
                Some(&entries[found].payload)
            })
    }

    fn first(&self, entries: Range<usize>, query: &Query<'_>) -> Option<&T> {
        self.entries[entries]
            .iter()
            .find(|entry| entry.holds(query))
            .map(|entry| &entry.payload)
    }
}

impl Rare {
    /// Collects the ranges of the rarely used path types. Their entries begin at `start`. `None` if there are
    /// no such entries.
    fn build<T>(drafts: &[Draft<'_, T>], mut start: usize) -> Option<Box<Self>> {
        let mut rare = None::<Box<Self>>;
        for group in drafts[start..].chunk_by(Draft::is_neighbour) {
            let rare = rare.get_or_insert_default();
            let range = start..start + group.len();
            start = range.end;
            let text = || group[0].key.text.as_ref().into();
            match group[0].way() {
                Way::Path | Way::Service => drop(rare.services.insert(text(), range)),
                Way::Method => drop(rare.methods.insert(text(), range)),
                Way::Pattern => {
                    let patterns = group.iter().filter_map(|draft| draft.key.pattern.clone());
                    let patterns: Vec<PathPattern> = patterns.collect();
                    rare.patterns = Some((Patterns::new(patterns), range));
                }
            }
        }
        rare
    }
}

impl<T> Entry<T> {
    fn holds(&self, query: &Query<'_>) -> bool {
        self.conditions.as_ref().is_none_or(|c| c.hold(query))
    }
}

/// Lookup structure in which an entry is stored.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Way {
    Path,
    Service,
    Method,
    Pattern,
}

/// An entry before it is sorted.
struct Draft<'m, T> {
    rank: Rank,
    key: PathKey<'m>,
    entry: Entry<T>,
}

impl<'m, T> Draft<'m, T> {
    fn new(entry: &'m Match, payload: T) -> Self {
        let key = PathKey::new(&entry.path);
        Self {
            rank: Rank::new(key.rank, entry),
            key,
            entry: Entry {
                conditions: Conditions::new(entry),
                payload,
            },
        }
    }

    fn kind(&self) -> PathKind {
        self.rank.path.kind
    }

    fn way(&self) -> Way {
        match self.kind() {
            PathKind::Exact | PathKind::Prefix => Way::Path,
            PathKind::GrpcService => Way::Service,
            PathKind::GrpcMethod => Way::Method,
            PathKind::Pattern => Way::Pattern,
        }
    }

    /// Returns whether both entries belong to the same group. This is the case if they have the same path
    /// string, or if both are patterns.
    fn is_neighbour(&self, other: &Self) -> bool {
        self.way() == other.way() && self.key.text == other.key.text
    }
}
