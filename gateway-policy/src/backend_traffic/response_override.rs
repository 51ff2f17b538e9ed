//! `responseOverride`: replacement of responses.

use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{ConfigMapRef, DNS_NAME, Header, StringMatch};

string_enum! {
    /// Type of a condition on a status.
    pub enum StatusCodeType {
        Value = "Value",
        Range = "Range",
    }

    /// The source of a body.
    pub enum BodyType {
        Inline = "Inline",
        ValueRef = "ValueRef",
    }

    /// The origin of a response: the gateway itself (local reply) or a backend.
    pub enum OverrideSource {
        All = "All",
        Local = "Local",
        Backend = "Backend",
    }

    /// The part of a path that is replaced.
    pub enum OverridePathType {
        ReplaceFullPath = "ReplaceFullPath",
        ReplacePrefixMatch = "ReplacePrefixMatch",
    }

    /// A scheme.
    pub enum RedirectScheme {
        Http = "http",
        Https = "https",
    }
}

api_struct! {
    /// Replacement of a response. Either `response` or `redirect` must be set.
    pub struct ResponseOverride, rules {
        /// Condition on the response.
        matches: OverrideMatch = "match" [Required],
        /// Origin of the response. Default: `All`.
        source: OverrideSource = "source",
        /// Changes of the response.
        response: CustomResponse = "response",
        /// Redirect that replaces the response.
        redirect: OverrideRedirect = "redirect",
    }

    /// A condition on a response.
    pub struct OverrideMatch, rules {
        /// Statuses. One of them must match.
        status_codes: Vec<StatusCodeMatch> = "statusCodes" [Items(1, 50)],
        /// Conditions on headers. All of them must match.
        response_headers: Vec<ResponseHeaderMatch> = "responseHeaders" [Items(1, 16)],
    }

    /// A condition on a status.
    pub struct StatusCodeMatch, rules {
        /// Type of the condition. Default: `Value`.
        kind: StatusCodeType = "type" [DefaultText("Value")],
        /// Status, for type `Value`.
        value: i64 = "value",
        /// Range of statuses, for type `Range`.
        range: StatusCodeRange = "range",
    }

    /// An inclusive range of statuses.
    pub struct StatusCodeRange, rules {
        /// First status.
        start: i64 = "start" [Required],
        /// Last status.
        end: i64 = "end" [Required],
    }

    /// A condition on a header of a response.
    pub struct ResponseHeaderMatch {
        /// Name of the header.
        name: String = "name" [Required, Length(1, 256), Token],
        /// Condition on its value.
        value: StringMatch = "value" [Required],
    }

    /// Changes of a response.
    pub struct CustomResponse {
        /// New `Content-Type`.
        content_type: String = "contentType",
        /// New body.
        body: CustomResponseBody = "body",
        /// New status. Default: unchanged.
        status_code: i64 = "statusCode",
        /// Edits of headers.
        header: CustomResponseHeaders = "header",
    }

    /// The body of a replaced response.
    pub struct CustomResponseBody, rules {
        /// Source of the body. Default: `Inline`.
        kind: BodyType = "type" [DefaultText("Inline")],
        /// Body as text.
        inline: String = "inline",
        /// ConfigMap with the body under `response.body`, or else under its first key.
        value_ref: ConfigMapRef = "valueRef",
    }

    /// Edits of a replaced response's headers.
    pub struct CustomResponseHeaders, rules {
        /// Fields that replace all fields of the same name.
        set: Vec<Header> = "set" [Items(0, 16)],
        /// Fields to add.
        add: Vec<Header> = "add" [Items(0, 16)],
        /// Always invalid.
        remove: Vec<String> = "remove" [Items(0, 16)],
    }

    /// A redirect that replaces a response.
    pub struct OverrideRedirect {
        /// Scheme. Default: that of the request.
        scheme: RedirectScheme = "scheme",
        /// Host name. Default: that of the request.
        hostname: String = "hostname" [Length(1, 253), Pattern(DNS_NAME)],
        /// Path. Default: that of the request.
        path: OverridePath = "path",
        /// Port. Default: that of the scheme.
        port: i64 = "port" [Range(1, 65535)],
        /// Status. Default: 302.
        status_code: i64 = "statusCode" [OneOf(&[301, 302]), DefaultNumber(302)],
    }

    /// The path of a redirect.
    pub struct OverridePath, rules {
        /// Part of the path that is replaced. Only `ReplaceFullPath` is valid.
        kind: OverridePathType = "type" [Required],
        /// New path.
        replace_full_path: String = "replaceFullPath" [Length(0, 1024)],
        /// New prefix. Always invalid.
        replace_prefix_match: String = "replacePrefixMatch" [Length(0, 1024)],
    }
}

impl ResponseOverride {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.response.is_some() != self.redirect.is_some(),
            "exactly one of response or redirect must be specified",
        );
    }
}

impl OverrideMatch {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.status_codes.is_some() || self.response_headers.is_some(),
            "at least one of statusCodes or responseHeaders must be specified",
        );
    }
}

impl StatusCodeMatch {
    fn rules(&self, report: &mut Report) {
        let range = self.kind == Some(StatusCodeType::Range);
        report.rule(
            range || self.value.is_some(),
            "value must be set for type Value",
        );
        report.rule(
            !range || self.range.is_some(),
            "range must be set for type Range",
        );
    }
}

impl StatusCodeRange {
    fn rules(&self, report: &mut Report) {
        report.rule(self.end > self.start, "end must be greater than start");
    }
}

impl CustomResponseBody {
    fn rules(&self, report: &mut Report) {
        let by_reference = self.kind == Some(BodyType::ValueRef);
        report.rule(
            by_reference || self.inline.is_some(),
            "inline must be set for type Inline",
        );
        report.rule(
            !by_reference || self.value_ref.is_some(),
            "valueRef must be set for type ValueRef",
        );
        let kind = self.value_ref.as_ref().and_then(|v| v.kind.as_deref());
        report.rule(
            kind.is_none_or(|kind| kind == "ConfigMap"),
            "only ConfigMap is supported for ValueRef",
        );
    }
}

impl CustomResponseHeaders {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.remove.is_none(),
            "Remove is not supported for header in CustomResponse",
        );
    }
}

impl OverridePath {
    fn rules(&self, report: &mut Report) {
        let full = self.kind == Some(OverridePathType::ReplaceFullPath);
        let prefix = self.kind == Some(OverridePathType::ReplacePrefixMatch);
        for (holds, message) in [
            (!prefix, "only ReplaceFullPath is supported for path.type"),
            (
                !full || self.replace_full_path.is_some(),
                "replaceFullPath must be specified when type is set to 'ReplaceFullPath'",
            ),
            (
                full || self.replace_full_path.is_none(),
                "type must be 'ReplaceFullPath' when replaceFullPath is set",
            ),
            (
                !prefix || self.replace_prefix_match.is_some(),
                "replacePrefixMatch must be specified when type is set to 'ReplacePrefixMatch'",
            ),
            (
                prefix || self.replace_prefix_match.is_none(),
                "type must be 'ReplacePrefixMatch' when replacePrefixMatch is set",
            ),
        ] {
            report.rule(holds, message);
        }
    }
}
