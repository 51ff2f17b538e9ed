//! The entries of one hostname, found by path.
//!
//! All entries lie in one list, the highest precedence first. Entries of one path are neighbours, so
//! the maps hold no more than where they begin and end. Kinds of paths are looked up from the most to
//! the least specific, prefixes from the longest to the shortest, and the first entry whose other
//! conditions hold is the one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use towergate_tls::NamePattern;

use super::conditions::Conditions;
use super::pattern::{PathPattern, Patterns, grpc_parts};
use super::rank::{PathKey, PathKind, Rank};
use super::{Found, Query};
use crate::plan::Match;

/// The entries of one hostname. Built once and shared by all tables in which the host is the same.
#[derive(Clone, Debug)]
pub struct HostTable<T> {
    hostname: NamePattern,
    entries: Box<[Entry<T>]>,
    exact: HashMap<Box<str>, Span>,
    prefixes: HashMap<Box<str>, Span>,
    /// The lengths of `prefixes` in bytes, the longest first.
    prefix_lengths: Box<[usize]>,
    rare: Option<Box<Rare>>,
}

/// Kinds of paths that most hosts have none of.
#[derive(Clone, Debug, Default)]
struct Rare {
    services: HashMap<Box<str>, Span>,
    methods: HashMap<Box<str>, Span>,
    patterns: Option<(Patterns, Span)>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    conditions: Option<Box<Conditions>>,
    payload: T,
}

/// Where entries begin and end.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

impl<T> HostTable<T> {
    /// A table of the entries of `hostname`. Of equal ones the first wins.
    ///
    /// # Panics
    /// With more than `u32::MAX` entries.
    pub fn build<'m>(
        hostname: NamePattern,
        entries: impl IntoIterator<Item = (&'m Match, T)>,
    ) -> Self {
        let mut drafts: Vec<Draft<'m, T>> = entries
            .into_iter()
            .map(|(entry, payload)| Draft::new(entry, payload))
            .collect();
        // The sort is stable: of equals the first stays first. Two texts of one rank of path never
        // match the same request, so their order is free, and it brings those of one path together.
        drafts.sort_by(|a, b| {
            let path = Reverse(a.rank.path).cmp(&Reverse(b.rank.path));
            path.then_with(|| a.key.text.cmp(&b.key.text))
                .then_with(|| Reverse(a.rank).cmp(&Reverse(b.rank)))
        });
        let mut table = Self::empty(hostname);
        let mut start = 0;
        for group in drafts.chunk_by(|a, b| a.is_neighbour(b)) {
            let span = Span::new(start, start + group.len());
            start += group.len();
            table.add(group, span);
        }
        table.prefix_lengths = lengths(&table.prefixes);
        table.entries = drafts.into_iter().map(Draft::into_entry).collect();
        table
    }

    /// The hostname that all entries have.
    pub fn hostname(&self) -> &NamePattern {
        &self.hostname
    }

    /// The entry with the highest precedence of those that hold for `query`, whatever its host.
    pub fn find(&self, query: &Query<'_>) -> Option<Found<'_, T>> {
        let exact = self.exact.get(query.path).copied();
        exact
            .and_then(|span| self.first(span, query))
            .or_else(|| self.find_rare(query))
            .map(|payload| (payload, None))
            .or_else(|| self.find_prefix(query))
            .map(|(payload, prefix)| Found {
                payload,
                hostname: &self.hostname,
                prefix,
            })
    }

    fn find_rare(&self, query: &Query<'_>) -> Option<&T> {
        let rare = self.rare.as_deref()?;
        grpc_parts(query.path)
            .and_then(|(service, method)| {
                let span = |map: &HashMap<Box<str>, Span>, key: &str| map.get(key).copied();
                span(&rare.services, service)
                    .and_then(|span| self.first(span, query))
                    .or_else(|| self.first(span(&rare.methods, method)?, query))
            })
            .or_else(|| {
                let (patterns, span) = rare.patterns.as_ref()?;
                let entries = &self.entries[span.range()];
                let found = patterns.find(query.path, |at| entries[at].holds(query))?;
                Some(&entries[found].payload)
            })
    }

    /// A path that does not begin with a slash (`*`, or none) has no first elements.
    fn find_prefix(&self, query: &Query<'_>) -> Option<(&T, Option<usize>)> {
        let path = query.path;
        if !path.starts_with('/') {
            return None;
        }
        let ends_element = |at: usize| matches!(path.as_bytes().get(at), None | Some(b'/'));
        self.prefix_lengths
            .iter()
            .filter(|length| **length <= path.len() && ends_element(**length))
            .find_map(|length| {
                let span = *self.prefixes.get(&path[..*length])?;
                Some((self.first(span, query)?, Some(*length)))
            })
    }

    fn first(&self, span: Span, query: &Query<'_>) -> Option<&T> {
        self.entries[span.range()]
            .iter()
            .find(|entry| entry.holds(query))
            .map(|entry| &entry.payload)
    }

    fn empty(hostname: NamePattern) -> Self {
        Self {
            hostname,
            entries: Box::default(),
            exact: HashMap::new(),
            prefixes: HashMap::new(),
            prefix_lengths: Box::default(),
            rare: None,
        }
    }

    /// Notes where the entries of one path are, or those of all patterns.
    fn add(&mut self, group: &[Draft<'_, T>], span: Span) {
        let text: Box<str> = group[0].key.text.as_ref().into();
        match group[0].rank.path.kind {
            PathKind::Exact => {
                self.exact.insert(text, span);
            }
            PathKind::Prefix => {
                self.prefixes.insert(text, span);
            }
            PathKind::GrpcService => {
                self.rare().services.insert(text, span);
            }
            PathKind::GrpcMethod => {
                self.rare().methods.insert(text, span);
            }
            PathKind::Pattern => {
                let patterns: Vec<PathPattern> = group
                    .iter()
                    .filter_map(|draft| draft.key.pattern.clone())
                    .collect();
                self.rare().patterns = Some((Patterns::new(patterns), span));
            }
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

impl<T> Entry<T> {
    fn holds(&self, query: &Query<'_>) -> bool {
        self.conditions.as_ref().is_none_or(|c| c.hold(query))
    }
}

impl Span {
    fn new(start: usize, end: usize) -> Self {
        let narrow = |at: usize| u32::try_from(at).expect("a host has fewer than 2^32 entries");
        Self {
            start: narrow(start),
            end: narrow(end),
        }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// An entry that has no place yet.
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

    /// Whether both are found in one step: they have the same path, or both are patterns.
    fn is_neighbour(&self, other: &Self) -> bool {
        self.rank.path.kind == other.rank.path.kind && self.key.text == other.key.text
    }

    fn into_entry(self) -> Entry<T> {
        self.entry
    }
}

fn lengths(prefixes: &HashMap<Box<str>, Span>) -> Box<[usize]> {
    let mut lengths: Vec<usize> = prefixes.keys().map(|prefix| prefix.len()).collect();
    lengths.sort_unstable_by_key(|length| Reverse(*length));
    lengths.dedup();
    lengths.into()
}
