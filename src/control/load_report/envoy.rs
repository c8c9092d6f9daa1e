//! Envoy's admin pages `/clusters` and `/stats`, each as text or with `?format=json`.
//!
//! Which of the four it is, the body shows:
//!
//! ```text
//! web::default_priority::max_requests::1024            /clusters
//! web::10.0.0.1:80::rq_active::5
//! cluster.web.upstream_rq_active: 5                    /stats
//! cluster.web.circuit_breakers.default.remaining_rq: 1019
//! ```

use serde_json::Value;

use crate::model::EnvoyField;

use super::{LoadError, LoadSample, figure, json};

const EXPECTED: &str = "Envoy's /clusters or /stats";

/// A circuit breaker's limit from here on is Envoy's way to say that there is none (2³²−1, less
/// what is in use).
const UNLIMITED: f64 = 4e9;

/// Reads the load of a cluster, and its circuit breaker's limit of it as the capacity.
///
/// `/clusters` has the limit; `/stats` has what remains of it, where `track_remaining` is set: then
/// both together are the limit. Where it is 2³²−1 or not there, the capacity is `None`.
pub(super) fn read(text: &str, cluster: &str, field: EnvoyField) -> Result<LoadSample, LoadError> {
    let names = Names::of(field);
    let body = text.trim_start();
    // Values may hold anything: what comes first in the first line tells the pages apart.
    let first = body.lines().next().unwrap_or_default();
    let EnvoyFigures { load, limit } = match (first.find("::"), first.find(": ")) {
        _ if first.starts_with('{') => in_json(body, cluster, &names)?,
        (Some(colons), space) if space.is_none_or(|space| colons < space) => in_clusters(body, cluster, &names)?,
        (_, Some(_)) => in_stats(stats_lines(body), cluster, &names)?,
        _ => return Err(figure::unreadable(EXPECTED, body)),
    };
    figure::sample((names.active, load), limit.filter(|&limit| limit < UNLIMITED).map(|limit| (names.limit, limit)))
}

struct EnvoyFigures {
    load: f64,
    limit: Option<f64>,
}

/// The names that Envoy gives a figure on its pages.
struct Names {
    active: &'static str,
    limit: &'static str,
    upstream: &'static str,
    remaining: &'static str,
}

impl Names {
    fn of(field: EnvoyField) -> Names {
        match field {
            EnvoyField::Requests => Names {
                active: "rq_active",
                limit: "max_requests",
                upstream: "upstream_rq_active",
                remaining: "circuit_breakers.default.remaining_rq",
            },
            EnvoyField::Connections => Names {
                active: "cx_active",
                limit: "max_connections",
                upstream: "upstream_cx_active",
                remaining: "circuit_breakers.default.remaining_cx",
            },
        }
    }
}

/// `/clusters` as text: `CLUSTER::HOST::NAME::VALUE`, and more.
fn in_clusters(text: &str, cluster: &str, names: &Names) -> Result<EnvoyFigures, LoadError> {
    let (mut load, mut limit, mut known) = (None, None, false);
    let lines = text.lines().filter_map(|line| line.trim_end().strip_prefix(cluster)?.strip_prefix("::"));
    for line in lines {
        known = true;
        let mut parts = line.rsplitn(3, "::");
        let (Some(value), Some(name), Some(of)) = (parts.next(), parts.next(), parts.next()) else { continue };
        if name == names.active {
            *load.get_or_insert(0.0) += figure::amount(name, figure::number(name, value)?)?;
        } else if name == names.limit && of == "default_priority" {
            limit = Some(figure::number(name, value)?);
        }
    }
    if !known {
        let clusters = text.lines().filter_map(|line| line.split_once("::").map(|(name, _)| name));
        return Err(figure::no_such("cluster", cluster, clusters));
    }
    // A cluster without hosts is not idle: it has nowhere to go.
    Ok(EnvoyFigures { load: load.ok_or_else(|| LoadError::Missing(names.active.into()))?, limit })
}

/// `/stats`, from name and value of each statistic. Names have `_` where the cluster has `:`.
fn in_stats<'a>(
    stats: impl Iterator<Item = (&'a str, Result<f64, LoadError>)> + Clone,
    cluster: &str,
    names: &Names,
) -> Result<EnvoyFigures, LoadError> {
    let cluster_as_shown = cluster.replace(':', "_");
    let mut of = stats.clone().filter_map(|(name, value)| {
        let name = name.strip_prefix("cluster.")?.strip_prefix(cluster_as_shown.as_str())?.strip_prefix('.')?;
        Some((name, value))
    });
    let (mut load, mut remaining) = (None, None);
    for (name, value) in &mut of {
        if name == names.upstream {
            load = Some(value?);
        } else if name == names.remaining {
            remaining = Some(value?);
        }
    }
    let Some(load) = load else {
        let clusters = stats
            .filter_map(|(name, _)| name.strip_prefix("cluster.")?.strip_suffix(names.upstream)?.strip_suffix('.'));
        return Err(figure::no_such("cluster", cluster, clusters));
    };
    Ok(EnvoyFigures { load, limit: remaining.map(|remaining| load + remaining) })
}

