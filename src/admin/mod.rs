//! The admin plane: HTTP API, metrics and status page. Reads the snapshot and the counters; may
//! only *say* an override or a load to the writer, or ask for a reload.
//!
//! ```text
//!   accept ─▶ server: limits ─▶ guard: who may ask ─▶ api ─┬─▶ status, explain, what-if, metrics, page   (read)
//!                                                          └─▶ override, switch, load, reload ─▶ writer, reloader
//! ```
//!
//! - [`server`], [`places`]: the socket, and what a client may take of it
//! - [`guard`]: token, Host, Origin; the headers every answer has
//! - [`api`]: routes, and what is taken from requests
//! - [`load`]: load reports that are pushed
//! - [`status`], [`shares`]: everything at a glance
//! - [`planning`]: what the planner knows and has done last
//! - [`probing`]: how well this machine can ask others
//! - [`switch`]: another stage for a service
//! - `what_if`: what would follow from changes, and the demand it is worked out from
//! - [`explain`]: one client's answer, also for the command line
//! - [`latency`]: round trips that were measured, and imports of them
//! - [`metrics`]: the same in Prometheus' text format
//! - [`page`]: the status page
//! - [`problem`]: what went wrong, as JSON
//! - [`client`]: the other end, for the command line

pub mod api;
pub mod client;
pub mod explain;
mod guard;
pub mod latency;
mod load;
mod metrics;
mod page;
mod places;
pub mod planning;
pub mod probing;
mod problem;
mod server;
mod shares;
pub mod status;
pub mod switch;
mod what_if;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::control::load_report::LoadUpdate;
use crate::control::reload::{LoadStatus, ReloadRequest};
use crate::control::rum::Measurements;
use crate::control::writer::Command;
use crate::query::counters::CounterSet;
use crate::query::transport::xdp;
use crate::state::Shared;

pub use places::Places;
pub use probing::Probing;

/// What the admin API reads, and whom it tells.
pub struct Context {
    pub shared: Shared,
    pub counters: Arc<CounterSet>,
    pub commands: mpsc::Sender<Command>,
    /// Where load reports go that come by themselves: with those that are fetched.
    pub loads: mpsc::Sender<LoadUpdate>,
    pub reloads: mpsc::Sender<ReloadRequest>,
    pub load_status: Arc<ArcSwap<LoadStatus>>,
    pub started: Instant,
    pub measurements: Arc<Measurements>,
    /// What is lost on the packet path past the sockets.
    pub xdp: xdp::Statistics,
    pub probing: Probing,
    /// Who is connected here.
    pub places: Arc<Places>,
    /// What callers must present as `Authorization: Bearer`; `None` on loopback without a token.
    pub token: Option<String>,
}

/// Serves until `shutdown` completes.
///
/// # Errors
/// The listener cannot be driven. A failing connection is its client's trouble, and logged.
pub async fn serve(
    listener: std::net::TcpListener,
    context: Context,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let places = context.places.clone();
    server::run(listener, api::router(context), &places, shutdown).await
}
