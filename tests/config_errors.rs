//! What the loader says of files as operators write them: the good, the wrong, the odd.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian::control::cluster::etcd::settings::EtcdSettings;
use meridian::control::cluster::settings::{ClusterSettings, PeerSettings, Proof};
use meridian::control::config::{
    self, ClientsShown, DnstapReader, Files, Limits, Listen, Loaded, Log, LogFormat, QueryLog, RumSettings, Udp,
};
use meridian::control::diagnostic::{Diagnostic, Severity};
use meridian::control::rotated_file::RotatedFile;
use meridian::model::{
    Check, CheckKind, Continent, Damping, DnsCheck, EndpointTarget, EnvoyField, ErrorRates, ExchangeCheck, ExecCheck,
    GeoPlace, GrpcCheck, HaproxyField, HealthPlace, HealthRule, HttpCheck, HttpMethod, HttpVersion, JsonTime, Layer,
    LoadFormat, LoadObjectCapacity, LoadReport, LoadSource, MaxWithdrawn, Most, Name, NginxField, NginxPlusField,
    NginxPlusPart, Policy, PolicyTree, RecordType, Region, RegionId, Resume, SaidDown, Scrape, ScrapeAddress,
    SlowProbes, Steering, TlsCheck, Ttl, Weight,
};
use proptest::prelude::*;

/// Files that exist only in a test.
#[derive(Clone, Default)]
struct Memory(BTreeMap<PathBuf, String>);

impl Memory {
    fn with(mut self, path: &str, text: impl Into<String>) -> Memory {
        self.0.insert(path.into(), text.into());
        self
    }

    fn load(&self) -> Result<Loaded, Vec<Diagnostic>> {
        config::load_from(self, Path::new("meridian.toml"))
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let inside: Vec<_> = self.0.keys().filter(|file| file.parent() == Some(path)).cloned().collect();
        if inside.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(inside) }
    }
}

const RECORDS: &str = "records = '''@  SOA ns1 hostmaster 1 1h 10m 1w 60
@    NS   ns1
@    NS   ns2.example.org.
ns1  A    198.51.100.53
'''
";

const SEOUL: &str = "[region.seoul]
location = { country = \"KR\", latitude = 37.57, longitude = 126.98 }
endpoints = [{ address = \"203.0.113.10\" }]
check.tcp = { port = 443 }
";

const WWW: &str = "[service.www]
regions = [\"seoul\"]
";

/// A good zone with `more` at its end.
fn zone(more: &str) -> String {
    format!("origin = \"gslb.example.com\"\n{RECORDS}{SEOUL}{WWW}{more}")
}

fn with_zone(text: &str) -> Memory {
    Memory::default().with("meridian.toml", "").with("zones/a.toml", text)
}

fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(Diagnostic::to_string).collect()
}

fn mistakes(files: &Memory) -> Vec<String> {
    match files.load() {
        Ok(loaded) => panic!("loaded, with {:?}", lines(&loaded.diagnostics)),
        Err(diagnostics) => lines(&diagnostics),
    }
}

/// The only mistake there is.
fn mistake(files: &Memory) -> String {
    let mut all = mistakes(files);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

/// What a key of region seoul, a service `s` or the main file is told.
fn of_region(keys: &str) -> String {
    mistake(&with_zone(&format!("origin = \"gslb.example.com\"\n{RECORDS}{SEOUL}{keys}\n{WWW}")))
}

fn of_service(keys: &str) -> String {
    mistake(&with_zone(&zone(&format!("[service.s]\nregions = [\"seoul\"]\n{keys}\n"))))
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
}

fn example() -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/config/meridian.toml");
    config::load(&path).unwrap_or_else(|diagnostics| panic!("{:#?}", lines(&diagnostics)))
}

fn scrape(region: &Region) -> (&LoadReport, &Scrape) {
    match region.load_report.as_ref().map(|report| (report, &report.source)) {
        Some((report, LoadSource::Scraped(scrape))) => (report, scrape),
        other => panic!("{other:?}"),
    }
}

fn name(text: &str) -> Name {
    Name::parse_absolute(text).expect("name")
}

#[test]
fn the_example_loads() {
    let Loaded { config, model, diagnostics, files, .. } = example();
    assert_eq!(lines(&diagnostics), [""; 0]);
    assert_eq!(config.listen.dns, ["127.0.0.1:5300".parse().expect("address")]);
    assert_eq!(config.seed, 20_260_101);
    assert_eq!(model.networks.len(), 2);
    let origins: Vec<_> = model.zones.iter().map(|zone| zone.origin.to_string()).collect();
    assert_eq!(origins, ["cdn.example.net.", "gslb.example.com."]);
    let read: Vec<_> = files.iter().map(|path| path.file_name().expect("name").to_string_lossy()).collect();
    assert_eq!(
        read,
        ["meridian.toml", "cdn.example.net.toml", "cdn.example.net.zone", "mail.zone", "gslb.example.com.toml"]
    );
}

#[test]
fn mistakes_behind_long_records_are_told_where_they_are() {
    const MORE_LINES: usize = 4_000;
    let records = RECORDS.trim_end_matches("'''\n");
    let mistakes_in = |more: &str, behind: &str| {
        let head = "origin = \"gslb.example.com\"\n";
        let mistaken = "[region.seoul]\nlocation = { country = \"KR\", latitude = 137.57 }\nendpoints = 7\n";
        mistakes(&with_zone(&format!("{head}{records}{more}'''\nttll = 5\n{mistaken}[service.www]\n{behind}")))
    };
    let moved = |told: &String| {
        let [path, line, rest] = *told.splitn(3, ':').collect::<Vec<_>>() else { panic!("{told}") };
        let line: usize = line.parse().expect("a line");
        format!("{path}:{}:{rest}", if line > 5 { line + MORE_LINES } else { line })
    };
    for behind in ["regions = [\"soul\"]\n", "regions = [\n", "regions = [\"seoul\"]\n[service.www]\n"] {
        let short = mistakes_in("", behind);
        assert!(short.len() > 2, "{short:?}");
        let long = mistakes_in(&"; more\n".repeat(MORE_LINES), behind);
        assert_eq!(long, short.iter().map(moved).collect::<Vec<_>>(), "{behind}");
    }
}

#[test]
fn regions_are_read_as_written() {
    let model = example().model;
    let [seoul] = model.find_regions("seoul")[..] else { panic!("one seoul") };
    let seoul = model.region(seoul);
    assert_eq!((seoul.capacity, seoul.cost, seoul.min_healthy), (Some(20_000.0), 0.9, 1));
    assert_eq!(seoul.coordinates.latitude(), 37.57);
    assert_eq!(seoul.endpoints.len(), 2);
    assert_eq!((seoul.endpoints[0].weight, seoul.endpoints[1].layer), (4, Layer::L4));
    let Some(Check { kind: CheckKind::Http(http), interval, timeout, fall: 3, rise: 3, .. }) = seoul.check() else {
        panic!("{:?}", seoul.checks)
    };
    assert_eq!((*interval, *timeout), (Duration::from_secs(5), Duration::from_secs(2)));
    let HttpCheck { tls, port, path, host, status, body, json, .. } = http;
    assert!(tls.as_ref().is_some_and(|tls| tls.verify && tls.server_name.is_none() && tls.ca_pem.is_none()));
    assert_eq!((*port, path.as_str(), host.as_deref()), (443, "/health", Some("www.example.com")));
    assert_eq!((status.as_slice(), body.as_deref()), (&[(200, 399)][..], Some("ok")));
    assert_eq!(json[..], [("/status".to_owned(), "healthy".into())]);
    let (report, Scrape { format, timeout, .. }) = scrape(seoul);
    assert!(matches!(format, LoadFormat::Haproxy { proxy, field: HaproxyField::Sessions } if proxy == "web"));
    let secs = Duration::from_secs;
    assert_eq!((report.interval, report.max_age, *timeout), (secs(10), secs(30), secs(3)));
    let [virginia] = model.find_regions("virginia@gslb.example.com")[..] else { panic!("one virginia") };
    let virginia = model.region(virginia);
    assert_eq!(scrape(virginia).1.from, ScrapeAddress::Http("http://198.51.100.10:9000/load".into()));
    assert!(matches!(virginia.check(), Some(Check { kind: CheckKind::Http(http), .. })
        if http.tls.is_some() && http.port == 8443 && http.status == [(200, 200), (300, 399)]));
    let [rented] = model.find_regions("rented")[..] else { panic!("one rented") };
    assert_eq!(model.region(rented).endpoints[0].target, EndpointTarget::Host(name("customer.cdn.example.org")));
}

#[test]
fn services_are_read_as_written() {
    let model = example().model;
    let service = |text: &str| model.services.iter().find(|service| service.name == name(text)).expect("service");
    let region_names = |ids: &[RegionId]| ids.iter().map(|&id| model.region(id).name.to_string()).collect::<Vec<_>>();
    let www = service("www.gslb.example.com");
    assert_eq!(www.policies, PolicyTree::flat(Policy::Score, &www.regions));
    assert_eq!(region_names(&www.regions), ["seoul", "virginia", "frankfurt"]);
    assert_eq!((www.ttl, www.failover_ttl, www.ecs), (Ttl::saturating(30), Ttl::saturating(5), true));
    let api = service("api.gslb.example.com");
    let shares = [3.0, 1.0].map(|share| Weight::new(share).expect("a weight"));
    assert_eq!(api.policies.main().policy, Policy::Weighted(shares.into()));
    assert_eq!(api.https.as_ref().map(|https| (https.alpn.join(","), https.port)), Some(("h2".into(), Some(8443))));
    let apps = service("*.apps.gslb.example.com");
    assert_eq!((&apps.policies.main().policy, apps.ecs), (&Policy::Failover, false));
    assert_eq!(region_names(&apps.regions), ["frankfurt", "virginia"]);
    assert_eq!(region_names(&service("static.cdn.example.net").regions), ["own", "rented"]);
}

#[test]
fn a_country_gives_the_coordinates_and_the_continent() {
    let text = zone("").replace(", latitude = 37.57, longitude = 126.98", "");
    let region = with_zone(&text).load().expect("loads").model.regions.remove(0);
    assert_eq!(region.location.continent, Some(Continent::Asia));
    assert_eq!(region.location.coordinates, Some(region.coordinates));
    assert!((30.0..40.0).contains(&region.coordinates.latitude()));
}

#[test]
fn an_empty_main_file_means_the_defaults() {
    let loaded = with_zone(&zone("")).load().expect("loads");
    assert_eq!((loaded.config.listen, loaded.config.limits), (Listen::default(), Limits::default()));
    assert_eq!((loaded.config.zones, loaded.config.state), ("zones".into(), "state".into()));
    assert_eq!((loaded.config.seed, loaded.config.threads, loaded.config.nsid), (0, None, None));
    assert_eq!((loaded.config.cpus, loaded.config.udp), (Vec::new(), Udp::default()));
    let service = &loaded.model.services[0];
    assert_eq!((service.ttl, service.failover_ttl), (Ttl::saturating(30), Ttl::saturating(5)));
}

