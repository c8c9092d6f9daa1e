//! The socket that browsers talk to: plans of what to measure go out, times come in.
//!
//! - `GET /rum/v1/plan` (JSON) and `/rum/v1/plan.js` (a script that does it): regions, their URLs, a token
//! - `GET /rum/v1/pixel`: the smallest thing there is to fetch; a region's own balancer may serve as well
//! - `POST /rum/v1/beacon`: the token, and times
//!
//! Anybody may ask, so everything has a limit: connections, how long one lasts, octets, requests per
//! network and in all. No cookies; nothing of an answer is worth stealing, so any page may read it.
//! Speaks plain HTTP: pages over HTTPS need a proxy with a certificate in front of it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::control::config::RumSettings;
use crate::model::{Coordinates, Prefix, RegionId};
use crate::state::{SharedSnapshot, Snapshot};

use super::beacon::{self, Beacon};
use super::rate::Rates;
use super::store::{Uncounted, Whereabouts, client_network};
use super::token::{self, LIFE_S, Refused, Signer, Spent};
use super::{Event, Measurements, lock, unix_now};

/// Connections at once.
pub const CONNECTIONS: usize = 512;
/// Of one /24 or /48; a trusted proxy may have them all.
const CONNECTIONS_PER_NETWORK: usize = 32;
/// The whole header must be there within this.
const HEADER: Duration = Duration::from_secs(5);
/// So must the body.
const BODY: Duration = Duration::from_secs(5);
/// A connection ends after this. Long enough to measure with.
const CONNECTION: Duration = Duration::from_secs(30);
/// A request's header must fit into this, in octets.
const HEADER_OCTETS: usize = 8 * 1024;
/// After a failed accept, such as for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Regions in a plan at most: each takes a second of the visitor's time.
const PLANNED: usize = 8;
/// Of those, as many are the nearest as far as is known; the others are drawn by lot, since what is
/// known may be wrong.
const NEAREST: usize = 6;
/// Times taken of each region; the shortest is reported.
const FETCHES: u32 = 3;

/// Measures a plan: a function of it.
const SCRIPT: &str = include_str!("script.js");

/// One transparent pixel (GIF89a).
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x21\xf9\x04\x01\x00\x00\x00\x00\x2c\
                       \x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00\x3b";

/// The server that answers browsers.
pub struct Rum {
    shared: SharedSnapshot,
    measurements: Arc<Measurements>,
    signer: Signer,
    trusted_proxies: Vec<Prefix>,
    rates: Mutex<Rates>,
    spent: Mutex<Spent>,
    connections: Mutex<HashMap<Prefix, usize>>,
}

type HttpResponse = Response<Full<Bytes>>;

/// An answer other than what was asked for.
#[derive(Debug)]
struct Problem(StatusCode, String);

impl Rum {
    /// # Errors
    /// The key cannot be read or made.
    pub fn new(
        settings: &RumSettings,
        state: &std::path::Path,
        shared: SharedSnapshot,
        measurements: Arc<Measurements>,
    ) -> Result<Rum, String> {
        let secret = match &settings.key_file {
            Some(path) => token::read_secret(path)?,
            None => token::own_secret(state, &measurements.troubles)?,
        };
        let (per_network, per_second) = (f64::from(settings.per_network), f64::from(settings.per_second));
        Ok(Rum {
            shared,
            measurements,
            signer: Signer::new(&secret),
            trusted_proxies: settings.trusted_proxies.clone(),
            rates: Mutex::new(Rates::new(per_network, per_second, Instant::now())),
            spent: Mutex::default(),
            connections: Mutex::default(),
        })
    }

