//! A line of the query log: who asked for what, what was answered, and why.
//!
//! The reason is worked out from the very snapshot that answered, by what `meridian explain` runs.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use jiff::Timestamp;
use serde::Serialize;

use crate::admin::explain::service_behind;
use crate::admin::metrics::rcode_name;
use crate::control::config::ClientsShown;
use crate::model::{Name, Prefix, RecordType};
use crate::query::client::Transport;
use crate::state::Snapshot;
use crate::steer::decide::{ScopeReason, Seen, TtlReason};
use crate::steer::explain::{Explanation, RegionRow, explain};
use crate::steer::policy::eligible::ServiceCondition;
use crate::wire::edns::ClientSubnet;
use crate::wire::name::LowerName;
use crate::wire::query::parse;

use super::tap::{TappedBatch, TappedExchange};

/// Regions that were passed over, at most: the nearest.
const MOST_PASSED_OVER: usize = 5;

/// What lines show.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub clients: ClientsShown,
    /// The sample's rate, for whoever adds lines up.
    pub one_in: u32,
}

/// A query and its answer. What is not known is left out.
#[derive(Debug, Serialize)]
pub struct Line {
    /// When the query came: RFC 3339 in UTC.
    time: String,
    /// From then until it was answered, with the others of its batch.
    took_us: u64,
    transport: &'static str,
    /// An address, or its network.
    client: String,
    /// The client subnet that the query told (RFC 7871).
    #[serde(skip_serializing_if = "Option::is_none")]
    ecs: Option<String>,
    /// In lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    qtype: Option<String>,
    /// `None`: there was no response.
    rcode: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    /// Octets of the response.
    octets: usize,
    /// Records in the answer section.
    answers: usize,
    /// Of the first answer, or of the first record of the authority section.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_s: Option<u32>,
    /// SCOPE PREFIX-LENGTH (RFC 7871).
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    /// Those that were answered, the client's own first; empty where nothing was steered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    regions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// This line stands for about as many queries.
    one_in: u32,
    /// Of the snapshot that answered.
    generation: u64,
}

/// Why this client got these regions: the words of `meridian explain`.
#[derive(Debug, Serialize)]
struct Reason {
    /// `ecs` or `source`.
    seen_by: Cow<'static, str>,
    location: String,
    policy: Cow<'static, str>,
    condition: ServiceCondition,
    ttl: TtlReason,
    scope: ScopeReason,
    /// The rules and lists that brought the client here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    because: Vec<String>,
    /// Regions that are nearer, and why they were not answered; the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passed_over: Vec<PassedOver>,
    /// The nearest region, where clients stay near because its load is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_near: Option<String>,
}

#[derive(Debug, Serialize)]
struct PassedOver {
    region: String,
    why: Cow<'static, str>,
}

/// What a query asked.
struct Asked {
    name: Option<Name>,
    qtype: Option<RecordType>,
    subnet: Option<Prefix>,
    /// The same, where it is to be used.
    network: Option<IpAddr>,
}

impl Line {
    pub fn of(batch: &TappedBatch, exchange: &TappedExchange, shown: Shown) -> Line {
        let asked = Asked::read(&exchange.query);
        let response = exchange.response.as_deref().and_then(|response| Message::from_vec(response).ok());
        let snapshot = batch.snapshot.as_deref();
        let steered = snapshot.and_then(|snapshot| Steered::find(snapshot, &asked, response.as_ref()?, exchange));
        let Steered { service, explanation } = steered.unwrap_or_default();
        let chosen = explanation.as_ref().map(|explanation| &explanation.chosen);
        let first = response.as_ref().and_then(|message| message.answers.first().or(message.authorities.first()));
        Line {
            time: timestamp(batch.answered_at.checked_sub(batch.took).unwrap_or(batch.answered_at)),
            took_us: u64::try_from(batch.took.as_micros()).unwrap_or(u64::MAX),
            transport: match exchange.transport {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
            },
            client: shown.clients.address(exchange.client.ip()),
            ecs: asked.subnet.map(|subnet| shown.clients.network(subnet)),
            name: asked.name.as_ref().map(Name::to_string),
            qtype: asked.qtype.map(|qtype| qtype.to_string()),
            rcode: response.as_ref().map(|message| rcode_name(message.metadata.response_code.into())),
            truncated: response.as_ref().is_some_and(|message| message.metadata.truncation),
            octets: exchange.response.as_ref().map_or(0, |response| response.len()),
            answers: response.as_ref().map_or(0, |message| message.answers.len()),
            ttl_s: first.map(|record| record.ttl),
            scope: response.as_ref().and_then(scope),
            service,
            regions: chosen
                .map(|chosen| [&chosen.region].into_iter().chain(&chosen.others).cloned().collect())
                .unwrap_or_default(),
            endpoint: chosen.map(|chosen| chosen.endpoint.clone()),
            reason: explanation.map(Reason::of),
            one_in: shown.one_in,
            generation: snapshot.map_or(0, |snapshot| snapshot.generation),
        }
    }
}

