//! Tests of the translation of RE2's syntax.

use proptest::prelude::*;

use crate::text::TextMatch;

/// The expressions of RE2's documentation ("Syntax"), each with a matching and a non-matching string.
#[test]
fn expressions_in_the_syntax_of_re2_match_as_in_re2() {
    for (expression, yes, no) in [
        ("(?i)/users/.*", "/USERS/12", "/user/12"),
        ("/(?i:users)/x", "/UsErs/x", "/users/X"),
        (r"(?i)googlebot(/\d+)?", "GoogleBOT/2", "Google"),
        (r"/u/\pL+", "/u/aBé", "/u/1"),
        (r"\p{Greek}+", "αβγ", "abg"),
        (r"\P{Lu}+", "abc", "aBc"),
        (r"[[:alpha:]_]+", "ab_", "ab-"),
        (r"[[:^digit:]]+", "ab", "a1"),
        (r"a\Q.*[\Eb+", "a.*[bb", "axb"),
        (r"\Qa+b", "a+b", "aab"),
        ("/v1/{id}", "/v1/{id}", "/v1/id"),
        ("a{2,3}", "aaa", "aaaa"),
        ("a{,2}", "a{,2}", "aa"),
        ("[[]x", "[x", "x"),
        ("[]a]+", "]a", "b"),
        ("[^]a]+", "bc", "b]"),
        ("[a&&b]+", "a&b", "c"),
        ("[a~~b]+", "a~b", "c"),
        ("[--/]+", "-./", ","),
        (r"[\]\-&]+", "]-&", "x"),
        (r"(?P<name>a)(?:b)", "ab", "a"),
        (r"\x{61}\x62", "ab", "xy"),
        ("(?s).+", "a\nb", ""),
        (r"\Aa\z", "a", "a\n"),
        ("a+?b??", "aab", "ac"),
        (r"\*+[*+]+\Q**\E", "**+***", "a"),
        ("(?:a*)*", "aa", "b"),
        (r"[\w-.]+", "a-.b", "a/b"),
        (r"[^\w-/]+", ".:", "a-"),
        (r"[\d-z]+", "1-z", "a"),
        (r"[\s-\w]+", "a -", "/"),
        (r"[[:digit:]-z]+", "1-z", "a"),
        (r"[\w--/]+", "a-./", ","),
        (r"[a-c\x61-\x63\--]+", "abc-", "d"),
        (r"[+--]+", "+,-", "."),
        (r"[a\]-c]+", "a]b", "-"),
        (r"[^a^]+", "b", "^"),
        (r"\p{^Lu}+", "ab", "AB"),
        (r"[\p{^Lu}x]+", "ab", "AB"),
        (r"\P{^Lu}+", "AB", "ab"),
        (r"a\p{Cs}?", "a", "b"),
        (r"[\p{Cs}a]\P{Cs}", "ab", "b"),
        ("(?P<n>a)(?P<n>b)(?<n>c)", "abc", "ab"),
        (r"\101[\102]\0?", "AB", "A1"),
        (r"\<a\>", "<a>", "a"),
        (r"a\b{b}", "a{b}", "ab"),
        (r"\w+", "aZ_9", "é"),
        (r"\W", "é", "a"),
        (r"\d", "1", "١"),
        (r"\D", "١", "1"),
        (r"\s", "\t", "\u{b}"),
        (r"\S", "\u{a0}", "\r"),
        (r"[^\w/]+", "é", "a"),
        (r"[\W\d]+", "é1", "a"),
        (r"a\bé", "aé", "a"),
        (r".\Bé", "éé", "a"),
        (r"(?i)\w", "\u{212a}", "é"),
        ("(?)a{1000}?", &*"a".repeat(1000), "a"),
        ("a{01}", "a{01}", "a"),
        ("a{1,02}", "a{1,02}", "aa"),
        ("a{0}b", "b", "ab"),
        ("(?ii)a", "A", "b"),
        ("(?i-i)a", "a", "A"),
        ("(?is-is:a)", "a", "A"),
        ("(?i)(?s-i)a", "a", "A"),
        (r"a|\x{d800}", "a", "b"),
        (r"[\x{d800}a]", "a", "b"),
        (r"[\x{dfff}-\x{e001}]", "\u{e001}", "\u{d7ff}"),
        (r"[\x{d7ff}-\x{d800}]", "\u{d7ff}", "\u{e000}"),
        (r"[\x{d800}-\x{dfff}a]", "a", "\u{e000}"),
        (r"[\x{d7ff}-\x{e000}]", "\u{e000}", "\u{e001}"),
        ("(?<é>a)(?P<n_1>b)", "ab", "a"),
        (r"\p{Any}\p{Linear_A}?\p{SignWriting}?", "a", ""),
        (r"\p{Thai}|\p{Han}|\p{Old_Italic}", "ก", "a"),
        (r"\p{Common}\P{Greek}", "1a", "1α"),
        (r"\p{C}", "\u{7f}", "\u{378}"),
        (r"\PC", "\u{378}", "\u{7f}"),
        (r"[\p{^C}]", "\u{378}", "\u{7f}"),
    ] {
        let matcher = TextMatch::regex(expression).unwrap();

        assert!(matcher.matches(yes), "{expression} {yes}");
        assert!(!matcher.matches(no), "{expression} {no}");
    }
}

