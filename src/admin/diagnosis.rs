//! Sums a status up: what of all that it says is wrong, how badly, and since when.
//!
//! Pure: a [`Status`] comes in, a [`Summary`] goes out. What is told here and what is shown below it are the same figures.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::control::audit::Entry;
use crate::control::events::history::Events;
use crate::control::jobs::figures::LAGGING;
use crate::steer::figure::percent;
use crate::steer::health::dependency;
use crate::steer::health::effective::{EffectiveState, Override};
use crate::steer::policy::eligible::ServiceCondition;

use super::cluster;
use super::planning::PlanningStatus;
use super::status::{EndpointStatus, LoadStatus, RegionStatus, Rejected, ServiceStatus, Status, VantagesStatus};
use super::summary::{Level, Summary, Trouble};

/// The status with its summary, of a server that remembers these events.
pub fn diagnosed(status: Status, events: &Events) -> Status {
    let since = |service: &str, fence: Option<&str>| {
        let at = events.latest_of_service(service.trim_end_matches('.'), fence)?;
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64;
        Some(((unix_ms - at.as_millisecond() as f64) / 1e3).max(0.0))
    };
    let summary = diagnose(&status, since);
    Status { summary: Some(summary), ..status }
}

/// Sums up a status, whose own [`Status::summary`] is not looked at. `service_since` tells for how long a service, or a
/// fence of it, has been in its condition, where that is known.
pub fn diagnose(status: &Status, service_since: impl Fn(&str, Option<&str>) -> Option<f64>) -> Summary {
    let mut troubles = of_server(status);
    troubles.extend(status.services.iter().flat_map(|service| of_service(service, &service_since)));
    troubles.extend(status.regions.iter().flat_map(of_region));
    let lasting = |trouble: &Trouble| trouble.since_s.unwrap_or(0.0);
    troubles.sort_by(|a, b| b.level.cmp(&a.level).then(lasting(b).total_cmp(&lasting(a))));
    let state = troubles.first().map_or(Level::Ok, |worst| worst.level);
    let of_level = troubles.iter().filter(|trouble| trouble.level == state && state > Level::Ok);
    let since_s = of_level.filter_map(|trouble| trouble.since_s).reduce(f64::max);
    Summary { state, since_s, troubles }
}

fn trouble(level: Level, of: impl Into<Cow<'static, str>>, what: impl Into<String>, since_s: Option<f64>) -> Trouble {
    Trouble { level, of: of.into(), what: what.into(), since_s, until_s: None }
}

