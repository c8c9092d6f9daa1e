//! The records that endpoints are answered with, as they stand in messages: address records, and the hints of HTTPS
//! records.
//!
//! Comes from the model, once per load. Whoever answers copies it and fills in the TTL; which endpoint
//! it is was decided elsewhere.

use std::net::IpAddr;

use crate::model::{Endpoint, EndpointTarget, HttpsHint, Model, RecordType, RegionId, ServiceId};
use crate::wire::HEADER_OCTETS;
use crate::wire::records::{QUESTION_OWNER, Records, Section};

/// The records of every endpoint of every region, for the question's name, with a TTL of 0.
#[derive(Debug, Default)]
pub struct EndpointRecords {
    octets: Box<[u8]>,
    /// By region: its first endpoint among all.
    firsts: Box<[u32]>,
    /// By endpoint: where each of its [`Part`]s begins; last where all end.
    begins: Box<[u32]>,
    /// By service.
    https: Box<[Option<Box<[u8]>>]>,
}

/// The parts of an endpoint's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All its A records, [`A_OCTETS`] each.
    A,
    /// All its AAAA records, [`AAAA_OCTETS`] each.
    Aaaa,
    /// `ipv4hint` and `ipv6hint` of RFC 9460 section 7.3, as far as it has addresses.
    Hints,
}

const PARTS: usize = 3;

/// Octets of an address record whose owner is a pointer.
pub const A_OCTETS: usize = 16;
pub const AAAA_OCTETS: usize = 28;
/// Octets of any record before its RDATA, and where in them TTL and RDLENGTH are.
pub const RECORD_HEAD: usize = 12;
pub const TTL_AT: usize = 6;
pub const RDLENGTH_AT: usize = 10;

impl EndpointRecords {
    pub fn build(model: &Model) -> EndpointRecords {
        let (mut octets, mut firsts, mut begins) = (Vec::new(), Vec::new(), vec![0]);
        for region in &model.regions {
            firsts.push((begins.len() / PARTS) as u32);
            for endpoint in &region.endpoints {
                for part in parts(endpoint) {
                    octets.extend(part);
                    begins.push(octets.len() as u32); // 1,024 regions of 64 endpoints
                }
            }
        }
        let https = model.services.iter().map(|service| service.https.as_ref().map(https_record));
        EndpointRecords { octets: octets.into(), firsts: firsts.into(), begins: begins.into(), https: https.collect() }
    }

    /// Empty where there is nothing of that part.
    #[inline]
    pub fn part(&self, region: RegionId, endpoint: u16, part: Part) -> &[u8] {
        let Some(&first) = self.firsts.get(region.index()) else { return &[] };
        let at = PARTS * (first as usize + usize::from(endpoint)) + part as usize;
        let Some(&[begin, end]) = self.begins.get(at..).and_then(|rest| rest.first_chunk()) else { return &[] };
        self.octets.get(begin as usize..end as usize).unwrap_or_default()
    }

    /// The HTTPS record of a service up to the hints, with an RDLENGTH of 0. `None` where it has none.
    #[inline]
    pub fn https(&self, service: ServiceId) -> Option<&[u8]> {
        self.https.get(service.index())?.as_deref()
    }
}

fn parts(endpoint: &Endpoint) -> [Vec<u8>; PARTS] {
    let addresses = match &endpoint.target {
        EndpointTarget::Addresses(addresses) => &addresses[..],
        EndpointTarget::Host(_) => &[],
    };
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|address| address.is_ipv4());
    let records = |rtype, addresses: &[IpAddr]| -> Vec<u8> {
        addresses.iter().flat_map(|address| record(rtype, &octets_of(*address))).collect()
    };
    const IPV4_HINT: u16 = 4;
    const IPV6_HINT: u16 = 6;
    let hints = [hint(IPV4_HINT, &v4), hint(IPV6_HINT, &v6)].concat();
    [records(RecordType::A, &v4), records(RecordType::AAAA, &v6), hints]
}

fn hint(key: u16, addresses: &[IpAddr]) -> Vec<u8> {
    let value: Vec<u8> = addresses.iter().flat_map(|address| octets_of(*address)).collect();
    if value.is_empty() { value } else { parameter(key, &value) }
}

/// In ServiceMode for the same name (RFC 9460 section 2).
fn https_record(hint: &HttpsHint) -> Box<[u8]> {
    const ALPN: u16 = 1;
    const PORT: u16 = 3;
    let mut rdata = vec![0, 1, 0]; // SvcPriority 1, TargetName "."
    if !hint.alpn.is_empty() {
        // The loader keeps ids within 255 octets.
        let ids: Vec<u8> = hint.alpn.iter().flat_map(|id| [&[id.len() as u8], id.as_bytes()].concat()).collect();
        rdata.extend(parameter(ALPN, &ids));
    }
    if let Some(port) = hint.port {
        rdata.extend(parameter(PORT, &port.to_be_bytes()));
    }
    let mut record = record(RecordType::HTTPS, &rdata);
    if let Some(rdlength) = record.get_mut(RDLENGTH_AT..RECORD_HEAD) {
        rdlength.fill(0);
    }
    record.into()
}

/// A SvcParam (RFC 9460 section 2.2). What is longer than a record can be is left out of it.
fn parameter(key: u16, value: &[u8]) -> Vec<u8> {
    let Ok(length) = u16::try_from(value.len()) else { return Vec::new() };
    [&key.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
}

/// A record of the question's name, with a TTL of 0.
fn record(rtype: RecordType, rdata: &[u8]) -> Vec<u8> {
    let mut out = vec![0; HEADER_OCTETS + RECORD_HEAD + rdata.len()];
    let room = out.len();
    let written = Records::begin(&mut out, &[0; HEADER_OCTETS], room)
        .is_some_and(|mut records| records.plain(Section::Answer, QUESTION_OWNER, rtype, 0, rdata).is_ok());
    if written { out.split_off(HEADER_OCTETS) } else { Vec::new() }
}

fn octets_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
