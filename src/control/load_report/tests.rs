//! Scrapes of real sockets on loopback.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::model::{Coordinates, Endpoint, EndpointTarget, HaproxyField, Layer, Location, Name, Region, Zone, ZoneId};

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

fn json_report(url: String) -> LoadReport {
    LoadReport {
        kind: LoadReportKind::Json { load: "/load".into(), capacity: None },
        url,
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(500),
    }
}

fn model(load_report: Option<LoadReport>) -> Model {
    let endpoint = EndpointTarget::Addresses(vec![Ipv4Addr::LOCALHOST.into()]);
    let region = Region {
        name: "seoul".into(),
        zone: ZoneId(0),
        location: Location::default(),
        coordinates: Coordinates::new(37.57, 126.98).expect("on the globe"),
        capacity: None,
        cost: 0.0,
        endpoints: vec![Endpoint { target: endpoint, weight: 1, layer: Layer::L7 }],
        check: None,
        load_report,
        load_limits: Default::default(),
        rum_url: None,
        min_healthy: 1,
        slow_start: Region::SLOW_START,
    };
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
    assert_eq!(sample, Ok(LoadSample { load: 41.0, capacity: None }));
    let csv = "# pxname,svname,scur,slim\nweb,FRONTEND,7,100\n";
    let (server, _requests) = serve(answer("200 OK", csv)).await;
    let kind = LoadReportKind::Haproxy { proxy: "web".into(), field: HaproxyField::Sessions };
    let report = LoadReport { kind, ..json_report(format!("http://{server}/stats;csv")) };
    assert_eq!(scrape_once(report).await, Ok(LoadSample { load: 7.0, capacity: Some(100.0) }));
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
async fn a_body_over_one_mebibyte_is_refused() {
    let (server, _requests) = serve(answer("200 OK", &" ".repeat(fetch::MOST_BODY + 1))).await;
    let report = LoadReport { timeout: Duration::from_secs(10), ..json_report(format!("http://{server}/")) };
    assert_eq!(scrape_once(report).await, Err(LoadError::TooLong(fetch::MOST_BODY)));
}

#[tokio::test]
async fn octets_that_are_not_text_are_an_error() {
    let kind = LoadReportKind::Haproxy { proxy: "web".into(), field: HaproxyField::Sessions };
    assert!(matches!(parse(&kind, b"# pxname,svname,\xff"), Err(LoadError::NotCsv(_))));
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
