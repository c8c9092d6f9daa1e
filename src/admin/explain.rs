//! One client's answer: the reasoning, and the very packet the server would send.
//!
//! ```text
//!   name, type, client ─▶ a query in wire form ─▶ query::answer ─▶ decoded
//!                      └─▶ steer::explain ──────────────────────▶ the reasoning
//! ```
//!
//! The API and the command line (from files alone, or from a running server) show the same
//! [`ExplainReport`].

use std::net::IpAddr;
use std::time::Instant;

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Name, Prefix, RecordType, ServiceId};
use crate::query::counters::CounterSet;
use crate::query::transport::MAX_UDP_RESPONSE;
use crate::query::{Client, Transport, answer};
use crate::state::Snapshot;
use crate::state::lookup::names::NameMatch;
use crate::steer::decide::Seen;
use crate::steer::explain::{Explanation, explain};
use crate::wire::name::LowerName;

use super::planning::{PlanningStatus, planning};

/// Why a client gets the answer it gets.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExplainReport {
    /// As asked, absolute.
    pub name: String,
    pub qtype: String,
    /// Of the snapshot that answered.
    pub generation: u64,
    /// What there is to know besides, such as that the name is no service.
    pub note: Option<String>,
    /// How clients are shared out at this moment.
    pub planning: PlanningStatus,
    /// `None` for names that answer everybody alike.
    pub explanation: Option<Explanation>,
    pub answer: DecodedAnswer,
}

/// The response, as `dig` would show it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DecodedAnswer {
    /// Such as `NOERROR`.
    pub rcode: String,
    pub authoritative: bool,
    /// It did not fit into a UDP response: resolvers ask again over TCP.
    pub truncated: bool,
    pub octets: usize,
    /// SCOPE PREFIX-LENGTH (RFC 7871); `None` where no client subnet was asked for.
    pub scope: Option<u8>,
    /// Records in presentation form.
    pub answer: Vec<String>,
    pub authority: Vec<String>,
    pub additional: Vec<String>,
}

/// How the server gets to see the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedBy {
    /// The query comes from this very address.
    Source(IpAddr),
    /// A resolver tells of the client's network by EDNS Client Subnet (RFC 7871).
    Ecs(Prefix),
}

/// Why there is nothing to explain.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExplainError {
    #[error("{name} {why}")]
    Unknown {
        name: String,
        why: &'static str,
        /// Names of services, the likeliest first; at most three.
        nearest: Vec<String>,
    },
    /// A bug: our own response does not parse.
    #[error("the response cannot be decoded: {0}")]
    Undecodable(String),
}

/// Explains what `client` gets for `name` and `qtype` now.
///
/// # Errors
/// The name is in no zone, or does not exist.
pub fn explain_client(
    snapshot: &Snapshot,
    name: &Name,
    qtype: RecordType,
    client: AskedBy,
    now: Instant,
) -> Result<ExplainReport, ExplainError> {
    if matches!(snapshot.names.find(&LowerName::of(name)), NameMatch::Outside) {
        return Err(unknown(snapshot, name, "is in none of the zones served here"));
    }
    let (message, octets) = ask(snapshot, name, qtype, client)?;
    if message.metadata.response_code == hickory_proto::op::ResponseCode::NXDomain {
        return Err(unknown(snapshot, name, "does not exist"));
    }
    let (service, note) = service_behind(snapshot, name, &message);
    let note = note.or_else(|| service.and_then(|id| ecs_note(snapshot, id, client)));
    let explanation = service.and_then(|id| {
        let seen = seen(snapshot, id, client);
        explain(&snapshot.view(), &snapshot.states, id, seen, now)
    });
    Ok(ExplainReport {
        name: name.to_string(),
        qtype: qtype.to_string(),
        generation: snapshot.generation,
        note,
        planning: planning(snapshot, now),
        explanation,
        answer: decoded(&message, octets),
    })
}