fn stats_lines(text: &str) -> impl Iterator<Item = (&str, Result<f64, LoadError>)> + Clone {
    text.lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(": ")?;
        Some((name, figure::number(name, value)))
    })
}

fn in_json(body: &str, cluster: &str, names: &Names) -> Result<EnvoyFigures, LoadError> {
    let document = json::document(body.as_bytes())?;
    if document.get("stats").is_some_and(Value::is_array) {
        let stats = array(&document, "stats").iter();
        let stats = stats.filter_map(|stat| Some((stat.get("name")?.as_str()?, value(stat, "value"))));
        return in_stats(stats, cluster, names);
    }
    if !document.get("cluster_statuses").is_some_and(Value::is_array) {
        return Err(figure::unreadable(EXPECTED, body));
    }
    let clusters = array(&document, "cluster_statuses").iter();
    let mut named = clusters.filter_map(|status| Some((status.get("name")?.as_str()?, status)));
    match named.clone().find(|(name, _)| *name == cluster) {
        Some((_, status)) => in_cluster_status(status, names),
        None => Err(figure::no_such("cluster", cluster, named.by_ref().map(|(name, _)| name))),
    }
}

/// One element of `cluster_statuses`.
fn in_cluster_status(status: &Value, names: &Names) -> Result<EnvoyFigures, LoadError> {
    let mut load = None;
    for host in array(status, "host_statuses") {
        let mut stats = array(host, "stats").iter();
        let Some(stat) = stats.find(|stat| stat.get("name").is_some_and(|name| name == names.active)) else { continue };
        *load.get_or_insert(0.0) += figure::amount(names.active, value(stat, "value")?)?;
    }
    // Protobuf's JSON leaves out what is the default, and the default priority is.
    let thresholds = array(status.get("circuit_breakers").unwrap_or(&Value::Null), "thresholds");
    let is_default = |threshold: &&Value| threshold.get("priority").is_none_or(|priority| priority == "DEFAULT");
    let limit = thresholds.iter().find(is_default).map(|threshold| value(threshold, names.limit)).transpose()?;
    Ok(EnvoyFigures { load: load.ok_or_else(|| LoadError::Missing(names.active.into()))?, limit })
}

