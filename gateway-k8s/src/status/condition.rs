//! Conditions of statuses.

use serde_json::{Value, json};

use super::Reason;
use crate::message::one_line;

/// Maximum length of a message in a CRD, in bytes.
const MAX_MESSAGE: usize = 32_768;

/// Type of a condition.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum ConditionType {
    /// The object is accepted.
    Accepted,
    /// Some ancestors do not fit into the status of a policy.
    Aggregated,
    /// Every backend of a route has ready endpoints.
    BackendsAvailable,
    /// A listener conflicts with another listener.
    Conflicted,
    /// A Gateway accepts clients without a valid certificate.
    InsecureFrontendValidationMode,
    /// A policy is merged with another policy.
    Merged,
    /// Names of a listener overlap with the names of another listener.
    OverlappingTlsConfig,
    /// More specific policies replace a policy in some places.
    Overridden,
    /// Some rules of a route are invalid.
    PartiallyInvalid,
    /// The object is in the configuration of the data plane.
    Programmed,
    /// Every reference is resolved.
    ResolvedRefs,
    /// An older route has the same match.
    RouteRulesOverlap,
    /// A policy uses deprecated fields, or unsupported fields that are ignored.
    Warning,
}

impl ConditionType {
    /// The string in a status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Aggregated => "Aggregated",
            Self::BackendsAvailable => "BackendsAvailable",
            Self::Conflicted => "Conflicted",
            Self::InsecureFrontendValidationMode => "InsecureFrontendValidationMode",
            Self::Merged => "Merged",
            Self::OverlappingTlsConfig => "OverlappingTLSConfig",
            Self::Overridden => "Overridden",
            Self::PartiallyInvalid => "PartiallyInvalid",
            Self::Programmed => "Programmed",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::RouteRulesOverlap => "RouteRulesOverlap",
            Self::Warning => "Warning",
        }
    }
}

/// A condition of a status, with reasons of kind `R`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Condition<R> {
    /// Type of the condition.
    pub kind: ConditionType,
    /// Whether the condition is true.
    pub status: bool,
    /// Reason.
    pub reason: R,
    /// Further reasons. In the status, they follow the first reason, separated by commas.
    pub more_reasons: Vec<R>,
    /// Message, on one line.
    pub message: String,
}

/// Conditions of an object, at most one of each type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conditions<R>(Vec<Condition<R>>);

impl<R> Default for Conditions<R> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<R: Reason> Conditions<R> {
    /// Sets a condition. Replaces an existing condition of the same type.
    pub fn set(
        &mut self,
        kind: ConditionType,
        status: bool,
        reason: R,
        message: impl Into<String>,
    ) {
        self.insert(Condition {
            kind,
            status,
            reason,
            more_reasons: Vec::new(),
            message: message.into(),
        });
    }

    /// Sets `condition`. Replaces an existing condition of the same type.
    pub fn insert(&mut self, mut condition: Condition<R>) {
        condition.message = one_line(&condition.message);
        let kind = condition.kind;
        match self.0.iter_mut().find(|held| held.kind == kind) {
            Some(held) => *held = condition,
            None => self.0.push(condition),
        }
    }

    /// Sorts the conditions: first the types in `kinds`, in this order, then all other types.
    #[must_use]
    pub fn in_order(mut self, kinds: &[ConditionType]) -> Self {
        let place = |held: &Condition<R>| kinds.iter().position(|kind| *kind == held.kind);
        self.0
            .sort_by_key(|held| place(held).unwrap_or(kinds.len()));
        self
    }

    /// The condition of a type.
    pub fn find(&self, kind: ConditionType) -> Option<&Condition<R>> {
        self.0.iter().find(|held| held.kind == kind)
    }

    /// Whether the condition is present and true.
    pub fn is_true(&self, kind: ConditionType) -> bool {
        self.find(kind).is_some_and(|held| held.status)
    }

    /// Whether the condition is present and false.
    pub fn is_false(&self, kind: ConditionType) -> bool {
        self.find(kind).is_some_and(|held| !held.status)
    }

    /// Whether there are no conditions.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All conditions, in the order in which they were first set.
    pub fn iter(&self) -> impl Iterator<Item = &Condition<R>> {
        self.0.iter()
    }

    /// The `conditions` field of a status for a generation.
    pub fn to_value(&self, generation: i64) -> Value {
        let conditions = self.0.iter().map(|condition| {
            json!({
                "type": condition.kind.as_str(),
                "status": if condition.status { "True" } else { "False" },
                "reason": condition.reasons(),
                "message": shortened(&condition.message),
                "observedGeneration": generation,
            })
        });
        Value::Array(conditions.collect())
    }
}

impl<R: Reason> Condition<R> {
    /// The reasons as in a status.
    fn reasons(&self) -> String {
        let mut reasons = self.reason.as_str().to_owned();
        for more in &self.more_reasons {
            reasons.push(',');
            reasons.push_str(more.as_str());
        }
        reasons
    }
}

/// The longest beginning of a message that fits into a status.
fn shortened(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::super::RouteReason;
    use super::*;

    #[test]
    fn a_condition_replaces_one_of_the_same_type() {
        let mut conditions = Conditions::default();

        conditions.set(ConditionType::Accepted, true, RouteReason::Accepted, "fine");
        conditions.set(
            ConditionType::ResolvedRefs,
            true,
            RouteReason::ResolvedRefs,
            "",
        );
        conditions.set(ConditionType::Accepted, false, RouteReason::InvalidRule, "");

        assert!(conditions.is_false(ConditionType::Accepted));
        assert_eq!(conditions.iter().count(), 2);
        assert_eq!(conditions.to_value(3)[0]["observedGeneration"], 3);
    }

    #[test]
    fn conditions_can_be_sorted_by_type() {
        let mut conditions = Conditions::default();
        for kind in [
            ConditionType::Warning,
            ConditionType::ResolvedRefs,
            ConditionType::Accepted,
        ] {
            conditions.set(kind, true, RouteReason::Accepted, "");
        }

        let sorted = conditions.in_order(&[
            ConditionType::Accepted,
            ConditionType::Conflicted,
            ConditionType::ResolvedRefs,
        ]);

        let kinds: Vec<_> = sorted.iter().map(|held| held.kind.as_str()).collect();
        assert_eq!(kinds, ["Accepted", "ResolvedRefs", "Warning"]);
    }

    #[test]
    fn several_reasons_are_separated_by_commas() {
        let mut conditions = Conditions::default();

        conditions.insert(Condition {
            kind: ConditionType::ResolvedRefs,
            status: false,
            reason: RouteReason::BackendNotFound,
            more_reasons: vec![RouteReason::RefNotPermitted],
            message: String::new(),
        });

        assert_eq!(
            conditions.to_value(1)[0]["reason"],
            "BackendNotFound,RefNotPermitted"
        );
    }

    #[test]
    fn a_message_is_one_line() {
        let mut conditions = Conditions::default();
        let message = "it reads:\n    (\n    ^\nnot good";

        conditions.set(
            ConditionType::Accepted,
            false,
            RouteReason::InvalidRule,
            message,
        );

        let message = conditions
            .find(ConditionType::Accepted)
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
