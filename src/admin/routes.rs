//! All routes: the list that the router, the help and the OpenAPI document are made of.

use std::sync::{Arc, LazyLock};

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Router, middleware};

use crate::control::audit::FoundEntries;
use crate::control::cluster::status::ClusterStatus;
use crate::control::events::history::FoundEvents;
use crate::control::load_report::PushedLoad;
use crate::control::reload::Reloaded;
use crate::control::rum::Imported;
use crate::control::what_if::Change;
use crate::control::what_if::flows::Flows;
use crate::control::what_if::outcome::Outcome;
use crate::control::what_if::placed::Placed;

use super::api::{self, ExplainQuery, ImportQuery, OverrideBody, OverrideReply, Ready, ReloadBody};
use super::audit::{AuditQuery, Terms, get_audit, permit};
use super::context::Context;
use super::events::{EventQuery, get_events};
use super::explain::ExplainReport;
use super::flows::{FlowQuery, get_flows};
use super::guard::{ALIVE, PAGE, READY, guard};
use super::heartbeat::{HeartbeatBody, HeartbeatTaken};
use super::latency::{LatencyReport, Wanted};
use super::live::get_live;
use super::load::LoadTaken;
use super::node::{NoBody, NodeSaid, NodeStatus, get_node_ready, post_drain, post_resume};
use super::nodes::{NodeStatuses, get_nodes, get_statuses};
use super::openapi::document;
use super::page;
use super::paging::Page;
use super::problem::Problem;
use super::request::Api;
use super::resources::{self as of, CheckRow, EndpointRow, OverrideRow, Plans, RegionDetail, ServiceDetail, ZoneRow};
use super::route::Route;
use super::status::Status;
use super::switch::{
    RollbackBody, RolledBack, ShiftBody, Shifted, SwitchBody, Switched, post_canary, post_rollback, post_switch,
};
use super::what_if::{get_demand, post_what_if};

/// All routes, behind the guard.
pub fn router(context: Arc<Context>) -> Router {
    let access = context.access.clone();
    let api = Arc::new(Api::new(context));
    let permitted = |route: Route| {
        let terms = Terms { api: api.clone(), role: route.role, changes: route.changes };
        (route.path, route.handler.route_layer(middleware::from_fn_with_state(terms, permit)))
    };
    all()
        .into_iter()
        .map(permitted)
        .fold(Router::new(), |router, (path, handler)| router.route(path, handler))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing here").details(usages()) })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "that cannot be done here").details(usages())
        })
        .layer(middleware::from_fn_with_state(access, guard))
        .with_state(api)
}

/// One line for each.
fn usages() -> Vec<String> {
    all().iter().map(|route| format!("{} {}", route.method, route.usage)).collect()
}

/// In the order in which help shows them.
pub fn all() -> Vec<Route> {
    [overview(), resources(), steering(), words(), measured(), nodes(), upkeep()].into_iter().flatten().collect()
}

fn overview() -> Vec<Route> {
    vec![
        Route::get(PAGE, "The dashboard.", page::page).says_text(StatusCode::OK, &["text/html"]),
        Route::get(page::FILE_ROUTE, "A file of the dashboard.", page::file)
            .says_text(StatusCode::OK, &["text/css", "text/javascript", "application/json", "text/plain"]),
        Route::get("/v1/openapi.json", "This document.", get_openapi).says::<serde_json::Value>(),
        Route::get("/v1/status", "Everything at a glance.", api::get_status).says::<Status>(),
        Route::get("/v1/events", "What changed, and why.", get_events)
            .usage("/v1/events[?since=SECONDS or TIME][&region=NAME][&after=ID][&limit=COUNT]")
            .query::<EventQuery>()
            .says::<FoundEvents>(),
        Route::get("/v1/live", "The status and events as they come, as server-sent events.", get_live)
            .says_text(StatusCode::OK, &["text/event-stream"]),
        Route::get("/v1/audit", "Changes that were asked for, and what came of them.", get_audit)
            .usage("/v1/audit[?after=ID][&limit=COUNT]")
            .query::<AuditQuery>()
            .says::<FoundEntries>(),
    ]
}

