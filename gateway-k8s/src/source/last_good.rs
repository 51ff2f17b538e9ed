//! The last valid version of objects whose files have errors.
//!
//! An object that becomes invalid keeps its last valid version. If the object of a malformed document cannot
//! be identified, all objects of the file that are now missing are kept, so that a syntax error does not take
//! objects out of service. An object that was deleted in the same edit is therefore kept until the file is
//! corrected.

use std::fmt::{self, Display, Formatter};

use crate::decode::{Diagnostic, Severity};
use crate::finding::FindingCode;
use crate::objects::{ObjectKey, Objects};

use super::Loaded;

/// An object whose last valid version is in service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RetainedObject {
    /// Kind.
    pub kind: &'static str,
    /// Name.
    pub key: ObjectKey,
    /// Path of the file that contains the object.
    pub file: String,
}

impl Display for RetainedObject {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.kind, self.key)
    }
}

/// Adds the objects of `last` to `loaded` that are missing there because of errors, and returns them. The
/// diagnostics of these errors then state that the last good version stays in service.
pub fn keep_last_good(last: &Objects, loaded: &mut Loaded) -> Vec<RetainedObject> {
    let broken: Vec<&Diagnostic> = loaded.diagnostics.iter().filter(|d| refuses(d)).collect();
    if broken.is_empty() {
        return Vec::new();
    }
    let mut kept: Vec<RetainedObject> = Vec::new();
    loaded.objects.fill_from(last, |kind, key, origin| {
        let keep = broken
            .iter()
            .any(|diagnostic| is_about(diagnostic, kind, key, &origin.file));
        if keep {
            kept.push(RetainedObject {
                kind,
                key: key.clone(),
                file: origin.file.as_ref().to_owned(),
            });
        }
        keep
    });
    for diagnostic in loaded.diagnostics.iter_mut().filter(|d| refuses(d)) {
        let about = |kept: &&RetainedObject| is_about(diagnostic, kept.kind, &kept.key, &kept.file);
        let about: Vec<String> = kept
            .iter()
            .filter(about)
            .map(RetainedObject::to_string)
            .collect();
        if !about.is_empty() {
            diagnostic.outlive(&about);
            loaded
                .objects
                .remove_nameless_policies(&diagnostic.kind, &diagnostic.file);
        }
    }
    kept
}

/// Returns the objects of `before` that are valid again: they are in `objects` and not in `kept`.
pub fn read_again(
    before: &[RetainedObject],
    kept: &[RetainedObject],
    objects: &Objects,
) -> Vec<RetainedObject> {
    let mut again = Vec::new();
    if before.is_empty() {
        return again;
    }
    let same =
        |one: &RetainedObject, kind: &str, key: &ObjectKey| one.kind == kind && one.key == *key;
    // `fill_from` calls the closure for every object; `false` leaves the store empty.
    Objects::default().fill_from(objects, |kind, key, _| {
        if !kept.iter().any(|one| same(one, kind, key)) {
            again.extend(before.iter().find(|one| same(one, kind, key)).cloned());
        }
        false
    });
    again
}

/// Whether a diagnostic reports an object that was not decoded, or was decoded only in part.
fn refuses(diagnostic: &Diagnostic) -> bool {
    diagnostic.severity == Severity::Error && !is_extension_policy(diagnostic)
}

/// Whether the diagnostic reports a policy that extends Envoy itself. The current version of the policy was
/// read. An earlier version must not replace it: the earlier version may fail open where the current version
/// fails closed.
fn is_extension_policy(diagnostic: &Diagnostic) -> bool {
    let extends = matches!(
        &*diagnostic.kind,
        "EnvoyExtensionPolicy" | "EnvoyPatchPolicy"
    );
    extends && diagnostic.code == FindingCode::UnsupportedKind
}

