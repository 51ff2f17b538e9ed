//! The syntax tree of an expression.

use std::fmt;

use super::environment::Environment;
use super::functions::Function;
use super::parser;
use super::pattern::Pattern;

/// A compiled expression over the variables of an [`Environment`].
#[derive(Debug)]
pub struct Expression {
    pub(super) root: Node,
    pub(super) max_steps: u32,
}

/// The error of an expression that cannot be compiled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExpressionError {
    /// The offset in the text, in bytes.
    pub(super) offset: usize,
    pub(super) message: String,
}

impl std::error::Error for ExpressionError {}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.message, self.offset)
    }
}

impl Expression {
    /// Compiles `text`, which may use the variables of `environment`.
    ///
    /// # Errors
    /// If the text is malformed, or uses a variable, attribute or function that is not supported.
    pub fn compile(text: &str, environment: &Environment) -> Result<Self, ExpressionError> {
        parser::parse(text, environment).map(|root| Self {
            root,
            max_steps: environment.steps(),
        })
    }
}

/// A node of the tree.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    /// A variable, by its place: those of the environment, then those of the macros, outermost first.
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
    Map,
}
