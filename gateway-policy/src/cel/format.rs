//! The format library of Kubernetes. `format.dns1123Subdomain().validate(text).hasValue()` is true if `text`
//! violates the format. Other uses of its values are not supported.

use super::expression::{ExpressionError, Node};
use super::functions::Function;
use super::lexer::Token;
use super::parser::Parser;

/// Longest DNS-1123 subdomain, in characters.
const LONGEST_SUBDOMAIN: usize = 253;

impl Parser {
    /// Parses the calls that follow `format`.
    pub(super) fn format(&mut self) -> Result<Node, ExpressionError> {
        self.expect(".")?;
        let test = match self.advance() {
            Token::Name(name) if name == "dns1123Subdomain" => Function::IsDns1123Subdomain,
            Token::Name(name) => {
                return Err(self.error(format!("the format `{name}` is not supported")));
            }
            _ => return Err(self.error("expected a name")),
        };
        self.expect("(")?;
        self.expect(")")?;
        self.method_name("validate")?;
        let text = self.conditional()?;
        self.expect(")")?;
        self.method_name("hasValue")?;
        self.expect(")")?;
        // The value of `validate` is the list of violations.
        Ok(Node::Not(Box::new(Node::Call(test, vec![text]))))
    }

    /// Parses `.name(`.
    fn method_name(&mut self, name: &str) -> Result<(), ExpressionError> {
        self.expect(".")?;
        match self.advance() {
            Token::Name(found) if found == name => self.expect("("),
            _ => Err(self.error(format!("expected `{name}`"))),
        }
    }
}

/// Whether `text` is a DNS-1123 subdomain as Kubernetes defines it: labels of lower-case letters,
/// digits and inner hyphens.
pub(super) fn is_dns1123_subdomain(text: &str) -> bool {
    let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &[u8]| {
        label.first().is_some_and(is_alphanumeric)
            && label.last().is_some_and(is_alphanumeric)
            && label.iter().all(|b| is_alphanumeric(b) || *b == b'-')
    };
    text.len() <= LONGEST_SUBDOMAIN && text.as_bytes().split(|byte| *byte == b'.').all(is_label)
}
