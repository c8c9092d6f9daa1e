//! `GET /v1/nodes` and `GET /v1/nodes/status`: the cluster as this node knows it, and by each node's own word.
//!
//! For the latter all other nodes are asked at once, and those that do not answer are named.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::cluster::handle::{ClusterHandle, StatusOf};
use crate::control::cluster::status::ClusterStatus;

use super::diagnosis::diagnosed;
use super::problem::Problem;
use super::request::{Api, Shared, WRITER};
use super::status::{self, Status};

/// The own statuses of all nodes. Also what the client reads.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NodeStatuses {
    pub cluster: String,
    /// This node first, then the others by name.
    pub nodes: Vec<OneStatus>,
}

/// A node's own status.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OneStatus {
    pub node: String,
    /// [`super::status::Status`] as JSON; `None`: it did not come.
    pub status: Option<Value>,
    /// Why not.
    pub error: Option<String>,
}

pub(super) async fn get_nodes(State(api): Shared) -> Result<Json<ClusterStatus>, Problem> {
    within(of(&api)?.sights()).await.map(Json)
}

pub(super) async fn get_statuses(State(api): Shared) -> Result<Json<NodeStatuses>, Problem> {
    let handle = of(&api)?;
    let (own, others) = tokio::join!(whole_status(&api), within(handle.statuses()));
    let internal = |error: serde_json::Error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let own = serde_json::to_value(own?).map_err(internal)?;
    let ClusterStatus { cluster, node, .. } = &*handle.status();
    let mut nodes = vec![OneStatus { node: node.clone(), status: Some(own), error: None }];
    nodes.extend(others?.into_iter().map(OneStatus::of));
    Ok(Json(NodeStatuses { cluster: cluster.clone(), nodes }))
}

fn of(api: &Api) -> Result<&ClusterHandle, Problem> {
    let none = "this server is of no cluster: its configuration has no `[cluster]`";
    api.context.cluster.as_ref().ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, none))
}

async fn within<T>(asked: impl Future<Output = Option<T>>) -> Result<T, Problem> {
    match tokio::time::timeout(WRITER, asked).await {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(Problem::unavailable("the server is stopping")),
        Err(_) => Err(Problem::unavailable(format!("not known within {} s: ask again later", WRITER.as_secs()))),
    }
}

impl OneStatus {
    fn of(StatusOf { node, status }: StatusOf) -> OneStatus {
        let read = |octets: Vec<u8>| serde_json::from_slice(&octets).map_err(|_| "what it says is no JSON".to_owned());
        match status.and_then(read) {
            Ok(status) => OneStatus { node, status: Some(status), error: None },
            Err(error) => OneStatus { node, status: None, error: Some(error) },
        }
    }
}

/// Counting shares takes milliseconds with a large atlas: not on a thread that serves sockets.
pub(super) async fn whole_status(api: &Arc<Api>) -> Result<Status, Problem> {
    let api = api.clone();
    let status = tokio::task::spawn_blocking(move || {
        let status = status::status(&api.context, &api.counts);
        diagnosed(status, &api.context.events)
    })
    .await;
    status.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
