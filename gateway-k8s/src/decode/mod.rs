//! From text to typed objects: one document at a time, so that a bad one spoils nothing else.

mod diagnostic;

pub use diagnostic::{Diagnostic, Severity};
