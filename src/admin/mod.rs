//! stub
use crate::control::reload::{LoadStatus, ReloadRequest};
use crate::control::writer::Command;
use crate::query::counters::CounterSet;
use crate::state::Shared;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// What the admin API reads, and whom it tells.
pub struct Context {
    pub shared: Shared,
    pub counters: Arc<CounterSet>,
    pub commands: mpsc::Sender<Command>,
    pub reloads: mpsc::Sender<ReloadRequest>,
    pub load_status: Arc<ArcSwap<LoadStatus>>,
    pub started: Instant,
    /// What callers must present as `Authorization: Bearer`; `None` on loopback without a token.
    pub token: Option<String>,
}

/// Serves until `shutdown` completes.
pub async fn serve(
    _listener: std::net::TcpListener,
    _context: Context,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    shutdown.await;
    Ok(())
}
