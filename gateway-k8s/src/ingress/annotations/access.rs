//! Readers of source ranges and Basic authentication, and of `satisfy`, which combines them.

use super::AnnotationReader;
use crate::ingress::controller::object_key;
use crate::ingress::password_file::PasswordFile;
use crate::ingress::settings::BasicAuth;
use crate::ingress::translate::secret_name;
use crate::ingress::value::networks;
use crate::ingress::verdict::{Aspect, Finding};
use crate::objects::ObjectKey;

const DENIED: &[Aspect] = &[
    Aspect::Status,
    Aspect::Body,
    Aspect::ResponseHeaders,
    Aspect::Calls,
];

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    source_ranges(reader);
    match reader.text("auth-type").map(str::trim) {
        None => {}
        Some("basic") => basic(reader),
        Some("digest") => {
            reader.settings.denied = Some("auth-type".to_owned());
            reader.settings.digest_auth = true;
            let text = "Digest authentication is not supported. The paths return 500: choose Basic authentication over HTTPS, or external authentication";
            reader.found("auth-type", Finding::impossible(text, DENIED));
        }
        Some(_) => reader.invalid("auth-type", "the value is neither `basic` nor `digest`"),
    }
    satisfy(reader);
}

fn source_ranges(reader: &mut AnnotationReader<'_>) {
    let new = reader.networks("allowlist-source-range");
    let old = reader.networks("whitelist-source-range");
    if old.is_some() && new.is_some() {
        let text = "`allowlist-source-range` takes precedence, in ingress-nginx and in the gateway";
        reader.found("whitelist-source-range", Finding::same(text));
    }
    let own = new.or(old);
    reader.settings.allow = or_configured(reader, own, "whitelist-source-range");
    let own = reader.networks("denylist-source-range");
    reader.settings.deny = or_configured(reader, own, "denylist-source-range");
}

/// The list of networks in the annotation of the Ingress, or else the list of the ConfigMap. An invalid list
/// of the ConfigMap makes the paths return 500, because without a list they would be open to all clients.
fn or_configured(
    reader: &mut AnnotationReader<'_>,
    own: Option<Vec<String>>,
    key: &str,
) -> Vec<String> {
    own.unwrap_or_else(|| {
        let configured = reader.config.text(key).map(networks);
        match configured.transpose() {
            Ok(list) => list.unwrap_or_default(),
            Err(_) => {
                reader.settings.denied = Some(key.to_owned());
                Vec::new()
            }
        }
    })
}

fn basic(reader: &mut AnnotationReader<'_>) {
    let Some(by_user) = is_by_user(reader) else {
        return;
    };
    let Some(realm) = realm(reader) else {
        return;
    };
    let basic = BasicAuth {
        secret: ObjectKey::default(),
        by_user,
        realm,
    };
    let Some(basic) = with_users(reader, basic) else {
        return;
    };
    let finding = match reader.has("auth-url") {
        true => Finding::differs(
            "the authentication server of `auth-url` is called before the password is checked",
            &[Aspect::Status, Aspect::ResponseHeaders, Aspect::Calls],
        ),
        false => Finding::same("SecurityPolicy `basicAuth`"),
    };
    reader.found("auth-type", finding);
    reader.settings.basic_auth = Some(basic);
}

/// Whether the Secret has a key for each user (`auth-secret-type`); `None`: the value is invalid.
fn is_by_user(reader: &mut AnnotationReader<'_>) -> Option<bool> {
    match reader.text("auth-secret-type").map(str::trim) {
        None | Some("auth-file") => Some(false),
        Some("auth-map") => Some(true),
        Some(_) => {
            reader.invalid(
                "auth-secret-type",
                "the value is neither `auth-file` nor `auth-map`",
            );
            None
        }
    }
}

/// The realm of the challenge; `None`: the value is invalid.
fn realm(reader: &mut AnnotationReader<'_>) -> Option<String> {
    let realm = reader.text("auth-realm").unwrap_or_default();
    if realm.contains(['"', '{', '}', '$', ';', '\\']) {
        reader.invalid(
            "auth-realm",
            "the value contains characters that ingress-nginx rejects",
        );
        return None;
    }
    let realm = realm.to_owned();
    reader.found(
        "auth-realm",
        Finding::same("the annotation `towergate.dev/basic-auth-realm` of the SecurityPolicy"),
    );
    Some(realm)
}

