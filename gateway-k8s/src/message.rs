//! Messages for users. A message is one line, even if it quotes several lines.

/// `text` on one line: each line break, with the spaces around it, becomes one space.
pub(crate) fn one_line(text: &str) -> String {
    if !text.contains(['\n', '\r']) {
        return text.to_owned();
    }
    let text = without_drawings(text);
    let lines = text.lines().map(str::trim);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

/// Removes the drawing from errors of the regular-expression parser: the expression with a mark below it.
/// Only the cause remains, because messages quote the expression or name its field.
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
            ("*a", "repetition operator missing expression"),
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
}
