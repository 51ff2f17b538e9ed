//! Session affinity.

use super::AnnotationReader;
use crate::ingress::settings::Affinity;
use crate::ingress::verdict::{Aspect, Finding};

/// Name of the cookie without `session-cookie-name`.
const DEFAULT_NAME: &str = "INGRESSCOOKIE";

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    match reader.text("affinity").map(str::trim) {
        None => return,
        Some("cookie") => {}
        Some(_) => {
            reader.invalid("affinity", "the value is not `cookie`");
            return;
        }
    }
    let text = "the cookie is hashed: sessions move when endpoints change, and clients receive a new cookie when traffic is moved to the gateway. The order of the cookie's attributes differs";
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
    let name = cookie_name(reader);
    let plain = |text: &str| !text.contains([';', '"', '$', '{', '}', ' ', ',']);
    let mut attribute = |name: &'static str| {
        let text = reader.text(name)?.trim();
        if plain(text) {
            return Some(text.to_owned());
        }
        reader.invalid(
            name,
            "the value contains characters that ingress-nginx rejects",
        );
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
    // A cookie of `sessionPersistence` cannot have a chosen `Path`, `Domain`, `SameSite` or `Secure`.
    let fits = path.is_none() && domain.is_none() && same_site.is_none() && !secure;
    let persistent = is_persistent(reader) && fits;
    reader.settings.affinity = Some(Affinity {
        name,
        max_age: max_age.or(expires),
        path,
        domain,
        same_site,
        secure,
        persistent,
    });
    if is_persistent(reader) {
        report_persistence(reader, fits);
    }
}

fn cookie_name(reader: &mut AnnotationReader<'_>) -> String {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match reader.text("session-cookie-name").map(str::trim) {
        Some(name) if name.bytes().all(is_name_byte) => name.to_owned(),
        Some(_) => {
            reader.invalid("session-cookie-name", "the value is not a cookie name");
            DEFAULT_NAME.to_owned()
        }
        None => DEFAULT_NAME.to_owned(),
    }
}

fn is_persistent(reader: &AnnotationReader<'_>) -> bool {
    reader.text("affinity-mode").map(str::trim) == Some("persistent")
}

/// Reports the translation to `sessionPersistence`. `fits`: `sessionPersistence` can set all attributes of
/// the cookie.
fn report_persistence(reader: &mut AnnotationReader<'_>, fits: bool) {
    if fits {
        let text = "`sessionPersistence`: the cookie names the endpoint. Its attributes are `Path` and `HttpOnly`, and clients receive a new cookie when traffic is moved to the gateway";
        let affects = &[
            Aspect::ResponseHeaders,
            Aspect::Calls,
            Aspect::RequestHeaders,
        ];
        reader.found("affinity", Finding::differs(text, affects));
        reader.found("affinity-mode", Finding::differs(text, affects));
    } else {
        let text = "sessions move when endpoints change, because a hash of the cookie selects the endpoint. `sessionPersistence` of a rule keeps a session at its endpoint, but its cookie has none of the `session-cookie-*` attributes of this Ingress";
        reader.found("affinity-mode", Finding::differs(text, &[Aspect::Calls]));
    }
}
