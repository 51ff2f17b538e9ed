//! A string with operators is rejected, or has the same value each time it is evaluated. The value of a
//! string without percent signs is the string itself.

use towergate_core::format::{Format, FormatContext};

/// Input: the format string.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(format) = text.parse::<Format>() else {
        assert!(text.contains('%'));
        return;
    };
    let context = FormatContext::default();
    let value = format.text(&context);
    assert_eq!(value, format.text(&context));
    if !text.contains('%') {
        assert_eq!(value.unwrap_or_default(), bytes);
    }
}
