//! Changes of a query string, parameter by parameter.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

/// Characters that are not allowed in a value of a query string, or that end it. `%` is kept,
/// because a service may send encoded text.
const VALUE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'&')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// Characters that must be escaped in a name: those of [`VALUE`] and `=`.
const NAME: &AsciiSet = &VALUE.add(b'=');

/// Changes of the parameters of a query string.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct QueryEdits {
    /// Parameters that replace all parameters of the same name.
    pub set: Vec<(String, String)>,
    /// Names of parameters to remove, even if they are in `set`.
    pub remove: Vec<String>,
}

impl QueryEdits {
    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// The query with the changes. Other parameters keep their spelling and order; a replaced parameter keeps
    /// its position. Names are decoded before they are compared, so `%61` equals `a`. `None`: no parameter is
    /// left.
    pub fn apply(&self, query: Option<&str>) -> Option<String> {
        let old = query.unwrap_or_default().split('&');
        let mut pairs: Vec<(Cow<'_, [u8]>, String)> = old
            .filter(|pair| !pair.is_empty())
            .map(|pair| (decoded_name(pair), pair.to_owned()))
            .collect();
        for (name, value) in &self.set {
            let name_text = utf8_percent_encode(name, NAME);
            let pair = format!("{name_text}={}", utf8_percent_encode(value, VALUE));
            let place = pairs
                .iter()
                .position(|(known, _)| **known == *name.as_bytes());
            pairs.retain(|(known, _)| **known != *name.as_bytes());
            let place = place.unwrap_or(pairs.len()).min(pairs.len());
            pairs.insert(place, (Cow::Borrowed(name.as_bytes()), pair));
        }
        pairs.retain(|(name, _)| !self.remove.iter().any(|gone| *gone.as_bytes() == **name));
        let texts: Vec<String> = pairs.into_iter().map(|(_, pair)| pair).collect();
        (!texts.is_empty()).then(|| texts.join("&"))
    }
}

/// The name of a parameter as a backend reads it: percent-decoded, with `+` as a space.
fn decoded_name(pair: &str) -> Cow<'_, [u8]> {
    let name = pair.split('=').next().unwrap_or(pair).as_bytes();
    if !name.contains(&b'+') {
        return percent_decode(name).into();
    }
    let spaced: Vec<u8> = name
        .iter()
        .map(|b| if *b == b'+' { b' ' } else { *b })
        .collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(set: &[(&str, &str)], remove: &[&str]) -> QueryEdits {
        let owned = |text: &&str| (*text).to_owned();
        QueryEdits {
            set: set.iter().map(|(k, v)| (owned(k), owned(v))).collect(),
            remove: remove.iter().map(owned).collect(),
        }
    }

    #[test]
    fn a_parameter_is_replaced_in_its_place() {
        let query = edits(&[("x", "9")], &[]).apply(Some("x=1&y=2&x=3"));

        assert_eq!(query.as_deref(), Some("x=9&y=2"));
    }

    #[test]
    fn a_new_parameter_is_appended() {
        assert_eq!(
            edits(&[("x", "9")], &[]).apply(None).as_deref(),
            Some("x=9")
        );
        let query = edits(&[("x", "9")], &[]).apply(Some("y"));
        assert_eq!(query.as_deref(), Some("y&x=9"));
    }

    #[test]
    fn a_removed_parameter_leaves_no_separator() {
        let query = edits(&[], &["x"]).apply(Some("x=1&y=2&x=3&&x"));
        assert_eq!(query.as_deref(), Some("y=2"));
        assert_eq!(edits(&[], &["x"]).apply(Some("x=1")), None);
    }

    #[test]
    fn names_are_compared_decoded() {
        let query = edits(&[("role", "user")], &["is admin"]);
        let query = query.apply(Some("r%6Fle=admin&is+admin=1&is%20admin=1&y=2"));

        assert_eq!(query.as_deref(), Some("role=user&y=2"));
    }

    #[test]
    fn a_value_cannot_add_another_parameter() {
        let query = edits(&[("a=b", "1&admin=true#x")], &[]).apply(None);

        assert_eq!(query.as_deref(), Some("a%3Db=1%26admin=true%23x"));
    }
}
