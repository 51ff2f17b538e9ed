//! Matches of gRPC services and methods.

use towergate_core::plan::{GrpcMethodMatch, Match, PathMatch, TextMatch};

use super::MatchReader;
use super::reading::{Readings, literal_start, looks_like_expression, starting_with};
use crate::api::grpc_route::GrpcMethodMatch as Written;

/// A service or method of a match.
enum Name {
    /// Valid; `None`: any name.
    Valid(Option<TextMatch>),
    /// Invalid.
    Invalid {
        /// The written name as an exact match, which has the highest precedence.
        exact: TextMatch,
        /// Every name that the match may stand for; `None`: no part of the name is certain.
        loose: Option<TextMatch>,
    },
}

impl Name {
    fn exact(&self) -> Option<TextMatch> {
        match self {
            Self::Valid(name) => name.clone(),
            Self::Invalid { exact, .. } => Some(exact.clone()),
        }
    }

    fn loose(&self) -> Option<TextMatch> {
        match self {
            Self::Valid(name) => name.clone(),
            Self::Invalid { loose, .. } => loose.clone(),
        }
    }
}

impl MatchReader<'_> {
    /// The calls that a service and method may stand for; `None`: any call.
    pub(super) fn grpc_method(&mut self, written: &Written) -> Option<Readings<PathMatch>> {
        let unread = self.is_unread(".method");
        let word = written.kind.as_deref().unwrap_or("Exact");
        let known = matches!(word, "Exact" | "RegularExpression");
        if !known {
            let message = format!("unknown match type {word:?}; use Exact or RegularExpression");
            self.fault(".method.type", message);
        }
        let kind = (known && !unread).then_some(word);
        let service = self.name(
            ".method.service",
            kind,
            written.service.as_deref(),
            is_service,
        );
        let method = self.name(".method.method", kind, written.method.as_deref(), is_method);
        if kind.is_some()
            && let (Name::Valid(service), Name::Valid(method)) = (&service, &method)
        {
            return Some(Readings::One(path(service.clone(), method.clone())));
        }
        // If no part of the service and method is certain, the match could stand for any call.
        let loose = (service.loose(), method.loose());
        (loose != (None, None)).then(|| {
            let exact = path(service.exact(), method.exact());
            Readings::Several(vec![exact, path(loose.0, loose.1)])
        })
    }

    /// A service or method of a match of type `kind`; `None`: the type is invalid.
    fn name(
        &mut self,
        field: &str,
        kind: Option<&str>,
        written: Option<&str>,
        is_name: fn(&str) -> bool,
    ) -> Name {
        let Some(text) = written.filter(|text| !text.is_empty()) else {
            return Name::Valid(None);
        };
        let exact = TextMatch::Exact(text.to_owned());
        let loose = match kind {
            Some("Exact") if is_name(text) => return Name::Valid(Some(exact)),
            Some("Exact") => {
                let message = format!("invalid name {text:?}; use the name in the .proto file");
                self.fault(field, message);
                beginning(&name_start(text), text)
            }
            Some(_) => match TextMatch::regex(text) {
                Ok(regex) => return Name::Valid(Some(regex)),
                Err(fault) => {
                    let message = format!("invalid regular expression {text:?}: {fault}");
                    self.fault(field, message);
                    beginning(&literal_start(text), text)
                }
            },
            None if !looks_like_expression(text) => Some(exact.clone()),
            None => TextMatch::regex(text)
                .ok()
                .or_else(|| beginning(&literal_start(text), text)),
        };
        Name::Invalid { exact, loose }
    }
}

/// A match for every string that begins with `literal`; `None` if there is no `literal`.
fn beginning(literal: &str, written: &str) -> Option<TextMatch> {
    let expression = (!literal.is_empty()).then(|| starting_with(literal, written))?;
    TextMatch::regex(&expression).ok()
}

/// The path match of a service and a method. Without service and method, the path match applies to every
/// call.
fn path(service: Option<TextMatch>, method: Option<TextMatch>) -> PathMatch {
    match (service, method) {
        (None, None) => Match::default().path,
        (service, method) => PathMatch::Grpc(GrpcMethodMatch { service, method }),
    }
}

/// Whether a string can be the name of a service (Gateway API, `GRPCMethodMatch.service`).
fn is_service(text: &str) -> bool {
    let text = text.strip_prefix('.').unwrap_or(text);
    text.split('.').all(is_method)
}

/// Whether a string can be the name of a method (Gateway API, `GRPCMethodMatch.method`).
fn is_method(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next();
    first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The part of an invalid name before the first character that no name can contain.
fn name_start(text: &str) -> String {
    let valid = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.');
    text.chars().take_while(valid).collect()
}
