//! etcd's requests and responses as JSON: keys and values in base64, numbers of 64 bits as text or as numbers.
//!
//! A field that is left out has protobuf's default: 0, false, empty.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error};
use serde_json::{Value, json};

use crate::control::cluster::store::{
    Change, Condition, Entry, LeaseId, Listing, Operation, Outcome, Revision, Transaction,
};

use super::fault::{Fault, clipped, read_fault};

/// What is wrong with a response.
pub type Unread = String;

// ---------------------------------------------------------------------------------------------
// Requests

pub fn list_request(prefix: &str) -> Value {
    let (first, end) = range(prefix);
    json!({ "key": first, "range_end": end })
}

/// Where a condition does not hold, it asks for the conditions' keys as they are.
pub fn commit_request(transaction: &Transaction) -> Value {
    let compare: Vec<Value> = transaction.conditions.iter().map(compare).collect();
    let success: Vec<Value> = transaction.operations.iter().map(operation).collect();
    let look = |condition: &Condition| json!({ "request_range": { "key": encoded(condition.key()) } });
    let failure: Vec<Value> = transaction.conditions.iter().map(look).collect();
    json!({ "compare": compare, "success": success, "failure": failure })
}

/// etcd chooses the lease's number.
pub fn grant_request(ttl_s: u64) -> Value {
    json!({ "TTL": ttl_s.to_string() })
}

/// For keeping it alive and for revoking it.
pub fn lease_request(lease: LeaseId) -> Value {
    json!({ "ID": lease.0.to_string() })
}

/// All changes below a prefix from this revision on.
pub fn watch_request(prefix: &str, from: Revision) -> Value {
    let (first, end) = range(prefix);
    json!({ "create_request": {
        "key": first, "range_end": end, "start_revision": from.to_string(), "progress_notify": true,
    } })
}

pub fn authenticate_request(user: &str, password: &str) -> Value {
    json!({ "name": user, "password": password })
}

fn compare(condition: &Condition) -> Value {
    let created = |key, revision: Revision| json!({ "key": encoded(key), "target": "CREATE", "result": "EQUAL", "create_revision": revision.to_string() });
    match condition {
        Condition::Absent(key) => created(key, 0),
        Condition::Created(key, revision) => created(key, *revision),
        Condition::Unmodified(key, revision) => {
            json!({ "key": encoded(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision.to_string() })
        }
    }
}

fn operation(operation: &Operation) -> Value {
    match operation {
        Operation::Put { key, value, lease } => {
            let lease = lease.map_or(0, |lease| lease.0).to_string();
            json!({ "request_put": { "key": encoded(key), "value": encoded(value), "lease": lease } })
        }
        Operation::Delete { key } => json!({ "request_delete_range": { "key": encoded(key) } }),
    }
}

fn encoded(octets: impl AsRef<[u8]>) -> String {
    STANDARD.encode(octets)
}

/// The first key of a prefix, and the first that is past it: the prefix with its last octet one higher. All keys are
/// from `\0` to `\0`.
fn range(prefix: &str) -> (String, String) {
    let mut end = prefix.as_bytes().to_vec();
    // No octet of UTF-8 is 255.
    match end.last_mut() {
        Some(last) => *last = last.saturating_add(1),
        None => return (encoded([0]), encoded([0])),
    }
    (encoded(prefix), encoded(end))
}

// ---------------------------------------------------------------------------------------------
// Responses

pub fn read_listing(body: &[u8]) -> Result<Listing, Unread> {
    let read: RangeResponse = parse(body)?;
    let header = read.header.ok_or("it has no header")?;
    let mut entries = entries(read.kvs)?;
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Listing { entries, revision: header.revision()?, store: header.cluster_id })
}

/// `conditions`: how many of them the transaction has.
pub fn read_outcome(body: &[u8], conditions: usize) -> Result<Outcome, Unread> {
    let read: TxnResponse = parse(body)?;
    let revision = read.header.ok_or("it has no header")?.revision()?;
    if read.succeeded {
        return Ok(Outcome::Done(revision));
    }
    if read.responses.len() != conditions {
        return Err(format!("it tells of {} keys where {conditions} were asked for", read.responses.len()));
    }
    let found = |response: TxnPart| -> Result<Option<Entry>, Unread> {
        let range = response.response_range.ok_or("a part of it is missing")?;
        Ok(entries(range.kvs)?.into_iter().next())
    };
    let found = read.responses.into_iter().map(found).collect::<Result<_, _>>()?;
    Ok(Outcome::Refused { found, revision })
}

pub fn read_grant(body: &[u8]) -> Result<LeaseId, Unread> {
    let read: LeaseResponse = parse(body)?;
    if read.id == 0 { Err("it has no lease's number".into()) } else { Ok(LeaseId(read.id)) }
}

