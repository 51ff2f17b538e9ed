//! Precedence of matches. A more specific match has a greater rank.

use std::borrow::Cow;

use super::pattern::PathPattern;
use crate::route::matches::{GrpcMethodMatch, Match, NameMatch, PathMatch};
use crate::text::TextMatch;

/// Rank of a match among the matches of its hostname. Fields are compared in order of declaration.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Rank {
    /// Rank of the path.
    pub(super) path: PathRank,
    method: bool,
    headers: usize,
    exact_headers: usize,
    query: usize,
    exact_query: usize,
    cookies: usize,
}

/// Rank of a path match.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct PathRank {
    /// Path type.
    pub(super) kind: PathKind,
    /// Length in characters of the path, the expression or the gRPC service.
    length: usize,
    /// Length in characters of the gRPC method; 0 unless `kind` is `Pattern`.
    method_length: usize,
}

/// Path type of an entry. The least specific type is first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum PathKind {
    /// Path prefix.
    Prefix,
    /// Regular expression of a path, or a gRPC match that no other kind covers.
    Pattern,
    /// Exact gRPC method without a service.
    GrpcMethod,
    /// Exact gRPC service without a method.
    GrpcService,
    /// Exact path, or exact gRPC service with an exact gRPC method.
    Exact,
}

/// A path match in the form in which a table stores it: its rank, and the string to look up or the pattern to
/// evaluate.
#[derive(Debug)]
pub(super) struct PathKey<'m> {
    /// Rank of the path match.
    pub(super) rank: PathRank,
    /// String to look up. Empty if there is a pattern.
    pub(super) text: Cow<'m, str>,
    /// Pattern to evaluate; `None` if the path match is looked up by `text`.
    pub(super) pattern: Option<PathPattern>,
}

impl<'m> PathKey<'m> {
    /// Creates the key of a path match.
    pub(super) fn new(path: &'m PathMatch) -> Self {
        match path {
            PathMatch::Exact(path) => Self::hashed(PathKind::Exact, path.as_str()),
            PathMatch::Prefix(prefix) => Self::hashed(
                PathKind::Prefix,
                prefix.strip_suffix('/').unwrap_or(prefix.as_str()),
            ),
            PathMatch::Regex(regex) => Self::tried(
                chars(regex.as_str()),
                0,
                PathPattern::Regex((**regex).clone()),
            ),
            PathMatch::Grpc(grpc) => Self::grpc(grpc),
        }
    }

    fn grpc(grpc: &'m GrpcMethodMatch) -> Self {
        use TextMatch::Exact;
        match (&grpc.service, &grpc.method) {
            (Some(Exact(service)), Some(Exact(method))) if is_name(service) && is_name(method) => {
                Self::hashed(PathKind::Exact, format!("/{service}/{method}"))
            }
            (Some(Exact(service)), None) => Self::hashed(PathKind::GrpcService, service.as_str()),
            (None, Some(Exact(method))) => Self::hashed(PathKind::GrpcMethod, method.as_str()),
            (service, method) => {
                let length = |part: &Option<TextMatch>| part.as_ref().map_or(0, text_length);
                Self::tried(
                    length(service),
                    length(method),
                    PathPattern::Grpc(grpc.clone()),
                )
            }
        }
    }

    fn hashed(kind: PathKind, text: impl Into<Cow<'m, str>>) -> Self {
        let text = text.into();
        let rank = PathRank {
            kind,
            length: chars(&text),
            method_length: 0,
        };
        Self {
            rank,
            text,
            pattern: None,
        }
    }

    fn tried(length: usize, method_length: usize, pattern: PathPattern) -> Self {
        let rank = PathRank {
            kind: PathKind::Pattern,
            length,
            method_length,
        };
        Self {
            rank,
            text: Cow::Borrowed(""),
            pattern: Some(pattern),
        }
    }
}

impl Rank {
    /// The rank of `entry`. `path` is the rank of the path of the entry.
    pub(super) fn new(path: PathRank, entry: &Match) -> Self {
        Self {
            path,
            method: entry.method.is_some(),
            headers: entry.headers.len(),
            exact_headers: exact(&entry.headers),
            query: entry.query.len(),
            exact_query: exact(&entry.query),
            cookies: entry.cookies.len(),
        }
    }
}

/// Number of conditions that require an exact value.
fn exact<N>(conditions: &[NameMatch<N>]) -> usize {
    conditions
        .iter()
        .filter(|condition| matches!(condition.value, TextMatch::Exact(_)))
        .count()
}

/// Returns whether `part` can be a gRPC service or method. A path that is joined from other strings could be
/// the path of another call.
fn is_name(part: &str) -> bool {
    !part.is_empty() && !part.contains('/')
}

fn text_length(text: &TextMatch) -> usize {
    match text {
        TextMatch::Exact(text) | TextMatch::Prefix(text) | TextMatch::Suffix(text) => chars(text),
        TextMatch::Regex(regex) => chars(regex.as_str()),
    }
}

fn chars(text: &str) -> usize {
    text.chars().count()
}
