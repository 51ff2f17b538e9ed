//! `responseOverride` of a BackendTrafficPolicy as it is written.

use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{ConfigMapRef, DNS_NAME, Header, StringMatch};

string_enum! {
    /// How a status is compared.
    pub enum StatusCodeType {
        Value = "Value",
        Range = "Range",
    }

    /// Where a body is.
    pub enum BodyType {
        Inline = "Inline",
        ValueRef = "ValueRef",
    }

    /// Whose responses.
    pub enum OverrideSource {
        All = "All",
        Local = "Local",
        Backend = "Backend",
    }

    /// What of a path is replaced.
    pub enum OverridePathType {
        ReplaceFullPath = "ReplaceFullPath",
        ReplacePrefixMatch = "ReplacePrefixMatch",
    }

    /// A scheme.
    pub enum Scheme {
        Http = "http",
        Https = "https",
    }
}

api_struct! {
    /// A response that replaces others.
    pub struct ResponseOverride, rules {
        /// Which responses are replaced.
        matches: OverrideMatch = "match" [Required],
        /// Whose responses are replaced.
        source: OverrideSource = "source",
        /// By what.
        response: CustomResponse = "response",
        /// Or by a redirect.
        redirect: OverrideRedirect = "redirect",
    }

    /// Which responses are replaced.
    pub struct OverrideMatch, rules {
        /// By status.
        status_codes: Vec<StatusCodeMatch> = "statusCodes" [Items(1, 50)],
        /// By header.
        response_headers: Vec<ResponseHeaderMatch> = "responseHeaders" [Items(1, 16)],
    }

    /// A status, or a range of them.
    pub struct StatusCodeMatch, rules {
        /// Which of both.
        kind: StatusCodeType = "type",
        /// The status.
        value: i64 = "value",
        /// The range.
        range: StatusCodeRange = "range",
    }

    /// Statuses.
    pub struct StatusCodeRange, rules {
        /// The first.
        start: i64 = "start" [Required],
        /// The last.
        end: i64 = "end" [Required],
    }

    /// A header of a response.
    pub struct ResponseHeaderMatch {
        /// Its name.
        name: String = "name" [Required, Length(1, 256), Token],
        /// Its value.
        value: StringMatch = "value" [Required],
    }

    /// What a response becomes.
    pub struct CustomResponse {
        /// The type of its body.
        content_type: String = "contentType",
        /// Its body.
        body: CustomResponseBody = "body",
        /// Its status.
        status_code: i64 = "statusCode",
        /// Its headers.
        header: CustomResponseHeaders = "header",
    }

    /// A body.
    pub struct CustomResponseBody, rules {
        /// Where it is.
        kind: BodyType = "type",
        /// The text.
        inline: String = "inline",
        /// The ConfigMap.
        value_ref: ConfigMapRef = "valueRef",
    }

    /// Headers of a response.
    pub struct CustomResponseHeaders, rules {
        /// Fields that replace all others of their name.
        set: Vec<Header> = "set" [Items(0, 16)],
        /// Fields that are added.
        add: Vec<Header> = "add" [Items(0, 16)],
        /// Always invalid.
        remove: Vec<String> = "remove" [Items(0, 16)],
    }

    /// A redirect.
    pub struct OverrideRedirect {
        /// The scheme.
        scheme: Scheme = "scheme",
        /// The host.
        hostname: String = "hostname" [Length(1, 253), Pattern(DNS_NAME)],
        /// The path.
        path: OverridePath = "path",
        /// The port.
        port: i64 = "port" [Range(1, 65535)],
        /// The status.
        status_code: i64 = "statusCode" [OneOf(&[301, 302])],
    }

    /// A path.
    pub struct OverridePath, rules {
        /// What is replaced.
        kind: OverridePathType = "type" [Required],
        /// By what, for the whole path.
        replace_full_path: String = "replaceFullPath" [Length(0, 1024)],
        /// By what, for a prefix.
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
