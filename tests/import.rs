//! Configurations of gdnsd and Route 53 become files that `meridian check` takes, and what is left is told.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{fs, io};

use meridian::control::config;
use meridian::control::config::Files;
use meridian::control::import::{gdnsd, route53};
use proptest::prelude::*;
use tempfile::TempDir;

const GDNSD: &str = include_str!("support/gdnsd/config");

const ZONE: &str = include_str!("support/gdnsd/zones/example.com");

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meridian")).args(arguments).output().expect("meridian runs")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn gdnsd(folder: &Path) -> (Output, String) {
    fs::create_dir_all(folder.join("zones")).expect("a folder");
    fs::write(folder.join("config"), GDNSD).expect("written");
    fs::write(folder.join("zones/example.com"), ZONE).expect("written");
    let out = folder.join("made").display().to_string();
    (run(&["import", "gdnsd", &folder.join("config").display().to_string(), "--out", &out]), out)
}

#[test]
fn gdnsd_becomes_files_that_check_takes_and_what_is_left_is_told() {
    let folder = TempDir::new().expect("a folder");
    let (output, out) = gdnsd(folder.path());
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{told}{}", text(&output.stderr));
    for left in [
        "config:5: options.max_ttl: has no counterpart",
        "config:8: service type web: ok_thresh: failures count in a row",
        "config:10: service type shop: direct: has no counterpart",
        "config:11: service type old (extfile): has no counterpart",
        "config:30: FR: Paris: cities have no lists",
        "config:31: an empty list: answers nobody there",
        "geoip2_db gone.mmdb: is not there",
        "example.com:1: 13 of the regions: are nowhere",
        "example.com:18: geoip!nothing: is not defined",
    ] {
        assert!(told.contains(left), "{left} is missing in:\n{told}");
    }
    let checked = run(&["check", "--config", &format!("{out}/meridian.toml")]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));

    let again = run(&["import", "gdnsd", &folder.path().join("config").display().to_string(), "--out", &out]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is there already"), "{}", text(&again.stderr));
}

#[test]
fn gdnsds_resources_keep_their_meaning() {
    let folder = TempDir::new().expect("a folder");
    let (_, out) = gdnsd(folder.path());
    let zone = fs::read_to_string(format!("{out}/zones/example.com.toml")).expect("a zone");
    for part in [
        "[region.\"us\"]\nlocation  = { latitude = 38.9, longitude = -77.0 }\nendpoints = [{ address = \"192.0.2.10\" }, \
         { address = \"192.0.2.11\" }, { address = \"192.0.2.12\" }]\nmin_healthy = 2\ncheck.all = [{ http = { url = \
         \"http://{address}:8080/up?\", host = \"www.example.com\", status = [200, 301], interval = \"4s\", timeout = \"2s\", fall = 10, rise = 20 } }, \
         { exec = { command = [\"/usr/bin/check\", \"{address}\"], interval = \"10s\", timeout = \"5s\", fall = 10, rise = 20 } }]",
        "[service.\"www\"]\nttl = 300\nfailover_ttl = 30\npolicy  = \"geo\"\nregions = [\"us\", \"eu\", \"as\"]",
        "default = [\"us\", \"eu\"]",
        "geo.continent]\n\"AS\" = [\"as\"]\n\"EU\" = [\"eu\", \"us\"]",
        "geo.country]\n\"CH\" = [\"us\"]",
        "geo.subdivision]\n\"FR-IDF\" = [\"eu\"]",
        "geo.network]\n\"10.0.0.0/8\" = [\"as\"]\n\"2001:db8::/32\" = [\"eu\"]",
        "[service.\"cdn\"]\nttl = 600\nfailover_ttl = 300\necs = false\npolicy  = \"nearest\"",
        "clients = { continent = [\"OC\"] }\npolicy  = \"failover\"",
        "[service.\"eu.www\"]\nttl = 60\nfailover_ttl = 30\npolicy  = \"failover\"\nregions = [\"eu\"]",
        "[service.\"mail\"]\nttl = 600\nfailover_ttl = 300\npolicy  = \"multi\"\nregions = [\"mail-a\", \"mail-b\"]\nanswers = 2",
        "policy  = \"weighted\"\nregions = { \"shares-lb1\" = 3, \"shares-lb2\" = 1 }",
        "regions = { \"racks-one-group\" = 4, \"racks-two-group\" = 1 }",
        "[service.\"far.sub\"]",
        "[service.\"pair\"]",
    ] {
        assert!(zone.contains(part), "{part}\nis missing in:\n{zone}");
    }
    let records = fs::read_to_string(format!("{out}/zones/example.com.zone")).expect("records");
    assert!(records.contains("mail    MX 10 mail") && records.contains("alias CNAME www.example.com."), "{records}");
    assert!(!records.contains("geoip!"), "{records}");
    let main = fs::read_to_string(format!("{out}/meridian.toml")).expect("a main file");
    assert!(
        main.contains("listen.dns = [\"192.0.2.53:53\", \"[2001:db8::53]:5353\"]")
            && main.contains("allow_exec = true"),
        "{main}"
    );
    let loaded = config::load(Path::new(&format!("{out}/meridian.toml"))).expect("it loads");
    assert_eq!((loaded.model.zones.len(), loaded.model.services.len()), (1, 9));
}

