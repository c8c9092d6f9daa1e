//! nginx Plus' API (`ngx_http_api_module`), and what speaks like it.
//!
//! A part is found wherever the URL leads: the object itself (`/api/9/http/upstreams/app`), all
//! of its kind (`/api/9/http/upstreams`), or a document of everything (the old `/status`).

use serde_json::Value;

use crate::model::{NginxPlusField, NginxPlusPart};

use super::health::{Errors, HealthSample};
use super::{LoadError, LoadSample, figure, json};

/// Reads the load of one part; the capacity is known for upstreams alone.
///
/// That capacity is the sum of `max_conns` of the peers that are up *now*, so it falls with every
/// peer lost; `None` where one of these has no limit. With no peer up it is 0, which is refused:
/// the region is not idle, and its check is to say that it is down.
pub(super) fn read(body: &[u8], part: &NginxPlusPart, field: NginxPlusField) -> Result<LoadSample, LoadError> {
    let document = json::document(body)?;
    match part {
        NginxPlusPart::Connections => connections(&document),
        NginxPlusPart::ServerZone(name) => server_zone(find(&document, &SERVER_ZONES, name)?, field),
        NginxPlusPart::Upstream(name) => upstream(find(&document, &UPSTREAMS, name)?, field),
    }
}

/// Reads which of an upstream's peers are up and what they answered, or what a server zone answered.
///
/// Peers that an operator took out (`down`, `draining`) are not counted, nor those that are not checked yet, nor backups
/// unless there is nothing else. An upstream none of whose peers takes requests is down.
pub(super) fn health(body: &[u8], part: &NginxPlusPart) -> Result<HealthSample, LoadError> {
    let document = json::document(body)?;
    match part {
        NginxPlusPart::Connections => Err(LoadError::Missing("health".into())),
        NginxPlusPart::ServerZone(name) => {
            let errors = errors([find(&document, &SERVER_ZONES, name)?])?;
            Ok(HealthSample { errors, ..HealthSample::default() })
        }
        NginxPlusPart::Upstream(name) => {
            let upstream = find(&document, &UPSTREAMS, name)?;
            let peers = upstream.get("peers").and_then(Value::as_array);
            let peers = peers.ok_or_else(|| LoadError::Missing("peers".into()))?;
            let takes = |peer: &Value| matches!(state(peer), Some("up" | "draining" | "checking"));
            let (errors, down) = (errors(peers)?, !peers.iter().any(takes));
            Ok(HealthSample { errors, down, ..HealthSample::of_servers(peers_up(peers)) })
        }
    }
}

fn state(peer: &Value) -> Option<&str> {
    peer.get("state").and_then(Value::as_str)
}

fn peers_up(peers: &[Value]) -> impl Iterator<Item = bool> {
    let known = |peer: &&Value| matches!(state(peer), Some("up" | "unavail" | "unhealthy"));
    let is_backup = |peer: &Value| peer.get("backup").and_then(Value::as_bool).unwrap_or(false);
    let only_backups = peers.iter().filter(known).all(is_backup);
    let counted = peers.iter().filter(known).filter(move |peer| only_backups || !is_backup(peer));
    counted.map(|peer| state(peer) == Some("up"))
}

/// Of TCP and UDP, which have no answers, nothing is known.
fn errors<'a>(of: impl IntoIterator<Item = &'a Value>) -> Result<Errors, LoadError> {
    let (mut errors, mut answers, mut known) = (0.0, 0.0, false);
    for responses in of.into_iter().filter_map(|one| one.get("responses")) {
        known = true;
        errors += figure::amount("5xx", json::number(responses, "/5xx")?)?;
        answers += figure::amount("total", json::number(responses, "/total")?)?;
    }
    Ok(if known { Errors::Counts { errors, answers } } else { Errors::Unknown })
}

fn connections(document: &Value) -> Result<LoadSample, LoadError> {
    let object = document.get("connections").unwrap_or(document);
    figure::sample(("active", json::number(object, "/active")?), None)
}

fn server_zone(zone: &Value, field: NginxPlusField) -> Result<LoadSample, LoadError> {
    let name = match field {
        NginxPlusField::Active => "processing",
        // A TCP zone counts connections.
        NginxPlusField::RequestRate if zone.get("requests").is_none() => "connections",
        NginxPlusField::RequestRate => "requests",
    };
    figure::sample((name, json::number(zone, &format!("/{name}"))?), None)
}

