//! Matches of rules, including the readable parts of invalid ones.
//!
//! The requests of a rule with an invalid match must not reach a less specific rule. Therefore an
//! invalid match is read as all matches that its author may have intended, and the rule returns 500
//! for all of them:
//!
//! | invalid part | kept part |
//! |---|---|
//! | path type | the value as exact path, as prefix and as expression |
//! | path value | its normal spelling; for a broken expression, the literal string at its start |
//! | method | the method of that name in upper case, or every method |
//! | type or value of a header or query parameter | the presence of the name |
//! | name of a header or query parameter | nothing: the other parts of the match decide |
//! | gRPC service or method | the literal string at its start |
//!
//! If no part of a path is kept, the match could stand for any request of the route, so every rule
//! that it could precede returns 500 too ([`RuleMatches::lost`]).
//!
//! The kept matches have at least the precedence of the intended match.

mod grpc;
mod path;
mod reading;
mod value;

use http::{HeaderName, Method};
use towergate_core::plan::{Match, PathMatch, Text};
use towergate_policy::SchemaViolation;

use self::reading::{Readings, product};
use self::value::Values;
use crate::api::grpc_route::GrpcRouteMatch;
use crate::api::http_route::HttpRouteMatch;
use crate::decode::FieldScope;

/// The methods of Gateway API (`HTTPMethod`).
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// The matches of a rule.
#[derive(Debug, Default)]
pub(super) struct RuleMatches {
    /// Never empty.
    pub(super) matches: Vec<Match>,
    /// Invalid values. If there are any, `matches` contains all matches that the rule may have
    /// intended.
    pub(super) faults: Vec<MatchError>,
    /// Set if a match of the rule could stand for any request, because no part of its path is certain.
    pub(super) lost: Option<LostPath>,
}

/// An invalid path match of which no part is certain. The variant states which rules the match could precede.
/// Each variant includes the rules of the variants before it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum LostPath {
    /// An invalid regular expression. Exact paths precede it, whatever it was meant to match.
    Expression,
    /// A path of any type, which may precede every rule.
    Unknown,
}

/// An invalid value in a match.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct MatchError {
    /// Path of the value within the rule, such as `.matches[0].path.type`.
    pub(super) field: String,
    /// The error message.
    pub(super) message: String,
}

impl RuleMatches {
    /// The matches of a rule of an HTTPRoute. A rule without matches matches every request. `rule` is the
    /// path of the rule. `unread` contains the fields of the rule that the decoder could not read.
    pub(super) fn http(
        matches: &[HttpRouteMatch],
        rule: usize,
        unread: &[SchemaViolation],
    ) -> Self {
        Self::read(matches, rule, unread, |reader, one| reader.http(one))
    }

    /// The matches of a rule of a GRPCRoute. A rule without matches matches every call. `rule` and `unread`
    /// are as in [`Self::http`].
    pub(super) fn grpc(
        matches: &[GrpcRouteMatch],
        rule: usize,
        unread: &[SchemaViolation],
    ) -> Self {
        Self::read(matches, rule, unread, |reader, one| reader.grpc(one))
    }

    fn read<M>(
        matches: &[M],
        rule: usize,
        unread: &[SchemaViolation],
        one: fn(&mut MatchReader<'_>, &M) -> Result<(), LostPath>,
    ) -> Self {
        let unread = unread_of(rule, unread);
        let mut found = Self {
            // Allocated with the exact size: growth would reserve room for four matches, and nearly all rules
            // have one match.
            matches: Vec::with_capacity(matches.len().max(1)),
            lost: hides_matches(matches.len(), &unread).then_some(LostPath::Unknown),
            ..Self::default()
        };
        for (at, written) in matches.iter().enumerate() {
            let mut reader = MatchReader {
                at,
                unread: &unread,
                found: &mut found,
            };
            let lost = one(&mut reader, written).err();
            found.lost = found.lost.max(lost);
        }
        match found.lost {
            // The exact matches of the rule are kept, because they precede those of other rules.
            Some(LostPath::Expression) => found.matches.push(Match::default()),
            Some(LostPath::Unknown) => found.matches = vec![Match::default()],
            None if found.matches.is_empty() => found.matches = vec![Match::default()],
            None => {}
        }
        found
    }
}

/// The paths, below the rule at `rule`, of the fields that the decoder could not read.
fn unread_of(rule: usize, unread: &[SchemaViolation]) -> Vec<String> {
    if unread.is_empty() {
        return Vec::new();
    }
    let below = |fault: &SchemaViolation| match FieldScope::of(&fault.field) {
        FieldScope::Rule(at, rest) if at == rule => Some(rest.to_owned()),
        // None of the rules could be read.
        FieldScope::EveryRule if fault.field == "spec.rules" => Some(".matches".to_owned()),
        _ => None,
    };
    unread.iter().filter_map(below).collect()
}

/// Whether an unreadable field of a rule without matches may contain its matches.
fn hides_matches(count: usize, unread: &[String]) -> bool {
    const OTHERS: [&str; 6] = [
        ".name",
        ".filters",
        ".backendRefs",
        ".timeouts",
        ".retry",
        ".sessionPersistence",
    ];
    let hides = |field: &String| match field.strip_prefix(".matches") {
        Some(rest) => rest.is_empty(),
        None => !OTHERS.iter().any(|other| field.starts_with(other)),
    };
    count == 0 && unread.iter().any(hides)
}

/// Reads one match of a rule.
struct MatchReader<'r> {
    /// Index of the match in the rule.
    at: usize,
    unread: &'r [String],
    found: &'r mut RuleMatches,
}

