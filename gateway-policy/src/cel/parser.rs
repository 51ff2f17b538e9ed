//! From tokens to a syntax tree, by recursive descent over the grammar of CEL.

use super::environment::Environment;
use super::expression::{ExpressionError, Macro, Node, Operator};
use super::functions::Function;
use super::lexer::{Token, tokens};

/// Maximum nesting depth of an expression, so that parsing and evaluation stay within the stack.
const MAX_DEPTH: usize = 100;

/// Parses `text`, an expression over the variables of `environment`.
pub(super) fn parse(text: &str, environment: &Environment) -> Result<Node, ExpressionError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
        environment: *environment,
        variables: environment.names().map(str::to_owned).collect(),
    };
    let node = parser.conditional()?;
    match parser.peek() {
        Token::End => Ok(node),
        _ => Err(parser.error("unexpected token")),
    }
}

pub(super) struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
    environment: Environment,
    variables: Vec<String>,
}

type Parsed = Result<Node, ExpressionError>;

impl Parser {
    fn peek(&self) -> &Token {
        // The last token is `End`. The parser never advances past it.
        &self.tokens[self.next].1
    }

    pub(super) fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        if token != Token::End {
            self.next += 1;
        }
        token
    }

    pub(super) fn error(&self, message: impl Into<String>) -> ExpressionError {
        ExpressionError {
            offset: self.tokens[self.next].0,
            message: message.into(),
        }
    }

    /// Consumes `symbol` and returns `true` if it is the next token. Otherwise returns `false`.
    fn take(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(next) if *next == symbol);
        if found {
            self.next += 1;
        }
        found
    }

    pub(super) fn expect(&mut self, symbol: &str) -> Result<(), ExpressionError> {
        match self.take(symbol) {
            true => Ok(()),
            false => Err(self.error(format!("expected `{symbol}`"))),
        }
    }

    pub(super) fn conditional(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        let mut node = self.or()?;
        if self.take("?") {
            let then = self.or()?;
            self.expect(":")?;
            let otherwise = self.conditional()?;
            node = Node::Conditional(Box::new([node, then, otherwise]));
        }
        self.depth -= 1;
        Ok(node)
    }

    fn or(&mut self) -> Parsed {
        let mut node = self.and()?;
        while self.take("||") {
            node = Node::Or(Box::new(node), Box::new(self.and()?));
        }
        Ok(node)
    }

    fn and(&mut self) -> Parsed {
        let mut node = self.relation()?;
        while self.take("&&") {
            node = Node::And(Box::new(node), Box::new(self.relation()?));
        }
        Ok(node)
    }

    fn relation(&mut self) -> Parsed {
        let mut node = self.sum()?;
        while let Some(operator) = self.relation_operator() {
            self.next += 1;
            node = Node::Binary(operator, Box::new(node), Box::new(self.sum()?));
        }
        Ok(node)
    }

    fn relation_operator(&self) -> Option<Operator> {
        match self.peek() {
            Token::Name(name) if name == "in" => Some(Operator::In),
            Token::Symbol(symbol) => match *symbol {
                "==" => Some(Operator::Equal),
                "!=" => Some(Operator::NotEqual),
                "<" => Some(Operator::Less),
                "<=" => Some(Operator::LessOrEqual),
                ">" => Some(Operator::Greater),
                ">=" => Some(Operator::GreaterOrEqual),
                _ => None,
            },
            _ => None,
        }
    }

    fn sum(&mut self) -> Parsed {
        let mut node = self.product()?;
        loop {
            let operator = match () {
                () if self.take("+") => Operator::Add,
                () if self.take("-") => Operator::Subtract,
                () => return Ok(node),
            };
            node = Node::Binary(operator, Box::new(node), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Parsed {
        let mut node = self.unary()?;
        loop {
            let operator = match () {
                () if self.take("*") => Operator::Multiply,
                () if self.take("/") => Operator::Divide,
                () if self.take("%") => Operator::Remainder,
                () => return Ok(node),
            };
            node = Node::Binary(operator, Box::new(node), Box::new(self.unary()?));
        }
    }

    fn unary(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        let node = match () {
            () if self.take("!") => Node::Not(Box::new(self.unary()?)),
            () if self.take("-") => Node::Negate(Box::new(self.unary()?)),
            () => self.member()?,
        };
        self.depth -= 1;
        Ok(node)
    }

    fn member(&mut self) -> Parsed {
        let mut node = self.primary()?;
        loop {
            if self.take("[") {
                node = Node::Index(Box::new(node), Box::new(self.conditional()?));
                self.expect("]")?;
            } else if self.take(".") {
                let Token::Name(name) = self.advance() else {
                    return Err(self.error("expected a name"));
                };
                node = match self.take("(") {
                    true => self.method(node, &name)?,
                    false => {
                        self.check_attribute(&node, &name)?;
                        Node::Field(Box::new(node), property(&name))
                    }
                };
            } else {
                return Ok(node);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        match self.advance() {
            Token::Int(value) => Ok(Node::Int(value)),
            Token::Double(value) => Ok(Node::Double(value)),
            Token::Text(text) => Ok(Node::Text(text)),
            Token::Symbol("(") => {
                let node = self.conditional()?;
                self.expect(")")?;
                Ok(node)
            }
            Token::Symbol("[") => Ok(Node::List(self.list("]")?)),
            Token::Symbol("{") => self.map(),
            Token::Name(name) => match name.as_str() {
                "null" => Ok(Node::Null),
                "true" => Ok(Node::Bool(true)),
                "false" => Ok(Node::Bool(false)),
                "format" if !self.variables.contains(&name) => self.format(),
                _ if self.take("(") => self.call(&name),
                _ => self.variable(&name),
            },
            Token::Symbol(_) | Token::End => Err(self.error("expected a value")),
        }
    }

    /// The innermost variable of this name.
    fn variable(&self, name: &str) -> Parsed {
        let place = self.variables.iter().rposition(|known| known == name);
        let unknown = || self.error(format!("the variable `{name}` is not supported"));
        let place = place.ok_or_else(unknown)?;
        if self.environment.attributes(place).is_some() && *self.peek() != Token::Symbol(".") {
            return Err(self.error(format!(
                "the variable `{name}` must be followed by an attribute"
            )));
        }
        Ok(Node::Variable(place))
    }

    /// Rejects the field `name` of a variable if the environment does not declare this field.
    fn check_attribute(&self, object: &Node, name: &str) -> Result<(), ExpressionError> {
        let Node::Variable(place) = object else {
            return Ok(());
        };
        match self.environment.attributes(*place) {
            Some(known) if known.iter().all(|(own, _)| *own != name) => {
                let variable = &self.variables[*place];
                Err(self.error(format!(
                    "the attribute `{variable}.{name}` is not supported"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Expressions up to `end`, separated by commas. A trailing comma is allowed.
    fn list(&mut self, end: &str) -> Result<Vec<Node>, ExpressionError> {
        let mut items = Vec::new();
        while !self.take(end) {
            items.push(self.conditional()?);
            if !self.take(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(items)
    }

    fn map(&mut self) -> Parsed {
        let mut entries = Vec::new();
        while !self.take("}") {
            let key = self.conditional()?;
            self.expect(":")?;
            entries.push((key, self.conditional()?));
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(Node::Map(entries))
    }

    /// Parses the call of a function: `name(…)`.
    fn call(&mut self, name: &str) -> Parsed {
        let arguments = self.list(")")?;
        if name != "has" {
            return self.function(name, arguments);
        }
        let argument = <[Node; 1]>::try_from(arguments);
        match argument {
            Ok([Node::Field(object, field)]) => Ok(Node::Has(object, field)),
            _ => Err(self.error("`has` takes a field")),
        }
    }

    /// Parses the call of a method: `object.name(…)`.
    fn method(&mut self, object: Node, name: &str) -> Parsed {
        let found = match name {
            "all" => Some(Macro::All),
            "exists" => Some(Macro::Exists),
            "exists_one" => Some(Macro::ExistsOne),
            "filter" => Some(Macro::Filter),
            "map" => Some(Macro::Map),
            _ => None,
        };
        if let Some(found) = found {
            return self.macro_body(found, object);
        }
        let mut arguments = self.list(")")?;
        if name == "matches" {
            let pattern = <[Node; 1]>::try_from(arguments);
            return match pattern {
                Ok([Node::Text(pattern)]) => Ok(Node::Matches(Box::new(object), pattern.into())),
                _ => Err(self.error("`matches` takes a literal pattern")),
            };
        }
        arguments.insert(0, object);
        self.function(name, arguments)
    }

    fn macro_body(&mut self, found: Macro, range: Node) -> Parsed {
        let Token::Name(variable) = self.advance() else {
            return Err(self.error("expected a variable"));
        };
        self.expect(",")?;
        self.variables.push(variable);
        let body = self.conditional()?;
        self.variables.pop();
        self.expect(")")?;
        Ok(Node::Macro(found, Box::new(range), Box::new(body)))
    }

    fn function(&self, name: &str, arguments: Vec<Node>) -> Parsed {
        match Function::find(name, arguments.len()) {
            Some(function) => Ok(Node::Call(function, arguments)),
            None => Err(self.error(format!(
                "the function `{name}` with {} arguments is not supported",
                arguments.len()
            ))),
        }
    }
}

/// The name of the property that a field name in an expression denotes. Field names escape reserved words and
/// special characters.
fn property(name: &str) -> String {
    let word = name.strip_prefix("__").and_then(|n| n.strip_suffix("__"));
    match word {
        Some(word) if word.bytes().all(|b| b.is_ascii_lowercase()) => word.to_owned(),
        _ => name
            .replace("__dot__", ".")
            .replace("__dash__", "-")
            .replace("__slash__", "/")
            .replace("__underscores__", "__"),
    }
}
