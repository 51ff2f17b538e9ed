use proptest::prelude::*;

use super::*;

const DEFAULT: PathSettings = with(EscapedSlashes::UnescapeAndRedirect);
const KEEP: PathSettings = with(EscapedSlashes::KeepUnchanged);
const REJECT: PathSettings = with(EscapedSlashes::RejectRequest);
const UNESCAPE: PathSettings = with(EscapedSlashes::UnescapeAndForward);
const NO_MERGE: PathSettings = PathSettings {
    merge_slashes: false,
    ..DEFAULT
};

const fn with(escaped_slashes: EscapedSlashes) -> PathSettings {
    PathSettings {
        merge_slashes: true,
        escaped_slashes,
    }
}

/// Normalises `target`. Returns, for example, `307 /x` for a redirect, `400` for a rejection, and otherwise
/// the forwarded path.
fn outcome(target: &str, settings: &PathSettings) -> String {
    match normalize(target, settings) {
        Ok(Normalized::Unchanged) => target.to_owned(),
        Ok(Normalized::Changed(path)) => path,
        Ok(Normalized::Redirect(path)) => format!("307 {path}"),
        Err(BadPath) => "400".to_owned(),
    }
}

/// Results that were recorded from Envoy.
    #[rustfmt::skip]
    const RECORDED: &[(&PathSettings, &str, &str)] = &[
        (&DEFAULT, "/", "/"),
        (&DEFAULT, "/a/", "/a/"),
        (&DEFAULT, "/a/../../b", "/b"),
        (&DEFAULT, "/..", "/"),
        (&DEFAULT, "/../", "/"),
        (&DEFAULT, "/../../../etc/passwd", "/etc/passwd"),
        (&DEFAULT, "/a/...", "/a/..."),
        (&DEFAULT, "/a/%2e%2e/b", "/b"),
        (&DEFAULT, "/a/.%2e/b", "/b"),
        (&DEFAULT, "/a/%2e", "/a/"),
        (&DEFAULT, "/a%2fb", "307 /a/b"),
        (&DEFAULT, "/a%2Fb", "307 /a/b"),
        (&DEFAULT, "/a%5cb", "307 /a/b"),
        (&DEFAULT, "/a%5Cb", "307 /a/b"),
        (&DEFAULT, "/a%2f..%2fb", "307 /b"),
        (&DEFAULT, "/a%252fb", "/a%252fb"),
        (&DEFAULT, "/a%2f?x=%2f", "307 /a/?x=%2f"),
        (&DEFAULT, "//", "//"),
        (&DEFAULT, "///a///b//", "/a/b/"),
        (&DEFAULT, "/a//../b", "/a/b"),
        (&DEFAULT, "//evil.test/x", "/evil.test/x"),
        (&DEFAULT, "/a//b?x=//y", "/a/b?x=//y"),
        (&DEFAULT, "/a\\..\\b", "/b"),
        (&DEFAULT, "/%00", "400"),
        (&DEFAULT, "/a%0ab", "/a%0ab"),
        (&DEFAULT, "/a%0d%0ab", "/a%0d%0ab"),
        (&DEFAULT, "/a%2", "/a%2"),
        (&DEFAULT, "/a%2/b", "/a%2/b"),
        (&DEFAULT, "/a%C3%A9", "/a%C3%A9"),
        (&DEFAULT, "/a:b", "/a:b"),
        (&DEFAULT, "/a~b", "/a~b"),
        (&DEFAULT, "/a[b]", "/a[b]"),
        (&DEFAULT, "/a|b", "/a%7Cb"),
        (&DEFAULT, "/a^b", "/a%5Eb"),
        (&DEFAULT, "/a\"b", "/a%22b"),
        (&DEFAULT, "/?", "/?"),
        (&DEFAULT, "/a?%zz", "/a?%zz"),
        (&DEFAULT, "/a?x=/../y", "/a?x=/../y"),
        (&DEFAULT, "/a#frag", "400"),
        (&DEFAULT, "/a%23b", "/a%23b"),
        (&DEFAULT, "/a/%2e%2e%2f%2e%2e/b", "307 /b"),
        (&DEFAULT, "/a%2f/b", "307 /a/b"),
        (&KEEP, "/a%5cb", "/a%5cb"),
        (&KEEP, "/a%252fb", "/a%252fb"),
        (&KEEP, "/%2f", "/%2f"),
        (&KEEP, "/%2f%2fevil.test", "/%2f%2fevil.test"),
        (&KEEP, "/a?x=%2f", "/a?x=%2f"),
        (&KEEP, "/a%2f?x=%2f", "/a%2f?x=%2f"),
        (&KEEP, "/a%2f/b", "/a%2f/b"),
        (&KEEP, "/a%2e%2fb", "/a.%2fb"),
        (&REJECT, "/a%2Fb", "400"),
        (&REJECT, "/a%5Cb", "400"),
        (&REJECT, "/a%2f..%2fb", "400"),
        (&REJECT, "/a%2f%2e%2e%2fb", "400"),
        (&REJECT, "/%2f%2fevil.test", "400"),
        (&REJECT, "/a%2f/b", "400"),
        (&REJECT, "/a\\b", "/a/b"),
        (&REJECT, "/a%2e%2fb", "400"),
        (&UNESCAPE, "/a%2fb", "/a/b"),
        (&UNESCAPE, "/a%2Fb", "/a/b"),
        (&UNESCAPE, "/a%5Cb", "/a/b"),
        (&UNESCAPE, "/a%2f..%2fb", "/b"),
        (&UNESCAPE, "/a%2f%2e%2e%2fb", "/b"),
        (&UNESCAPE, "/%2f%2fevil.test", "/evil.test"),
        (&UNESCAPE, "/a?x=%2f", "/a?x=%2f"),
        (&UNESCAPE, "/a%2f/b", "/a/b"),
        (&UNESCAPE, "/a\\b", "/a/b"),
        (&DEFAULT, "/a%2f%2e%2e%2fb", "307 /b"),
        (&DEFAULT, "/%2f", "307 //"),
        (&DEFAULT, "/a%2e%2fb", "307 /a./b"),
        (&NO_MERGE, "/a//b", "/a//b"),
        (&NO_MERGE, "//a", "//a"),
        (&NO_MERGE, "///a///b//", "///a///b//"),
        (&NO_MERGE, "/a//../b", "/a/b"),
        (&NO_MERGE, "/a%2f%2fb", "307 /a//b"),
        (&DEFAULT, "/foo%2f1", "307 /foo/1"),
        (&DEFAULT, "/x/../foo", "/foo"),
        (&DEFAULT, "/foo%2fbar", "307 /foo/bar"),
        (&DEFAULT, "/FOO", "/FOO"),
    ];

