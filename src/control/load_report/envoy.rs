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

use super::health::{Errors, HealthSample};
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
    let EnvoyFigures { load, limit } = match Page::of(body)? {
        Page::Json => in_json(body, cluster, &names)?,
        Page::Clusters => in_clusters(body, cluster, &names)?,
        Page::Stats => in_stats(stats_lines(body), cluster, &names)?,
    };
    figure::sample((names.active, load), limit.filter(|&limit| limit < UNLIMITED).map(|limit| (names.limit, limit)))
}

/// Reads which of a cluster's hosts are up, and its answers so far.
///
/// A host is up unless a check, outlier detection or the control plane took it out; `/stats` counts those as
/// `membership_healthy` and `membership_degraded`. Without one host that is up, the cluster is down: Envoy has no other
/// word for it. Fails as [`read`] does.
pub(super) fn health(text: &str, cluster: &str) -> Result<HealthSample, LoadError> {
    let body = text.trim_start();
    match Page::of(body)? {
        Page::Clusters => health_in_clusters(body, cluster),
        Page::Stats => health_in_stats(stats_lines(body), cluster),
        Page::Json => {
            let document = json::document(body.as_bytes())?;
            match json_stats(&document) {
                Some(stats) => health_in_stats(stats, cluster),
                None => health_in_status(cluster_status(&document, body, cluster)?),
            }
        }
    }
}

enum Page {
    Json,
    Clusters,
    Stats,
}

impl Page {
    fn of(body: &str) -> Result<Page, LoadError> {
        // Values may hold anything: what comes first in the first line tells the pages apart.
        let first = body.lines().next().unwrap_or_default();
        match (first.find("::"), first.find(": ")) {
            _ if first.starts_with('{') => Ok(Page::Json),
            (Some(colons), space) if space.is_none_or(|space| colons < space) => Ok(Page::Clusters),
            (_, Some(_)) => Ok(Page::Stats),
            _ => Err(figure::unreadable(EXPECTED, body)),
        }
    }
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
    for line in lines_of(text, cluster) {
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
        return Err(no_cluster(text, cluster));
    }
    // A cluster without hosts is not idle: it has nowhere to go.
    Ok(EnvoyFigures { load: load.ok_or_else(|| LoadError::Missing(names.active.into()))?, limit })
}

fn lines_of<'t>(text: &'t str, cluster: &'t str) -> impl Iterator<Item = &'t str> {
    text.lines().filter_map(move |line| line.trim_end().strip_prefix(cluster)?.strip_prefix("::"))
}

fn no_cluster(text: &str, cluster: &str) -> LoadError {
    figure::no_such("cluster", cluster, text.lines().filter_map(|line| line.split_once("::").map(|(name, _)| name)))
}

fn health_in_clusters(text: &str, cluster: &str) -> Result<HealthSample, LoadError> {
    let (mut up, mut counts, mut known) = (Vec::new(), Counts::default(), false);
    for line in lines_of(text, cluster) {
        known = true;
        let mut parts = line.rsplitn(3, "::");
        let (Some(value), Some(name), Some(_)) = (parts.next(), parts.next(), parts.next()) else { continue };
        match name {
            // `healthy`, or a list such as `/failed_active_hc/active_hc_timeout`.
            "health_flags" => up.push(!value.split('/').any(|flag| OUT_FLAGS.contains(&flag))),
            "rq_success" | "rq_error" => counts.add(name, figure::number(name, value)?)?,
            _ => {}
        }
    }
    if known { Ok(of_hosts(up, counts)) } else { Err(no_cluster(text, cluster)) }
}

/// The reasons why Envoy sends a host nothing while it has others.
const OUT_FLAGS: [&str; 5] =
    ["failed_active_hc", "failed_outlier_check", "failed_eds_health", "pending_active_hc", "eds_status_draining"];

/// Answers of a cluster's hosts, added up. Where a host leaves, the sums fall: then they began anew.
#[derive(Default)]
struct Counts {
    errors: Option<f64>,
    others: f64,
}

impl Counts {
    fn add(&mut self, name: &str, count: f64) -> Result<(), LoadError> {
        let count = figure::amount(name, count)?;
        match name {
            "rq_error" => *self.errors.get_or_insert(0.0) += count,
            _ => self.others += count,
        }
        Ok(())
    }
}

