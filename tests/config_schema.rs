//! The schema of the files says what the reader takes, and the committed documents are those the code makes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use meridian::control::config::schema::{self, Which};
use meridian::control::config::{self, Files};
use serde_json::{Value, json};

#[path = "support/tools.rs"]
#[allow(dead_code)]
mod tools;

/// Made of the code; written anew with `MERIDIAN_TEST_WRITE_DOCS=1 cargo test --test config_schema`.
#[test]
fn the_committed_documents_are_those_the_code_makes() {
    let made = [
        ("docs/meridian.schema.json", pretty(&schema::schema(Which::Main))),
        ("docs/zone.schema.json", pretty(&schema::schema(Which::Zone))),
        ("docs/reference.md", schema::reference::document()),
    ];
    for (path, text) in made {
        let file = root().join(path);
        if std::env::var_os("MERIDIAN_TEST_WRITE_DOCS").is_some() {
            std::fs::write(&file, &text).expect("written");
        }
        let kept = std::fs::read_to_string(&file).expect("a committed document");
        assert!(kept == text, "{path} is not as the code makes it: run with MERIDIAN_TEST_WRITE_DOCS=1");
    }
}

/// An unknown key in each kind of table has the reader tell all that it knows there; an unknown word, all words.
#[test]
fn the_schema_has_the_keys_and_words_that_are_read() {
    let mut keys: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (table, which, snippet) in CASES {
        let told = told(*which, &snippet.replace("ZZ", "zz = true"));
        let known =
            told.iter().find_map(|told| told.split_once("known here: ").filter(|_| told.contains("unknown key `zz`")));
        let (_, known) = known.unwrap_or_else(|| panic!("{table}: nothing is known of it: {told:#?}"));
        keys.entry(table).or_default().extend(known.split('`').skip(1).step_by(2).map(str::to_owned));
        for (key, words) in
            words_of(*which, table).into_iter().filter(|(key, _)| !snippet.contains(&format!("{key} =")))
        {
            let wrong = self::told(*which, &snippet.replace("ZZ", &format!("{key} = \"qqqqqq\"")));
            let expected = wrong.iter().find(|told| told.contains("cannot be \"qqqqqq\""));
            let expected = expected.and_then(|told| told.split_once("expected ")).map(|(_, words)| words);
            let line =
                expected.unwrap_or_else(|| panic!("{table}.{key}: {wrong:#?}")).lines().next().unwrap_or_default();
            let read: BTreeSet<String> = line.split('"').skip(1).step_by(2).map(str::to_owned).collect();
            assert_eq!(words, read, "{table}.{key}");
        }
    }
    for which in [Which::Main, Which::Zone] {
        for (table, settings) in tables(which) {
            let read = keys.get(table.as_str()).unwrap_or_else(|| panic!("no case for the table {table}"));
            assert_eq!(settings, *read, "{table} of {which:?}: in the schema, and read");
        }
    }
}

