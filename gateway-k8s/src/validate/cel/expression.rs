//! The syntax tree of an expression.

use std::fmt;

use super::functions::Function;
use super::parser;
use crate::validate::pattern::Pattern;

/// A compiled expression over one variable, `self`.
#[derive(Debug)]
pub(in crate::validate) struct Expression {
    pub(super) root: Node,
}

/// Why an expression cannot be compiled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::validate) struct ExpressionError {
    /// The offset in the text, in bytes.
    pub(super) offset: usize,
    pub(super) message: String,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.message, self.offset)
    }
}

impl Expression {
    /// Compiles `text`.
    ///
    /// # Errors
    /// If it is malformed, or uses what is not supported.
    pub(in crate::validate) fn compile(text: &str) -> Result<Self, ExpressionError> {
        parser::parse(text).map(|root| Self { root })
    }
}

/// A node of the tree.
#[derive(Debug)]
pub(super) enum Node {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    /// A variable, by its place: `self` is the first, then those of the macros, outermost first.
    Variable(usize),
    Field(Box<Node>, String),
    /// Whether the field is present.
    Has(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Conditional(Box<[Node; 3]>),
    Binary(Operator, Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
    /// `matches` with a literal pattern.
    Matches(Box<Node>, Pattern),
    Macro(Macro, Box<Node>, Box<Node>),
}

/// An operator of two operands that evaluates both.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A macro that evaluates its body for each item of a list or key of a map.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
}