#[test]
fn paths_become_what_envoy_makes_of_them() {
    for (settings, target, expected) in RECORDED {
        assert_eq!(
            outcome(target, settings),
            *expected,
            "{target} {settings:?}"
        );
    }
}

#[test]
fn what_envoy_leaves_open_is_closed() {
    for (settings, target, expected) in [
        // If the escapes were decoded, a second decoder would find an escaped slash or a dot.
        (&REJECT, "/a%%32fb", "/a%%32fb"),
        (&DEFAULT, "/%%32%65%%32%65/x", "/%%32e%%32e/x"),
        (&DEFAULT, "/a%%34%31", "/a%%341"),
        (&DEFAULT, "/a%4%31", "/a%4%31"),
        (&DEFAULT, "/a%{%41", "/a%%7BA"),
        // Without the prefix `/.`, the redirects would refer to another host.
        (&NO_MERGE, "/%2fevil.test", "307 /.//evil.test"),
        (&NO_MERGE, "/%5cevil.test", "307 /.//evil.test"),
        (&NO_MERGE, "//evil.test/a%2fb", "307 /.//evil.test/a/b"),
        (&NO_MERGE, "/a/..//evil.test%2f", "307 /.//evil.test/"),
        // These bytes are invalid in a request target.
        (&DEFAULT, "/é", "400"),
        (&DEFAULT, "/a?é", "400"),
        (&DEFAULT, "/a b", "400"),
        (&DEFAULT, "/a\u{7f}", "400"),
        (&DEFAULT, "/a?b#c", "400"),
        (&DEFAULT, "a", "400"),
        (&DEFAULT, "*", "400"),
        (&DEFAULT, "", "400"),
        (&DEFAULT, "?x", "400"),
    ] {
        assert_eq!(outcome(target, settings), expected, "{target} {settings:?}");
    }
}

#[test]
fn a_normal_path_is_recognised_at_once() {
    for path in ["/", "/a", "/a/b.c/", "/a..b/c.", "/a:b@c;d=e,f!$&'()*+"] {
        assert!(is_normal(path.as_bytes(), &DEFAULT), "{path}");
    }
}

