//! Evaluation of an expression.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use super::expression::{Expression, Macro, Node, Operator};
use super::value::Value;

/// The error of an evaluation, such as a field that is not present.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EvaluationError(String);

impl EvaluationError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl std::error::Error for EvaluationError {}

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Evaluated<'a> = Result<Value<'a>, EvaluationError>;

impl Expression {
    /// Whether the expression is true. `values` are the values of the environment's variables, in the order
    /// of their declaration.
    ///
    /// # Errors
    /// If the expression has no value, or one that is not a boolean.
    pub fn holds<'a>(&'a self, values: &[Value<'a>]) -> Result<bool, EvaluationError> {
        let mut variables = Variables {
            values: values.to_vec(),
            steps: self.max_steps,
        };
        boolean(self.root.evaluate(&mut variables)?)
    }
}

/// The values of variables: first those of the environment, then those of the macros, outermost first.
struct Variables<'a> {
    values: Vec<Value<'a>>,
    /// Number of nodes that may still be evaluated.
    steps: u32,
}

impl<'a> Variables<'a> {
    fn value(&self, place: usize) -> Evaluated<'a> {
        let value = self.values.get(place).cloned();
        value.ok_or_else(|| EvaluationError::new("a variable without a value"))
    }
}

fn boolean(value: Value<'_>) -> Result<bool, EvaluationError> {
    match value {
        Value::Bool(value) => Ok(value),
        _ => Err(EvaluationError::new("expected a boolean")),
    }
}

impl Node {
    fn evaluate<'a>(&'a self, variables: &mut Variables<'a>) -> Evaluated<'a> {
        let steps = variables.steps.checked_sub(1);
        variables.steps = steps.ok_or_else(|| EvaluationError::new("too many steps"))?;
        match self {
            Self::Null => Ok(Value::Null),
            Self::Bool(value) => Ok(Value::Bool(*value)),
            Self::Int(value) => Ok(Value::Int(*value)),
            Self::Double(value) => Ok(Value::Double(*value)),
            Self::Text(text) => Ok(Value::Text(Cow::Borrowed(text))),
            Self::Variable(place) => variables.value(*place),
            Self::Field(object, field) => {
                let object = object.evaluate(variables)?;
                let found = entry(&object, field)?;
                found.ok_or_else(|| EvaluationError::new(format!("no such field: {field}")))
            }
            Self::Has(object, field) => {
                let object = object.evaluate(variables)?;
                Ok(Value::Bool(match object {
                    Value::Attributes(set) => set.contains(field),
                    _ => entry(&object, field)?.is_some(),
                }))
            }
            Self::Index(object, index) => {
                let object = object.evaluate(variables)?;
                item(&object, &index.evaluate(variables)?)
            }
            Self::List(items) => {
                let items: Result<Vec<_>, _> =
                    items.iter().map(|item| item.evaluate(variables)).collect();
                Ok(Value::List(items?.into()))
            }
            Self::Map(entries) => {
                let entries: Result<Vec<_>, _> = entries
                    .iter()
                    .map(|(key, value)| Ok((key.evaluate(variables)?, value.evaluate(variables)?)))
                    .collect();
                Ok(Value::Map(entries?.into()))
            }
            Self::Not(value) => Ok(Value::Bool(!boolean(value.evaluate(variables)?)?)),
            Self::Negate(value) => match value.evaluate(variables)? {
                Value::Int(value) => value.checked_neg().map(Value::Int).ok_or_else(overflow),
                Value::Double(value) => Ok(Value::Double(-value)),
                _ => Err(EvaluationError::new("expected a number")),
            },
            Self::And(left, right) => either(left, right, variables, false),
            Self::Or(left, right) => either(left, right, variables, true),
            Self::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                match boolean(condition.evaluate(variables)?)? {
                    true => then.evaluate(variables),
                    false => otherwise.evaluate(variables),
                }
            }
            Self::Binary(operator, left, right) => {
                let left = left.evaluate(variables)?;
                operator.apply(&left, &right.evaluate(variables)?)
            }
            Self::Call(function, arguments) => {
                let arguments: Result<Vec<_>, _> = arguments
                    .iter()
                    .map(|argument| argument.evaluate(variables))
                    .collect();
                function.call(&arguments?)
            }
            Self::Matches(text, pattern) => match text.evaluate(variables)? {
                Value::Text(text) => Ok(Value::Bool(pattern.is_match(&text))),
                _ => Err(EvaluationError::new("expected a string")),
            },
            Self::Macro(kind, range, body) => {
                let range = range.evaluate(variables)?.range();
                let range = range.ok_or_else(|| EvaluationError::new("expected a list or map"))?;
                kind.run(range, body, variables)
            }
        }
    }
}

/// Evaluates `&&` (`decisive`: false) or `||` (`decisive`: true). An operand with the decisive value
/// determines the result, even if the other operand is an error.
fn either<'a>(
    left: &'a Node,
    right: &'a Node,
    variables: &mut Variables<'a>,
    decisive: bool,
) -> Evaluated<'a> {
    let left = left.evaluate(variables).and_then(boolean);
    if left == Ok(decisive) {
        return Ok(Value::Bool(decisive));
    }
    let right = right.evaluate(variables).and_then(boolean)?;
    match right == decisive {
        true => Ok(Value::Bool(decisive)),
        false => left.map(Value::Bool),
    }
}

