//! Header modifiers, validated as in Envoy Gateway.

use http::HeaderName;
use towergate_core::filter::{HeaderEdit, HeaderEdits};
use towergate_core::format::FieldText;
use towergate_core::plan::Text;

use crate::api::http_route::{Header, HeaderModifier};

/// All modifiers of a rule for one direction. As in Envoy, fields are removed first, then added and set. If a
/// name has several edits, the first edit is used.
#[derive(Debug, Default)]
pub(super) struct Modifiers {
    removed: Vec<Text<HeaderName>>,
    edits: Vec<(HeaderName, HeaderEdit)>,
}

impl Modifiers {
    /// Adds a modifier.
    ///
    /// # Errors
    ///
    /// Messages of the invalid edits. The valid edits of the modifier are still added.
    pub(super) fn add(&mut self, modifier: &HeaderModifier) -> Result<(), String> {
        let mut faults = Vec::new();
        for header in &modifier.add {
            let edit = field(header)
                .map(|(name, value)| (name.clone(), HeaderEdit::add(name.into(), value)));
            self.take(edit, &mut faults);
        }
        for header in &modifier.set {
            let edit = field(header)
                .map(|(name, value)| (name.clone(), HeaderEdit::set(name.into(), value)));
            self.take(edit, &mut faults);
        }
        for written in &modifier.remove {
            match name(written) {
                Ok(name) if self.removed.iter().all(|held| **held != name) => {
                    self.removed.push(name.into());
                }
                Ok(_) => {}
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(faults.join("; "))
    }

    fn take(&mut self, edit: Result<(HeaderName, HeaderEdit), String>, faults: &mut Vec<String>) {
        match edit {
            Ok((name, _)) if self.edits.iter().any(|(held, _)| *held == name) => {}
            Ok(edit) => self.edits.push(edit),
            Err(fault) => faults.push(fault),
        }
    }

    /// The edits in the order in which they run; `None` if there are none.
    pub(super) fn finish(self) -> Option<HeaderEdits> {
        let removed = self.removed.into_iter().map(HeaderEdit::Remove);
        let edits: Vec<_> = removed
            .chain(self.edits.into_iter().map(|(_, edit)| edit))
            .collect();
        (!edits.is_empty()).then_some(HeaderEdits(edits))
    }
}

/// Parses a header name that may be edited. `Host` and pseudo-headers are excluded.
fn name(written: &str) -> Result<HeaderName, String> {
    match written.parse::<HeaderName>() {
        Ok(name) if name != http::header::HOST => Ok(name),
        Ok(_) => Err("header Host cannot be edited; use a URLRewrite".to_owned()),
        Err(_) => Err(format!("invalid header name {written:?}")),
    }
}

/// Parses a name, and a value of visible characters separated by single spaces or tabs, with command operators.
fn field(header: &Header) -> Result<(HeaderName, FieldText), String> {
    let name = name(&header.name)?;
    let value = header.value.as_str();
    let visible = |byte: u8| (b'!'..=b'~').contains(&byte);
    let space = |byte: u8| matches!(byte, b' ' | b'\t');
    let bytes = value.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    let right = ends.is_some_and(|(first, last)| visible(*first) && visible(*last))
        && bytes.iter().all(|byte| visible(*byte) || space(*byte))
        && !bytes
            .windows(2)
            .any(|pair| space(pair[0]) && space(pair[1]));
    if !right {
        return Err(format!("invalid value {value:?} for header {name}"));
    }
    match FieldText::parse(value) {
        Ok(value) => Ok((name, value)),
        Err(error) => Err(format!("header {name}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn modifiers(list: serde_json::Value) -> (Vec<HeaderEdit>, Vec<bool>) {
        let list: Vec<HeaderModifier> = serde_json::from_value(list).unwrap();
        let mut modifiers = Modifiers::default();
        let right = list
            .iter()
            .map(|modifier| modifiers.add(modifier).is_ok())
            .collect();
        (modifiers.finish().unwrap_or_default().0, right)
    }

    #[test]
    fn removals_run_first_and_the_first_edit_of_a_name_is_used() {
        let (edits, right) = modifiers(json!([
            { "set": [{ "name": "x-b", "value": "1" }], "add": [{ "name": "X-A", "value": "2" }], "remove": ["x-a"] },
            { "set": [{ "name": "x-a", "value": "3" }], "remove": ["X-A"] },
        ]));

        assert_eq!(right, [true, true]);
        let text = |name: &str| name.parse::<Text<HeaderName>>().unwrap();
        let value = |value: &str| value.parse::<Text<HeaderValue>>().unwrap();
        assert_eq!(
            edits,
            [
                HeaderEdit::Remove(text("x-a")),
                HeaderEdit::Add(text("x-a"), value("2")),
                HeaderEdit::Set(text("x-b"), value("1")),
            ]
        );
    }

    #[test]
    fn edits_that_envoy_gateway_rejects_are_rejected() {
        for (name, value) in [
            ("", "x"),
            ("Host", "x"),
            ("a/b", "x"),
            (":path", "x"),
            ("a", ""),
            ("a", " x"),
            ("a", "x  y"),
            ("a", "50% off"),
            ("a", "%NO_SUCH_OPERATOR%"),
        ] {
            let (edits, right) = modifiers(json!([{ "set": [{ "name": name, "value": value }] }]));

            assert!(edits.is_empty() && right == [false], "{name:?} {value:?}");
        }
    }
}