#[test]
fn measuring_by_browsers_is_set_in_both_files() {
    let url = |endpoints: &str, url: &str| {
        let region = SEOUL.replace("[{ address = \"203.0.113.10\" }]", endpoints);
        let files = with_zone(&format!("origin = \"gslb.example.com\"\n{RECORDS}{region}rum.url = \"{url}\"\n{WWW}"));
        files.load().map(|loaded| loaded.model.regions[0].rum_url.clone()).map_err(|found| lines(&found).join("\n"))
    };
    let v6 = "[{ address = \"2001:db8::1\" }]";
    let host = "[{ host = \"lb.example.net.\" }]";
    let some = |url: &str| Ok(Some(url.to_owned()));
    assert_eq!(url(v6, "http://{address}:8080/pixel"), some("http://[2001:db8::1]:8080/pixel"));
    assert_eq!(url(host, "https://{host}/pixel"), some("https://lb.example.net/pixel"));
    assert_eq!(url(v6, "https://www.example.net/pixel"), some("https://www.example.net/pixel"));
    says(&url(v6, "https://{host}/").expect_err("no host"), &["a host name, not an address", "zones/a.toml"]);
    says(&url(host, "https://{address}/").expect_err("no address"), &["needs a first endpoint with an address"]);
    says(&url(host, "ftp://{host}/").expect_err("a scheme"), &["http:// or https://"]);
    says(&url(host, "pixel").expect_err("no URL"), &["not a URL"]);
    says(&of_region("rum = \"https://x/\""), &["rum = { url = \"https://{host}/pixel\" }"]);

    let main = |text: &str| with_zone(&zone("")).with("meridian.toml", text);
    let config = |text: &str| main(text).load().expect("loads").config;
    assert_eq!((config("").listen.rum, config("").rum), (None, RumSettings::default()));
    assert_eq!(config("listen.rum = \"off\"").listen.rum, None);
    let set = config(
        "listen.rum = \"[::]:8054\"\n[rum]\nkey_file = \"rum.key\"\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n\
         half_life = \"12h\"\nmin_samples.operator = 7\nper_network = 1\nper_second = 9\n",
    );
    assert_eq!(set.listen.rum, "[::]:8054".parse().ok());
    let RumSettings { key_file, trusted_proxies, half_life, min_samples, per_network, per_second } = set.rum;
    assert_eq!((key_file, trusted_proxies.len()), (Some("rum.key".into()), 2));
    assert_eq!((half_life.as_secs(), min_samples, per_network, per_second), (43_200, [20, 7, 100], 1, 9));
    let wrong = "listen.rum = \"8054\"\n[rum]\nkeyfile = \"x\"\ntrusted_proxies = \"10.0.0.1/8\"\nhalf_life = \"1m\"\n\
                 min_samples = { asn = 5, country = 0 }\nper_network = 0\nper_second = \"many\"\n";
    let found = mistakes(&main(wrong));
    let found_in = |part: &str| found.iter().any(|mistake| mistake.contains(part));
    for part in [
        "8054",
        "did you mean `key_file`?",
        "the network is 10.0.0.0/8",
        "1h to 720h",
        "unknown key `asn` in `rum.min_samples`",
        "`country` is out of range",
        "`per_network` is out of range",
        "wrong type for `per_second`",
    ] {
        assert!(found_in(part), "{part}: {found:#?}");
    }
    assert_eq!(found.len(), 8, "{found:#?}");
}

#[test]
fn what_keeps_steering_calm_is_set_in_both_files() {
    let files = with_zone(&zone(""));
    let steering = |main: &str| files.clone().with("meridian.toml", main).load().expect("loads").model.steering;
    assert_eq!(steering(""), Steering::default());
    let off = steering(
        "[steering]\ndamping = \"off\"\nmax_withdrawn = \"off\"\ndrain_allowance = \"0s\"\nmax_detour = \"0s\"",
    );
    let nothing = Steering {
        damping: None,
        max_withdrawn: None,
        drain_allowance: Duration::ZERO,
        max_detour: None,
        ..Steering::default()
    };
    assert_eq!(off, nothing);
    let cpu = |text: &str| steering(&format!("steering.planning_cpu = {text}")).planning_cpu;
    assert_eq!([Steering::default().planning_cpu, cpu("0.05"), cpu("1")], [0.3, 0.05, 1.0]);
    let detour = |text: &str| steering(&format!("steering.max_detour = {text}")).max_detour;
    let ms = Duration::from_millis;
    assert_eq!(Steering::default().max_detour, Some(ms(60)), "an ocean");
    assert_eq!(
        [detour("\"60ms\""), detour("\"150ms\""), detour("\"10s\"")],
        [60, 150, 10_000].map(|most| Some(ms(most)))
    );
    let set = steering("[steering]\ndamping.half_life = \"1m\"\nmax_withdrawn = { regions = 2, window = \"5m\" }\n");
    assert_eq!(set.damping, Some(Damping { half_life: Duration::from_secs(60), limit: 1.6 }));
    let most = MaxWithdrawn { regions: Most::Regions(2), window: Duration::from_secs(300) };
    assert_eq!(set.max_withdrawn, Some(most));
    let slow_start = |text: &str| {
        let text = zone("").replace(SEOUL, &format!("{SEOUL}{text}\n"));
        with_zone(&text).load().map(|loaded| loaded.model.regions[0].slow_start)
    };
    assert_eq!(slow_start("").ok(), Some(Duration::from_secs(180)));
    assert_eq!(slow_start("slow_start = \"0s\"").ok(), Some(Duration::ZERO));
    let wrong = lines(&slow_start("slow_start = \"2h\"").expect_err("too long")).join("\n");
    assert!(wrong.contains("0ms to 1h"), "{wrong}");
}

#[test]
fn a_region_says_how_it_comes_back() {
    let region = |text: &str| {
        let text = zone("").replace(SEOUL, &format!("{SEOUL}{text}\n"));
        let loaded = with_zone(&text).load().unwrap_or_else(|mistakes| panic!("{:?}", lines(&mistakes)));
        (loaded.model.regions[0].clone(), lines(&loaded.diagnostics))
    };
    let (seoul, _) = region("");
    assert_eq!((seoul.resume, seoul.failback_delay), (Resume::Auto, Duration::ZERO));
    let (seoul, told) = region("resume = \"manual\"\nfailback_delay = \"10m\"");
    assert_eq!((seoul.resume, seoul.failback_delay), (Resume::Manual, Duration::from_secs(600)));
    assert_eq!(told, [""; 0]);
    says(&of_region("resume = \"by hand\""), &["`resume` cannot be \"by hand\"", "\"auto\" or \"manual\""]);
    says(&of_region("resume = \"manuel\""), &["did you mean \"manual\"?"]);
    says(&of_region("failback_delay = \"25h\""), &["`failback_delay` is out of range", "0ms to 24h"]);
    let unchecked = zone("").replace("check.tcp = { port = 443 }\n", "resume = \"manual\"\n");
    let told = lines(&with_zone(&unchecked).load().expect("loaded").diagnostics);
    says(&told.join("\n"), &["`resume` has no effect", "without `check` or `depends_on`"]);
    let dependent = unchecked.replace(WWW, "depends_on = [\"edge\"]\n[region.edge]\nlocation.country = \"KR\"\nendpoints = [{ address = \"203.0.113.77\" }]\n[service.www]\nregions = [\"seoul\"]\n");
    let told = lines(&with_zone(&dependent).load().expect("loaded").diagnostics);
    assert!(!told.join("\n").contains("has no effect"), "{told:?}");
}

/// Region seoul with these keys, regions db and cache that no service uses, and the services www, auth and edge.
fn with_dependencies(seoul: &str, db: &str) -> Memory {
    let more = |name: &str, keys: &str| {
        format!(
            "[region.{name}]\nlocation.country = \"KR\"\nendpoints = [{{ address = \"203.0.113.77\" }}]\ncheck.tcp.port = 443\n{keys}\n"
        )
    };
    let text = zone("").replace(SEOUL, &format!("{SEOUL}{seoul}\n{}{}", more("db", db), more("cache", "")));
    let other = zone("").replace("gslb.example.com", "cdn.example.net").replace("www", "edge");
    let text = format!("{text}[service.auth]\nregions = [\"cache\"]\n");
    with_zone(&text).with("zones/b.toml", other)
}

#[test]
fn regions_depend_on_services_and_regions_of_all_zones() {
    let names = |names: &str| {
        let files = with_dependencies(&format!("depends_on = [{names}]"), "");
        let loaded = files.load().unwrap_or_else(|mistakes| panic!("{:?}", lines(&mistakes)));
        let told = lines(&loaded.diagnostics);
        let model = loaded.model;
        let [(seoul, on)] = model.dependencies.in_order() else { panic!("{:?}", model.dependencies) };
        assert_eq!(&*model.region(*seoul).name, "seoul");
        (on.iter().map(|&on| model.dependency_name(on)).collect::<Vec<String>>(), told)
    };
    assert_eq!(names("\"auth\", \"db\"").0, ["auth.gslb.example.com", "db@gslb.example.com"]);
    assert_eq!(
        names("\"AUTH.gslb.example.com.\", \"db@gslb.example.com\", \"edge.cdn.example.net\"").0,
        ["auth.gslb.example.com", "db@gslb.example.com", "edge.cdn.example.net"]
    );
    let (elsewhere, told) = names("\"seoul@cdn.example.net\"");
    assert_eq!(elsewhere, ["seoul@cdn.example.net"]);
    says(&told.join("\n"), &["no service uses region `db`"]);
    assert_eq!(names("\"db\"").1, [""; 0], "what is depended upon is of use");
}

#[test]
fn what_a_region_depends_on_must_be_there_once_and_not_itself() {
    let told = |seoul: &str, db: &str| {
        let all = mistakes(&with_dependencies(seoul, db));
        let [only] = &all.iter().filter(|line| !line.contains("no service uses")).collect::<Vec<_>>()[..] else {
            panic!("{all:#?}")
        };
        (*only).clone()
    };
    let unknown = told("depends_on = [\"auht\"]", "depends_on = [\"cache\"]");
    says(&unknown, &["no service or region is called `auht`", "did you mean `auth`?", "a.toml:"]);
    says(&told("depends_on = [\"edge\"]", ""), &["no service or region is called `edge`"]);
    says(&told("depends_on = [\"\"]", ""), &["no service or region is called ``"]);
    says(&told("depends_on = \"auth\"", ""), &["wrong type for `depends_on`"]);
    says(&told("depends_on = [5]", ""), &["wrong type for `depends_on`", "the name of a service or region"]);
    let many = vec!["\"db\""; 17].join(", ");
    says(&told(&format!("depends_on = [{many}]"), ""), &["`depends_on` has too many items", "at most 16"]);
    let of = |seoul: &str, db: &str| told(&format!("depends_on = [\"{seoul}\"]"), &format!("depends_on = [\"{db}\"]"));
    says(
        &of("db", "seoul"),
        &["regions depend on themselves: seoul@gslb.example.com -> db@gslb.example.com -> seoul@gslb.example.com"],
    );
    says(
        &of("www", "cache"),
        &["themselves: seoul@gslb.example.com -> www.gslb.example.com -> seoul@gslb.example.com"],
    );
    says(&of("seoul", "cache"), &["themselves: seoul@gslb.example.com -> seoul@gslb.example.com"]);
    let both = with_dependencies("depends_on = [\"db\"]\n", "").0[Path::new("zones/a.toml")].clone();
    let both = with_zone(&format!("{both}[service.db]\nregions = [\"cache\"]\n"));
    says(&mistake(&both), &["`db` is the name of several: `db@gslb.example.com`, `db.gslb.example.com`"]);
}

/// Sixteen mistakes in one zone file, one in the main file.
const WRONG: &str = r#"origin = "gslb.example.com"
ttl = "5 minutes"
records = '''@  SOA ns1 hostmaster 1 1h 10m 1w 60
@    NS   ns1
@    NS   ns2.example.org.
ns1  A    198.51.100.53
'''
recrods_file = "x"

[region.seoul]
location = { country = "Korea", latitude = 37.57, longitude = 126.98 }
capacity = 0
cots = 0.9
endpoints = [
  { address = ["203.0.113.10", "203.0.113.300"], weight = 0 },
  { address = "203.0.113.10", layer = "l8" },
]
check.http = { url = "https://10.0.0.1/health", intervall = "5s", timeout = 2, fall = 101, status = "900" }

[service.www]
policy = "scores"
regions = ["seuol"]
ttl = "30s"
failover_ttl = "1m"
weights = { latency = -1 }
"#;