fn resources() -> Vec<Route> {
    vec![
        Route::get("/v1/zones", "All zones.", of::get_zones).paged().says::<Page<ZoneRow>>(),
        Route::get("/v1/zones/{origin}", "A zone with its records.", of::get_zone).paged().says::<of::ZoneDetail>(),
        Route::get("/v1/services", "All services.", of::get_services).paged().says::<Page<ServiceDetail>>(),
        Route::get("/v1/services/{name}", "A service.", of::get_service).says::<ServiceDetail>(),
        Route::get("/v1/regions", "All regions.", of::get_regions).paged().says::<Page<RegionDetail>>(),
        Route::get("/v1/regions/{name}", "A region.", of::get_region).says::<RegionDetail>(),
        Route::get("/v1/endpoints", "All endpoints.", of::get_endpoints).paged().says::<Page<EndpointRow>>(),
        Route::get("/v1/checks", "All checks.", of::get_checks).paged().says::<Page<CheckRow>>(),
        Route::get("/v1/overrides", "All overrides that hold.", of::get_overrides).paged().says::<Page<OverrideRow>>(),
        Route::get("/v1/plans", "The plan in force.", of::get_plans).paged().says::<Plans>(),
    ]
}

fn steering() -> Vec<Route> {
    vec![
        Route::get("/v1/explain", "What a client gets for a name, and why.", api::get_explain)
            .usage("/v1/explain?name=NAME&client=ADDRESS[&type=TYPE][&by=ecs|source]")
            .query::<ExplainQuery>()
            .says::<ExplainReport>(),
        Route::get("/v1/demand", "Who is where now, and how much.", get_demand).says::<Placed>(),
        Route::get("/v1/flows", "Where clients are and where they are sent, for a map.", get_flows)
            .usage("/v1/flows[?service=NAME]")
            .query::<FlowQuery>()
            .says::<Flows>(),
        Route::post("/v1/what-if", "What would follow from a change. Nothing is changed.", post_what_if)
            .usage(
                "/v1/what-if {[\"kill\": [NAME]][, \"drain\": [NAME]][, \"up\": [NAME]][, \"capacity\": {NAME: 5000}][, \"demand\": 1.5][, \"switch\": {SERVICE: STAGE}][, \"canary\": {SERVICE: 0.25}]}",
            )
            .takes::<Change>()
            .says::<Outcome>(),
    ]
}

fn words() -> Vec<Route> {
    vec![
        Route::post("/v1/regions/{name}/override", "Says something of a region, whatever its probes say.", api::post_override)
            .usage("/v1/regions/NAME/override {\"override\": \"up|down|drain|auto\"}")
            .changes()
            .takes::<OverrideBody>()
            .says::<OverrideReply>(),
        Route::post("/v1/services/{name}/switch", "Switches a service to another of its stages.", post_switch)
            .usage("/v1/services/NAME/switch {\"stage\": \"STAGE\"} or {\"rollback\": true} or {\"file\": true}")
            .changes()
            .takes::<SwitchBody>()
            .says::<Switched>(),
        Route::post("/v1/services/{name}/canary", "Shifts a service's canary to a part of clients.", post_canary)
            .usage("/v1/services/NAME/canary {\"share\": 0.25[, \"note\": TEXT][, \"for_s\": 3600]} or {\"file\": true}")
            .changes()
            .takes::<ShiftBody>()
            .says::<Shifted>(),
        Route::post("/v1/services/{name}/rollback", "Takes back the last switch or shift of a service.", post_rollback)
            .usage("/v1/services/NAME/rollback [{\"force\": true}]")
            .changes()
            .may_take::<Option<RollbackBody>>()
            .says::<RolledBack>(),
        Route::post("/v1/regions/{name}/load", "Reports a region's load.", api::post_load)
            .usage(
                "/v1/regions/NAME/load {\"load\": 120[, \"capacity\": 200][, \"at\": \"2026-11-21T04:30:00Z\" | \"age_s\": 1.5]}",
            )
            .takes::<PushedLoad>()
            .says::<LoadTaken>(),
        Route::post("/v1/regions/{name}/heartbeat", "A heartbeat of a region's endpoints.", api::post_heartbeat)
            .usage(
                "/v1/regions/NAME/heartbeat [{[\"endpoint\": \"192.0.2.1\"][, \"healthy\": false][, \"message\": \"disk full\"]}]",
            )
            .may_take::<Option<HeartbeatBody>>()
            .says::<HeartbeatTaken>(),
    ]
}