/// Reference implementation that uses a list of segments.
fn model(path: &str, merge: bool) -> Option<String> {
    let mut text = String::new();
    let mut rest = path;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let code = (c == '%')
            .then(|| rest.get(..2))
            .flatten()
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        match (c, code) {
            (_, Some("00")) => return None,
            (_, Some(hex)) => {
                rest = &rest[2..];
                let plain = char::from(u8::from_str_radix(hex, 16).ok()?);
                if plain.is_ascii_alphanumeric() || "-._~".contains(plain) {
                    text.push(plain);
                } else {
                    text += "%";
                    text += hex;
                }
            }
            ('\\', _) => text.push('/'),
            (c, _) if "\"<>^`{|}".contains(c) => text += &format!("%{:02X}", u32::from(c)),
            (c, _) => text.push(c),
        }
    }
    let mut segments: Vec<&str> = Vec::new();
    let mut parts: Vec<&str> = text[1..].split('/').collect();
    let last = parts.pop()?;
    for part in parts.iter().chain([&last]) {
        match *part {
            "." => {}
            ".." => drop(segments.pop()),
            part => segments.push(part),
        }
    }
    if last == "." || last == ".." {
        segments.push("");
    }
    let out = format!("/{}", segments.join("/"));
    if !merge {
        return Some(out);
    }
    let words: Vec<&str> = out.split('/').filter(|word| !word.is_empty()).collect();
    let end = if out.len() > 1 && out.ends_with('/') {
        "/"
    } else {
        ""
    };
    Some(format!("/{}{end}", words.join("/")))
}

/// Paths in which slashes, dots and escapes are frequent.
fn any_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9]",
        3 => Just("/".to_owned()),
        2 => Just(".".to_owned()),
        2 => Just("%".to_owned()),
        1 => Just("\\".to_owned()),
        2 => "%[0-7][0-9a-fA-F]",
        1 => Just("%2e".to_owned()),
        1 => Just("%2F".to_owned()),
        1 => "[!-\"$->@-~]",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn any_settings() -> impl Strategy<Value = PathSettings> {
    let action = prop::sample::select(vec![
        EscapedSlashes::KeepUnchanged,
        EscapedSlashes::RejectRequest,
        EscapedSlashes::UnescapeAndForward,
        EscapedSlashes::UnescapeAndRedirect,
    ]);
    (any::<bool>(), action).prop_map(|(merge_slashes, escaped_slashes)| PathSettings {
        merge_slashes,
        escaped_slashes,
    })
}

/// Whether the path has a `%` that begins no escape. For these paths, [`normalize`] intentionally differs
/// from the reference implementation.
fn has_broken_escape(path: &str) -> bool {
    path.match_indices('%')
        .any(|(at, _)| escaped(&path.as_bytes()[at + 1..]).is_none())
}

proptest! {
    /// A normalised path does not change when it is normalised again.
    #[test]
    fn normalising_twice_is_normalising_once(path in any_path(), settings in any_settings()) {
        let (Ok(Normalized::Changed(once)) | Ok(Normalized::Redirect(once))) =
            normalize(&path, &settings) else { return Ok(()) };

        prop_assert!(!matches!(normalize(&once, &settings), Err(_) | Ok(Normalized::Redirect(_))), "{once}");
        if !once.starts_with("/./") {
            prop_assert_eq!(normalize(&once, &settings), Ok(Normalized::Unchanged));
        }
    }

    #[test]
    fn no_dots_and_no_double_slashes_are_left(path in any_path(), settings in any_settings()) {
        let Ok(result) = normalize(&path, &settings) else { return Ok(()) };
        let out = match result {
            Normalized::Unchanged => path,
            Normalized::Changed(path) => path,
            Normalized::Redirect(path) => path.strip_prefix("/.").map(str::to_owned).filter(|p| p.starts_with("//")).unwrap_or(path),
        };

        prop_assert!(out.starts_with('/'));
        prop_assert!(!out.split('/').any(|segment| segment == "." || segment == ".."), "{out}");
        prop_assert!(!settings.merge_slashes || out == "//" || !out.contains("//"), "{out}");
        prop_assert!(!out.contains('\\'));
    }

    #[test]
    fn it_agrees_with_a_slow_model(path in any_path(), merge_slashes: bool) {
        prop_assume!(!has_broken_escape(&path));
        let settings = PathSettings { merge_slashes, ..KEEP };

        let expected = model(&path, merge_slashes);

        prop_assert_eq!(outcome(&path, &settings), expected.unwrap_or_else(|| "400".to_owned()));
    }

    #[test]
    fn a_query_is_never_touched(path in any_path(), query in "[!-\"$-~]{0,12}", settings in any_settings()) {
        let (Ok(Normalized::Changed(out)) | Ok(Normalized::Redirect(out))) =
            normalize(&format!("{path}?{query}"), &settings) else { return Ok(()) };

        prop_assert_eq!(out.split_once('?').map(|(_, rest)| rest), Some(query.as_str()));
    }

    #[test]
    fn no_redirect_leaves_the_host(path in any_path(), merge_slashes: bool) {
        let settings = PathSettings { merge_slashes, ..DEFAULT };

        if let Ok(Normalized::Redirect(to)) = normalize(&path, &settings) {
            prop_assert!(to == "//" || !to.starts_with("//"), "{to}");
        }
    }

    #[test]
    fn no_text_makes_it_panic(text: String, settings in any_settings()) {
        let _ = normalize(&text, &settings);
        let _ = normalize(&format!("/{text}"), &settings);
    }
}