impl MatchReader<'_> {
    /// Adds the matches that a match of an HTTPRoute may stand for. Fails if it could stand for
    /// any request.
    fn http(&mut self, written: &HttpRouteMatch) -> Result<(), LostPath> {
        let path = match &written.path {
            Some(path) => self.path(path),
            None if self.hides_path() => Err(LostPath::Unknown),
            None => Ok(Readings::One(Match::default().path)),
        };
        let method = self.method(written.method.as_deref());
        let headers = self.headers(&written.headers);
        let query = self.query(&written.query_params);
        self.add(path, method, headers, query)
    }

    /// Adds the matches that a match of a GRPCRoute may stand for. Fails if it could stand for any
    /// call.
    fn grpc(&mut self, written: &GrpcRouteMatch) -> Result<(), LostPath> {
        let path = match &written.method {
            Some(method) => self.grpc_method(method).ok_or(LostPath::Unknown),
            None if self.hides_path() || self.is_unread(".method") => Err(LostPath::Unknown),
            None => Ok(Readings::One(Match::default().path)),
        };
        let headers = self.headers(&written.headers);
        self.add(
            path,
            Readings::One(None),
            headers,
            Readings::One(Vec::new()),
        )
    }

    /// Adds every combination of readings. Fails without a reading of the path: the match could stand
    /// for any request.
    fn add(
        &mut self,
        path: Result<Readings<PathMatch>, LostPath>,
        method: Readings<Option<Text<Method>>>,
        headers: Readings<Values<Text<HeaderName>>>,
        query: Readings<Values<String>>,
    ) -> Result<(), LostPath> {
        let path = path?;
        let matches = &mut self.found.matches;
        product(
            (path, method, headers, query),
            |path, method, headers, query| {
                matches.push(Match {
                    path,
                    method,
                    headers,
                    query,
                    cookies: Vec::new(),
                });
            },
        );
        Ok(())
    }

    fn method(&mut self, written: Option<&str>) -> Readings<Option<Text<Method>>> {
        let Some(written) = written else {
            return match self.is_unread(".method") {
                true => any_method(),
                false => Readings::One(None),
            };
        };
        let named = |name: &str| METHODS.iter().find(|method| method.as_str() == name);
        if let Some(method) = named(written) {
            return Readings::One(Some(method.clone().into()));
        }
        let names: Vec<_> = METHODS.iter().map(Method::as_str).collect();
        let message = format!(
            "unknown method {written:?}; use one of {}",
            names.join(", ")
        );
        self.fault(".method", message);
        match named(&written.to_ascii_uppercase()) {
            Some(method) => Readings::One(Some(method.clone().into())),
            None => any_method(),
        }
    }

    /// Adds an error at `field` of the match if the decoder has not reported an error there.
    fn fault(&mut self, field: impl AsRef<str>, message: String) {
        let field = field.as_ref();
        let parent = field.rsplit_once('.').map_or("", |(parent, _)| parent);
        if self.is_unread(field) || !parent.is_empty() && self.is_unread(parent) {
            return;
        }
        let field = format!(".matches[{}]{field}", self.at);
        self.found.faults.push(MatchError { field, message });
    }

    /// Whether an unreadable field of the match may contain the path.
    fn hides_path(&self) -> bool {
        const OTHERS: [&str; 3] = [".headers", ".queryParams", ".method"];
        let within = format!(".matches[{}]", self.at);
        let hides = |field: &String| {
            let rest = field.strip_prefix(&within);
            rest.is_some_and(|rest| !OTHERS.iter().any(|other| rest.starts_with(other)))
        };
        self.unread.iter().any(hides)
    }

    /// Whether the decoder has reported an error at or below `field` of the match.
    fn is_unread(&self, field: &str) -> bool {
        if self.unread.is_empty() {
            return false;
        }
        let within = format!(".matches[{}]{field}", self.at);
        let in_field = |unread: &String| {
            let rest = unread.strip_prefix(&within);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.unread.iter().any(in_field)
    }
}

/// The readings of an unknown method: no method, and each method separately. A match with a method takes
/// precedence over a match without a method.
fn any_method() -> Readings<Option<Text<Method>>> {
    let each = METHODS.iter().map(|method| Some(method.clone().into()));
    Readings::Several(each.chain([None]).collect())
}

#[cfg(test)]
mod tests;
