//! Scrapes of real sockets on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::model::{
    Coordinates, Endpoint, HaproxyField, HealthPlace, HealthRule, LoadFormat, MetricSelector, Name, Region,
    ScrapeAddress, Zone, ZoneId,
};

/// A server that answers each connection with `reply`, and the requests it gets. A reply of
/// `None` is silence.
async fn serve(reply: Option<String>) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (sender, requests) = mpsc::channel(100);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (sender, reply) = (sender.clone(), reply.clone());
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let Ok(octet) = stream.read_u8().await else { return };
                    request.push(octet);
                }
                let _ = sender.try_send(String::from_utf8_lossy(&request).into_owned());
                match reply {
                    Some(reply) => drop(stream.write_all(reply.as_bytes()).await),
                    None => std::future::pending().await,
                }
            });
        }
    });
    (address, requests)
}

fn answer(status: &str, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()))
}

fn json() -> LoadFormat {
    LoadFormat::Json { load: "/load".into(), capacity: None, time: None }
}

fn report(from: ScrapeAddress, format: LoadFormat) -> LoadReport {
    let scrape = Scrape { from, format, timeout: Duration::from_millis(500) };
    LoadReport::scraped(scrape, Duration::from_millis(100))
}

fn json_report(url: String) -> LoadReport {
    report(ScrapeAddress::Http(url), json())
}

fn model(load_report: Option<LoadReport>) -> Model {
    let at = Coordinates::new(37.57, 126.98).expect("on the globe");
    let endpoints = vec![Endpoint::at(Ipv4Addr::LOCALHOST.into())];
    let region = Region { load_report, ..Region::new("seoul", ZoneId(0), at, endpoints) };
    let origin = Name::parse_absolute("gslb.example").expect("a name");
    Model { zones: vec![Zone { origin, nodes: Default::default() }], regions: vec![region], ..Model::default() }
}

async fn next(updates: &mut mpsc::Receiver<LoadUpdate>) -> LoadUpdate {
    timeout(Duration::from_secs(5), updates.recv()).await.expect("an update in time").expect("a scraper")
}

async fn scrape_once(report: LoadReport) -> Result<LoadSample, LoadError> {
    let (sink, mut updates) = mpsc::channel(10);
    let mut scraper = Scraper::new(sink);
    scraper.configure(&model(Some(report)));
    let update = next(&mut updates).await;
    assert_eq!(&*update.region, "seoul@gslb.example");
    update.outcome
}

