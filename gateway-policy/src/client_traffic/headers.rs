//! `headers`: treatment of header fields.

use towergate_core::plan;

use super::header_edits::header_edits;
use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{HeaderChange, Quantity};
use crate::field_path::FieldPath;
use crate::parse::bytes;

string_enum! {
    /// Treatment of `x-request-id`.
    pub enum RequestId {
        PreserveOrGenerate = "PreserveOrGenerate",
        Preserve = "Preserve",
        Generate = "Generate",
        Disable = "Disable",
    }

    /// Treatment of header names with an underscore.
    pub enum UnderscoresAction {
        Allow = "Allow",
        RejectRequest = "RejectRequest",
        DropHeader = "DropHeader",
    }

    /// Treatment of `x-forwarded-client-cert`.
    pub enum XfccMode {
        Sanitize = "Sanitize",
        ForwardOnly = "ForwardOnly",
        AppendForward = "AppendForward",
        SanitizeSet = "SanitizeSet",
        AlwaysForwardOnly = "AlwaysForwardOnly",
    }

    /// An optional element of `x-forwarded-client-cert`.
    pub enum XfccDetail {
        Subject = "Subject",
        Cert = "Cert",
        Chain = "Chain",
        Dns = "DNS",
        Uri = "URI",
    }
}

api_struct! {
    /// Treatment of header fields.
    pub struct EnvoyHeaders, rules {
        /// Whether `x-envoy-*` fields are added. Default: `false`.
        enable_envoy_headers: bool = "enableEnvoyHeaders",
        /// Whether `x-ratelimit-*` fields are omitted from responses. Default: `false`.
        disable_rate_limit_headers: bool = "disableRateLimitHeaders",
        /// Treatment of `x-forwarded-client-cert`.
        x_forwarded_client_cert: XForwardedClientCert = "xForwardedClientCert",
        /// Treatment of header names with an underscore. Default: `RejectRequest`.
        with_underscores_action: UnderscoresAction = "withUnderscoresAction",
        /// Whether `x-request-id` is preserved, as with `requestID: PreserveOrGenerate`.
        preserve_x_request_id: bool = "preserveXRequestID" Deprecated("requestID"),
        /// Treatment of `x-request-id`. Default: `Generate`.
        request_id: RequestId = "requestID",
        /// Edits of request headers, applied before routing.
        early_request_headers: HeaderChange = "earlyRequestHeaders",
        /// Edits of response headers, applied last.
        late_response_headers: HeaderChange = "lateResponseHeaders",
        /// Maximum size of a request's head, 1 KiB to 8192 KiB. Default: 60 KiB.
        max_request_header_limit: Quantity = "maxRequestHeaderLimit",
        /// Normalization of `Host`.
        host: HostSettings = "host",
    }

    /// Treatment of `x-forwarded-client-cert`.
    pub struct XForwardedClientCert, rules {
        /// Whether the field is removed, forwarded, extended or replaced. Default: `Sanitize`.
        mode: XfccMode = "mode",
        /// Elements that the field contains in addition to `Hash` and `By`.
        cert_details_to_add: Vec<XfccDetail> = "certDetailsToAdd" [Items(0, 5)],
    }

    /// Normalization of `Host`.
    pub struct HostSettings {
        /// Whether a trailing dot is removed from the host name. Default: `false`.
        strip_trailing_host_dot: bool = "stripTrailingHostDot",
    }
}

/// Allowed range of `maxRequestHeaderLimit`, in bytes.
const MAX_HEAD: (u64, u64) = (1024, 8192 * 1024);