/// Whether a diagnostic applies to an object of the file `origin`, to that file, or to a folder above it.
fn is_about(diagnostic: &Diagnostic, kind: &str, key: &ObjectKey, origin: &str) -> bool {
    let file = &*diagnostic.file;
    // A folder that cannot be read affects all files below it.
    let same_file = file == origin
        || diagnostic.code == FindingCode::Unreadable
            && std::path::Path::new(origin).starts_with(file);
    if !same_file {
        return false;
    }
    let kind_fits = diagnostic.kind.is_empty() || diagnostic.kind == kind;
    let object_fits = diagnostic.object.as_ref().is_none_or(|object| {
        object.name == key.name
            && (object.namespace == key.namespace
                || object.namespace.is_empty() && key.namespace == "default")
    });
    kind_fits && object_fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;

    fn load(texts: &[(&str, &str)]) -> Loaded {
        let mut decoder = crate::decode::Decoder::new(false);
        for (file, text) in texts {
            decoder.file(file, text);
        }
        let decoded = decoder.finish();
        Loaded {
            objects: decoded.objects,
            diagnostics: decoded.diagnostics,
            ..Loaded::default()
        }
    }

    fn service(name: &str, port: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n"
        )
    }

    fn names(kept: &[RetainedObject]) -> Vec<&str> {
        kept.iter().map(|kept| kept.key.name.as_str()).collect()
    }

    #[test]
    fn an_object_that_becomes_invalid_is_kept() {
        let last = decode(
            "a",
            &format!("{}---\n{}", service("x", "80"), service("w", "80")),
        )
        .objects;
        let mut now = load(&[(
            "a",
            &format!("{}---\n{}", service("x", "eighty"), service("z", "80")),
        )]);

        let kept = keep_last_good(&last, &mut now);

        assert_eq!(names(&kept), ["x"]);
        let left: Vec<_> = now
            .objects
            .services
            .keys()
            .map(|k| k.name.as_str())
            .collect();
        assert_eq!(left, ["x", "z"], "w was deleted and stays so");
    }

    #[test]
    fn a_syntax_error_keeps_the_objects_of_its_file() {
        let last = load(&[("a", &service("x", "80")), ("b", &service("w", "80"))]).objects;
        let mut now = load(&[("a", "kind: [")]);

        let kept = keep_last_good(&last, &mut now);

        assert_eq!(names(&kept), ["x"], "b was deleted, a is broken");
        let told = &now.diagnostics[0];
        let ending = ": the last good version of Service default/x stays in service";
        assert!(told.message.ends_with(ending), "{told:?}");
        assert_eq!(told.help, "correct the syntax");
    }

    #[test]
    fn a_valid_object_replaces_its_last_version() {
        let last = decode("a", &service("x", "80")).objects;
        let mut now = load(&[("a", &format!("{}---\nkind: [", service("x", "81")))]);

        assert_eq!(keep_last_good(&last, &mut now), []);
        let service = &now.objects.services[&ObjectKey::new("default", "x")];
        assert_eq!(service.spec.ports[0].port, 81);
    }

    #[test]
    fn a_kept_object_is_read_again_when_corrected_but_not_when_removed() {
        let last = decode("a", &(service("x", "80") + "---\n" + &service("w", "80"))).objects;
        let kept = keep_last_good(&last, &mut load(&[("a", "kind: [")]));
        assert_eq!(names(&kept), ["w", "x"]);
        let mended = load(&[("a", &service("x", "81"))]).objects;

        assert_eq!(names(&read_again(&kept, &[], &mended)), ["x"]);
        assert_eq!(read_again(&kept, &kept, &mended), []);
        assert_eq!(read_again(&[], &[], &mended), []);
    }

    #[test]
    fn an_unreadable_folder_keeps_its_files() {
        let last = load(&[
            ("dir/a", &service("x", "80")),
            ("other/a", &service("w", "80")),
        ])
        .objects;
        let mut now = Loaded::default();
        let mut diagnostic = Diagnostic::error(
            FindingCode::Unreadable,
            "cannot be read",
            "make it readable",
        );
        diagnostic.file = "dir".to_owned();
        now.diagnostics.push(diagnostic);

        assert_eq!(names(&keep_last_good(&last, &mut now)), ["x"]);
    }

    #[test]
    fn a_route_with_a_misspelled_match_is_kept() {
        let route = |field: &str| {
            format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: x, namespace: ns}}\n\
                 spec: {{rules: [{{matches: [{{{field}: {{value: /a}}}}]}}]}}\n"
            )
        };
        let last = decode("a", &route("path")).objects;
        let mut now = load(&[("a", &route("pth"))]);

        assert_eq!(names(&keep_last_good(&last, &mut now)), ["x"]);

        assert_eq!(now.objects.http_routes, last.http_routes);
        assert_eq!(
            now.diagnostics[0].message,
            "the field `spec.rules[0].matches[0].pth` is not known: its last good version stays in service"
        );
    }

    #[test]
    fn an_extension_policy_that_fails_open_does_not_replace_one_that_fails_closed() {
        let policy = |extension: &str| {
            format!(
                "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nmetadata: {{name: a}}\n\
                 spec: {{targetRefs: [{{kind: HTTPRoute, name: r}}], {extension}}}\n"
            )
        };
        let open = policy("extProc: [{failOpen: true}]");
        let last = load(&[("a", &open)]).objects;
        let mut loaded = load(&[("a", &policy("lua: [{type: Inline, inline: x}]"))]);

        assert_eq!(keep_last_good(&last, &mut loaded), []);

        let now = loaded.objects.extension_policies.values().next().unwrap();
        assert!(!now.unreadable_fields.is_empty());
    }

    #[test]
    fn a_policy_that_becomes_invalid_is_kept() {
        let policy = |limit: &str| {
            format!(
                "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\n\
                 metadata: {{name: x, namespace: ns}}\nspec:\n  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: g}}]\n  connection: {{connectionLimit: {{value: {limit}}}}}\n"
            )
        };
        let last = decode("a", &policy("3")).objects;
        let mut now = load(&[("a", &policy("many"))]);
        let key = ObjectKey::new("ns", "x");
        assert!(
            !now.objects.client_traffic_policies[&key]
                .unreadable_fields
                .is_empty()
        );

        assert_eq!(names(&keep_last_good(&last, &mut now)), ["x"]);

        assert_eq!(
            now.objects.client_traffic_policies,
            last.client_traffic_policies
        );
        let told = &now.diagnostics[0];
        let says = |text| told.message.contains(text) || told.help.contains(text);
        assert!(says("stays in service") && !says("500"), "{told:?}");
    }
}
