//! Parses nginx configuration into directives, with their lines.
//!
//! The grammar is that of `nginx.conf`: a directive is a name and words, followed by `;` or by a block in
//! braces. Words may be quoted. A comment begins with `#` at the start of a word.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while1};
use nom::character::complete::{char, multispace1, none_of, not_line_ending};
use nom::combinator::{all_consuming, cut, opt, recognize, value};
use nom::multi::{fold_many0, many0_count, many1_count};
use nom::sequence::{delimited, pair, preceded};
use nom::{IResult, Parser};

/// A directive.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Directive {
    /// Name, such as `add_header`.
    pub(crate) name: String,
    /// Words after the name, without quotes.
    pub(crate) args: Vec<String>,
    /// Directives of its block. `None`: the directive has no block.
    pub(crate) block: Option<Vec<Directive>>,
    /// Line in the text, from 1.
    pub(crate) line: usize,
    /// The directive as it is written, on one line.
    pub(crate) text: String,
}

/// Depth of blocks.
const MAX_DEPTH: usize = 16;

/// Parses nginx configuration.
///
/// # Errors
/// The line of the syntax error, from 1.
pub(crate) fn parse(text: &str) -> Result<Vec<Directive>, usize> {
    let depth = text.bytes().try_fold(0_usize, |depth, byte| match byte {
        b'{' if depth >= MAX_DEPTH => None,
        b'{' => Some(depth + 1),
        b'}' => Some(depth.saturating_sub(1)),
        _ => Some(depth),
    });
    if depth.is_none() {
        return Err(1);
    }
    let document = |rest| directives(text, rest);
    let parsed = all_consuming((document, blank)).parse(text);
    match parsed {
        Ok((_, (directives, ()))) => Ok(directives),
        Err(nom::Err::Error(error) | nom::Err::Failure(error)) => Err(line_of(text, error.input)),
        Err(nom::Err::Incomplete(_)) => Err(line_of(text, "")),
    }
}

/// The line at which `rest`, the end of `text`, begins.
fn line_of(text: &str, rest: &str) -> usize {
    let read = &text[..text.len() - rest.len()];
    read.bytes().filter(|byte| *byte == b'\n').count() + 1
}

/// Skips white space and comments.
fn blank(input: &str) -> IResult<&str, ()> {
    let comment = recognize(pair(char('#'), not_line_ending));
    value((), many0_count(alt((multispace1, comment)))).parse(input)
}

fn directives<'a>(whole: &str, input: &'a str) -> IResult<&'a str, Vec<Directive>> {
    list(|rest| directive(whole, rest)).parse(input)
}

fn directive<'a>(whole: &str, input: &'a str) -> IResult<&'a str, Directive> {
    let (start, ()) = blank(input)?;
    let (rest, name) = word(start)?;
    let (rest, args) = cut(list(preceded(blank, word))).parse(rest)?;
    let (rest, ()) = blank(rest)?;
    let body = |rest| directives(whole, rest);
    let (rest, block) = cut(alt((
        value(None, char(';')),
        delimited(char('{'), body, (blank, char('}'))).map(Some),
    )))
    .parse(rest)?;
    let text = &start[..start.len() - rest.len()];
    let directive = Directive {
        name,
        args,
        block,
        line: line_of(whole, start),
        text: text.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    Ok((rest, directive))
}

/// Parses any number of items.
fn list<'a, T>(
    item: impl Parser<&'a str, Output = T, Error = nom::error::Error<&'a str>>,
) -> impl Parser<&'a str, Output = Vec<T>, Error = nom::error::Error<&'a str>> {
    fold_many0(item, Vec::new, |mut items, item| {
        items.push(item);
        items
    })
}

fn word(input: &str) -> IResult<&str, String> {
    alt((|rest| quoted('"', rest), |rest| quoted('\'', rest), bare)).parse(input)
}

fn quoted(quote: char, input: &str) -> IResult<&str, String> {
    let stop = if quote == '"' { "\"\\" } else { "'\\" };
    let character = alt((
        preceded(char('\\'), none_of("")).map(move |c| match c {
            c if c == quote || c == '\\' => c.to_string(),
            c => format!("\\{c}"),
        }),
        none_of(stop).map(String::from),
    ));
    let text = fold_many0(character, String::new, |text, part| text + &part);
    delimited(char(quote), text, cut(char(quote))).parse(input)
}

/// Parses a word without quotes. `${name}` may contain braces.
fn bare(input: &str) -> IResult<&str, String> {
    let variable = recognize((tag("${"), take_while1(|c| c != '}'), char('}')));
    let escaped = recognize(pair(char('\\'), none_of("")));
    let plain = take_while1(|c: char| !c.is_whitespace() && !";{}\\$".contains(c));
    let repetition = recognize((
        char('{'),
        take_while1(|c: char| c.is_ascii_digit() || c == ','),
        char('}'),
    ));
    let dollar = recognize(char('$'));
    let part = alt((variable, escaped, plain, repetition, dollar));
    let (rest, text) = recognize(many1_count(part)).parse(input)?;
    let (rest, _) = opt(tag("\u{feff}")).parse(rest)?;
    Ok((rest, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn directives_have_words_and_blocks() {
        let parsed = parse(
            "# a comment\nadd_header X-A \"b c\" always;\nlocation ~ ^/v[0-9]{2}/ {\n  return 301 $scheme://${host}/x;\n}\n",
        )
        .expect("valid");

        assert_eq!(parsed[0].name, "add_header");
        assert_eq!(parsed[0].args, ["X-A", "b c", "always"]);
        assert_eq!(parsed[0].line, 2);
        assert_eq!(parsed[1].args, ["~", "^/v[0-9]{2}/"]);
        let block = parsed[1].block.as_ref().expect("a block");
        assert_eq!(block[0].args, ["301", "$scheme://${host}/x"]);
        assert_eq!(block[0].line, 4);
    }

    #[test]
    fn a_malformed_text_has_the_line_of_its_error() {
        assert_eq!(parse("a b;\nreturn 301"), Err(2));
        assert_eq!(parse("a \"b;\n"), Err(2));
        assert_eq!(parse("a;\n}\n"), Err(2));
        assert_eq!(parse(&"a {".repeat(100_000)), Err(1));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z;{}\"'\\\\$# \n]{0,80}") {
            let _ = parse(&text);
        }
    }
}
