//! Types of expressions, as far as they can be determined without values.
//!
//! If the type of a condition is known and is not a boolean, the condition would have no value for any
//! request. It is therefore rejected when it is compiled. Uses of [`CelType::Attributes`] that need its size
//! or its keys are also rejected, because its values are computed by name.

use super::environment::Environment;
use super::expression::{Macro, Node, Operator};
use super::functions::Function;

/// The type of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CelType {
    /// Any type: it is known only when the expression is evaluated.
    Any,
    /// `null`.
    Null,
    /// A boolean.
    Bool,
    /// An integer or a floating-point number.
    Number,
    /// A string.
    Text,
    /// A duration.
    Duration,
    /// A list.
    List,
    /// A map that the expression creates.
    Map,
    /// An [`AttributeSet`](super::AttributeSet) whose values have this type.
    Attributes(&'static CelType),
}

impl CelType {
    /// The name of the type in messages, with its article, such as `a number`.
    fn word(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Duration => "a duration",
            Self::List => "a list",
            Self::Map | Self::Attributes(_) => "a map",
        }
    }
}

/// Checks that the type of `root` can be boolean, and that its parts have valid types.
pub(super) fn check_condition(root: &Node, environment: &Environment) -> Result<(), String> {
    Checker { environment }.boolean(root)
}

struct Checker<'e> {
    environment: &'e Environment,
}

type Checked = Result<CelType, String>;

impl Checker<'_> {
    /// Checks an operand that must be a boolean.
    fn boolean(&self, node: &Node) -> Result<(), String> {
        match self.value(node)? {
            CelType::Any | CelType::Bool => Ok(()),
            other => Err(format!("expected a boolean, found {}", other.word())),
        }
    }

    /// The type of an operand that is used as a whole.
    fn value(&self, node: &Node) -> Checked {
        match self.kind(node)? {
            CelType::Attributes(_) => Err(format!(
                "`{}` has no size and no list of keys; use `in`, `has` or a key",
                self.path(node)
            )),
            known => Ok(known),
        }
    }

    fn values(&self, nodes: &[Node]) -> Result<(), String> {
        nodes.iter().try_for_each(|node| self.value(node).map(drop))
    }

    fn kind(&self, node: &Node) -> Checked {
        match node {
            Node::Null => Ok(CelType::Null),
            Node::Bool(_) => Ok(CelType::Bool),
            Node::Int(_) | Node::Double(_) => Ok(CelType::Number),
            Node::Text(_) => Ok(CelType::Text),
            Node::Variable(_) => Ok(CelType::Any),
            Node::Field(object, field) => self.field(object, field),
            Node::Has(object, _) => self.kind(object).map(|_| CelType::Bool),
            Node::Index(object, index) => {
                self.value(index)?;
                self.kind(object).map(element)
            }
            Node::List(items) => self.values(items).map(|()| CelType::List),
            Node::Map(entries) => {
                for (key, value) in entries {
                    self.value(key)?;
                    self.value(value)?;
                }
                Ok(CelType::Map)
            }
            Node::Not(operand) => self.boolean(operand).map(|()| CelType::Bool),
            Node::Negate(operand) => self.value(operand).map(|_| CelType::Number),
            Node::And(left, right) | Node::Or(left, right) => {
                self.boolean(left)?;
                self.boolean(right).map(|()| CelType::Bool)
            }
            Node::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                self.boolean(condition)?;
                let (then, otherwise) = (self.value(then)?, self.value(otherwise)?);
                Ok(if then == otherwise {
                    then
                } else {
                    CelType::Any
                })
            }
            Node::Binary(operator, left, right) => self.binary(*operator, left, right),
            Node::Call(function, arguments) => {
                self.values(arguments)?;
                Ok(result(*function))
            }
            Node::Matches(text, _) => self.value(text).map(|_| CelType::Bool),
            Node::Macro(kind, range, body) => self.run(*kind, range, body),
        }
    }

    fn field(&self, object: &Node, field: &str) -> Checked {
        match object {
            Node::Variable(place) => Ok(self.environment.attribute_type(*place, field)),
            _ => self.kind(object).map(element),
        }
    }

    fn binary(&self, operator: Operator, left: &Node, right: &Node) -> Checked {
        let left = self.value(left)?;
        if operator == Operator::In {
            return self.kind(right).map(|_| CelType::Bool);
        }
        let right = self.value(right)?;
        Ok(match operator {
            Operator::Add if left == CelType::Any => right,
            Operator::Add => left,
            Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
                CelType::Number
            }
            _ => CelType::Bool,
        })
    }

    fn run(&self, kind: Macro, range: &Node, body: &Node) -> Checked {
        self.value(range)?;
        match kind {
            Macro::Map => self.value(body).map(|_| CelType::List),
            Macro::Filter => self.boolean(body).map(|()| CelType::List),
            Macro::All | Macro::Exists | Macro::ExistsOne => {
                self.boolean(body).map(|()| CelType::Bool)
            }
        }
    }

    /// The path of an attribute in messages, such as `request.headers`.
    fn path(&self, node: &Node) -> String {
        match node {
            Node::Variable(place) => {
                let name = self.environment.names().nth(*place);
                name.unwrap_or_default().to_owned()
            }
            Node::Field(object, field) => format!("{}.{field}", self.path(object)),
            Node::Index(object, index) => match &**index {
                Node::Text(key) => format!("{}['{key}']", self.path(object)),
                _ => format!("{}[…]", self.path(object)),
            },
            _ => "…".to_owned(),
        }
    }
}

/// The type of a value in a map or list.
fn element(object: CelType) -> CelType {
    match object {
        CelType::Attributes(element) => *element,
        _ => CelType::Any,
    }
}

fn result(function: Function) -> CelType {
    match function {
        Function::Contains
        | Function::EndsWith
        | Function::IsDns1123Subdomain
        | Function::IsIp
        | Function::StartsWith => CelType::Bool,
        Function::Duration => CelType::Duration,
        Function::Int | Function::Size => CelType::Number,
        Function::LowerAscii | Function::String | Function::Substring | Function::UpperAscii => {
            CelType::Text
        }
        Function::Split => CelType::List,
    }
}
