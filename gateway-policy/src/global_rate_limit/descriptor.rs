//! Descriptors of a request: the service receives one for each rule that matches.

use std::hash::DefaultHasher;
use std::net::IpAddr;

use http::request;

use super::GlobalLimitRule;
use crate::rate_limit::{QueryRule, Selector, ValueTest};
use crate::request_metadata::LimitOverride;

/// A list of entries. The service counts requests with equal entries together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Descriptor {
    /// Entries. The first one identifies the route, or the policy if the limit is shared.
    pub entries: Vec<DescriptorEntry>,
    /// Number that is counted. `None`: the default of the service, which is 1.
    pub hits: Option<u32>,
    /// Limit that replaces that of the service.
    pub limit: Option<LimitOverride>,
}

/// An entry of a descriptor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DescriptorEntry {
    /// Name, such as `remote_address`.
    pub key: String,
    /// Value. `None` occurs only in the configuration of the service: each value is counted separately.
    pub value: Option<String>,
}

impl DescriptorEntry {
    fn constant(text: String) -> Self {
        Self {
            value: Some(text.clone()),
            key: text,
        }
    }
}

impl GlobalLimitRule {
    /// The entries of rule `index` for a request. The first entry is `owner`. `None`: the rule does not
    /// match.
    pub(super) fn entries(
        &self,
        index: usize,
        owner: &str,
        head: &request::Parts,
        client: Option<IpAddr>,
    ) -> Option<Vec<DescriptorEntry>> {
        let matches =
            |selector: &Selector| selector.matches(head, client, &mut DefaultHasher::new());
        if !self.selectors.iter().all(matches) {
            return None;
        }
        let value = |place: Place<'_>| Some(place.value(head, client));
        Some(self.describe(index, owner, value))
    }

    /// The entries of rule `index` in the configuration of the service.
    pub(super) fn template(&self, index: usize, owner: &str) -> Vec<DescriptorEntry> {
        self.describe(index, owner, |_| None)
    }

    /// The entries of a rule. `value` returns the value at a place whose values are counted separately.
    fn describe(
        &self,
        index: usize,
        owner: &str,
        value: impl Fn(Place<'_>) -> Option<String>,
    ) -> Vec<DescriptorEntry> {
        let mut entries = vec![DescriptorEntry::constant(owner.to_owned())];
        let mut place = 0;
        let mut compared = |test: &ValueTest, from: Place<'_>| {
            let key = format!("rule-{index}-match-{place}");
            place += 1;
            match test {
                ValueTest::Is { .. } => DescriptorEntry::constant(key),
                ValueTest::Distinct => DescriptorEntry {
                    value: value(from),
                    key,
                },
            }
        };
        for selector in &self.selectors {
            for header in &selector.headers {
                entries.push(compared(&header.test, Place::Header(&header.name)));
            }
            for parameter in &selector.query {
                entries.push(compared(&parameter.test, Place::Query(parameter)));
            }
            if !selector.methods.is_empty() {
                entries.push(DescriptorEntry::constant(format!("rule-{index}-method")));
            }
            if selector.path.is_some() {
                entries.push(DescriptorEntry::constant(format!("rule-{index}-path")));
            }
            if let Some(source) = &selector.source {
                let network = source.network.trunc().to_string();
                let outside = if source.invert { "invert:" } else { "" };
                entries.push(DescriptorEntry {
                    key: "masked_remote_address".to_owned(),
                    value: Some(format!("{outside}{network}")),
                });
                if source.distinct {
                    entries.push(DescriptorEntry {
                        key: "remote_address".to_owned(),
                        value: value(Place::Client),
                    });
                }
            }
        }
        if self.selectors.is_empty() {
            entries.push(DescriptorEntry::constant(format!("rule-{index}-match--1")));
        }
        entries
    }
}

/// The place of a value that is counted separately.
enum Place<'r> {
    Header(&'r http::HeaderName),
    Query(&'r QueryRule),
    Client,
}

impl Place<'_> {
    /// The value. If its name occurs several times, the first value is used, as in Envoy.
    fn value(self, head: &request::Parts, client: Option<IpAddr>) -> String {
        match self {
            Self::Header(name) => {
                let first = head.headers.get(name);
                first
                    .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                    .unwrap_or_default()
            }
            Self::Query(parameter) => parameter.find(head).unwrap_or_default().into_owned(),
            Self::Client => client
                .map(|client| client.to_canonical().to_string())
                .unwrap_or_default(),
        }
    }
}