impl EnvoyHeaders {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.preserve_x_request_id.is_none() || self.request_id.is_none(),
            "preserveXRequestID and requestID cannot both be set.",
        );
    }

    /// Converts this section of the spec. `at` is the path of the section, for errors.
    pub(super) fn settings(&self, at: FieldPath<'_>) -> Result<plan::HeaderSettings, FieldError> {
        let Self {
            enable_envoy_headers,
            disable_rate_limit_headers,
            x_forwarded_client_cert,
            with_underscores_action,
            preserve_x_request_id,
            request_id,
            early_request_headers,
            late_response_headers,
            max_request_header_limit,
            host,
        } = self;
        let request_id = match request_id {
            None if *preserve_x_request_id == Some(true) => plan::RequestIdMode::PreserveOrGenerate,
            None => plan::RequestIdMode::Generate,
            Some(mode) => mode.mode(at.field("requestID"))?,
        };
        let underscores = match with_underscores_action {
            None => plan::Underscores::Reject,
            Some(action) => action.action(at.field("withUnderscoresAction"))?,
        };
        let certificate = x_forwarded_client_cert.clone().unwrap_or_default();
        let (xfcc, xfcc_details) = certificate.settings(at.field("xForwardedClientCert"))?;
        let early = early_request_headers.clone().unwrap_or_default();
        let late = late_response_headers.clone().unwrap_or_default();
        let limit = bytes(
            at.field("maxRequestHeaderLimit"),
            max_request_header_limit.as_ref(),
            MAX_HEAD.0,
            MAX_HEAD.1,
        )?;
        let default_limit = plan::HeaderSettings::default().max_request_head;
        Ok(plan::HeaderSettings {
            envoy_headers: enable_envoy_headers.unwrap_or(false),
            request_id,
            underscores,
            xfcc,
            xfcc_details,
            early: header_edits(at.field("earlyRequestHeaders"), &early)?,
            late: header_edits(at.field("lateResponseHeaders"), &late)?,
            strip_trailing_host_dot: host.as_ref().is_some_and(HostSettings::strips_dot),
            // Envoy's limit is a whole number of KiB, so the value is rounded up.
            max_request_head: limit.map_or(default_limit, |limit| {
                usize::try_from(limit.next_multiple_of(1024)).unwrap_or(usize::MAX)
            }),
            rate_limit_headers: *disable_rate_limit_headers != Some(true),
        })
    }
}

impl RequestId {
    fn mode(&self, at: FieldPath<'_>) -> Result<plan::RequestIdMode, FieldError> {
        Ok(match self {
            Self::Generate => plan::RequestIdMode::Generate,
            Self::PreserveOrGenerate => plan::RequestIdMode::PreserveOrGenerate,
            Self::Preserve => plan::RequestIdMode::Preserve,
            Self::Disable => plan::RequestIdMode::Disable,
            Self::Other(value) => return Err(FieldError::unknown_value(at, value)),
        })
    }
}

impl UnderscoresAction {
    fn action(&self, at: FieldPath<'_>) -> Result<plan::Underscores, FieldError> {
        Ok(match self {
            Self::RejectRequest => plan::Underscores::Reject,
            Self::Allow => plan::Underscores::Allow,
            Self::DropHeader => plan::Underscores::Drop,
            Self::Other(value) => return Err(FieldError::unknown_value(at, value)),
        })
    }
}

impl XForwardedClientCert {
    fn rules(&self, report: &mut Report) {
        let details = self.cert_details_to_add.as_deref().unwrap_or_default();
        report.rule(
            details.is_empty()
                || matches!(
                    self.mode,
                    Some(XfccMode::AppendForward | XfccMode::SanitizeSet)
                ),
            "certDetailsToAdd can only be set when mode is AppendForward or SanitizeSet",
        );
    }

    fn settings(
        &self,
        at: FieldPath<'_>,
    ) -> Result<(plan::XfccMode, plan::XfccDetails), FieldError> {
        let Self {
            mode,
            cert_details_to_add,
        } = self;
        let mode = match mode {
            None | Some(XfccMode::Sanitize) => plan::XfccMode::Sanitize,
            Some(XfccMode::ForwardOnly) => plan::XfccMode::ForwardOnly,
            Some(XfccMode::AppendForward) => plan::XfccMode::AppendForward,
            Some(XfccMode::SanitizeSet) => plan::XfccMode::SanitizeSet,
            Some(XfccMode::AlwaysForwardOnly) => plan::XfccMode::AlwaysForwardOnly,
            Some(XfccMode::Other(value)) => {
                return Err(FieldError::unknown_value(at.field("mode"), value));
            }
        };
        let at = at.field("certDetailsToAdd");
        let mut details = plan::XfccDetails::default();
        for (index, detail) in cert_details_to_add.iter().flatten().enumerate() {
            match detail {
                XfccDetail::Subject => details.subject = true,
                XfccDetail::Cert => details.cert = true,
                XfccDetail::Chain => details.chain = true,
                XfccDetail::Dns => details.dns = true,
                XfccDetail::Uri => details.uri = true,
                XfccDetail::Other(value) => {
                    return Err(FieldError::unknown_value(at.item(index), value));
                }
            }
        }
        Ok((mode, details))
    }
}

impl HostSettings {
    fn strips_dot(&self) -> bool {
        let Self {
            strip_trailing_host_dot,
        } = self;
        *strip_trailing_host_dot == Some(true)
    }
}
