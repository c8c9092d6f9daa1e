//! docs/policies.md is true: every example loads without a word, and decides as its `#>` lines say. And
//! what the loader says of policies that make no sense.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use meridian::atlas::{Atlas, DEMO_DATABASE, Database};
use meridian::control::clock;
use meridian::control::diagnostic::Diagnostic;
use meridian::model::{Model, ServiceId};
use meridian::state::memory::switches::{Shift, Switch, Switches, canary_of};
use meridian::state::{EndpointNews, LoadNews, News, Publisher, Snapshot};
use meridian::steer::decide::{Seen, decide};
use meridian::steer::health::verdict::Verdict;

mod support;

use support::one_zone::OneZone;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/policies.md");

/// The page's examples, the zone they are for first.
fn examples() -> Vec<String> {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let blocks = page.split("```toml\n").skip(1);
    blocks.map(|rest| rest.split("```").next().expect("an end").to_owned()).collect()
}

fn said(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(Diagnostic::to_string).collect()
}

/// A country's clients in the demo's database: 127.CC.0.0/16 by telephone code; or an address.
fn client(text: &str) -> IpAddr {
    let code = match text {
        "US" => 1,
        "FR" => 33,
        "GB" => 44,
        "DE" => 49,
        "JP" => 81,
        "KR" => 82,
        address => return address.parse().unwrap_or_else(|_| panic!("no client: {address}")),
    };
    Ipv4Addr::new(127, code, 7, 0).into()
}

/// What a `#>` line says.
struct Expectation {
    /// `None`: anyone.
    client: Option<IpAddr>,
    conditions: Vec<String>,
    answer: String,
}

impl Expectation {
    fn read(line: &str) -> Expectation {
        let (who, answer) = line.split_once('→').unwrap_or_else(|| panic!("no → in {line}"));
        let mut parts = who.trim().split(", ");
        let client = match parts.next().expect("somebody") {
            "anyone" => None,
            from => Some(client(from.strip_prefix("from ").unwrap_or_else(|| panic!("from whom? {line}")))),
        };
        Expectation { client, conditions: parts.map(str::to_owned).collect(), answer: answer.trim().to_owned() }
    }

    /// Whether it comes true.
    fn hold(&self, model: &Model) -> Result<(), String> {
        let snapshot = self.snapshot(model);
        let clients: Vec<IpAddr> = match self.client {
            Some(client) => vec![client],
            None => (0..4_096u32).map(|n| IpAddr::V4((0x2000_0000 | n << 8).into())).collect(),
        };
        let answers: Vec<Vec<String>> = clients.iter().map(|client| regions(&snapshot, *client)).collect();
        if let Some((count, among)) = self.answer.split_once(" of ") {
            let among: Vec<&str> = among.split(", ").collect();
            let fits = |answer: &Vec<String>| {
                answer.len().to_string() == count && answer.iter().all(|region| among.contains(&&**region))
            };
            return answers.iter().find(|answer| !fits(answer)).map_or(Ok(()), |odd| Err(format!("{odd:?}")));
        }
        for part in self.answer.split(", ") {
            let (region, share) =
                part.rsplit_once(' ').filter(|(_, end)| *end == "%").map_or((part, 1.0), |(rest, _)| {
                    let (region, share) = rest.split_once(' ').expect("a share");
                    (region, share.parse::<f64>().expect("a number") / 100.0)
                });
            let got = answers.iter().filter(|answer| **answer == [region]).count() as f64 / answers.len() as f64;
            if (got - share).abs() > 0.03 {
                return Err(format!("{region} gets {:.1} % of them", got * 100.0));
            }
        }
        Ok(())
    }

    fn snapshot(&self, model: &Model) -> Arc<Snapshot> {
        let now = clock::read();
        let atlas = Atlas::build(&[demo_database()], &[]).expect("an atlas");
        let mut publisher = Publisher::new(model.clone(), atlas, "", 0, BTreeMap::new(), now);
        publisher.assume_up(now);
        for condition in &self.conditions {
            let (subject, what) = condition.split_once(' ').expect("what is with it");
            let region = || -> Arc<str> { format!("{subject}@gslb.example.com").into() };
            if what == "down" {
                let id = model.find_regions(subject)[0];
                for endpoint in &model.region(id).endpoints {
                    let news = EndpointNews::of_only_probe(&region(), &endpoint.label(), Verdict::Down);
                    publisher.apply(News::Probe(news), now);
                }
            } else if let Some(percent) = what.strip_prefix("canary ").and_then(|of| of.strip_suffix(" %")) {
                let share = percent.parse::<f64>().expect("a number") / 100.0;
                let id = model.find_services(subject)[0];
                let of = canary_of(model, model.service(id)).expect("a canary");
                let (by, said_unix_ms) = ("alice".into(), now.unix_ms());
                let shift = Shift { share, of, by, said_unix_ms, note: None, until_unix_ms: None };
                let switch = Switch { canary: Some(shift), ..Switch::default() };
                publisher.apply(News::Switches(Switches::from([(format!("{subject}.gslb.example.com"), switch)])), now);
            } else if let Some(stage) = what.strip_prefix("on ") {
                let switch = Switch { stage: Some(stage.into()), ..Switch::default() };
                publisher.apply(News::Switches(Switches::from([(format!("{subject}.gslb.example.com"), switch)])), now);
            } else {
                let load = what.strip_prefix("at ").and_then(|load| load.strip_suffix(" %")).expect("at N %");
                let outcome = Ok((load.parse().expect("a number"), None));
                publisher.apply(News::Load(LoadNews { region: region(), at: now.now(), outcome }), now);
            }
        }
        publisher.publish(now);
        publisher.shared().load_full()
    }
}

