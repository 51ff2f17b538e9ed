//! Tokens of an expression.

use super::expression::ExpressionError;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int(i64),
    Double(f64),
    Text(String),
    /// An operator or a bracket.
    Symbol(&'static str),
    End,
}

/// Operators and brackets. A symbol precedes its prefixes, so that the longest symbol matches.
const SYMBOLS: [&str; 26] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}", "=", "&",
];

/// The tokens of `text`, each with its offset, and [`Token::End`] at the end.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, ExpressionError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let offset = text.len() - rest.len();
        let error = |message: &str| ExpressionError {
            offset,
            message: message.to_owned(),
        };
        let (token, length) = literal(rest)
            .or_else(|| name(rest).map(Ok))
            .or_else(|| number(rest))
            .or_else(|| symbol(rest).map(Ok))
            .unwrap_or(Err("unexpected character"))
            .map_err(error)?;
        tokens.push((offset, token));
        rest = rest[length..].trim_start();
    }
    tokens.push((text.len(), Token::End));
    Ok(tokens)
}

/// A token with its length, or the reason why the input is not a token.
type Lexed = Result<(Token, usize), &'static str>;

fn name(text: &str) -> Option<(Token, usize)> {
    let length = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let name = &text[..length];
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    is_name.then(|| (Token::Name(name.to_owned()), length))
}

fn number(text: &str) -> Option<Lexed> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = |from: usize| {
        let rest = &text[from..];
        from + rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len())
    };
    let whole = digits(0);
    let fraction = text[whole..].starts_with('.') && digits(whole + 1) > whole + 1;
    let length = if fraction { digits(whole + 1) } else { whole };
    let number = &text[..length];
    let token = match fraction {
        true => number.parse().map(Token::Double).ok(),
        false => number.parse().map(Token::Int).ok(),
    };
    Some(
        token
            .map(|token| (token, length))
            .ok_or("number out of range"),
    )
}

fn symbol(text: &str) -> Option<(Token, usize)> {
    let found = SYMBOLS.iter().find(|symbol| text.starts_with(**symbol))?;
    Some((Token::Symbol(found), found.len()))
}

/// A string literal: `'…'`, `"…"`, or with three quotes at each end. Each form can be raw (`r'…'`).
fn literal(text: &str) -> Option<Lexed> {
    let raw = text.starts_with(['r', 'R']);
    let quoted = if raw { &text[1..] } else { text };
    let quote = ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find(|quote| quoted.starts_with(quote))?;
    let body = &quoted[quote.len()..];
    let before = text.len() - body.len();
    Some(match raw {
        true => body
            .find(quote)
            .map(|end| {
                (
                    Token::Text(body[..end].to_owned()),
                    before + end + quote.len(),
                )
            })
            .ok_or("string without end"),
        false => escaped(body, quote)
            .map(|(value, end)| (Token::Text(value), before + end + quote.len())),
    })
}

/// The value of a string with escapes, and the offset of its closing quote.
fn escaped(body: &str, quote: &str) -> Result<(String, usize), &'static str> {
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        if body[at..].starts_with(quote) {
            return Ok((value, at));
        }
        if character != '\\' {
            value.push(character);
            continue;
        }
        value.push(match characters.next().map(|(_, escape)| escape) {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(same @ ('\\' | '\'' | '"' | '?' | '`')) => same,
            Some(_) => return Err("escape that is not supported"),
            None => break,
        });
    }
    Err("string without end")
}
