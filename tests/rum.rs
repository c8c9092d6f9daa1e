//! Round trips measured by browsers, and imported, over real loopback sockets: a whole server, clients
//! at loopback addresses that the demo's database puts in Korea and Germany, and a real browser where
//! one is installed.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use support::server::{Server, wait_until};
use support::tools;
use tempfile::TempDir;

const KEY: &str = "a key of more than thirty-two characters";

const ZONE: &str = r#"
origin = "gslb.example"
records = """
@    SOA  ns1 hostmaster 1 1h 10m 1w 60
@    NS   ns1
ns1  A    198.51.100.53
"""
[region.seoul]
location = { country = "KR", latitude = 37.57, longitude = 126.98 }
endpoints = [{ address = "192.0.2.82" }]
rum.url = "http://RUM/rum/v1/pixel?seoul"
[region.frankfurt]
location = { country = "DE", latitude = 50.11, longitude = 8.68 }
endpoints = [{ address = "192.0.2.49" }]
rum.url = "http://RUM/rum/v1/pixel"
[region.private]
location = { country = "DE" }
endpoints = [{ address = "192.0.2.50" }]
[service.www]
regions = ["seoul", "frankfurt"]
"#;

/// A server with a listener for browsers on a free port.
fn server(settings: &str, state: &Path) -> Server {
    let folder = tempfile::tempdir().expect("a folder");
    let rum = SocketAddr::from(([127, 0, 0, 1], tools::free_port([127, 0, 0, 1].into())));
    let state = state.display();
    let main = format!(
        "listen = {{ dns = \"127.0.0.1:0\", admin = \"127.0.0.1:0\", rum = \"{rum}\" }}\nthreads = 1\n\
         geoip = \"demo.mmdb\"\nstate = \"{state}\"\n[rum]\nkey_file = \"key\"\n\
         min_samples = {{ network = 2, operator = 3, country = 4 }}\n{settings}\n"
    );
    let write = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).expect("a file");
    std::fs::create_dir(folder.path().join("zones")).expect("a folder");
    write("meridian.toml", main.as_bytes());
    write("demo.mmdb", meridian::atlas::DEMO_DATABASE);
    write("key", KEY.as_bytes());
    write("zones/gslb.example.toml", ZONE.replace("RUM", &rum.to_string()).as_bytes());
    Server::start_in(folder)
}

fn state() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// What came back: status, headers and body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Connects from an address of this machine.
fn connect(client: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from: SocketAddr = format!("{client}:0").parse().expect("an address");
    socket.bind(&from.into()).expect("bound");
    socket.connect(&to.into()).expect("connected");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    stream
}

