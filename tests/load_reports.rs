//! Load reports for real: what HAProxy says over HTTP and on its stats socket, what nginx says on
//! its status page, and what is pushed, as the load that a running server knows.
//!
//! Where HAProxy or nginx is not installed the tests say so and pass, unless
//! `MERIDIAN_TEST_REQUIRE_TOOLS` is set.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use meridian::steer::load::state::LoadState;

mod support;

use support::server::{Server, wait_until};
use support::tools::{self, Running};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// On a machine busy with other tests.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server whose regions have these load reports, by name.
fn server(regions: &[(&str, &str)]) -> Server {
    let mut zone = String::from(
        "origin = \"gslb.example\"\nrecords = \"\"\"\n@ SOA ns1 hostmaster 1 1h 10m 1w 60\n@ NS ns1\nns1 A 192.0.2.1\n\"\"\"\n",
    );
    for (name, report) in regions {
        zone += &format!(
            "[region.{name}]\nlocation = {{ country = \"KR\" }}\nendpoints = [{{ address = \"127.0.0.1\" }}]\n{report}\n"
        );
    }
    let names: Vec<_> = regions.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    zone += &format!("[service.www]\npolicy = \"failover\"\nregions = [{}]\n", names.join(", "));
    Server::start("", &[("gslb.example.toml", &zone)])
}

fn load(server: &Server, region: &str) -> LoadState {
    let snapshot = server.snapshot();
    let id = *snapshot.model.find_regions(region).first().expect("a region of this name");
    snapshot.states[id.index()].load.clone()
}

/// Load and capacity, once there are some.
fn figures(server: &Server, region: &str) -> (f64, Option<f64>) {
    wait_until(&format!("{region} has a load"), PATIENCE, || server.load(region).is_some());
    let load = load(server, region);
    assert_eq!((load.stale, &load.error), (false, &None), "{region}");
    load.last.map(|figure| (figure.load, figure.capacity)).expect("a figure")
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect_timeout(&SocketAddr::new(HERE, port), PATIENCE).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn accepts(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::new(HERE, port), PATIENCE).is_ok()
}

fn start_haproxy(folder: &Path) -> Option<(Running, u16, u16, u16)> {
    let haproxy = tools::find("haproxy")?;
    let (web, http, socket) = (tools::free_port(HERE), tools::free_port(HERE), tools::free_port(HERE));
    let config = format!(
        "global\n  maxconn 200\n  stats socket {}/stats.sock mode 600 level user\n  stats socket ipv4@127.0.0.1:{socket} level user\n\
         defaults\n  mode http\n  timeout connect 2s\n  timeout client 30s\n  timeout server 30s\n\
         frontend web\n  bind 127.0.0.1:{web}\n  maxconn 100\n  http-request return status 200\n\
         frontend statistics\n  bind 127.0.0.1:{http}\n  stats enable\n  stats uri /stats\n",
        folder.display()
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, config).expect("a file");
    let running = Running::start(&haproxy, &["-db", "-f", &file.display().to_string()], &folder.join("haproxy.log"));
    wait_until("HAProxy listens", PATIENCE, || accepts(web) && accepts(http) && accepts(socket));
    Some((running, web, http, socket))
}

