//! Validation of a spec as the API server does it: limits of single fields and rules between fields.
//!
//! Files do not pass through an API server, so this module performs the same checks. They report every
//! violation with its path and the API server's message.
//!
//! The same walk lists unsupported fields that are set, and deprecated fields. An unsupported field is an
//! error if ignoring it is a risk, else a warning: see [`FieldClass`].
//!
//! ```
//! use towergate_policy::BackendTrafficPolicySpec;
//! use towergate_policy::check::Report;
//!
//! let spec: BackendTrafficPolicySpec = serde_json::from_str(
//!     r#"{"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a"}],
//!         "retry": {"numRetries": -1}, "telemetry": {"tracing": {}},
//!         "loadBalancer": {"type": "DynamicModule", "dynamicModule": {"name": "a", "lbPolicyName": "b"}}}"#,
//! )?;
//! let report = Report::of(&spec);
//! assert_eq!(
//!     report.violations[0].to_string(),
//!     "spec.retry.numRetries: should be greater than or equal to 0"
//! );
//! assert_eq!(
//!     report.unsupported[0].to_string(),
//!     "spec.loadBalancer.type: DynamicModule is not supported"
//! );
//! assert_eq!(report.ignored, ["spec.telemetry.tracing"]);
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use http::HeaderName;
use regex::Regex;

use crate::FieldError;
use crate::field_path::FieldPath;

/// A value that the schema or a rule of the CRD forbids.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SchemaViolation {
    /// Path of the field, starting with `spec`.
    pub field: String,
    /// The API server's message.
    pub message: String,
}

impl fmt::Display for SchemaViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Message of the API server for a field that is required and absent.
pub const REQUIRED: &str = "Required value";

impl SchemaViolation {
    /// Whether the violation is that a required field is absent.
    pub fn is_absence(&self) -> bool {
        self.message == REQUIRED
    }

    /// A valid value, if the message contains only a regular expression.
    pub fn example(&self) -> Option<&'static str> {
        let pattern = self.message.strip_prefix("should match '")?;
        let pattern = pattern.strip_suffix('\'')?;
        let known = EXAMPLES.iter().find(|(known, _)| *known == pattern);
        known.map(|(_, example)| *example)
    }
}

/// Whether a field must be present: it has the limit `Required` and no default. The API server fills in
/// defaults before it validates a policy.
fn is_required(limits: &[FieldLimit]) -> bool {
    let has_default = |limit: &FieldLimit| {
        matches!(
            limit,
            FieldLimit::DefaultText(_) | FieldLimit::DefaultNumber(_) | FieldLimit::DefaultFlag(_)
        )
    };
    let required = limits
        .iter()
        .any(|limit| matches!(limit, FieldLimit::Required));
    required && !limits.iter().any(has_default)
}

/// Patterns of the schemas, each with a string that matches it.
const EXAMPLES: &[(&str, &str)] = &[
    (crate::common::CIDR, "192.0.2.0/24"),
    (crate::common::DNS_NAME, "app.example.com"),
    (crate::common::DURATION, "5s"),
    (crate::common::QUANTITY, "10Mi"),
    (TOKEN, "x-request-id"),
    ("^[A-Za-z0-9-]+$", "X-Real-IP"),
    ("^[A-Za-z]{2}$", "DE"),
    ("^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", "app.example.com"),
    (crate::security::ORIGIN, "https://*.example.com"),
];

/// The pattern of header names in the schemas of the CRDs.
pub(crate) const TOKEN: &str = "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$";

/// A limit of a field, or its default, which the API server fills in if the field is absent. On a list, all
/// limits but `Required` and `Items` apply to each item.
#[derive(Clone, Copy, Debug)]
pub enum FieldLimit {
    /// The field must be present.
    Required,
    /// Inclusive range of a number.
    Range(i64, i64),
    /// Inclusive range of a string's length in characters.
    Length(usize, usize),
    /// Inclusive range of a list's length.
    Items(usize, usize),
    /// A regular expression that must match somewhere in the string.
    Pattern(&'static str),
    /// The allowed numbers.
    OneOf(&'static [i64]),
    /// A token of HTTP (RFC 9110, section 5.6.2).
    Token,
    /// The default of a text.
    DefaultText(&'static str),
    /// The default of a number.
    DefaultNumber(i64),
    /// The default of a boolean.
    DefaultFlag(bool),
}

/// Class of a field that is not simply applied. It determines what happens to a policy that sets the field.
///
/// A new class is one variant here and one arm in `Report::field` and `Report::value`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FieldClass {
    /// The gateway does not support the field: the policy is rejected and fails closed.
    Unsupported,
    /// The gateway does not support the field, but its absence weakens no protection and discloses or loses
    /// no data: the policy is applied without it, with a warning. Fields of access control, limits and TLS
    /// validation never have this class.
    Ignored,
    /// The sibling of this name replaces the field. The policy is applied, with a warning.
    Deprecated(&'static str),
}

/// A deprecated field that is set (`Warning=True`, reason `DeprecatedField`).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Deprecated {
    /// Path of the field, starting with `spec`.
    pub field: String,
    /// Path of the field that replaces the deprecated field.
    pub instead: String,
}

/// Fields of a policy about which its status and `towergate check` warn.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FieldRemarks {
    /// Deprecated fields.
    pub deprecated: Vec<Deprecated>,
    /// Paths of set fields that are ignored: [`FieldClass::Ignored`].
    pub ignored: Vec<String>,
}

/// A value that can be checked.
pub trait Check {
    /// Reports the violations and the unsupported and deprecated fields in the value.
    fn check(&self, report: &mut Report);