#[test]
fn a_mistake_in_gdnsds_config_is_told_with_its_place_and_nothing_is_written() {
    let folder = TempDir::new().expect("a folder");
    let config = folder.path().join("config");
    fs::write(&config, "plugins => {\n  multifo => [ 1 2\n}").expect("written");
    let out = folder.path().join("made");
    let output = run(&["import", "gdnsd", &config.display().to_string(), "--out", &out.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("config:3:1: expected a string"), "{}", text(&output.stderr));
    assert!(!out.exists());
}

const SETS: &str = include_str!("support/route53.json");
const CHECKS: &str = include_str!("support/route53_checks.json");

#[test]
fn route_53_becomes_files_that_check_takes_and_what_is_left_is_told() {
    let folder = TempDir::new().expect("a folder");
    let [sets, checks, out] =
        ["sets.json", "checks.json", "made"].map(|name| folder.path().join(name).display().to_string());
    fs::write(&sets, SETS).expect("written");
    fs::write(&checks, CHECKS).expect("written");
    let output = run(&["import", "route53", &sets, "--health-checks", &checks, "--out", &out]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{told}{}", text(&output.stderr));
    for left in [
        "sets.json:1: 11 of the regions: are nowhere",
        "sets.json:6: example.com. NS: names Route 53's servers",
        "example.com. A: an alias of d111.cloudfront.net.",
        "(calc): health check c3: CALCULATED is about other checks",
        "(de): its bias of 20",
        "is routed by a CIDR collection",
        "(txt-a): only addresses and aliases",
    ] {
        assert!(told.contains(left), "{left} is missing in:\n{told}");
    }
    let checked = run(&["check", "--config", &format!("{out}/meridian.toml")]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    let zone = fs::read_to_string(format!("{out}/zones/example.com.toml")).expect("a zone");
    for part in [
        "[service.\"weighted\"]\nttl = 60\npolicy  = \"weighted\"\nregions = { \"blue\" = 90, \"green\" = 10 }",
        "[region.\"blue\"]\nlocation  = { latitude = 0.0, longitude = 0.0 }     # say where it is\nendpoints = [{ address = \"192.0.2.1\" }, \
         { address = \"2001:db8::1\" }]\ncheck.https = { url = \"https://{address}:443/health\", host = \"www.example.com\", verify = false, \
         body = \"ok\", interval = \"10s\", timeout = \"6s\", fall = 3, rise = 3 }",
        "[service.\"latency\"]\nttl = 60\npolicy  = \"latency\"\nregions = [\"virginia\", \"frankfurt\"]",
        "[region.\"virginia\"]\nlocation  = { latitude = 39.0, longitude = -77.5 }",
        "[service.\"failover\"]\nttl = 60\npolicy  = \"failover\"\nregions = [\"first\", \"second\"]",
        "[service.\"geo\"]\nttl = 60\npolicy  = \"geo\"",
        "default = [\"rest\"]",
        "geo.subdivision]\n\"US-WA\" = [\"wa\"]",
        "[service.\"near\"]\nttl = 60\npolicy  = \"nearest\"",
        "[service.\"multi\"]\nttl = 60\npolicy  = \"multi\"\nregions = [\"m1\", \"m2\"]\nanswers = 2",
        "[service.\"tree\"]\nttl = 60\npolicy  = \"latency\"\nregions = [\"weighted-group\"]",
        "[service.\"*.wild\"]",
    ] {
        assert!(zone.contains(part), "{part}\nis missing in:\n{zone}");
    }
}

#[test]
fn route_53s_json_that_is_something_else_is_told_so() {
    for (json, told) in
        [("{", "sets:1:"), ("{}", "ResourceRecordSets"), ("{\"ResourceRecordSets\": []}", "no SOA record")]
    {
        let error = route53::import(&route53::Text { name: "sets", text: json }, None).expect_err(json);
        assert!(error.contains(told), "{error}");
    }
}

/// A config and a zone.
struct Two<'t>(&'t str, &'t str);

impl Files for Two<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        Ok(if path.ends_with("config") { self.0 } else { self.1 }.to_owned())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec!["zones/example.com".into()])
    }
}