#[test]
fn haproxy_says_the_same_over_http_and_on_its_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((mut haproxy, web, http, socket)) = start_haproxy(folder.path()) else { return };
    let report = |url: String| {
        format!(
            "load_report.haproxy = {{ url = \"{url}\", proxy = \"web\", interval = \"200ms\", timeout = \"2s\", max_age = \"2s\" }}"
        )
    };
    let path = folder.path().join("stats.sock").display().to_string();
    let server = server(&[
        ("http", &report(format!("http://127.0.0.1:{http}/stats;csv"))),
        ("path", &report(format!("unix:{path}"))),
        ("port", &report(format!("tcp://127.0.0.1:{socket}"))),
        ("wrong", &report(format!("unix:{path}")).replace("web", "wep")),
    ]);
    let held: Vec<TcpStream> = (0..7).map(|_| connect(web)).collect();
    for region in ["http", "path", "port"] {
        wait_until(&format!("7 sessions are the load of {region}"), PATIENCE, || server.load(region) == Some(7.0));
        assert_eq!(figures(&server, region), (7.0, Some(100.0)), "the frontend's maxconn");
    }
    let wrong = load(&server, "wrong");
    assert_eq!(wrong.last, None, "never zero");
    assert!(wrong.error.is_some_and(|error| error.contains("no frontend or backend `wep`") && error.contains("web")));
    // Gone, it is not idle: the last figure stays, and is stale in time.
    haproxy.kill();
    drop(held);
    for region in ["http", "path", "port"] {
        wait_until(&format!("{region} is stale"), PATIENCE, || load(&server, region).stale);
        let load = load(&server, region);
        assert_eq!(load.last.map(|figure| figure.load), Some(7.0), "{region}");
        assert!(load.error.is_some_and(|error| error.starts_with("cannot fetch: ")), "{region}");
    }
}

#[test]
fn nginx_says_its_connections_and_its_request_rate() {
    let Some(nginx) = tools::find("nginx") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let port = tools::free_port(HERE);
    let config = format!(
        "pid nginx.pid; error_log stderr warn; worker_processes 1; events {{ worker_connections 64; }}\n\
         http {{ access_log off; client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; \
         scgi_temp_path e; server {{ listen 127.0.0.1:{port}; location = /stub_status {{ stub_status; }} }} }}\n"
    );
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, config).expect("a file");
    let (prefix, file) = (folder.path().display().to_string(), file.display().to_string());
    let alone = ["-p", &prefix, "-c", &file, "-g", "daemon off; master_process off;"];
    let _nginx = Running::start(&nginx, &alone, &folder.path().join("nginx.log"));
    wait_until("nginx listens", PATIENCE, || accepts(port));
    let report = |field: &str| {
        format!(
            "capacity = 64\nload_report.nginx = {{ url = \"http://127.0.0.1:{port}/stub_status\", field = \"{field}\", interval = \"200ms\", max_age = \"5s\" }}"
        )
    };
    let server =
        server(&[("all", &report("connections")), ("busy", &report("busy")), ("rate", &report("request_rate"))]);
    let _held: Vec<TcpStream> = (0..5).map(|_| connect(port)).collect();
    // Those held, and the one or more that ask.
    wait_until("5 connections are held", PATIENCE, || server.load("all").is_some_and(|load| load >= 6.0));
    assert_eq!(figures(&server, "all").1, Some(64.0), "as configured: nginx does not say");
    let busy = figures(&server, "busy").0;
    assert!((1.0..=4.0).contains(&busy), "held connections are idle: {busy}");
    // Three scrapes each 200 ms, less a little by chance, and the scrapes themselves are all there is.
    wait_until("requests are counted", PATIENCE, || server.load("rate").is_some_and(|rate| rate >= 5.0));
    let rate = figures(&server, "rate").0;
    assert!((5.0..=60.0).contains(&rate), "{rate}");
}

#[test]
fn what_is_pushed_is_the_load_until_it_is_stale() {
    let server = server(&[("agent", "capacity = 10\nload_report.push = { interval = \"300ms\" }")]);
    let push = |body: &str| {
        let mut stream = connect(server.admin.port());
        let head = format!(
            "POST /v1/regions/agent/load HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            server.admin,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).expect("sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("a reply");
        reply
    };
    assert!(push("{\"load\": 7}").starts_with("HTTP/1.1 200"));
    wait_until("the load is known", PATIENCE, || server.load("agent") == Some(7.0));
    wait_until("nobody pushes: stale", PATIENCE, || load(&server, "agent").stale);
    assert_eq!(server.load("agent"), Some(7.0), "never idle");
    assert!(push("{\"load\": 8}").starts_with("HTTP/1.1 200"));
    wait_until("fresh again", PATIENCE, || server.load("agent") == Some(8.0));
}
