//! Edits of header fields (Gateway API `HTTPHeaderFilter`; Envoy Gateway `earlyRequestHeaders` and
//! `lateResponseHeaders`).
//!
//! A value with command operators (see [`format`](crate::format)) is evaluated for each request. As in Envoy,
//! the edit has no effect if the result is empty.
//!
//! An edit of `Host`, of a framing field or of a hop-by-hop field has no effect. [`Rewrite`](super::Rewrite)
//! can set `Host`.

use http::{HeaderMap, HeaderName, HeaderValue, request};
use serde::{Deserialize, Serialize};

use crate::format::{FieldText, Format, FormatContext, FormatRequest};
use crate::http::reserved::is_fixed;
use crate::text::{Text, TextMatch};

/// Edits of header fields, in order of application.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct HeaderEdits(pub Vec<HeaderEdit>);

/// An edit of header fields.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum HeaderEdit {
    /// Replaces all values of the field.
    Set(Text<HeaderName>, Text<HeaderValue>),
    /// Appends a value.
    Add(Text<HeaderName>, Text<HeaderValue>),
    /// Adds a value if the field is absent.
    AddIfAbsent(Text<HeaderName>, Text<HeaderValue>),
    /// Replaces all values of the field by a value with operators.
    SetFormat(Text<HeaderName>, Text<Format>),
    /// Appends a value with operators.
    AddFormat(Text<HeaderName>, Text<Format>),
    /// Adds a value with operators if the field is absent.
    AddFormatIfAbsent(Text<HeaderName>, Text<Format>),
    /// Removes all values of the field.
    Remove(Text<HeaderName>),
    /// Removes every field whose name matches.
    RemoveMatching(TextMatch),
}

/// Name and value of a header field.
pub type Field = (Text<HeaderName>, Text<HeaderValue>);

impl HeaderEdits {
    /// Edits of a `RequestHeaderModifier` or `ResponseHeaderModifier`. As in Envoy, removals are applied
    /// first: if a field is both removed and added, it has the added value.
    pub fn modifier(
        set: impl IntoIterator<Item = Field>,
        add: impl IntoIterator<Item = Field>,
        remove: impl IntoIterator<Item = Text<HeaderName>>,
    ) -> Self {
        let remove = remove.into_iter().map(HeaderEdit::Remove);
        let set = set
            .into_iter()
            .map(|(name, value)| HeaderEdit::Set(name, value));
        let add = add
            .into_iter()
            .map(|(name, value)| HeaderEdit::Add(name, value));
        Self(remove.chain(set).chain(add).collect())
    }

    /// Edits of `earlyRequestHeaders` or `lateResponseHeaders`. As in Envoy, removals are applied last: if a
    /// field is both removed and added, it is absent.
    pub fn listener(
        set: impl IntoIterator<Item = Field>,
        add: impl IntoIterator<Item = Field>,
        add_if_absent: impl IntoIterator<Item = Field>,
        remove: impl IntoIterator<Item = Text<HeaderName>>,
        remove_matching: impl IntoIterator<Item = TextMatch>,
    ) -> Self {
        let set = set
            .into_iter()
            .map(|(name, value)| HeaderEdit::Set(name, value));
        let add = add
            .into_iter()
            .map(|(name, value)| HeaderEdit::Add(name, value));
        let absent = add_if_absent.into_iter();
        let absent = absent.map(|(name, value)| HeaderEdit::AddIfAbsent(name, value));
        let remove = remove.into_iter().map(HeaderEdit::Remove);
        let matching = remove_matching.into_iter().map(HeaderEdit::RemoveMatching);
        Self(
            set.chain(add)
                .chain(absent)
                .chain(remove)
                .chain(matching)
                .collect(),
        )
    }

    /// Whether there are no edits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies all edits in order. Command operators have no values here, so edits with operators have no
    /// effect.
    pub fn apply(&self, headers: &mut HeaderMap) {
        self.apply_with(headers, |_, _| None);
    }

    /// Applies all edits in order to a request. Command operators have a value only if the head of the
    /// request contains it.
    pub fn apply_to_request(&self, head: &mut request::Parts) {
        self.apply_to_request_with(head, |request, format| {
            format.header_value(&FormatContext {
                request: Some(request),
                ..FormatContext::default()
            })
        });
    }