#[tokio::test]
async fn json_and_csv_are_fetched_and_read() {
    let (server, _requests) = serve(answer("200 OK", r#"{"load": 41}"#)).await;
    let sample = scrape_once(json_report(format!("http://{server}/load"))).await;
    assert_eq!(sample, Ok(LoadSample { load: 41.0, capacity: None, at: None }));
    let csv = "# pxname,svname,scur,slim\nweb,FRONTEND,7,100\n";
    let (server, _requests) = serve(answer("200 OK", csv)).await;
    let format = LoadFormat::Haproxy { proxy: "web".into(), field: HaproxyField::Sessions };
    let report = report(ScrapeAddress::Http(format!("http://{server}/stats;csv")), format);
    assert_eq!(scrape_once(report).await, Ok(LoadSample { load: 7.0, capacity: Some(100.0), at: None }));
}

#[tokio::test]
async fn health_comes_with_a_load_and_without_one_where_it_is_asked_for() {
    let csv = "# pxname,svname,scur,status,hrsp_2xx,hrsp_5xx\nweb,FRONTEND,7,OPEN,,\nweb,s1,7,UP,,\nweb,s2,0,DOWN,,\n\
               web,BACKEND,7,UP,90,10\ndead,BACKEND,,DOWN,,\n";
    let (server, _requests) = serve(answer("200 OK", csv)).await;
    let of = async |proxy: &str, health: Option<HealthRule>| {
        let format = LoadFormat::Haproxy { proxy: proxy.into(), field: HaproxyField::Sessions };
        let report = report(ScrapeAddress::Http(format!("http://{server}/stats;csv")), format);
        let (sink, mut updates) = mpsc::channel(10);
        let mut scraper = Scraper::new(sink);
        scraper.configure(&model(Some(LoadReport { health, ..report })));
        let first = next(&mut updates).await;
        (first, next(&mut updates).await)
    };
    assert!(of("web", None).await.0.health.is_none(), "not asked for");
    let (first, second) = of("web", Some(HealthRule::default())).await;
    let told = |update: LoadUpdate| update.health.expect("asked for").expect("read").to_string();
    assert!(first.outcome.is_ok());
    assert_eq!((&*told(first), &*told(second)), ("1 of 2 servers up", "1 of 2 servers up, 0 % errors"), "two counts");
    let dead = of("dead", Some(HealthRule::default())).await.0;
    assert_eq!((dead.outcome.is_err(), &*told(dead)), (true, "says it is down"), "no load, and it says why");
    let missing = HealthRule { place: HealthPlace::Backend("app".into()), ..HealthRule::default() };
    let missing = of("web", Some(missing)).await.0.health.expect("asked for").expect_err("not there");
    assert_eq!(missing.to_string(), "no backend `app` in the report; there are: web, dead");
}

#[tokio::test]
async fn user_and_password_in_the_url_are_basic_authentication() {
    let (server, mut requests) = serve(answer("200 OK", r#"{"load": 1}"#)).await;
    scrape_once(json_report(format!("http://admin:secret@{server}/stats;csv"))).await.expect("a load");
    let request = requests.recv().await.expect("a request");
    assert!(request.starts_with("GET /stats;csv HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: Basic YWRtaW46c2VjcmV0\r\n"), "{request}");
}

#[tokio::test]
async fn failures_are_errors_and_hide_the_password() {
    let (silent, _requests) = serve(None).await;
    let late =
        scrape_once(json_report(format!("http://admin:secret@{silent}/?token=secret"))).await.expect_err("silence");
    assert!(late.to_string().starts_with("cannot fetch: no answer in time"), "{late}");
    assert!(!late.to_string().contains("secret"), "{late}");
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port").local_addr().expect("bound");
    let refused =
        scrape_once(json_report(format!("http://admin:secret@{closed}/?token=secret"))).await.expect_err("refused");
    assert!(refused.to_string().contains("refused") && !refused.to_string().contains("secret"), "{refused}");
    let nonsense = scrape_once(json_report("http://[".into())).await;
    assert!(matches!(nonsense, Err(LoadError::Fetch(_))), "{nonsense:?}");
}

#[tokio::test]
async fn only_2xx_counts_and_redirects_are_not_followed() {
    let (elsewhere, _requests) = serve(answer("200 OK", r#"{"load": 1}"#)).await;
    let moved = format!("302 Found\r\nlocation: http://{elsewhere}/");
    for (status, code) in [(moved.as_str(), 302), ("401 Unauthorized", 401), ("503 Unavailable", 503)] {
        let (server, _requests) = serve(answer(status, r#"{"load": 1}"#)).await;
        assert_eq!(scrape_once(json_report(format!("http://{server}/"))).await, Err(LoadError::Status(code)));
    }
}

#[tokio::test]
async fn a_body_over_four_mebibytes_is_refused() {
    let (server, _requests) = serve(answer("200 OK", &" ".repeat(fetch::MOST_BODY + 1))).await;
    let scrape = Scrape {
        from: ScrapeAddress::Http(format!("http://{server}/")),
        format: json(),
        timeout: Duration::from_secs(10),
    };
    let report = LoadReport::scraped(scrape, Duration::from_millis(100));
    assert_eq!(scrape_once(report).await, Err(LoadError::TooLong(fetch::MOST_BODY)));
}

#[tokio::test]
async fn octets_that_are_not_text_are_an_error() {
    let format = LoadFormat::Haproxy { proxy: "web".into(), field: HaproxyField::Sessions };
    let outcome = read(&format, b"# pxname,svname,\xff", SystemTime::now());
    assert!(matches!(outcome, Err(LoadError::Unreadable { .. })));
}

#[tokio::test]
async fn scrapes_go_on_at_the_interval_and_reports_that_are_gone_stop() {
    let (server, mut requests) = serve(answer("200 OK", r#"{"load": 1}"#)).await;
    let (sink, mut updates) = mpsc::channel(10);
    let mut scraper = Scraper::new(sink);
    let report = json_report(format!("http://{server}/"));
    scraper.configure(&model(Some(report.clone())));
    next(&mut updates).await;
    scraper.configure(&model(Some(report)));
    next(&mut updates).await;
    assert!(requests.recv().await.is_some() && requests.recv().await.is_some());
    scraper.configure(&model(None));
    drop(scraper);
    // The last sender goes with the last scrape.
    timeout(Duration::from_secs(5), async { while updates.recv().await.is_some() {} }).await.expect("all stop");
}

/// A stats socket: answers `reply` to one line, and closes.
async fn answer_a_line(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, reply: &str) -> String {
    let mut line = String::new();
    while !line.ends_with('\n') {
        line.push(char::from(stream.read_u8().await.expect("a line")));
    }
    stream.write_all(reply.as_bytes()).await.expect("read");
    line
}

#[tokio::test]
async fn haproxys_stats_socket_is_asked_over_unix_and_tcp() {
    const CSV: &str = "# pxname,svname,scur,slim\nweb,FRONTEND,7,100\n\n";
    let format = || LoadFormat::Haproxy { proxy: "web".into(), field: HaproxyField::Sessions };
    let expected = Ok(LoadSample { load: 7.0, capacity: Some(100.0), at: None });
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stats.sock");
    let unix = tokio::net::UnixListener::bind(&path).expect("a socket");
    let asked = tokio::spawn(async move { answer_a_line(unix.accept().await.expect("asked").0, CSV).await });
    assert_eq!(scrape_once(report(ScrapeAddress::Unix(path.clone()), format())).await, expected);
    assert_eq!(asked.await.expect("answered"), "show stat\n");
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = tcp.local_addr().expect("bound").port();
    let asked = tokio::spawn(async move { answer_a_line(tcp.accept().await.expect("asked").0, CSV).await });
    let from = ScrapeAddress::Tcp { host: "127.0.0.1".into(), port };
    assert_eq!(scrape_once(report(from.clone(), format())).await, expected);
    assert_eq!(asked.await.expect("answered"), "show stat\n");
    // Nobody listens any more.
    for gone in [ScrapeAddress::Unix(folder.path().join("none.sock")), from] {
        let error = scrape_once(report(gone, format())).await.expect_err("nobody there");
        assert!(matches!(error, LoadError::Fetch(_)), "{error}");
    }
}

#[tokio::test]
async fn hung_feeds_cost_only_themselves() {
    let (hung, _requests) = serve(None).await;
    let slow_body = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"load\"".to_owned();
    let half = serve_and_hold(slow_body).await;
    let (well, _requests) = serve(answer("200 OK", r#"{"load": 1}"#)).await;
    let (sink, mut updates) = mpsc::channel(1000);
    let mut scraper = Scraper::new(sink);
    let patient = |server: SocketAddr| {
        let scrape = Scrape {
            from: ScrapeAddress::Http(format!("http://{server}/")),
            format: json(),
            timeout: Duration::from_secs(60),
        };
        LoadReport::scraped(scrape, Duration::from_millis(100))
    };
    let mut many = model(Some(json_report(format!("http://{well}/"))));
    for index in 0..300 {
        let report = patient(if index % 2 == 0 { hung } else { half });
        let name = format!("hung{index}").into();
        many.regions.push(Region { name, load_report: Some(report), ..many.regions[0].clone() });
    }
    scraper.configure(&many);
    for _ in 0..5 {
        let update = next(&mut updates).await;
        assert_eq!((&*update.region, update.outcome.is_ok()), ("seoul@gslb.example", true));
    }
}

/// [`serve`], but connections stay open after the reply.
async fn serve_and_hold(reply: String) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let reply = reply.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(reply.as_bytes()).await;
                std::future::pending::<()>().await;
            });
        }
    });
    address
}

#[tokio::test]
async fn large_bodies_wait_for_a_place_and_small_ones_do_not() {
    let large = format!("{{\"load\": 5}}{}", " ".repeat(fetch::SMALL_BODY));
    let slow = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{large}", large.len() + 1);
    let half = serve_and_hold(slow).await;
    let fetcher = Arc::new(Fetcher::new());
    let scrape = |server: SocketAddr, timeout: u64| Scrape {
        from: ScrapeAddress::Http(format!("http://{server}/")),
        format: json(),
        timeout: Duration::from_millis(timeout),
    };
    let mut holders = JoinSet::new();
    for _ in 0..fetch::MOST_LARGE {
        let (fetcher, scrape) = (fetcher.clone(), scrape(half, 60_000));
        holders.spawn(async move { fetcher.fetch(&scrape).await.is_ok() });
    }
    timeout(Duration::from_secs(5), async {
        while fetcher.free_places() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("all places are taken");
    let (small, _requests) = serve(answer("200 OK", r#"{"load": 1}"#)).await;
    let (other, _requests) = serve(answer("200 OK", &large)).await;
    assert!(fetcher.fetch(&scrape(small, 5_000)).await.is_ok());
    assert!(fetcher.fetch(&scrape(other, 100)).await.is_err(), "it waits in vain");
    holders.shutdown().await;
    assert!(fetcher.fetch(&scrape(other, 5_000)).await.is_ok());
}

#[tokio::test]
async fn counts_become_rates_from_the_second_scrape_on() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        for count in (0..).map(|scrape| 1000 + 500 * scrape) {
            let (mut stream, _) = listener.accept().await.expect("asked");
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.expect("a request");
            let asks_for_text =
                String::from_utf8_lossy(&request[..length]).contains("accept: text/plain;version=0.0.4");
            let body = format!("requests_total {count}\n");
            let reply = answer(if asks_for_text { "200 OK" } else { "406 Not Acceptable" }, &body).expect("a reply");
            stream.write_all(reply.as_bytes()).await.expect("written");
        }
    });
    let load = MetricSelector::parse("requests_total").expect("a selector");
    let format = LoadFormat::Prometheus { load, capacity: None, rate: true };
    let (sink, mut updates) = mpsc::channel(10);
    let mut scraper = Scraper::new(sink);
    scraper.configure(&model(Some(report(ScrapeAddress::Http(format!("http://{address}/metrics")), format))));
    assert_eq!(next(&mut updates).await.outcome, Err(LoadError::FirstCount));
    let rate = next(&mut updates).await.outcome.expect("a rate").load;
    // 500 in some 95 ms, on a busy machine in more.
    assert!((500.0..6_000.0).contains(&rate), "{rate}");
}

#[tokio::test]
async fn a_figure_told_already_is_not_told_again_and_its_time_is_its_own() {
    let told = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let (server, mut requests) = serve(answer("200 OK", r#"{"load": 1, "at": 1000000000}"#)).await;
    let time = Some(crate::model::JsonTime::Timestamp("/at".into()));
    let format = LoadFormat::Json { load: "/load".into(), capacity: None, time };
    let (sink, mut updates) = mpsc::channel(10);
    let mut scraper = Scraper::new(sink);
    scraper.configure(&model(Some(report(ScrapeAddress::Http(format!("http://{server}/")), format))));
    assert_eq!(next(&mut updates).await.at, told);
    for _ in 0..4 {
        requests.recv().await.expect("scrapes go on");
    }
    assert!(updates.try_recv().is_err(), "told once");
}

#[tokio::test]
async fn a_slow_answer_is_as_old_as_its_question() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("asked");
        let asked = SystemTime::now();
        // Longer than any scheduling between the two.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let reply = answer("200 OK", r#"{"load": 1}"#).expect("a reply");
        stream.write_all(reply.as_bytes()).await.expect("written");
        asked
    });
    let (sink, mut updates) = mpsc::channel(10);
    let mut scraper = Scraper::new(sink);
    scraper.configure(&model(Some(json_report(format!("http://{address}/")))));
    let update = next(&mut updates).await;
    assert!(update.outcome.is_ok() && update.at.elapsed().expect("in the past") >= Duration::from_millis(290));
}

#[tokio::test]
async fn pushed_reports_are_not_scraped() {
    let (sink, mut updates) = mpsc::channel(10);
    let mut scraper = Scraper::new(sink);
    scraper.configure(&model(Some(LoadReport::pushed(Duration::from_millis(100)))));
    assert!(scraper.slots.is_empty() && updates.try_recv().is_err());
}
