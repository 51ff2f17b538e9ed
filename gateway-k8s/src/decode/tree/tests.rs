use proptest::prelude::*;

use super::*;

fn error(text: &str) -> String {
    parse(text).expect_err("it is refused").message
}

fn at(text: &str, keys: &[&str]) -> (usize, usize) {
    let mut node = parse(text).expect("it is well-formed");
    for key in keys {
        node = match &node.value {
            Value::List(items) => items[key.parse::<usize>().expect("an index")].clone(),
            _ => node.field(key).expect("the field is there").clone(),
        };
    }
    (node.place.line, node.place.column)
}

#[test]
fn every_value_has_its_position() {
    let yaml = "a:\n  b: 1\n  c:\n  - x\n  - {d: \"é\", e: [7]}\n";
    let json = "{\n\t\"a\": {\"b\": 1,\n \"c\":[\"x\"]}}";

    assert_eq!(at(yaml, &["a", "b"]), (2, 6));
    assert_eq!(at(yaml, &["a", "c", "0"]), (4, 5));
    assert_eq!(at(yaml, &["a", "c", "1", "d"]), (5, 9));
    assert_eq!(at(yaml, &["a", "c", "1", "e", "0"]), (5, 18));
    assert_eq!(at(json, &["a", "b"]), (2, 13));
    assert_eq!(at(json, &["a", "c", "0"]), (3, 7));
}

#[test]
fn what_is_malformed_is_refused_with_a_reason() {
    assert!(error("a: 1\na: 2").contains("duplicate key `a`"));
    assert!(error("a: !!binary aGk=").contains("!!binary"));
    assert!(error("[a, b]: c").contains("must be a string"));
    assert!(error("a: &x [*x]").contains("alias"));
    assert!(error("a: *unknown").contains("unknown"));
    assert_eq!(parse("a:\n\tb: 1").expect_err("a tab").place.line, 2);
    assert_eq!(parse("a: [1").expect_err("unclosed").place.line, 1);
}

/// As in kubectl, a scalar with an unknown tag is a string, and a core tag requires a value of its type.
#[test]
fn a_tag_decides_whether_a_scalar_is_a_string() {
    let boolean = |text: &str| {
        parse(text)
            .unwrap()
            .field("a")
            .and_then(|node| node.boolean())
    };
    for (text, expected) in [
        ("a: yes", Some(true)),
        ("a: Off", Some(false)),
        ("a: 'yes'", None),
        ("a: !!str yes", None),
        ("a: !local yes", None),
        ("a: ! yes", None),
        ("a: !!bool yes", Some(true)),
        ("a: !!bool 'off'", Some(false)),
    ] {
        assert_eq!(boolean(text), expected, "{text}");
    }
    assert!(parse("a: !!set {b: null}\nc: !!omap [d: 1]\ne: !local {f: g}").is_ok());
    for (text, expected) in [
        ("a: !!int abc", "`abc` has the tag `!!int`"),
        ("a: !!bool 1", "`1` has the tag `!!bool`"),
        ("a: !!int 8.5", "`8.5` has the tag `!!int`"),
        (
            "a: -.inf",
            "the number `-.inf` has no value in JSON; put it in quotes",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn unquoted_keys_are_those_of_kubectl() {
    let node = parse("{on: 1, 0644: 2, 'off': 3, !!str no: 4}").unwrap();

    for (key, value) in [("true", "1"), ("420", "2"), ("off", "3"), ("no", "4")] {
        let found = node
            .field(key)
            .and_then(|node| node.text().map(str::to_owned));
        assert_eq!(found.as_deref(), Some(value), "{key}");
    }
}

#[test]
fn merge_keys_fill_in_what_is_missing() {
    let node = parse("base: &b {x: 1, z: 2}\nthis:\n  <<: *b\n  z: 3\n").expect("well-formed");
    let this = node.field("this").expect("there");

    assert_eq!(
        this.field("x")
            .and_then(|n| n.text().map(str::to_owned))
            .as_deref(),
        Some("1")
    );
    assert_eq!(
        this.field("z")
            .and_then(|n| n.text().map(str::to_owned))
            .as_deref(),
        Some("3")
    );
}

#[test]
fn an_alias_bomb_is_refused_before_it_is_expanded() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..20 {
        let below = vec![format!("*a{}", level - 1); 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }

    assert!(error(&bomb).contains("too large"));
}

#[test]
fn deep_nesting_is_refused_also_through_aliases() {
    assert!(parse(&"[".repeat(5000)).is_err());
    let half = format!("{}*x{}", "[".repeat(60), "]".repeat(60));
    let deep = format!("a: &x {}{}\nb: {half}", "[".repeat(60), "]".repeat(60));

    assert!(error(&deep).contains("too large"));
}

#[test]
fn an_object_beyond_the_bound_is_refused() {
    assert!(error(&format!("a: {}", "x".repeat(MAX_BYTES))).contains("bytes"));
}

#[test]
fn surrogate_pairs_of_json_are_one_character() {
    let node = parse(r#"{"a": "\ud83d\ude00"}"#).expect("it is JSON");

    assert_eq!(
        node.field("a")
            .and_then(|n| n.text().map(str::to_owned))
            .as_deref(),
        Some("😀")
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-c0-9:,{}\\[\\]&*<'\"|>%!#? \t\r\n-]{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_unicode_panics(text in any::<String>()) {
        let _ = parse(&text);
    }
}
