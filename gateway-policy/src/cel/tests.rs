//! Expressions against values, each with the result that CEL defines.

use serde_json::{Value, json};

use super::{AttributeSet, CelType, Environment, Expression, Value as CelValue};

const OBJECT: Environment = Environment::new(&[("self", &[])]);

fn holds(text: &str, value: &Value) -> Result<bool, String> {
    let expression = Expression::compile(text, &OBJECT).map_err(|error| error.to_string())?;
    expression
        .holds(&[CelValue::from(value)])
        .map_err(|error| error.to_string())
}

#[test]
fn expressions_have_the_values_that_cel_defines() {
    let object = json!({
        "type": "Exact",
        "value": "/a//b",
        "count": 3,
        "list": ["a", "b"],
        "refs": [{"name": "x", "port": 1}, {"name": "y"}],
        "labels": {"a.b/c": "d"},
        "namespace": "n",
        "timeout": "1m",
    });
    for text in [
        "self.type in ['Exact', 'PathPrefix'] ? self.value.contains('//') : true",
        "has(self.type) && !has(self.missing)",
        "self.count >= 3 && self.count + 1 * 2 == 5 && -self.count < 0",
        "1 + 2 * 3 - 4 / 2 % 2 == 7",
        "size(self.list) == 2 && self.list.size() == 2 && self.type.size() == 5",
        "self.list.all(x, x.matches('^[a-z]$')) && self.list[1] == 'b'",
        "self.refs.exists_one(r, has(r.port) && r.port == 1)",
        "self.refs.filter(r, r.name != 'x').size() == 1",
        "self.refs.all(a, self.refs.exists_one(b, a.name == b.name))",
        "self.labels.all(key, key.split('/')[0].size() == 3)",
        "'a.b/c' in self.labels && !('x' in self.labels)",
        "self.__namespace__ == 'n'",
        "duration(self.timeout) == duration('60s')",
        "{'a': 1, 'b': 2}['b'] == 2 && {'x': {'y': 1}}.x.y == 1",
        r#"self.value.matches(r"""^/a//b$""") && self.type.lowerAscii() == "exact""#,
        r"'a\\.b'.matches('^a\\\\\\.b$') && 'it\'s'.endsWith('s')",
        "self.value.substring(1).startsWith('a//') && self.value.substring(1, 2) == 'a'",
        "'*' in ['*'] && !isIP('example.com') && isIP('::1')",
        "!format.dns1123Subdomain().validate('a-1.example.com').hasValue()",
        "['', 'A', '-a', 'a-', 'a..b', 'a_b', '.a'].all(t, format.dns1123Subdomain().validate(t).hasValue())",
        "self.list == ['a', 'b'] && self.count != 'three' && 1 == 1.0 && 2.5 > 2",
        "self.list.map(x, x + '!') == ['a!', 'b!'] && self.refs.map(r, r.name)[1] == 'y'",
        "int('12') == 12 && int(3) == 3 && string(3) == '3' && string(true) == 'true'",
        "null == null && self.type != null",
        "[true, false].filter(x, x).size() == 1 && 'POST' == 'post'.upperAscii()",
    ] {
        assert_eq!(holds(text, &object), Ok(true), "{text}");
    }
}

#[test]
fn an_operand_that_decides_hides_the_error_of_the_other() {
    let object = json!({"list": [{"a": 1}, {}]});
    for (text, expected) in [
        ("self.x == 1 && false", Ok(false)),
        ("self.x == 1 || true", Ok(true)),
        ("false && self.x", Ok(false)),
        ("self.x == 1 && true", Err("no such field: x")),
        ("self.list.exists(i, i.a == 1)", Ok(true)),
        ("self.list.all(i, i.a == 2)", Ok(false)),
        ("self.list.all(i, i.a == 1)", Err("no such field: a")),
        ("self.list.exists_one(i, i.a == 1)", Err("no such field: a")),
        ("self.list[2] == 1", Err("no such key or index")),
        ("self.list < 1", Err("values that have no order")),
        (
            "9223372036854775807 + 1 > 0",
            Err("integer overflow or division by zero"),
        ),
        ("1 / 0 == 1", Err("integer overflow or division by zero")),
        (
            "has(self.list.x)",
            Err("field x of a value that is not an object"),
        ),
        ("self.list", Err("expected a boolean")),
    ] {
        let expected = expected.map_err(str::to_owned);
        assert_eq!(holds(text, &object), expected, "{text}");
    }
}

