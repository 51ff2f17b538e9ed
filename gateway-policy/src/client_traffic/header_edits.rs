//! Conversion of header edits and conditions on strings.

use std::collections::HashSet;

use http::HeaderValue;
use towergate_core::filter::{HeaderEdit, HeaderEdits};
use towergate_core::format::FieldText;
use towergate_core::plan::{Text, TextMatch};

use crate::FieldError;
use crate::common::{Header, HeaderChange, StringMatch, StringMatchKind};
use crate::field_path::FieldPath;
use crate::parse::header_name;

/// Converts header edits to the order of Envoy: additions first, removals last. If an operation has
/// several entries for one name, the first is applied, as in Gateway API.
pub(super) fn header_edits(
    at: FieldPath<'_>,
    change: &HeaderChange,
) -> Result<HeaderEdits, FieldError> {
    let HeaderChange {
        set,
        add,
        add_if_absent,
        remove,
        remove_on_match,
    } = change;
    let mut edits = Vec::new();
    type Make = fn(Text<http::HeaderName>, FieldText) -> HeaderEdit;
    let operations: [(_, _, Make); 3] = [
        (add, "add", HeaderEdit::add),
        (set, "set", HeaderEdit::set),
        (add_if_absent, "addIfAbsent", HeaderEdit::add_if_absent),
    ];
    for (list, operation, make) in operations {
        let at = at.field(operation);
        let mut seen = HashSet::new();
        for (index, header) in list.iter().flatten().enumerate() {
            let (name, value) = field_line(at.item(index), header)?;
            if seen.insert(name.to_string()) {
                edits.push(make(name, value));
            }
        }
    }
    let removed = at.field("remove");
    for (index, name) in remove.iter().flatten().enumerate() {
        edits.push(HeaderEdit::Remove(editable(removed.item(index), name)?));
    }
    let removed = at.field("removeOnMatch");
    for (index, matching) in remove_on_match.iter().flatten().enumerate() {
        let matching = lower_case(text_match(removed.item(index), matching)?);
        edits.push(HeaderEdit::RemoveMatching(matching));
    }
    Ok(HeaderEdits(edits))
}

fn field_line(
    at: FieldPath<'_>,
    header: &Header,
) -> Result<(Text<http::HeaderName>, FieldText), FieldError> {
    let Header { name, value } = header;
    let name = editable(at, name.as_deref().unwrap_or_default())?;
    let value = FieldText::parse(value.as_deref().unwrap_or_default());
    Ok((name, value.map_err(|error| FieldError::invalid(at, error))?))
}

/// Parses the name of a field that may be edited. Fields that frame or address a message may not be edited.
pub(crate) fn editable(
    at: FieldPath<'_>,
    name: &str,
) -> Result<Text<http::HeaderName>, FieldError> {
    let name = header_name(at, name)?;
    match name.as_str() {
        "host" | "connection" | "content-length" | "transfer-encoding" => Err(FieldError::invalid(
            at,
            format_args!("{name} cannot be edited"),
        )),
        _ => Ok(name),
    }
}

/// Parses a value without command operators. `%%` is a literal `%`.
pub(crate) fn literal(at: FieldPath<'_>, text: &str) -> Result<Text<HeaderValue>, FieldError> {
    match FieldText::parse(text) {
        Ok(FieldText::Plain(value)) => Ok(value),
        Ok(FieldText::Format(_)) => Err(FieldError::invalid(
            at,
            format_args!("command operators are not supported: {text:?}"),
        )),
        Err(error) => Err(FieldError::invalid(at, error)),
    }
}

/// Converts a condition on a string.
pub(crate) fn text_match(
    at: FieldPath<'_>,
    matching: &StringMatch,
) -> Result<TextMatch, FieldError> {
    let StringMatch { kind, value } = matching;
    let value = value.clone().unwrap_or_default();
    Ok(match kind {
        None | Some(StringMatchKind::Exact) => TextMatch::Exact(value),
        Some(StringMatchKind::Prefix) => TextMatch::Prefix(value),
        Some(StringMatchKind::Suffix) => TextMatch::Suffix(value),
        Some(StringMatchKind::RegularExpression) => {
            TextMatch::regex(&value).map_err(|error| FieldError::invalid(at, error))?
        }
        Some(StringMatchKind::Other(value)) => return Err(FieldError::unknown_value(at, value)),
    })
}

/// Converts a condition to lower case, because the names of header fields are compared in lower case.
fn lower_case(matching: TextMatch) -> TextMatch {
    match matching {
        TextMatch::Exact(text) => TextMatch::Exact(text.to_ascii_lowercase()),
        TextMatch::Prefix(text) => TextMatch::Prefix(text.to_ascii_lowercase()),
        TextMatch::Suffix(text) => TextMatch::Suffix(text.to_ascii_lowercase()),
        regex @ TextMatch::Regex(_) => regex,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(json: serde_json::Value) -> Result<HeaderEdits, FieldError> {
        header_edits(FieldPath::SPEC, &serde_json::from_value(json).unwrap())
    }

    fn set(name: &str, value: &str) -> Result<HeaderEdits, FieldError> {
        convert(serde_json::json!({"set": [{"name": name, "value": value}]}))
    }

    #[test]
    fn removals_are_applied_last() {
        let edits = convert(serde_json::json!({
            "removeOnMatch": [{"type": "Prefix", "value": "X-Drop-"}],
            "remove": ["x-a"],
            "addIfAbsent": [{"name": "x-c", "value": "3"}],
            "set": [{"name": "x-b", "value": "2"}],
            "add": [{"name": "X-A", "value": "1"}],
        }));

        let shown = format!("{:?}", edits.unwrap().0);
        assert_eq!(
            shown,
            r#"[Add("x-a", "1"), Set("x-b", "2"), AddIfAbsent("x-c", "3"), Remove("x-a"), RemoveMatching(Prefix("x-drop-"))]"#
        );
    }

    #[test]
    fn the_first_of_several_entries_for_one_name_is_applied() {
        let edits = convert(serde_json::json!({
            "set": [{"name": "x-a", "value": "1"}, {"name": "X-A", "value": "2"}],
        }));

        assert_eq!(format!("{:?}", edits.unwrap().0), r#"[Set("x-a", "1")]"#);
    }

    #[test]
    fn invalid_names_and_values_are_rejected() {
        for (name, value) in [
            ("", "empty"),
            ("Example/Header/1", ":/"),
            ("Example:Header:3", ":/"),
            ("example-header-2", "multi-line\n"),
            ("example-header-4", "  invalid"),
            ("x-a", "%ENVIRONMENT(HOME)%"),
            ("x-a", "100%"),
            ("Host", "other.test"),
            ("Transfer-Encoding", "chunked"),
        ] {
            assert!(set(name, value).is_err(), "{name}: {value}");
        }
    }

    #[test]
    fn a_value_with_operators_is_a_format() {
        let edits = set("x-a", "%REQ(:PATH)%").unwrap();

        assert_eq!(
            format!("{:?}", edits.0),
            r#"[SetFormat("x-a", "%REQ(:PATH)%")]"#
        );
    }

    #[test]
    fn a_doubled_percent_sign_is_a_literal_one() {
        let edits = set("x-a", "100%%").unwrap();

        assert_eq!(format!("{:?}", edits.0), r#"[Set("x-a", "100%")]"#);
    }
}