fn of_server(status: &Status) -> Vec<Trouble> {
    let degraded = |of: &str, what: String, since_s| trouble(Level::Degraded, of.to_owned(), what, since_s);
    let mut found = Vec::new();
    if let Some(writer) = &status.writer
        && let Some(told) = &writer.trouble
    {
        found.push(trouble(Level::Panic, "server", format!("STALLED: {told}"), Some(writer.silent_s)));
    }
    // The writer's silence has been told.
    let reasons = status.node.iter().flat_map(|node| &node.reasons).filter(|of| of.reason != "writer");
    found.extend(reasons.map(|of| {
        let level = if of.reason == "drained" { Level::Ok } else { Level::Degraded };
        trouble(level, "node", format!("should not be announced: {}", of.why), None)
    }));
    if let Some(probing) = &status.probing {
        let cut_off = probing.cut_off.iter();
        found.extend(cut_off.map(|of| {
            let what = format!("CUT OFF by {}: {}; what fails on the way counts against nobody", of.family, of.why);
            degraded("server", what, Some(of.since_s))
        }));
        found.extend(failed_at_once(&status.regions).into_iter().filter(|_| probing.references == 0).map(|(failed, all)| {
            let what = format!(
                "{failed} of {all} endpoints began to fail within {AT_ONCE_S:.0} s: is it this server? `health.reference` would tell"
            );
            degraded("server", what, None)
        }));
        let others = probing.troubles.iter().filter(|told| !told.starts_with("CUT OFF"));
        found.extend(others.map(|told| degraded("server", told.clone(), None)));
    }
    found.extend(status.vantages.iter().flat_map(of_vantages));
    found.extend(status.cluster.iter().flat_map(cluster::troubles));
    found.extend(status.rejected.iter().filter(|of| of.age_s < REJECTED_S).map(of_rejected));
    if let Some(error) = &status.overrides_error {
        found.push(degraded("overrides", format!("could not be read, and do not hold: {error}"), None));
    }
    if !status.last_load.ok {
        let first = status.last_load.mistakes.first().and_then(|mistake| mistake.lines().next()).unwrap_or_default();
        let what = format!("the last reload was refused, the one before is served: {first}");
        found.push(degraded("configuration", what, Some(status.last_load.age_s)));
    }
    found.extend(status.atlas.databases.iter().filter_map(|database| {
        let error = database.error.as_ref()?;
        Some(degraded(&database.path, format!("the database is bad, {} serves: {error}", database.serves), None))
    }));
    found.extend(status.state_files.iter().map(|file| {
        degraded(&file.file, format!("{}: {}; {}", file.kind, file.error, file.instead), Some(file.age_s))
    }));
    let receivers = status.webhooks.iter().chain(&status.event_commands);
    found.extend(receivers.filter(|of| of.failures > 0).map(|of| {
        let error = of.error.as_deref().unwrap_or_default();
        degraded(&of.name, format!("is not told of events, {} wait: {error}", of.waiting), None)
    }));
    found.extend(status.planning.iter().flat_map(of_planning));
    found
}

/// A change that was rejected is told of for so many seconds.
const REJECTED_S: f64 = 600.0;

fn of_rejected(of: &Rejected) -> Trouble {
    let Entry { who, what, why, .. } = &of.entry;
    let what = format!("{who} asked for {what}, which was rejected: {}", why.as_deref().unwrap_or_default());
    trouble(Level::Ok, "admin API", what, Some(of.age_s))
}

/// Plans that fail, and one that is out of date.
fn of_planning(planning: &PlanningStatus) -> Vec<Trouble> {
    // Without demand there is nothing to plan: as it is at every start, and where nobody asks.
    let error = planning.error.as_ref().filter(|_| planning.demand.is_some());
    let failed = error.map(|error| (format!("the last attempt at a plan failed: {error}"), None));
    let lag_s = planning.work.map(|work| work.lag_s).filter(|lag_s| *lag_s > LAGGING.as_secs_f64());
    let late = lag_s.map(|lag_s| {
        let what =
            "the plan in force does not heed what is known by now; does `steering.planning_cpu` give it the time?";
        (what.to_owned(), Some(lag_s))
    });
    let told = failed.into_iter().chain(late);
    told.map(|(what, since_s)| trouble(Level::Degraded, "planner", what, since_s)).collect()
}

/// Nodes that are cut off by the others' word: this one, and others.
fn of_vantages(vantages: &VantagesStatus) -> Vec<Trouble> {
    let own = vantages.cut_off.iter().map(|of| {
        let what = format!("CUT OFF by {}, by the other nodes' word: {}; it does not vote", of.family, of.why);
        trouble(Level::Degraded, "server", what, Some(of.since_s))
    });
    let others = vantages.others_cut_off.iter();
    let others =
        others.map(|node| trouble(Level::Ok, node.clone(), "this node is cut off: its probes do not vote", None));
    own.chain(others).collect()
}

/// Endpoints that begin to fail within so many seconds do so at once.
const AT_ONCE_S: f64 = 60.0;

