//! What the fuzz targets begin with: made here, committed in `fuzz/seeds/TARGET/`, and the same.
//!
//! Seeds get a target past what chance never passes: checksums, trees, headers, whole files. After a change of
//! a format: `MERIDIAN_TEST_WRITE_SEEDS=1 cargo test --test fuzz_seeds`, and commit what it makes. Other
//! files there, such as inputs that once broke something, are left alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fastrand::Rng;
use meridian::atlas::PlaceId;
use meridian::atlas::build::build_mmdb;
use meridian::control::overrides::{Kept, OverrideStore};
use meridian::control::switches::SwitchStore;
use meridian::control::warm::{VERSION, container};
use meridian::model::{RegionId, ServiceId};
use meridian::state::memory::switches::{Switch, Switches};
use meridian::state::{LoadNews, News};
use meridian::steer::health::effective::Override;
use meridian::steer::kept::Clock;
use meridian::steer::planner::demand::DemandSample;

mod support;

use support::dns::Ask;
use support::frames::Flow;
use support::{packets, zones};

type Seeds = Vec<(String, Vec<u8>)>;

/// In milliseconds since 1970, as `fuzz_targets/state_files.rs` has it.
const NOW_MS: u64 = 1_790_000_000_000;
/// As `fuzz_targets/rum.rs` has it: as long as a token.
const TOKEN: &str = "TOKEN-TOKEN-TOKEN-TOKEN-TOKEN-TOKEN-TOKEN-TOKEN-TOKEN-TOKEN-TOKEN-TOKE";

#[test]
fn committed_seeds_are_those_that_are_made() {
    let write = std::env::var_os("MERIDIAN_TEST_WRITE_SEEDS").is_some();
    for (target, seeds) in all() {
        let folder = fuzz().join("seeds").join(target);
        if write {
            fs::create_dir_all(&folder).expect("a folder");
        }
        for (name, octets) in seeds {
            let path = folder.join(name);
            if write {
                fs::write(&path, &octets).expect("written");
            }
            let found = fs::read(&path).unwrap_or_default();
            assert!(found == octets, "{}: see the head of tests/fuzz_seeds.rs", path.display());
        }
    }
}

#[test]
fn every_target_has_seeds_and_is_built_and_told() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("a manifest");
    let told = fs::read_to_string(fuzz().join("../docs/testing.md")).expect("a document");
    let files = fs::read_dir(fuzz().join("fuzz_targets")).expect("targets").map(|entry| entry.expect("a file").path());
    let targets: Vec<String> =
        files.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    let seeds = all();
    assert_eq!(targets.len(), seeds.len());
    for target in targets {
        assert!(seeds.get(target.as_str()).is_some_and(|seeds| !seeds.is_empty()), "{target} has no seeds");
        assert!(manifest.contains(&format!("name = \"{target}\"\n")), "{target} is not in fuzz/Cargo.toml");
        assert!(told.contains(&format!("| `{target}` |")), "{target} is not in docs/testing.md");
    }
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn all() -> BTreeMap<&'static str, Seeds> {
    BTreeMap::from([
        ("admin", admin()),
        ("config", config()),
        ("database", database()),
        ("etcd", etcd()),
        ("headers", headers()),
        ("import", import()),
        ("latency", latency()),
        ("load_report", load_report()),
        ("query", query()),
        ("rum", rum()),
        ("state_files", state_files()),
        ("tcp", tcp()),
        ("zonefile", zonefile()),
    ])
}

/// Numbered, each behind the octet that picks what the input does not say.
fn picked<T: AsRef<[u8]>>(seeds: impl IntoIterator<Item = (u8, T)>) -> Seeds {
    let joined = |(pick, octets): (u8, T)| [&[pick][..], octets.as_ref()].concat();
    numbered(seeds.into_iter().map(joined))
}

fn numbered<T: AsRef<[u8]>>(seeds: impl IntoIterator<Item = T>) -> Seeds {
    let name = |(number, octets): (usize, T)| (format!("{number:02}"), octets.as_ref().to_vec());
    seeds.into_iter().enumerate().map(name).collect()
}

fn import() -> Seeds {
    let gdnsd = [include_str!("support/gdnsd/config"), include_str!("support/gdnsd/zones/example.com")].join("\0");
    let route53 = [include_str!("support/route53.json"), include_str!("support/route53_checks.json")].join("\0");
    picked([(0, gdnsd), (1, route53)])
}