    /// Serves until `shutdown` completes.
    ///
    /// # Errors
    /// The listener cannot be driven.
    pub async fn serve(
        self: Arc<Rum>,
        listener: std::net::TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => match RumPlace::take(&self, peer.ip()) {
                        Some(place) => drop(connections.spawn(connection(stream, peer, place))),
                        None => self.measurements.happened(Event::Overload),
                    },
                    Err(error) => {
                        warn!("cannot accept a connection of a browser: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }

    /// Serves one connection, over whatever stream; none where there is no place for it.
    pub async fn converse(self: &Arc<Rum>, stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr) {
        if let Some(place) = RumPlace::take(self, peer.ip()) {
            connection(stream, peer, place).await;
        }
    }

    async fn respond(&self, peer: SocketAddr, request: Request<Incoming>) -> HttpResponse {
        let answer = match (request.method(), request.uri().path()) {
            (&Method::OPTIONS, _) => Ok(with_type(StatusCode::NO_CONTENT, "text/plain", "")),
            (&Method::GET, "/rum/v1/pixel") => Ok(with_type(StatusCode::OK, "image/gif", PIXEL)),
            (&Method::GET, "/rum/v1/plan") => self.plan(peer, request.headers(), false),
            (&Method::GET, "/rum/v1/plan.js") => self.plan(peer, request.headers(), true),
            (&Method::POST, "/rum/v1/beacon") => self.report(peer, request).await,
            (_, "/rum/v1/pixel" | "/rum/v1/plan" | "/rum/v1/plan.js" | "/rum/v1/beacon") => {
                Err(Problem(StatusCode::METHOD_NOT_ALLOWED, "GET a plan or the pixel, POST a beacon".into()))
            }
            _ => Err(Problem(StatusCode::NOT_FOUND, "there is nothing here".into())),
        };
        let mut answer =
            answer.unwrap_or_else(|Problem(status, why)| with_type(status, "text/plain; charset=utf-8", why + "\n"));
        for (name, value) in HEADERS {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    fn plan(&self, peer: SocketAddr, headers: &HeaderMap, as_script: bool) -> Result<HttpResponse, Problem> {
        let client = self.client(peer, headers)?;
        let unavailable = |why: &str| Problem(StatusCode::SERVICE_UNAVAILABLE, why.to_owned());
        let token = self.signer.token(client, unix_now()).ok_or_else(|| unavailable("no random numbers"))?;
        let snapshot = self.shared.load_full();
        let regions = regions_for(&snapshot, client);
        let plan = Plan { token, expires_in_s: LIFE_S, fetches: FETCHES, regions };
        let plan = serde_json::to_string(&plan).map_err(|error| unavailable(&error.to_string()))?;
        self.measurements.happened(Event::Plan);
        Ok(match as_script {
            true => with_type(StatusCode::OK, "text/javascript; charset=utf-8", script(&plan)),
            false => with_type(StatusCode::OK, "application/json", plan),
        })
    }

    async fn report(&self, peer: SocketAddr, request: Request<Incoming>) -> Result<HttpResponse, Problem> {
        let client = self.client(peer, request.headers())?;
        let malformed = |why: String| {
            self.measurements.happened(Event::ReportMalformed);
            Problem(StatusCode::BAD_REQUEST, why)
        };
        let body = tokio::time::timeout(BODY, Limited::new(request.into_body(), beacon::MAX_OCTETS).collect()).await;
        let body = body
            .map_err(|_| malformed("the body did not arrive in time".into()))?
            .map_err(|_| malformed(format!("the body is longer than {} octets, or broke off", beacon::MAX_OCTETS)))?;
        let Beacon { token, samples } = beacon::parse(&body.to_bytes()).map_err(malformed)?;
        self.spend(&token, client)?;
        self.measurements.happened(Event::Report);
        let (measurements, snapshot) = (self.measurements.clone(), self.shared.load_full());
        // The store may be busy for a while, telling the writer: not on a thread that serves sockets.
        let counting = tokio::task::spawn_blocking(move || measurements.count_samples(&snapshot, client, &samples));
        let _ = counting.await; // an error means that the server is stopping
        Ok(with_type(StatusCode::NO_CONTENT, "text/plain", ""))
    }

    fn spend(&self, token: &str, client: IpAddr) -> Result<(), Problem> {
        let now = unix_now();
        let spent = self.signer.check(token, client, now).and_then(|valid| lock(&self.spent).spend(valid, now));
        let (event, status, why) = match spent {
            Ok(()) => return Ok(()),
            Err(Refused::Forged) => (Event::ReportForged, StatusCode::FORBIDDEN, "not a token of this network"),
            Err(Refused::Expired) => (Event::ReportExpired, StatusCode::FORBIDDEN, "the token has expired"),
            Err(Refused::Spent) => (Event::ReportSpent, StatusCode::FORBIDDEN, "the token was used already"),
            Err(Refused::Full) => (Event::Overload, StatusCode::SERVICE_UNAVAILABLE, "too many reports"),
        };
        self.measurements.happened(event);
        Err(Problem(status, why.to_owned()))
    }

    /// The client that asks, unless too often.
    fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<IpAddr, Problem> {
        let client = client_of(peer.ip(), headers, &self.trusted_proxies)?;
        lock(&self.rates).take(client, Instant::now()).map_err(|_| {
            self.measurements.happened(Event::TooOften);
            Problem(StatusCode::TOO_MANY_REQUESTS, "too many requests".to_owned())
        })?;
        Ok(client)
    }
}

impl Measurements {
    fn count_samples(&self, snapshot: &Snapshot, client: IpAddr, samples: &[beacon::Sample]) {
        let whereabouts = whereabouts(snapshot, client);
        for sample in samples {
            let event = match measured_region(snapshot, &sample.region) {
                None => Event::SampleUnknownRegion,
                Some(at) => {
                    let region = (sample.region.as_str(), at);
                    match self.store().count(client, &whereabouts, region, sample.ms, unix_now()) {
                        Ok(()) => Event::SampleCounted,
                        Err(Uncounted::OutOfRange) => Event::SampleOutOfRange,
                        Err(Uncounted::FasterThanLight) => Event::SampleFasterThanLight,
                        Err(Uncounted::Enough) => Event::SampleEnough,
                        Err(Uncounted::Full) => Event::SampleFull,
                    }
                }
            };
            self.happened(event);
        }
    }
}

/// The plan of what a browser is to measure.
#[derive(Serialize)]
struct Plan {
    token: String,
    expires_in_s: u64,
    /// Times to take of each region, after one that makes the connection.
    fetches: u32,
    regions: Vec<PlannedRegion>,
}

#[derive(Serialize)]
struct PlannedRegion {
    /// Qualified.
    region: String,
    url: String,
}

fn script(plan: &str) -> String {
    let (head, function) = SCRIPT.split_once("function").unwrap_or_default();
    format!("{head}(function{}\n)({plan});\n", function.trim_end())
}

/// The nearest regions that browsers can measure, and some others.
fn regions_for(snapshot: &Snapshot, client: IpAddr) -> Vec<PlannedRegion> {
    let (model, atlas, plan) = (&snapshot.model, &snapshot.atlas, &snapshot.plan);
    let mut regions: Vec<RegionId> = model.region_ids().filter(|&id| model.region(id).rum_url.is_some()).collect();
    let rtts = plan.latency.rtts_at(model, atlas, atlas.locate(client).place, &regions);
    let mut near: Vec<(f64, RegionId)> = rtts.iter().map(|rtt| rtt.ms).zip(regions.iter().copied()).collect();
    near.sort_by(|a, b| a.0.total_cmp(&b.0));
    regions = near.into_iter().map(|(_, id)| id).collect();
    if let Some(others) = regions.get_mut(NEAREST..) {
        fastrand::shuffle(others);
    }
    regions.truncate(PLANNED);
    let planned = |id: RegionId| {
        let url = model.region(id).rum_url.clone()?;
        Some(PlannedRegion { region: model.qualified_region_name(id), url })
    };
    regions.into_iter().filter_map(planned).collect()
}

/// The coordinates of a region that browsers are asked to measure.
fn measured_region(snapshot: &Snapshot, qualified: &str) -> Option<Coordinates> {
    let model = &snapshot.model;
    let bare = qualified.split('@').next()?;
    let named = model.region_ids().filter(|&id| *model.region(id).name == *bare && model.region(id).rum_url.is_some());
    let id = named.into_iter().find(|&id| model.qualified_region_name(id) == qualified)?;
    Some(model.region(id).coordinates)
}

fn whereabouts(snapshot: &Snapshot, client: IpAddr) -> Whereabouts {
    let place = snapshot.atlas.locate(client).place;
    let (asn, country) = snapshot.atlas.operator(place);
    Whereabouts { asn, country, at: snapshot.atlas.location(place).coordinates }
}

/// The client behind trusted proxies: the last address of `X-Forwarded-For` that is not theirs. Whoever
/// connects without being trusted is the client, whatever the header says.
fn client_of(peer: IpAddr, headers: &HeaderMap, trusted: &[Prefix]) -> Result<IpAddr, Problem> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|proxies| proxies.contains(address));
    let peer = peer.to_canonical();
    if !is_trusted(peer) {
        return Ok(peer);
    }
    let unknown = || Problem(StatusCode::BAD_REQUEST, "a proxy did not say for whom it asks".to_owned());
    let forwarded = headers.get_all("x-forwarded-for").iter().rev();
    for line in forwarded {
        for address in line.to_str().map_err(|_| unknown())?.rsplit(',') {
            let address: IpAddr = address.trim().parse().map_err(|_| unknown())?;
            if !is_trusted(address.to_canonical()) {
                return Ok(address.to_canonical());
            }
        }
    }
    Err(unknown())
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> HttpResponse {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Any page may ask and read (Fetch standard), and see exact times (Resource Timing).
const HEADERS: [(HeaderName, &str); 8] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
    (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    (HeaderName::from_static("timing-allow-origin"), "*"),
    (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// A connection's right to be there; given back when it is dropped.
struct RumPlace {
    rum: Arc<Rum>,
    network: Prefix,
}

impl RumPlace {
    fn take(rum: &Arc<Rum>, peer: IpAddr) -> Option<RumPlace> {
        let network = client_network(peer);
        let trusted = rum.trusted_proxies.iter().any(|proxies| proxies.contains(peer.to_canonical()));
        let mut connections = lock(&rum.connections);
        let most = if trusted { CONNECTIONS } else { CONNECTIONS_PER_NETWORK };
        let full = connections.values().sum::<usize>() >= CONNECTIONS;
        let of_network = connections.entry(network).or_default();
        if full || *of_network >= most {
            if *of_network == 0 {
                connections.remove(&network);
            }
            return None;
        }
        *of_network += 1;
        Some(RumPlace { rum: rum.clone(), network })
    }
}

impl Drop for RumPlace {
    fn drop(&mut self) {
        let mut connections = lock(&self.rum.connections);
        let left = connections.get_mut(&self.network).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == 0 {
            connections.remove(&self.network);
        }
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr, place: RumPlace) {
    let rum = &place.rum;
    let service = service_fn(async |request| Ok::<_, std::convert::Infallible>(rum.respond(peer, request).await));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_buf_size(HEADER_OCTETS)
        .keep_alive(true)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("a browser's connection ended: {error}"),
        Err(_) => debug!("a browser's connection was closed after {} s", CONNECTION.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_who_connects_unless_a_trusted_proxy_says_otherwise() {
        let trusted: Vec<Prefix> = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().expect("a prefix")).into();
        let client = |peer: &str, lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", HeaderValue::from_static(line));
            }
            client_of(peer.parse().expect("an address"), &headers, &trusted).ok().map(|client| client.to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(client("192.0.2.1", &[]), some("192.0.2.1"));
        assert_eq!(client("192.0.2.1", &["198.51.100.1"]), some("192.0.2.1"), "it may say what it likes");
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), some("198.51.100.1"));
        assert_eq!(client("::ffff:10.0.0.1", &["::ffff:198.51.100.1"]), some("198.51.100.1"));
        assert_eq!(client("10.0.0.1", &["203.0.113.9, 198.51.100.1, 10.2.3.4"]), some("198.51.100.1"));
        assert_eq!(client("2001:db8::1", &["203.0.113.9", "198.51.100.1,10.0.0.2"]), some("198.51.100.1"));
        for nobody in [&[][..], &["unknown"], &["10.0.0.9"], &["198.51.100.1,"], &["198.51.100.1:80"], &[""]] {
            assert_eq!(client("10.0.0.1", nobody), None, "{nobody:?}");
        }
    }

    #[test]
    fn the_script_is_a_call_of_its_function_with_the_plan() {
        let script = script("{\"regions\":[]}");
        assert!(script.contains("\n(function (plan) {") && script.ends_with("}\n)({\"regions\":[]});\n"), "{script}");
    }

    #[test]
    fn the_pixel_is_43_octets() {
        assert_eq!((PIXEL.len(), PIXEL.last()), (43, Some(&b';')));
    }
}