fn regions(snapshot: &Snapshot, client: IpAddr) -> Vec<String> {
    let decision = decide(&snapshot.view(), ServiceId(0), Seen::Subnet(client)).expect("a decision");
    let name = |region: &meridian::model::RegionId| snapshot.model.region(*region).name.to_string();
    decision.regions.as_slice().iter().map(name).collect()
}

fn demo_database() -> Database {
    Database { path: "demo".into(), bytes: DEMO_DATABASE.to_vec() }
}

#[test]
fn every_example_of_the_page_loads_and_decides_as_it_says() {
    let examples = examples();
    let (zone, examples) = examples.split_first().expect("the zone");
    let mut told = 0;
    for example in examples {
        // Another example's regions are not this one's: those it does not use are no news.
        let loaded =
            OneZone(format!("{zone}\n{example}")).load().unwrap_or_else(|all| panic!("{example}{:#?}", said(&all)));
        let news: Vec<String> =
            said(&loaded.diagnostics).into_iter().filter(|text| !text.contains("no service uses")).collect();
        assert_eq!(news, [""; 0], "{example}");
        for line in example.lines().filter_map(|line| line.strip_prefix("#> ")) {
            let held = Expectation::read(line).hold(&loaded.model);
            assert!(held.is_ok(), "{line}\nbut {}\nin\n{example}", held.unwrap_err());
            told += 1;
        }
    }
    assert!(told > 40, "only {told} expectations found");
}

#[test]
fn every_line_of_the_table_leads_to_an_example() {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let anchors: Vec<String> = page.lines().filter_map(|line| line.strip_prefix('#')).map(anchor).collect();
    let table = page.split("## Coming from elsewhere").nth(1).expect("the table");
    let mut rows = 0;
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.contains("theirs")) {
        rows += 1;
        for link in row.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(anchors.iter().any(|anchor| anchor == link), "{row}: nothing is called #{link}");
        }
    }
    assert!(rows >= 60, "{rows}");
    for vendor in ["Route 53", "NS1", "F5", "Akamai", "Azure", "gdnsd", "PowerDNS"] {
        assert!(table.contains(vendor), "{vendor}");
    }
}

/// As the usual renderers make it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_matches(['#', ' ']).chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// What is told of a service in the page's zone.
fn mistakes(service: &str) -> Vec<String> {
    let zone = OneZone(format!("{}\n{service}", examples()[0]));
    let told = match zone.load() {
        Ok(loaded) => said(&loaded.diagnostics),
        Err(diagnostics) => said(&diagnostics),
    };
    told.into_iter().filter(|text| !text.contains("no service uses region")).collect()
}