fn query() -> Seeds {
    let mut chance = Rng::with_seed(1);
    let asked = (0..64).map(|number: u8| (number.wrapping_mul(37), packets::packet(&mut chance).octets));
    picked(asked.filter(|(_, octets)| octets.len() < 200))
}

fn tcp() -> Seeds {
    let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes()[..], message].concat();
    let ask = |name: &str| framed(&Ask::new(&format!("{name}gslb.example"), "A").wire());
    let response = framed(&Ask::new("gslb.example", "A").flags(0x8000).wire());
    let pipelined: Vec<u8> = ["", "www.", "app.", "big.", "nowhere."].iter().flat_map(|name| ask(name)).collect();
    picked([
        (0, ask("www.")),
        (1, ask("long.")),
        (2, pipelined.clone()),
        (3, [&pipelined[..], &response, &pipelined].concat()),
        (7, pipelined[..pipelined.len() - 1].to_vec()),
        (10, [ask("app."), vec![0, 0], ask("app.")].concat()),
        (14, [ask("app."), vec![0xff, 0xff, 1, 2, 3]].concat()),
        (19, ask("geo.").repeat(12)),
    ])
}

fn headers() -> Seeds {
    let message = Ask::new("www.gslb.example", "A").subnet("127.82.0.0/24").wire();
    let flow = |from: &str, to: &str, vlan| {
        Flow::new(from.parse().expect("an address"), to.parse().expect("an address"), vlan).packet(&message)
    };
    let v4 = flow("192.0.2.1:4000", "192.0.2.53:53", None);
    let v6 = flow("[2001:db8::1]:4000", "[2001:db8::53]:53", None);
    let without_checksum = [&v4[..40], &[0, 0], &v4[42..]].concat();
    picked([
        (0, v4.clone()),
        (9, v4.clone()),
        (255, [&v4[..], &[0; 8]].concat()),
        (3, flow("192.0.2.1:4000", "192.0.2.53:53", Some(7))),
        (4, v6.clone()),
        (33, flow("[2001:db8::1]:4000", "[2001:db8::53]:53", Some(4095))),
        (1, without_checksum),
        (128, v6[..v6.len() - 3].to_vec()),
    ])
}

fn database() -> Seeds {
    let built = |rows: &str| {
        let table = format!("network,continent,country,subdivision,city,latitude,longitude,asn\n{rows}");
        build_mmdb(&table, NOW_MS / 1000).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
    };
    numbered([
        built("127.82.0.0/16,AS,KR,11,Seoul,37.5665,126.978,64496\n127.82.1.0/24,,JP,,,,,\n2001:db8::/32,,DE,,,,,\n"),
        built("192.0.2.0/24,EU,DE,,,,,\n192.0.2.128/25,EU,FR,,,,,\n0.0.0.0/1,NA,US,,,,,\n"),
        built("2001:db8::/32,,,,,,,64500\n2001:db8:1::/48,,,,,,,64501\n"),
        built("4000::/2,,DE,,,,,\n8000::/1,,FR,,,,,\n127.82.0.0/16,,DE,,,,,\n"),
    ])
}

fn config() -> Seeds {
    let example = |name: &str| fs::read_to_string(fuzz().join("../examples/config").join(name)).expect("an example");
    let examples = format!(
        "{}\n=== gslb.example.com.toml\n{}\n=== cdn.example.net.toml\n{}\n=== cdn.example.net.zone\n{}",
        example("meridian.toml"),
        example("zones/gslb.example.com.toml"),
        example("zones/cdn.example.net.toml"),
        example("zones/cdn.example.net.zone")
    );
    let networks =
        "nsid = \"here\"\nseed = 7\n[[network]]\ncidr = \"127.82.0.0/16\"\nlocation = { country = \"KR\" }\n";
    let of_zone = |(file, text): &(&str, &str)| format!("{networks}\n=== {file}\n{text}");
    let settings = format!("{SETTINGS}\n=== small.toml\n{SMALL_ZONE}");
    let kinds = format!("\n=== kinds.toml\n{SMALL_ZONE}{KINDS}");
    numbered([examples, settings, kinds].into_iter().chain(zones::ALL.iter().map(of_zone)))
}