proptest! {
    /// Pieces of what gdnsd has, in any order.
    #[test]
    fn any_gdnsd_config_and_zone_are_taken_or_refused(
        from in 0..GDNSD.len(), length in 0..400usize, to in 0..GDNSD.len(), zone in "([ab@.(;\"\\\\ \n\t]|DYNA |DYNC |geoip!www|metafo!far/x|\\$ORIGIN |\\$TTL |[0-9]/|@Z|é){0,80}",
    ) {
        let (from, end, to) = (GDNSD.floor_char_boundary(from), GDNSD.floor_char_boundary((from + length).min(GDNSD.len())), GDNSD.floor_char_boundary(to));
        let config = format!("{}{}{}", &GDNSD[..to], GDNSD.get(from..end).unwrap_or_default(), &GDNSD[to..]);
        for config in [&*config, GDNSD] {
            let _ = gdnsd::import(&Two(config, &zone), Path::new("config"), &[]).map(|(draft, _)| draft.files());
        }
        let _ = gdnsd::import(&Two(GDNSD, &format!("{ZONE}{zone}")), Path::new("config"), &[]);
    }

    /// Whatever the sets say of each other, nothing panics and nothing is endless.
    #[test]
    fn any_record_sets_are_taken_or_left(sets in proptest::collection::vec(
        ("[ab]\\.x\\.|x\\.|\\\\052\\.x\\.|é\\.x\\.", "A|AAAA|CNAME|TXT|NS", "[ab]?", 0..3u8, "[ab]\\.x\\.|x\\.|far\\.example\\."), 0..12,
    )) {
        let mut json = vec![serde_json::json!({ "Name": "x.", "Type": "SOA", "TTL": 900, "ResourceRecords": [{ "Value": "a. b. 1 7200 900 1209600 86400" }] })];
        for (name, rtype, identifier, kind, target) in sets {
            json.push(match kind {
                0 => serde_json::json!({ "Name": name, "Type": rtype, "ResourceRecords": [{ "Value": target }] }),
                1 => serde_json::json!({ "Name": name, "Type": rtype, "SetIdentifier": identifier, "Weight": 1, "AliasTarget": { "DNSName": target } }),
                _ => serde_json::json!({ "Name": name, "Type": rtype, "SetIdentifier": identifier, "Region": "us-east-1", "ResourceRecords": [{ "Value": "192.0.2.1" }] }),
            });
        }
        let text = serde_json::json!({ "ResourceRecordSets": json }).to_string();
        let (draft, _) = route53::import(&route53::Text { name: "sets", text: &text }, None).expect("read");
        prop_assert!(draft.files().len() == 3);
    }
}
