//! Schemas in plain words: without what TOML does not have, and without what helps no reader.

use serde_json::{Map, Value};

/// Takes out `null`, which TOML has not, the width of numbers, and line breaks within a paragraph.
pub fn simplify(schema: &mut Value) {
    for_each_object(schema, &mut |object| {
        drop_null(object);
        // A setting may be called so, too.
        if object.get("format").is_some_and(Value::is_string) {
            object.remove("format");
        }
        if let Some(Value::String(text)) = object.get_mut("description") {
            let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
            *text = paragraphs.collect::<Vec<_>>().join("\n\n");
        }
    });
}

/// Leaves only the words of links in descriptions: where they lead is beside the reference.
pub fn drop_links(schema: &mut Value) {
    for_each_object(schema, &mut |object| {
        if let Some(Value::String(text)) = object.get_mut("description") {
            *text = without_links(text);
        }
    });
}

/// The text, of each link its words.
fn without_links(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        plain.push_str(before);
        match link.split_once("](") {
            Some((words, target)) if !words.contains(['[', ']']) => {
                plain.push_str(words);
                rest = target.split_once(')').map_or("", |(_, after)| after);
            }
            _ => {
                plain.push('[');
                rest = link;
            }
        }
    }
    plain + rest
}

/// What an `Option` adds: the setting is left out, never null.
fn drop_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    let Some(Value::Array(mut choices)) = object.remove("anyOf") else { return };
    choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
    match choices.as_slice() {
        [Value::Object(only)] => {
            for (key, value) in only {
                object.entry(key).or_insert_with(|| value.clone());
            }
        }
        _ => drop(object.insert("anyOf".into(), choices.into())),
    }
}

/// Calls `change` for each object, those inside first.
fn for_each_object(value: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(|inner| for_each_object(inner, change));
            change(object);
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| for_each_object(inner, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_left_out_is_not_null() {
        let mut schema = json!({ "a": { "type": ["string", "null"], "format": "x", "description": "a\nb\n\nc" },
            "b": { "description": "d", "anyOf": [{ "$ref": "#/x", "description": "e" }, { "type": "null" }] } });
        simplify(&mut schema);
        let plain =
            json!({ "a": { "type": "string", "description": "a b\n\nc" }, "b": { "description": "d", "$ref": "#/x" } });
        assert_eq!(schema, plain);
    }

    #[test]
    fn links_are_told_by_their_words() {
        for (text, plain) in [
            ("a [b c](d.md#e), f", "a b c, f"),
            ("`[[x]]` and [y](z)", "`[[x]]` and y"),
            ("[a]: [\"b\"]", "[a]: [\"b\"]"),
            ("[a](b", "a"),
        ] {
            assert_eq!(without_links(text), plain);
        }
    }
}