const SETTINGS: &str = r#"
listen = { dns = ["127.0.0.1:53", "[::1]:53"], admin = "127.0.0.1:8053", rum = "127.0.0.1:8054" }
state = "/var/lib/meridian"
geoip = ["a.mmdb"]
threads = 2
cpus = [0, 1]
udp = { batch = 16, receive_buffer = "1MiB", busy_poll = "50us" }
limits = { tcp_connections = 10, tcp_idle = "2s", probes = 5 }
rum = { trusted_proxies = ["10.0.0.0/8"], half_life = "2h", per_network = 3 }
steering = { max_detour = "50ms" }
default_location = { country = "DE" }
"#;

const SMALL_ZONE: &str = r#"
origin = "a.test"
ttl = "5m"
records = '''
@ SOA ns1 hostmaster 1 1h 10m 1w 60
@ NS ns1
ns1 A 192.0.2.53
'''
[region.one]
location = { country = "DE" }
endpoints = [{ address = ["192.0.2.1", "2001:db8::1"], weight = 4, layer = "l7" }]
[region.two]
location = { country = "KR", latitude = 37.5, longitude = 127.0 }
endpoints = [{ host = "lb.example.net." }]
[service.www]
regions = ["one", "two"]
"#;

const KINDS: &str = r#"
[region.three]
location = { country = "US" }
capacity = 20_000
cost = 0.9
min_healthy = 1
slow_start = "3m"
resume = "manual"
failback_delay = "10m"
depends_on = ["auth.gslb.example", "db@gslb.example"]
endpoints = [{ address = "192.0.2.3" }, { address = "192.0.2.4" }]
check.https = { url = "https://{address}:8443/health", host = "www.a.test", interval = "5s", fall = 3, status = [200, "300-399"] }
load_report.prometheus = { url = "http://{address}:9000/metrics", load = "a{b=\"c\"}", interval = "10s" }
[service.nested]
policy = "failover"
regions = ["near", "three"]
[service.nested.group.near]
policy = "weighted"
regions = { one = 3, two = 1 }
[service.shop]
active = "blue"
canary = { group = "green", share = 0.05 }
[service.shop.stage.blue]
regions = ["one"]
[service.shop.stage.green]
regions = ["three"]
[service.geo]
policy = "geo"
regions = ["one", "three"]
geo = { default = ["one"], network = { "127.81.64.0/18" = ["three"] }, country = { KR = ["three"] }, continent = { EU = ["one"] } }
"#;

fn zonefile() -> Seeds {
    numbered([
        "@ SOA ns1 hostmaster 1 1h 10m 1w 60\n@ NS ns1\nns1 A 192.0.2.53\n",
        "$TTL 1h\n@ IN SOA ns1 host\\.master ( 1 ; serial\n 1h 15m 2w\n 1d )\n  NS ns1\nns1 AAAA 2001:db8::53\n\
         $GENERATE 1-3/2 h-${0,3,x} A 192.0.2.$\n*.wild MX 10 mail\n",
        "$ORIGIN sub\n$INCLUDE other.zone\nwww CNAME a.b.\nwww A 192.0.2.1\nchild NS ns.child\nchild DS 1 8 2 00ff\n",
        "t TXT \"a;b(c)\" \"\\000\\255\" in\\ word\nu TYPE65280 \\# 4 0a00 0001\ns SRV 0 0 80 t\nc CAA 0 issue \"ca.test\"\n",
        "@ SVCB 1 . alpn=h2,h3 port=8443 ipv4hint=192.0.2.1 ech=AAAA key65000=\"x\"\nl LOC 51 30 12.7 N 0 7 39.6 W 10m\n\
         n NAPTR 100 10 \"u\" \"E2U+sip\" \"!^.*$!sip:a@b!\" .\nd DNAME e\nb.d A 192.0.2.1\n",
        "example.com. 60 IN SOA a b 1 2 3 4 5\nwww A 192.0.2.1\nx.hosted TXT \"beside\"\n@ NS outside.\n@ NS missing\n",
        "k DNSKEY 257 3 13 AAAA\nr RRSIG A 13 2 60 20261121000000 20261101000000 1 example.com. AAAA\n\
         h HINFO a b\np PTR q\nu URI 1 1 \"https://a\"\ns SSHFP 1 1 00ff\nt TLSA 3 1 1 00\n",
    ])
}