fn upstream(upstream: &Value, field: NginxPlusField) -> Result<LoadSample, LoadError> {
    let peers = upstream.get("peers").and_then(Value::as_array).filter(|peers| !peers.is_empty());
    let peers = peers.ok_or_else(|| LoadError::Missing("peers".into()))?;
    match field {
        NginxPlusField::Active => figure::sample(("active", sum(peers, "active")?), capacity(peers)?),
        NginxPlusField::RequestRate if peers.iter().all(|peer| peer.get("requests").is_none()) => {
            figure::sample(("connections", sum(peers, "connections")?), None)
        }
        NginxPlusField::RequestRate => figure::sample(("requests", sum(peers, "requests")?), None),
    }
}

fn sum(peers: &[Value], name: &str) -> Result<f64, LoadError> {
    let pointer = format!("/{name}");
    peers.iter().map(|peer| figure::amount(name, json::number(peer, &pointer)?)).sum()
}

/// `None`: a peer that is up has no limit.
fn capacity(peers: &[Value]) -> Result<Option<(&'static str, f64)>, LoadError> {
    let mut sum = 0.0;
    for peer in peers.iter().filter(|peer| peer.get("state").and_then(Value::as_str) == Some("up")) {
        // 0 is nginx's word for unlimited, and what is unlimited is left out.
        match peer.get("max_conns").map(|_| json::number(peer, "/max_conns")).transpose()? {
            None | Some(0.0) => return Ok(None),
            Some(limit) => sum += figure::amount("max_conns", limit)?,
        }
    }
    Ok(Some(("max_conns of the peers that are up", sum)))
}

