//! The records of a zone, set by set in canonical order: `GET /v1/zones/{origin}`.

use hickory_proto::op::Message;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Name, RecordType, RrSet, Zone, ZoneNode};

use super::paging::{Page, PageQuery};
use super::problem::Problem;

/// An RRset, as in a zone file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RecordSet {
    /// Absolute, in lower case.
    pub owner: String,
    /// Such as `A`, or `TYPE65399` (RFC 3597 section 5).
    #[serde(rename = "type")]
    pub rtype: String,
    /// In seconds.
    pub ttl: u32,
    /// RDATA in presentation form; in that of RFC 3597 where it is of a type unknown here. At least one.
    pub data: Vec<String>,
}

/// One page of the sets of a zone. A key is the owner's name, a space, and the type.
pub fn page(zone: &Zone, generation: u64, wanted: &PageQuery) -> Result<Page<RecordSet>, Problem> {
    let after = wanted.after.as_deref().map(|key| position(zone, key)).transpose()?;
    let first = after.map_or(0, |(node, _)| node);
    let nodes = zone.nodes.places().iter().skip(first).enumerate();
    let sets = nodes.flat_map(|(index, place)| {
        let node = zone.nodes.at(*place);
        let past = after.and_then(|(_, past)| past).filter(|_| index == 0);
        sorted(&node)
            .into_iter()
            .filter(move |set| past.is_none_or(|past| set.rtype > past))
            .map(move |set| (node, set))
    });
    // One more tells whether there is a next page.
    let mut items: Vec<RecordSet> =
        sets.take(wanted.limit() + 1).map(|(node, set)| record_set(&node.name(&zone.origin), set)).collect();
    let more = items.len() > wanted.limit();
    items.truncate(wanted.limit());
    let next = items.last().filter(|_| more).map(|last| format!("{} {}", last.owner, last.rtype));
    Ok(Page { generation, items, next })
}

/// The node to go on at, and the type to go on after where it is that node's own.
fn position(zone: &Zone, key: &str) -> Result<(usize, Option<RecordType>), Problem> {
    let unknown = || Problem::bad_request("`after` is not what a page before gave as `next`");
    let (owner, rtype) = key.rsplit_once(' ').ok_or_else(unknown)?;
    let owner = Name::parse_absolute(owner).map_err(|_| unknown())?;
    let rtype: RecordType = rtype.parse().map_err(|_| unknown())?;
    if !owner.is_at_or_below(&zone.origin) {
        return Err(unknown());
    }
    let before_origin = owner.as_wire().len() - zone.origin.as_wire().len();
    let labels = owner.as_wire().get(..before_origin).ok_or_else(unknown)?;
    Ok(match zone.nodes.find(labels) {
        Ok(node) => (node, Some(rtype)),
        Err(node) => (node, None),
    })
}

fn sorted<'z>(node: &ZoneNode<'z>) -> Vec<RrSet<'z>> {
    let mut sets: Vec<RrSet<'z>> = node.sets().collect();
    sets.sort_by_key(|set| set.rtype);
    sets
}

fn record_set(owner: &Name, set: RrSet<'_>) -> RecordSet {
    let data = set.rdatas().map(|rdata| presented(set.rtype, rdata)).collect();
    RecordSet { owner: owner.to_string(), rtype: set.rtype.to_string(), ttl: set.ttl.as_secs(), data }
}

/// RDATA as people write it.
pub fn presented(rtype: RecordType, rdata: &[u8]) -> String {
    let read = if matches!(rtype, RecordType::TXT | RecordType::SPF) { strings(rdata) } else { decoded(rtype, rdata) };
    read.unwrap_or_else(|| {
        let digits: String = rdata.iter().map(|octet| format!("{octet:02x}")).collect();
        format!("\\# {} {digits}", rdata.len()).trim_end().to_owned()
    })
}

/// Character-strings (RFC 1035 section 3.3), each in quotes.
fn strings(mut rdata: &[u8]) -> Option<String> {
    let mut quoted = Vec::new();
    while let Some((&length, rest)) = rdata.split_first() {
        let (text, rest) = rest.split_at_checked(usize::from(length))?;
        let escaped = text.iter().map(|&octet| match octet {
            b'"' | b'\\' => format!("\\{}", char::from(octet)),
            b' '..=b'~' => char::from(octet).to_string(),
            _ => format!("\\{octet:03}"),
        });
        quoted.push(format!("\"{}\"", escaped.collect::<String>()));
        rdata = rest;
    }
    (!quoted.is_empty()).then(|| quoted.join(" "))
}

/// By way of a message that has this record alone.
fn decoded(rtype: RecordType, rdata: &[u8]) -> Option<String> {
    let mut message = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
    message.extend_from_slice(&rtype.0.to_be_bytes());
    message.extend_from_slice(&[0, 1, 0, 0, 0, 0]); // IN, TTL 0
    message.extend_from_slice(&u16::try_from(rdata.len()).ok()?.to_be_bytes());
    message.extend_from_slice(rdata);
    rtype.mnemonic()?;
    let message = Message::from_vec(&message).ok()?;
    match &message.answers.first()?.data {
        hickory_proto::rr::RData::Unknown { .. } => None,
        data => Some(data.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rdata_is_shown_as_people_write_it() {
        assert_eq!(presented(RecordType::A, &[192, 0, 2, 1]), "192.0.2.1");
        assert_eq!(presented(RecordType::TXT, b"\x03a b"), "\"a b\"");
        assert_eq!(presented(RecordType::TXT, b"\x03\"\\\x07\x01b"), r#""\"\\\007" "b""#);
        assert_eq!(presented(RecordType::TXT, b"\x03a"), "\\# 2 0361");
        // RFC 3597 section 5: of an unknown type, and of what is not as its type wants it.
        assert_eq!(presented(RecordType(65399), &[1, 0xab]), "\\# 2 01ab");
        assert_eq!(presented(RecordType(65399), &[]), "\\# 0");
        assert_eq!(presented(RecordType::A, &[192, 0, 2]), "\\# 3 c00002");
    }
}
