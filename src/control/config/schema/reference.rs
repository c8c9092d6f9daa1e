//! The settings as a document: a schema comes in, Markdown goes out.
//!
//! Each table of the files is a section, in the order in which they are met from the file on. Its settings are listed
//! by name, those that must be there first.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{Which, with_links};

const HEAD: &str = "\
# Reference of all settings

Every setting of the main file and of zone files, by table. This page is made of the code by `meridian config reference`;
what the settings do together is in [configuration](configuration.md). Editors show the same by a [schema](configuration.md#in-an-editor).

In the column \"default\", *required* is a setting that must be there. How durations, TTLs, paths and names are written is told under
[values](#values).
";

/// The whole document.
pub fn document() -> String {
    let mut text = HEAD.to_owned();
    let (mut values, mut written) = (Map::new(), BTreeSet::new());
    for which in [Which::Main, Which::Zone] {
        let schema = with_links(which);
        let Some(defs) = schema.get("$defs").and_then(Value::as_object) else { continue };
        let mut sections = Sections { defs, text: &mut text, written: &mut written };
        sections.table(&schema, "##");
        values.extend(defs.iter().filter(|(_, def)| !is_table(def)).map(|(name, def)| (name.clone(), def.clone())));
    }
    text.push_str("\n## values\n\n| kind | written as |\n|---|---|\n");
    for def in values.values() {
        let _ = writeln!(text, "| {} | {} |", word(def, "title"), word(def, "description"));
    }
    text
}

/// Writes sections, each once.
struct Sections<'a> {
    defs: &'a Map<String, Value>,
    text: &'a mut String,
    /// By their titles.
    written: &'a mut BTreeSet<String>,
}

impl<'a> Sections<'a> {
    /// The section of a table, and then those of the tables inside it.
    fn table(&mut self, table: &'a Value, level: &str) {
        let title = word(table, "title");
        if !self.written.insert(title.to_owned()) {
            return;
        }
        let _ = writeln!(self.text, "\n{level} `{title}`\n\n{}\n", word(table, "description"));
        let Some(settings) = table.get("properties").and_then(Value::as_object) else { return };
        let required: BTreeSet<&str> = strings(table.get("required")).collect();
        self.text.push_str("| key | type | default | range | meaning |\n|---|---|---|---|---|\n");
        let (first, others): (Vec<_>, Vec<_>) = settings.iter().partition(|(key, _)| required.contains(key.as_str()));
        for (key, setting) in first.iter().chain(&others) {
            let line = self.row(key, setting, required.contains(key.as_str()));
            self.text.push_str(&line);
        }
        for (_, setting) in first.into_iter().chain(others) {
            self.tables_in(setting);
        }
    }

    /// The sections of all tables that a setting may hold.
    fn tables_in(&mut self, value: &'a Value) {
        if let Some(def) = referred(value, self.defs).filter(|def| is_table(def)) {
            self.table(def, "###");
        }
        for key in ["items", "additionalProperties"] {
            value.get(key).into_iter().for_each(|inner| self.tables_in(inner));
        }
        value.get("anyOf").and_then(Value::as_array).into_iter().flatten().for_each(|inner| self.tables_in(inner));
    }

    fn row(&self, key: &str, setting: &Value, required: bool) -> String {
        let told = Told::of(word(setting, "description"));
        let default = match setting.get("default") {
            _ if required => "*required*".to_owned(),
            Some(default) => format!("`{}`", in_toml(default)),
            None => told.default.to_owned(),
        };
        let range = if told.range.is_empty() { bounds(setting) } else { told.range.to_owned() };
        format!("| `{key}` | {} | {default} | {range} | {} |\n", self.kind(setting), told.meaning)
    }

    /// The type of a setting, in words.
    fn kind(&self, value: &Value) -> String {
        if let Some(def) = referred(value, self.defs) {
            let title = word(def, "title");
            return match is_table(def) {
                true => format!("[`{title}`](#{})", slug(title)),
                false => title.to_owned(),
            };
        }
        if let Some(choices) = value.get("anyOf").and_then(Value::as_array) {
            let mut kinds: Vec<String> = choices.iter().map(|choice| self.kind(choice)).collect();
            if let [one, many] = kinds.as_mut_slice()
                && *many == format!("array: {one}")
            {
                *many = "an array".to_owned();
            }
            return kinds.join(", or ");
        }
        let words: Vec<String> = strings(value.get("enum")).map(|word| format!("`\"{word}\"`")).collect();
        match word(value, "type") {
            _ if !words.is_empty() => words.join(", "),
            "integer" => "whole number".into(),
            "array" => format!("array: {}", value.get("items").map(|items| self.kind(items)).unwrap_or_default()),
            "object" => match value.get("additionalProperties") {
                Some(inner) if inner.is_object() => format!("tables by name: {}", self.kind(inner)),
                _ => "table".into(),
            },
            "" => "any value".into(),
            other => other.to_owned(),
        }
    }
}

/// A setting's description, taken apart: its meaning, and a last paragraph with `Default:` and `Range:`.
struct Told<'a> {
    meaning: &'a str,
    default: &'a str,
    range: &'a str,
}

impl Told<'_> {
    fn of(text: &str) -> Told<'_> {
        let (meaning, more) = text.split_once("\n\n").unwrap_or((text, ""));
        let (before, range) = match more.split_once("Range: ") {
            Some((before, range)) => (before.trim(), range.trim_end_matches('.')),
            None => (more, ""),
        };
        let default = before.strip_prefix("Default: ").unwrap_or(before).trim_end_matches('.');
        Told { meaning, default, range }
    }
}

/// The type that a value refers to.
fn referred<'a>(value: &Value, defs: &'a Map<String, Value>) -> Option<&'a Value> {
    defs.get(word(value, "$ref").strip_prefix("#/$defs/")?)
}

fn is_table(def: &Value) -> bool {
    def.get("properties").is_some()
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn bounds(setting: &Value) -> String {
    let bound = |key| setting.get(key).and_then(Value::as_f64).map(|bound| bound.to_string());
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) if least != "0" => format!("from {least}"),
        _ => String::new(),
    }
}

/// A default as it would be written in a file.
fn in_toml(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let entries: Vec<String> = table.iter().map(|(key, value)| format!("{key} = {}", in_toml(value))).collect();
            if entries.is_empty() { "{}".into() } else { format!("{{ {} }}", entries.join(", ")) }
        }
        Value::Array(items) => format!("[{}]", items.iter().map(in_toml).collect::<Vec<_>>().join(", ")),
        plain => plain.to_string(),
    }
}

/// The anchor of a heading, as most readers of Markdown make it.
fn slug(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_link_of_the_document_leads_to_one_heading() {
        let document = document();
        let headings: Vec<String> = document
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| slug(line.trim_start_matches('#').trim()))
            .collect();
        for link in document.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert_eq!(headings.iter().filter(|heading| *heading == link).count(), 1, "{link}");
        }
        let unlike: BTreeSet<&String> = headings.iter().collect();
        assert_eq!(unlike.len(), headings.len(), "{headings:?}");
    }

    #[test]
    fn each_setting_is_told() {
        for line in document().lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = line.split(" | ").collect();
            assert_eq!(cells.len(), 5, "{line}");
            assert!(cells[4].len() > 4 && !cells[1].is_empty(), "{line}");
        }
    }
}
