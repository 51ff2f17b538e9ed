//! What the API server would refuse: limits of single fields and rules between fields.
//!
//! A file has no API server in front of it, so the same checks run here. They find every fault, not
//! just the first, and say where it is and what the API server would say.
//!
//! Apart from these stand the refusals of the conversion: a policy may be well-formed and still ask
//! for what cannot be done ([`FieldError`](crate::FieldError)).
//!
//! ```
//! use towergate_policy::BackendTrafficPolicySpec;
//! use towergate_policy::check::Report;
//!
//! let spec: BackendTrafficPolicySpec = serde_json::from_str(
//!     r#"{"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a"}],
//!         "retry": {"numRetries": -1}}"#,
//! )?;
//! let faults = Report::of(&spec); // the same as `spec.validate()`
//! assert_eq!(
//!     faults[0].to_string(),
//!     "spec.retry.numRetries: should be greater than or equal to 0"
//! );
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;

use http::HeaderName;
use regex::Regex;

/// A field whose value the API server would refuse.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SchemaViolation {
    /// The path of the field, from `spec` on.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for SchemaViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl SchemaViolation {
    /// A value that would do, where the message only gives a regular expression.
    pub fn example(&self) -> Option<&'static str> {
        let pattern = self.message.strip_prefix("should match '")?;
        let pattern = pattern.strip_suffix('\'')?;
        let known = EXAMPLES.iter().find(|(known, _)| *known == pattern);
        known.map(|(_, example)| *example)
    }
}

/// Patterns of the schemas, with a text that each matches.
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

/// What the schemas of the CRDs ask of a field name of HTTP.
pub(crate) const TOKEN: &str = "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$";

/// A limit of one field. On a list, all but `Required` and `Items` hold for each item.
#[derive(Clone, Copy, Debug)]
pub enum FieldLimit {
    /// The field must be given.
    Required,
    /// A number from the first to the second, both included.
    Range(i64, i64),
    /// Length of a text, in characters.
    Length(usize, usize),
    /// Length of a list.
    Items(usize, usize),
    /// A regular expression that must match somewhere in the text.
    Pattern(&'static str),
    /// One of these numbers.
    OneOf(&'static [i64]),
    /// A field name of HTTP (RFC 9110, section 5.6.2).
    Token,
}

/// A value that can be checked.
pub trait Check {
    /// Reports what is wrong within the value.
    fn check(&self, report: &mut Report);

    /// Reports whether the value breaks `limit`, which its type has to know.
    fn obey(&self, limit: &FieldLimit, report: &mut Report) {
        let _ = (limit, report);
    }
}

/// Collects faults, and knows where in the spec the check is.
#[derive(Debug)]
pub struct Report {
    path: String,
    found: Vec<SchemaViolation>,
}

impl Report {
    /// Everything that is wrong with `spec`.
    pub fn of(spec: &impl Check) -> Vec<SchemaViolation> {
        let mut report = Self {
            path: "spec".to_owned(),
            found: Vec::new(),
        };
        spec.check(&mut report);
        report.found
    }

    /// Checks a field: its limits, then what is within it.
    pub fn field<T: Check>(&mut self, name: &str, value: Option<&T>, limits: &[FieldLimit]) {
        self.within(format_args!(".{name}"), |report| match value {
            Some(value) => {
                for limit in limits {
                    value.obey(limit, report);
                }
                value.check(report);
            }
            None if limits.iter().any(|l| matches!(l, FieldLimit::Required)) => {
                report.fault("Required value");
            }
            None => {}
        });
    }

    /// Reports a fault of the value that is being checked.
    pub fn fault(&mut self, message: impl Into<String>) {
        self.found.push(SchemaViolation {
            field: self.path.clone(),
            message: message.into(),
        });
    }

    /// Reports `message` unless `holds`.
    pub fn rule(&mut self, holds: bool, message: &str) {
        if !holds {
            self.fault(message);
        }
    }

    /// Reports a word that is none of `known`.
    pub fn unsupported(&mut self, text: &str, known: &[&str]) {
        let known: Vec<String> = known.iter().map(|word| format!("{word:?}")).collect();
        self.fault(format!(
            "Unsupported value: {text:?}: supported values: {}",
            known.join(", ")
        ));
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
}

impl Check for f64 {
    fn check(&self, _report: &mut Report) {}
}

impl Check for serde_json::Value {
    fn check(&self, _report: &mut Report) {}
}

impl Check for i64 {
    fn check(&self, _report: &mut Report) {}

    fn obey(&self, limit: &FieldLimit, report: &mut Report) {
        match limit {
            FieldLimit::Range(low, _) if self < low => {
                report.fault(format!("should be greater than or equal to {low}"));
            }
            FieldLimit::Range(_, high) if self > high => {
                report.fault(format!("should be less than or equal to {high}"));
            }
            FieldLimit::OneOf(known) if !known.contains(self) => {
                report.fault(format!("Unsupported value: {self}"));
            }
            _ => {}
        }
    }
}

impl Check for String {
    fn check(&self, _report: &mut Report) {}

    fn obey(&self, limit: &FieldLimit, report: &mut Report) {
        match limit {
            FieldLimit::Length(low, _) if self.chars().count() < *low => {
                report.fault(format!("should be at least {low} chars long"));
            }
            FieldLimit::Length(_, high) if self.chars().count() > *high => {
                report.fault(format!("Too long: may not be more than {high} bytes"));
            }
            FieldLimit::Pattern(pattern) => {
                let regex = Regex::new(pattern).expect("the patterns of this crate are valid");
                if !regex.is_match(self) {
                    report.fault(format!("should match '{pattern}'"));
                }
            }
            FieldLimit::Token if HeaderName::from_bytes(self.as_bytes()).is_err() => {
                report.fault(format!("should match '{TOKEN}'"));
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

    fn obey(&self, limit: &FieldLimit, report: &mut Report) {
        match limit {
            FieldLimit::Required => {}
            FieldLimit::Items(low, _) if self.len() < *low => {
                report.fault(format!("should have at least {low} items"));
            }
            FieldLimit::Items(_, high) if self.len() > *high => {
                report.fault(format!("must have at most {high} items"));
            }
            FieldLimit::Items(..) => {}
            limit => {
                for (index, item) in self.iter().enumerate() {
                    report.within(format_args!("[{index}]"), |report| item.obey(limit, report));
                }
            }
        }
    }
}

impl<T: Check> Check for BTreeMap<String, T> {
    fn check(&self, report: &mut Report) {
        for (key, value) in self {
            report.within(format_args!("[{key}]"), |report| value.check(report));
        }
    }
}

/// How many of these fields are given.
pub(crate) fn count(given: &[bool]) -> usize {
    given.iter().filter(|given| **given).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_example_matches_its_pattern() {
        for (pattern, example) in EXAMPLES {
            assert!(Regex::new(pattern).unwrap().is_match(example), "{pattern}");
            let fault = SchemaViolation {
                field: "spec.x".to_owned(),
                message: format!("should match '{pattern}'"),
            };
            assert_eq!(fault.example(), Some(*example));
        }
    }
}