fn exchange(client: &str, to: SocketAddr, request: &str) -> Answer {
    let mut stream = connect(client, to);
    // The server may answer, and close, before it has read everything.
    let _ = stream.write_all(request.as_bytes());
    let mut octets = Vec::new();
    let _ = stream.read_to_end(&mut octets);
    let text = String::from_utf8_lossy(&octets).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

fn get(server: &Server, client: &str, path: &str) -> Answer {
    let to = server.rum.expect("a listener");
    exchange(client, to, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
}

fn post(server: &Server, client: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!("POST /rum/v1/beacon HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n");
    exchange(client, server.rum.expect("a listener"), &format!("{head}{headers}\r\n{body}"))
}

fn plan(server: &Server, client: &str) -> Value {
    let answer = get(server, client, "/rum/v1/plan");
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("a plan")
}

fn token(server: &Server, client: &str) -> String {
    plan(server, client)["token"].as_str().expect("a token").to_owned()
}

fn report(token: &str, samples: &[(&str, f64)]) -> String {
    let samples = samples.iter().map(|(region, ms)| json!({ "region": format!("{region}@gslb.example"), "ms": ms }));
    json!({ "token": token, "samples": samples.collect::<Vec<_>>() }).to_string()
}

/// Measures, as a browser would.
fn measure(server: &Server, client: &str, samples: &[(&str, f64)]) -> u16 {
    post(server, client, "", &report(&token(server, client), samples)).status
}

fn admin(server: &Server, request: &str) -> Value {
    let answer = exchange("127.0.0.1", server.admin, &request.replace("HOST", &server.admin.to_string()));
    serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{}\n{}", answer.head, answer.body))
}

fn shown(server: &Server, query: &str) -> Value {
    admin(server, &format!("GET /v1/latency{query} HTTP/1.1\r\nHost: HOST\r\n\r\n"))
}

fn import(server: &Server, query: &str, kind: &str, table: &str) -> Value {
    let length = table.len();
    let head = format!("POST /v1/latency{query} HTTP/1.1\r\nHost: HOST\r\nContent-Type: {kind}");
    admin(server, &format!("{head}\r\nContent-Length: {length}\r\n\r\n{table}"))
}

/// How often something happened, such as `report taken`.
fn happened(server: &Server, what: &str) -> u64 {
    let counts = shown(server, "")["counts"].as_array().cloned().unwrap_or_default();
    let named =
        |count: &&Value| format!("{} {}", count["of"].as_str().unwrap(), count["outcome"].as_str().unwrap()) == what;
    counts.iter().find(named).and_then(|count| count["count"].as_u64()).unwrap_or_else(|| panic!("no {what}"))
}

#[test]
fn what_browsers_measure_decides_where_they_are_sent() {
    let state = state();
    let server = server("", state.path());
    assert_eq!(server.steered("www.gslb.example", "A", "127.82.7.0/24"), ["192.0.2.82"]);
    let offered = plan(&server, "127.82.7.1");
    let regions: Vec<&str> =
        offered["regions"].as_array().expect("regions").iter().filter_map(|r| r["region"].as_str()).collect();
    assert_eq!(regions, ["seoul@gslb.example", "frankfurt@gslb.example"], "the nearest first, none that has no URL");
    for n in 1..=2 {
        let samples = [("seoul", 240.0), ("frankfurt", 90.0), ("private", 90.0)];
        assert_eq!(measure(&server, &format!("127.82.7.{n}"), &samples), 204);
    }
    assert_eq!(happened(&server, "sample counted"), 4);
    assert_eq!(happened(&server, "sample unknown_region"), 2);
    // An import is told at once, and so is all else.
    import(&server, "", "text/csv", "country,region,rtt_ms\nKR,frankfurt,150\n");
    wait_until("the plan follows", Duration::from_secs(10), || {
        server.steered("www.gslb.example", "A", "127.82.7.0/24") == ["192.0.2.49"]
    });
    // That network's own measurements are not its neighbours', whatever is imported.
    assert_eq!(server.steered("www.gslb.example", "A", "127.82.8.0/24"), ["192.0.2.82"]);
    let explained =
        admin(&server, "GET /v1/explain?name=www.gslb.example&client=127.82.7.1 HTTP/1.1\r\nHost: HOST\r\n\r\n");
    let source = &explained["explanation"]["regions"][0]["score"]["rtt"]["source"]["measured"];
    assert_eq!((source["group"].as_str(), source["by"].as_str()), (Some("127.82.7.0/24"), Some("users")), "{source}");
    let report = shown(&server, "?network=127.82.7.1");
    let used: Vec<_> = report["figures"].as_array().expect("figures").iter().filter(|f| f["used"] == true).collect();
    assert_eq!(used.len(), 3, "two of the network, one imported: {report}");
}

#[test]
fn nothing_is_believed_without_a_token_that_holds() {
    let state = state();
    let server = server("per_network = 1000", state.path());
    let client = "127.82.7.1";
    let samples = [("seoul", 20.0)];
    let status = |client: &str, token: &str| post(&server, client, "", &report(token, &samples)).status;
    let mine = token(&server, client);
    assert_eq!(status("127.82.8.1", &mine), 403, "another network's");
    assert_eq!(status("127.82.7.200", &mine), 204, "the same network's");
    assert_eq!(status(client, &mine), 403, "used");
    assert_eq!(status(client, "AAAA"), 403);
    assert_eq!(status(client, &forged(KEY, client, -1)), 403, "expired");
    assert_eq!(status(client, &forged(KEY, client, 1000)), 403, "for too long");
    assert_eq!(status(client, &forged("another key of thirty-two characters", client, 60)), 403);
    assert_eq!(status(client, &forged(KEY, client, 60)), 204, "as another node of the same key would");
    for wrong in ["", "{}", "[1]", "\u{0}", &report(&mine, &[("seoul", 1.0); 2]), &"x".repeat(100_000)] {
        assert_eq!(post(&server, client, "", wrong).status, 400, "{:.40}", wrong);
    }
    let forwarded =
        post(&server, "127.82.8.1", "X-Forwarded-For: 127.82.7.1\r\n", &report(&token(&server, client), &samples));
    assert_eq!(forwarded.status, 403, "nobody trusts that header from there");
    let of = ["report taken", "report forged", "report spent", "report expired", "report malformed", "sample counted"];
    assert_eq!(of.map(|what| happened(&server, what)), [2, 4, 1, 2, 6, 2]);
}

/// A token as the server signs them, which expires so many seconds from now.
fn forged(key: &str, client: &str, expires_in_s: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let expiry = now.saturating_add_signed(expires_in_s).to_be_bytes();
    let nonce: [u8; 12] = std::array::from_fn(|_| fastrand::u8(..));
    let [a, b, c, _] = client.parse::<std::net::Ipv4Addr>().expect("an address").octets();
    let network = std::net::Ipv4Addr::new(a, b, c, 0).to_ipv6_mapped().octets();
    let signed = [b"meridian rum 1".as_slice(), &expiry, &nonce, &network].concat();
    let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.as_bytes()), &signed);
    URL_SAFE_NO_PAD.encode([&expiry[..], &nonce, tag.as_ref()].concat())
}

