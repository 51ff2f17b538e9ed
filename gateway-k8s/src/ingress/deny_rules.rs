//! Requests that snippets of nginx reject: conditions, as CEL and as a function of a request.
//!
//! ```text
//! if ($http_user_agent ~* bot) { return 403; } ──> DenyRule ─┬─> rule of `authorization` with `action: Deny`
//!                                                            └─> response of the model
//! ```
//!
//! A condition that has no exact equivalent holds for more requests than in nginx, never for fewer.

use super::model::{ModelRequest, host_name};

/// Largest number of bytes of an expression (`authorization.rules[].cel`).
const MAX_CEL: usize = 4096;

/// Requests that nginx rejects before a backend receives them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DenyRule {
    /// Conditions. A request is rejected if all of them hold. Empty: every request is rejected.
    pub conditions: Vec<RequestCondition>,
    /// Status that nginx returns. `None`: nginx does not reject the requests, but treats them in a way that
    /// has no equivalent.
    pub status: Option<u16>,
    /// Whether longer paths of Ingresses take precedence over the rule, as in nginx over a prefix `location`.
    pub below_paths: bool,
}

/// A condition on a part of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestCondition {
    /// The part of the request that is compared.
    pub part: RequestPart,
    /// The comparison with the value of the part.
    pub test: PartTest,
    /// Whether the comparison must fail.
    pub negated: bool,
}

/// A part of a request: a variable of nginx.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RequestPart {
    /// `$request_method`.
    Method,
    /// `$host`, without port and in lower case.
    Host,
    /// `$scheme`.
    Scheme,
    /// `$uri`, `$document_uri`.
    Path,
    /// `$request_uri`.
    Target,
    /// `$args`, `$query_string`.
    Query,
    /// `$remote_addr`.
    Address,
    /// `$http_NAME`, with `-` instead of `_`.
    Header(String),
    /// `$cookie_NAME`.
    Cookie(String),
    /// `$arg_NAME`.
    Argument(String),
    /// `$ssl_client_verify`.
    CertificateVerified,
    /// `$ssl_client_s_dn`.
    CertificateSubject,
}

/// A comparison with the value of a part. An absent part has an empty value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PartTest {
    /// Equality.
    Equals(String),
    /// A prefix.
    StartsWith(String),
    /// A regular expression that matches somewhere.
    Matches(String),
    /// A value that is neither empty nor `0`.
    Present,
}

impl DenyRule {
    /// A rule for requests whose path passes `test`.
    pub(crate) fn of_path(test: PartTest, status: Option<u16>) -> Self {
        Self {
            conditions: vec![RequestCondition {
                part: RequestPart::Path,
                test,
                negated: false,
            }],
            status,
            below_paths: false,
        }
    }

    /// The rule as an expression of CEL. `None`: a condition has no equivalent.
    pub(crate) fn cel(&self) -> Option<String> {
        let conditions: Option<Vec<String>> =
            self.conditions.iter().map(RequestCondition::cel).collect();
        let conditions = conditions?;
        let text = match &conditions[..] {
            [] => "true".to_owned(),
            all => all.join(" && "),
        };
        (text.len() <= MAX_CEL).then_some(text)
    }

    /// Whether nginx rejects a request whose normalised path is `uri`.
    pub(crate) fn holds(&self, request: &ModelRequest, uri: &str) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.all(|condition| condition.holds(request, uri))
    }
}

impl RequestCondition {
    /// Parses the words of an `if`, without the parentheses.
    pub(crate) fn parse(words: &[&str]) -> Option<Self> {
        let (variable, test, negated) = match words {
            [variable] => (variable, PartTest::Present, false),
            [variable, operator, value] if !value.contains('$') || operator.contains('~') => {
                let test = match operator.trim_start_matches('!') {
                    "=" => PartTest::Equals((*value).to_owned()),
                    "~" => PartTest::Matches((*value).to_owned()),
                    "~*" => PartTest::Matches(format!("(?i){value}")),
                    _ => return None,
                };
                (variable, test, operator.starts_with('!'))
            }
            _ => return None,
        };
        let condition = Self {
            part: RequestPart::of_variable(variable)?,
            test,
            negated,
        };
        let cel = condition.cel();
        cel.is_some_and(|text| text.len() <= MAX_CEL)
            .then_some(condition)
    }

