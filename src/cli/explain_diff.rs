//! `meridian explain --diff`: what changed, term by term, between two explanations of one client.
//!
//! Both come as the JSON that `--json` prints. Ages and counters that grow by themselves are left out, and
//! what is rounding.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::control::bounded_file;
use crate::steer::figure::rounded;

use super::output::{Align, Failure, Outcome, Table};

/// A term of the explanation that is not as it was. `None`: not there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Such as `region seoul: price ms`.
    pub term: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// A larger file is no explanation, in octets.
const MAX_OCTETS: u64 = 16 << 20;
/// The terms that change by themselves from one moment to the next.
const PASSING: [&str; 12] = [
    "generation",
    "age_s",
    "probe_age_s",
    "tried_s",
    "since_s",
    "jumped_s",
    "damped_s",
    "held_s",
    "delayed_s",
    "awaits_resume_s",
    "measured_at",
    "samples",
];

/// An explanation that was printed before; `None` where the file is something else, such as a configuration.
pub fn kept(path: &Path) -> Outcome<Option<Value>> {
    let unreadable = |error: std::io::Error| Failure::new(format!("cannot read {}: {error}", path.display()));
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() || about.len() > MAX_OCTETS {
        return Err(Failure::new(format!("{} is neither an explanation nor a configuration", path.display())));
    }
    let text = bounded_file::read(path, MAX_OCTETS).map_err(unreadable)?;
    match serde_json::from_slice::<Value>(&text) {
        Ok(report) if report.get("explanation").is_some() && report.get("answer").is_some() => Ok(Some(report)),
        Ok(_) => {
            let error = Failure::new(format!("{} is JSON, but no explanation", path.display()));
            Err(error.help("keep one with `meridian explain … --json > before.json`"))
        }
        Err(_) => Ok(None),
    }
}

/// Every term that differs, in the order of the terms.
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let (before, after) = (terms(before), terms(after));
    let names: Vec<&String> = after.keys().chain(before.keys().filter(|name| !after.contains_key(*name))).collect();
    let one = |name: &String| {
        let (old, new) = (before.get(name), after.get(name));
        let differ = match (old, new) {
            (Some(old), Some(new)) => !alike(name, old, new),
            _ => true,
        };
        differ.then(|| Difference { term: name.clone(), before: old.map(shown), after: new.map(shown) })
    };
    names.into_iter().filter_map(one).collect()
}

/// The lines of a table, or that nothing differs.
pub fn render(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return "the same, term by term\n".to_owned();
    }
    let mut table = Table::new([("term", Align::Left), ("before", Align::Left), ("after", Align::Left)]);
    let cell = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for difference in differences {
        table.row([difference.term.clone(), cell(&difference.before), cell(&difference.after)]);
    }
    table.render()
}

fn terms(report: &Value) -> BTreeMap<String, Value> {
    let mut terms = BTreeMap::new();
    add("", report, &mut terms);
    terms
}

/// Adds a value under its name, or its parts under theirs. Regions go by their names, not their order.
fn add(name: &str, value: &Value, terms: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter().filter(|(key, _)| !PASSING.contains(&key.as_str())) {
                add(&joined(name, key), value, terms);
            }
        }
        Value::Array(rows) if rows.iter().any(Value::is_object) => {
            for (index, row) in rows.iter().enumerate() {
                let of = row.get("region").and_then(Value::as_str).map_or_else(|| index.to_string(), str::to_owned);
                add(&format!("region {of}:"), row, terms);
            }
        }
        Value::Null => {}
        value => {
            terms.insert(name.to_owned(), value.clone());
        }
    }
}

/// `explanation` goes without saying; `price_ms` reads `price ms`.
fn joined(name: &str, key: &str) -> String {
    let key = key.replace('_', " ");
    match name {
        "" | "explanation" => key,
        name => format!("{name} {key}"),
    }
}

fn alike(name: &str, old: &Value, new: &Value) -> bool {
    /// Of milliseconds; of anything else, this part.
    const ROUNDING_MS: f64 = 0.05;
    const ROUNDING: f64 = 0.001;
    match (old.as_f64(), new.as_f64()) {
        (Some(old), Some(new)) if name.ends_with(" ms") => (old - new).abs() < ROUNDING_MS,
        (Some(old), Some(new)) => (old - new).abs() <= ROUNDING * old.abs().max(new.abs()),
        _ => old == new,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Number(number) => match number.as_f64() {
            Some(number) if number.fract() != 0.0 => rounded(number, 3),
            Some(0.0) => "0".to_owned(), // or -0.0
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(price_ms: f64, share: f64, generation: u64) -> Value {
        json!({
            "generation": generation,
            "explanation": {
                "policy": "score",
                "regions": [
                    { "region": "seoul", "share": share, "score": { "load_ms": price_ms }, "probe_age_s": price_ms },
                    { "region": "tokyo", "share": 1.0 - share, "excluded": if share < 1.0 { None } else { Some("far") } },
                ],
            },
            "answer": { "answer": ["www 30 A 192.0.2.1"] },
        })
    }

    #[test]
    fn what_differs_is_told_term_by_term() {
        let found = differences(&report(0.0, 1.0, 5), &report(12.5, 0.75, 9));
        let shown: Vec<_> = found
            .iter()
            .map(|one| (one.term.as_str(), one.before.as_deref().unwrap_or("-"), one.after.as_deref().unwrap_or("-")))
            .collect();
        let expected = [
            ("region seoul: score load ms", "0", "12.500"),
            ("region seoul: share", "1.0", "0.750"),
            ("region tokyo: share", "0", "0.250"),
            ("region tokyo: excluded", "far", "-"),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn nothing_is_never_less_than_nothing() {
        for nothing in [0.0, -0.0, -0.0001] {
            let text = shown(&json!(nothing));
            assert!(text.starts_with('0'), "{nothing} as {text}");
        }
        assert_eq!([shown(&json!(-3)), shown(&json!(-0.25))], ["-3", "-0.250"]);
    }

    #[test]
    fn time_that_passes_and_rounding_are_no_difference() {
        assert_eq!(differences(&report(1.0, 0.5, 1), &report(1.01, 0.5001, 7)), []);
        let mut turned = report(1.0, 0.5, 1);
        turned["explanation"]["regions"].as_array_mut().expect("rows").reverse();
        assert_eq!(differences(&report(1.0, 0.5, 1), &turned), [], "the order of regions says nothing");
        assert_eq!(differences(&json!(null), &json!([1])).len(), 1);
    }
}