#[test]
fn policies_that_make_no_sense_are_told() {
    let www = "[service.www]\nregions = [\"seoul\"]\n";
    for (service, told) in [
        ("[service.www]\npolicy = \"nearst\"\nregions = [\"seoul\"]\n".to_owned(), "did you mean \"nearest\"?"),
        ("[service.www]\nregions = { seoul = 1 }\n".to_owned(), "regions have shares only under"),
        ("[service.www]\npolicy = \"multi\"\nanswers = 9\nregions = [\"seoul\"]\n".to_owned(), "a whole number from 1 to 8"),
        (format!("{www}answers = 2\n"), "`answers` has no effect"),
        ("[service.www]\nregions = [\"asai\"]\n[service.www.group.asia]\nregions = [\"seoul\"]\n".to_owned(), "did you mean `asia`?"),
        (format!("{www}[service.www.group.asia]\nregions = [\"tokyo\"]\n"), "nothing uses group `asia`"),
        ("[service.www]\nregions = [\"seoul\"]\n[service.www.group.seoul]\nregions = [\"tokyo\"]\n".to_owned(), "`seoul` is a region and a group"),
        (format!("{www}[service.www.group.\"a b\"]\nregions = [\"tokyo\"]\n"), "\"a b\" cannot be the name of a group"),
        ("[service.www]\nregions = [\"a\"]\n[service.www.group.a]\nregions = [\"b\"]\n[service.www.group.b]\nregions = [\"a\"]\n".to_owned(), "go in a circle: `a` → `b` → `a`"),
        (format!("{www}bias = {{ tokyo = \"5ms\" }}\n"), "`tokyo` is no region of this service"),
        (format!("{www}bias = {{ seoul = \"2s\" }}\n"), "beyond a second"),
        (format!("{www}bias = {{ seoul = \"x\" }}\n"), "not a duration"),
        ("[service.www]\npolicy = \"failover\"\nregions = [\"seoul\"]\nbias = { seoul = \"5ms\" }\n".to_owned(), "`bias` has no effect"),
        (format!("{www}active = \"blue\"\n"), "there are no stages"),
        ("[service.www]\nactive = \"bleu\"\n[service.www.stage.blue]\nregions = [\"seoul\"]\n".to_owned(), "did you mean \"blue\"?"),
        ("[service.www]\n[service.www.stage.blue]\nregions = [\"seoul\"]\n".to_owned(), "`active` is missing"),
        ("[service.www]\nregions = [\"seoul\"]\nactive = \"blue\"\n[service.www.stage.blue]\nregions = [\"seoul\"]\n".to_owned(), "a service with stages has no `regions` of its own"),
        (format!("{www}canary = {{ regions = [\"tokyo\"] }}\n"), "`share` is missing"),
        (format!("{www}canary = {{ regions = [\"tokyo\"], share = 10 }}\n"), "a part of clients from 0 to 1"),
        (format!("{www}canary = {{ group = \"x\", share = 0.1 }}\n"), "unknown group `x`"),
        (format!("{www}canary = {{ share = 0.1 }}\n"), "`regions` or `group` is missing"),
        (format!("{www}[[service.www.rule]]\nregions = [\"tokyo\"]\n"), "`clients` is missing"),
        (format!("{www}[[service.www.rule]]\nclients = {{}}\nregions = [\"tokyo\"]\n"), "a rule for nobody"),
        (format!("{www}[[service.www.rule]]\nclients = {{ network = \"10.0.0.1/8\" }}\nregions = [\"tokyo\"]\n"), "bits beyond the prefix length"),
        (format!("{www}[[service.www.rule]]\nclients = {{ asn = 0 }}\nregions = [\"tokyo\"]\n"), "from 1 to 4294967295"),
        (format!("{www}[[service.www.rule]]\nclients = {{ contry = \"KR\" }}\nregions = [\"tokyo\"]\n"), "did you mean `country`?"),
        (format!("{www}[[service.www.rule]]\nclients = {{ country = \"KR\" }}\nregions = [\"tokyo\"]\ngroup = \"a\"\n"), "cannot both stand"),
        ("[region.lima]\nlocation = { country = \"PE\" }\nendpoints = [{ address = \"203.0.113.60\" }]\nshed = { low = 0.9, high = 0.8 }\nload_report.push = {}\n".to_owned(), "`shed.low` is not below `shed.high`"),
        ("[region.lima]\nlocation = { country = \"PE\" }\nendpoints = [{ address = \"203.0.113.60\" }]\nlimit = 0\nload_report.push = {}\n".to_owned(), "a load above 0"),
        ("[region.lima]\nlocation = { country = \"PE\" }\nendpoints = [{ address = \"203.0.113.60\" }]\nlimit = 5\n".to_owned(), "`limit` has no effect"),
    ] {
        let found = mistakes(&service);
        assert!(found.iter().any(|mistake| mistake.contains(told)), "{service}: {found:#?}");
    }
}

#[test]
fn trees_beyond_the_limits_are_refused() {
    let nested = |depth: usize| -> String {
        let group = |level: usize| {
            let inner = if level + 1 == depth { "seoul".to_owned() } else { format!("g{}", level + 1) };
            let header = if level == 0 { "[service.www]".to_owned() } else { format!("[service.www.group.g{level}]") };
            format!("{header}\npolicy = \"failover\"\nregions = [\"{inner}\"]\n")
        };
        (0..depth).map(group).collect()
    };
    assert_eq!(mistakes(&nested(4)), [""; 0]);
    assert!(mistakes(&nested(5))[0].contains("nested 5 deep, expected at most 4"), "{:?}", mistakes(&nested(5)));
    // Three levels of thirty groups that each hold all of the next: 27,000 ways.
    let names = |level: usize| (0..30).map(|n| format!("\"l{level}n{n}\"")).collect::<Vec<_>>().join(", ");
    let mut wide = format!("[service.www]\npolicy = \"failover\"\nregions = [{}]\n", names(1));
    for level in 1..4 {
        let inner = if level == 3 { "\"seoul\"".to_owned() } else { names(level + 1) };
        for n in 0..30 {
            wide += &format!("[service.www.group.l{level}n{n}]\npolicy = \"failover\"\nregions = [{inner}]\n");
        }
    }
    assert!(mistakes(&wide)[0].contains("in 27000 ways, expected at most 4096"), "{:?}", mistakes(&wide));
}