    fn cel(&self) -> Option<String> {
        if let PartTest::Matches(pattern) = &self.test {
            // Look-around and back-references have no equivalent.
            regex::bytes::RegexBuilder::new(pattern)
                .unicode(false)
                .build()
                .ok()?;
        }
        let text = match &self.part {
            RequestPart::Cookie(name) => return self.cel_of_pair("; *", name),
            RequestPart::Argument(name) => return self.cel_of_pair("&", name),
            RequestPart::CertificateVerified => {
                return match (&self.test, self.negated) {
                    (PartTest::Equals(value), negated) if value == "SUCCESS" => {
                        Some(format!("{}connection.mtls", if negated { "!" } else { "" }))
                    }
                    (PartTest::Equals(value), negated) if value == "NONE" => {
                        Some(format!("{}connection.mtls", if negated { "" } else { "!" }))
                    }
                    _ => None,
                };
            }
            RequestPart::CertificateSubject => {
                let test = self.cel_of("connection.subject_peer_certificate")?;
                let absent = self.test.holds("");
                return Some(self.signed(&match absent {
                    true => format!("!connection.mtls || {test}"),
                    false => format!("connection.mtls && {test}"),
                }));
            }
            RequestPart::Header(name) => {
                let test = self.cel_of(&format!("request.headers['{name}']"))?;
                return Some(self.signed(&match self.test.holds("") {
                    true => format!("!('{name}' in request.headers) || {test}"),
                    false => format!("'{name}' in request.headers && {test}"),
                }));
            }
            RequestPart::Address => return self.cel_of_address(),
            RequestPart::Method => "request.method",
            RequestPart::Host => "request.host.lowerAscii().split(':')[0]",
            RequestPart::Scheme => "request.scheme",
            RequestPart::Path => "request.url_path",
            RequestPart::Target => "request.path",
            RequestPart::Query => "request.query",
        };
        Some(self.signed(&self.cel_of(text)?))
    }

    /// The CEL expression that compares the value of `expression`.
    fn cel_of(&self, expression: &str) -> Option<String> {
        Some(match &self.test {
            PartTest::Equals(value) => format!("{expression} == {}", self.literal(value)?),
            PartTest::StartsWith(value) => {
                format!("{expression}.startsWith({})", self.literal(value)?)
            }
            PartTest::Matches(pattern) => format!("{expression}.matches({})", literal(pattern)?),
            PartTest::Present => format!("!({expression} in ['', '0'])"),
        })
    }

    /// The CEL expression that compares a cookie, or a parameter of the query.
    fn cel_of_pair(&self, separator: &str, name: &str) -> Option<String> {
        let name = regex::escape(name);
        let value = match &self.test {
            PartTest::Equals(value) if value.is_empty() => {
                return self.cel_of_absent_pair(separator, &name);
            }
            PartTest::Equals(value) => regex::escape(value),
            PartTest::Present => "(?:0[^;& ]|[^;& 0])[^;&]*".to_owned(),
            // An anchor would refer to the whole list of cookies or parameters, and not to the value, so
            // patterns with anchors have no equivalent.
            PartTest::Matches(pattern) if !self.negated && !pattern.contains(['^', '$', '\\']) => {
                format!("[^;&]*(?:{pattern})[^;&]*")
            }
            PartTest::Matches(_) | PartTest::StartsWith(_) => return None,
        };
        Some(self.signed(&pair(separator, &format!("(?i:{name})={value}"))?))
    }

    /// The CEL expression that compares a cookie, or a parameter of the query, with an empty value.
    fn cel_of_absent_pair(&self, separator: &str, name: &str) -> Option<String> {
        let present = pair(separator, &format!("(?i:{name})=[^;& ]"))?;
        let present = present.replace("(?:[;& ]|$)')", "')");
        Some(match self.negated {
            true => present,
            false => format!("!({present})"),
        })
    }

    /// The CEL expression that compares the address of the client. In CEL, the address includes a port.
    fn cel_of_address(&self) -> Option<String> {
        let pattern = match &self.test {
            PartTest::Equals(value) => format!(r"^\[?{}\]?:[0-9]+$", regex::escape(value)),
            PartTest::Matches(pattern) if !pattern.contains(['$', ':']) => pattern.clone(),
            _ => return None,
        };
        let test = format!("source.address.matches({})", literal(&pattern)?);
        Some(self.signed(&test))
    }