/// A stream of one line. etcd tells of a lease that is not there by leaving its time out.
///
/// # Errors
/// [`Fault::LeaseOver`], what etcd says, or [`Fault::Unknown`]: it makes no sense.
pub fn read_keep_alive(body: &[u8]) -> Result<(), Fault> {
    let read: Result<Line<LeaseResponse>, Unread> = parse(first_line(body));
    let Line { result, error } = read.map_err(Fault::Unknown)?;
    match (result, error) {
        (_, Some(_)) => Err(read_fault(200, first_line(body))),
        (Some(lease), None) if lease.ttl > 0 => Ok(()),
        (Some(lease), None) if lease.id != 0 => Err(Fault::LeaseOver),
        _ => Err(Fault::Unknown("it says nothing of the lease".into())),
    }
}

/// What a member says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Such as `3.4.23`.
    pub version: String,
    /// A member without one has no quorum either.
    pub has_leader: bool,
}

pub fn read_status(body: &[u8]) -> Result<Status, Unread> {
    let read: StatusResponse = parse(body)?;
    Ok(Status { version: clipped(&read.version), has_leader: read.leader != 0 })
}

/// The token that goes with further requests.
pub fn read_token(body: &[u8]) -> Result<String, Unread> {
    let read: TokenResponse = parse(body)?;
    if read.token.is_empty() { Err("it gives no token".into()) } else { Ok(read.token) }
}

/// The alarms that members have raised, such as `NOSPACE`.
pub fn read_alarms(body: &[u8]) -> Result<Vec<String>, Unread> {
    let read: AlarmResponse = parse(body)?;
    let mut alarms: Vec<String> = read.alarms.into_iter().map(|alarm| clipped(&alarm.alarm)).collect();
    alarms.sort_unstable();
    alarms.dedup();
    Ok(alarms)
}

/// Anything at all, of which nothing is read.
pub fn read_nothing(body: &[u8]) -> Result<(), Unread> {
    parse::<Value>(body).map(|_| ())
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unread> {
    serde_json::from_slice(body)
        .map_err(|error| format!("it answers what is not etcd's: {}", clipped(&error.to_string())))
}

fn first_line(body: &[u8]) -> &[u8] {
    body.split(|&octet| octet == b'\n').next().unwrap_or_default()
}

/// A line of a stream.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(super) struct Line<T> {
    #[serde(default = "Option::default")]
    pub result: Option<T>,
    #[serde(default)]
    pub error: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    #[serde(deserialize_with = "number")]
    cluster_id: u64,
    #[serde(deserialize_with = "number")]
    revision: i64,
}

