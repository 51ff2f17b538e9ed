//! Messages for people: one line each, whatever they quote.

/// `text` on one line: line breaks, and the blanks around them, become one blank.
pub(crate) fn one_line(text: &str) -> String {
    if !text.contains(['\n', '\r']) {
        return text.to_owned();
    }
    let text = without_drawings(text);
    let lines = text.lines().map(str::trim);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

/// The parser of regular expressions draws the expression with a mark below it, and says what is wrong in
/// the last line. That line is enough: messages quote the expression or name its field.
fn without_drawings(text: &str) -> String {
    const BEGIN: &str = "regex parse error:\n";
    const END: &str = "\nerror: ";
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, drawing)) = rest.split_once(BEGIN) {
        let Some((_, after)) = drawing.split_once(END) else {
            break;
        };
        out.push_str(before);
        rest = after;
    }
    out + rest
}

/// A clause as a sentence. A field's name in front, such as `statusCode` or `matches[0].path`, stays as
/// it is written.
pub(crate) fn sentence(clause: &str) -> String {
    let clause = clause.trim_end_matches('.');
    let first = clause.split(' ').next().unwrap_or_default();
    if !first.bytes().all(|letter| letter.is_ascii_lowercase()) {
        return format!("{clause}.");
    }
    let (letter, rest) = clause.split_at(clause.len().min(1));
    format!("{}{rest}.", letter.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_become_blanks() {
        assert_eq!(one_line("a b"), "a b");
        assert_eq!(one_line("a:\n    b\r\n\n c\n"), "a: b c");
        assert_eq!(one_line(""), "");
    }

    #[test]
    fn the_fault_of_an_expression_is_said_without_the_drawing() {
        for (expression, fault) in [
            ("(", "unclosed group"),
            ("a{", "unclosed counted repetition"),
            (
                "[z-a]",
                "invalid character class range, the start must be <= the end",
            ),
        ] {
            let error = towergate_core::plan::TextMatch::regex(expression).unwrap_err();

            let message = format!("x is none: {error}; y is none: {error}.");
            assert_eq!(
                one_line(&message),
                format!("x is none: {fault}; y is none: {fault}.")
            );
        }
    }

    #[test]
    fn a_sentence_begins_with_a_capital_unless_it_begins_with_a_field() {
        for (clause, written) in [
            ("there is no Service a/b", "There is no Service a/b."),
            ("statusCode 999 is none", "statusCode 999 is none."),
            (
                "matches[0].path.value is none.",
                "matches[0].path.value is none.",
            ),
            ("", "."),
        ] {
            assert_eq!(sentence(clause), written);
        }
    }
}
