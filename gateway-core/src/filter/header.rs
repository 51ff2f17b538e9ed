//! Edits of header fields.

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::plan::{Text, TextMatch};

/// Edits in the order in which they are applied.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct HeaderEdits(pub Vec<HeaderEdit>);

/// One edit.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum HeaderEdit {
    /// Replaces all values of the name.
    Set(Text<HeaderName>, Text<HeaderValue>),
    /// Adds a value.
    Add(Text<HeaderName>, Text<HeaderValue>),
    /// Adds a value if the name is missing.
    AddIfAbsent(Text<HeaderName>, Text<HeaderValue>),
    /// Removes all values of the name.
    Remove(Text<HeaderName>),
    /// Removes every field whose name matches.
    RemoveMatching(TextMatch),
}