fn measured() -> Vec<Route> {
    vec![
        Route::get("/v1/latency", "Round trips that were measured.", api::get_latency)
            .usage("/v1/latency[?region=NAME][&network=NETWORK][&country=CODE][&limit=COUNT]")
            .query::<Wanted>()
            .says::<LatencyReport>(),
        Route::post("/v1/latency", "Imports a table of round trips.", api::post_latency)
            .usage("/v1/latency[?replace=true] (a table as text/csv or application/json)")
            .query::<ImportQuery>()
            .by_admins()
            .takes_text(&["text/csv", "application/json"])
            .says::<Imported>(),
    ]
}

fn nodes() -> Vec<Route> {
    vec![
        Route::get("/v1/nodes", "The cluster, as this node knows it.", get_nodes).says::<ClusterStatus>(),
        Route::get("/v1/nodes/status", "All nodes' own statuses.", get_statuses).says::<NodeStatuses>(),
        Route::post("/v1/node/drain", "Takes this node out of what routers announce.", post_drain)
            .changes()
            .may_take::<Option<NoBody>>()
            .says::<NodeSaid>(),
        Route::post("/v1/node/resume", "Ends that.", post_resume)
            .changes()
            .may_take::<Option<NoBody>>()
            .says::<NodeSaid>(),
    ]
}

fn upkeep() -> Vec<Route> {
    const TEXT: &[&str] = &["text/plain"];
    vec![
        Route::post("/v1/reload", "Loads everything afresh.", api::post_reload)
            .usage("/v1/reload [{\"force\": true}]")
            .by_admins()
            .may_take::<Option<ReloadBody>>()
            .says::<Reloaded>(),
        Route::get("/metrics", "Metrics.", api::get_metrics)
            .says_text(StatusCode::OK, &["application/openmetrics-text"]),
        Route::get(ALIVE, "Says that the process lives.", || async { "alive\n" }).says_text(StatusCode::OK, TEXT),
        Route::get("/readyz", "Says whether the writer lives.", api::get_ready)
            .says::<Ready>()
            .also_says::<Ready>(StatusCode::SERVICE_UNAVAILABLE),
        Route::get(READY, "Says whether routers should send clients to this node.", get_node_ready)
            .says::<NodeStatus>()
            .says_text(StatusCode::OK, TEXT)
            .also_says::<NodeStatus>(StatusCode::SERVICE_UNAVAILABLE)
            .says_text(StatusCode::SERVICE_UNAVAILABLE, TEXT),
    ]
}

/// Made once: it never changes while the server runs.
async fn get_openapi() -> impl IntoResponse {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| document(&all()).to_string());
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// All references in a document.
    fn references(of: &Value, found: &mut BTreeSet<String>) {
        match of {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_route_is_in_the_document_and_nothing_else() {
        let document = document(&all());
        let paths = document["paths"].as_object().expect("paths");
        let methods = |item: &Value| item.as_object().expect("an item").len();
        assert_eq!(paths.values().map(methods).sum::<usize>(), all().len());
        let mut ids = BTreeSet::new();
        for route in all() {
            let operation = &paths[route.path][route.method.as_str().to_ascii_lowercase()];
            assert!(ids.insert(operation["operationId"].to_string()), "twice: {operation}");
            let said = operation["responses"].as_object().expect("responses");
            assert!(said.contains_key("200") && said.contains_key("default"), "{}: {operation}", route.path);
            let braces = route.path.matches('{').count();
            let in_path = operation["parameters"].as_array().into_iter().flatten().filter(|of| of["in"] == "path");
            assert_eq!(in_path.count(), braces, "{}", route.path);
            assert_eq!(
                operation["requestBody"].is_object(),
                route.method == axum::http::Method::POST,
                "{}",
                route.path
            );
        }
    }

    #[test]
    fn what_the_document_refers_to_is_in_it_under_names_that_may_be() {
        let document = document(&all());
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        let fits = |name: &String| name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        let unfit: Vec<_> = schemas.keys().filter(|name| !fits(name)).collect();
        assert!(unfit.is_empty(), "OpenAPI 3.1 section 4.8.7 lets names have no other characters: {unfit:?}");
        // Two types of one name would be numbered.
        let numbered: Vec<_> = schemas.keys().filter(|name| name.ends_with(|c: char| c.is_ascii_digit())).collect();
        assert!(numbered.is_empty(), "{numbered:?}");
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 50, "{found:?}");
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").expect("one of its own");
            assert!(schemas.contains_key(name), "{name}");
        }
    }
}
