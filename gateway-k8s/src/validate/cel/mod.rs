//! The part of the Common Expression Language that CustomResourceDefinitions use.
//!
//! ```text
//! text ──lexer──> tokens ──parser──> Expression ──eval (self)──> true, false or an error
//! ```
//!
//! Supported are literals, lists, maps, field access, indexing, the operators of CEL, `has`, the macros
//! `all`, `exists`, `exists_one` and `filter`, and the functions of [`functions`]. Anything else is an
//! error when the rule is compiled; a test compiles every rule of the schemas.
//!
//! An expression borrows the object that it is evaluated on and copies no strings: a rule costs less
//! than a microsecond, and an HTTPRoute has about fifty.

mod eval;
mod expression;
mod functions;
mod lexer;
mod parser;
mod value;

pub(super) use expression::{Expression, ExpressionError};

#[cfg(test)]
mod tests;
