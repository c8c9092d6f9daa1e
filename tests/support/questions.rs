//! Questions that nobody wrote by hand: as resolvers send them, odd ones, and broken ones, from a
//! seed, so that a run can be had again.
//!
//! In: the model that is served. Out: packets without end, of at most [`MOST_OCTETS`], whose IDs
//! are numbered, so that replies are told apart however they come.
//!
//! - [`Questions::any`]: everything that may come: names that are there, below and beside them;
//!   types, classes, opcodes; EDNS with all options; extra records; one in eight broken
//! - [`Questions::plain`]: what most clients ask: a service's A or AAAA, with or without EDNS and ECS

use fastrand::Rng;
use meridian::model::{Model, Name, Zone};

use super::dns::{Ask, Opt, subnet_option};

/// As much as fits a frame of Ethernet beside its headers, so that every transport can carry it.
pub const MOST_OCTETS: usize = 1_400;

const A: u16 = 1;
const AAAA: u16 = 28;
const HTTPS: u16 = 65;

/// Asked for often: where answers are.
const COMMON_TYPES: [u16; 8] = [A, A, AAAA, AAAA, HTTPS, 16, 2, 255];
/// NS CNAME SOA PTR HINFO MX SRV NAPTR DNAME OPT DS RRSIG NSEC DNSKEY SVCB CAA TKEY TSIG IXFR AXFR …
const RARE_TYPES: [u16; 26] =
    [0, 2, 5, 6, 12, 13, 15, 33, 35, 39, 41, 43, 46, 47, 48, 50, 52, 64, 99, 249, 250, 251, 252, 253, 257, 65_535];
const PAYLOADS: [u16; 9] = [0, 12, 511, 512, 600, 1_232, 1_233, 4_096, 65_535];

/// Packets from a seed.
pub struct Questions {
    chance: Rng,
    /// In wire form, as written in the files.
    names: Vec<Vec<u8>>,
    services: Vec<Vec<u8>>,
    asked: u16,
}

impl Questions {
    /// About the names of this model; the same ones for the same seed.
    pub fn about(model: &Model, seed: u64) -> Questions {
        let wire = |name: &Name| name.as_wire().to_vec();
        let names_of =
            |zone: &'_ Zone| zone.nodes.iter().map(|node| wire(&node.name(&zone.origin))).collect::<Vec<_>>();
        let names = model.zones.iter().flat_map(names_of).collect();
        let services = model.services.iter().map(|service| wire(&service.name)).collect();
        Questions { chance: Rng::with_seed(seed), names, services, asked: 0 }
    }

    /// Anything that may come in one packet. Shorter than two octets, it has no ID.
    pub fn any(&mut self) -> Vec<u8> {
        let mut packet = match self.chance.u8(..100) {
            0 => self.noise(),
            1..60 => self.ask().wire(),
            _ => self.usual().wire(),
        };
        if self.one_in(30) {
            self.add_record(&mut packet);
        }
        if self.one_in(8) {
            self.break_up(&mut packet);
        }
        packet.truncate(MOST_OCTETS);
        self.number(packet)
    }

    /// A service's A or AAAA, as resolvers ask: nothing in it keeps it from a short way to its answer.
    pub fn plain(&mut self) -> Vec<u8> {
        let name = pick(&mut self.chance, &self.services).cloned().unwrap_or_else(|| vec![0]);
        let name = name_under_wildcard(&mut self.chance, name);
        let name = if self.one_in(4) { mixed_case(&mut self.chance, name) } else { name };
        let qtype = if self.chance.bool() { A } else { AAAA };
        let flags = if self.one_in(3) { 0x0100 } else { 0 };
        let mut ask = Ask { id: 0, flags, name, qtype, qclass: 1, edns: None };
        if self.chance.u8(..4) > 0 {
            let options = if self.chance.u8(..3) > 0 { vec![(8, self.good_subnet())] } else { Vec::new() };
            let payload = if self.chance.bool() { 1_232 } else { 4_096 };
            ask.edns = Some(Opt { payload, version: 0, dnssec_ok: false, options });
        }
        self.number(ask.wire())
    }

    fn number(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        self.asked = self.asked.wrapping_add(1);
        if let Some(id) = packet.first_chunk_mut() {
            *id = self.asked.to_be_bytes();
        }
        packet
    }

    fn one_in(&mut self, times: u32) -> bool {
        self.chance.u32(..times) == 0
    }