fn of_hosts(up: Vec<bool>, counts: Counts) -> HealthSample {
    let errors = match counts.errors {
        Some(errors) => Errors::Counts { errors, answers: errors + counts.others },
        None => Errors::Unknown,
    };
    HealthSample { errors, down: !up.contains(&true), ..HealthSample::of_servers(up) }
}

fn health_in_status(status: &Value) -> Result<HealthSample, LoadError> {
    let (mut up, mut counts) = (Vec::new(), Counts::default());
    for host in array(status, "host_statuses") {
        let health = host.get("health_status").unwrap_or(&Value::Null);
        let is = |key: &str| health.get(key).and_then(Value::as_bool).unwrap_or(false);
        let by_plane = health.get("eds_health_status").and_then(Value::as_str);
        let out = is("failed_active_health_check") || is("failed_outlier_check") || is("pending_active_hc");
        up.push(!out && !matches!(by_plane, Some("UNHEALTHY" | "DRAINING" | "TIMEOUT")));
        for stat in array(host, "stats") {
            if let Some(name @ ("rq_success" | "rq_error")) = stat.get("name").and_then(Value::as_str) {
                counts.add(name, value(stat, "value")?)?;
            }
        }
    }
    Ok(of_hosts(up, counts))
}

fn health_in_stats<'a>(
    stats: impl Iterator<Item = (&'a str, Result<f64, LoadError>)> + Clone,
    cluster: &str,
) -> Result<HealthSample, LoadError> {
    const NAMES: [&str; 6] = [
        "membership_healthy",
        "membership_degraded",
        "membership_total",
        "membership_excluded",
        "upstream_rq_5xx",
        "upstream_rq_completed",
    ];
    let mut found = [None; NAMES.len()];
    for (name, value) in of_cluster(stats.clone(), &cluster.replace(':', "_")) {
        if let Some(index) = NAMES.iter().position(|known| *known == name) {
            found[index] = Some(figure::amount(name, value?)?);
        }
    }
    let [healthy, degraded, total, excluded, errors, answers] = found;
    if healthy.is_none() && answers.is_none() {
        let clusters = stats.filter_map(|(name, _)| {
            name.strip_prefix("cluster.")?.strip_suffix("membership_healthy")?.strip_suffix('.')
        });
        return Err(figure::no_such("cluster", cluster, clusters));
    }
    let up = healthy.map(|healthy| healthy + degraded.unwrap_or(0.0));
    let all = total.map(|total| total - excluded.unwrap_or(0.0));
    let counted = |(up, all): (f64, f64)| (all >= 1.0).then(|| (up.min(all) as u32, all as u32));
    // Statistics of codes are there from the first such answer on.
    let errors = answers.map_or(Errors::Unknown, |answers| Errors::Counts { errors: errors.unwrap_or(0.0), answers });
    Ok(HealthSample { servers: up.zip(all).and_then(counted), errors, down: up == Some(0.0), up: None })
}

/// `/stats`, from name and value of each statistic. Names have `_` where the cluster has `:`.
fn in_stats<'a>(
    stats: impl Iterator<Item = (&'a str, Result<f64, LoadError>)> + Clone,
    cluster: &str,
    names: &Names,
) -> Result<EnvoyFigures, LoadError> {
    let (mut load, mut remaining) = (None, None);
    for (name, value) in of_cluster(stats.clone(), &cluster.replace(':', "_")) {
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

/// The statistics of one cluster, by what follows its name as it is shown.
fn of_cluster<'a, T>(stats: impl Iterator<Item = (&'a str, T)>, as_shown: &str) -> impl Iterator<Item = (&'a str, T)> {
    stats.filter_map(move |(name, value)| {
        Some((name.strip_prefix("cluster.")?.strip_prefix(as_shown)?.strip_prefix('.')?, value))
    })
}

fn stats_lines(text: &str) -> impl Iterator<Item = (&str, Result<f64, LoadError>)> + Clone {
    text.lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(": ")?;
        Some((name, figure::number(name, value)))
    })
}

fn in_json(body: &str, cluster: &str, names: &Names) -> Result<EnvoyFigures, LoadError> {
    let document = json::document(body.as_bytes())?;
    match json_stats(&document) {
        Some(stats) => in_stats(stats, cluster, names),
        None => in_cluster_status(cluster_status(&document, body, cluster)?, names),
    }
}

/// `None`: it is no page of statistics.
fn json_stats(document: &Value) -> Option<impl Iterator<Item = (&str, Result<f64, LoadError>)> + Clone> {
    let stats = document.get("stats")?.as_array()?.iter();
    Some(stats.filter_map(|stat| Some((stat.get("name")?.as_str()?, value(stat, "value")))))
}