    /// `value` as a CEL literal for the comparison with the part. Hosts are compared without a port.
    fn literal(&self, value: &str) -> Option<String> {
        match self.part {
            RequestPart::Host if value.contains(':') => None,
            _ => literal(value),
        }
    }

    fn signed(&self, test: &str) -> String {
        match self.negated {
            true => format!("!({test})"),
            false => format!("({test})"),
        }
    }

    fn holds(&self, request: &ModelRequest, uri: &str) -> bool {
        let (path, query) = match request.target.split_once('?') {
            Some((path, query)) => (path, query),
            None => (request.target.as_str(), ""),
        };
        let value = match &self.part {
            RequestPart::Method => request.method.clone(),
            RequestPart::Host => host_name(request.header("host").unwrap_or_default()),
            RequestPart::Scheme => if request.https { "https" } else { "http" }.to_owned(),
            RequestPart::Path => uri.to_owned(),
            RequestPart::Target if query.is_empty() => path.to_owned(),
            RequestPart::Target => request.target.clone(),
            RequestPart::Query => query.to_owned(),
            RequestPart::Address => request.client.to_string(),
            RequestPart::Header(name) => request.header(name).unwrap_or_default().to_owned(),
            RequestPart::Cookie(name) => {
                named(request.header("cookie").unwrap_or_default(), ';', name)
            }
            RequestPart::Argument(name) => named(query, '&', name),
            RequestPart::CertificateVerified => match &request.certificate {
                None => "NONE".to_owned(),
                Some(one) if one.valid => "SUCCESS".to_owned(),
                Some(_) => "FAILED".to_owned(),
            },
            RequestPart::CertificateSubject => {
                let certificate = request.certificate.as_ref();
                certificate.map_or_else(String::new, |one| one.subject.clone())
            }
        };
        self.test.holds(&value) != self.negated
    }
}

impl RequestPart {
    /// The part of a request that a variable of nginx names. `None`: the variable has no equivalent.
    fn of_variable(variable: &str) -> Option<Self> {
        let name = variable.strip_prefix('$')?;
        let name = name
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap_or(name);
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        Some(match name {
            "request_method" => Self::Method,
            "host" | "http_host" | "best_http_host" => Self::Host,
            "scheme" | "pass_access_scheme" => Self::Scheme,
            "uri" | "document_uri" => Self::Path,
            "request_uri" => Self::Target,
            "args" | "query_string" => Self::Query,
            "remote_addr" => Self::Address,
            "ssl_client_verify" => Self::CertificateVerified,
            "ssl_client_s_dn" => Self::CertificateSubject,
            _ => {
                let (kind, rest) = name.split_once('_')?;
                let rest = rest.to_owned();
                match kind {
                    _ if !is_name(&rest) => return None,
                    "http" => Self::Header(rest.to_ascii_lowercase().replace('_', "-")),
                    "cookie" => Self::Cookie(rest),
                    "arg" => Self::Argument(rest),
                    _ => return None,
                }
            }
        })
    }
}

impl PartTest {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Equals(wanted) => wanted == value,
            Self::StartsWith(prefix) => value.starts_with(prefix.as_str()),
            Self::Matches(pattern) => {
                regex::Regex::new(pattern).is_ok_and(|one| one.is_match(value))
            }
            Self::Present => !matches!(value, "" | "0"),
        }
    }
}

/// A literal of CEL. `None`: the text contains a control character.
pub(crate) fn literal(text: &str) -> Option<String> {
    let plain = !text.contains(|c: char| c.is_control());
    plain.then(|| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")))
}

/// The CEL expression that tests whether a list of pairs contains one that `pattern` matches.
fn pair(separator: &str, pattern: &str) -> Option<String> {
    let pattern = literal(&format!("(?:^|{separator}){pattern}(?:[;& ]|$)"))?;
    Some(match separator {
        "&" => format!("request.query.matches({pattern})"),
        _ => format!("'cookie' in request.headers && request.headers['cookie'].matches({pattern})"),
    })
}

/// The first value of a name in a list of pairs.
fn named(list: &str, separator: char, name: &str) -> String {
    let mut pairs = list
        .split(separator)
        .filter_map(|pair| pair.trim().split_once('='));
    let found = pairs.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map_or_else(String::new, |(_, value)| value.to_owned())
}