    /// A name that is there, asked for as is usual.
    fn usual(&mut self) -> Ask {
        let from = if self.chance.bool() { &self.services } else { &self.names };
        let name = pick(&mut self.chance, from).cloned().unwrap_or_else(|| vec![0]);
        let name = name_under_wildcard(&mut self.chance, name);
        let qtype = *pick(&mut self.chance, &COMMON_TYPES).unwrap_or(&A);
        Ask { id: 0, flags: 0x0100, name, qtype, qclass: 1, edns: self.edns() }
    }

    fn ask(&mut self) -> Ask {
        let name = self.name();
        let qtype = match self.chance.u8(..10) {
            0 => self.chance.u16(..),
            1..5 => *pick(&mut self.chance, &RARE_TYPES).unwrap_or(&A),
            _ => *pick(&mut self.chance, &COMMON_TYPES).unwrap_or(&A),
        };
        let qclass = if self.one_in(20) { *pick(&mut self.chance, &[0, 3, 4, 254, 255]).unwrap_or(&3) } else { 1 };
        Ask { id: 0, flags: self.flags(), name, qtype, qclass, edns: self.edns() }
    }

    /// QR and other opcodes now and then; all other flags at will.
    fn flags(&mut self) -> u16 {
        let response = if self.one_in(50) { 0x8000 } else { 0 };
        let opcode = if self.one_in(25) { self.chance.u16(..16) << 11 } else { 0 };
        response | opcode | self.chance.u16(..) & 0x07ff
    }

    fn name(&mut self) -> Vec<u8> {
        let from = if self.one_in(3) { &self.services } else { &self.names };
        let name = pick(&mut self.chance, from).cloned().unwrap_or_else(|| vec![0]);
        match self.chance.u8(..16) {
            0 => vec![0],
            1 => below(&mut self.chance, vec![0], 3),
            2..5 => below(&mut self.chance, name, 2),
            5 => below(&mut self.chance, name, 127), // as long as a name can be
            6 => parent_of(&name),
            7 => sibling_of(&mut self.chance, &name),
            8..11 => mixed_case(&mut self.chance, name),
            _ => name_under_wildcard(&mut self.chance, name),
        }
    }

    fn edns(&mut self) -> Option<Opt> {
        if self.one_in(4) {
            return None;
        }
        let payload = if self.chance.bool() { 1_232 } else { *pick(&mut self.chance, &PAYLOADS).unwrap_or(&512) };
        let version = if self.one_in(40) { self.chance.u8(..) } else { 0 };
        let mut options = Vec::new();
        for _ in 0..self.chance.u8(..3) {
            options.push(self.option());
        }
        Some(Opt { payload, version, dnssec_ok: self.one_in(4), options })
    }

    /// ECS, NSID, cookies, keepalive, padding, unknown ones; some malformed.
    fn option(&mut self) -> (u16, Vec<u8>) {
        match self.chance.u8(..12) {
            0..5 => (8, self.good_subnet()),
            5 => (8, self.odd_subnet()),
            6 | 7 => (3, if self.one_in(8) { vec![1] } else { Vec::new() }),
            8 | 9 => (10, self.octets(&[8, 8, 16, 24, 40, 7, 0])),
            10 => (12, vec![0; self.chance.usize(..64)]),
            _ => (self.chance.u16(..), self.octets(&[0, 2, 4, 100])),
        }
    }

    fn octets(&mut self, lengths: &[usize]) -> Vec<u8> {
        let length = *pick(&mut self.chance, lengths).unwrap_or(&0);
        (0..length).map(|_| self.chance.u8(..)).collect()
    }

    /// Well-formed ECS (RFC 7871 section 6): the demo's clients, anybody, and nobody (/0).
    fn good_subnet(&mut self) -> Vec<u8> {
        let (address, bits): (std::net::IpAddr, u8) = match self.chance.u8(..8) {
            0 => (self.chance.u128(..).to_be_bytes().into(), self.chance.u8(..129)),
            1 => ((0x2001_0db8_u128 << 96 | self.chance.u128(..) >> 32).to_be_bytes().into(), 56),
            2 => (self.chance.u32(..).to_be_bytes().into(), self.chance.u8(..33)),
            _ => ([127, self.chance.u8(..), self.chance.u8(..), 0].into(), 24),
        };
        let mut option = subnet_option(address, bits);
        // "the remaining bits MUST be set to zero" beyond the prefix.
        if let (Some(last), rest @ 1..) = (option.get_mut(4..).and_then(|octets| octets.last_mut()), bits % 8) {
            *last &= 0xff << (8 - rest);
        }
        option
    }

