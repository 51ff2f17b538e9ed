//! Path matches that cannot be looked up by string comparison: regular expressions of a path, gRPC service or method.

use std::collections::HashMap;

use regex::{Regex, RegexSet, SetMatches};

use super::Query;
use crate::route::matches::GrpcMethodMatch;

/// Maximum number of different expressions that are matched one by one. If there are more expressions, they
/// are matched as a set.
const FEW: usize = 8;

/// A path match that must be evaluated for each path.
#[derive(Clone, Debug)]
pub(super) enum PathPattern {
    /// Matches the whole path. The expression is anchored.
    Regex(Regex),
    /// Matches the service and method of a gRPC path.
    Grpc(GrpcMethodMatch),
}

/// Patterns in order of precedence.
#[derive(Clone, Debug)]
pub(super) struct Patterns {
    /// Each pattern with the index of its expression in `set`. For gRPC matches, and if there is no set, the
    /// index is unused.
    patterns: Box<[(PathPattern, usize)]>,
    set: Option<RegexSet>,
}

impl Patterns {
    /// Builds the set of expressions, if there are more than [`FEW`].
    pub(super) fn new(patterns: Vec<PathPattern>) -> Self {
        let mut places: HashMap<Box<str>, usize> = HashMap::new();
        let mut texts: Vec<Box<str>> = Vec::new();
        let patterns = patterns
            .into_iter()
            .map(|pattern| {
                let place = match &pattern {
                    PathPattern::Regex(regex) => {
                        *places.entry(regex.as_str().into()).or_insert_with(|| {
                            texts.push(regex.as_str().into());
                            texts.len() - 1
                        })
                    }
                    PathPattern::Grpc(_) => 0,
                };
                (pattern, place)
            })
            .collect();
        // If the set exceeds its size limit, there is no set, and the expressions are matched one by one.
        let set = (texts.len() > FEW)
            .then(|| RegexSet::new(&texts).ok())
            .flatten();
        Self { patterns, set }
    }

    /// Index of the first pattern that matches the path of `query`, among the indexes for which `is_wanted` returns
    /// true.
    pub(super) fn find(
        &self,
        query: &Query<'_>,
        mut is_wanted: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let (path, other) = query.expression_paths();
        let tried: Option<(SetMatches, Option<SetMatches>)> = self
            .set
            .as_ref()
            .map(|set| (set.matches(path), other.map(|other| set.matches(other))));
        let grpc = grpc_parts(query.literal_path());
        self.patterns
            .iter()
            .enumerate()
            .position(|(at, (pattern, place))| {
                is_wanted(at)
                    && match (pattern, &tried) {
                        (PathPattern::Regex(_), Some((tried, other))) => {
                            let matched = |tried: &SetMatches| tried.matched(*place);
                            matched(tried) || other.as_ref().is_some_and(matched)
                        }
                        (PathPattern::Regex(regex), None) => {
                            regex.is_match(path) || other.is_some_and(|other| regex.is_match(other))
                        }
                        (PathPattern::Grpc(wanted), _) => grpc
                            .is_some_and(|(service, method)| grpc_matches(wanted, service, method)),
                    }
            })
    }
}

fn grpc_matches(wanted: &GrpcMethodMatch, service: &str, method: &str) -> bool {
    wanted.service.as_ref().is_none_or(|s| s.matches(service))
        && wanted.method.as_ref().is_none_or(|m| m.matches(method))
}

/// Service and method of a gRPC path. The path must have exactly two segments, neither of which is empty.
pub(super) fn grpc_parts(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let one_element = !service.is_empty() && !method.is_empty() && !method.contains('/');
    one_element.then_some((service, method))
}