/// The element of `cluster_statuses` that is about this cluster.
fn cluster_status<'d>(document: &'d Value, body: &str, cluster: &str) -> Result<&'d Value, LoadError> {
    if !document.get("cluster_statuses").is_some_and(Value::is_array) {
        return Err(figure::unreadable(EXPECTED, body));
    }
    let clusters = array(document, "cluster_statuses").iter();
    let mut named = clusters.filter_map(|status| Some((status.get("name")?.as_str()?, status)));
    match named.clone().find(|(name, _)| *name == cluster) {
        Some((_, status)) => Ok(status),
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

    const CLUSTERS_HEALTH: &str = "\
web::default_priority::max_requests::2000
web::10.0.0.1:80::rq_error::30
web::10.0.0.1:80::rq_success::170
web::10.0.0.1:80::health_flags::healthy
web::10.0.0.2:80::rq_error::10
web::10.0.0.2:80::rq_success::90
web::10.0.0.2:80::health_flags::/failed_active_hc/active_hc_timeout
web::[2001:db8::1]:80::health_flags::/degraded_active_hc
gone::10.0.0.3:80::health_flags::/failed_outlier_check
none::default_priority::max_requests::5
";

    const CLUSTERS_JSON_HEALTH: &str = r#"{"cluster_statuses": [{"name": "web", "host_statuses": [
        {"stats": [{"name": "rq_error", "value": "30"}, {"name": "rq_success", "value": "170"}],
         "health_status": {"eds_health_status": "HEALTHY"}},
        {"stats": [{"name": "rq_error", "value": "10"}, {"name": "rq_success", "value": "90"}],
         "health_status": {"failed_active_health_check": true, "eds_health_status": "HEALTHY"}},
        {"health_status": {"eds_health_status": "DEGRADED"}}]},
        {"name": "gone", "host_statuses": [{"health_status": {"failed_outlier_check": true}}]},
        {"name": "none"}]}"#;

    const STATS_HEALTH: &str = "\
cluster.web.membership_degraded: 1
cluster.web.membership_excluded: 0
cluster.web.membership_healthy: 1
cluster.web.membership_total: 3
cluster.web.upstream_rq_5xx: 40
cluster.web.upstream_rq_completed: 300
cluster.gone.membership_healthy: 0
cluster.gone.membership_total: 1
cluster.none.membership_healthy: 0
cluster.none.membership_total: 0
cluster.calm.membership_healthy: 1
cluster.calm.membership_total: 1
cluster.calm.upstream_rq_completed: 5
";

    #[test]
    fn all_pages_say_the_same_of_health() {
        for page in [CLUSTERS_HEALTH, CLUSTERS_JSON_HEALTH, STATS_HEALTH] {
            let errors = Errors::Counts { errors: 40.0, answers: 300.0 };
            let web = HealthSample { servers: Some((2, 3)), errors, ..HealthSample::default() };
            assert_eq!(health(page, "web"), Ok(web), "{page}");
            assert_eq!(health(page, "gone").map(|gone| (gone.servers, gone.down)), Ok((Some((0, 1)), true)), "{page}");
            assert_eq!(health(page, "none").map(|none| (none.servers, none.down)), Ok((None, true)), "{page}");
            let error = health(page, "wep").expect_err("not there").to_string();
            assert!(error.starts_with("no cluster `wep` in the report; there are: web"), "{error}");
        }
        let calm = health(STATS_HEALTH, "calm").map(|calm| calm.errors);
        assert_eq!(calm, Ok(Errors::Counts { errors: 0.0, answers: 5.0 }), "no 5xx yet");
        assert!(matches!(health("<html>", "web"), Err(LoadError::Unreadable { .. })));
        for lie in ["-1", "NaN", "1e16", "many"] {
            assert!(health(&CLUSTERS_HEALTH.replace("rq_error::30", &format!("rq_error::{lie}")), "web").is_err());
            assert!(health(&STATS_HEALTH.replace("total: 3", &format!("total: {lie}")), "web").is_err(), "{lie}");
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
            let _ = health(&text, "web");
            if let Ok(sample) = read(&text, "web", Requests) {
                prop_assert!(sample.load >= 0.0 && sample.capacity.is_none_or(|capacity| capacity > 0.0));
            }
        }
    }
}
