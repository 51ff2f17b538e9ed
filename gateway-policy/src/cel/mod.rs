//! The Common Expression Language, as CustomResourceDefinitions and authorization rules use it.
//!
//! ```text
//! text ──lexer──> tokens ──parser──> tree ──types──> Expression ──eval (variables)──> true, false or an error
//! ```
//!
//! The supported subset: literals, lists, maps, field access, indexing, the operators of CEL, `has`, the
//! macros `all`, `exists`, `exists_one`, `filter` and `map`, and the functions that the field's documentation
//! lists. Everything else is a compile error. Variables and attributes that the [`Environment`] does not
//! declare are also compile errors, and so are expressions whose known type is not a boolean.
//!
//! An evaluation borrows the values and copies no strings.
//!
//! ```
//! use towergate_policy::cel::{Environment, Expression, Value};
//!
//! const OBJECT: Environment = Environment::new(&[("self", &[])]);
//! let expression = Expression::compile("self.replicas > 1", &OBJECT)?;
//! let object = serde_json::json!({"replicas": 3});
//!
//! assert_eq!(expression.holds(&[Value::from(&object)]), Ok(true));
//! # Ok::<(), towergate_policy::cel::ExpressionError>(())
//! ```

mod attributes;
mod environment;
mod eval;
mod expression;
mod format;
mod functions;
mod lexer;
mod parser;
mod pattern;
mod types;
mod value;

pub(crate) use attributes::{EndpointAttributes, attribute_table, protocol};
pub use environment::Environment;
pub use eval::EvaluationError;
pub use expression::{Expression, ExpressionError};
pub use pattern::Pattern;
pub use types::CelType;
pub use value::{AttributeSet, Value};

#[cfg(test)]
mod tests;
