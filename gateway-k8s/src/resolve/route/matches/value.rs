//! Matches of header fields and query parameters.

use http::HeaderName;
use towergate_core::plan::{NameMatch, Text, TextMatch};

use super::MatchReader;
use super::reading::Readings;
use crate::api::http_route::HttpValueMatch;

/// The conditions of a match on headers or query parameters.
pub(super) type Values<N> = Vec<NameMatch<N>>;

impl MatchReader<'_> {
    /// The conditions on headers. If names are equivalent, only the first entry counts (Gateway API,
    /// `HTTPHeaderMatch`).
    pub(super) fn headers(
        &mut self,
        written: &[HttpValueMatch],
    ) -> Readings<Values<Text<HeaderName>>> {
        self.values(".headers", written, |name| name.parse().ok())
    }

    /// The conditions on query parameters. If names are equal, only the first entry counts (Gateway API,
    /// `HTTPQueryParamMatch`).
    pub(super) fn query(&mut self, written: &[HttpValueMatch]) -> Readings<Values<String>> {
        // Names of query parameters may contain the same characters as header names.
        let name = |name: &str| HeaderName::try_from(name).ok().map(|_| name.to_owned());
        self.values(".queryParams", written, name)
    }

    fn values<N: Clone + PartialEq>(
        &mut self,
        field: &str,
        written: &[HttpValueMatch],
        parse: impl Fn(&str) -> Option<N>,
    ) -> Readings<Values<N>> {
        let mut exact: Values<N> = Vec::with_capacity(written.len());
        let mut loose: Option<Values<N>> = None;
        for (at, entry) in written.iter().enumerate() {
            let field = format!("{field}[{at}]");
            let name = parse(&entry.name);
            if name.is_none() && !self.is_unread(&field) {
                let message = format!("invalid name {:?}: it must be a token", entry.name);
                self.fault(format!("{field}.name"), message);
            }
            let value = self.value(&field, entry);
            let Some(name) = name else {
                // Without a valid name, only the other parts of the match apply.
                loose.get_or_insert_with(|| exact.clone());
                continue;
            };
            if exact.iter().any(|held| held.name == name) {
                continue;
            }
            let (value, present) = match value {
                Ok(value) => (value.clone(), value),
                Err((value, present)) => {
                    loose.get_or_insert_with(|| exact.clone());
                    (value, present)
                }
            };
            if let Some(loose) = &mut loose {
                let name = name.clone();
                loose.push(NameMatch {
                    name,
                    value: present,
                });
            }
            exact.push(NameMatch { name, value });
        }
        match loose {
            None => Readings::One(exact),
            Some(loose) => Readings::Several(vec![exact, loose]),
        }
    }

    /// How a value is compared.
    ///
    /// # Errors
    /// If the type is invalid. The error contains two possible matches: a match of the exact value, which has
    /// the higher precedence, and a match of any value.
    fn value(
        &mut self,
        field: &str,
        written: &HttpValueMatch,
    ) -> Result<TextMatch, (TextMatch, TextMatch)> {
        let text = written.value.as_str();
        let unread = self.is_unread(field);
        let fault = match written.kind.as_deref().unwrap_or("Exact") {
            // The decoder has reported the field, which may be the type.
            _ if unread => None,
            "Exact" | "RegularExpression" if text.is_empty() => {
                let message = "missing value; set the value that requests must have";
                Some((".value", message.to_owned()))
            }
            "Exact" => return Ok(TextMatch::Exact(text.to_owned())),
            "RegularExpression" => match TextMatch::regex(text) {
                Ok(regex) => return Ok(regex),
                Err(fault) => {
                    let message = format!("invalid regular expression {text:?}: {fault}");
                    Some((".value", message))
                }
            },
            other => {
                let message =
                    format!("unknown match type {other:?}; use Exact or RegularExpression");
                Some((".type", message))
            }
        };
        if let Some((part, message)) = fault {
            self.fault(format!("{field}{part}"), message);
        }
        let any = TextMatch::Prefix(String::new());
        Err((TextMatch::Exact(text.to_owned()), any))
    }
}