impl AskedBy {
    /// Reads what people write: an address or `ADDRESS/LENGTH`, and `ecs`, `source` or nothing.
    ///
    /// Of a bare address seen by ECS, resolvers tell the first 24 or 48 bits (RFC 7871 section
    /// 11.1). Nothing said means `ecs`.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(client: &str, by: Option<&str>) -> Result<AskedBy, String> {
        let expected = || format!("`{client}` is not an address such as 192.0.2.7, nor a network such as 192.0.2.0/20");
        let (address, len) = match client.split_once('/') {
            Some((address, len)) => (address, Some(len.parse::<u8>().map_err(|_| expected())?)),
            None => (client, None),
        };
        let address: IpAddr = address.parse().map_err(|_| expected())?;
        let address = address.to_canonical();
        let (usual, most) = if address.is_ipv4() { (24, 32) } else { (48, 128) };
        if len.is_some_and(|len| len > most) {
            return Err(format!("`{client}`: the length is above {most}"));
        }
        match by {
            None | Some("ecs") => Ok(AskedBy::Ecs(Prefix::containing(address, len.unwrap_or(usual)))),
            Some("source") if len.is_none() => Ok(AskedBy::Source(address)),
            Some("source") => Err(format!("`{client}`: a source is one address, without a length")),
            Some(other) => Err(format!("`{other}` is not a way to see a client: it is `ecs` or `source`")),
        }
    }

    fn address(self) -> IpAddr {
        match self {
            AskedBy::Source(address) => address,
            AskedBy::Ecs(prefix) => prefix.address(),
        }
    }
}

/// Sends the query through the function that answers packets.
fn ask(snapshot: &Snapshot, name: &Name, qtype: RecordType, client: AskedBy) -> Result<(Message, usize), ExplainError> {
    let packet = query(name, qtype, client);
    let from = Client { address: client.address(), transport: Transport::Udp };
    let mut out = [0; MAX_UDP_RESPONSE];
    // Counters of its own: nobody's query shows up in the metrics.
    let len = answer(snapshot, &packet, from, &mut out, &CounterSet::new().shared());
    let response = out.get(..len).unwrap_or_default();
    let message = Message::from_vec(response).map_err(|error| ExplainError::Undecodable(error.to_string()))?;
    Ok((message, len))
}

/// A query as resolvers send it: one question, OPT with a UDP size of 1,232, perhaps ECS.
fn query(name: &Name, qtype: RecordType, client: AskedBy) -> Vec<u8> {
    const CLIENT_SUBNET: [u8; 2] = [0, 8];
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(name.as_wire());
    packet.extend_from_slice(&qtype.0.to_be_bytes());
    packet.extend_from_slice(&[0, 1]); // IN
    packet.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0]); // OPT, 1232, no flags
    let mut option = Vec::new();
    if let AskedBy::Ecs(prefix) = client {
        let octets = usize::from(prefix.len().div_ceil(8)); // at most 16
        let (family, address) = match prefix.address() {
            IpAddr::V4(v4) => (1, v4.octets().to_vec()),
            IpAddr::V6(v6) => (2, v6.octets().to_vec()),
        };
        option.extend_from_slice(&CLIENT_SUBNET);
        option.extend_from_slice(&[0, 4 + octets as u8, 0, family, prefix.len(), 0]);
        option.extend(address.into_iter().take(octets));
    }
    packet.extend_from_slice(&[0, option.len() as u8]); // at most 24
    packet.extend(option);
    packet
}

/// How `query::answer` sees this client for this service.
fn seen(snapshot: &Snapshot, id: ServiceId, client: AskedBy) -> Seen {
    match client {
        AskedBy::Ecs(prefix) if snapshot.model.service(id).ecs && prefix.len() > 0 => Seen::Subnet(prefix.address()),
        other => Seen::Source(other.address()),
    }
}

/// The service that answers: the name itself, or what the name is an alias of. And what to say
/// where it is not the name itself.
pub fn service_behind(snapshot: &Snapshot, name: &Name, message: &Message) -> (Option<ServiceId>, Option<String>) {
    if let Some(id) = snapshot.names.service_at(name) {
        return (Some(id), None);
    }
    let aliases = message.answers.iter().filter_map(|record| match &record.data {
        hickory_proto::rr::RData::CNAME(target) => Name::parse_absolute(&target.to_string()).ok(),
        _ => None,
    });
    for target in aliases {
        if let Some(id) = snapshot.names.service_at(&target) {
            return (Some(id), Some(format!("{name} is no service, but an alias of {target}, which is one")));
        }
    }
    (None, Some(format!("{name} is no service: its records are the same for every client")))
}

