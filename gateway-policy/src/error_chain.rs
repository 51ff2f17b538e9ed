//! The text of an error with its causes, for logs and for faults of policies.

use std::error::Error;
use std::fmt::Write as _;

/// `error` and its causes, separated by colons. A cause whose text its parent already contains is omitted.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            let _ = write!(text, ": {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("connecting")]
    struct Connecting(#[source] io::Error);

    #[test]
    fn the_text_names_each_cause_once() {
        let refused = || io::Error::other(Connecting(io::Error::other("refused")));

        assert_eq!(with_causes(&refused()), "connecting: refused");
        assert_eq!(with_causes(&Connecting(refused())), "connecting: refused");
    }
}
