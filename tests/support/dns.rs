//! A question as octets, a reply as text. Octets are put together here, by hand, so that a
//! malformed question is as easy as a good one; replies are decoded by hickory-proto, which
//! knows nothing of how they were written.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::{RData, Record};
use meridian::model::{Name, Prefix, RecordType};

/// The longest wait for a reply from loopback, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(5);

/// A question to be.
#[derive(Clone)]
pub struct Ask {
    pub id: u16,
    /// The second pair of octets: QR, opcode, flags.
    pub flags: u16,
    /// QNAME in wire form.
    pub name: Vec<u8>,
    pub qtype: u16,
    pub qclass: u16,
    pub edns: Option<Opt>,
}

/// An OPT record to be.
#[derive(Clone)]
pub struct Opt {
    pub payload: u16,
    pub version: u8,
    pub dnssec_ok: bool,
    /// Code and data.
    pub options: Vec<(u16, Vec<u8>)>,
}

impl Ask {
    /// A plain query of class IN without EDNS. The name is absolute, its case is kept.
    pub fn new(name: &str, qtype: &str) -> Ask {
        let name = Name::parse_absolute(name).expect("a name");
        let qtype: RecordType = qtype.parse().expect("a type");
        Ask { id: 0x4d52, flags: 0x0100, name: name.as_wire().to_vec(), qtype: qtype.0, qclass: 1, edns: None }
    }

    pub fn class(self, qclass: u16) -> Ask {
        Ask { qclass, ..self }
    }

    pub fn flags(self, flags: u16) -> Ask {
        Ask { flags, ..self }
    }

    pub fn edns(mut self, change: impl FnOnce(&mut Opt)) -> Ask {
        let opt = self.edns.get_or_insert(Opt { payload: 1232, version: 0, dnssec_ok: false, options: Vec::new() });
        change(opt);
        self
    }

    pub fn payload(self, payload: u16) -> Ask {
        self.edns(|opt| opt.payload = payload)
    }

    pub fn option(self, code: u16, data: &[u8]) -> Ask {
        self.edns(|opt| opt.options.push((code, data.to_vec())))
    }

    /// With EDNS Client Subnet, such as `127.82.0.0/24`.
    pub fn subnet(self, prefix: &str) -> Ask {
        let prefix: Prefix = prefix.parse().expect("a prefix");
        self.option(8, &subnet_option(prefix.address(), prefix.len()))
    }

    pub fn wire(&self) -> Vec<u8> {
        let mut wire = Vec::new();
        for field in [self.id, self.flags, 1, 0, 0, u16::from(self.edns.is_some())] {
            wire.extend(field.to_be_bytes());
        }
        wire.extend(&self.name);
        wire.extend(self.qtype.to_be_bytes());
        wire.extend(self.qclass.to_be_bytes());
        wire.extend(self.edns.iter().flat_map(Opt::wire));
        wire
    }
}

impl Opt {
    pub fn wire(&self) -> Vec<u8> {
        let options: Vec<u8> = self
            .options
            .iter()
            .flat_map(|(code, data)| [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat())
            .collect();
        let flags = if self.dnssec_ok { 0x80 } else { 0 };
        [
            &[0, 0, 41][..],
            &self.payload.to_be_bytes(),
            &[0, self.version, flags, 0],
            &(options.len() as u16).to_be_bytes(),
            &options,
        ]
        .concat()
    }
}

/// The data of an ECS option (RFC 7871 section 6).
pub fn subnet_option(address: IpAddr, source: u8) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    [&[0, family, source, 0][..], &octets[..usize::from(source).div_ceil(8)]].concat()
}

/// A reply, whole and well-formed.
#[derive(Clone, Debug)]
pub struct Reply {
    pub octets: Vec<u8>,
    pub message: Message,
}

impl Reply {
    /// Decodes; a reply that no one can decode fails the test.
    pub fn read(octets: Vec<u8>) -> Reply {
        let message = Message::from_vec(&octets)
            .unwrap_or_else(|error| panic!("a reply that does not decode: {error}: {octets:02x?}"));
        Reply { octets, message }
    }

    pub fn rcode(&self) -> ResponseCode {
        self.message.metadata.response_code
    }

    pub fn is_authoritative(&self) -> bool {
        self.message.metadata.authoritative
    }