    fn odd_subnet(&mut self) -> Vec<u8> {
        let mut option = self.good_subnet();
        let at = self.chance.usize(..option.len());
        match self.chance.u8(..3) {
            0 => option.truncate(at),
            1 => option.push(self.chance.u8(..)),
            _ => option[at] = self.chance.u8(..),
        }
        option
    }

    /// One record more, in any section: another OPT, a TSIG, or something that does not matter.
    fn add_record(&mut self, packet: &mut Vec<u8>) {
        let section = 2 * self.chance.usize(3..6);
        let rtype: u16 = *pick(&mut self.chance, &[41, 250, 250, A, 16]).unwrap_or(&A);
        let Some(count) = packet.get_mut(section..section + 2) else { return };
        count[1] = count[1].wrapping_add(1);
        let (owner, rdata): (&[u8], Vec<u8>) = match rtype {
            41 => (&[0], Vec::new()),
            250 => (b"\x03key\0", [&b"\x0bhmac-sha256\0"[..], &[0; 8], &[0, 2, 7, 7], &[0; 6]].concat()),
            _ => (&[0xc0, 12], self.octets(&[0, 4, 16])),
        };
        packet.extend_from_slice(owner);
        packet.extend(rtype.to_be_bytes());
        packet.extend([0, if rtype == 250 { 255 } else { 1 }, 0, 0, 0, 0]);
        packet.extend((rdata.len() as u16).to_be_bytes());
        packet.extend(rdata);
    }

    fn break_up(&mut self, packet: &mut Vec<u8>) {
        for _ in 0..self.chance.usize(1..5) {
            if packet.is_empty() {
                return;
            }
            let at = self.chance.usize(..packet.len());
            match self.chance.u8(..7) {
                0 => packet.truncate(at),
                1 => packet.push(self.chance.u8(..)),
                2 => packet.insert(at, self.chance.u8(..)),
                3 => packet[at] ^= 1 << self.chance.u8(..8),
                4 => packet[at] = *pick(&mut self.chance, &[0, 1, 63, 64, 0xc0, 0xff]).unwrap_or(&0),
                5 => packet[at] = self.chance.u8(..),
                // One of the header's counts, or its flags.
                _ => packet.iter_mut().take(12).skip(2).for_each(|octet| *octet ^= u8::from(self.chance.u8(..8) == 0)),
            }
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        (0..self.chance.usize(..MOST_OCTETS)).map(|_| self.chance.u8(..)).collect()
    }
}

fn pick<'a, T>(chance: &mut Rng, from: &'a [T]) -> Option<&'a T> {
    from.get(chance.usize(..from.len().max(1)))
}

/// A name of labels put in front, up to 255 octets in all.
fn below(chance: &mut Rng, name: Vec<u8>, labels: usize) -> Vec<u8> {
    let mut name = name;
    for _ in 0..chance.usize(1..=labels) {
        let room = 255_usize.saturating_sub(name.len() + 1).min(63);
        if room == 0 {
            break;
        }
        let length = if chance.u8(..4) == 0 { chance.usize(1..=room) } else { room.min(chance.usize(1..9)) };
        name.splice(..0, label(chance, length));
    }
    name
}

/// With its length. Most are letters; some any octets.
fn label(chance: &mut Rng, length: usize) -> Vec<u8> {
    let any = chance.u8(..8) == 0;
    let octet = |chance: &mut Rng| if any { chance.u8(..) } else { chance.alphanumeric() as u8 };
    std::iter::once(length as u8).chain((0..length).map(|_| octet(chance))).collect()
}

fn parent_of(name: &[u8]) -> Vec<u8> {
    let first = name.first().copied().map_or(0, usize::from);
    match first {
        0 => vec![0],
        length => name[1 + length..].to_vec(),
    }
}

fn sibling_of(chance: &mut Rng, name: &[u8]) -> Vec<u8> {
    below(chance, parent_of(name), 1)
}

fn mixed_case(chance: &mut Rng, mut name: Vec<u8>) -> Vec<u8> {
    // Lengths of labels are below any letter.
    name.iter_mut().filter(|octet| octet.is_ascii_alphabetic() && chance.bool()).for_each(|octet| *octet ^= 0x20);
    name
}

/// For `*.apps.example` mostly some name that it stands for; every other name as it is.
fn name_under_wildcard(chance: &mut Rng, name: Vec<u8>) -> Vec<u8> {
    match name.strip_prefix(b"\x01*") {
        Some(rest) if chance.u8(..4) > 0 => below(chance, rest.to_vec(), 2),
        _ => name,
    }
}
