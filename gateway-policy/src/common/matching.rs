//! Conditions on requests, and edits of header fields.

use towergate_core::plan::TextMatch;

use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;

string_enum! {
    /// How a string is compared.
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

    /// An HTTP method.
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
    /// A condition on a string.
    pub struct StringMatch, rules {
        /// Type of the comparison. Default: `Exact`.
        kind: StringMatchKind = "type" [DefaultText("Exact")],
        /// Text or regular expression to compare with.
        value: String = "value" [Required, Length(1, 1024)],
    }

    /// A header field.
    pub struct Header {
        /// Name of the field.
        name: String = "name" [Required, Length(1, 256), Token],
        /// Value of the field.
        value: String = "value" [Required, Length(1, 4096)],
    }

    /// The name of a header field.
    pub struct HeaderNameRef {
        /// Name of the field.
        name: String = "name" [Required],
    }

    /// Edits of header fields. Removals are applied last.
    pub struct HeaderChange {
        /// Fields that replace all fields of the same name.
        set: Vec<Header> = "set" [Items(1, 64)],
        /// Fields to add.
        add: Vec<Header> = "add" [Items(1, 64)],
        /// Fields to add if no field of the same name is present.
        add_if_absent: Vec<Header> = "addIfAbsent" [Items(1, 64)],
        /// Names of the fields to remove.
        remove: Vec<String> = "remove" [Items(1, 64)],
        /// Conditions on names: fields whose name matches one are removed.
        remove_on_match: Vec<StringMatch> = "removeOnMatch" [Items(1, 64)],
    }

    /// A condition on the path of a request.
    pub struct PathMatch {
        /// Type of the comparison. Default: `PathPrefix`.
        kind: PathMatchKind = "type" [DefaultText("PathPrefix")],
        /// Path, prefix or regular expression to compare with. Default: `/`.
        value: String = "value" [Length(0, 1024), DefaultText("/")],
        /// Inverts the condition. Default: `false`.
        invert: bool = "invert" [DefaultFlag(false)],
    }

    /// A condition on the method of a request.
    pub struct MethodMatch {
        /// Method to compare with.
        value: Method = "value" [Required],
        /// Inverts the condition. Default: `false`.
        invert: bool = "invert" [DefaultFlag(false)],
    }

    /// A fraction: `numerator` divided by `denominator`.
    pub struct Fraction, rules {
        /// Numerator, at most the denominator.
        numerator: i64 = "numerator" [Required, Range(0, 2147483647)],
        /// Denominator. Default: 100.
        denominator: i64 = "denominator" [Range(1, 2147483647), DefaultNumber(100)],
    }
}

impl StringMatch {
    fn rules(&self, report: &mut Report) {
        if self.kind != Some(StringMatchKind::RegularExpression) {
            return;
        }
        let parsed = self.value.as_deref().map(TextMatch::regex);
        if let Some(Err(error)) = parsed {
            report.violation(format!("the regular expression is invalid: {error}"));
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