#[test]
fn lies_that_light_gives_away_are_not_counted() {
    let state = state();
    let server = server("", state.path());
    assert_eq!(measure(&server, "127.82.7.1", &[("frankfurt", 20.0), ("seoul", 0.5)]), 204);
    assert_eq!(measure(&server, "127.49.7.1", &[("frankfurt", 20.0), ("seoul", 60_000.0)]), 204);
    let of = ["sample faster_than_light", "sample out_of_range", "sample counted"];
    assert_eq!(of.map(|what| happened(&server, what)), [1, 2, 1]);
}

#[test]
fn a_flood_of_one_network_is_turned_away_and_others_are_served() {
    let state = state();
    let server = server("per_network = 2", state.path());
    let statuses: Vec<u16> = (0..40).map(|_| get(&server, "127.82.7.1", "/rum/v1/plan").status).collect();
    let taken = statuses.iter().filter(|&&status| status == 200).count();
    assert!((8..16).contains(&taken) && statuses.contains(&429), "{statuses:?}");
    assert_eq!(get(&server, "127.82.8.1", "/rum/v1/plan").status, 200);
    // Of connections that do nothing a network has 32.
    let idle: Vec<TcpStream> = (0..32).map(|_| connect("127.82.9.1", server.rum.expect("a listener"))).collect();
    wait_until("one too many is closed", Duration::from_secs(5), || {
        get(&server, "127.82.9.1", "/rum/v1/pixel").status == 0
    });
    assert_eq!(get(&server, "127.82.10.1", "/rum/v1/pixel").status, 200);
    drop(idle);
    wait_until("there is room again", Duration::from_secs(5), || {
        get(&server, "127.82.9.1", "/rum/v1/pixel").status == 200
    });
}

#[test]
fn pages_of_other_sites_may_ask_and_are_told_no_cookie() {
    let state = state();
    let server = server("", state.path());
    let to = server.rum.expect("a listener");
    for (method, path, status) in [
        ("GET", "/rum/v1/plan", 200),
        ("GET", "/rum/v1/plan.js", 200),
        ("GET", "/rum/v1/pixel?r=1", 200),
        ("OPTIONS", "/rum/v1/beacon", 204),
        ("GET", "/rum/v1/beacon", 405),
        ("DELETE", "/rum/v1/plan", 405),
        ("GET", "/", 404),
        ("GET", "/v1/status", 404),
        ("GET", "/rum/v1/../../v1/status", 404),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nOrigin: https://y\r\nConnection: close\r\n\r\n");
        let answer = exchange("127.0.0.1", to, &request);
        assert_eq!(answer.status, status, "{method} {path}");
        for header in ["access-control-allow-origin: *", "timing-allow-origin: *", "cache-control: no-store", "nosniff"]
        {
            assert!(answer.head.contains(header), "{method} {path}: {}", answer.head);
        }
        assert!(!answer.head.contains("set-cookie"));
    }
    let script = get(&server, "127.82.7.1", "/rum/v1/plan.js").body;
    assert!(script.contains("function (plan)") && script.contains("seoul@gslb.example"), "{script}");
    assert!(exchange("127.0.0.1", to, "GET / HTTP/1.1\r\nX: ").status == 0, "a request that never ends");
}

#[test]
fn clients_behind_a_trusted_proxy_are_who_it_says() {
    let state = state();
    let server = server("trusted_proxies = [\"127.0.0.1\"]", state.path());
    let to = server.rum.expect("a listener");
    let ask = |forwarded: &str| {
        let request = format!("GET /rum/v1/plan HTTP/1.1\r\nHost: x\r\n{forwarded}Connection: close\r\n\r\n");
        exchange("127.0.0.1", to, &request)
    };
    assert_eq!(ask("").status, 400, "the proxy itself is nobody's client");
    let plan: Value = serde_json::from_str(&ask("X-Forwarded-For: 10.9.9.9, 127.82.7.1\r\n").body).expect("a plan");
    let token = plan["token"].as_str().expect("a token");
    assert_eq!(post(&server, "127.82.7.9", "", &report(token, &[("seoul", 20.0)])).status, 204, "that client's");
}

