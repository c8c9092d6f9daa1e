//! The admin plane: HTTP API, metrics and status page. Reads the snapshot and the counters; may
//! only *say* an override or a load to the writer, a heartbeat to the prober, or ask for a reload.
//!
//! ```text
//!   accept ─▶ server: limits ─▶ guard: who may ask ─▶ api ─┬─▶ status, events, explain, what-if, metrics, page   (read)
//!                                                          └─▶ override, switch, load, reload ─▶ writer, reloader
//! ```
//!
//! - [`server`], [`places`]: the socket, and what a client may take of it
//! - [`guard`]: token, Host, Origin; the headers every answer has
//! - [`context`]: what is read, and who is told
//! - [`api`]: routes, and who answers them
//! - [`request`], [`workbench`]: what every route needs: bodies, replies of others, work one at a time
//! - [`load`], [`heartbeat`]: load reports and heartbeats that are pushed
//! - [`status`], [`shares`]: everything at a glance
//! - [`summary`], [`diagnosis`]: what of it is wrong
//! - [`wellbeing`]: the writer and the files of the state directory
//! - [`planning`]: what the planner knows and has done last
//! - [`probing`]: how well this machine can ask others
//! - [`node`]: whether this node should be announced, and what operators say of it
//! - [`cluster`], [`nodes`]: the other nodes, and what is wrong among them
//! - [`switch`]: another stage for a service
//! - `what_if`: what would follow from changes, and the demand it is worked out from
//! - `events`: what changed, and why
//! - [`receivers`]: who is told of that elsewhere
//! - [`explain`]: one client's answer, also for the command line
//! - [`latency`]: round trips that were measured, and imports of them
//! - [`metrics`]: the same in Prometheus' text format
//! - [`page`]: the status page
//! - [`problem`]: what went wrong, as JSON
//! - [`client`]: the other end, for the command line

pub mod api;
pub mod client;
pub mod cluster;
mod context;
pub mod diagnosis;
mod events;
pub mod explain;
mod guard;
pub mod heartbeat;
pub mod latency;
mod load;
mod metrics;
pub mod node;
pub mod nodes;
mod page;
mod places;
pub mod planning;
pub mod probing;
mod problem;
pub mod receivers;
mod request;
mod server;
mod shares;
pub mod status;
pub mod summary;
pub mod switch;
pub mod wellbeing;
mod what_if;
mod workbench;

use std::sync::Arc;

pub use context::Context;
pub use places::Places;
pub use probing::Probing;

/// Serves until `shutdown` completes.
///
/// # Errors
/// The listener cannot be driven. A failing connection is its client's trouble, and logged.
pub async fn serve(
    listener: std::net::TcpListener,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let places = context.places.clone();
    server::run(listener, api::router(context), &places, shutdown).await
}

/// This server's status as JSON: what `GET /v1/status` says.
pub fn status_json(context: &Context) -> Vec<u8> {
    let status = status::status(context, &shares::ShareCounts::default());
    serde_json::to_vec(&diagnosis::diagnosed(status, &context.events)).unwrap_or_default()
}