/// The service that answered.
#[derive(Default)]
struct Steered {
    service: Option<String>,
    /// `None`: its answer is the same for every client.
    explanation: Option<Explanation>,
}

impl Steered {
    fn find(snapshot: &Snapshot, asked: &Asked, response: &Message, exchange: &TappedExchange) -> Option<Steered> {
        let (id, _) = service_behind(snapshot, asked.name.as_ref()?, response);
        let service = snapshot.model.services.get(id?.index())?;
        let by_decision = match asked.qtype? {
            RecordType::A | RecordType::AAAA => true,
            RecordType::HTTPS | RecordType::ANY => !response.answers.is_empty(),
            _ => false,
        };
        let seen = match asked.network.filter(|_| service.ecs) {
            Some(network) => Seen::Subnet(network),
            None => Seen::Source(exchange.client.ip()),
        };
        let explain = || explain(&snapshot.view(), &snapshot.states, id?, seen, Instant::now());
        let explanation = if by_decision { explain() } else { None };
        Some(Steered { service: Some(service.name.to_string()), explanation })
    }
}

impl Asked {
    fn read(query: &[u8]) -> Asked {
        let mut name = LowerName::new();
        let Ok(query) = parse(query, &mut name) else {
            return Asked { name: None, qtype: None, subnet: None, network: None };
        };
        let subnet = query.edns.and_then(|edns| edns.subnet);
        Asked {
            name: Name::from_wire(name.as_wire()).ok(),
            qtype: Some(query.qtype),
            subnet: subnet.map(ClientSubnet::prefix),
            network: subnet.and_then(ClientSubnet::network),
        }
    }
}

impl Reason {
    fn of(explanation: Explanation) -> Reason {
        let nearer_than = nearest_taken_ms(&explanation.regions);
        let mut passed: Vec<&RegionRow> =
            explanation.regions.iter().filter(|row| row.share == 0.0 && row.score.rtt.ms < nearer_than).collect();
        passed.sort_by(|a, b| a.score.rtt.ms.total_cmp(&b.score.rtt.ms));
        passed.truncate(MOST_PASSED_OVER);
        let over = |row: &RegionRow| {
            let why = row.excluded.clone().unwrap_or_default();
            PassedOver { region: row.region.clone(), why }
        };
        Reason {
            passed_over: passed.into_iter().map(over).collect(),
            seen_by: explanation.client.seen_by,
            location: explanation.client.location,
            policy: explanation.policy,
            condition: explanation.condition,
            ttl: explanation.chosen.ttl_reason,
            scope: explanation.chosen.scope_reason,
            because: explanation.walk.into_iter().filter_map(|step| step.because).collect(),
            kept_near: explanation.kept_near.map(|kept| kept.region),
        }
    }
}

/// The round trip to the nearest region that the client's place has a share of.
fn nearest_taken_ms(rows: &[RegionRow]) -> f64 {
    rows.iter().filter(|row| row.share > 0.0).map(|row| row.score.rtt.ms).fold(f64::INFINITY, f64::min)
}

impl ClientsShown {
    fn address(self, address: IpAddr) -> String {
        match self {
            ClientsShown::Whole => address.to_string(),
            ClientsShown::Network => cut(address, u8::MAX).to_string(),
        }
    }

    fn network(self, network: Prefix) -> String {
        match self {
            ClientsShown::Whole => network.to_string(),
            ClientsShown::Network => cut(network.address(), network.len()).to_string(),
        }
    }
}

/// The network of an address: its /24 or /48, or a wider one that it is known by.
fn cut(address: IpAddr, len: u8) -> Prefix {
    Prefix::containing(address, len.min(if address.is_ipv4() { 24 } else { 48 }))
}