#[test]
fn what_is_not_supported_does_not_compile() {
    for (text, expected) in [
        (
            "oldSelf == self",
            "the variable `oldSelf` is not supported at byte 8",
        ),
        (
            "self.x.foo()",
            "the function `foo` with 1 arguments is not supported at byte 12",
        ),
        (
            "self.matches(self)",
            "`matches` takes a literal pattern at byte 18",
        ),
        ("has(self)", "`has` takes a field at byte 9"),
        (
            "format.uuid().validate(self).hasValue()",
            "the format `uuid` is not supported at byte 11",
        ),
        (
            "format.dns1123Subdomain().validate(self).value()",
            "expected `hasValue` at byte 46",
        ),
        ("self.", "expected a name at byte 5"),
        ("(self", "expected `)` at byte 5"),
        ("self self", "unexpected token at byte 5"),
        ("'abc", "string without end at byte 0"),
        ("99999999999999999999", "number out of range at byte 0"),
        ("self # 1", "unexpected character at byte 5"),
        ("'a'", "expected a boolean, found a string at byte 0"),
        (
            "self.a.size()",
            "expected a boolean, found a number at byte 0",
        ),
        (
            "self.a && [self]",
            "expected a boolean, found a list at byte 0",
        ),
        (
            "!self.a.split(',')",
            "expected a boolean, found a list at byte 0",
        ),
        (
            "self.a ? 'x' : self.b + 'y'",
            "expected a boolean, found a string at byte 0",
        ),
        (
            "self.a.filter(x, 1)",
            "expected a boolean, found a number at byte 0",
        ),
        (
            "self.a.map(x, x)",
            "expected a boolean, found a list at byte 0",
        ),
        ("{'a': true}", "expected a boolean, found a map at byte 0"),
        ("null", "expected a boolean, found null at byte 0"),
        ("", "expected a value at byte 0"),
    ] {
        assert_eq!(holds(text, &json!({})), Err(expected.to_owned()), "{text}");
    }
    let deep = format!("{}self{}", "(".repeat(2_000), ")".repeat(2_000));
    assert!(Expression::compile(&deep, &OBJECT).is_err());
    assert!(Expression::compile(&"!".repeat(2_000), &OBJECT).is_err());
}

#[derive(Debug)]
struct Request;

impl AttributeSet for Request {
    fn attribute(&self, name: &str) -> Option<CelValue<'_>> {
        match name {
            "path" => Some(CelValue::Text("/a".into())),
            "headers" => Some(CelValue::Attributes(&Fields)),
            _ => None,
        }
    }
}

/// Attributes in which `unclear` is present but has no value.
#[derive(Debug)]
struct Fields;

impl AttributeSet for Fields {
    fn attribute(&self, _: &str) -> Option<CelValue<'_>> {
        None
    }

    fn contains(&self, name: &str) -> bool {
        name == "unclear"
    }
}

#[test]
fn attributes_are_those_that_the_environment_declares() {
    const REQUEST: Environment = Environment::new(&[(
        "request",
        &[
            ("path", CelType::Text),
            ("host", CelType::Text),
            ("headers", CelType::Attributes(&CelType::Text)),
        ],
    )]);
    let holds = |text: &str| {
        let expression = Expression::compile(text, &REQUEST).map_err(|error| error.to_string())?;
        let result = expression.holds(&[CelValue::Attributes(&Request)]);
        result.map_err(|error| error.to_string())
    };

    assert_eq!(holds("request.path == '/a'"), Ok(true));
    assert_eq!(holds("has(request.host) || !has(request.path)"), Ok(false));
    assert_eq!(holds("['/a'].exists(request, request == '/a')"), Ok(true));
    assert_eq!(
        holds("has(request.headers.unclear) && 'unclear' in request.headers"),
        Ok(true)
    );
    assert_eq!(
        holds("has(request.headers.x) || 'x' in request.headers"),
        Ok(false)
    );
    for text in [
        "request.headers.size() > 1",
        "request.headers.exists(name, name == 'a')",
        "request.headers == {}",
        "request.path in [request.headers]",
        "request.headers",
        "(request.headers) != null",
    ] {
        let expected =
            "`request.headers` has no size and no list of keys; use `in`, `has` or a key at byte 0";
        assert_eq!(holds(text), Err(expected.to_owned()), "{text}");
    }
    for (text, expected) in [
        ("request.headers['unclear'] == ''", "no such key or index"),
        (
            "request.headers['a']",
            "expected a boolean, found a string at byte 0",
        ),
        (
            "request.path",
            "expected a boolean, found a string at byte 0",
        ),
        ("request.host == ''", "no such field: host"),
        (
            "request.paht == '/a'",
            "the attribute `request.paht` is not supported at byte 13",
        ),
        (
            "has(request.x)",
            "the attribute `request.x` is not supported at byte 13",
        ),
        (
            "request == null",
            "the variable `request` must be followed by an attribute at byte 8",
        ),
        (
            "request['path'] == '/a'",
            "the variable `request` must be followed by an attribute at byte 7",
        ),
        (
            "source.address == ''",
            "the variable `source` is not supported at byte 6",
        ),
    ] {
        assert_eq!(holds(text), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn an_evaluation_has_a_limit_of_steps() {
    let mut text = "true".to_owned();
    for depth in 0..20 {
        text = format!("self.all(x{depth}, {text})");
    }
    let list = json!(["a", "b", "c", "d", "e", "f", "g", "h"]);

    assert_eq!(holds(&text, &list), Err("too many steps".to_owned()));
    assert_eq!(
        holds("self.all(x, self.all(y, x != '' && y != ''))", &list),
        Ok(true)
    );
}