    /// Applies all edits in order to a request. `value` evaluates a value with command operators; its
    /// argument is the head, in which the previous edits have been applied.
    pub(crate) fn apply_to_request_with(
        &self,
        head: &mut request::Parts,
        mut value: impl FnMut(FormatRequest<'_>, &Format) -> Option<HeaderValue>,
    ) {
        let request::Parts {
            method,
            uri,
            version,
            headers,
            ..
        } = head;
        self.apply_with(headers, |headers, format| {
            let request = FormatRequest::of_parts(method, uri, *version, headers);
            value(request, format)
        });
    }

    /// Applies all edits in order. `value` evaluates a value with command operators; its first argument
    /// contains the fields after the previous edits.
    pub fn apply_with(
        &self,
        headers: &mut HeaderMap,
        mut value: impl FnMut(&HeaderMap, &Format) -> Option<HeaderValue>,
    ) {
        for edit in &self.0 {
            edit.apply(headers, &mut value);
        }
    }

    /// Whether the value of an edit depends on the head of the request.
    pub fn reads_request(&self) -> bool {
        let mut edits = self.0.iter();
        edits.any(|edit| match edit {
            HeaderEdit::SetFormat(_, format)
            | HeaderEdit::AddFormat(_, format)
            | HeaderEdit::AddFormatIfAbsent(_, format) => format.reads_request(),
            _ => false,
        })
    }
}

impl HeaderEdit {
    /// Name of the edited field. `None` if the edit matches names by a pattern.
    pub fn name(&self) -> Option<&HeaderName> {
        match self {
            Self::Set(name, _)
            | Self::Add(name, _)
            | Self::AddIfAbsent(name, _)
            | Self::SetFormat(name, _)
            | Self::AddFormat(name, _)
            | Self::AddFormatIfAbsent(name, _)
            | Self::Remove(name) => Some(name),
            Self::RemoveMatching(_) => None,
        }
    }

    /// Replaces all values of the field.
    pub fn set(name: Text<HeaderName>, value: FieldText) -> Self {
        match value {
            FieldText::Plain(value) => Self::Set(name, value),
            FieldText::Format(format) => Self::SetFormat(name, format),
        }
    }

    /// Appends a value.
    pub fn add(name: Text<HeaderName>, value: FieldText) -> Self {
        match value {
            FieldText::Plain(value) => Self::Add(name, value),
            FieldText::Format(format) => Self::AddFormat(name, format),
        }
    }

    /// Adds a value if the field is absent.
    pub fn add_if_absent(name: Text<HeaderName>, value: FieldText) -> Self {
        match value {
            FieldText::Plain(value) => Self::AddIfAbsent(name, value),
            FieldText::Format(format) => Self::AddFormatIfAbsent(name, format),
        }
    }

