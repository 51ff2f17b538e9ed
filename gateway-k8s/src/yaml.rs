//! Serialization of JSON values as YAML in the format of `kubectl get -o yaml`.

use serde_json::Value;

/// Writes `value` as a document, without a marker.
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0, true);
    out
}

/// Writes a value. `fresh`: the first line needs no indentation, for example in a list item.
fn block(out: &mut String, value: &Value, indent: usize, fresh: bool) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 || !fresh {
                    pad(out, indent);
                }
                out.push_str(&scalar(key));
                out.push(':');
                below(out, value, indent);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 || !fresh {
                    pad(out, indent);
                }
                out.push_str("- ");
                block(out, item, indent + 2, true);
            }
        }
        leaf => {
            out.push_str(&inline(leaf));
            out.push('\n');
        }
    }
}

/// Writes the value of a key, on the line of the key or below it.
fn below(out: &mut String, value: &Value, indent: usize) {
    let nested = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if !nested {
        out.push(' ');
        out.push_str(&inline(value));
        out.push('\n');
        return;
    }
    out.push('\n');
    // Lists are not indented below their key, as in the output of kubectl.
    let deeper = if value.is_array() { indent } else { indent + 2 };
    block(out, value, deeper, false);
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A string. It is quoted if it could be read as another type.
fn scalar(text: &str) -> String {
    let first = text.chars().next().unwrap_or(' ');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./ ,()".contains(c);
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    let simple =
        first.is_ascii_alphabetic() && text.chars().all(plain) && !text.ends_with(' ') && !word;
    if simple {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_format_is_that_of_kubectl() {
        let value = json!({
            "kind": "Gateway",
            "metadata": {"name": "shared"},
            "status": {
                "addresses": [],
                "conditions": [
                    {"message": "it is: fine", "status": "True", "type": "Accepted"},
                    {"observedGeneration": 1, "status": "80"},
                ],
                "listeners": [["a", "b"], {}],
            },
        });

        assert_eq!(
            write(&value),
            "\
kind: Gateway
metadata:
  name: shared
status:
  addresses: []
  conditions:
  - message: \"it is: fine\"
    status: \"True\"
    type: Accepted
  - observedGeneration: 1
    status: \"80\"
  listeners:
  - - a
    - b
  - {}
"
        );
    }

    /// The decoder of manifests returns the written value.
    #[test]
    fn strings_that_look_like_other_values_are_quoted() {
        for text in [
            "", "true", "No", "80", "1e3", "- a", "a: b", "a #b", "~", "*x", "a\nb", "é", "'",
            " a", "a ", "0x1",
        ] {
            let yaml = write(
                &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": text}}),
            );

            let decoded = crate::decode::decode("", &yaml);

            let read = decoded
                .objects
                .config_maps
                .values()
                .next()
                .expect("it is read");
            assert_eq!(read.spec.data["k"], text, "{yaml}");
        }
    }
}