/// Adds the Secret with the users to `basic`; `None`: the paths deny all requests.
fn with_users(reader: &mut AnnotationReader<'_>, mut basic: BasicAuth) -> Option<BasicAuth> {
    let Some(name) = reader.text("auth-secret").map(str::trim) else {
        reader.settings.denied = Some("auth-type".to_owned());
        reader.settings.nginx_denies = true;
        let text = "without `auth-secret`, the paths return 503, as in ingress-nginx";
        reader.found("auth-type", Finding::differs(text, DENIED));
        return None;
    };
    let secret = object_key(name, &reader.ingress.key.namespace);
    let foreign = secret.namespace != reader.ingress.key.namespace
        && !reader.config.bool("allow-cross-namespace-resources", false);
    if foreign {
        reader.deny(
            "auth-secret",
            "a Secret of another namespace may not be used",
        );
        return None;
    }
    basic.secret = secret;
    let secret = &basic.secret;
    let key = if basic.by_user { None } else { Some("auth") };
    let data = reader.manifests.secrets.get(secret);
    match data {
        None if reader.is_complete() => {
            reader.deny("auth-secret", "the Secret does not exist");
            return None;
        }
        None => {
            let text = format!(
                "Secret {secret} is not among the files. The policy refers to Secret `{}`: create it with the users under `.htpasswd`. Until then the paths return 500, where ingress-nginx returns 503 if Secret {secret} does not exist",
                secret_name(&basic, &reader.ingress.key.namespace)
            );
            reader.found("auth-secret", Finding::decision(text, DENIED));
        }
        Some(data) if key.is_some_and(|key| !data.values.contains_key(key)) => {
            reader.deny("auth-secret", "the Secret has no key `auth`");
            return None;
        }
        Some(data) => {
            let file = PasswordFile::of(data, basic.by_user);
            reader.found("auth-secret", copied_users(&file));
        }
    }
    Some(basic)
}

/// The verdict on users that are copied.
fn copied_users(file: &PasswordFile) -> Finding {
    let text = "the users are copied to the key `.htpasswd`, which Envoy Gateway reads";
    if file.unreadable.is_empty() {
        return Finding::same(text);
    }
    let names: Vec<String> = file
        .unreadable
        .iter()
        .map(|name| format!("`{}`", name.escape_debug()))
        .collect();
    let text = format!(
        "{text}, except for {}: the gateway verifies only {{SHA}}, $apr1$ and bcrypt hashes, so these users receive 401. Write new hashes for them, such as with `htpasswd -B`",
        names.join(", ")
    );
    Finding::decision(text, DENIED)
}

/// Reads `satisfy`. The annotation has an effect only if the paths have both source ranges and
/// authentication.
fn satisfy(reader: &mut AnnotationReader<'_>) {
    match reader.text("satisfy").map(str::trim) {
        Some("any") => {}
        None | Some("all") => return,
        Some(_) => {
            reader.invalid("satisfy", "the value is neither `any` nor `all`");
            return;
        }
    }
    reader.settings.satisfy_any = true;
    let ranges = !reader.settings.allow.is_empty() || !reader.settings.deny.is_empty();
    let global = reader.config.text("global-auth-url").is_some();
    let authenticates = reader.has("auth-type") || reader.has("auth-url") || global;
    if !ranges || !authenticates {
        let text = "the setting has no effect without both a source range and authentication, in ingress-nginx and in the gateway";
        reader.found("satisfy", Finding::same(text));
        return;
    }
    let text = "a policy cannot accept one guard instead of the other: a client must be in the source range and authenticate. To let known networks in without authentication, route them by a separate host";
    reader.found("satisfy", Finding::impossible(text, DENIED));
    let text = "every request must pass this guard: see `satisfy`";
    for name in [
        "allowlist-source-range",
        "auth-type",
        "auth-url",
        "denylist-source-range",
        "whitelist-source-range",
    ] {
        reader.found(name, Finding::differs(text, DENIED));
    }
}
