//! What clients ask, over UDP and TCP at bounded rates, and what must hold of the answers.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, Record};

use crate::databases;
use crate::facts::Facts;
use crate::support::dns::{self, Ask, Reply};
use crate::world::{POISON, SERVICES, TTLS};

/// Who has not answered by then has lost the query.
const PATIENCE: Duration = Duration::from_secs(5);
/// From one exchange to the next.
const PACE: Duration = Duration::from_millis(2);
/// Queries over one TCP connection.
const OVER_ONE: usize = 50;
/// Two answers are of one moment if no more time lies between them: no region goes and comes back in less.
const MOMENT: Duration = Duration::from_millis(50);

pub fn start(dns: SocketAddr, facts: &Arc<Facts>, over: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
    let start = |seed: u64| {
        let (facts, over) = (facts.clone(), over.clone());
        std::thread::spawn(move || {
            let transport: Box<dyn Transport> =
                if seed.is_multiple_of(2) { Box::new(Udp::new(dns)) } else { Box::new(Tcp::new(dns)) };
            let mut client = Client { transport, facts, rng: Rng::with_seed(seed), newest: [0; 2] };
            while !over.load(Ordering::SeqCst) {
                client.ask_something();
                std::thread::sleep(PACE);
            }
        })
    };
    (0..4).map(start).collect()
}

/// Asks for each service for some clients, once everything is over.
pub fn some_of_each(dns: SocketAddr, facts: &Facts) {
    let mut rng = Rng::new();
    for (service, most) in SERVICES {
        for _ in 0..10 {
            let before = facts.view();
            let reply = dns::udp(dns, &steered(service, "A", &mut rng));
            facts.judge_addresses(service, &before, &addresses(&reply), most);
        }
    }
}

/// The serial of a zone, over TCP.
pub fn serial(dns: SocketAddr, zone: &str) -> Option<u32> {
    serial_in(&dns::tcp(dns, &Ask::new(zone, "SOA")).message.answers)
}

trait Transport {
    /// The reply; `None`: it was lost.
    fn exchange(&mut self, ask: &Ask) -> Option<Reply>;

    fn name(&self) -> &'static str;
}

struct Client {
    transport: Box<dyn Transport>,
    facts: Arc<Facts>,
    rng: Rng,
    /// Of the zones of notes: what was seen never goes back.
    newest: [u32; 2],
}

impl Client {
    fn ask_something(&mut self) {
        match self.rng.u32(..8) {
            0..4 => _ = self.steered(),
            4 => _ = self.families(),
            5 => _ = self.pair(),
            6 => _ = self.alias(),
            _ => _ = self.across(),
        }
    }

    fn ask(&mut self, ask: Ask) -> Option<Reply> {
        let ask = Ask { id: self.rng.u16(..), ..ask };
        let reply = self.transport.exchange(&ask);
        let counts = &self.facts.counts;
        let (answered, lost) = match self.transport.name() {
            "TCP" => (&counts.tcp, &counts.lost_tcp),
            _ => (&counts.udp, &counts.lost_udp),
        };
        let count = |of: &AtomicU64| _ = of.fetch_add(1, Ordering::Relaxed);
        count(if reply.is_some() { answered } else { lost });
        if let Some(reply) = &reply
            && (reply.rcode() != ResponseCode::NoError || reply.message.answers.is_empty())
        {
            self.facts.blame(format!("{:?} has no answer: {}", ask.name, reply.message));
            return None;
        }
        reply
    }

    /// Some client's region of some service.
    fn steered(&mut self) -> Option<()> {
        let (service, most) = SERVICES[self.rng.usize(..SERVICES.len())];
        let before = self.facts.view();
        let ask = steered(service, "A", &mut self.rng);
        let reply = self.ask(ask)?;
        self.facts.judge_addresses(service, &before, &addresses(&reply), most);
        self.judge_ttl(&reply);
        Some(())
    }

