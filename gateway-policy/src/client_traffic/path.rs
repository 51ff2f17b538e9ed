//! `path`: normalisation of request paths.

use towergate_core::plan;

use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::field_path::FieldPath;

string_enum! {
    /// Treatment of escaped slashes and backslashes (`%2F`, `%5C`).
    pub enum SlashesAction {
        KeepUnchanged = "KeepUnchanged",
        RejectRequest = "RejectRequest",
        UnescapeAndForward = "UnescapeAndForward",
        UnescapeAndRedirect = "UnescapeAndRedirect",
    }
}

api_struct! {
    /// Normalization of request paths.
    pub struct PathSettings {
        /// Treatment of escaped slashes and backslashes. Default: `UnescapeAndRedirect`.
        escaped_slashes_action: SlashesAction = "escapedSlashesAction",
        /// Whether adjacent slashes are kept and not merged into one. Default: `false`.
        disable_merge_slashes: bool = "disableMergeSlashes",
    }
}

impl PathSettings {
    /// Converts this section of the spec. `at` is the path of the section, for errors.
    pub(super) fn settings(&self, at: FieldPath<'_>) -> Result<plan::PathSettings, FieldError> {
        let Self {
            escaped_slashes_action,
            disable_merge_slashes,
        } = self;
        let escaped_slashes = match escaped_slashes_action {
            None | Some(SlashesAction::UnescapeAndRedirect) => {
                plan::EscapedSlashes::UnescapeAndRedirect
            }
            Some(SlashesAction::KeepUnchanged) => plan::EscapedSlashes::KeepUnchanged,
            Some(SlashesAction::RejectRequest) => plan::EscapedSlashes::RejectRequest,
            Some(SlashesAction::UnescapeAndForward) => plan::EscapedSlashes::UnescapeAndForward,
            Some(SlashesAction::Other(value)) => {
                let field = at.field("escapedSlashesAction");
                return Err(FieldError::unknown_value(field, value));
            }
        };
        Ok(plan::PathSettings {
            merge_slashes: *disable_merge_slashes != Some(true),
            escaped_slashes,
        })
    }
}