    /// Reports a violation of `limit`. Types ignore limits that do not apply to them.
    fn check_limit(&self, limit: &FieldLimit, report: &mut Report) {
        let _ = (limit, report);
    }

    /// Whether the value means the same as an absent field: `false`, or an empty list.
    fn is_noop(&self) -> bool {
        false
    }
}

/// Result of a walk over a spec.
#[derive(Debug)]
pub struct Report {
    path: String,
    /// Violations that the API server would reject.
    pub violations: Vec<SchemaViolation>,
    /// Fields and values that are set and not supported.
    pub unsupported: Vec<FieldError>,
    /// Paths of set fields and values that are ignored.
    pub ignored: Vec<String>,
    /// Deprecated fields that are set.
    pub deprecated: Vec<Deprecated>,
    /// Paths of the references to other objects.
    pub references: Vec<String>,
}

impl Report {
    /// Checks a whole spec.
    pub fn of(spec: &impl Check) -> Self {
        Self::at(FieldPath::SPEC, |report| spec.check(report))
    }

    /// Runs `check` on the value at `path`.
    pub(crate) fn at(path: FieldPath<'_>, check: impl FnOnce(&mut Self)) -> Self {
        let mut report = Self {
            path: path.to_string(),
            violations: Vec::new(),
            unsupported: Vec::new(),
            ignored: Vec::new(),
            deprecated: Vec::new(),
            references: Vec::new(),
        };
        check(&mut report);
        report
    }

    /// The fields that require a warning.
    pub fn into_remarks(self) -> FieldRemarks {
        FieldRemarks {
            deprecated: self.deprecated,
            ignored: self.ignored,
        }
    }

    /// Fails with the first unsupported field or value.
    pub(crate) fn require_supported(&mut self) -> Result<(), FieldError> {
        self.unsupported.drain(..).next().map_or(Ok(()), Err)
    }

    /// Fails with the first violation.
    pub(crate) fn require_valid(&mut self) -> Result<(), FieldError> {
        let first = self.violations.drain(..).next();
        first.map_or(Ok(()), |violation| Err(violation.into()))
    }

    /// Checks a field: its limits, its classes, and its value.
    pub fn field<T: Check>(
        &mut self,
        name: &str,
        value: Option<&T>,
        limits: &[FieldLimit],
        classes: &[FieldClass],
    ) {
        self.within(format_args!(".{name}"), |report| match value {
            Some(value) => {
                for class in classes {
                    match class {
                        FieldClass::Unsupported | FieldClass::Ignored if value.is_noop() => {}
                        FieldClass::Ignored => report.ignored.push(report.path.clone()),
                        FieldClass::Unsupported => {
                            let error = FieldError::unsupported(&report.path);
                            report.unsupported.push(error);
                        }
                        FieldClass::Deprecated(sibling) => report.deprecated(name, sibling),
                    }
                }
                for limit in limits {
                    value.check_limit(limit, report);
                }
                value.check(report);
            }
            None if is_required(limits) => {
                report.violation(REQUIRED);
            }
            None => {}
        });
    }

    /// Checks the classes of a value of an enumeration.
    pub(crate) fn value(&mut self, text: &str, classes: &[FieldClass]) {
        for class in classes {
            match class {
                FieldClass::Unsupported => {
                    let error = FieldError::unsupported_value(&self.path, text);
                    self.unsupported.push(error);
                }
                FieldClass::Ignored => self.ignored.push(format!("{}: {text}", self.path)),
                FieldClass::Deprecated(other) => self.deprecated.push(Deprecated {
                    field: format!("{}: {text}", self.path),
                    instead: (*other).to_owned(),
                }),
            }
        }
    }

    /// Reports a violation by the value at the current path.
    pub fn violation(&mut self, message: impl Into<String>) {
        self.violations.push(SchemaViolation {
            field: self.path.clone(),
            message: message.into(),
        });
    }

    /// If `holds` is `false`, reports a violation with `message`.
    pub fn rule(&mut self, holds: bool, message: &str) {
        if !holds {
            self.violation(message);
        }
    }