#[test]
fn measurements_survive_a_restart_and_a_corrupt_file_stops_nothing() {
    let state = state();
    let kept = state.path().join("latency.json");
    {
        let server = server("", state.path());
        import(
            &server,
            "",
            "text/csv",
            "network,region,rtt_ms,samples\n127.82.7.0/24,frankfurt,9,40\n127.82.7.0/24,seoul,99,40\n",
        );
        assert_eq!(measure(&server, "127.82.8.1", &[("seoul", 20.0)]), 204);
    }
    assert!(kept.exists());
    {
        let server = server("", state.path());
        assert_eq!(
            server.steered("www.gslb.example", "A", "127.82.7.0/24"),
            ["192.0.2.49"],
            "from the first answer on"
        );
        let ms = shown(&server, "?network=127.82.8.0/24&region=seoul")["figures"][0]["ms"].as_f64();
        assert!(ms.is_some_and(|ms| (19.0..21.0).contains(&ms)), "{ms:?}");
        let cleared = import(&server, "?replace=true", "text/csv", "");
        assert_eq!((&cleared["figures"], &cleared["in_all"]), (&json!(0), &json!(0)));
    }
    std::fs::write(&kept, "{\"version\":1,").expect("written");
    let server = server("", state.path());
    assert_eq!(server.steered("www.gslb.example", "A", "127.82.7.0/24"), ["192.0.2.82"]);
    let trouble = shown(&server, "")["trouble"].as_str().expect("told").to_owned();
    assert!(trouble.contains("latency.json cannot be used"), "{trouble}");
    let names = std::fs::read_dir(state.path()).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    assert!(names.into_iter().any(|name| name.to_string_lossy().starts_with("latency.json.corrupt-")));
}

#[test]
fn the_command_line_imports_and_shows() {
    let state = state();
    let server = server("", state.path());
    let meridian = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_meridian"))
            .args(["latency", "--admin", &server.admin.to_string()])
            .args(arguments)
            .output()
            .expect("it runs");
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    assert!(meridian(&["show"]).1.contains("distances decide"));
    let table = state.path().join("measured.csv");
    let path = table.to_str().expect("text");
    std::fs::write(&table, "asn,country,region,rtt_ms,samples,at\n4766,KR,seoul,7.5,100,2026-01-01T00:00:00Z\n")
        .expect("written");
    let (ok, said, _) = meridian(&["import", path]);
    assert!(ok && said.contains("1 figure taken"), "{said}");
    let (_, said, _) = meridian(&["show", "--country", "KR", "--region", "seoul"]);
    let line = said.lines().nth(1).unwrap_or_default();
    assert!(
        ["AS4766 in KR", "seoul@gslb.example", "7.5", "100", "import", "yes"].iter().all(|cell| line.contains(cell)),
        "{said}"
    );
    assert!(meridian(&["show", "--country", "DE"]).1.contains("nothing was measured"));
    assert!(!meridian(&["show", "--country", "Korea"]).0);
    std::fs::write(&table, "network,region,rtt_ms\n127.82.7.0/24,seoul,5\n127.82.7.0/24,soul,0\n").expect("written");
    let (ok, _, said) = meridian(&["import", path]);
    assert!(!ok && said.contains("line 3: no region is called `soul`; did you mean `seoul`?"), "{said}");
    assert!(said.contains("line 3: rtt_ms `0`"), "{said}");
    assert_eq!(shown(&server, "")["found"], json!(1), "all or nothing");
}

#[test]
fn a_real_browser_measures_and_reports() {
    let Some(chromium) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(tools::present) else {
        return tools::skip(tools::Need::Program, "chromium is not installed");
    };
    let state = state();
    let server = server("", state.path());
    let page = serve_page(include_str!("../examples/rum/index.html"));
    let rum = server.rum.expect("a listener");
    let profile = state.path().join("profile");
    let arguments = [
        "--headless=new".to_owned(),
        "--no-sandbox".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-background-networking".to_owned(),
        "--no-proxy-server".to_owned(),
        "--no-first-run".to_owned(),
        format!("--user-data-dir={}", profile.display()),
        format!("http://{page}/?rum=http://{rum}"),
    ];
    let _browser = tools::Running::start(&chromium, &arguments, &state.path().join("browser.log"));
    wait_until("the browser's report", Duration::from_secs(60), || happened(&server, "report taken") > 0);
    wait_until("its two times", Duration::from_secs(5), || happened(&server, "sample counted") == 2);
    let measured = shown(&server, "?network=127.0.0.1&region=frankfurt")["figures"][0]["ms"].as_f64();
    assert!(measured.is_some_and(|ms| (1.0..500.0).contains(&ms)), "{measured:?}");
}

/// Serves one page on a port of its own.
fn serve_page(html: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
            let _ = stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{html}", html.len()).as_bytes());
        }
    });
    address
}
