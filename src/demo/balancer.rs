//! A region of the demo: one small HTTP server that plays the region's own balancer.
//!
//! | request        | answer                                                     |
//! |----------------|------------------------------------------------------------|
//! | `GET /`        | `hello from seoul`                                         |
//! | `GET /health`  | 200 `ok`, or 503 `broken`                                  |
//! | `GET /load`    | `{"load":7000,"capacity":20000}`                           |
//! | `POST /break`  | from now on the health check fails                         |
//! | `POST /repair` | and from now on it succeeds again                          |
//! | `POST /load/N` | from now on the load is N: 0 to 4,294,967,295              |

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Where a region's balancer answers, and what it says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionSite {
    pub name: String,
    pub address: IpAddr,
    /// As its load reports state it.
    pub capacity: f64,
}

/// A region at work. Dropping it stops it.
#[derive(Debug)]
pub struct Balancer {
    pub name: String,
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Balancer {
    /// Stops it, and returns once its socket is closed: an abort alone only asks for that.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await; // an error says that it was aborted
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All regions' sockets, on one port.
pub struct Listeners {
    port: u16,
    bound: Vec<(RegionSite, TcpListener)>,
}

/// Ports tried where any will do: another program may have a picked one at some region's address.
const MOST_TRIES: usize = 32;

impl Listeners {
    /// Binds this port at every region; 0: one that is free at all of them. The error says which
    /// address could not be had.
    pub async fn bind(sites: Vec<RegionSite>, port: u16) -> Result<Listeners, String> {
        let tries = if port == 0 { MOST_TRIES } else { 1 };
        let mut error = String::new();
        for _ in 0..tries {
            match bind_all(&sites, port).await {
                Ok(listeners) => return Ok(listeners),
                Err(why) => error = why,
            }
        }
        Err(error)
    }

    /// Never 0, unless there is no region.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn serve(self) -> Vec<Balancer> {
        self.bound.into_iter().map(|(site, listener)| serve(site, listener, self.port)).collect()
    }
}

async fn bind_all(sites: &[RegionSite], mut port: u16) -> Result<Listeners, String> {
    let mut bound = Vec::new();
    for site in sites {
        let address = SocketAddr::new(site.address, port);
        let refused = |error: std::io::Error| {
            let region = &site.name;
            format!("cannot listen on TCP {address} for the region {region}: {error}{}", advice(&error, site))
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        port = listener.local_addr().map_err(refused)?.port();
        bound.push((site.clone(), listener));
    }
    Ok(Listeners { port, bound })
}

/// Linux has all of 127.0.0.0/8; other systems only 127.0.0.1 until told otherwise.
fn advice(error: &std::io::Error, site: &RegionSite) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrNotAvailable => {
            format!("; give this machine that address first, on macOS: sudo ifconfig lo0 alias {}", site.address)
        }
        _ => String::new(),
    }
}

/// What a region's server knows of itself.
struct Region {
    name: String,
    capacity: f64,
    broken: AtomicBool,
    load: AtomicU32,
}

/// A quiet day: the part of its capacity a region starts with.
const FIRST_LOAD: f64 = 0.35;

fn serve(site: RegionSite, listener: TcpListener, port: u16) -> Balancer {
    let address = SocketAddr::new(site.address, port);
    let region = Arc::new(Region {
        name: site.name.clone(),
        capacity: site.capacity,
        broken: AtomicBool::new(false),
        load: AtomicU32::new((site.capacity * FIRST_LOAD) as u32),
    });
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes(region)).await {
            tracing::error!(%address, "a region's server ended: {error}");
        }
    });
    Balancer { name: site.name, address, task }
}

fn routes(region: Arc<Region>) -> Router {
    Router::new()
        .route("/", get(hello))
        .route("/health", get(health))
        .route("/load", get(load))
        .route("/load/{load}", post(set_load))
        .route("/break", post(|region| set_broken(region, true)))
        .route("/repair", post(|region| set_broken(region, false)))
        .with_state(region)
}

async fn hello(State(region): State<Arc<Region>>) -> String {
    format!("hello from {}\n", region.name)
}

async fn health(State(region): State<Arc<Region>>) -> (StatusCode, &'static str) {
    if region.broken.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "broken\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

#[derive(Serialize)]
struct Load {
    load: u32,
    capacity: f64,
}

async fn load(State(region): State<Arc<Region>>) -> Json<Load> {
    Json(Load { load: region.load.load(Ordering::Relaxed), capacity: region.capacity })
}

async fn set_load(State(region): State<Arc<Region>>, Path(load): Path<u32>) -> String {
    region.load.store(load, Ordering::Relaxed);
    format!("{} now reports a load of {load} of {}\n", region.name, region.capacity)
}

async fn set_broken(State(region): State<Arc<Region>>, broken: bool) -> String {
    region.broken.store(broken, Ordering::Relaxed);
    let now = if broken { "fails its health check" } else { "passes its health check" };
    format!("{} now {now}\n", region.name)
}