    pub fn is_truncated(&self) -> bool {
        self.message.metadata.truncation
    }

    /// `www.example. 30 IN A 192.0.2.1`, sorted.
    pub fn answers(&self) -> Vec<String> {
        lines(&self.message.answers)
    }

    /// In the order they came.
    pub fn answers_in_order(&self) -> Vec<String> {
        self.message.answers.iter().map(line).collect()
    }

    pub fn authority(&self) -> Vec<String> {
        lines(&self.message.authorities)
    }

    /// Without OPT.
    pub fn additional(&self) -> Vec<String> {
        lines(&self.message.additionals)
    }

    /// The data of all answers, sorted.
    pub fn data(&self) -> Vec<String> {
        let mut data: Vec<String> = self.message.answers.iter().map(|record| record.data.to_string()).collect();
        data.sort();
        data
    }

    pub fn ttl(&self) -> Option<u32> {
        self.message.answers.first().map(|record| record.ttl)
    }

    pub fn subnet(&self) -> Option<&ClientSubnet> {
        match self.message.edns.as_ref()?.option(EdnsCode::Subnet)? {
            EdnsOption::Subnet(subnet) => Some(subnet),
            _ => None,
        }
    }

    /// SCOPE PREFIX-LENGTH of the ECS option.
    pub fn scope(&self) -> Option<u8> {
        self.subnet().map(ClientSubnet::scope_prefix)
    }

    /// The data of an EDNS option that hickory-proto does not read.
    pub fn has_option(&self, code: u16) -> bool {
        self.message.edns.as_ref().is_some_and(|edns| edns.option(code.into()).is_some())
    }
}

fn lines(records: &[Record]) -> Vec<String> {
    let mut lines: Vec<String> = records.iter().map(line).collect();
    lines.sort();
    lines
}

/// As hickory-proto shows it, but DNAME, which it does not read.
fn line(record: &Record) -> String {
    match &record.data {
        RData::Unknown { code, rdata } if u16::from(*code) == RecordType::DNAME.0 => {
            let target = Name::from_wire(&rdata.anything).expect("an uncompressed name (RFC 6672 section 2.5)");
            format!("{} {} IN DNAME {target}", record.name, record.ttl)
        }
        _ => record.to_string(),
    }
}

/// Sends octets from any loopback port, and gives what comes back; `None` where nothing does
/// within `wait`.
pub fn exchange_udp(server: SocketAddr, octets: &[u8], wait: Duration) -> Option<Vec<u8>> {
    let from: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    exchange_udp_from(from, server, octets, wait)
}

/// As [`exchange_udp`], from an address of this machine.
pub fn exchange_udp_from(from: SocketAddr, server: SocketAddr, octets: &[u8], wait: Duration) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind(from).expect("a UDP socket");
    socket.connect(server).expect("connect");
    socket.set_read_timeout(Some(wait)).expect("a timeout");
    socket.send(octets).expect("send");
    let mut reply = vec![0; 65_535];
    let len = socket.recv(&mut reply).ok()?;
    reply.truncate(len);
    Some(reply)
}

/// Sends messages over one connection, and gives what comes back until `replies` have come or the
/// server closes.
pub fn exchange_tcp(server: SocketAddr, messages: &[&[u8]], replies: usize) -> Vec<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    for message in messages {
        let framed = [&(message.len() as u16).to_be_bytes()[..], message].concat();
        stream.write_all(&framed).expect("write");
    }
    let mut received = Vec::new();
    while received.len() < replies {
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_err() {
            break;
        }
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply).expect("a whole message");
        received.push(reply);
    }
    received
}

/// Asks over UDP.
pub fn udp(server: SocketAddr, ask: &Ask) -> Reply {
    Reply::read(exchange_udp(server, &ask.wire(), PATIENCE).expect("a reply over UDP"))
}

/// Asks over UDP as the client at `from`.
pub fn udp_from(from: IpAddr, server: SocketAddr, ask: &Ask) -> Reply {
    Reply::read(exchange_udp_from((from, 0).into(), server, &ask.wire(), PATIENCE).expect("a reply over UDP"))
}

/// Asks over TCP.
pub fn tcp(server: SocketAddr, ask: &Ask) -> Reply {
    Reply::read(exchange_tcp(server, &[&ask.wire()], 1).pop().expect("a reply over TCP"))
}
