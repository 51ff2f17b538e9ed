//! What is suspicious although it resolves, and how to mend what does not.

mod attach;

pub(super) use attach::unattached;
