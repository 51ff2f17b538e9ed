//! Splits a file into its YAML documents, each with its first line.
//!
//! A `---` line (YAML 1.2.2, section 9.1.2) cannot be part of a value. Splitting therefore needs no parser,
//! and a malformed document does not hide the next one. JSON has no `---` lines. There, as in kubectl, a
//! document begins where an object begins on a new line after the end of another object.

/// A document of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Document<'a> {
    /// Number of the first line in the file, from 1.
    pub(crate) line: usize,
    /// Text of the document.
    pub(crate) text: &'a str,
}

/// Returns the documents of `text`, except those that contain only comments and directives.
pub(crate) fn split(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let mut begin = Cut { line: 1, offset: 0 };
    let (mut offset, mut number) = (0, 0);
    for line in text.split_inclusive('\n') {
        number += 1;
        let next = offset + line.len();
        if let Some(rest) = marker(line, "---") {
            documents.push(begin.until(text, offset));
            begin = if rest.is_empty() {
                Cut::new(number + 1, next)
            } else {
                Cut::new(number, offset)
            };
        } else if marker(line, "...").is_some() {
            documents.push(begin.until(text, offset));
            begin = Cut::new(number + 1, next);
        } else if line.starts_with('{') && is_object(&text[begin.offset..offset]) {
            documents.push(begin.until(text, offset));
            begin = Cut::new(number, offset);
        }
        offset = next;
    }
    documents.push(begin.until(text, text.len()));
    documents.retain(|document| has_content(document.text));
    documents
}

/// The start of a document.
#[derive(Clone, Copy)]
struct Cut {
    line: usize,
    offset: usize,
}

impl Cut {
    fn new(line: usize, offset: usize) -> Self {
        Self { line, offset }
    }

    fn until(self, text: &str, end: usize) -> Document<'_> {
        Document {
            line: self.line,
            text: &text[self.offset..end],
        }
    }
}

/// Text after a marker, without surrounding spaces and comments. `None` if the line is not a marker.
fn marker<'a>(line: &'a str, marker: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(marker)?;
    if !rest.is_empty() && !rest.starts_with([' ', '\t', '\r', '\n']) {
        return None;
    }
    let rest = rest.trim();
    Some(if rest.starts_with('#') { "" } else { rest })
}

/// Whether the text may be a whole JSON object. The caller asks when the next line begins with `{`. Within an
/// object, a line that ends in `}` cannot precede that line, because a comma would have to separate the two.
fn is_object(text: &str) -> bool {
    let text = text.trim();
    text.starts_with('{') && text.ends_with('}')
}

fn has_content(text: &str) -> bool {
    text.lines().any(|line| {
        let content = line.trim_start();
        !content.is_empty() && !content.starts_with('#') && !line.starts_with('%')
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &str) -> Vec<(usize, &str)> {
        split(text).iter().map(|d| (d.line, d.text)).collect()
    }

    #[test]
    fn documents_have_the_number_of_their_first_line() {
        assert_eq!(cut("a: 1\n"), [(1, "a: 1\n")]);
        assert_eq!(cut("---\na: 1\n---\nb: 2"), [(2, "a: 1\n"), (4, "b: 2")]);
        assert_eq!(cut("a: 1\r\n---\r\nb: 2"), [(1, "a: 1\r\n"), (3, "b: 2")]);
        assert_eq!(cut("--- # first\na: 1"), [(2, "a: 1")]);
    }

    #[test]
    fn content_on_the_marker_line_belongs_to_the_document() {
        assert_eq!(
            cut("x: 1\n--- {a: 1}\n"),
            [(1, "x: 1\n"), (2, "--- {a: 1}\n")]
        );
    }

    #[test]
    fn empty_documents_comments_and_directives_are_left_out() {
        assert_eq!(cut("# only\n---\n---\n\n---\n# a\n"), []);
        assert_eq!(cut("%YAML 1.2\n---\na: 1\n...\n# bye\n"), [(3, "a: 1\n")]);
    }

    #[test]
    fn json_objects_that_follow_each_other_are_documents() {
        assert_eq!(
            cut("{\"a\":1}\n{\"b\":2}\n"),
            [(1, "{\"a\":1}\n"), (2, "{\"b\":2}\n")]
        );
        let pretty = "{\n  \"a\": {\n  }\n}\n\n{\n  \"b\": 1\n}";
        assert_eq!(
            cut(pretty),
            [(1, "{\n  \"a\": {\n  }\n}\n\n"), (6, "{\n  \"b\": 1\n}")]
        );
        for one in [
            "{\"items\": [\n{},\n{}\n]}",
            "[\n{}\n,\n{}]",
            "a: {}\n{b: 1}\n",
        ] {
            assert_eq!(cut(one), [(1, one)]);
        }
    }

    #[test]
    fn a_pem_line_is_not_a_marker() {
        let pem = "a: |\n  x\n-----BEGIN CERTIFICATE-----\n";

        assert_eq!(cut(pem), [(1, pem)]);
    }

    proptest! {
        /// The text of a document begins at its line in the file.
        #[test]
        fn documents_begin_at_their_line(text in "([a-z%#.{}: -]{0,5}\n|---\n|--- a\n|\\.\\.\\.\n){0,12}") {
            for document in split(&text) {
                let tail: String = text.split_inclusive('\n').skip(document.line - 1).collect();

                prop_assert!(tail.starts_with(document.text));
            }
        }
    }
}
