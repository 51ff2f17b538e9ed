//! The part of a Gateway, ListenerSet or route that contains a field.
//!
//! An unreadable field makes the part that contains it fail closed. Paths of fields have the format of the
//! API server's messages. Only this module parses them.

/// The part of an object that contains a field. There is a variant for each part that resolution treats
/// differently.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FieldScope<'p> {
    /// The listener at this index.
    Listener(usize),
    /// The list of listeners.
    Listeners,
    /// TLS settings of a Gateway, which apply to its HTTPS listeners.
    GatewayTls,
    /// Addresses of a Gateway, and labels of the objects that are generated for it. These fields do not
    /// affect which requests are accepted.
    Infrastructure,
    /// The rule at this index; the rest of the path begins with `.` or is empty.
    Rule(usize, &'p str),
    /// All rules of a route: their list, the parentRefs, the hostnames, or the whole spec.
    EveryRule,
    /// The parentRef at this index.
    Parent(usize),
    /// Any other field.
    Object,
}

impl<'p> FieldScope<'p> {
    /// The scope of the field at `path`, such as `spec.rules[0].matches[1]`.
    pub(crate) fn of(path: &'p str) -> Self {
        if path == "spec" {
            return Self::EveryRule;
        }
        let Some((name, index, rest)) = path.strip_prefix("spec.").map(first_step) else {
            return Self::Object;
        };
        match (name, index) {
            ("listeners", Some(at)) => Self::Listener(at),
            ("listeners", None) => Self::Listeners,
            ("tls", None) if !rest.is_empty() => Self::GatewayTls,
            ("infrastructure", None) if !rest.is_empty() => Self::Infrastructure,
            ("addresses", Some(_)) => Self::Infrastructure,
            ("rules", Some(at)) => Self::Rule(at, rest),
            ("parentRefs", Some(at)) => Self::Parent(at),
            ("rules" | "parentRefs", None) if rest.is_empty() => Self::EveryRule,
            ("hostnames", Some(_)) => Self::EveryRule,
            ("hostnames", None) if rest.is_empty() => Self::EveryRule,
            _ => Self::Object,
        }
    }

    /// Whether the field affects the rule at index `rule`. The field may also affect other rules.
    pub(crate) fn affects_rule(self, rule: usize) -> bool {
        match self {
            Self::Rule(at, _) => at == rule,
            Self::EveryRule => true,
            _ => false,
        }
    }
}

/// The first name of a path, its index if it has one, and the rest of the path.
fn first_step(path: &str) -> (&str, Option<usize>, &str) {
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (name, rest) = path.split_at(end);
    let index = rest.strip_prefix('[').and_then(|rest| {
        let (index, rest) = rest.split_once(']')?;
        Some((index.parse().ok()?, rest))
    });
    match index {
        Some((index, rest)) => (name, Some(index), rest),
        None => (name, None, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_is_the_part_that_fails_closed() {
        use FieldScope as S;
        for (path, scope) in [
            ("spec", S::EveryRule),
            ("spec.rules", S::EveryRule),
            ("spec.rules[0]", S::Rule(0, "")),
            ("spec.rules[12].matches[1]", S::Rule(12, ".matches[1]")),
            ("spec.rules.a", S::Object),
            ("spec.rulez[0]", S::Object),
            ("spec.hostnames", S::EveryRule),
            ("spec.hostnames[1]", S::EveryRule),
            ("spec.hostnmaes[1]", S::Object),
            ("spec.parentRefs", S::EveryRule),
            ("spec.parentRefs[2].name", S::Parent(2)),
            ("spec.listeners", S::Listeners),
            ("spec.listeners[1].tls", S::Listener(1)),
            ("spec.tls", S::Object),
            ("spec.tls.frontend", S::GatewayTls),
            ("spec.infrastructure", S::Object),
            ("spec.infrastructure.labels[\"a.b\"]", S::Infrastructure),
            ("spec.addresses[0]", S::Infrastructure),
            ("metadata.name", S::Object),
        ] {
            assert_eq!(FieldScope::of(path), scope, "{path}");
        }
    }

    #[test]
    fn a_rule_is_affected_by_its_own_fields_and_by_those_of_every_rule() {
        assert!(FieldScope::of("spec.rules[1].filters").affects_rule(1));
        assert!(!FieldScope::of("spec.rules[11].filters").affects_rule(1));
        assert!(FieldScope::of("spec.hostnames[0]").affects_rule(1));
        assert!(!FieldScope::of("spec.parentRefs[1]").affects_rule(1));
    }
}