    /// All addresses of one answer are one region's; IPv6 is of the region that IPv4 is of before and after.
    fn families(&mut self) -> Option<()> {
        let (before, began, client) = (self.facts.view(), Instant::now(), self.rng.u64(..));
        let mut of = |qtype: &str| {
            let ask = steered_in("www.open.example", qtype, &mut Rng::with_seed(client));
            let reply = self.ask(ask)?;
            self.judge_ttl(&reply);
            let (addresses, expected) = (addresses(&reply), if qtype == "A" { 2 } else { 1 });
            if addresses.len() != expected {
                self.facts.blame(format!("{qtype} of www.open.example: {addresses:?}"));
            }
            Some(self.facts.judge_addresses("www.open.example", &before, &addresses, 1))
        };
        let (first, between, last) = (of("A")?, of("AAAA")?, of("A")?);
        if first == last && between != first && began.elapsed() < MOMENT {
            self.facts.blame(format!("A, AAAA and A of www.open.example are of {first:?}, {between:?} and {last:?}"));
        }
        Some(())
    }

    /// Records that are edited together, in one answer, and in several between two of the same serial.
    fn pair(&mut self) -> Option<()> {
        let (editions, number) = (self.facts.view().editions, self.rng.usize(..2));
        let zone = format!("notes{number}.example");
        let first = self.serial_of(number, &editions)?;
        let pair = self.ask(Ask::new(&format!("pair.{zone}"), "TXT"))?;
        let one = self.ask(Ask::new(&format!("one.{zone}"), "TXT"))?;
        let last = self.serial_of(number, &editions)?;
        let (mut pair, one) = (texts(&pair), texts(&one));
        pair.sort();
        let of_one = |edition: &str| pair == [format!("a={edition}"), format!("b={edition}")];
        if !pair.first().is_some_and(|first| of_one(first.trim_start_matches("a="))) {
            self.facts.blame(format!("pair.{zone} is of several editions: {pair:?}"));
        }
        if first == last && (!of_one(&first.to_string()) || one != [first.to_string()]) {
            self.facts.blame(format!("between serials {first} and {last} of {zone}: {pair:?}, {one:?}"));
        }
        Some(())
    }

    /// A message with records of several names, and the serial beside them.
    fn alias(&mut self) -> Option<()> {
        let (editions, number) = (self.facts.view().editions, self.rng.usize(..2));
        let reply = self.ask(Ask::new(&format!("at.notes{number}.example"), "A"))?;
        let serial = serial_in(&reply.message.authorities);
        let target = reply.message.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) => Some(target.to_string()),
            _ => None,
        });
        match serial {
            Some(serial) if target == Some(format!("t-{serial}.notes{number}.example.")) => {
                self.judge_serial(number, serial, &editions)
            }
            _ => self.facts.blame(format!("an alias beside serial {serial:?} leads to {target:?}")),
        }
        let reply = self.ask(Ask::new(&format!("at.notes{number}.example"), "TXT"))?;
        let target = reply.message.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) => Some(target.to_string()),
            _ => None,
        });
        let texts = texts(&reply);
        if texts.len() != 1 || target != Some(format!("t-{}.notes{number}.example.", texts[0])) {
            self.facts.blame(format!("an alias leads to {target:?}, which says {texts:?}"));
        }
        Some(())
    }

    /// All zones are edited together, too.
    fn across(&mut self) -> Option<()> {
        let editions = self.facts.view().editions;
        let first = self.serial_of(0, &editions)?;
        let between = self.serial_of(1, &editions)?;
        let last = self.serial_of(0, &editions)?;
        if first == last && between != first {
            self.facts.blame(format!("two zones of one edition have serials {first} and {between}"));
        }
        Some(())
    }

    fn serial_of(&mut self, number: usize, editions: &RangeInclusive<u32>) -> Option<u32> {
        let reply = self.ask(Ask::new(&format!("notes{number}.example"), "SOA"))?;
        let serial = serial_in(&reply.message.answers).unwrap_or(POISON);
        self.judge_serial(number, serial, editions);
        Some(serial)
    }

    /// A serial is one that was confirmed before it was asked for, or of a file written since; none goes back.
    fn judge_serial(&mut self, number: usize, serial: u32, before: &RangeInclusive<u32>) {
        let may_be = *before.start()..=*self.facts.view().editions.end();
        if !may_be.contains(&serial) || serial < self.newest[number] {
            let newest = self.newest[number];
            self.facts.blame(format!("serial {serial} of notes{number}.example, of {may_be:?}, after {newest}"));
        }
        self.newest[number] = serial;
    }

    fn judge_ttl(&self, reply: &Reply) {
        let ttls: Vec<u32> = reply.message.answers.iter().map(|record| record.ttl).collect();
        if ttls.iter().any(|ttl| !TTLS.contains(ttl) || *ttl != ttls[0]) {
            self.facts.blame(format!("TTLs {ttls:?}: {}", reply.message));
        }
    }
}

