//! The precedence of a match: what is more specific is greater.

use std::borrow::Cow;

use super::pattern::PathPattern;
use crate::route::matches::{GrpcMethodMatch, Match, PathMatch};
use crate::text::TextMatch;

/// The place of a match among those of its hostname. Fields are compared from the first to the last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Rank {
    /// The path.
    pub(super) path: PathRank,
    method: bool,
    headers: usize,
    exact_headers: usize,
    query: usize,
}

/// The place of a path match.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct PathRank {
    /// How the path is found.
    pub(super) kind: PathKind,
    /// Characters of the path, of the expression, or of the gRPC service.
    length: usize,
    /// Characters of the gRPC method.
    method_length: usize,
}

/// How a path is found, the least specific first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum PathKind {
    /// By its first elements.
    Prefix,
    /// By trying: regular expressions, of a path or of a gRPC service or method.
    Pattern,
    /// By the gRPC method alone.
    GrpcMethod,
    /// By the gRPC service alone.
    GrpcService,
    /// By the whole path; a gRPC service and method are one too.
    Exact,
}

/// A path match as a table stores it: its rank, and the text to hash or the pattern to try.
#[derive(Debug)]
pub(super) struct PathKey<'m> {
    /// Its place.
    pub(super) rank: PathRank,
    /// What is hashed; empty for a pattern.
    pub(super) text: Cow<'m, str>,
    /// What is tried.
    pub(super) pattern: Option<PathPattern>,
}

impl<'m> PathKey<'m> {
    /// The key of a path match.
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
    /// The place of `entry`, whose path has the place `path`.
    pub(super) fn new(path: PathRank, entry: &Match) -> Self {
        Self {
            path,
            method: entry.method.is_some(),
            headers: entry.headers.len(),
            exact_headers: entry
                .headers
                .iter()
                .filter(|header| matches!(header.value, TextMatch::Exact(_)))
                .count(),
            query: entry.query.len(),
        }
    }
}

/// Others match no call, and put together they must not become a path that is one.
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
