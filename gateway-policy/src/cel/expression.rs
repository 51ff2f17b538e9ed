//! The syntax tree of an expression.

use std::fmt;

use super::environment::Environment;
use super::functions::Function;
use super::parser;
use super::pattern::Pattern;
use super::types::check_condition;

/// A compiled expression over the variables of an [`Environment`].
#[derive(Debug)]
pub struct Expression {
    pub(super) root: Node,
    pub(super) max_steps: u32,
    /// The names of the environment's variables, in the order of their declaration.
    names: Vec<&'static str>,
}

/// The error of an expression that cannot be compiled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExpressionError {
    /// The offset in the expression, in bytes.
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
    /// If the expression is malformed, uses a variable, attribute or function that is not supported, or is
    /// known to have a type other than boolean.
    pub fn compile(text: &str, environment: &Environment) -> Result<Self, ExpressionError> {
        let root = parser::parse(text, environment)?;
        let checked = check_condition(&root, environment);
        checked.map_err(|message| ExpressionError { offset: 0, message })?;
        Ok(Self {
            root,
            max_steps: environment.steps(),
            names: environment.names().collect(),
        })
    }
}

impl Expression {
    /// Compiles the patterns of `matches`, which are otherwise compiled when they are first used. Without this call, an
    /// invalid pattern matches nothing.
    ///
    /// # Errors
    /// If a pattern is invalid.
    pub fn compile_patterns(self) -> Result<Self, ExpressionError> {
        let mut invalid = None;
        self.root.visit(&mut |node| {
            if let Node::Matches(_, pattern) = node
                && let Some(error) = pattern.error()
            {
                invalid.get_or_insert_with(|| {
                    format!("invalid regular expression {:?}: {error}", pattern.text())
                });
            }
        });
        match invalid {
            Some(message) => Err(ExpressionError { offset: 0, message }),
            None => Ok(self),
        }
    }

    /// The string literals of the expression, and the names of fields of attributes, such as `x` in `a.b.x`.
    pub fn literals(&self) -> Vec<&str> {
        let mut texts = Vec::new();
        self.root.visit(&mut |node| match node {
            Node::Text(text) => texts.push(&**text),
            Node::Field(of, text) | Node::Has(of, text) if matches!(**of, Node::Field(..)) => {
                texts.push(&**text);
            }
            _ => {}
        });
        texts
    }

    /// Whether the expression uses an attribute of a variable.
    pub fn uses(&self, variable: &str, attribute: &str) -> bool {
        let place = self.names.iter().position(|name| *name == variable);
        let mut found = false;
        self.root.visit(&mut |node| {
            if let Node::Field(of, name) | Node::Has(of, name) = node {
                let own = matches!(&**of, Node::Variable(at) if Some(*at) == place);
                found |= own && name == attribute;
            }
        });
        found
    }
}

impl Node {
    /// Calls `visitor` for each node of the tree.
    fn visit<'n>(&'n self, visitor: &mut dyn FnMut(&'n Self)) {
        visitor(self);
        match self {
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Variable(_) => {}
            Self::Field(of, _)
            | Self::Has(of, _)
            | Self::Not(of)
            | Self::Negate(of)
            | Self::Matches(of, _) => of.visit(visitor),
            Self::Index(a, b)
            | Self::And(a, b)
            | Self::Or(a, b)
            | Self::Binary(_, a, b)
            | Self::Macro(_, a, b) => {
                a.visit(visitor);
                b.visit(visitor);
            }
            Self::List(nodes) | Self::Call(_, nodes) => {
                nodes.iter().for_each(|node| node.visit(visitor));
            }
            Self::Map(entries) => entries.iter().for_each(|(key, value)| {
                key.visit(visitor);
                value.visit(visitor);
            }),
            Self::Conditional(parts) => parts.iter().for_each(|node| node.visit(visitor)),
        }
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
    /// A variable, by its index: first those of the environment, then those of the macros, outermost first.
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