fn ecs_note(snapshot: &Snapshot, id: ServiceId, client: AskedBy) -> Option<String> {
    match client {
        AskedBy::Ecs(_) if !snapshot.model.service(id).ecs => Some(
            "the service does not believe client subnets (`ecs = false`): this is what the address itself gets".into(),
        ),
        AskedBy::Ecs(prefix) if prefix.len() == 0 => {
            Some("length 0 asks not to use the client's network: this is what the address itself gets".into())
        }
        _ => None,
    }
}

fn decoded(message: &Message, octets: usize) -> DecodedAnswer {
    let lines = |records: &[hickory_proto::rr::Record]| records.iter().map(|record| record.to_string()).collect();
    let subnet = message.edns.as_ref().and_then(|edns| edns.option(EdnsCode::Subnet));
    DecodedAnswer {
        rcode: rcode_name(message.metadata.response_code),
        authoritative: message.metadata.authoritative,
        truncated: message.metadata.truncation,
        octets,
        scope: match subnet {
            Some(EdnsOption::Subnet(subnet)) => Some(subnet.scope_prefix()),
            _ => None,
        },
        answer: lines(&message.answers),
        authority: lines(&message.authorities),
        additional: lines(&message.additionals),
    }
}

/// As `dig` writes them (IANA's registry).
fn rcode_name(rcode: hickory_proto::op::ResponseCode) -> String {
    let code: u16 = rcode.into();
    super::metrics::rcode_name(code).to_owned()
}

fn unknown(snapshot: &Snapshot, name: &Name, why: &'static str) -> ExplainError {
    const MOST: usize = 3;
    /// Of 0 to 1: below this two names only share their zone.
    const LIKE: f64 = 0.7;
    let asked = name.to_lowercase().to_string();
    let mut likely: Vec<(f64, String)> = snapshot
        .model
        .services
        .iter()
        .map(|service| service.name.to_lowercase().to_string())
        .map(|known| (strsim::jaro_winkler(&asked, &known), known))
        .filter(|(likeness, _)| *likeness >= LIKE)
        .collect();
    likely.sort_by(|(a, first), (b, second)| b.total_cmp(a).then_with(|| first.cmp(second)));
    let nearest = likely.into_iter().take(MOST).map(|(_, name)| name).collect();
    ExplainError::Unknown { name: name.to_string(), why, nearest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::what_if::tests::planned;
    use crate::state::News;
    use crate::steer::health::effective::Override;
    use crate::steer::testing::moment;

    fn explained(snapshot: &Snapshot, now: Instant) -> Explanation {
        let name = Name::parse_absolute("www.gslb.example").expect("a name");
        let client = AskedBy::parse("10.0.1.0/24", None).expect("a client");
        let report = explain_client(snapshot, &name, RecordType::A, client, now).expect("explained");
        report.explanation.expect("a service's")
    }

    #[test]
    fn a_region_that_the_plan_passes_over_is_told_so() {
        let (publisher, now) = planned();
        let explanation = explained(&publisher.shared().load(), now);
        let [west, others @ ..] = &explanation.regions[..] else { panic!("{explanation:#?}") };
        assert_eq!((west.planned_share, west.share, west.excluded.as_deref()), (Some(1.0), 1.0, None));
        for region in others {
            assert_eq!(
                region.excluded.as_deref(),
                Some("the plan sends this place's clients to another"),
                "{region:#?}"
            );
            assert_eq!(region.tier, None, "tiers decide nothing then");
        }
    }

    #[test]
    fn where_the_plan_has_nobody_left_tiers_decide_and_are_told_of() {
        let (mut publisher, now) = planned();
        publisher.apply(News::set_override("west@gslb.example", Override::Down), moment(now));
        publisher.publish(moment(now));
        let explanation = explained(&publisher.shared().load(), now);
        let excluded: Vec<_> = explanation.regions.iter().map(|region| region.excluded.as_deref()).collect();
        assert_eq!(excluded, [Some("down by override"), None, Some("a better tier has eligible regions")]);
        assert!(explanation.regions.iter().all(|region| region.tier.is_some()), "{explanation:#?}");
    }
}