/// How many endpoints of how many began to fail at once, where these are two thirds of all and of three regions or more.
fn failed_at_once(regions: &[RegionStatus]) -> Option<(usize, usize)> {
    let endpoints = regions.iter().flat_map(|region| &region.endpoints);
    let all = endpoints.clone().filter(|endpoint| endpoint.verdict.is_some()).count();
    let mut began: Vec<f64> = endpoints.filter(|endpoint| is_ill(endpoint)).filter_map(|of| of.since_s).collect();
    began.sort_by(f64::total_cmp);
    let at_once = |(before, first): (usize, &f64)| began.partition_point(|since| *since <= first + AT_ONCE_S) - before;
    let failed = began.iter().enumerate().map(at_once).max()?;
    let ill_regions = regions.iter().filter(|region| region.endpoints.iter().any(is_ill)).count();
    (ill_regions >= 3 && failed * 3 >= all * 2).then_some((failed, all))
}

fn of_service(
    service: &ServiceStatus,
    since: &impl Fn(&str, Option<&str>) -> Option<f64>,
) -> impl Iterator<Item = Trouble> {
    let told = |fence: Option<&str>, condition: ServiceCondition| {
        let (level, what) = said(condition)?;
        let what = match fence {
            Some(fence) => format!("for the clients of {fence}: {what}"),
            None => what.to_owned(),
        };
        Some(trouble(level, service.name.clone(), what, since(&service.name, fence)))
    };
    let fences = service.fences_out.iter().filter_map(|of| told(Some(&of.rule), of.condition));
    told(None, service.condition).into_iter().chain(fences).collect::<Vec<_>>().into_iter()
}

fn said(condition: ServiceCondition) -> Option<(Level, &'static str)> {
    Some(match condition {
        ServiceCondition::Normal => return None,
        ServiceCondition::Full => (Level::Degraded, "all its regions are above their limits, so these are not heeded"),
        ServiceCondition::Unproven => (Level::Degraded, "no region is proven up, so those that may be are answered"),
        ServiceCondition::OnlyDraining => (Level::Degraded, "only draining regions are left, and answered"),
        ServiceCondition::Panic => (
            Level::Panic,
            "PANIC: all its regions are down by their probes, so all are answered; are the probes right?",
        ),
        ServiceCondition::AllWithdrawn => (Level::Panic, "all its regions are down by override, and still answered"),
    })
}

fn of_region(region: &RegionStatus) -> Vec<Trouble> {
    let name = || region.name.clone();
    let mut found: Vec<Trouble> = state(region).into_iter().collect();
    if region.ipv6.as_deref() == Some("down") {
        let what = match region.ipv6_doubted {
            true => "IPv6 DOUBTED: no region's can be reached from here, so its AAAA answers stay",
            false => "IPv6 down: its AAAA answers are empty",
        };
        found.push(trouble(Level::Degraded, name(), what, None));
    }
    if let Some(degraded) = region.degraded.as_ref().filter(|of| !of.withdrawn) {
        let what = format!("offers {}: {}", percent(degraded.offered, 0), degraded.why.join("; "));
        found.push(trouble(Level::Degraded, name(), what, None));
    } else if region.offered < 1.0 && region.effective.is_eligible() {
        let what = format!("starts slowly, at {} of its capacity", percent(region.offered, 0));
        found.push(trouble(Level::Ok, name(), what, region.changed_s));
    }
    found.extend(feed(&region.load).map(|(level, what)| trouble(level, name(), what, region.load.heard.since_s)));
    found.extend(region.endpoints.iter().filter_map(|endpoint| {
        let warning = endpoint.last_probe.split_once(", but ")?.1;
        Some(trouble(Level::Ok, name(), format!("{}: {warning}", endpoint.label), None))
    }));
    found
}

