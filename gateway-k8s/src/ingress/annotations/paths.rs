//! Regular expressions in paths, and rewrites.

use super::AnnotationReader;
use crate::ingress::settings::Redirect;
use crate::ingress::value::url;
use crate::ingress::verdict::{Aspect, Finding};

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    reader.settings.use_regex = reader.bool("use-regex").unwrap_or(false);
    if reader.settings.use_regex {
        let text = "every path of the host is a case-insensitive regular expression that matches at the start, as in ingress-nginx; it is compared with the path as the client sent it";
        reader.found(
            "use-regex",
            Finding::differs(text, &[Aspect::Calls, Aspect::Status]),
        );
    }
    if let Some(target) = reader.text("rewrite-target").map(str::trim) {
        rewrite(reader, target);
    }
    let prefix = reader.text("x-forwarded-prefix").map(str::trim);
    if let Some(prefix) = prefix {
        if reader.settings.rewrite.is_some() {
            reader.settings.forwarded_prefix = Some(prefix.to_owned());
            reader.found(
                "x-forwarded-prefix",
                Finding::same("a RequestHeaderModifier"),
            );
        } else {
            let text = "the setting has no effect without `rewrite-target`, in ingress-nginx and in the gateway";
            reader.found("x-forwarded-prefix", Finding::same(text));
        }
    }
}

fn rewrite(reader: &mut AnnotationReader<'_>, target: &str) {
    if target.contains(['?', '"', '{', '}', ';', ' ']) {
        let why = "the value contains characters that ingress-nginx rejects";
        reader.invalid("rewrite-target", why);
        return;
    }
    reader.settings.use_regex = true;
    if url(target).is_some() {
        reader.settings.redirect = Some(Redirect {
            to: target.to_owned(),
            code: 302,
            keeps_query: true,
        });
        let text = "an absolute address is a redirect (302), as in ingress-nginx";
        reader.found(
            "rewrite-target",
            Finding::differs(text, &[Aspect::ResponseHeaders]),
        );
        return;
    }
    reader.settings.rewrite = Some(target.to_owned());
    let aspects = [Aspect::Calls, Aspect::RequestPath];
    let finding = if target.contains('$') {
        Finding::differs(
            "an HTTPRouteFilter rewrites by regular expression. Percent-encoding of the path is kept; ingress-nginx decodes and re-encodes it. Every path of the host becomes a case-insensitive regular expression",
            &aspects,
        )
    } else {
        Finding::differs(
            "every path below the prefix is rewritten to the same path, as in ingress-nginx. Every path of the host becomes a case-insensitive regular expression",
            &aspects,
        )
    };
    reader.found("rewrite-target", finding);
}