    fn apply(
        &self,
        headers: &mut HeaderMap,
        value: &mut impl FnMut(&HeaderMap, &Format) -> Option<HeaderValue>,
    ) {
        match self {
            Self::Set(name, value) if !is_fixed(name) => {
                headers.insert(&**name, (**value).clone());
            }
            Self::Add(name, value) if !is_fixed(name) => {
                headers.append(&**name, (**value).clone());
            }
            Self::AddIfAbsent(name, value) if !is_fixed(name) => {
                headers.entry(&**name).or_insert_with(|| (**value).clone());
            }
            Self::Remove(name) if !is_fixed(name) => {
                headers.remove(&**name);
            }
            Self::SetFormat(name, format) if !is_fixed(name) => {
                if let Some(value) = value(headers, format) {
                    headers.insert(&**name, value);
                }
            }
            Self::AddFormat(name, format) if !is_fixed(name) => {
                if let Some(value) = value(headers, format) {
                    headers.append(&**name, value);
                }
            }
            Self::AddFormatIfAbsent(name, format) if !is_fixed(name) => {
                if !headers.contains_key(&**name)
                    && let Some(value) = value(headers, format)
                {
                    headers.insert(&**name, value);
                }
            }
            Self::Set(..)
            | Self::Add(..)
            | Self::AddIfAbsent(..)
            | Self::SetFormat(..)
            | Self::AddFormat(..)
            | Self::AddFormatIfAbsent(..)
            | Self::Remove(_) => {}
            Self::RemoveMatching(rule) => remove_matching(headers, rule),
        }
    }
}

fn remove_matching(headers: &mut HeaderMap, rule: &TextMatch) {
    let matches = |name: &&HeaderName| !is_fixed(name) && rule.matches(name.as_str());
    let names: Vec<HeaderName> = headers.keys().filter(matches).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Text<HeaderName> {
        text.parse().unwrap()
    }

    fn field(name: &str, value: &str) -> Field {
        (name.parse().unwrap(), value.parse().unwrap())
    }

    /// Result of applying `edits` to `lines`, as sorted `name=value` items. Values of one field keep their
    /// order.
    fn edited(edits: &HeaderEdits, lines: &[(&'static str, &'static str)]) -> String {
        let mut headers: HeaderMap = lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        edits.apply(&mut headers);
        let mut lines: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        lines.sort_by(|one, other| one.0.cmp(&other.0));
        let lines: Vec<String> = lines
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        lines.join(" ")
    }

    const THRICE: &[(&str, &str)] = &[("x-a", "one"), ("x-a", "two"), ("x-a", "three")];
    const SENT: &[(&str, &str)] = &[
        ("x-a", "client"),
        ("x-b", "client"),
        ("x-c", "client"),
        ("user-agent", "me"),
    ];

    /// Expected results are recorded from Envoy.
    #[test]
    fn modifiers_do_what_envoy_does() {
        let set = HeaderEdits::modifier([field("x-a", "rule")], [], []);
        let add = HeaderEdits::modifier([], [field("x-a", "rule")], []);
        let remove = HeaderEdits::modifier([], [], [name("x-a")]);
        let all = HeaderEdits::modifier(
            [field("x-b", "set")],
            [field("x-a", "added")],
            [name("x-a"), name("x-c"), name("user-agent")],
        );

        assert_eq!(
            edited(&set, SENT),
            "user-agent=me x-a=rule x-b=client x-c=client"
        );
        assert_eq!(edited(&set, THRICE), "x-a=rule");
        assert_eq!(edited(&add, THRICE), "x-a=one x-a=two x-a=three x-a=rule");
        assert_eq!(edited(&remove, SENT), "user-agent=me x-b=client x-c=client");
        assert_eq!(edited(&remove, THRICE), "");
        assert_eq!(edited(&all, SENT), "x-a=added x-b=set");
        assert_eq!(edited(&all, THRICE), "x-a=added x-b=set");
    }

    fn early() -> HeaderEdits {
        HeaderEdits::listener(
            [field("x-set", "set")],
            [field("x-add", "added"), field("x-add-remove", "added")],
            [field("x-absent", "default")],
            [
                name("x-envoy-external-address"),
                name("x-remove"),
                name("x-add-remove"),
            ],
            [
                TextMatch::Prefix("x-drop-".to_owned()),
                TextMatch::Suffix("-gone".to_owned()),
                TextMatch::Exact("x-exactly".to_owned()),
                TextMatch::regex("x-re-[0-9]+").unwrap(),
            ],
        )
    }

    /// Expected results are recorded from Envoy.
    #[test]
    fn a_listeners_edits_remove_last() {
        let untouched = "x-absent=default x-add=added x-set=set";

        assert_eq!(edited(&early(), &[]), untouched);
        assert_eq!(edited(&early(), &[("x-add-remove", "mine")]), untouched);
        let repeated = [
            ("x-add", "one"),
            ("x-add", "two"),
            ("x-set", "one"),
            ("x-set", "two"),
            ("x-absent", ""),
        ];
        assert_eq!(
            edited(&early(), &repeated),
            "x-absent= x-add=one x-add=two x-add=added x-set=set"
        );
    }

    #[test]
    fn an_operator_is_evaluated_for_each_request_and_has_no_effect_if_empty() {
        let set =
            |field: &str, text: &str| HeaderEdit::set(name(field), FieldText::parse(text).unwrap());
        let edits = HeaderEdits(vec![
            set("x-copy", "%REQ(x-in)% by %REQ(:METHOD)%"),
            set("x-kept", "%REQ(x-none)%"),
            set("host", "%REQ(x-in)%"),
        ]);
        let request = http::Request::get("/")
            .header("x-in", "a")
            .header("x-kept", "own");
        let mut head = request.body(()).unwrap().into_parts().0;

        edits.apply_to_request(&mut head);

        assert_eq!(head.headers["x-copy"], "a by GET");
        assert_eq!(head.headers["x-kept"], "own");
        assert!(!head.headers.contains_key("host"));
        assert!(edits.reads_request());
    }

    #[test]
    fn names_are_removed_by_match() {
        let sent = [
            ("x-drop-a", "1"),
            ("x-drop", "1"),
            ("a-gone", "1"),
            ("x-exactly", "1"),
            ("x-exactly-not", "1"),
            ("x-re-12", "1"),
            ("x-re-x", "1"),
            ("x-remove", "1"),
        ];

        let left = edited(&early(), &sent);

        assert_eq!(
            left,
            "x-absent=default x-add=added x-drop=1 x-exactly-not=1 x-re-x=1 x-set=set"
        );
    }

    #[test]
    fn host_and_framing_are_not_a_rules_to_edit() {
        let fixed = [
            ("host", "a"),
            ("content-length", "2"),
            ("transfer-encoding", "chunked"),
            ("connection", "x"),
            ("upgrade", "x"),
        ];
        let names = || fixed.iter().map(|(text, _)| name(text));
        let fields = || fixed.iter().map(|(name, _)| field(name, "evil"));
        let all = TextMatch::regex(".*").unwrap();

        let edits = [
            HeaderEdits::modifier(fields(), fields(), names()),
            HeaderEdits::listener(fields(), fields(), fields(), names(), [all]),
        ];

        for edits in edits {
            assert_eq!(edited(&edits, &[]), "");
            assert_eq!(
                edited(&edits, &fixed),
                "connection=x content-length=2 host=a transfer-encoding=chunked upgrade=x"
            );
        }
    }
}