#[test]
fn the_examples_are_valid_and_misspelt_keys_are_not() {
    let mut cases = Vec::new();
    for (which, path) in example_files() {
        let text = std::fs::read_to_string(&path).expect("an example");
        cases.push(json!({ "of": of(which), "name": path, "value": from_toml(&text), "unknown": [] }));
    }
    assert!(cases.len() >= 8, "the examples are elsewhere");
    for (table, which, snippet) in CASES {
        let value = from_toml(&snippet.replace("ZZ", "zz = true"));
        cases.push(
            json!({ "of": of(*which), "name": format!("{table}: {snippet}"), "value": value, "unknown": ["zz"] }),
        );
    }
    let Some(python) = tools::find("python3") else { return };
    let has_library = Command::new(&python).args(["-c", "import jsonschema"]).stderr(Stdio::null()).status();
    if !has_library.is_ok_and(|status| status.success()) {
        return tools::skip(tools::Need::Program, "python3-jsonschema is not installed");
    }
    let input = json!({ "main": schema::schema(Which::Main), "zone": schema::schema(Which::Zone), "cases": cases });
    let mut child = Command::new(&python)
        .args(["-c", VALIDATE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    child.stdin.take().expect("its input").write_all(input.to_string().as_bytes()).expect("written");
    let output = child.wait_with_output().expect("its output");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "what does not validate as it should");
    assert!(output.status.success());
}

/// Tells each case that is valid and should not be, or the other way round.
const VALIDATE: &str = r#"
import json, sys
from jsonschema import Draft202012Validator
given = json.load(sys.stdin)
for which in ("main", "zone"):
    Draft202012Validator.check_schema(given[which])
def deep(errors):
    for error in errors:
        yield error
        yield from deep(error.context)
for case in given["cases"]:
    errors = list(deep(Draft202012Validator(given[case["of"]]).iter_errors(case["value"])))
    wanted = case["unknown"]
    if not wanted and errors:
        print(case["name"], [error.message for error in errors])
    for key in wanted:
        if not any(error.validator == "additionalProperties" and repr(key) in error.message for error in errors):
            print(case["name"], "takes", key)
"#;

/// Each kind of table, in which file it is, and a file with one; `ZZ` is where another key may stand.
const CASES: &[(&str, Which, &str)] = &[
    ("MainFile", Which::Main, "ZZ"),
    ("Listen", Which::Main, "[listen]\nZZ"),
    ("Xdp", Which::Main, "[[listen.xdp]]\nZZ"),
    ("Admin", Which::Main, "[admin]\nZZ"),
    ("Confinement", Which::Main, "[confinement]\nZZ"),
    ("Log", Which::Main, "[log]\nZZ"),
    ("QueryLog", Which::Main, "[query_log]\nZZ"),
    ("Dnstap", Which::Main, "[dnstap]\nZZ"),
    ("GeoipTable", Which::Main, "[geoip]\nZZ"),
    ("OwnNetwork", Which::Main, "[[network]]\nZZ"),
    ("UdpSockets", Which::Main, "[udp]\nZZ"),
    ("Events", Which::Main, "[events]\nZZ"),
    ("Webhook", Which::Main, "[[events.webhook]]\nZZ"),
    ("EventCommand", Which::Main, "allow_exec = true\n[[events.command]]\nZZ"),
    ("Health", Which::Main, "[health]\nreference = []\nZZ"),
    ("ReferenceTable", Which::Main, "health.reference = [{ ZZ }]"),
    ("Check", Which::Main, "health.reference = [{ address = \"192.0.2.1\", check = { ZZ } }]"),
    ("Steering", Which::Main, "[steering]\nZZ"),
    ("Damping", Which::Main, "steering.damping = { ZZ }"),
    ("MaxWithdrawn", Which::Main, "steering.max_withdrawn = { ZZ }"),
    ("Rum", Which::Main, "[rum]\nZZ"),
    ("MinSamples", Which::Main, "rum.min_samples = { ZZ }"),
    ("Limits", Which::Main, "[limits]\nZZ"),
    ("Cluster", Which::Main, "[cluster]\nZZ"),
    ("Peers", Which::Main, "cluster.peers = { ZZ }"),
    ("Location", Which::Main, "default_location = { ZZ }"),
    ("ZoneFile", Which::Zone, "ZZ"),
    ("Region", Which::Zone, "[region.x]\nZZ"),
    ("Endpoint", Which::Zone, "region.x.endpoints = [{ ZZ }]"),
    ("Degraded", Which::Zone, "region.x.degraded = { ZZ }"),
    ("Shed", Which::Zone, "region.x.shed = { ZZ }"),
    ("RegionRum", Which::Zone, "region.x.rum = { ZZ }"),
    ("Checks", Which::Zone, "region.x.check = { ZZ }"),
    ("Checks", Which::Zone, "region.x.check = { all = [], ZZ }"),
    ("Member", Which::Zone, "region.x.check.all = [{ ZZ }]"),
    ("Http", Which::Zone, "region.x.check.http = { ZZ }"),
    ("Http", Which::Zone, "region.x.check.https = { ZZ }"),
    ("Tcp", Which::Zone, "region.x.check.tcp = { ZZ }"),
    ("Udp", Which::Zone, "region.x.check.udp = { ZZ }"),
    ("Hex", Which::Zone, "region.x.check.udp.send = { ZZ }"),
    ("Tls", Which::Zone, "region.x.check.tls = { ZZ }"),
    ("Dns", Which::Zone, "region.x.check.dns = { ZZ }"),
    ("Grpc", Which::Zone, "region.x.check.grpc = { ZZ }"),
    ("Icmp", Which::Zone, "region.x.check.icmp = { ZZ }"),
    ("Push", Which::Zone, "region.x.check.push = { ZZ }"),
    ("Exec", Which::Zone, "region.x.check.exec = { ZZ }"),
    ("LoadReport", Which::Zone, "region.x.load_report = { ZZ }"),
    ("Haproxy", Which::Zone, "region.x.load_report.haproxy = { ZZ }"),
    ("Nginx", Which::Zone, "region.x.load_report.nginx = { ZZ }"),
    ("NginxPlus", Which::Zone, "region.x.load_report.nginx_plus = { ZZ }"),
    ("Envoy", Which::Zone, "region.x.load_report.envoy = { ZZ }"),
    ("Prometheus", Which::Zone, "region.x.load_report.prometheus = { ZZ }"),
    ("Json", Which::Zone, "region.x.load_report.json = { ZZ }"),
    ("LoadObject", Which::Zone, "region.x.load_report.load_object = { ZZ }"),
    ("PushedReport", Which::Zone, "region.x.load_report.push = { ZZ }"),
    ("HealthRule", Which::Zone, "region.x.load_report.push.health = { ZZ }"),
    (
        "HaproxyHealth",
        Which::Zone,
        "region.x.load_report.haproxy = { url = \"http://a/\", proxy = \"p\", health = { ZZ } }",
    ),
    ("JsonHealth", Which::Zone, "region.x.load_report.json = { url = \"http://a/\", load = \"/l\", health = { ZZ } }"),
    ("Errors", Which::Zone, "region.x.load_report.push.health.errors = { ZZ }"),
    ("Service", Which::Zone, "[service.x]\nregions = [\"r\"]\nZZ"),
    ("NamedGroup", Which::Zone, "[service.x.group.g]\nregions = [\"r\"]\nZZ"),
    ("Geo", Which::Zone, "[service.x]\npolicy = \"geo\"\nregions = [\"r\"]\ngeo = { ZZ }"),
    ("Rule", Which::Zone, "[[service.x.rule]]\nregions = [\"r\"]\nZZ"),
    ("Clients", Which::Zone, "[[service.x.rule]]\nclients = { ZZ }"),
    ("Canary", Which::Zone, "[service.x]\nregions = [\"r\"]\ncanary = { regions = [\"r\"], ZZ }"),
    ("Weights", Which::Zone, "service.x.weights = { ZZ }"),
    ("Https", Which::Zone, "service.x.https = { ZZ }"),
];

const ZONE: &str = "origin = \"z.example\"\nrecords = '''@ SOA ns1 h 1 1h 10m 1w 60\n@ NS ns1\nns1 A 192.0.2.53'''\n";
const REGION: &str = "\n[region.r]\nlocation = { country = \"KR\" }\nendpoints = [{ address = \"192.0.2.1\" }]\n";

/// A main file and a zone file.
struct Two(String, String);

impl Files for Two {
    fn read(&self, path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("meridian.toml") => Ok(self.0.clone()),
            Some("zones/z.toml") => Ok(self.1.clone()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec!["zones/z.toml".into()])
    }
}

/// All that the loader says of a file with this in it.
fn told(which: Which, snippet: &str) -> Vec<String> {
    let files = match which {
        Which::Main => Two(snippet.to_owned(), format!("{ZONE}{REGION}")),
        Which::Zone => Two("allow_exec = true".into(), format!("{ZONE}{snippet}{REGION}")),
    };
    match config::load_from(&files, Path::new("meridian.toml")) {
        Ok(loaded) => panic!("{snippet} loads: {:?}", loaded.diagnostics),
        Err(diagnostics) => diagnostics.iter().map(|diagnostic| diagnostic.render(false)).collect(),
    }
}

/// The tables of a schema by their types, each with its settings.
fn tables(which: Which) -> Vec<(String, BTreeSet<String>)> {
    let schema = schema::schema(which);
    let settings = |table: &Value| Some(table.get("properties")?.as_object()?.keys().cloned().collect());
    let defs = schema["$defs"].as_object().expect("definitions");
    let inner = defs.iter().filter_map(|(name, def)| Some((name.clone(), settings(def)?)));
    let file = if which == Which::Main { "MainFile" } else { "ZoneFile" };
    let whole = settings(&schema).expect("the file's settings");
    std::iter::once((file.to_owned(), whole)).chain(inner).collect()
}

/// The settings of a table that are one of a few words.
fn words_of(which: Which, table: &str) -> Vec<(String, BTreeSet<String>)> {
    let schema = schema::schema(which);
    let def = if table.ends_with("File") { &schema } else { &schema["$defs"][table] };
    let words = |setting: &Value| {
        Some(setting.get("enum")?.as_array()?.iter().filter_map(|w| Some(w.as_str()?.to_owned())).collect())
    };
    let settings = def["properties"].as_object().unwrap_or_else(|| panic!("{table} is no table of the schema"));
    settings.iter().filter_map(|(key, setting)| Some((key.clone(), words(setting)?))).collect()
}

/// Main files are called so, and zone files are in folders called so.
fn example_files() -> Vec<(Which, PathBuf)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("examples"), root().join("zones")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_toml = path.extension().is_some_and(|extension| extension == "toml");
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("meridian.toml") {
                files.push((Which::Main, path));
            } else if is_toml && folder.ends_with("zones") {
                files.push((Which::Zone, path));
            }
        }
    }
    files
}

fn from_toml(text: &str) -> Value {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn of(which: Which) -> &'static str {
    if which == Which::Main { "main" } else { "zone" }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON") + "\n"
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
