//! Matches and edits of parts of a request.

use regex::Regex;

use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;

string_enum! {
    /// How a text is compared.
    pub enum StringMatchKind {
        Exact = "Exact",
        Prefix = "Prefix",
        Suffix = "Suffix",
        RegularExpression = "RegularExpression",
    }

    /// How a path is compared.
    pub enum PathMatchKind {
        Exact = "Exact",
        PathPrefix = "PathPrefix",
        RegularExpression = "RegularExpression",
    }

    /// A method of HTTP.
    pub enum Method {
        Get = "GET",
        Head = "HEAD",
        Post = "POST",
        Put = "PUT",
        Delete = "DELETE",
        Connect = "CONNECT",
        Options = "OPTIONS",
        Trace = "TRACE",
        Patch = "PATCH",
    }
}

api_struct! {
    /// A text and how it is compared.
    pub struct StringMatch, rules {
        /// How; `Exact` by default.
        kind: StringMatchKind = "type",
        /// What the text is compared with.
        value: String = "value" [Required, Length(1, 1024)],
    }

    /// A header field.
    pub struct Header {
        /// Its name.
        name: String = "name" [Required, Length(1, 256), Token],
        /// Its value.
        value: String = "value" [Required, Length(1, 4096)],
    }

    /// The name of a header field.
    pub struct HeaderNameRef {
        /// The name.
        name: String = "name" [Required],
    }

    /// Edits of header fields.
    pub struct HeaderChange {
        /// Fields that replace all others of their name.
        set: Vec<Header> = "set" [Items(1, 64)],
        /// Fields that are added.
        add: Vec<Header> = "add" [Items(1, 64)],
        /// Fields that are added if their name is missing.
        add_if_absent: Vec<Header> = "addIfAbsent" [Items(1, 64)],
        /// Names whose fields go.
        remove: Vec<String> = "remove" [Items(1, 64)],
        /// Fields go whose name matches one of these.
        remove_on_match: Vec<StringMatch> = "removeOnMatch" [Items(1, 64)],
    }

    /// A path and how it is compared.
    pub struct PathMatch {
        /// How; `PathPrefix` by default.
        kind: PathMatchKind = "type",
        /// What the path is compared with; `/` by default.
        value: String = "value" [Length(0, 1024)],
        /// Everything else matches.
        invert: bool = "invert",
    }

    /// A method.
    pub struct MethodMatch {
        /// The method.
        value: Method = "value" [Required],
        /// Every other method matches.
        invert: bool = "invert",
    }

    /// A share.
    pub struct Fraction, rules {
        /// Out of `denominator`.
        numerator: i64 = "numerator" [Required, Range(0, 2147483647)],
        /// 100 by default.
        denominator: i64 = "denominator" [Range(1, 2147483647)],
    }
}

impl StringMatch {
    fn rules(&self, report: &mut Report) {
        if self.kind != Some(StringMatchKind::RegularExpression) {
            return;
        }
        let parsed = self.value.as_deref().map(Regex::new);
        if let Some(Err(error)) = parsed {
            report.fault(format!("the regular expression is invalid: {error}"));
        }
    }
}

impl Fraction {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.numerator.unwrap_or(0) <= self.denominator.unwrap_or(100),
            "numerator must be less than or equal to denominator",
        );
    }
}