/// What is not as it should be with its state; the reason that holds it there comes before what its probes say.
fn state(region: &RegionStatus) -> Option<Trouble> {
    let (name, changed_s) = (&region.name, region.changed_s);
    let told = |what: String, since_s, until_s| {
        Some(Trouble { until_s, ..trouble(Level::Degraded, name.clone(), what, since_s) })
    };
    if region.operator_override != Override::Auto {
        let what = format!("{} by override", region.operator_override.as_str());
        return Some(trouble(Level::Ok, name.clone(), what, changed_s));
    }
    if region.held_s.is_some() {
        let what = format!(
            "HELD: its probes say down, but too many regions have gone at once, so it is still answered; `meridian region \
             down {name}` takes it out, `auto` believes its probes; {}",
            evidence(region)
        );
        return told(what, None, region.held_s);
    }
    if let Some(on) = &region.failed_dependency {
        return told(format!("down: {}", dependency::reason(on)), changed_s, None);
    }
    if let Some(degraded) =
        region.degraded.as_ref().filter(|of| of.withdrawn && region.effective == EffectiveState::Down)
    {
        return told(format!("down by its balancer's word: {}", degraded.why.join("; ")), changed_s, None);
    }
    let is_up_again = region.verdict == "up" || region.verdict == "suspect";
    if let Some(since) = region.awaits_resume_s.filter(|_| is_up_again) {
        let state = region.effective.as_str();
        return told(format!("{state}, awaits resume: `meridian region auto {name}` lets it back"), Some(since), None);
    }
    if region.damped_s.is_some() {
        let what = "down, damped: its probes say up, but it has gone down too often".to_owned();
        return told(what, changed_s, region.damped_s);
    }
    if region.delayed_s.is_some() {
        return told("down: its probes say up again, but not for long enough".to_owned(), changed_s, region.delayed_s);
    }
    match region.effective {
        EffectiveState::Down => told(format!("down: {}", evidence(region)), changed_s, None),
        EffectiveState::Suspect => told(format!("suspect: {}", evidence(region)), None, None),
        EffectiveState::Unknown => told(format!("not proven yet: {}", evidence(region)), None, None),
        EffectiveState::Up | EffectiveState::Drain => {
            let down = region.endpoints.iter().any(is_ill);
            if down { told(format!("up, but {}", evidence(region)), None, None) } else { None }
        }
    }
}

fn is_ill(endpoint: &EndpointStatus) -> bool {
    matches!(endpoint.verdict.as_deref(), Some("down" | "suspect"))
}

/// `2 of 3 endpoints down; last: connection refused`.
fn evidence(region: &RegionStatus) -> String {
    let down = region.endpoints.iter().filter(|endpoint| endpoint.verdict.as_deref() == Some("down")).count();
    let all = region.endpoints.len();
    let ill = region.endpoints.iter().filter(|endpoint| is_ill(endpoint) && !endpoint.last_probe.is_empty());
    let age = |endpoint: &&EndpointStatus| endpoint.probe_age_s.unwrap_or(f64::INFINITY);
    let last = ill.min_by(|a, b| age(a).total_cmp(&age(b)));
    let last = last.map_or(String::new(), |endpoint| format!("; last: {}", endpoint.last_probe));
    format!("{down} of {all} endpoint{} down{last}", if all == 1 { "" } else { "s" })
}

