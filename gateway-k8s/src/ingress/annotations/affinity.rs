//! Session affinity.

use super::AnnotationReader;
use crate::ingress::settings::Affinity;
use crate::ingress::verdict::{Aspect, Finding};

/// Lifetime of the cookie if it is a session cookie of the browser.
const DEFAULT_NAME: &str = "INGRESSCOOKIE";

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    match reader.text("affinity").map(str::trim) {
        None => return,
        Some("cookie") => {}
        Some(_) => {
            reader.invalid("affinity", "it is not `cookie`");
            return;
        }
    }
    let text = "the cookie is hashed: sessions move when endpoints change, and clients get a new cookie at the switch. The attributes of the cookie have another order";
    reader.found(
        "affinity",
        Finding::differs(
            text,
            &[
                Aspect::ResponseHeaders,
                Aspect::Calls,
                Aspect::RequestHeaders,
            ],
        ),
    );
    let name = reader.text("session-cookie-name").map(str::trim);
    let token = |name: &str| {
        name.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let name = match name {
        Some(name) if token(name) => name,
        Some(_) => {
            reader.invalid("session-cookie-name", "it is not a cookie name");
            DEFAULT_NAME
        }
        None => DEFAULT_NAME,
    };
    let plain = |text: &str| !text.contains([';', '"', '$', '{', '}', ' ', ',']);
    let mut attribute = |name: &'static str| {
        let text = reader.text(name)?.trim();
        if plain(text) {
            return Some(text.to_owned());
        }
        reader.invalid(name, "it contains characters that ingress-nginx rejects");
        None
    };
    let path = attribute("session-cookie-path");
    let domain = attribute("session-cookie-domain");
    let same_site = attribute("session-cookie-samesite");
    let max_age = reader.number("session-cookie-max-age");
    let expires = reader.number("session-cookie-expires");
    if expires.is_some() {
        let text = "the cookie has `Max-Age` and no `Expires`";
        reader.found(
            "session-cookie-expires",
            Finding::differs(text, &[Aspect::ResponseHeaders]),
        );
    }
    let secure = reader.bool("session-cookie-secure").unwrap_or(false);
    let persistent = reader.text("affinity-mode").map(str::trim) == Some("persistent");
    // The cookie of `sessionPersistence` has no further attributes.
    let fits = path.is_none() && domain.is_none() && same_site.is_none() && !secure;
    if persistent && fits {
        let text = "`sessionPersistence`: the cookie names the endpoint. Its attributes are `Path` and `HttpOnly`, and clients get a new cookie at the switch";
        let affects = &[
            Aspect::ResponseHeaders,
            Aspect::Calls,
            Aspect::RequestHeaders,
        ];
        reader.found("affinity", Finding::differs(text, affects));
        reader.found("affinity-mode", Finding::differs(text, affects));
    } else if persistent {
        let text = "sessions move when endpoints change: they follow a hash and not the endpoint. `sessionPersistence` of a rule keeps them, but its cookie has none of the `session-cookie-*` attributes of this Ingress";
        reader.found("affinity-mode", Finding::differs(text, &[Aspect::Calls]));
    }
    reader.settings.affinity = Some(Affinity {
        name: name.to_owned(),
        max_age: max_age.or(expires),
        path,
        domain,
        same_site,
        secure,
        persistent: persistent && fits,
    });
}
