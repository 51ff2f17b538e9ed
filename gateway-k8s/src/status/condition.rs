//! Conditions: what is true of an object, why, and since which version of it.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::wording::one_line;

/// The longest message that an API server takes, in bytes.
const MAX_MESSAGE: usize = 32_768;

/// One statement about an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Condition {
    /// What is stated, such as `Accepted`.
    pub kind: &'static str,
    /// Whether it holds.
    pub status: bool,
    /// Why, in one word of the API.
    pub reason: Cow<'static, str>,
    /// Why, in a sentence on one line.
    pub message: String,
}

/// Statements about an object, one of each kind.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Conditions(Vec<Condition>);

impl Conditions {
    /// States something, in place of what was stated of the kind before.
    pub fn set(
        &mut self,
        kind: &'static str,
        status: bool,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) {
        let condition = Condition {
            kind,
            status,
            reason: reason.into(),
            message: one_line(&message.into()),
        };
        match self.0.iter_mut().find(|held| held.kind == kind) {
            Some(held) => *held = condition,
            None => self.0.push(condition),
        }
    }

    /// The same statements, first those of `kinds` in this order, then the others.
    #[must_use]
    pub fn in_order(mut self, kinds: &[&str]) -> Self {
        let place = |held: &Condition| kinds.iter().position(|kind| *kind == held.kind);
        self.0
            .sort_by_key(|held| place(held).unwrap_or(kinds.len()));
        self
    }

    /// The statement of a kind.
    pub fn find(&self, kind: &str) -> Option<&Condition> {
        self.0.iter().find(|held| held.kind == kind)
    }

    /// Whether something is stated to be so (`true`) or not so (`false`).
    pub fn says(&self, kind: &str, status: bool) -> bool {
        self.find(kind).is_some_and(|held| held.status == status)
    }

    /// Whether nothing is stated.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All statements, in the order in which they were first made.
    pub fn iter(&self) -> impl Iterator<Item = &Condition> {
        self.0.iter()
    }

    /// The `conditions` of an object of this generation.
    pub fn to_value(&self, generation: i64) -> Value {
        let conditions = self.0.iter().map(|condition| {
            json!({
                "type": condition.kind,
                "status": if condition.status { "True" } else { "False" },
                "reason": condition.reason,
                "message": shortened(&condition.message),
                "observedGeneration": generation,
            })
        });
        Value::Array(conditions.collect())
    }
}

/// As much of a message as an API server takes.
fn shortened(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_statement_of_a_kind_counts() {
        let mut conditions = Conditions::default();

        conditions.set("Accepted", true, "Accepted", "fine");
        conditions.set("ResolvedRefs", true, "ResolvedRefs", "");
        conditions.set("Accepted", false, "Invalid", "not fine");

        assert!(conditions.says("Accepted", false));
        assert_eq!(conditions.iter().count(), 2);
        assert_eq!(conditions.to_value(3)[0]["observedGeneration"], 3);
    }

    #[test]
    fn the_order_can_be_chosen() {
        let mut conditions = Conditions::default();
        for kind in ["Other", "ResolvedRefs", "Accepted"] {
            conditions.set(kind, true, "Fine", "");
        }

        let sorted = conditions.in_order(&["Accepted", "Missing", "ResolvedRefs"]);

        let kinds: Vec<_> = sorted.iter().map(|held| held.kind).collect();
        assert_eq!(kinds, ["Accepted", "ResolvedRefs", "Other"]);
    }

    #[test]
    fn a_message_is_one_line() {
        let mut conditions = Conditions::default();

        conditions.set(
            "Accepted",
            false,
            "Invalid",
            "it reads:\n    (\n    ^\nnot good",
        );

        let message = conditions
            .find("Accepted")
            .map(|held| held.message.as_str());
        assert_eq!(message, Some("it reads: ( ^ not good"));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = "ä".repeat(MAX_MESSAGE);

        assert_eq!(shortened(&message).len(), MAX_MESSAGE);
        assert_eq!(shortened(&message[..6]), "äää");
    }
}