#[test]
fn every_mistake_of_every_file_is_told_at_once() {
    let files = with_zone(WRONG).with("meridian.toml", "listen.admin = \"0.0.0.0:8053\"\n");
    let found = mistakes(&files);
    let expected = [
        "meridian.toml:1:16: the admin address can be reached from other machines",
        "zones/a.toml:2:7: `ttl` is not a TTL (found the string \"5 minutes\", expected a TTL such as",
        "zones/a.toml:8:1: unknown key `recrods_file` in the zone file (not known here); did you mean `records_file`?",
        "zones/a.toml:10:9: no service uses region `seoul`",
        "zones/a.toml:11:24: `country`: not a two-letter country code (ISO 3166-1) (found the string \"Korea\"",
        "zones/a.toml:12:12: `capacity` is out of range (found the integer 0, expected a number above 0",
        "zones/a.toml:13:1: unknown key `cots` in region `seoul` (not known here); did you mean `cost`?",
        "zones/a.toml:15:32: `address`: not an address (found the string \"203.0.113.300\"",
        "zones/a.toml:15:59: `weight` is out of range (found the integer 0, expected a whole number from 1 to 1000000)",
        "zones/a.toml:16:15: the address 203.0.113.10 is there twice in one region (again here)",
        "zones/a.toml:16:39: `layer` cannot be \"l8\" (expected \"l4\" or \"l7\"); did you mean",
        "zones/a.toml:18:22: `url`: a probe goes to the endpoint's own address: write {address}",
        "zones/a.toml:18:49: unknown key `intervall` in `check.http` (not known here); did you mean `interval`?",
        "zones/a.toml:18:77: wrong type for `timeout` (found the integer 2, expected a duration such as \"5s\", 10ms to 1m)",
        "zones/a.toml:18:87: `fall` is out of range (found the integer 101, expected a whole number from 1 to 100)",
        "zones/a.toml:18:101: `status`: not a range of status codes",
        "zones/a.toml:21:10: `policy` cannot be \"scores\" (expected \"score\", \"nearest\", \"latency\", \"geo\", \"weighted\", \"failover\", \"sticky\" or \"multi\"); did you mean \"score\"?",
        "zones/a.toml:22:12: unknown region `seuol` (no [region] of this file is so called); did you mean `seoul`?",
        "zones/a.toml:24:16: `failover_ttl` is above `ttl` (60 s, expected at most 30 s)",
        "zones/a.toml:25:23: `latency` is out of range (found the integer -1, expected 0 to 100)",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "found    {found}\nexpected {expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn renderings_show_the_place_and_the_way_out() {
    let diagnostics = with_zone(WRONG).load().expect_err("wrong");
    let rendered = |part: &str| {
        let found = diagnostics.iter().find(|diagnostic| diagnostic.message.contains(part));
        format!("{}\n", found.expect("diagnostic").render(false))
    };
    assert_eq!(
        rendered("seuol"),
        r#"error: unknown region `seuol`
  --> zones/a.toml:22:12
   |
22 | regions = ["seuol"]
   |            ^^^^^^^ no [region] of this file is so called
   |
   = help: did you mean `seoul`?
"#
    );
    assert_eq!(
        rendered("twice"),
        r#"error: the address 203.0.113.10 is there twice in one region
  --> zones/a.toml:16:15
   |
15 |   { address = ["203.0.113.10", "203.0.113.300"], weight = 0 },
   |                -------------- first here
16 |   { address = "203.0.113.10", layer = "l8" },
   |               ^^^^^^^^^^^^^^ again here
"#
    );
}

#[test]
fn keys_of_a_region_are_held_to_their_ranges() {
    for (keys, expected) in [
        ("capacity = nan", "`capacity` is out of range (found the number nan"),
        ("capacity = 1e400", "`capacity` is out of range"),
        ("cost = -0.1", "`cost` is out of range"),
        ("min_healthy = 2", "expected a whole number from 1 to 1)"),
        ("min_healthy = 99999999999999999999999", "`min_healthy` is out of range"),
        ("load_report.haproxy = { url = \"http://x/\" }", "`proxy` is missing in `load_report.haproxy`"),
        ("load_report.nginx = { url = \"http://x/\", health = {} }", "`load_report.nginx` says nothing of health"),
        (
            "load_report.nginx_plus = { url = \"http://x/\", health = {} }",
            "`load_report.nginx_plus` says nothing of health",
        ),
        (
            "load_report.prometheus = { url = \"http://x/\", load = \"a\", health = {} }",
            "`load_report.prometheus` says nothing of health",
        ),
        ("load_report.push = { health = true }", "wrong type for `health`"),
        ("load_report.push = { health = { weight = 0 } }", "`weight` is out of range"),
        ("load_report.push = { health = { down = \"stop\" } }", "`down` cannot be \"stop\""),
        ("load_report.push = { health = { errors = { low = 0.3 } } }", "`errors.low` is not below `errors.high`"),
        ("load_report.push = { health = { errors = { high = 20 } } }", "`high` is out of range"),
        ("load_report.push = { health = { backend = \"b\" } }", "unknown key `backend` in `health`"),
        ("load_report.json = { url = \"http://x/\", load = \"/l\", health = {} }", "`up_share` is missing in `health`"),
        ("degraded = { offer = 0.5 }", "`above` is missing in `degraded`"),
        ("degraded = { above = \"2m\" }", "`above` is out of range"),
        ("degraded = { above = \"1s\", offer = 0 }", "`offer` is out of range"),
        ("load_report.haproxy = { url = \"ftp://x/\", proxy = \"w\" }", "does not begin with http:// or https://"),
        ("load_report.json = { url = \"http://x/\", load = \"load\" }", "a JSON pointer begins with `/`"),
        ("load_report = {}", "`load_object` or `push` is missing in `load_report`"),
        (
            "load_report.json = { url = \"http://x/\", load = \"\" }\nload_report.haproxy = { url = \"http://x/\", proxy = \"w\" }",
            "`haproxy` and `json` cannot both stand in `load_report`",
        ),
    ] {
        let found = of_region(keys);
        assert!(found.contains(expected), "{keys}: {found}");
    }
}

#[test]
fn checks_are_held_to_what_can_be_probed() {
    let check = |keys: &str| {
        let region = SEOUL.replace("check.tcp = { port = 443 }", keys);
        mistake(&with_zone(&format!("origin = \"gslb.example.com\"\n{RECORDS}{region}{WWW}")))
    };
    for (keys, expected) in [
        ("check.tcp = {}", "`port` is missing in `check.tcp`"),
        ("check.tcp = { port = 0 }", "`port` is out of range"),
        ("check.tcp = { port = 1, fall = 0 }", "`fall` is out of range"),
        ("check.tcp = { port = 1, interval = \"0s\" }", "expected 100ms to 1h"),
        ("check.tcp = { port = 1, timeout = \"2m\" }", "expected 10ms to 1m"),
        ("check.tcp = { port = 1, send = \"PING\" }", "`send` without `expect`"),
        ("check.tcp = { port = 1, expect = \"\" }", "found 0 octets, expected 1 to 1024"),
        ("check.tcp = { port = 1, expect = { hex = \"1\" } }", "the last octet has one digit"),
        ("check.tcp = { port = 1, expect = { hex = \"1g\" } }", "not hexadecimal digits"),
        ("check.tcp = { port = 1, expect = 1 }", "wrong type for `expect`"),
        ("check.udp = { port = 1 }", "`send` is missing in `check.udp`"),
        ("check.udp = { port = 1, send = \"a\", url = \"b\" }", "unknown key `url`"),
        ("check.tls = { port = 0 }", "`port` is out of range"),
        ("check.tls = { warn_days = 3651 }", "expected a whole number from 0 to 3650"),
        ("check.http = { url = \"http://{address}/\", fail_days = 1 }", "`fail_days` is for https only"),
        ("check.dns = {}", "`name` is missing in `check.dns`"),
        ("check.dns = { name = \"a..b\" }", "`name`: "),
        ("check.dns = { name = \"a\", type = \"AXFR\" }", "no type that is asked for in a query"),
        ("check.dns = { name = \"a\", type = \"B\" }", "not a record type"),
        ("check.dns = { name = \"a\", rcode = \"NOEROR\" }", "did you mean \"NOERROR\"?"),
        ("check.grpc = {}", "`port` is missing in `check.grpc`"),
        ("check.grpc = { port = 1, verify = false }", "`verify` is for TLS only"),
        ("check.grpc = { port = 1, host = \"a b\" }", "not a host, with or without a port"),
        ("check.ping = {}", "unknown key `ping`"),
        ("check.push = {}", "`max_age` is missing in `check.push`"),
        ("check.push = { max_age = \"10ms\" }", "expected 1s to 24h"),
        ("check.push = { max_age = \"9s\", timeout = \"1s\" }", "unknown key `timeout` in `check.push`"),
        ("check.icmp = { port = 1 }", "unknown key `port` in `check.icmp`"),
        ("check.http = { url = \"/health\" }", "does not begin with http:// or https://"),
        ("check.http = { url = \"http://{address}:0/\" }", "the port is not 1 to 65535"),
        ("check.http = { url = \"http://{address}.example/\" }", "after {address} comes"),
        ("check.http = { url = \"http://{address}/a b\" }", "must be escaped with %"),
        ("check.http = { url = \"http://{address}/\", verify = false }", "`verify` is for https only"),
        ("check.https = { url = \"http://{address}/\" }", "`check.https` needs an https URL"),
        ("check.https = { url = \"https://{address}/\", server_name = \"a b\" }", "not a host name or address"),
        ("check.https = { url = \"https://{address}/\", ca_file = \"ca.pem\" }", "cannot read zones/ca.pem"),
        ("check.tls = { client_cert_file = \"a.pem\" }", "`client_cert_file` without `client_key_file`"),
        ("check.tls = { client_key_file = \"a.pem\" }", "`client_key_file` without `client_cert_file`"),
        ("check.grpc = { port = 1, client_key_file = \"a.pem\" }", "`client_key_file` is for TLS only"),
        ("check.http = { url = \"http://{address}/\", host = \"a b\" }", "not a host, with or without a port"),
        ("check.http = { url = \"http://{address}/\", status = [] }", "`status` holds no code"),
        ("check.http = { url = \"http://{address}/\", status = \"399-200\" }", "not a range of status codes"),
        ("check.http = { url = \"http://{address}/\", version = \"3\" }", "`version` cannot be \"3\""),
        ("check.http = { url = \"http://{address}/\", method = \"PUT\" }", "`method` cannot be \"PUT\""),
        (
            "check.http = { url = \"http://{address}/\", method = \"HEAD\", body = \"ok\" }",
            "an answer to HEAD has no body",
        ),
        (
            "check.http = { url = \"http://{address}/\", headers = { \"a b\" = \"1\" } }",
            "not the name of a header field",
        ),
        ("check.http = { url = \"http://{address}/\", headers = { Host = \"a\" } }", "write the name in `host`"),
        ("check.http = { url = \"http://{address}/\", headers = { te = \"a\" } }", "the probe sets it itself"),
        ("check.http = { url = \"http://{address}/\", headers = { a = \"b\\nc\" } }", "`a` cannot have this value"),
        ("check.http = { url = \"http://{address}/\", body_regex = \"(\" }", "expected a regular expression"),
        ("check.http = { url = \"http://{address}/\", body_limit = 65537 }", "`body_limit` is out of range"),
        ("check.http = { url = \"http://{address}/\", json = { status = 1 } }", "a JSON pointer begins with `/`"),
        ("check.http = { url = \"http://{address}/\", json = { \"/at\" = 2026-01-01 } }", "found the date 2026-01-01"),
    ] {
        // An unknown kind is also no kind.
        let found = if keys.contains("ping") { mistakes_of_check(keys) } else { check(keys) };
        assert!(found.contains(expected), "{keys}: {found}");
    }
}

#[test]
fn a_client_certificate_is_read_with_its_key_or_what_is_wrong_is_told() {
    let made = || rcgen::generate_simple_self_signed(vec!["probe".to_owned()]).expect("a certificate");
    let (one, other) = (made(), made());
    let (certificate, key) = (one.cert.pem(), one.signing_key.serialize_pem());
    let keys = "check.tls = { client_cert_file = \"c.pem\", client_key_file = \"k.pem\" }";
    let with = |c: &str, k: &str| {
        let files = with_zone(&zone("").replace("check.tcp = { port = 443 }", keys));
        files.with("zones/c.pem", c).with("zones/k.pem", k)
    };
    let both = format!("{key}{certificate}");
    for (c, k) in [(&certificate, &key), (&both, &both)] {
        let loaded = with(c, k).load().expect("loads");
        let Some(Check { kind: CheckKind::Tls { tls, .. }, .. }) = loaded.model.regions[0].check() else {
            panic!("check")
        };
        let client = tls.client.as_ref().expect("a certificate");
        assert_eq!((&client.certificates, &client.key), (c, k));
        assert!(loaded.files.ends_with(&["zones/c.pem".into(), "zones/k.pem".into()]), "a change of them is noticed");
    }
    for (c, k, expected) in [
        (&key, &key, "zones/c.pem holds no certificate"),
        (&certificate, &certificate, "the key's file holds no private key in the clear"),
        (&certificate, &other.signing_key.serialize_pem(), "the key is not that of the certificate"),
        (&certificate, &"-----BEGIN PRIVATE KEY-----\nA\n".to_owned(), "the key is not PEM"),
    ] {
        let found = mistakes(&with(c, k)).join("\n");
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

fn mistakes_of_check(keys: &str) -> String {
    let region = SEOUL.replace("check.tcp = { port = 443 }", keys);
    mistakes(&with_zone(&format!("origin = \"gslb.example.com\"\n{RECORDS}{region}{WWW}"))).join("\n")
}

#[test]
fn the_scheme_decides_port_and_encryption() {
    for (url, port, path, tls) in [
        ("http://{address}", 80, "/", false),
        ("https://{address}?q=1", 443, "/?q=1", true),
        ("https://{address}:8443/a;b", 8443, "/a;b", true),
    ] {
        let text = zone("").replace("check.tcp = { port = 443 }", &format!("check.http = {{ url = \"{url}\" }}"));
        let loaded = with_zone(&text).load().expect("loads");
        let Some(Check { kind: CheckKind::Http(http), .. }) = loaded.model.regions[0].check() else { panic!("check") };
        assert_eq!((http.port, http.path.as_str(), http.tls.is_some()), (port, path, tls), "{url}");
    }
}

#[test]
fn endpoints_are_held_to_what_can_be_handed_out() {
    let endpoint = |endpoints: &str| {
        let region = SEOUL.replace("[{ address = \"203.0.113.10\" }]", endpoints);
        mistake(&with_zone(&format!("origin = \"gslb.example.com\"\n{RECORDS}{region}{WWW}")))
    };
    for (endpoints, expected) in [
        ("[]", "a region needs at least one endpoint"),
        ("[{}]", "`address` or `host` is missing in an endpoint"),
        ("[\"203.0.113.10\"]", "wrong type for `endpoints` (found the string \"203.0.113.10\", expected a table such"),
        ("[{ address = [] }]", "an endpoint needs at least one address"),
        ("[{ address = \"0.0.0.0\" }]", "no client can connect to this address"),
        ("[{ address = \"::ffff:192.0.2.1\" }]", "write 192.0.2.1"),
        ("[{ address = \"192.0.2.1\", host = \"lb.example.net.\" }]", "cannot both stand in an endpoint"),
        ("[{ host = \"lb.example.net\" }]", "end the name with a dot"),
        ("[{ host = \"lb..net.\" }]", "an empty label"),
    ] {
        let found = endpoint(endpoints);
        assert!(found.contains(expected), "{endpoints}: {found}");
    }
    let many: Vec<_> = (1..=65).map(|n| format!("{{ address = \"192.0.2.{n}\" }}")).collect();
    says(&endpoint(&format!("[{}]", many.join(", "))), &["found 65, expected at most 64"]);
}

#[test]
fn services_are_held_to_their_ranges() {
    for (keys, expected) in [
        ("ttl = \"2147483648\"", "`ttl` is not a TTL"),
        ("ttl = -1", "`ttl` is not a TTL"),
        ("failover_ttl = \"31s\"", "`failover_ttl` is above `ttl` (31 s, expected at most 30 s)"),
        ("ecs = \"yes\"", "wrong type for `ecs` (found the string \"yes\", expected true or false)"),
        ("weights = { load = 101 }", "`load` is out of range"),
        ("https = { port = 70000 }", "`port` is out of range"),
        ("https = { alpn = [\"\"] }", "not 1 to 255 octets"),
    ] {
        let found = of_service(keys);
        assert!(found.contains(expected), "{keys}: {found}");
    }
    let service = |text: &str| mistake(&with_zone(&zone(text)));
    says(&service("[service.a]\nregions = []\n"), &["there must be at least one region"]);
    says(&service("[service.a]\nregions = {}\n"), &["at least one region"]);
    says(&service("[service.a]\nregions = { seoul = 1 }\n"), &["regions have shares only under"]);
    says(&service("[service.a]\npolicy = \"weighted\"\nregions = { seoul = -1 }\n"), &["expected a share from 0"]);
    says(&service("[service.a]\nregions = [\"seoul\", \"seoul\"]\n"), &["region `seoul` is there twice"]);
    says(
        &service("[service.\"www.example.org.\"]\nregions = [\"seoul\"]\n"),
        &["is outside the zone gslb.example.com."],
    );
    says(&service("[service.\"a..b\"]\nregions = [\"seoul\"]\n"), &["cannot be the name of a service", "empty label"]);
    says(&service("[service.WWW]\nregions = [\"seoul\"]\n"), &["two services are called WWW.gslb.example.com."]);
}

#[test]
fn threads_and_sockets_are_set_in_the_main_file() {
    let load = |text: &str| with_zone(&zone("")).with("meridian.toml", text).load().expect("loads").config;
    let udp = "batch = 8\nreceive_buffer = 1_000_000\nsend_buffer = 4096\nbusy_poll = \"50us\"\n";
    let config = load(&format!("threads = 4\ncpus = [0, 2]\n[udp]\n{udp}"));
    let busy_poll = Some(Duration::from_micros(50));
    let udp = Udp { batch: 8, receive_buffer: Some(1_000_000), send_buffer: Some(4096), busy_poll };
    assert_eq!((config.threads, config.cpus, config.udp), (Some(4), vec![0, 2], udp));
    let watchdog = |text: &str| load(&format!("watchdog = \"{text}\"\n")).watchdog;
    assert_eq!([watchdog("1m"), watchdog("off"), load("").watchdog], [Some(Duration::from_secs(60)), None, None]);
    assert_eq!(load("").stop_delay, Duration::ZERO);
    assert_eq!(load("stop_delay = \"5s\"\n").stop_delay, Duration::from_secs(5));
    let config = load("cpus = 3\nudp.busy_poll = \"off\"\n");
    assert_eq!((config.cpus, config.udp), (vec![3], Udp::default()));
}

#[test]
fn a_short_ttl_shortens_the_default_failover_ttl() {
    let loaded = with_zone(&zone("[service.a]\nregions = [\"seoul\"]\nttl = 2\n")).load().expect("loads");
    let service = loaded.model.services.iter().find(|service| service.name == name("a.gslb.example.com"));
    assert_eq!(service.map(|service| service.failover_ttl), Some(Ttl::saturating(2)));
}

#[test]
fn the_main_file_is_held_to_its_ranges() {
    for (text, expected) in [
        ("listen.dns = []", "`dns` holds no address to listen on"),
        ("listen.dns = [\"localhost:53\"]", "expected an address and port"),
        ("listen.dns = [\"[::1]:53\", \"[::1]:53\"]", "`dns` names [::1]:53 twice"),
        ("listen.admin = \"[::]:8053\"", "no token protects it"),
        ("admin.tokens_file = \"gone.toml\"", "gone.toml"),
        ("admin.socket_mode = \"888\"", "they are 000 to 777"),
        ("threads = 0", "`threads` is out of range"),
        ("cpus = [0, 2, 0]", "`cpus` names CPU 0 twice"),
        ("cpus = [1024]", "a whole number from 0 to 1023"),
        ("cpus = \"0-3\"", "expected a whole number from 0 to 1023"),
        ("udp.batch = 0", "a whole number from 1 to 1024"),
        ("udp.receive_buffer = \"4MiB\"", "a whole number from 4096 to 1073741824"),
        ("udp.send_bufer = 65536", "did you mean `send_buffer`?"),
        ("udp.busy_poll = 50", "found the integer 50, expected a duration"),
        ("udp.busy_poll = \"1s\"", "1us to 10ms"),
        ("udp = 1", "wrong type for `udp`"),
        ("seed = -1", "`seed` is out of range"),
        ("watchdog = \"5s\"", "15s to 1h"),
        ("stop_delay = \"6m\"", "0ms to 5m"),
        ("admin.certificate = \"a.pem\"", "`certificate` without `key`"),
        ("admin.client_ca = \"a.pem\"", "`client_ca` without `certificate`"),
        ("confinement = true", "`confinement.writes`, or \"off\""),
        ("confinement.writes = 1", "expected a path"),
        ("confinement.write = []", "unknown key `write`"),
        ("stop_delay = 5", "found the integer 5, expected a duration"),
        ("nsid = \"\"", "the text is empty"),
        ("limits.tcp_idle = 10", "found the integer 10, expected a duration such as \"5s\", 100ms to 10m"),
        ("limits.tcp_idel = \"10s\"", "did you mean `tcp_idle`?"),
        ("steering.damping = \"of\"", "a table such as { half_life = \"5m\", limit = 1.6 }, or \"off\""),
        ("steering.damping.limit = 0", "0.1 to 100"),
        ("steering.damping.half_live = \"5m\"", "did you mean `half_life`?"),
        ("steering.max_withdrawn = {}", "`regions` or `share` is missing in `max_withdrawn`"),
        ("steering.max_withdrawn = { regions = 2, share = 0.5 }", "cannot both stand in `max_withdrawn`"),
        ("steering.max_withdrawn.share = 50", "above 0, up to 1"),
        ("steering.max_withdrawn = { regions = 0 }", "a whole number from 1 to 1024"),
        ("steering.max_withdrawn = { regions = 1, window = 60 }", "expected a duration such as \"5s\", 1s to 1h"),
        ("steering.drain_allowance = \"2h\"", "0ms to 1h"),
        ("steering.max_detour = \"11s\"", "0ms to 10s"),
        ("steering.max_detour = 60", "expected a duration such as \"5s\", 0ms to 10s"),
        ("steering.max_detuor = \"60ms\"", "did you mean `max_detour`?"),
        ("steering.planning_cpu = 0.01", "0.05 to 1"),
        ("steering.planning_cpu = \"30%\"", "0.05 to 1"),
        ("steering.dampng = \"off\"", "did you mean `damping`?"),
        ("geoip = { database = [] }", "unknown key `database` in `geoip`"),
        ("geoip = [1]", "wrong type for `geoip` (found the integer 1, expected a path)"),
        ("network = [{ cidr = \"10.0.0.1/8\", location = { country = \"KR\" } }]", "the network is 10.0.0.0/8"),
        ("network = [{ cidr = \"10.0.0.0/8\", location = { country = \"ZZ\" } }]", "a location needs coordinates"),
        ("network = [{ cidr = \"10.0.0.0/8\", location = { latitude = 1 } }]", "`longitude` is missing"),
        (
            "network = [{ cidr = \"10.0.0.0/8\", location = { latitude = 91, longitude = 0 } }]",
            "expected degrees from -90 to 90",
        ),
        (
            "network = [{ cidr = \"10.0.0.0/8\", location = { country = \"US\", subdivision = \"US-WA\" } }]",
            "write \"WA\"",
        ),
        (
            "[[network]]\ncidr = \"::/0\"\nlocation.country = \"KR\"\n[[network]]\ncidr = \"::/0\"\nlocation.country = \"KR\"",
            "the network ::/0 is there twice",
        ),
    ] {
        let found = mistakes(&with_zone(&zone("")).with("meridian.toml", text)).join("\n");
        assert!(found.contains(expected), "{text}: {found}");
    }
}

#[test]
fn a_token_opens_the_admin_address_and_off_closes_it() {
    let load = |text: &str| with_zone(&zone("")).with("meridian.toml", text).load().expect("loads").config;
    let open = load("listen.admin = \"0.0.0.0:1\"\nadmin.token_file = \"secret/token\"");
    assert_eq!(open.admin_token_file, Some("secret/token".into()));
    assert_eq!(load("listen.admin = \"off\"").listen.admin, None);
    assert_eq!(load("geoip.databases = [\"a.mmdb\"]").geoip.databases, [PathBuf::from("a.mmdb")]);
}

#[test]
fn paths_are_relative_to_the_main_file() {
    let files = Memory::default()
        .with("/etc/m/meridian.toml", "zones = \"z\"\nstate = \"/var/lib/m\"\ngeoip = \"g.mmdb\"")
        .with("/etc/m/z/a.toml", zone(""));
    let config = config::load_from(&files, Path::new("/etc/m/meridian.toml")).expect("loads").config;
    assert_eq!(config.zones, Path::new("/etc/m/z"));
    assert_eq!(config.state, Path::new("/var/lib/m"));
    assert_eq!(config.geoip.databases, [PathBuf::from("/etc/m/g.mmdb")]);
}

#[test]
fn what_is_missing_is_said_with_what_to_do() {
    says(&mistake(&Memory::default()), &["cannot read meridian.toml", "--config"]);
    says(&mistake(&Memory::default().with("meridian.toml", "")), &["zones: it does not exist", "create it"]);
    let none = Memory::default().with("meridian.toml", "").with("zones/.a.toml", "").with("zones/a.zone", "");
    says(&mistake(&none), &["holds no *.toml file", "write a zone file such as zones/gslb.example.com.toml"]);
    let empty = mistakes(&with_zone("")).join("\n");
    says(
        &empty,
        &[
            "a.toml:1:1: `origin` is missing in the zone file",
            "`records` or `records_file` is missing in the zone file",
        ],
    );
    let no_file = "origin = \"a\"\nrecords_file = \"a.zone\"\n";
    says(&mistakes(&with_zone(no_file)).join("\n"), &["a.toml:2:16: cannot read zones/a.zone"]);
}

#[test]
fn two_files_for_one_zone_are_both_named() {
    let files = with_zone(&zone("")).with("zones/b.toml", zone("").replace("gslb.", "GSLB."));
    let all = files.load().expect_err("twice");
    assert_eq!(lines(&all), ["zones/b.toml:1:10: two files are for the zone GSLB.example.com. (again here)"]);
    says(&all[0].render(false), &["zones/b.toml:1:10", "zones/a.toml:1:10", "first here"]);
    let nested = with_zone(&zone("")).with("zones/b.toml", zone("").replace("gslb.", "eu.gslb."));
    assert_eq!(nested.load().expect("a zone below another").model.zones.len(), 2);
}

#[test]
fn a_service_is_defined_in_the_zone_that_holds_its_name() {
    for (name, within) in [("eu", true), ("www.eu", true), ("*.eu", true), ("a.b.EU", true), ("weu", false)] {
        let service = format!("[service.\"{name}\"]\nregions = [\"seoul\"]\n");
        let files = with_zone(&zone(&service));
        assert!(files.load().is_ok(), "{name}");
        let nested = files.with("zones/b.toml", zone("").replace("gslb.", "eu.gslb."));
        let told = nested.load().err().map(|all| lines(&all)).unwrap_or_default();
        let expected = "is in the zone eu.gslb.example.com. (would never be answered: define it in that zone's";
        assert_eq!(told.iter().filter(|line| line.contains(expected)).count(), usize::from(within), "{name}: {told:?}");
    }
}

#[test]
fn region_names_are_kept_apart() {
    let again = zone(&SEOUL.replace("seoul", "Seoul"));
    says(&mistakes(&with_zone(&again)).join("\n"), &["differ only in upper and lower case"]);
    let odd = zone(&SEOUL.replace("region.seoul", "region.\"a@b\""));
    says(&mistakes(&with_zone(&odd)).join("\n"), &["\"a@b\" cannot be the name of a region"]);
}

#[test]
fn warnings_do_not_keep_a_configuration_from_loading() {
    let quiet = SEOUL.replace("seoul", "tokyo").replace("check.tcp = { port = 443 }", "");
    let slow = SEOUL.replace("seoul", "lima").replace("443", "443, interval = \"1s\", timeout = \"3s\"");
    let text = zone(&format!(
        "{quiet}{slow}[service.a]\nregions = [\"tokyo\"]\n[service.b]\npolicy = \"failover\"\nregions = [\"seoul\"]\n\
         weights = {{}}\n"
    ));
    let loaded = with_zone(&text).load().expect("loads");
    assert!(loaded.diagnostics.iter().all(|diagnostic| diagnostic.severity == Severity::Warning));
    let all = lines(&loaded.diagnostics).join("\n");
    says(
        &all,
        &[
            "no service uses region `lima`",
            "a probe may take as long as `fall` of them should",
            "service `a` has regions that are never checked (always taken to be up: `tokyo`)",
            "`weights` has no effect",
        ],
    );
    assert_eq!(loaded.diagnostics.len(), 4, "{all}");
}

#[test]
fn what_is_odd_about_origins_shares_and_endpoints_is_told() {
    let spaced = format!("origin = \"gslb. example.com\"\n{RECORDS}");
    let all = lines(&with_zone(&spaced).load().expect("loads").diagnostics).join("\n");
    says(&all, &["the origin holds a character that names of hosts do not have (a space)"]);
    let reverse = format!("origin = \"0/25.2.0.192.in-addr.arpa\"\n{RECORDS}");
    assert!(with_zone(&reverse).load().expect("loads").diagnostics.iter().all(|d| !d.message.contains("origin")));
    let tokyo = SEOUL.replace("seoul", "tokyo");
    let none = "policy = \"weighted\"\nregions = { seoul = 0, tokyo = 0 }";
    let shares = with_zone(&zone(&format!("{tokyo}[service.s]\n{none}\n"))).load().expect("loads");
    assert_eq!(lines(&shares.diagnostics).len(), 1, "{:?}", shares.diagnostics);
    says(&lines(&shares.diagnostics)[0], &["all shares are 0 (all regions get the same share)", "says so plainly"]);
    let hosts = |www: &str| {
        let host = SEOUL.replace("address = \"203.0.113.10\"", &format!("host = \"{www}\""));
        mistake(&with_zone(&format!("origin = \"gslb.example.com\"\n{RECORDS}{host}{WWW}")))
    };
    says(&hosts("www"), &["a.toml:7:9", "the service www.gslb.example.com. is an alias of itself (leads nowhere)"]);
    says(&hosts("gone"), &["the endpoint gone.gslb.example.com. of www.gslb.example.com. does not exist"]);
}

#[test]
fn broken_toml_is_told_with_the_mistakes_of_the_parts_that_are_whole() {
    let text =
        format!("origin = \"a\nttl = = 5\n{RECORDS}[region.x]\ncapacity = -1\nlocation = {{ country = \"KR\" }}\n");
    let found = mistakes(&with_zone(&text).with("meridian.toml", "[listen\nthread = 1")).join("\n");
    says(&found, &["a.toml:1:", "a.toml:2:7: this is not TOML", "`capacity` is out of range", "meridian.toml:1:8"]);
    assert!(!found.contains("missing"), "{found}");
    let escape = zone("").replace("'''", "\"\"\"").replacen("@    NS", "@ TXT \"\\065\"\n@    NS", 1);
    says(&mistakes(&with_zone(&escape))[0], &["a.toml:3:9: this is not TOML", "backslashes stand for themselves"]);
}

#[test]
fn a_table_that_is_there_twice_is_one_mistake() {
    let twice = zone(&format!("{SEOUL}[region.seoul.check]\ntcp.port = 80\n"));
    let found = mistakes(&with_zone(&twice));
    assert_eq!(found.len(), 1, "{found:#?}");
    says(&found[0], &["the table `[region.seoul]` is there twice", "again here"]);
    let rendered =
        with_zone(&twice).load().expect_err("a mistake").iter().map(|one| one.render(false)).collect::<String>();
    says(&rendered, &["first here"]);
    let thrice = zone(&format!("{SEOUL}{SEOUL}"));
    assert_eq!(mistakes(&with_zone(&thrice)).len(), 2);
    let key = SEOUL.replacen("location", "location = { country = \"KR\" }\nlocation", 1);
    let key = mistakes(&with_zone(&zone("").replace(SEOUL, &key)));
    assert_eq!(key.len(), 1, "{key:#?}");
    says(&key[0], &["the key `location` is there twice"]);
}

#[test]
fn an_unknown_policy_is_one_mistake_and_hides_none() {
    for rest in [
        "regions = { seoul = 3 }",
        "regions = [\"seoul\"]\nanswers = 2",
        "regions = [\"seoul\"]\ngeo = { default = [\"seoul\"] }",
    ] {
        let service = format!(
            "[service.www]\npolicy = \"weightd\"\n{rest}\nbias = {{ seoul = \"5ms\" }}\nweights = {{ load = 2 }}\n"
        );
        let text = zone("").replace(WWW, &service);
        let all = with_zone(&text).load().expect_err("a mistake");
        let about: Vec<String> =
            all.iter().map(ToString::to_string).filter(|told| !told.contains("name server")).collect();
        assert_eq!(about.len(), 1, "{about:#?}");
        says(&about[0], &["`policy` cannot be \"weightd\"", "did you mean \"weighted\"?"]);
    }
}

#[test]
fn mistakes_in_records_are_marked_where_they_stand() {
    let at = |records: &str| {
        let text = format!("origin = \"gslb.example.com\"\nrecords = {records}\n{SEOUL}{WWW}");
        let all = with_zone(&text).load().expect_err("wrong");
        let spans = all.iter().filter_map(|diagnostic| diagnostic.span.as_ref());
        let marked: Vec<_> =
            spans.map(|span| (span.file.line_column(span.range.start), &text[span.range.clone()])).collect();
        let bogus = marked.iter().find(|(_, text)| *text == "BOGUS");
        bogus.unwrap_or_else(|| panic!("{:#?}", lines(&all))).0
    };
    let soa = "@ SOA ns1 h 1 1h 10m 1w 60";
    assert_eq!(at(&format!("'''\n{soa}\nx BOGUS 1\n'''")), (4, 3));
    assert_eq!(at(&format!("\"\"\"{soa}\nx BOGUS 1\n\"\"\"")), (3, 3));
    assert_eq!(at(&format!("\"\"\"\n{soa}\nt TXT \\\"a\\\\\\\\065\\\" \\\n\n   \\nx BOGUS 1\n\"\"\"")), (6, 8));
    assert_eq!(at(&format!("\"{soa}\\nx BOGUS 1\\n\"")), (2, 16 + soa.len()));
}

#[test]
fn records_may_come_from_other_files_below_the_configuration() {
    let zone = |records: &str| format!("origin = \"gslb.example.com\"\nrecords_file = \"{records}\"\n{SEOUL}{WWW}");
    let records = "@ SOA ns1 h 1 1h 10m 1w 60\n@ NS ns1\n@ NS ns2.example.org.\nns1 A 192.0.2.53\n";
    let files = with_zone(&zone("a.zone"));
    let loaded = files.clone().with("zones/a.zone", records).load().expect("loads");
    assert_eq!(loaded.files, ["meridian.toml", "zones/a.toml", "zones/a.zone"].map(PathBuf::from));
    let wrong = files.clone().with("zones/a.zone", format!("{records}x BOGUS 1\n"));
    assert!(mistake(&wrong).starts_with("zones/a.zone:5:3: "));
    let escape = files.with("zones/a.zone", format!("{records}$INCLUDE ../../etc/passwd\n"));
    says(&mistake(&escape), &["zones/a.zone:5:", "outside the directory of the configuration"]);
    for path in ["../../a.zone", "/etc/passwd"] {
        let all = mistakes(&with_zone(&zone(path))).join("\n");
        says(&all, &["zones/a.toml:2:16: ", "outside the directory of the configuration"]);
    }
}

#[test]
fn services_and_records_are_checked_together() {
    let static_www = zone("").replace("ns1  A ", "www  A    192.0.2.9\nns1  A ");
    let all = with_zone(&static_www).load().expect_err("collides");
    assert_eq!(all.len(), 1, "{:#?}", lines(&all));
    says(&all[0].render(false), &["zones/a.toml:12:10", "www  A    192.0.2.9"]);
    let below = zone("").replace("ns1  A ", "www  NS   ns1\nns1  A ");
    says(&mistakes(&with_zone(&below)).join("\n"), &["www"]);
    let model = example().model;
    let zone = model.zones.iter().find(|zone| zone.origin == name("gslb.example.com")).expect("zone");
    let soa = zone.rrset(&name("gslb.example.com"), RecordType::SOA).expect("SOA");
    assert_eq!((soa.ttl, soa.rdatas().count()), (Ttl::saturating(300), 1));
    assert!(zone.rrset(&name("ns2.gslb.example.com"), RecordType::A).is_some());
}

#[test]
fn rfc1035_5_2_a_zone_without_soa_is_refused() {
    let no_soa = zone("").replace("@  SOA ns1 hostmaster 1 1h 10m 1w 60", "");
    let no_soa = no_soa.replacen("origin", "ttl = 300\norigin", 1);
    says(&mistakes(&with_zone(&no_soa)).join("\n"), &["zones/a.toml:2:10", "SOA"]);
}

#[test]
fn one_slip_makes_no_flood() {
    let same_line = format!("ttl = \"soon\" 5\n{}", zone(""));
    assert!(mistake(&with_zone(&same_line)).starts_with("zones/a.toml:1:"), "only that it is no TOML");
    let unreadable_soa = format!("ttl = 300\n{}", zone("").replace("SOA ns1", "SOA"));
    says(&mistake(&with_zone(&unreadable_soa)), &["zones/a.toml:3:"]);
    let no_end = zone("").replace("198.51.100.53\n'''", "198.51.100.53\n");
    assert!(mistake(&with_zone(&no_end)).contains("this is not TOML"));
}

#[test]
fn files_that_are_no_text_are_refused_with_the_offset() {
    let directory = tempfile::tempdir().expect("directory");
    let zones = directory.path().join("zones");
    std::fs::create_dir(&zones).expect("zones");
    let main = directory.path().join("meridian.toml");
    std::fs::write(&main, "").expect("main");
    std::fs::write(zones.join("a.toml"), b"origin = \"\xe9\"\n").expect("zone");
    let all = config::load(&main).expect_err("refused");
    assert_eq!(all.len(), 1);
    says(&all[0].to_string(), &["a.toml: not UTF-8: byte 0xe9 at offset 10, line 1"]);
    std::fs::remove_file(zones.join("a.toml")).expect("remove");
    std::fs::create_dir(zones.join("b.toml")).expect("a directory in place of a file");
    says(&config::load(&main).expect_err("refused")[0].to_string(), &["b.toml: not a regular file"]);
}

#[test]
fn http_checks_say_what_is_sent_and_what_must_come_back() {
    let keys = "version = \"2\", method = \"POST\", headers = { X-Probe = \"1\" }, status = [\"200-299\", 401], body_regex = \"^v[0-9]\", \
                body_limit = 100";
    let keys = format!("check.http = {{ url = \"http://{{address}}/\", {keys} }}");
    let loaded = with_zone(&zone("").replace("check.tcp = { port = 443 }", &keys)).load().expect("loads");
    let Some(Check { kind: CheckKind::Http(http), .. }) = loaded.model.regions[0].check() else { panic!("check") };
    let expected = HttpCheck {
        version: HttpVersion::Http2,
        method: HttpMethod::Post,
        headers: vec![("X-Probe".into(), "1".into())],
        status: vec![(200, 299), (401, 401)],
        body_regex: Some("^v[0-9]".into()),
        body_limit: 100,
        ..HttpCheck::new(80)
    };
    assert_eq!(*http, expected);
}

#[test]
fn each_kind_of_check_is_read_as_written() {
    let of = |keys: &str| {
        let loaded = with_zone(&zone("").replace("check.tcp = { port = 443 }", keys)).load().expect("loads");
        loaded.model.regions[0].check().expect("a check").kind.clone()
    };
    let exchange = |send: &[u8], expect: &[u8]| ExchangeCheck { port: 9, send: send.into(), expect: expect.into() };
    for (keys, kind) in [
        ("check.tcp = { port = 9 }", CheckKind::Tcp { port: 9 }),
        ("check.icmp = {}", CheckKind::Icmp),
        ("check.push = { max_age = \"30s\" }", CheckKind::Push { max_age: Duration::from_secs(30) }),
        (
            "check.tls = { server_name = \"a.example\", fail_days = 2 }",
            CheckKind::Tls {
                port: 443,
                tls: TlsCheck { server_name: Some("a.example".into()), fail_days: 2, ..TlsCheck::default() },
            },
        ),
        (
            "check.grpc = { port = 9, service = \"shop.Cart\", host = \"a.example\", tls = true }",
            CheckKind::Grpc(GrpcCheck {
                tls: Some(TlsCheck::default()),
                port: 9,
                service: "shop.Cart".into(),
                host: Some("a.example".into()),
            }),
        ),
        (
            "check.dns = { name = \"www.example.com\", type = \"SOA\", rcode = \"NXDOMAIN\", recursive = true }",
            CheckKind::Dns(DnsCheck {
                port: 53,
                name: name("www.example.com."),
                rtype: RecordType::SOA,
                rcode: 3,
                wants_answer: false,
                recursive: true,
            }),
        ),
        ("check.tcp = { port = 9, expect = \"220 \" }", CheckKind::TcpExchange(exchange(b"", b"220 "))),
        (
            "check.tcp = { port = 9, send = \"PING\\r\\n\", expect = \"+PONG\" }",
            CheckKind::TcpExchange(exchange(b"PING\r\n", b"+PONG")),
        ),
        ("check.udp = { port = 9, send = { hex = \"00 fF\" } }", CheckKind::Udp(exchange(&[0, 255], b""))),
    ] {
        assert_eq!(of(keys), kind, "{keys}");
    }
}

#[test]
fn programs_are_run_only_where_the_main_file_allows_it() {
    let of = |allow: &str, command: &str| {
        let check = format!("check.exec = {{ {command} }}");
        with_zone(&zone("").replace("check.tcp = { port = 443 }", &check)).with("meridian.toml", allow)
    };
    let command = "command = [\"/bin/check\", \"-H\", \"{address}\"]";
    for refused in ["", "allow_exec = false\n"] {
        says(&mistake(&of(refused, command)), &["zone files may not run programs", "`allow_exec = true`"]);
    }
    let allowed = of("allow_exec = true\n", command).load().expect("loads");
    let kind = allowed.model.regions[0].check().map(|check| check.kind.clone());
    let arguments = vec!["-H".into(), "{address}".into()];
    assert_eq!(kind, Some(CheckKind::Exec(ExecCheck { program: "/bin/check".into(), arguments })));
    for (command, expected) in [
        ("", "`command` is missing in `check.exec`"),
        ("command = []", "expected an absolute path"),
        ("command = [\"check\"]", "expected an absolute path"),
        ("command = \"/bin/check\"", "wrong type for `command`"),
        ("command = [\"/bin/check\", \"a\\u0000b\"]", "holds a NUL"),
    ] {
        says(&mistake(&of("allow_exec = true\n", command)), &[expected]);
    }
}

#[test]
fn certificates_are_read_when_the_model_is_built() {
    let check = "check.https = { url = \"https://{address}/\", ca_file = \"../ca.pem\", verify = true }";
    let text = zone("").replace("check.tcp = { port = 443 }", check);
    let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).expect("certificate");
    let loaded = with_zone(&text).with("zones/../ca.pem", made.cert.pem()).load().expect("loads");
    let Some(Check { kind: CheckKind::Http(http), .. }) = loaded.model.regions[0].check() else { panic!("check") };
    assert_eq!(http.tls.as_ref().and_then(|tls| tls.ca_pem.as_deref()), Some(&*made.cert.pem()));
    assert!(loaded.files.contains(&"zones/../ca.pem".into()));
    says(&mistake(&with_zone(&text).with("zones/../ca.pem", "hello")), &["holds no certificate"]);
}

/// A zone whose one region has this load report.
fn with_report(keys: &str) -> Memory {
    with_zone(&zone("").replace("[service.www]", &format!("load_report.{keys}\n[service.www]")))
}

fn report(keys: &str) -> LoadReport {
    let loaded = with_report(keys).load().unwrap_or_else(|all| panic!("{keys}: {:?}", lines(&all)));
    loaded.model.regions[0].load_report.clone().expect("a report")
}

#[test]
fn a_load_report_may_ask_the_first_endpoint() {
    let keys = "load_report.json = { url = \"http://{address}:9/\", load = \"/l\" }\n[service.www]";
    let from = |address: &str| {
        let text = zone("").replace("203.0.113.10", address).replace("[service.www]", keys);
        scrape(&with_zone(&text).load().expect("loads").model.regions[0]).1.from.clone()
    };
    assert_eq!(from("203.0.113.10"), ScrapeAddress::Http("http://203.0.113.10:9/".into()));
    assert_eq!(from("2001:db8::1"), ScrapeAddress::Http("http://[2001:db8::1]:9/".into()));
    let host = zone("").replace("address = \"203.0.113.10\"", "host = \"lb.\"").replace("[service.www]", keys);
    says(&mistake(&with_zone(&host)), &["{address} needs a first endpoint with an address"]);
}

#[test]
fn every_kind_of_load_report_is_read_as_written() {
    let format = |keys: &str| match report(keys).source {
        LoadSource::Scraped(scrape) => format!("{:?}", scrape.format),
        LoadSource::Pushed => "pushed".to_owned(),
    };
    let selector = |text: &str| meridian::model::MetricSelector::parse(text).expect("a selector");
    let web = || "web".to_owned();
    for (keys, expected) in [
        ("nginx = { url = \"http://x/\" }", LoadFormat::Nginx { field: NginxField::Connections }),
        ("nginx = { url = \"http://x/\", field = \"busy\" }", LoadFormat::Nginx { field: NginxField::Busy }),
        (
            "nginx_plus = { url = \"http://x/\" }",
            LoadFormat::NginxPlus { part: NginxPlusPart::Connections, field: NginxPlusField::Active },
        ),
        (
            "nginx_plus = { url = \"http://x/\", server_zone = \"web\", field = \"request_rate\" }",
            LoadFormat::NginxPlus { part: NginxPlusPart::ServerZone(web()), field: NginxPlusField::RequestRate },
        ),
        (
            "nginx_plus = { url = \"http://x/\", upstream = \"web\" }",
            LoadFormat::NginxPlus { part: NginxPlusPart::Upstream(web()), field: NginxPlusField::Active },
        ),
        (
            "envoy = { url = \"http://x/clusters\", cluster = \"web\", field = \"connections\" }",
            LoadFormat::Envoy { cluster: web(), field: EnvoyField::Connections },
        ),
        (
            "prometheus = { url = \"http://x/\", load = 'a{b=\"c\"}', capacity = \"d\", rate = true }",
            LoadFormat::Prometheus { load: selector("a{b=\"c\"}"), capacity: Some(selector("d")), rate: true },
        ),
        (
            "json = { url = \"http://x/\", load = \"/l\", capacity = \"/c\", timestamp = \"/t\" }",
            LoadFormat::Json {
                load: "/l".into(),
                capacity: Some("/c".into()),
                time: Some(JsonTime::Timestamp("/t".into())),
            },
        ),
        (
            "load_object = { url = \"http://x/\", datacenter = \"7\", resource = \"web\", capacity = \"target\" }",
            LoadFormat::LoadObject {
                datacenter: Some("7".into()),
                resource: Some(web()),
                capacity: LoadObjectCapacity::Target,
            },
        ),
    ] {
        assert_eq!(format(keys), format!("{expected:?}"), "{keys}");
    }
    let pushed = report("push = { interval = \"5s\", max_age = \"1m\" }");
    assert!(matches!(pushed.source, LoadSource::Pushed));
    assert_eq!((pushed.interval, pushed.max_age), (Duration::from_secs(5), Duration::from_secs(60)));
    assert_eq!(report("push = {}").max_age, Duration::from_secs(30));
}

#[test]
fn the_health_in_a_load_report_is_read_as_written() {
    assert_eq!(report("push = {}").health, None, "off unless it is asked for");
    assert_eq!(report("push = { health = {} }").health, Some(HealthRule::default()));
    let keys = "weight = 1, servers = false, errors = \"off\", down = \"withdraw\"";
    let all =
        HealthRule { weight: 1.0, servers: false, errors: None, down: SaidDown::Withdraw, ..HealthRule::default() };
    assert_eq!(report(&format!("push = {{ health = {{ {keys} }} }}")).health, Some(all));
    let errors = report("push = { health = { errors = { low = 0.05 } } }").health.and_then(|rule| rule.errors);
    assert_eq!(errors, Some(ErrorRates { low: 0.05, high: 0.2 }));
    let place = |keys: &str| report(keys).health.map(|rule| rule.place);
    let haproxy = "haproxy = { url = \"http://x/\", proxy = \"web\", health = { backend = \"app\" } }";
    assert_eq!(place(haproxy), Some(HealthPlace::Backend("app".into())));
    let json = "json = { url = \"http://x/\", load = \"/l\", health = { up_share = \"/up\" } }";
    assert_eq!(place(json), Some(HealthPlace::Pointers { up: Some("/up".into()), errors: None }));
}

#[test]
fn slow_probes_degrade_a_region_where_the_zone_file_says_so() {
    let of = |keys: &str| with_zone(&zone("").replace("[service.www]", &format!("{keys}\n[service.www]"))).load();
    let slow = |keys: &str| of(keys).unwrap_or_else(|all| panic!("{:?}", lines(&all))).model.regions[0].slow_probes;
    let above = Duration::from_millis(300);
    assert_eq!(slow(""), None);
    assert_eq!(slow("degraded = { above = \"300ms\" }"), Some(SlowProbes { above, offer: 0.5 }));
    assert_eq!(slow("degraded = { above = \"300ms\", offer = 0.2 }"), Some(SlowProbes { above, offer: 0.2 }));
}

#[test]
fn haproxys_stats_socket_is_a_path_or_a_port() {
    let from = |url: &str| match report(&format!("haproxy = {{ url = \"{url}\", proxy = \"web\" }}")).source {
        LoadSource::Scraped(scrape) => scrape.from,
        LoadSource::Pushed => panic!("scraped"),
    };
    for url in ["unix:/run/haproxy.sock", "unix:///run/haproxy.sock"] {
        assert_eq!(from(url), ScrapeAddress::Unix("/run/haproxy.sock".into()), "{url}");
    }
    let tcp = |host: &str| ScrapeAddress::Tcp { host: host.to_owned(), port: 9999 };
    assert_eq!(from("tcp://lb.example:9999"), tcp("lb.example"));
    assert_eq!(from("tcp://[2001:db8::1]:9999"), tcp("2001:db8::1"));
    assert_eq!(from("tcp://{address}:9999"), tcp("203.0.113.10"));
}

#[test]
fn mistakes_in_load_reports_are_told() {
    let long = "x".repeat(120);
    for (keys, expected) in [
        ("haproxy = { url = \"unix:run/x\", proxy = \"w\" }", "the path of a socket is absolute"),
        (&format!("haproxy = {{ url = \"unix:/{long}\", proxy = \"w\" }}"), "at most 107 octets"),
        ("haproxy = { url = \"tcp://x\", proxy = \"w\" }", "tcp://HOST:PORT"),
        ("haproxy = { url = \"tcp://x:1/path\", proxy = \"w\" }", "tcp://HOST:PORT"),
        ("haproxy = { url = \"tcp:x:1\", proxy = \"w\" }", "tcp://HOST:PORT"),
        ("nginx = {}", "url = \"http://10.0.1.5:8080/stub_status\""),
        ("nginx = { url = \"unix:/run/x\" }", "only HAProxy has a stats socket"),
        ("nginx = { url = \"http://x/\", field = \"bussy\" }", "did you mean \"busy\"?"),
        ("nginx = { url = \"http://x/\", capacity = 5 }", "unknown key `capacity` in `load_report.nginx`"),
        ("nginx_plus = { url = \"http://x/\", server_zone = \"a\", upstream = \"b\" }", "cannot both stand in"),
        ("nginx_plus = { url = \"http://x/\", field = \"request_rate\" }", "have no request rate"),
        ("envoy = { url = \"http://x/\" }", "`cluster` is missing in `load_report.envoy`"),
        ("envoy = { url = \"http://x/\", cluster = \"\" }", "the name is empty"),
        ("prometheus = { url = \"http://x/\" }", "`load` is missing in `load_report.prometheus`"),
        ("prometheus = { url = \"http://x/\", load = 'a{b=~\"c\"}' }", "`=` and `!=` only"),
        ("prometheus = { url = \"http://x/\", load = \"a\", capacity = \"1\" }", "a metric's name is"),
        ("prometheus = { url = \"http://x/\", load = \"a\", rate = 1 }", "wrong type for `rate`"),
        ("json = { url = \"http://x/\", load = \"\", age = \"/a\", timestamp = \"/t\" }", "cannot both stand in"),
        ("json = { url = \"http://x/\", load = \"\", age = \"a\" }", "a JSON pointer begins with `/`"),
        ("load_object = { url = \"http://x/\", capacity = \"mx\" }", "did you mean \"max\"?"),
        ("load_object = { url = \"http://x/\", resource = 5 }", "wrong type for `resource`"),
        ("push = { url = \"http://x/\" }", "unknown key `url` in `load_report.push`"),
        ("push = { interval = \"10s\", max_age = \"9s\" }", "`max_age` is shorter than `interval`"),
        ("push = { max_age = \"25h\" }", "expected 100ms to 24h"),
        ("pull = {}", "unknown key `pull`"),
    ] {
        let files = with_report(keys);
        let told = lines(&files.load().expect_err(keys)).join("\n");
        assert!(told.contains(expected), "{keys}: {told}");
    }
}

#[test]
fn too_much_is_refused() {
    let region = |n: usize| SEOUL.replace("seoul", &format!("r{n}"));
    let services = |most: usize| {
        format!(
            "[service.all]\nregions = [{}]\n",
            (0..most).map(|n| format!("\"r{n}\"")).collect::<Vec<_>>().join(", ")
        )
    };
    let most = |count: usize| {
        let regions: String = (0..count).map(region).collect();
        with_zone(&format!("origin = \"a\"\n{RECORDS}{regions}{}", services(count.min(config::MAX_REGIONS))))
    };
    assert_eq!(most(config::MAX_REGIONS).load().expect("loads").model.regions.len(), config::MAX_REGIONS);
    says(&mistakes(&most(config::MAX_REGIONS + 1)).join("\n"), &["the zones have 1025 regions, expected at most 1024"]);
    let garbage = "= = =\n".repeat(5_000);
    let all = mistakes(&with_zone(&garbage));
    assert_eq!(all.len(), 1_001);
    says(&all[1_000], &["more mistakes in the same file"]);
    let wrong = "x = 1\n".to_owned() + &(0..999).map(|n| format!("k{n} = 1\n")).collect::<String>();
    let files = (0..20).fold(Memory::default().with("meridian.toml", ""), |files, n| {
        files.with(&format!("zones/{n}.toml"), wrong.clone())
    });
    let all = mistakes(&files);
    assert!(all.len() < 11_100, "{}", all.len());
    says(all.last().expect("the last"), &["zone files were not looked at"]);
}

#[test]
fn many_warnings_refuse_nothing_and_hide_no_mistake() {
    const MANY: usize = 2_500;
    let unproven = "[region.seoul]\nlocation = { country = \"KR\" }\nendpoints = [{ address = \"192.0.2.1\" }]\n";
    let services: String = (0..MANY).map(|n| format!("[service.s{n}]\nregions = [\"seoul\"]\n")).collect();
    let zone = format!("origin = \"a\"\n{RECORDS}{unproven}{services}");
    let loaded = with_zone(&zone).load().expect("warnings alone");
    assert_eq!(loaded.model.services.len(), MANY);
    assert!(loaded.diagnostics.len() <= 1_101, "{}", loaded.diagnostics.len());
    says(&lines(&loaded.diagnostics).join("\n"), &["more warnings in the same file"]);
    let mistaken = format!("{zone}[service.last]\nregions = [\"nowhere\"]\n");
    says(&mistakes(&with_zone(&mistaken)).join("\n"), &["nowhere"]);
    let one_server = RECORDS.replace("@    NS   ns2.example.org.\n", "");
    let one_each = (0..MANY).fold(Memory::default().with("meridian.toml", ""), |files, n| {
        files.with(&format!("zones/{n}.toml"), format!("origin = \"z{n}\"\n{one_server}"))
    });
    let diagnostics = one_each.load().expect("warnings alone").diagnostics;
    says(&lines(&diagnostics).join("\n"), &["more warnings in all zone files"]);
}

/// Small pieces that make something like a configuration.
fn toml_like() -> impl Strategy<Value = String> {
    static PIECES: &[&str] = &[
        "[region.a]\n",
        "[service.www]\n",
        "[[network]]\n",
        "origin = ",
        "\"gslb.example\"",
        "records = ",
        "'''",
        "\"\"\"",
        "\\u0041",
        "\\\n  ",
        "\\",
        "\n",
        "@ SOA a b 1 1 1 1 1\n",
        "$INCLUDE ../x\n",
        "check.http = { ",
        " }",
        "regions = [",
        "\"a\"",
        ", ",
        "]",
        "ttl = ",
        "5",
        "-1",
        "\"5s\"",
        "location = { country = \"KR\" }\n",
        "endpoints = [{ address = \"192.0.2.1\" }]\n",
        "é",
        "#",
        "=",
        "{",
        ".",
        "1979-05-27",
        "0xff",
        "inf",
        "records_file = \"a.zone\"\n",
        "listen.admin = ",
        "limits.",
        "\r\n",
        "\u{0}",
    ];
    proptest::collection::vec(
        prop_oneof![4 => proptest::sample::select(PIECES).prop_map(str::to_owned), 1 => ".{0,4}"],
        0..40,
    )
    .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(main in toml_like(), zone in toml_like(), more in toml_like()) {
        let files = with_zone(&zone).with("meridian.toml", main).with("zones/a.zone", more.clone()).with("zones/b.toml", more);
        if let Err(diagnostics) = files.load() {
            for diagnostic in diagnostics.iter().take(20) {
                diagnostic.render(false);
            }
        }
    }

    /// Loading is whole or not at all: a good file with any one piece cut out or doubled loads
    /// with all its regions and services, or with none and at least one error.
    #[test]
    fn never_partial(from in 0..1_000usize, length in 0..60usize, twice: bool) {
        let good = zone("");
        let cut = |at: usize| (0..=at.min(good.len())).rev().find(|&at| good.is_char_boundary(at)).unwrap_or(0);
        let (from, to) = (cut(from), cut(from + length));
        let mut text = good.clone();
        text.replace_range(from..to, &if twice { good[from..to].repeat(2) } else { String::new() });
        match with_zone(&text).load() {
            Ok(loaded) => {
                prop_assert!(!loaded.diagnostics.iter().any(Diagnostic::is_error));
                prop_assert_eq!(loaded.model.zones.len(), 1);
                prop_assert_eq!(loaded.model.regions.len(), text.matches("[region.").count());
                for service in &loaded.model.services {
                    prop_assert!(service.regions.iter().all(|id| id.index() < loaded.model.regions.len()));
                }
            }
            Err(diagnostics) => prop_assert!(diagnostics.iter().any(Diagnostic::is_error)),
        }
    }
}

/// `api` beside the services of the sample, under the policy `geo`.
fn geo_service(geo: &str) -> Memory {
    with_zone(&zone(&format!("\n[service.api]\npolicy = \"geo\"\nregions = [\"seoul\"]\n{geo}\n")))
}

#[test]
fn geo_rules_name_places_and_regions_of_the_service() {
    let loaded = geo_service(
        "geo = { default = \"seoul\", asn = { AS64500 = \"seoul\" }, subdivision = { US-wa = [\"seoul\"] }, \
         country = { kr = \"seoul\" }, continent = { AS = \"seoul\" } }",
    );
    let loaded = loaded.load().expect("loads");
    let policies = loaded.model.services.iter().map(|service| &service.policies.main().policy);
    let geo = policies.filter_map(|policy| if let Policy::Geo(geo) = policy { Some(geo) } else { None }).next();
    let geo = geo.expect("api");
    assert_eq!(geo.default, [0]);
    let country = |code: &str| code.parse().expect("a country");
    let places: Vec<_> = geo.rules.keys().cloned().collect();
    assert_eq!(
        places,
        [
            GeoPlace::Asn(64500),
            GeoPlace::Subdivision(country("US"), "WA".into()),
            GeoPlace::Country(country("KR")),
            GeoPlace::Continent(Continent::Asia)
        ]
    );
}

#[test]
fn geo_rules_that_make_no_sense_are_told() {
    for (geo, told) in [
        ("", "the policy `geo` needs to know whom to send where"),
        ("geo = {}", "`geo` sends nobody anywhere"),
        ("geo = { default = [\"seol\"] }", "did you mean `seoul`?"),
        ("geo = { default = [] }", "a list of no regions answers nobody"),
        ("geo = { default = [\"seoul\", \"seoul\"] }", "region `seoul` is there twice"),
        ("geo = { country = { Korea = \"seoul\" } }", "`Korea` is no place to make a rule for"),
        ("geo = { continent = { XX = \"seoul\" } }", "`XX` is no place to make a rule for"),
        ("geo = { asn = { 0 = \"seoul\" } }", "expected an AS number from 1"),
        ("geo = { subdivision = { Washington = \"seoul\" } }", "such as \"US-WA\""),
        ("geo = { country = { KR = \"seoul\", kr = \"seoul\" } }", "`kr` has two rules"),
        ("geo = { contry = { KR = \"seoul\" } }", "did you mean `country`?"),
    ] {
        let found = mistakes(&geo_service(geo));
        assert!(found.iter().any(|mistake| mistake.contains(told)), "{geo}: {found:#?}");
    }
}

#[test]
fn without_an_origin_the_records_still_tell_their_mistakes() {
    let text =
        format!("orign = \"gslb.example.com\"\n{}{SEOUL}{WWW}", RECORDS.replace("198.51.100.53", "198.51.100.530"));
    let all = mistakes(&with_zone(&text));
    assert_eq!(all.len(), 3, "{all:#?}");
    says(&all.join("\n"), &["`orign`", "`origin` is missing", "198.51.100.530"]);
}

#[test]
fn a_url_is_no_origin() {
    let text = zone("").replace("\"gslb.example.com\"", "\"http://gslb.example.com/\"");
    says(&mistake(&with_zone(&text)), &["zones/a.toml:1:10", "this is a URL: write the name alone"]);
}

#[test]
fn a_service_that_repeats_the_origin_is_warned_of() {
    let warnings = |service: &str| {
        let text = zone(&format!("[service.{service}]\nregions = [\"seoul\"]\n"));
        lines(&with_zone(&text).load().expect("loaded").diagnostics)
    };
    let all = warnings("\"api.gslb.example.com\"");
    assert_eq!(all.len(), 1, "{all:#?}");
    says(&all[0], &["a service's name ends in the origin", "api.gslb.example.com.gslb.example.com."]);
    assert_eq!(warnings("\"api.gslb.example.com.\""), [""; 0]);
    assert_eq!(warnings("\"*.apps\""), [""; 0]);
}

#[test]
fn what_is_simpler_than_a_table_is_told_how_the_table_looks() {
    let main = |text: &str| mistake(&with_zone(&zone("")).with("meridian.toml", text));
    says(&main("listen = \"0.0.0.0:53\""), &["listen.dns = ["]);
    says(&main("default_location = \"KR\""), &["{ country = \"KR\" }"]);
    says(&main("listen.dns = 53"), &["wrong type for `dns`", "an address and port"]);
    let text = zone("").replace("[{ address = \"203.0.113.10\" }]", "[\"203.0.113.10\"]");
    says(&mistake(&with_zone(&text)), &["{ address = \"192.0.2.1\" }"]);
}

#[test]
fn a_dotted_name_without_quotes_is_told_so() {
    let files = with_zone(&zone("[service.api.eu]\nregions = [\"seoul\"]\n"));
    let diagnostics = files.load().expect_err("refused");
    let help =
        diagnostics.iter().find(|each| each.message.contains("unknown key `eu`")).and_then(|each| each.help.clone());
    says(&help.expect("help"), &["in quotes"]);
}

#[test]
fn logs_are_read_with_their_defaults_and_mistakes_are_told() {
    let load = |text: &str| of_cluster(text).load().unwrap_or_else(|all| panic!("{:#?}", lines(&all))).config;
    let none = load("");
    assert_eq!((none.query_log, none.dnstap, none.log), (None, None, Log::default()));
    let log = load("[query_log]\nfile = \"q.jsonl\"").query_log.expect("a query log");
    let file = RotatedFile { path: "q.jsonl".into(), most_octets: 100_000_000, files: 4 };
    let clients = ClientsShown::Whole;
    assert_eq!(log, QueryLog { file: Some(file), stdout: false, one_in: 1, per_second: 1_000, clients });
    let log = load("query_log = { stdout = true, one_in = 7, clients = \"network\" }").query_log.expect("a query log");
    assert_eq!((log.file, log.stdout, log.one_in, log.clients), (None, true, 7, ClientsShown::Network));
    let to = |to: &str| load(&format!("dnstap.to = \"{to}\"")).dnstap.expect("dnstap").to;
    assert_eq!(to("unix:/run/d.sock"), DnstapReader::Unix("/run/d.sock".into()));
    assert_eq!(to("tcp:[::1]:6000"), DnstapReader::Tcp("[::1]:6000".parse().expect("an address")));
    let log = load("log = { format = \"json\", level = \"warn,meridian::admin=debug\" }").log;
    assert_eq!(log.format, Some(LogFormat::Json));
    assert_eq!(log.level, "warn,meridian::admin=debug".parse().ok());
    let main = |text: &str| mistake(&of_cluster(text));
    says(&main("[query_log]\none_in = 5"), &["`file` is missing", "stdout = true"]);
    says(&main("[query_log]\nstdout = true\none_in = 0"), &["one_in", "1 to 1000000"]);
    says(&main("[query_log]\nstdout = true\nclients = \"none\""), &["\"whole\"", "\"network\""]);
    says(&main("[dnstap]\none_in = 5"), &["`to` is missing", "unix:"]);
    says(&main("dnstap.to = \"tcp:localhost\""), &["no address with a port", "tcp:ADDRESS:PORT"]);
    says(&main("dnstap.to = \"/run/d.sock\""), &["neither of a socket nor of an address"]);
    says(&main("dnstap = { to = \"unix:/d\", identity = \"\" }"), &["the text is empty"]);
    says(&main("log.level = \"loud\""), &["`loud` is none of off, error"]);
    says(&main("log.format = \"xml\""), &["\"text\"", "\"json\""]);
}

const CLUSTER: &str = "[cluster]
name = \"prod\"
node = \"fra1\"
etcd = \"https://10.0.0.1:2379/\"
peers = { listen = \"10.0.0.5:8054\", token_file = \"peers.token\" }
";

fn of_cluster(text: &str) -> Memory {
    with_zone(&zone("")).with("meridian.toml", text)
}

#[test]
fn a_cluster_is_read_with_its_defaults_and_whole() {
    let read = |text: &str| {
        let loaded = of_cluster(text).load().unwrap_or_else(|mistakes| panic!("{:#?}", lines(&mistakes)));
        assert_eq!(lines(&loaded.diagnostics), [""; 0]);
        loaded.config.cluster
    };
    assert_eq!(read(""), None);
    let etcd = EtcdSettings {
        endpoints: vec!["https://10.0.0.1:2379".into()],
        ca_file: None,
        certificate_file: None,
        key_file: None,
        user: None,
        password_file: None,
        ..EtcdSettings::default()
    };
    let listen = "10.0.0.5:8054".parse().expect("an address");
    let peers = PeerSettings { listen, address: listen, proof: Proof::Token { file: "peers.token".into() } };
    let plain = ClusterSettings { name: "prod".into(), node: "fra1".into(), etcd, peers, anycast: false };
    assert_eq!(read(CLUSTER), Some(plain));
    let whole = read(
        "[cluster]\nname = \"a-b_C9\"\nnode = \"fra1\"\netcd = [\"https://a:1\", \"https://[2001:db8::1]:2379\"]\n\
         etcd_ca = \"e/ca.pem\"\netcd_certificate = \"e/c.pem\"\netcd_key = \"e/k.pem\"\netcd_user = \"meridian\"\n\
         etcd_password_file = \"/run/password\"\nanycast = true\n\
         [cluster.peers]\nlisten = \"[::]:8054\"\naddress = \"[2001:db8::5]:9\"\nca = \"ca\"\ncertificate = \"c\"\nkey = \"k\"\n",
    );
    let whole = whole.expect("a cluster");
    assert_eq!((whole.name.as_str(), whole.anycast), ("a-b_C9", true));
    assert_eq!(whole.etcd.endpoints, ["https://a:1", "https://[2001:db8::1]:2379"]);
    assert_eq!(whole.etcd.key_file, Some("e/k.pem".into()));
    assert_eq!((whole.etcd.user, whole.etcd.password_file), (Some("meridian".into()), Some("/run/password".into())));
    assert_eq!(whole.peers.address.to_string(), "[2001:db8::5]:9");
    let files = Proof::Certificates { ca: "ca".into(), certificate: "c".into(), key: "k".into() };
    assert_eq!(whole.peers.proof, files);
}

#[test]
fn a_node_is_called_as_its_machine_where_that_fits() {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name");
    let first = host.trim().split('.').next().expect("a label");
    let files = of_cluster(&CLUSTER.replace("node = \"fra1\"\n", ""));
    match files.load() {
        Ok(loaded) => assert_eq!(loaded.config.cluster.map(|cluster| cluster.node), Some(first.to_owned())),
        Err(_) => says(&mistake(&files), &["`node` is missing in `cluster`", "meridian.toml:1:1", host.trim()]),
    }
}

#[test]
fn mistakes_in_a_cluster_are_told_where_they_are() {
    for (from, to, expected) in [
        ("name = \"prod\"", "name = \"pröd\"", "1 to 63 letters, digits, - and _"),
        ("name = \"prod\"", "", "`name` is missing in `cluster`"),
        ("name = \"prod\"", "nam = \"prod\"", "did you mean `name`?"),
        ("node = \"fra1\"", "node = \"fra1.example\"", "not a name of a cluster or node"),
        ("etcd =", "ectd =", "did you mean `etcd`?"),
        ("\"https://10.0.0.1:2379/\"", "[]", "`etcd` holds no URL"),
        ("\"https://10.0.0.1:2379/\"", "\"10.0.0.1:2379\"", "not a URL"),
        ("\"https://10.0.0.1:2379/\"", "\"ftp://a\"", "does not begin with http:// or https://"),
        ("\"https://10.0.0.1:2379/\"", "\"https://a:1/v3\"", "goes on after the port"),
        ("\"https://10.0.0.1:2379/\"", "\"https://a:secret@b:1\"", "expected `etcd_user`"),
        ("\"https://10.0.0.1:2379/\"", "[\"http://a:1\", \"http://a:1/\"]", "`etcd` names http://a:1 twice"),
        ("\"https://10.0.0.1:2379/\"", "[\"https://a\", \"http://b\"]\netcd_ca = \"c\"", "`etcd_ca` is for https only"),
        ("node =", "etcd_key = \"k\"\nnode =", "`etcd_key` without `etcd_certificate`"),
        ("node =", "etcd_certificate = \"c\"\nnode =", "`etcd_certificate` without `etcd_key`"),
        ("node =", "etcd_user = \"u\"\nnode =", "`etcd_user` without `etcd_password_file`"),
        ("node =", "etcd_password_file = \"p\"\nnode =", "`etcd_password_file` without `etcd_user`"),
        ("node =", "anycast = 1\nnode =", "expected true or false"),
        ("{ listen = \"10.0.0.5:8054\", token_file = \"peers.token\" }", "\"10.0.0.5:8054\"", "wrong type for `peers`"),
        ("listen = \"10.0.0.5:8054\", ", "", "`listen` is missing in `peers`"),
        ("10.0.0.5:8054", "10.0.0.5", "an address and port such as"),
        ("10.0.0.5:8054", "10.0.0.5:0", "`listen` has no port"),
        ("10.0.0.5:8054", "0.0.0.0:8054", "say where they reach it: address ="),
        ("10.0.0.5:8054\"", "[::]:1\", address = \"[::]:1\"", "cannot reach this one at [::]:1"),
        (", token_file = \"peers.token\"", "", "expected `token_file`, or `ca`, `certificate` and `key`"),
        ("token_file", "token_flie", "did you mean `token_file`?"),
        ("token_file =", "ca = \"c\", token_file =", "`token_file` and `ca` cannot both stand in `peers`"),
        ("token_file =", "ca = \"a\", certificate =", "`ca` without `key`"),
        (
            "\"fra1\"",
            "\"12\"\n[cluster.peers]\nlisten = \"10.0.0.5:1\"\nca = \"a\"\ncertificate = \"c\"\nkey = \"k\"\n[unused]",
            "no certificate can be of the node \"12\"",
        ),
    ] {
        let text = CLUSTER.replace(from, to);
        assert_ne!(text, CLUSTER);
        let told = mistakes(&of_cluster(&text)).join("\n");
        assert!(told.contains(expected) && !told.contains("secret"), "{text}: {told}");
    }
}

#[test]
fn receivers_of_events_are_read_and_their_urls_are_never_told() {
    let of = |main: &str| Memory::default().with("meridian.toml", main).with("zones/a.toml", zone(""));
    let hook = |keys: &str| format!("[[events.webhook]]\n{keys}\n");
    let loaded = of(&(hook("url = \"https://hooks.example/T0/hidden\"").repeat(2)
        + &hook("url = \"http://a.example\"\nname = \"on call\"\nleast = \"error\"\nregions = \"seoul\"\nformat = \"slack\"")))
    .load()
    .expect("loads");
    let names: Vec<&str> = loaded.config.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
    assert_eq!(names, ["https://hooks.example", "https://hooks.example (2)", "on call"]);
    assert!(!format!("{:?}", loaded.config).contains("hidden"));
    for (keys, expected) in [
        ("", "`url`"),
        ("url = \"ftp://hooks.example/hidden\"", "does not begin with http:// or https://"),
        ("url = \"https://:hidden\"", "not a URL"),
        ("url = \"https://a.example\"\nleast = \"loud\"", "\"warning\""),
        ("url = \"https://a.example\"\nformat = \"xml\"", "\"slack\""),
        ("url = \"https://a.example\"\nname = \"\"", "1 to 64 octets"),
        ("url = \"https://a.example\"\nca_file = \"none.pem\"", "none.pem"),
    ] {
        let told = mistake(&of(&hook(keys)));
        assert!(told.contains(expected) && !told.contains("hidden"), "{keys}: {told}");
    }
    let twice = hook("url = \"https://a.example\"\nname = \"x\"").repeat(2);
    says(&mistake(&of(&twice)), &["two receivers are called `x`"]);
    let command = "[[events.command]]\ncommand = [\"/usr/local/bin/on-event\", \"-v\"]\n";
    says(&mistake(&of(command)), &["events may not run programs", "`allow_exec = true`"]);
    let loaded = of(&format!("allow_exec = true\n{command}")).load().expect("loads");
    assert_eq!(loaded.config.receivers[0].name, "/usr/local/bin/on-event");
    let relative = "allow_exec = true\n[[events.command]]\ncommand = [\"on-event\"]\n";
    says(&mistake(&of(relative)), &["an absolute path"]);
}

#[test]
fn the_vote_of_several_vantages_is_a_rule_and_needs_no_references() {
    use meridian::model::VoteRule;
    let main = |text: &str| with_zone(&zone("")).with("meridian.toml", text);
    let vote = |text: &str| main(text).load().expect("loads").model.vote;
    assert_eq!(vote(""), VoteRule::Majority);
    assert_eq!(vote("health.reference = [\"192.0.2.1:443\"]"), VoteRule::Majority);
    for rule in [VoteRule::Majority, VoteRule::Any, VoteRule::Own] {
        assert_eq!(vote(&format!("health.vote = \"{}\"", rule.as_str())), rule);
    }
    let both = main("[health]\nvote = \"any\"\nreference = [\"192.0.2.1:443\"]").load().expect("loads").model;
    assert_eq!((both.vote, both.references.len()), (VoteRule::Any, 1));
    says(&mistake(&main("health.vote = \"most\"")), &["`vote` cannot be \"most\"", "\"majority\", \"any\" or \"own\""]);
    says(&mistake(&main("health.vote = \"any\"\nhealth.reference = [7]")), &["meridian.toml:2"]);
    says(&mistake(&main("[health]")), &["`reference` is missing"]);
}