fn steered(service: &str, qtype: &str, rng: &mut Rng) -> Ask {
    steered_in(&format!("{service}.gslb.example"), qtype, rng)
}

/// For a client somewhere.
fn steered_in(name: &str, qtype: &str, rng: &mut Rng) -> Ask {
    let IpAddr::V4(client) = databases::v4_address(rng) else { unreachable!("it is of IPv4") };
    let [a, b, c, _] = client.octets();
    Ask::new(name, qtype).subnet(&format!("{}/24", Ipv4Addr::new(a, b, c, 0)))
}

fn addresses(reply: &Reply) -> Vec<IpAddr> {
    let address = |record: &Record| match &record.data {
        RData::A(v4) => Some(IpAddr::V4(v4.0)),
        RData::AAAA(v6) => Some(IpAddr::V6(v6.0)),
        _ => None,
    };
    reply.message.answers.iter().filter_map(address).collect()
}

fn texts(reply: &Reply) -> Vec<String> {
    let text = |record: &Record| match &record.data {
        RData::TXT(text) => Some(text.to_string()),
        _ => None,
    };
    reply.message.answers.iter().filter_map(text).collect()
}

fn serial_in(records: &[Record]) -> Option<u32> {
    records.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    })
}

/// One question at a time, from a port that is another now and then: so each thread of the server gets some.
struct Udp {
    to: SocketAddr,
    socket: UdpSocket,
    asked: usize,
}

impl Udp {
    fn new(to: SocketAddr) -> Udp {
        Udp { to, socket: Udp::socket(to), asked: 0 }
    }

    fn socket(to: SocketAddr) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(to).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    }
}

impl Transport for Udp {
    fn exchange(&mut self, ask: &Ask) -> Option<Reply> {
        self.asked += 1;
        if self.asked.is_multiple_of(OVER_ONE) {
            self.socket = Udp::socket(self.to);
        }
        self.socket.send(&ask.wire()).ok()?;
        let mut octets = [0; 4_096];
        loop {
            let length = self.socket.recv(&mut octets).ok()?;
            if octets[..2] == ask.id.to_be_bytes() {
                return Some(Reply::read(octets[..length].to_vec()));
            }
        }
    }

    fn name(&self) -> &'static str {
        "UDP"
    }
}

/// Some questions over one connection, then another connection.
struct Tcp {
    to: SocketAddr,
    stream: Option<TcpStream>,
    asked: usize,
}

impl Tcp {
    fn new(to: SocketAddr) -> Tcp {
        Tcp { to, stream: None, asked: 0 }
    }

    fn over(stream: &mut TcpStream, ask: &Ask) -> std::io::Result<Vec<u8>> {
        let wire = ask.wire();
        stream.write_all(&[&(wire.len() as u16).to_be_bytes()[..], &wire].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut octets)?;
        Ok(octets)
    }
}

impl Transport for Tcp {
    fn exchange(&mut self, ask: &Ask) -> Option<Reply> {
        self.asked += 1;
        if self.asked.is_multiple_of(OVER_ONE) {
            self.stream = None;
        }
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.to).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).ok()?;
            self.stream = Some(stream);
        }
        let octets = Tcp::over(self.stream.as_mut()?, ask);
        if octets.is_err() {
            self.stream = None;
        }
        octets.ok().map(Reply::read)
    }

    fn name(&self) -> &'static str {
        "TCP"
    }
}