    /// Reports the value `text` of the field `name` as ignored. The policy is applied without the value. Only
    /// for fields that describe, such as names in metrics.
    pub(crate) fn ignored_value(&mut self, name: &str, text: &str) {
        self.ignored.push(format!("{}.{name}: {text}", self.path));
    }

    /// Records that the value at the current path is a reference to another object.
    pub(crate) fn reference(&mut self) {
        self.references.push(self.path.clone());
    }

    /// Reports a string that is not one of the `known` values.
    pub fn unknown_value(&mut self, text: &str, known: &[&str]) {
        let known: Vec<String> = known.iter().map(|value| format!("{value:?}")).collect();
        self.violation(format!(
            "Unsupported value: {text:?}: supported values: {}",
            known.join(", ")
        ));
    }

    fn deprecated(&mut self, name: &str, sibling: &str) {
        let parent = self.path.strip_suffix(name).unwrap_or_default();
        self.deprecated.push(Deprecated {
            field: self.path.clone(),
            instead: format!("{parent}{sibling}"),
        });
    }

    fn within(&mut self, step: fmt::Arguments<'_>, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(&step.to_string());
        check(self);
        self.path.truncate(length);
    }
}

impl Check for bool {
    fn check(&self, _report: &mut Report) {}

    fn is_noop(&self) -> bool {
        !*self
    }
}

impl Check for f64 {
    fn check(&self, _report: &mut Report) {}
}

impl Check for serde_json::Value {
    fn check(&self, _report: &mut Report) {}
}

impl Check for i64 {
    fn check(&self, _report: &mut Report) {}

    fn check_limit(&self, limit: &FieldLimit, report: &mut Report) {
        match limit {
            FieldLimit::Range(low, _) if self < low => {
                report.violation(format!("should be greater than or equal to {low}"));
            }
            FieldLimit::Range(_, high) if self > high => {
                report.violation(format!("should be less than or equal to {high}"));
            }
            FieldLimit::OneOf(known) if !known.contains(self) => {
                report.violation(format!("Unsupported value: {self}"));
            }
            _ => {}
        }
    }
}

impl Check for String {
    fn check(&self, _report: &mut Report) {}

    fn check_limit(&self, limit: &FieldLimit, report: &mut Report) {
        match limit {
            FieldLimit::Length(low, _) if self.chars().count() < *low => {
                report.violation(format!("should be at least {low} chars long"));
            }
            FieldLimit::Length(_, high) if self.chars().count() > *high => {
                report.violation(format!("Too long: may not be more than {high} bytes"));
            }
            FieldLimit::Pattern(pattern) if !matches(pattern, self) => {
                report.violation(format!("should match '{pattern}'"));
            }
            FieldLimit::Token if HeaderName::from_bytes(self.as_bytes()).is_err() => {
                report.violation(format!("should match '{TOKEN}'"));
            }
            _ => {}
        }
    }
}

impl<T: Check> Check for Vec<T> {
    fn check(&self, report: &mut Report) {
        for (index, item) in self.iter().enumerate() {
            report.within(format_args!("[{index}]"), |report| item.check(report));
        }
    }

    fn check_limit(&self, limit: &FieldLimit, report: &mut Report) {
        match limit {
            FieldLimit::Required => {}
            FieldLimit::Items(low, _) if self.len() < *low => {
                report.violation(format!("should have at least {low} items"));
            }
            FieldLimit::Items(_, high) if self.len() > *high => {
                report.violation(format!("must have at most {high} items"));
            }
            FieldLimit::Items(..) => {}
            limit => {
                for (index, item) in self.iter().enumerate() {
                    report.within(format_args!("[{index}]"), |report| {
                        item.check_limit(limit, report);
                    });
                }
            }
        }
    }

    fn is_noop(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Check> Check for BTreeMap<String, T> {
    fn check(&self, report: &mut Report) {
        for (key, value) in self {
            report.within(format_args!("[{key}]"), |report| value.check(report));
        }
    }
}

/// Whether `pattern` matches `text`. Each thread compiles a pattern once.
fn matches(pattern: &'static str, text: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<BTreeMap<&'static str, Regex>> = const { RefCell::new(BTreeMap::new()) };
    }
    COMPILED.with_borrow_mut(|compiled| {
        let compile = || Regex::new(pattern).expect("the patterns of this crate are valid");
        compiled
            .entry(pattern)
            .or_insert_with(compile)
            .is_match(text)
    })
}

/// The number of fields that are set.
pub(crate) fn count(set: &[bool]) -> usize {
    set.iter().filter(|set| **set).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_example_matches_its_pattern() {
        for (pattern, example) in EXAMPLES {
            assert!(Regex::new(pattern).unwrap().is_match(example), "{pattern}");
            let violation = SchemaViolation {
                field: "spec.x".to_owned(),
                message: format!("should match '{pattern}'"),
            };
            assert_eq!(violation.example(), Some(*example));
        }
    }
}