fn load_report() -> Seeds {
    let servers = "# pxname,svname,scur,status,bck,type,hrsp_2xx,hrsp_5xx\nweb,s1,0,UP,0,2,9,1\nweb,s2,0,DOWN 1/2,0,2,0,0\n\
                   web,BACKEND,0,UP,0,1,9,1\n";
    let hosts = "web::10.0.0.1:80::health_flags::/failed_active_hc\nweb::10.0.0.1:80::rq_error::3\n\
                 web::10.0.0.1:80::rq_success::5\nweb::10.0.0.2:80::health_flags::healthy\n";
    let hosts_json = r#"{"cluster_statuses":[{"name":"web","host_statuses":[{"health_status":{"failed_outlier_check":true},"stats":[{"name":"rq_error","value":"17"}]}]}]}"#;
    let members =
        "cluster.web.membership_healthy: 1\ncluster.web.membership_total: 2\ncluster.web.upstream_rq_completed: 9\n";
    let peers =
        r#"{"peers":[{"state":"unavail","active":1,"responses":{"5xx":3,"total":9}},{"state":"up","backup":true}]}"#;
    let haproxy = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,status,rate,rate_lim,rate_max,req_rate,\n\
                   web,FRONTEND,,,120,300,2000,9,OPEN,35,50,80,210,\nweb,BACKEND,0,0,3,5,9,6,UP,1,,2,,\n";
    let nginx = "Active connections: 291 \nserver accepts handled requests\n 16630948 16630948 31070465 \n\
                 Reading: 6 Writing: 179 Waiting: 106 \n";
    let zone = r#"{"server_zones":{"web":{"processing":4,"requests":706690,"discarded":0}}}"#;
    let upstream =
        r#"{"upstreams":{"web":{"peers":[{"state":"up","active":12,"max_conns":100,"requests":7}],"keepalive":0}}}"#;
    let clusters = "web::default_priority::max_connections::1024\nweb::default_priority::max_requests::2000\n\
                    web::10.0.0.1:80::cx_active::3\nweb::[2001:db8::1]:80::rq_active::6\n";
    let clusters_json = r#"{"cluster_statuses":[{"name":"web","circuit_breakers":{"thresholds":[{"max_requests":9}]},"host_statuses":[{"stats":[{"name":"rq_active","value":"17"}]}]}]}"#;
    let stats = "cluster.web.circuit_breakers.default.remaining_rq: 1983\ncluster.web.upstream_rq_active: 17\n";
    let prometheus = "# TYPE a counter\na 5\na{b=\"x\"} 1.5e3 1790000000000\nd{e=\"f\"} +Inf\n";
    let object = "<load-object timestamp=\"2026-11-21T04:28:00Z\"><datacenter datacenterId=\"1\"><resource name=\"web\">\
                  <current-load> 20 </current-load><target-load>25</target-load><max-load>30</max-load>\
                  <healthy>0.75</healthy><errors>0.01</errors>\
                  </resource></datacenter></load-object>";
    picked([
        (0, haproxy),
        (1, haproxy),
        (2, haproxy),
        (3, nginx),
        (5, nginx),
        (6, r#"{"connections":{"active":134,"idle":3}}"#),
        (7, zone),
        (8, upstream),
        (9, upstream),
        (10, clusters),
        (11, clusters_json),
        (10, stats),
        (12, prometheus),
        (13, prometheus),
        (14, r#"{"load":5,"capacity":10}"#),
        (15, r#"{"load":"5","capacity":10,"age":1.5}"#),
        (16, r#"{"load":5,"capacity":1e3,"at":"2026-11-21T04:30:00Z"}"#),
        (17, object),
        (18, object),
        (19, r#"{"load":120,"capacity":200,"age_s":1.5}"#),
        (19, r#"{"load":120,"at":1790000000}"#),
        (19, r#"{"load":120,"healthy":0.75,"errors":0.01,"down":true}"#),
        (0, servers),
        (8, peers),
        (10, hosts),
        (10, hosts_json),
        (11, members),
        (14, r#"{"load":5,"capacity":10,"age":0.5}"#),
    ])
}

fn etcd() -> Seeds {
    let kv = r#"{"key":"YQ==","value":"dg==","create_revision":"5","mod_revision":"6","version":"2","lease":"7"}"#;
    let header = r#""header":{"cluster_id":"324952591200643719","member_id":"3319814642761637952","revision":"6","raft_term":"2"}"#;
    let line = |result: &str| format!("{{\"result\":{{{header},{result}}}}}\n");
    let created = line(r#""created":true"#);
    let put = line(&format!("\"events\":[{{\"kv\":{kv}}}]"));
    let deleted = line(r#""events":[{"type":"DELETE","kv":{"key":"YQ==","mod_revision":"7"}}]"#);
    let part = line(&format!("\"fragment\":true,\"events\":[{{\"kv\":{kv}}}]"));
    let compacted = line(r#""canceled":true,"compact_revision":"9""#);
    let found = format!("{{\"response_range\":{{{header},\"kvs\":[{kv}],\"count\":\"1\"}}}}");
    let error = r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}}"#;
    picked([
        (0, format!("{{{header},\"kvs\":[{kv}],\"count\":\"1\"}}")),
        (1, format!("{{{header},\"succeeded\":true,\"responses\":[{{\"response_put\":{{{header}}}}}]}}")),
        (1, format!("{{{header},\"responses\":[{found},{{\"response_range\":{{{header}}}}}]}}")),
        (2, format!("{{{header},\"ID\":\"2324035535159261706\",\"TTL\":\"5\"}}")),
        (2, line(r#""ID":"99","TTL":"5""#)),
        (2, format!("{{{header},\"version\":\"3.4.23\",\"leader\":\"3319814642761637952\"}}")),
        (2, format!("{{{header},\"token\":\"abc.9\"}}")),
        (2, format!("{{{header},\"alarms\":[{{\"memberID\":\"1\",\"alarm\":\"NOSPACE\"}}]}}")),
        (3, r#"{"error":"etcdserver: requested lease not found","message":"etcdserver: requested lease not found","code":5}"#.into()),
        (3, error.to_owned()),
        (4, [&created[..], &put, &deleted].concat()),
        (9, [&created[..], &part, &put, &compacted].concat()),
        (15, [&created[..], &put, error, "\n"].concat()),
    ])
}

fn latency() -> Seeds {
    numbered([
        r#"{"token":"t","samples":[{"region":"seoul@gslb.example.com","ms":41.5},{"region":"b@z","ms":2}]}"#,
        "network,region,rtt_ms,samples,at\n127.82.7.0/24,seoul,5,9,1789999999\n2001:db8::/32,virginia,7.5,,2026-09-21T00:00:00Z\n",
        "asn,country,region,rtt_ms\n4766,KR,seoul,7.5\n,DE,frankfurt@gslb.example.com,12\n",
        r#"[{"network":"127.82.7.0/24","region":"seoul","rtt_ms":5},{"asn":4766,"country":"KR","region":"seoul","rtt_ms":7.5,"samples":3,"at":1789999999}]"#,
        "{\"country\":\"KR\",\"region\":\"seoul\",\"rtt_ms\":1}\n{\"country\":\"DE\",\"region\":\"seol\",\"rtt_ms\":-1}\n",
    ])
}

fn rum() -> Seeds {
    let report = |samples: &str| format!("{{\"token\":\"{TOKEN}\",\"samples\":[{samples}]}}");
    let post =
        |body: &str| format!("POST /rum/v1/beacon HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let whole = post(&report(r#"{"region":"seoul@gslb.example","ms":41.5}"#));
    let chunked = "POST /rum/v1/beacon HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let proxied = "GET /rum/v1/plan HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1, 10.0.0.2\r\n\r\n";
    picked([
        (2, "GET /rum/v1/plan HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (4, "GET /rum/v1/plan.js HTTP/1.1\r\nHost: a\r\n\r\nGET /rum/v1/pixel HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (2, "OPTIONS /rum/v1/beacon HTTP/1.1\r\nHost: a\r\nOrigin: https://b\r\n\r\n".to_owned()),
        (2, whole.clone()),
        (8, [&whole[..], &whole].concat()),
        (10, post("{\"token\":\"forged\",\"samples\":[]}")),
        (12, chunked.to_owned()),
        (6, proxied.to_owned()),
        (2, "PUT /nowhere HTTP/1.0\r\n\r\n".to_owned()),
        (1, "\u{5}A".to_owned()),
        (3, "E\u{5f}".to_owned()),
    ])
}

fn admin() -> Seeds {
    picked([
        (0, "GET /"),
        (0, "GET /v1/status"),
        (0, "GET /v1/explain?name=www.gslb.example&client=127.82.0.1&type=A&by=ecs"),
        (0, "GET /v1/explain?name=ww.gslb.example&client=2001:db8::/32"),
        (0, "GET /v1/latency?region=seoul&network=127.0.0.0/8&country=KR&limit=3"),
        (0, "GET /v1/demand"),
        (0, "GET /metrics"),
        (0, "GET /readyz"),
        (0, "POST /v1/regions/seoul/override\n{\"override\": \"drain\"}"),
        (0, "POST /v1/regions/frankfurt@gslb.example/override\n{\"override\": \"auto\"}"),
        (0, "POST /v1/services/shop/switch\n{\"stage\": \"green\", \"force\": true}"),
        (0, "POST /v1/services/shop.gslb.example/switch\n{\"rollback\": true}"),
        (0, "POST /v1/services/shop/switch\n{\"file\": true}"),
        (1, "POST /v1/regions/seoul/load\n{\"load\": 120, \"capacity\": 200, \"age_s\": 0.5}"),
        (2, "POST /v1/latency?replace=true\nnetwork,region,rtt_ms\n127.82.7.0/24,seoul,5\n"),
        (0, "POST /v1/latency\n[{\"country\":\"KR\",\"region\":\"seoul\",\"rtt_ms\":5}]"),
        (0, "POST /v1/what-if\n{\"kill\": [\"seoul\"], \"capacity\": {\"seoul\": 5000}, \"demand\": 1.5}"),
        (0, "POST /v1/reload\n"),
        (0, "POST /v1/services/shop/canary\n{\"share\": 0.25, \"note\": \"release 7\", \"for_s\": 3600}"),
        (0, "POST /v1/services/shop/rollback"),
    ])
}

fn state_files() -> Seeds {
    let folder = tempfile::tempdir().expect("a folder");
    let read = |name: &str| fs::read(folder.path().join(name)).expect("kept");
    let overrides = [("seoul@gslb.example".to_owned(), Override::Drain), ("gone@x".to_owned(), Override::Down)];
    let kept = Kept { overrides: overrides.into(), drains: BTreeMap::new() };
    OverrideStore::new(folder.path()).save(&kept).expect("kept");
    let switch = Switch { stage: Some("green".into()), before: Some("blue".into()), ..Switch::default() };
    let switches = Switches::from([("shop.gslb.example".to_owned(), switch)]);
    SwitchStore::new(folder.path()).save(&switches).expect("kept");
    let latency = r#"{"version":1,"counted":[],"imported":[["KR","a@z",{"ms":1.5,"samples":9,"at":1}]]}"#;
    let body = warm_body();
    picked([
        (0, read("overrides.json")),
        (0, b"{\"version\":1,\"overrides\":{\"seoul@gslb.example\":\"down\"}}".to_vec()),
        (1, read("switches.json")),
        (2, latency.as_bytes().to_vec()),
        (3, container::seal(VERSION, NOW_MS, b"body")),
        (4, body.clone()),
        (4, body[..body.len() / 2].to_vec()),
    ])
}

/// What a server knows that has sent clients somewhere and heard of loads.
fn warm_body() -> Vec<u8> {
    let now = Clock::new(Instant::now(), NOW_MS);
    let mut publisher = packets::publisher(now);
    let snapshot = publisher.shared().load_full();
    let samples = snapshot.model.service_ids().take(2).flat_map(|service: ServiceId| {
        let places = snapshot.atlas.places().take(3);
        let sample =
            move |place: PlaceId| DemandSample { service, place, region: RegionId(0), weight: 30.0, ttl_s: 30.0 };
        places.map(sample)
    });
    publisher.apply(News::Demand(samples.collect()), now);
    let region = "busan@gslb.example";
    publisher.apply(News::Load(LoadNews { region: region.into(), at: now.now(), outcome: Ok((90.0, None)) }), now);
    publisher.apply(News::set_override(region, Override::Drain), now);
    publisher.publish(now);
    postcard::to_stdvec(&publisher.kept(&now)).expect("octets")
}