#[test]
fn large_counts_fit_into_the_maximum_size() {
    for expression in [
        r"/users/\w{1,64}",
        r"[\w.-]{1,255}",
        r"/d/\w{32}/\w{32}",
        r"\w{1,1000}",
        r"\d{1,1000}",
        r"[^/]{1,1000}",
        ".{1,1000}",
        r"\S{1,1000}",
        r"(?i)[a-z0-9._%+-]{1,64}@[a-z0-9.-]{1,255}",
    ] {
        assert!(TextMatch::regex(expression).is_ok(), "{expression}");
    }
}

#[test]
fn what_re2_rejects_is_rejected() {
    for expression in [
        "(",
        ")",
        "a)|(b",
        "[a",
        "*",
        r"(?=a)",
        r"\1",
        r"\pX",
        "a{2,1}",
        "[b-a]",
        "\\",
        "a**",
        "a*+",
        "a+?*",
        "a{2}{3}",
        "(a)*+?",
        "[[:foo:]]",
        "a{1001}",
        "a{1,1001}",
        "a{99999999999}",
        "(?x)a",
        "(?u:a)",
        "(?<=a)b",
        r"\u0041",
        r"[\u0041]",
        r"[a-\d]",
        "[a--]",
        r"\8",
        r"[\1]",
        r"[\Q]",
        r"\p{^Foo}",
        "(?P<a b>c)",
        "[]",
        "[^]",
        r"\p{Letter}",
        r"\p{latin}",
        r"\p{LATIN}",
        r"\p{Latn}",
        r"\p{Alphabetic}",
        r"\p{sc=Greek}",
        r"\p{Script=Greek}",
        r"\p{Cn}",
        r"\p{LC}",
        r"\p{lu}",
        r"\pl",
        r"\p{any}",
        r"\p{Foo}",
        r"\p{A}",
        r"\p{}",
        "(?)+?",
        "(?)*",
        "(?i-)a",
        "(?i--s)a",
        "(?P<²>a)",
        r"[\x{dfff}-\x{d800}]",
        r"[\x{e000}-\x{d800}]",
        r"[\x{d800}-a]",
    ] {
        assert!(TextMatch::regex(expression).is_err(), "{expression}");
    }
}

proptest! {
    #[test]
    fn quoted_text_matches_itself_only(text in "[ -~]{0,8}", other in "[ -~]{0,8}") {
        prop_assume!(!text.contains("\\E") && !text.ends_with('\\'));
        let matcher = TextMatch::regex(&format!("\\Q{text}\\E")).unwrap();

        prop_assert!(matcher.matches(&text));
        prop_assert_eq!(matcher.matches(&other), text == other);
    }

    #[test]
    fn no_expression_makes_it_panic(expression in "[a-z\\\\\\[\\]{}^:&~,0-9Qé-]{0,12}") {
        let _ = TextMatch::regex(&expression);
    }
}