fn scope(response: &Message) -> Option<u8> {
    match response.edns.as_ref()?.option(EdnsCode::Subnet) {
        Some(EdnsOption::Subnet(subnet)) => Some(subnet.scope_prefix()),
        _ => None,
    }
}

/// With microseconds.
fn timestamp(at: SystemTime) -> String {
    let micros = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let at = Timestamp::from_microsecond(i64::try_from(micros).unwrap_or(i64::MAX));
    format!("{:.6}", at.unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, LazyLock};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::model::Policy;
    use crate::state::Publisher;
    use crate::steer::testing::{World, moment};

    /// A query for the service of [`World::two_coasts`], with a client subnet of this family and length.
    fn query(qtype: u8, family: u8, bits: u8) -> Vec<u8> {
        let octets = usize::from(bits.div_ceil(8));
        let mut query = b"\x12\x34\0\0\0\x01\0\0\0\0\0\x01\x03www\x04gslb\x07example\0\0".to_vec();
        query.extend([qtype, 0, 1, 0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 8 + octets as u8]);
        query.extend([0, 8, 0, 4 + octets as u8, 0, family, bits, 0]);
        query.extend(vec![0; octets]);
        query
    }

    static SNAPSHOT: LazyLock<Arc<Snapshot>> = LazyLock::new(|| {
        let (world, now) = (World::two_coasts(Policy::Score), moment(Instant::now()));
        Publisher::new(world.model, world.atlas, "", 0, Default::default(), now).shared().load_full()
    });

    proptest! {
        #[test]
        fn whatever_was_asked_and_answered_is_a_line_of_json(
            garbage in proptest::collection::vec(any::<u8>(), 0..80),
            answer in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..80)),
            (qtype, family, bits) in (any::<u8>(), 0..4_u8, 0..=128_u8),
            (at, changed) in (any::<prop::sample::Index>(), any::<u8>()),
        ) {
            let mut near = query(qtype, family, bits);
            let at = at.index(near.len());
            near[at] = changed;
            // A response is what the query was, with QR set: whatever is in it reads as an answer.
            let echoed = [&near[..2], &[0x84], &near[3..]].concat();
            let exchange = |query: &[u8], response: Option<&[u8]>| TappedExchange {
                client: "192.0.2.1:53".parse().expect("an address"),
                server: "[2001:db8::1]:53".parse().expect("an address"),
                transport: Transport::Udp,
                query: query.into(),
                response: response.map(Into::into),
            };
            let all = vec![exchange(&garbage, answer.as_deref()), exchange(&near, Some(&echoed)), exchange(&near, None)];
            let mut batch = TappedBatch::of(all, SystemTime::now(), Duration::from_secs(1));
            batch.snapshot = Some(SNAPSHOT.clone());
            for exchange in &batch.exchanges {
                for clients in [ClientsShown::Whole, ClientsShown::Network] {
                    let line = Line::of(&batch, exchange, Shown { clients, one_in: 1 });
                    let text = serde_json::to_string(&line).expect("JSON");
                    prop_assert!(!text.contains('\n') && text.starts_with("{\"time\":\""), "{}", text);
                }
            }
        }
    }

    #[test]
    fn clients_are_shown_whole_or_as_their_networks() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let (whole, network) = (ClientsShown::Whole, ClientsShown::Network);
        assert_eq!(whole.address(address("192.0.2.7")), "192.0.2.7");
        assert_eq!(network.address(address("192.0.2.7")), "192.0.2.0/24");
        assert_eq!(network.address(address("2001:db8:1:2::7")), "2001:db8:1::/48");
        let subnet = |text: &str, len| Prefix::new(address(text), len).expect("a network");
        assert_eq!(whole.network(subnet("192.0.2.7", 32)), "192.0.2.7/32");
        assert_eq!(network.network(subnet("192.0.2.7", 32)), "192.0.2.0/24");
        assert_eq!(network.network(subnet("10.0.0.0", 8)), "10.0.0.0/8", "it is no narrower than it was");
        assert_eq!(network.network(subnet("2001:db8:1:200::", 56)), "2001:db8:1::/48");
    }

    #[test]
    fn times_have_microseconds() {
        let at = UNIX_EPOCH + std::time::Duration::from_micros(1_500_000);
        assert_eq!(timestamp(at), "1970-01-01T00:00:01.500000Z");
        assert_eq!(timestamp(UNIX_EPOCH), "1970-01-01T00:00:00.000000Z");
    }
}
