//! Rate limits.

use super::AnnotationReader;
use crate::ingress::verdict::{Aspect, Finding};

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    let per_second = reader.number("limit-rps").unwrap_or(0);
    let per_minute = reader.number("limit-rpm").unwrap_or(0);
    let burst = reader.number("limit-burst-multiplier");
    let new = reader.networks("limit-allowlist");
    let allow = new.or_else(|| reader.networks("limit-whitelist"));
    let limits = &mut reader.settings.limits;
    limits.per_second = per_second;
    limits.per_minute = per_minute;
    limits.burst = burst.unwrap_or(5);
    limits.allow = allow.unwrap_or_default();
    for name in ["limit-allowlist", "limit-whitelist"] {
        reader.found(name, Finding::same("these networks have no limit"));
    }
    let aspects = [
        Aspect::Status,
        Aspect::ResponseHeaders,
        Aspect::Body,
        Aspect::Calls,
    ];
    let text = "each client address has a limit, which the paths and hosts of the Ingress share. Each gateway process counts by itself";
    for (name, limit) in [("limit-rps", per_second), ("limit-rpm", per_minute)] {
        let finding = match limit {
            0 => Finding::same("0: no limit"),
            _ => Finding::differs(text, &aspects),
        };
        if reader.settings.dropped.is_none() {
            reader.found(name, finding);
        }
    }
    if burst.is_some() {
        let text = "the burst is a multiple of the limit";
        reader.found("limit-burst-multiplier", Finding::same(text));
    }
}
