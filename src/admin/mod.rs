//! The admin plane: HTTP API, metrics and status page. Reads the snapshot and the counters; may
//! only *say* an override or a load to the writer, a heartbeat to the prober, or ask for a reload.
//!
//! ```text
//!   accept ─▶ server: limits ─▶ guard: who may ask ─▶ api ─┬─▶ status, events, explain, what-if, flows, metrics, page   (read)
//!                                                          └─▶ override, switch, load, reload ─▶ writer, reloader
//! ```
//!
//! - [`server`], [`places`]: the socket, and what a client may take of it
//! - [`guard`]: tokens and roles, Host, Origin; the headers every answer has
//! - [`encrypt`]: the socket over TLS, and who certificates say is there
//! - [`audit`]: who asked for which change, and what came of it
//! - [`versions`]: changes that only take where nothing came between
//! - [`context`]: what is read, and who is told
//! - [`routes`], [`route`]: what can be asked, and who answers it
//! - [`openapi`]: the same for programs
//! - [`api`]: answers that have no file of their own
//! - [`request`], [`workbench`]: what every route needs: bodies, replies of others, work one at a time
//! - [`load`], [`heartbeat`]: load reports and heartbeats that are pushed
//! - [`status`], [`shares`]: everything at a glance
//! - [`resources`], [`records`], [`paging`]: zones, services, regions and their parts, page by page
//! - [`summary`], [`diagnosis`]: what of it is wrong
//! - [`wellbeing`]: the writer and the files of the state directory
//! - [`planning`]: what the planner knows and has done last
//! - [`probing`]: how well this machine can ask others
//! - [`node`]: whether this node should be announced, and what operators say of it
//! - [`cluster`], [`nodes`]: the other nodes, and what is wrong among them
//! - [`switch`], [`canary`]: another stage for a service, or another part of clients for its canary
//! - `what_if`: what would follow from changes, and the demand it is worked out from
//! - `flows`, `kept_flows`: where clients are and where they are sent, for a map
//! - `events`: what changed, and why
//! - [`live`], [`streams`], [`lasting`]: both as they come; [`frames`]: the same, as it arrives at the command line
//! - [`receivers`]: who is told of that elsewhere
//! - [`explain`]: one client's answer, also for the command line
//! - [`latency`]: round trips that were measured, and imports of them
//! - [`metrics`]: the same in Prometheus' text format
//! - [`page`]: the dashboard
//! - `note`: what is recorded of a request
//! - [`problem`]: what went wrong, as JSON
//! - [`client`]: the other end, for the command line

pub mod api;
mod audit;
pub mod canary;
pub mod client;
pub mod cluster;
mod context;
pub mod diagnosis;
pub mod encrypt;
mod events;
pub mod explain;
mod flows;
pub mod frames;
mod guard;
pub mod heartbeat;
mod kept_flows;
mod lasting;
pub mod latency;
mod live;
pub mod load;
pub mod metrics;
pub mod node;
pub mod nodes;
mod note;
mod openapi;
mod page;
pub mod paging;
mod places;
pub mod planning;
pub mod probing;
mod problem;
pub mod receivers;
pub mod records;
mod request;
pub mod resources;
mod route;
pub mod routes;
mod server;
mod shares;
pub mod status;
mod streams;
pub mod summary;
pub mod switch;
mod versions;
pub mod wellbeing;
mod what_if;
mod workbench;

use std::sync::Arc;

pub use context::Context;
use encrypt::{Encrypted, Encryption};
pub use guard::Access;
pub use places::Places;
pub use probing::Probing;

/// Serves until `shutdown` completes, over TLS where an encryption is given.
///
/// # Errors
/// The listener cannot be driven. A failing connection is its client's trouble, and logged.
pub async fn serve(
    listener: std::net::TcpListener,
    encryption: Option<Encryption>,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let (listener, places) = (tokio::net::TcpListener::from_std(listener)?, context.places.clone());
    let router = routes::router(context);
    match encryption {
        Some(encryption) => server::run(Encrypted { listener, encryption }, router, &places, shutdown).await,
        None => server::run(listener, router, &places, shutdown).await,
    }
}

/// The same on a socket of this machine, whose permissions say who may ask.
///
/// # Errors
/// As [`serve`].
pub async fn serve_here(
    listener: std::os::unix::net::UnixListener,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let (listener, places) = (tokio::net::UnixListener::from_std(listener)?, context.places.clone());
    server::run(listener, routes::router(context), &places, shutdown).await
}

/// This server's status as JSON: what `GET /v1/status` says.
pub fn status_json(context: &Context) -> Vec<u8> {
    let status = status::status(context, &shares::ShareCounts::default());
    serde_json::to_vec(&diagnosis::diagnosed(status, &context.events)).unwrap_or_default()
}
