//! What watches Meridian from outside: the list of metrics in docs/metrics.md, the alert rules and the dashboard of
//! `examples/monitoring`. None may name a metric that there is not, and none of the metrics may go unexplained.

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use support::tools::present;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/monitoring");

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Name as scraped, with the help text, of everything that the source registers.
fn registered() -> BTreeMap<String, String> {
    let source = read("src/admin/metrics.rs");
    let mut metrics = BTreeMap::new();
    for (kind, suffix) in [("counter", "_total"), ("gauge", ""), ("histogram", "")] {
        for call in source.split(&format!("out.{kind}(")).skip(1) {
            let mut strings = call.split('"').skip(1).step_by(2);
            let (name, help) = (strings.next().expect("a name"), strings.next().expect("a help"));
            let help = help.split("\\\n").map(str::trim_start).collect::<String>(); // a string over two lines
            metrics.insert(format!("meridian_{name}{suffix}"), help);
        }
    }
    metrics
}

/// All words that begin as metrics do, without what the parts of a histogram are called.
fn named(text: &str) -> Vec<String> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c: char| !is_word(c)).filter(|word| word.starts_with("meridian_"));
    words.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

#[test]
fn every_metric_is_explained_and_nothing_else() {
    let (registered, text) = (registered(), read("docs/metrics.md"));
    assert!(registered.len() > 90, "{}", registered.len());
    for (name, help) in &registered {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{name}` ")));
        let row = row.unwrap_or_else(|| panic!("docs/metrics.md has no row for {name}"));
        assert!(row.contains(&help.replace('|', "\\|")), "{name} is explained otherwise than its help says: {help}");
    }
    for name in text.lines().filter(|line| line.starts_with("| `meridian_")).flat_map(named) {
        assert!(registered.contains_key(&name), "docs/metrics.md explains {name}, which there is not");
    }
}

#[test]
fn rules_and_dashboard_name_metrics_that_there_are() {
    let (registered, rules) = (registered(), read("examples/monitoring/alerts.yml"));
    for (file, text) in [("alerts.yml", rules.clone()), ("grafana.json", read("examples/monitoring/grafana.json"))] {
        let named = named(&text);
        assert!(named.len() > 25, "{file}: {}", named.len());
        for name in named {
            assert!(registered.contains_key(&name), "{file} asks for {name}, which there is not");
        }
    }
    let explained = read("docs/metrics.md");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).filter(|a| *a != "MeridianDown")
    {
        assert!(explained.contains(alert), "docs/metrics.md does not name {alert}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&read("examples/monitoring/grafana.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids: Vec<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let shown = named(&dashboard.to_string());
    for name in [
        "meridian_responses_total",
        "meridian_probe_seconds",
        "meridian_query_log_dropped_total",
        "meridian_dnstap_dropped_total",
    ] {
        assert!(shown.iter().any(|of| of == name), "the dashboard does not show {name}");
    }
    let at = |panel: &serde_json::Value, of: &str| panel["gridPos"][of].as_u64().expect("a number");
    let corner =
        |panel| (at(panel, "x"), at(panel, "y"), at(panel, "x") + at(panel, "w"), at(panel, "y") + at(panel, "h"));
    for (index, one) in panels.iter().enumerate() {
        let (left, top, right, bottom) = corner(one);
        assert!(right <= 24, "{}", one["title"]);
        for other in &panels[index + 1..] {
            let (x, y, to_x, to_y) = corner(other);
            let apart = right <= x || to_x <= left || bottom <= y || to_y <= top;
            assert!(apart, "{} lies on {}", one["title"], other["title"]);
        }
    }
}

#[test]
fn promtool_finds_the_rules_true() {
    let Some(promtool) = present("promtool") else { return };
    for arguments in [
        &["check", "rules", "alerts.yml"][..],
        &["test", "rules", "alerts_test.yml"],
        &["check", "config", "prometheus.yml"],
    ] {
        let out = Command::new(&promtool).args(arguments).current_dir(FOLDER).output().expect("promtool runs");
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{arguments:?}: {said}");
    }
}
