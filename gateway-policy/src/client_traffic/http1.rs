//! `http1`: settings of HTTP/1 connections with clients.

use towergate_core::plan;

use super::header_edits::text_match;
use super::listener_context::ListenerContext;
use crate::FieldError;
use crate::api_struct::api_struct;
use crate::common::StringMatch;
use crate::field_path::FieldPath;

api_struct! {
    /// Settings of HTTP/1.
    pub struct Http1 {
        /// Whether trailers are forwarded. Default: `false`.
        enable_trailers: bool = "enableTrailers",
        /// Whether the case of header names is preserved. Default: `false`, names are in lower case.
        preserve_header_case: bool = "preserveHeaderCase",
        /// HTTP/1.0. If present, requests of that version are accepted.
        http10: Http10 = "http10",
        /// Conditions on values of `Upgrade` that are ignored.
        ignored_upgrade_types: Vec<StringMatch> = "ignoredUpgradeTypes",
        /// Whether a connection is closed as soon as it reaches its maximum duration, not with its next
        /// response. Default: `false`.
        disable_safe_max_connection_duration: bool = "disableSafeMaxConnectionDuration",
    }

    /// Settings of HTTP/1.0.
    pub struct Http10 {
        /// Whether requests without `Host` get the host name of the listener or of its routes. Default:
        /// `false`.
        use_default_host: bool = "useDefaultHost",
    }
}

impl Http1 {
    /// Converts this section of the spec. `at` is the path of the section, for errors.
    pub(super) fn settings(
        &self,
        at: FieldPath<'_>,
        context: ListenerContext<'_>,
    ) -> Result<plan::Http1Settings, FieldError> {
        let Self {
            enable_trailers,
            preserve_header_case,
            http10,
            ignored_upgrade_types,
            disable_safe_max_connection_duration,
        } = self;
        let http10 = match http10 {
            None => None,
            Some(http10) => Some(http10.settings(at.field("http10"), context)?),
        };
        let ignored = at.field("ignoredUpgradeTypes");
        let ignored_upgrades = ignored_upgrade_types
            .iter()
            .flatten()
            .enumerate()
            .map(|(index, matching)| text_match(ignored.item(index), matching))
            .collect::<Result<_, _>>()?;
        Ok(plan::Http1Settings {
            trailers: enable_trailers.unwrap_or(false),
            preserve_header_case: preserve_header_case.unwrap_or(false),
            http10,
            ignored_upgrades,
            close_at_max_duration: disable_safe_max_connection_duration.unwrap_or(false),
        })
    }
}

impl Http10 {
    fn settings(
        &self,
        at: FieldPath<'_>,
        context: ListenerContext<'_>,
    ) -> Result<plan::Http10, FieldError> {
        let Self { use_default_host } = self;
        if *use_default_host != Some(true) {
            return Ok(plan::Http10::default());
        }
        let host = context.hostname.ok_or_else(|| {
            FieldError::invalid(
                at.field("useDefaultHost"),
                "needs exactly one host name without a wildcard, of the listener or else of its routes",
            )
        })?;
        Ok(plan::Http10 {
            default_host: Some(host.to_owned()),
        })
    }
}