impl Macro {
    fn run<'a>(
        self,
        range: Vec<Value<'a>>,
        body: &'a Node,
        variables: &mut Variables<'a>,
    ) -> Evaluated<'a> {
        if self == Self::Map {
            return map(range, body, variables);
        }
        let mut first_error = None;
        let mut found = Vec::new();
        for item in range {
            variables.values.push(item);
            let holds = body.evaluate(variables).and_then(boolean);
            let item = variables.values.pop();
            match (self, holds) {
                (Self::All, Ok(false)) => return Ok(Value::Bool(false)),
                (Self::Exists, Ok(true)) => return Ok(Value::Bool(true)),
                (_, Ok(true)) => found.extend(item),
                (_, Ok(false)) => {}
                // The error is kept, because a later item may still determine the result.
                (Self::All | Self::Exists, Err(error)) => {
                    first_error.get_or_insert(error);
                }
                (Self::ExistsOne | Self::Filter | Self::Map, Err(error)) => return Err(error),
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        Ok(match self {
            Self::All => Value::Bool(true),
            Self::Exists => Value::Bool(false),
            Self::ExistsOne => Value::Bool(found.len() == 1),
            Self::Filter | Self::Map => Value::List(found.into()),
        })
    }
}

/// The values of `body` for the items of `range`.
fn map<'a>(range: Vec<Value<'a>>, body: &'a Node, variables: &mut Variables<'a>) -> Evaluated<'a> {
    let values = range.into_iter().map(|item| {
        variables.values.push(item);
        let value = body.evaluate(variables);
        variables.values.pop();
        value
    });
    Ok(Value::List(values.collect::<Result<Vec<_>, _>>()?.into()))
}

impl Operator {
    fn apply<'a>(self, left: &Value<'a>, right: &Value<'a>) -> Evaluated<'a> {
        let ordered = |holds: fn(Ordering) -> bool| {
            let order = left.compare(right);
            let order = order.ok_or_else(|| EvaluationError::new("values that have no order"))?;
            Ok(Value::Bool(holds(order)))
        };
        match self {
            Self::Equal => Ok(Value::Bool(left.equals(right))),
            Self::NotEqual => Ok(Value::Bool(!left.equals(right))),
            Self::Less => ordered(Ordering::is_lt),
            Self::LessOrEqual => ordered(Ordering::is_le),
            Self::Greater => ordered(Ordering::is_gt),
            Self::GreaterOrEqual => ordered(Ordering::is_ge),
            Self::In => {
                let contains = right.contains(left);
                let contains = contains.map(Value::Bool);
                contains.ok_or_else(|| EvaluationError::new("expected a list or map"))
            }
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide | Self::Remainder => {
                self.compute(left, right)
            }
        }
    }

    fn compute<'a>(self, left: &Value<'a>, right: &Value<'a>) -> Evaluated<'a> {
        match (self, left, right) {
            (_, Value::Int(a), Value::Int(b)) => {
                let result = match self {
                    Self::Add => a.checked_add(*b),
                    Self::Subtract => a.checked_sub(*b),
                    Self::Multiply => a.checked_mul(*b),
                    Self::Divide => a.checked_div(*b),
                    _ => a.checked_rem(*b),
                };
                result.map(Value::Int).ok_or_else(overflow)
            }
            (_, Value::Double(a), Value::Double(b)) => Ok(Value::Double(match self {
                Self::Add => a + b,
                Self::Subtract => a - b,
                Self::Multiply => a * b,
                Self::Divide => a / b,
                _ => return Err(EvaluationError::new("remainder of doubles")),
            })),
            (Self::Add, Value::Text(a), Value::Text(b)) => {
                Ok(Value::Text(Cow::Owned(format!("{a}{b}"))))
            }
            _ => Err(EvaluationError::new("operands of these types")),
        }
    }
}

fn overflow() -> EvaluationError {
    EvaluationError::new("integer overflow or division by zero")
}

/// The value of a field, if it is present.
fn entry<'a>(object: &Value<'a>, field: &str) -> Result<Option<Value<'a>>, EvaluationError> {
    match object {
        Value::Object(object) => Ok(object.get(field).map(Value::from)),
        Value::Attributes(set) => Ok(set.attribute(field)),
        Value::Map(entries) => {
            let wanted = Value::Text(Cow::Borrowed(field));
            let mut entries = entries.iter();
            Ok(entries
                .find(|(key, _)| key.equals(&wanted))
                .map(|(_, value)| value.clone()))
        }
        _ => Err(EvaluationError::new(format!(
            "field {field} of a value that is not an object"
        ))),
    }
}

/// The item of a list, or the value of a map's key.
fn item<'a>(object: &Value<'a>, index: &Value<'a>) -> Evaluated<'a> {
    let found = match (object, index) {
        (Value::Items(items), Value::Int(at)) => usize::try_from(*at)
            .ok()
            .and_then(|at| items.get(at))
            .map(Value::from),
        (Value::List(items), Value::Int(at)) => usize::try_from(*at)
            .ok()
            .and_then(|at| items.get(at))
            .cloned(),
        (_, Value::Text(key)) => entry(object, key)?,
        _ => None,
    };
    found.ok_or_else(|| EvaluationError::new("no such key or index"))
}