impl Header {
    fn revision(&self) -> Result<Revision, Unread> {
        // A store that never was changed has revision 1.
        if self.revision > 0 { Ok(self.revision) } else { Err("it has no revision".into()) }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue {
    key: String,
    value: String,
    #[serde(deserialize_with = "number")]
    create_revision: i64,
    #[serde(deserialize_with = "number")]
    mod_revision: i64,
}

impl KeyValue {
    /// `None`: its key is no text, so it is none of ours.
    fn entry(self) -> Result<Option<Entry>, Unread> {
        let (created, modified) = (self.create_revision, self.mod_revision);
        if created < 1 || modified < created {
            return Err(format!("a key made by revision {created} and put by {modified}"));
        }
        let Some(key) = text(&self.key)? else { return Ok(None) };
        Ok(Some(Entry { key, value: decoded(&self.value)?, created, modified }))
    }
}

/// An event of a watch.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    /// Left out for a put; its name or its number.
    #[serde(rename = "type")]
    kind: Value,
    kv: Option<KeyValue>,
}

impl Event {
    /// `None`: its key is no text, so it is none of ours.
    pub(super) fn change(self) -> Result<Option<Change>, Unread> {
        let kv = self.kv.ok_or("an event without a key")?;
        let put = self.kind.is_null() || self.kind == "PUT" || self.kind == 0;
        if put {
            return Ok(kv.entry()?.map(Change::Put));
        }
        if self.kind != "DELETE" && self.kind != 1 {
            return Err(format!("an event of unknown kind {}", clipped(&self.kind.to_string())));
        }
        if kv.mod_revision < 1 {
            return Err("a deletion without a revision".into());
        }
        Ok(text(&kv.key)?.map(|key| Change::Deleted { key, revision: kv.mod_revision }))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RangeResponse {
    header: Option<Header>,
    kvs: Vec<KeyValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TxnResponse {
    header: Option<Header>,
    succeeded: bool,
    responses: Vec<TxnPart>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TxnPart {
    response_range: Option<RangeResponse>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LeaseResponse {
    #[serde(rename = "ID", deserialize_with = "number")]
    id: i64,
    #[serde(rename = "TTL", deserialize_with = "number")]
    ttl: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StatusResponse {
    version: String,
    #[serde(deserialize_with = "number")]
    leader: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenResponse {
    token: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AlarmResponse {
    alarms: Vec<Alarm>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Alarm {
    alarm: String,
}

/// A number of 64 bits, as text or as a number.
pub(super) fn number<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display> + Default,
{
    let text = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(T::default()),
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        _ => return Err(D::Error::custom("not a number")),
    };
    text.parse().map_err(|error| D::Error::custom(format_args!("not a number of 64 bits: {error}")))
}

fn entries(kvs: Vec<KeyValue>) -> Result<Vec<Entry>, Unread> {
    kvs.into_iter().filter_map(|kv| kv.entry().transpose()).collect()
}

fn decoded(base64: &str) -> Result<Vec<u8>, Unread> {
    STANDARD.decode(base64).map_err(|error| format!("it has broken base64: {error}"))
}

fn text(base64: &str) -> Result<Option<String>, Unread> {
    Ok(String::from_utf8(decoded(base64)?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str, created: Revision, modified: Revision) -> Entry {
        Entry { key: key.into(), value: value.into(), created, modified }
    }

    #[test]
    fn numbers_come_as_text_as_numbers_or_not_at_all() {
        for header in [
            r#"{"cluster_id":"18446744073709551615","revision":"7"}"#,
            r#"{"cluster_id":18446744073709551615,"revision":7}"#,
        ] {
            let body = format!(
                r#"{{"header":{header},"kvs":[{{"key":"YQ==","value":"dg==","create_revision":2,"mod_revision":"3"}},{{"key":"/w==","create_revision":1,"mod_revision":1}}]}}"#
            );
            let listing = Listing { entries: vec![entry("a", "v", 2, 3)], revision: 7, store: u64::MAX };
            assert_eq!(read_listing(body.as_bytes()), Ok(listing));
        }
        let empty = Listing { entries: vec![], revision: 1, store: 0 };
        assert_eq!(read_listing(br#"{"header":{"revision":"1","cluster_id":null}}"#), Ok(empty));
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        for body in [
            "",
            "{",
            "[]",
            "{}",
            "\u{1}",
            r#"{"header":{"revision":"0"}}"#,
            r#"{"header":{"revision":"-1"}}"#,
            r#"{"header":{"revision":"9223372036854775808"}}"#,
            r#"{"header":{"revision":1e3}}"#,
            r#"{"header":{"revision":true}}"#,
            r#"{"header":{"revision":"1","cluster_id":"-1"}}"#,
            r#"{"header":{"revision":"1"},"kvs":[{"key":"!","create_revision":1,"mod_revision":1}]}"#,
            r#"{"header":{"revision":"1"},"kvs":[{"key":"YQ==","value":"Y","create_revision":1,"mod_revision":1}]}"#,
            r#"{"header":{"revision":"1"},"kvs":[{"key":"YQ==","create_revision":1}]}"#,
            r#"{"header":{"revision":"1"},"kvs":[{"key":"YQ==","create_revision":3,"mod_revision":2}]}"#,
            r#"{"header":{"revision":"1"},"kvs":[7]}"#,
        ] {
            assert!(read_listing(body.as_bytes()).is_err(), "{body}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read_nothing(deep.as_bytes()).is_err());
        assert!(read_grant(b"{}").is_err() && read_token(b"{}").is_err() && read_status(b"7").is_err());
    }

    #[test]
    fn outcomes_tell_what_is_there() {
        assert_eq!(
            read_outcome(br#"{"header":{"revision":"2"},"succeeded":true,"responses":[{"response_put":{}}]}"#, 1),
            Ok(Outcome::Done(2))
        );
        let refused = br#"{"header":{"revision":"5"},"responses":[{"response_range":{"kvs":[{"key":"YQ==","create_revision":"2","mod_revision":"2","version":"1","value":"dg=="}],"count":"1"}},{"response_range":{"header":{"revision":"2"}}}]}"#;
        let found = vec![Some(entry("a", "v", 2, 2)), None];
        assert_eq!(read_outcome(refused, 2), Ok(Outcome::Refused { found, revision: 5 }));
        assert!(read_outcome(refused, 3).is_err());
        assert!(read_outcome(br#"{"header":{"revision":"5"},"responses":[{}]}"#, 1).is_err());
    }

    #[test]
    fn a_lease_without_time_is_over() {
        assert_eq!(read_keep_alive(b"{\"result\":{\"ID\":\"99\",\"TTL\":\"5\"}}\n"), Ok(()));
        assert_eq!(read_keep_alive(b"{\"result\":{\"ID\":\"99\"}}\n"), Err(Fault::LeaseOver));
        assert_eq!(
            read_keep_alive(br#"{"error":{"grpc_code":5,"message":"etcdserver: requested lease not found"}}"#),
            Err(Fault::LeaseOver)
        );
        for body in ["", "{}", "{\"result\":{}}", "<html>", "{\"result\":{\"ID\":[]}}"] {
            assert!(matches!(read_keep_alive(body.as_bytes()), Err(Fault::Unknown(_))), "{body}");
        }
    }

    #[test]
    fn a_prefix_ends_before_the_next_key_that_does_not_begin_so() {
        assert_eq!(range("a"), (encoded("a"), encoded("b")));
        assert_eq!(range("ä"), (encoded("ä"), encoded([0xc3, 0xa5])));
        assert_eq!(range(""), (encoded([0]), encoded([0])));
    }
}