/// The array under a key; empty where there is none.
fn array<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A number in protobuf's JSON: 64 bits stand in quotes, and 0 is left out.
fn value(object: &Value, key: &str) -> Result<f64, LoadError> {
    match object.get(key) {
        None => Ok(0.0),
        Some(Value::String(text)) => figure::number(key, text),
        Some(_) => json::number(object, &format!("/{key}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EnvoyField::{Connections, Requests};
    use proptest::prelude::*;

    const CLUSTERS: &str = "\
web::observability_name::web
web::default_priority::max_connections::1024
web::default_priority::max_pending_requests::1024
web::default_priority::max_requests::2000
web::default_priority::max_retries::3
web::high_priority::max_connections::7
web::high_priority::max_requests::9
web::added_via_api::false
web::10.0.0.1:80::cx_active::3
web::10.0.0.1:80::rq_active::11
web::10.0.0.1:80::rq_total::99999
web::10.0.0.1:80::health_flags::healthy
web::[2001:db8::1]:80::cx_active::4
web::[2001:db8::1]:80::rq_active::6
webhooks::default_priority::max_requests::5
webhooks::10.0.0.9:80::rq_active::500
wide::default_priority::max_requests::4294967295
wide::10.0.0.9:80::rq_active::1
empty::default_priority::max_requests::5
";

    const CLUSTERS_JSON: &str = r#"{"cluster_statuses": [
        {"name": "webhooks", "host_statuses": [{"stats": [{"name": "rq_active", "type": "GAUGE", "value": "500"}]}]},
        {"name": "web", "added_via_api": true,
         "circuit_breakers": {"thresholds": [
            {"priority": "HIGH", "max_connections": 7, "max_requests": 9},
            {"max_connections": 1024, "max_pending_requests": 1024, "max_requests": 2000, "max_retries": 3}]},
         "host_statuses": [
            {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}},
             "stats": [{"name": "cx_active", "type": "GAUGE", "value": "3"}, {"name": "rq_total", "value": "9999"},
                       {"name": "rq_active", "type": "GAUGE", "value": "17"}], "weight": 1},
            {"stats": [{"name": "cx_active", "type": "GAUGE", "value": "4"}, {"name": "rq_active", "type": "GAUGE"}]}]}]}"#;

    const STATS: &str = "\
cluster.web.circuit_breakers.default.remaining_cx: 1017
cluster.web.circuit_breakers.default.remaining_rq: 1983
cluster.web.circuit_breakers.high.remaining_rq: 1
cluster.web.upstream_cx_active: 7
cluster.web.upstream_rq_active: 17
cluster.web.upstream_rq_total: 99999
cluster.webhooks.upstream_rq_active: 500
cluster.in_bound.upstream_rq_active: 2
cluster.web.upstream_cx_connect_ms: P0(nan,0) P25(nan,0) P50(nan,0)
";

    const STATS_JSON: &str = r#"{"stats": [
        {"name": "cluster.web.upstream_rq_active", "value": 17},
        {"name": "cluster.web.circuit_breakers.default.remaining_rq", "value": 1983},
        {"name": "cluster.web.upstream_cx_active", "value": 7},
        {"name": "cluster.web.circuit_breakers.default.remaining_cx", "value": 1017},
        {"histograms": {"supported_quantiles": [0], "computed_quantiles": []}}]}"#;

    fn of(text: &str, cluster: &str, field: EnvoyField) -> Result<(f64, Option<f64>), LoadError> {
        read(text, cluster, field).map(|sample| (sample.load, sample.capacity))
    }

    #[test]
    fn all_four_pages_say_the_same() {
        for page in [CLUSTERS, CLUSTERS_JSON, STATS, STATS_JSON] {
            assert_eq!(of(page, "web", Requests), Ok((17.0, Some(2000.0))), "{page}");
            assert_eq!(of(page, "web", Connections), Ok((7.0, Some(1024.0))), "{page}");
        }
    }

    #[test]
    fn a_breaker_that_limits_nothing_is_no_capacity() {
        assert_eq!(of(CLUSTERS, "wide", Requests), Ok((1.0, None)));
        assert_eq!(of(STATS, "webhooks", Requests), Ok((500.0, None)));
        let unlimited = STATS.replace(": 1983", ": 4294967278");
        assert_eq!(of(&unlimited, "web", Requests), Ok((17.0, None)));
        assert_eq!(of(CLUSTERS_JSON, "webhooks", Requests), Ok((500.0, None)));
    }

    #[test]
    fn names_have_no_colons_in_statistics_and_values_may() {
        assert_eq!(of(STATS, "in:bound", Requests), Ok((2.0, None)));
        let with_text = format!("control_plane.identifier: \"a::b\"\n{STATS}");
        assert_eq!(of(&with_text, "in:bound", Requests), Ok((2.0, None)));
    }

    #[test]
    fn a_cluster_that_is_not_there_is_an_error_that_names_the_nearest() {
        for page in [CLUSTERS, CLUSTERS_JSON, STATS, STATS_JSON] {
            let error = of(page, "wep", Requests).expect_err("not there").to_string();
            assert!(error.starts_with("no cluster `wep` in the report; there are: web"), "{error}");
        }
    }

    #[test]
    fn a_cluster_without_hosts_is_not_idle() {
        assert_eq!(of(CLUSTERS, "empty", Requests), Err(LoadError::Missing("rq_active".into())));
        let none = r#"{"cluster_statuses": [{"name": "web"}]}"#;
        assert_eq!(of(none, "web", Requests), Err(LoadError::Missing("rq_active".into())));
    }

    #[test]
    fn what_is_something_else_is_refused() {
        for text in ["", "OK", "{}", "[]", "{", "{\"stats\": 5}", "<html>"] {
            assert!(matches!(of(text, "web", Requests), Err(LoadError::Unreadable { .. })), "{text}");
        }
    }

    #[test]
    fn a_lying_feed_is_refused() {
        for lie in ["-1", "NaN", "1e16", "inf", "many"] {
            assert!(of(&CLUSTERS.replace("rq_active::6", &format!("rq_active::{lie}")), "web", Requests).is_err());
            assert!(of(&STATS.replace(": 17", &format!(": {lie}")), "web", Requests).is_err());
            assert!(of(&CLUSTERS_JSON.replace("\"17\"", &format!("\"{lie}\"")), "web", Requests).is_err());
        }
        assert!(matches!(of(&CLUSTERS.replace("::2000", "::0"), "web", Requests), Err(LoadError::Absurd { .. })));
    }

    proptest! {
        #[test]
        fn any_text_gives_a_true_sample_or_an_error(text in "((web::|cluster.web.|\\{)[ -~]{0,20}\n){0,8}") {
            if let Ok(sample) = read(&text, "web", Requests) {
                prop_assert!(sample.load >= 0.0 && sample.capacity.is_none_or(|capacity| capacity > 0.0));
            }
        }
    }
}