/// A load report that is not believed as it stands.
fn feed(load: &LoadStatus) -> Option<(Level, String)> {
    let error = load.heard.error.as_ref().map_or(String::new(), |error| format!(": {error}"));
    let what = match load.heard.heard.as_deref().filter(|_| load.configured)? {
        "stale" => format!("its load reports are stale{error}"),
        "failing" => format!("its load reports fail{error}"),
        "never" => format!("its load was never reported{error}"),
        "doubted" => {
            let cure = load.heard.cure.as_ref().map_or(String::new(), |cure| format!(" ({cure})"));
            format!("its load reports are doubted: {}{cure}", load.heard.doubt.as_deref().unwrap_or("not believed"))
        }
        _ => return None,
    };
    Some((Level::Degraded, what))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A status with this region's fields on top of one that is up, and this condition of its service.
    fn status(region: serde_json::Value, condition: &str) -> Status {
        let endpoint = |label: &str, verdict: &str, last_probe: &str, age_s: f64| {
            json!({ "label": label, "layer": "l7", "weight": 1, "verdict": verdict, "since_s": 9.0,
                "last_probe": last_probe, "probe_age_s": age_s, "connect_ms": null })
        };
        let mut of = json!({
            "name": "seoul@gslb.example", "location": "KR", "state": "up", "verdict": "up", "override": "auto",
            "endpoints": [endpoint("192.0.2.1", "up", "ok in 1.0 ms", 1.0), endpoint("192.0.2.2", "up", "ok in 1.0 ms", 1.0)],
            "load": { "configured": true, "load": null, "capacity": null, "utilisation": null, "age_s": null, "stale": false,
                "stale_after_s": null, "heard": "believed", "since_s": 40.0, "doubt": null, "cure": null, "error": null,
                "reading": null },
            "price_ms": 0.0, "planned_load": null, "changed_s": 42.0, "damped_s": null, "failed_dependency": null,
            "delayed_s": null, "awaits_resume_s": null, "held_s": null, "drain": null,
        });
        if region["state"] == "down" || region["held_s"].is_number() {
            of["endpoints"][0] = endpoint("192.0.2.1", "down", "connection refused", 0.5);
            of["endpoints"][1] = endpoint("192.0.2.2", "down", "status 503", 3.0);
        }
        for (key, value) in region.as_object().expect("fields") {
            match value.as_object() {
                Some(inner) if of[key].is_object() => {
                    inner.iter().for_each(|(inner, value)| of[key][inner.as_str()] = value.clone());
                }
                _ => of[key.as_str()] = value.clone(),
            }
        }
        let service = json!({ "name": "www.gslb.example.", "policy": "score", "stage": null, "switched": false,
            "condition": condition, "ttl_s": 30, "failover_ttl_s": 5, "answered_ttl_s": null, "regions": [] });
        serde_json::from_value(json!({
            "version": "0", "uptime_s": 1.0, "generation": 1, "reloads": 0, "snapshot_age_s": 0.0,
            "last_load": { "ok": true, "age_s": 5.0, "at_unix_s": 0, "mistakes": [] }, "overrides_error": null,
            "writer": null, "planning": null, "probing": null,
            "atlas": { "places": 0, "ranges_ipv4": 0, "ranges_ipv6": 0, "memory_bytes": 0, "databases": [] },
            "zones": [], "regions": [of], "services": [service],
        }))
        .expect("a status")
    }

    /// Level and sentence of each trouble.
    fn told(region: serde_json::Value) -> Vec<(Level, String)> {
        let summary = diagnose(&status(region, "normal"), |_, _| None);
        summary.troubles.into_iter().map(|trouble| (trouble.level, trouble.what)).collect()
    }

    #[test]
    fn each_trouble_of_a_region_is_told_once_with_its_reason() {
        use Level::{Degraded, Ok};
        let down = "2 of 2 endpoints down; last: connection refused";
        for (region, level, what) in [
            (json!({ "state": "down", "verdict": "down" }), Degraded, format!("down: {down}")),
            (
                json!({ "state": "down", "damped_s": 96.0 }),
                Degraded,
                "down, damped: its probes say up, but it has gone down too often".to_owned(),
            ),
            (
                json!({ "state": "down", "failed_dependency": "auth.gslb.example" }),
                Degraded,
                "down: depends on auth.gslb.example, which has no region up".to_owned(),
            ),
            (json!({ "state": "drain", "override": "drain" }), Ok, "drain by override".to_owned()),
            (json!({ "ipv6": "down" }), Degraded, "IPv6 down: its AAAA answers are empty".to_owned()),
            (
                json!({ "load": { "heard": "failing", "error": "connection refused" } }),
                Degraded,
                "its load reports fail: connection refused".to_owned(),
            ),
            (
                json!({ "offered": 0.5, "degraded": { "offered": 0.5, "why": ["slow: 412 ms above 300 ms"] } }),
                Degraded,
                "offers 50 %: slow: 412 ms above 300 ms".to_owned(),
            ),
            (json!({ "offered": 0.4 }), Ok, "starts slowly, at 40 % of its capacity".to_owned()),
        ] {
            assert_eq!(told(region.clone()), [(level, what)], "{region}");
        }
        let held = told(json!({ "state": "suspect", "verdict": "down", "held_s": 30.0 }));
        assert!(
            matches!(&held[..], [(Degraded, what)] if what.starts_with("HELD: ") && what.ends_with(down)),
            "{held:?}"
        );
        assert_eq!(told(json!({})), []);
    }

    #[test]
    fn the_worst_comes_first_and_gives_the_word_and_since_when() {
        let region = json!({ "state": "down", "verdict": "down", "override": "auto" });
        let summary = diagnose(&status(region.clone(), "panic"), |name, fence| {
            assert_eq!((name, fence), ("www.gslb.example.", None));
            Some(12.0)
        });
        assert_eq!((summary.state, summary.since_s), (Level::Panic, Some(12.0)));
        let order: Vec<&str> = summary.troubles.iter().map(|trouble| &*trouble.of).collect();
        assert_eq!(order, ["www.gslb.example.", "seoul@gslb.example"]);
        let degraded = diagnose(&status(region, "normal"), |_, _| None);
        assert_eq!((degraded.state, degraded.since_s), (Level::Degraded, Some(42.0)));
        let drained = diagnose(&status(json!({ "state": "drain", "override": "drain" }), "normal"), |_, _| None);
        assert_eq!((drained.state, drained.since_s, drained.troubles.len()), (Level::Ok, None, 1), "an intention");
    }

    #[test]
    fn a_refused_reload_is_told_by_its_first_mistake() {
        let mut refused = status(json!({}), "normal");
        refused.last_load.ok = false;
        refused.last_load.mistakes = vec!["zones/a.toml:1:1: no `origin`\n  more".into(), "another".into()];
        let [only] = &diagnose(&refused, |_, _| None).troubles[..] else { panic!("one") };
        assert_eq!(only.what, "the last reload was refused, the one before is served: zones/a.toml:1:1: no `origin`");
        assert_eq!((only.level, only.since_s), (Level::Degraded, Some(5.0)));
    }

    #[test]
    fn most_that_fail_at_once_make_one_doubt_this_server() {
        let mut many = status(json!({ "state": "down", "verdict": "down" }), "normal");
        let failed = many.regions[0].clone();
        many.regions.extend([failed.clone(), failed]);
        assert_eq!(failed_at_once(&many.regions), Some((6, 6)));
        many.regions[0].endpoints[0].since_s = Some(1000.0);
        assert_eq!(failed_at_once(&many.regions), Some((5, 6)));
        let mut up = status(json!({}), "normal").regions;
        many.regions.append(&mut up);
        assert_eq!(failed_at_once(&many.regions), None, "5 of 8");
        assert_eq!(failed_at_once(&many.regions[..2]), None, "two regions are few");
    }

    #[test]
    fn a_plan_that_failed_is_a_trouble_and_nothing_to_plan_is_none() {
        let planned = |demand: Option<f64>| {
            let mut of = status(json!({}), "normal");
            let planning = json!({ "by": "price", "age_s": null, "error": "why", "tried_s": 1.0, "demand": demand,
                "kept_near": null });
            of.planning = Some(serde_json::from_value(planning).expect("planning"));
            diagnose(&of, |_, _| None).state
        };
        assert_eq!((planned(None), planned(Some(5.0))), (Level::Ok, Level::Degraded));
        let late = |lag_s: f64| {
            let mut of = status(json!({}), "normal");
            let work = json!({ "lag_s": lag_s, "cpu_s": 1.0, "taken": 1, "dropped": 0, "failed": 0 });
            let planning = json!({ "by": "plan", "age_s": 99.0, "error": null, "tried_s": 1.0, "demand": 5.0,
                "kept_near": null, "work": work });
            of.planning = Some(serde_json::from_value(planning).expect("planning"));
            let summary = diagnose(&of, |_, _| None);
            (summary.state, summary.since_s)
        };
        assert_eq!((late(60.0), late(61.0)), ((Level::Ok, None), (Level::Degraded, Some(61.0))));
    }
}