/// The place where objects of a kind are, and what one of them is known by.
struct Kind {
    what: &'static str,
    key: &'static str,
    marks: [&'static str; 2],
}

const SERVER_ZONES: Kind = Kind { what: "server zone", key: "server_zones", marks: ["processing", "discarded"] };
const UPSTREAMS: Kind = Kind { what: "upstream", key: "upstreams", marks: ["peers", "keepalive"] };

fn find<'a>(document: &'a Value, kind: &Kind, name: &str) -> Result<&'a Value, LoadError> {
    // An upstream may be called `peers`: then the value is no object of this kind.
    let is_one = |value: &Value| kind.marks.iter().any(|mark| value.get(mark).is_some_and(|mark| !mark.is_object()));
    if is_one(document) {
        return Ok(document);
    }
    let of_kind = |parent: &'a Value| parent.get(kind.key);
    let below = [of_kind(document), document.get("http").and_then(of_kind), document.get("stream").and_then(of_kind)];
    let tables: Vec<&Value> = below.into_iter().flatten().chain([document]).collect();
    let found = tables.iter().find_map(|table| table.get(name).filter(|value| is_one(value)));
    found.ok_or_else(|| {
        let entries = tables.iter().filter_map(|table| table.as_object()).flatten();
        figure::no_such(kind.what, name, entries.filter(|(_, value)| is_one(value)).map(|(name, _)| name.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use NginxPlusField::{Active, RequestRate};
    use proptest::prelude::*;
    use serde_json::json;

    fn app() -> Value {
        json!({"peers": [
            {"id": 0, "server": "10.0.0.1:80", "state": "up", "active": 12, "max_conns": 100, "requests": 700, "weight": 1},
            {"id": 1, "server": "10.0.0.2:80", "state": "up", "active": 8, "max_conns": 50, "requests": 300, "backup": false},
            {"id": 2, "server": "10.0.0.3:80", "state": "unavail", "active": 1, "max_conns": 50, "requests": 9}
        ], "keepalive": 0, "zombies": 0, "zone": "app"})
    }

    fn zone() -> Value {
        json!({"processing": 4, "requests": 706_690, "responses": {"2xx": 5, "total": 5}, "discarded": 0, "received": 1})
    }

    fn of(document: &Value, part: &NginxPlusPart, field: NginxPlusField) -> Result<(f64, Option<f64>), LoadError> {
        read(document.to_string().as_bytes(), part, field).map(|sample| (sample.load, sample.capacity))
    }

    fn upstream_of(document: &Value) -> Result<(f64, Option<f64>), LoadError> {
        of(document, &NginxPlusPart::Upstream("app".into()), Active)
    }

    #[test]
    fn peers_that_are_up_and_errors_are_read() {
        let of = |upstream: &Value| health(upstream.to_string().as_bytes(), &NginxPlusPart::Upstream("app".into()));
        let peer = |state: &str, backup: bool, errors: u32| json!({"state": state, "backup": backup, "active": 0, "responses": {"2xx": 100 - errors, "5xx": errors, "total": 100}});
        let app = json!({"app": {"keepalive": 0, "peers": [peer("up", false, 3), peer("unavail", false, 7),
            peer("unhealthy", false, 0), peer("down", false, 0), peer("draining", false, 0), peer("up", true, 0)]}});
        let errors = Errors::Counts { errors: 10.0, answers: 600.0 };
        assert_eq!(of(&app), Ok(HealthSample { servers: Some((1, 3)), errors, ..HealthSample::default() }));
        let gone = json!({"peers": [peer("unavail", false, 1), peer("down", false, 0)]});
        assert_eq!(of(&gone).map(|gone| (gone.servers, gone.down)), Ok((Some((0, 1)), true)));
        let tcp = json!({"peers": [{"state": "up", "connections": 5}]});
        assert_eq!(of(&tcp).map(|tcp| (tcp.servers, tcp.errors)), Ok((Some((1, 1)), Errors::Unknown)));
        assert_eq!(of(&json!({"keepalive": 0})), Err(LoadError::Missing("peers".into())));
        let lie = json!({"peers": [{"state": "up", "responses": {"5xx": -1, "total": 5}}]});
        assert!(matches!(of(&lie), Err(LoadError::Absurd { .. })));
        let zone = json!({"web": {"processing": 1, "requests": 9, "responses": {"5xx": 2, "total": 9}}});
        let zone = health(zone.to_string().as_bytes(), &NginxPlusPart::ServerZone("web".into()));
        assert_eq!(zone.map(|zone| zone.errors), Ok(Errors::Counts { errors: 2.0, answers: 9.0 }));
    }

    #[test]
    fn a_part_is_found_wherever_the_url_leads() {
        let all = json!({"other": {"peers": [], "keepalive": 1}, "app": app()});
        for document in [
            app(),
            all.clone(),
            json!({"upstreams": all}),
            json!({"http": {"upstreams": all}, "stream": {"upstreams": {}}}),
            json!({"stream": {"upstreams": all}}),
        ] {
            assert_eq!(upstream_of(&document), Ok((21.0, Some(150.0))), "{document}");
        }
        for document in [zone(), json!({"web": zone()}), json!({"server_zones": {"web": zone()}})] {
            let part = NginxPlusPart::ServerZone("web".into());
            assert_eq!(of(&document, &part, Active), Ok((4.0, None)));
            assert_eq!(of(&document, &part, RequestRate), Ok((706_690.0, None)));
        }
        for document in [json!({"accepted": 9, "active": 134}), json!({"connections": {"active": 134, "idle": 3}})] {
            assert_eq!(of(&document, &NginxPlusPart::Connections, Active), Ok((134.0, None)));
        }
    }

    #[test]
    fn the_capacity_is_that_of_the_peers_that_are_up() {
        let with = |peer: usize, key: &str, value: Value| {
            let mut document = app();
            document["peers"][peer][key] = value;
            upstream_of(&document)
        };
        assert_eq!(with(2, "state", json!("up")), Ok((21.0, Some(200.0))));
        assert_eq!(with(1, "state", json!("draining")), Ok((21.0, Some(100.0))));
        assert_eq!(with(1, "max_conns", json!(0)), Ok((21.0, None)));
        let mut none_up = app();
        for peer in none_up["peers"].as_array_mut().expect("peers") {
            peer["state"] = json!("down");
        }
        assert!(matches!(upstream_of(&none_up), Err(LoadError::Absurd { .. })), "never idle, never unlimited");
    }

    #[test]
    fn tcp_zones_and_upstreams_count_connections() {
        let zone = json!({"processing": 1, "connections": 55, "discarded": 0});
        assert_eq!(of(&zone, &NginxPlusPart::ServerZone("x".into()), RequestRate), Ok((55.0, None)));
        let upstream = json!({"peers": [{"active": 1, "connections": 5}, {"active": 0, "connections": 6}]});
        assert_eq!(of(&upstream, &NginxPlusPart::Upstream("x".into()), RequestRate), Ok((11.0, None)));
    }

    #[test]
    fn what_is_missing_is_an_error_that_names_what_is_there() {
        let missing = upstream_of(&json!({"apps": app(), "web": app()})).expect_err("not there").to_string();
        assert_eq!(missing, "no upstream `app` in the report; there are: apps, web");
        assert!(matches!(upstream_of(&json!({"peers": []})), Err(LoadError::Missing(_))));
        assert!(matches!(upstream_of(&json!({"peers": [{"state": "up"}]})), Err(LoadError::Missing(_))));
        assert!(matches!(upstream_of(&json!([1])), Err(LoadError::NoSuch { .. })));
        assert!(matches!(of(&json!({}), &NginxPlusPart::Connections, Active), Err(LoadError::Missing(_))));
    }

    #[test]
    fn one_lying_peer_is_not_hidden_by_the_others() {
        for lie in [json!(-5), json!(1e16), json!("7"), json!(null)] {
            for key in ["active", "max_conns"] {
                let mut document = app();
                document["peers"][0][key] = lie.clone();
                assert!(upstream_of(&document).is_err(), "{key} {lie}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_octets_give_a_sample_or_an_error(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(read(&body, &NginxPlusPart::Upstream("x".into()), Active).is_err());
        }
    }
}
