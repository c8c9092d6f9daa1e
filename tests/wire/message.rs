//! What every reply must be, whatever it answers: header, question, sizes, EDNS.

use std::time::Duration;

use hickory_proto::op::{MessageType, OpCode, ResponseCode};

use crate::support::dns::{Ask, Reply, exchange_tcp, exchange_udp, tcp, udp};
use crate::{query, server};

/// Long enough for a reply that must not come.
const SILENCE: Duration = Duration::from_millis(150);

/// Octets over UDP; `None`: no reply.
fn raw(octets: &[u8]) -> Option<Vec<u8>> {
    exchange_udp(server().dns, octets, SILENCE)
}

fn refused_as(octets: &[u8]) -> ResponseCode {
    let over_udp = exchange_udp(server().dns, octets, Duration::from_secs(5)).expect("a reply");
    let over_tcp = exchange_tcp(server().dns, &[octets], 1).pop().expect("a reply");
    assert_eq!(over_udp, over_tcp);
    let reply = Reply::read(over_udp);
    assert!(!reply.is_authoritative() && reply.answers().is_empty());
    reply.rcode()
}

#[test]
fn rfc1035_4_1_1_the_header_mirrors_the_query() {
    for flags in [0x0000, 0x0100, 0x0110, 0x0030] {
        let reply = server().ask(&Ask { id: 0xbeef, ..Ask::new("www.wire.test", "A").flags(flags) });
        let header = &reply.message.metadata;
        assert_eq!((header.id, header.message_type, header.op_code), (0xbeef, MessageType::Response, OpCode::Query));
        assert_eq!(header.recursion_desired, flags & 0x0100 != 0);
        assert!(!header.recursion_available && !header.authentic_data && header.authoritative);
        assert_eq!(reply.message.queries.len(), 1);
    }
}

#[test]
fn rfc4343_the_askers_case_comes_back_and_the_zones_case_stays() {
    let ask = Ask::new("wWw.WiRe.tEsT", "A");
    let reply = server().ask(&ask);
    assert_eq!(reply.octets[12..12 + ask.name.len()], ask.name);
    assert_eq!(reply.answers()[0], "wWw.WiRe.tEsT. 3600 IN A 192.0.2.80");
    // A name in RDATA is not spelt as the question is, though it ends alike.
    assert_eq!(query("MX.wire.TEST", "MX").data(), ["10 Mail.WIRE.Test."]);
    assert!(query("WIRE.test", "NS").data().contains(&"NS2.Wire.TEST.".to_owned()));
    assert_eq!(query("nO.wire.test", "A").rcode(), ResponseCode::NXDomain);
}

#[test]
fn rfc1035_4_1_4_names_are_compressed() {
    let reply = query("host.child.wire.test", "A");
    let name = b"\x04wire\x04test\0";
    let spelt_out = reply.octets.windows(name.len()).filter(|window| window == name).count();
    assert_eq!(spelt_out, 1, "only the question spells the zone's name: {:02x?}", reply.octets);
}

#[test]
fn rfc1035_2_3_4_the_longest_names_are_answered() {
    let of_255 = format!("{0}.{0}.{0}.{1}.wire.test", "a".repeat(63), "b".repeat(51));
    let ask = Ask::new(&of_255, "A");
    assert_eq!(ask.name.len(), 255);
    assert_eq!(server().ask(&ask).rcode(), ResponseCode::NXDomain);
    let many_labels = format!("{}wire.test", "a.".repeat(122));
    let ask = Ask::new(&many_labels, "A");
    assert_eq!(ask.name.len(), 255);
    assert_eq!(server().ask(&ask).rcode(), ResponseCode::NXDomain);
    assert_eq!(query(&"a.".repeat(127), "A").rcode(), ResponseCode::Refused);
    let below_wildcard = format!("{}wild.wire.test", "a.".repeat(119));
    assert_eq!(query(&below_wildcard, "A").data(), ["192.0.2.99"]);
}

#[test]
fn rfc2181_9_what_does_not_fit_512_octets_is_truncated_and_tcp_has_it_all() {
    let ask = Ask::new("middle.wire.test", "TXT");
    let over_udp = udp(server().dns, &ask);
    assert!(over_udp.is_truncated() && over_udp.octets.len() <= 512);
    assert!(over_udp.answers().is_empty(), "a part of an RRset is worse than none");
    let over_tcp = tcp(server().dns, &ask);
    assert!(!over_tcp.is_truncated());
    assert_eq!(over_tcp.answers().len(), 25);
}

#[test]
fn rfc6891_6_2_5_the_askers_size_is_kept_within_1232_and_opt_stays() {
    let server = server();
    for (payload, fits) in [(0, false), (511, false), (600, false), (1232, true), (4096, true), (65535, true)] {
        let reply = udp(server.dns, &Ask::new("middle.wire.test", "TXT").payload(payload));
        assert_eq!(!reply.is_truncated(), fits, "{payload}");
        assert!(reply.octets.len() <= usize::from(payload).clamp(512, 1232));
        assert_eq!(reply.message.edns.as_ref().map(|edns| edns.max_payload()), Some(1232));
    }
    let big = Ask::new("big.wire.test", "TXT").payload(65_535).subnet("192.0.2.0/24");
    let reply = udp(server.dns, &big);
    assert!(reply.is_truncated() && reply.subnet().is_some());
    assert_eq!(tcp(server.dns, &big).answers().len(), 150);
}

#[test]
fn rfc9471_3_1_glue_that_does_not_fit_is_truncation() {
    let server = server();
    let reply = udp(server.dns, &Ask::new("host.many.wire.test", "A"));
    assert!(reply.is_truncated() && !reply.is_authoritative());
    let reply = udp(server.dns, &Ask::new("host.many.wire.test", "A").payload(1232));
    assert!(!reply.is_truncated());
    assert_eq!((reply.authority().len(), reply.additional().len()), (13, 26));
    let reply = tcp(server.dns, &Ask::new("host.many.wire.test", "A"));
    assert_eq!((reply.authority().len(), reply.additional().len()), (13, 26));
}

#[test]
fn rfc6891_6_1_1_opt_comes_back_only_to_those_who_sent_one() {
    assert!(query("www.wire.test", "A").message.edns.is_none());
    for name in ["www.wire.test", "missing.wire.test", "host.child.wire.test", "elsewhere.invalid"] {
        let edns = server().ask(&Ask::new(name, "A").payload(1232)).message.edns.expect("OPT");
        assert_eq!((edns.version(), edns.flags().dnssec_ok, edns.flags().z), (0, false, 0));
        assert!(edns.options().as_ref().is_empty());
    }
}

#[test]
fn rfc3225_3_do_is_copied() {
    let reply = server().ask(&Ask::new("www.wire.test", "A").edns(|opt| opt.dnssec_ok = true));
    assert!(reply.message.edns.expect("OPT").flags().dnssec_ok);
}

#[test]
fn rfc6891_6_1_3_a_later_version_is_badvers() {
    for version in [1, 255] {
        let ask = Ask::new("www.wire.test", "A").edns(|opt| opt.version = version).option(8, b"any shape");
        let reply = server().ask(&ask);
        assert_eq!(u16::from(reply.rcode()), 16);
        assert_eq!(reply.message.edns.as_ref().map(|edns| edns.version()), Some(0));
        assert!(reply.answers().is_empty());
    }
}

#[test]
fn rfc6891_6_1_2_unknown_options_are_ignored() {
    let reply = server().ask(&Ask::new("www.wire.test", "A").option(65_001, b"whatever").option(100, b""));
    assert_eq!(reply.answers().len(), 2);
    assert!(!reply.has_option(65_001) && !reply.has_option(100));
}

#[test]
fn rfc5001_nsid_is_told_to_who_asks() {
    assert!(server().ask(&Ask::new("www.wire.test", "A").option(3, b"")).has_option(3));
    assert!(!server().ask(&Ask::new("www.wire.test", "A").payload(1232)).has_option(3));
}

#[test]
fn rfc6891_6_1_1_two_opt_records_or_one_with_a_name_are_formerr() {
    let ask = Ask::new("www.wire.test", "A").payload(1232);
    let mut two = ask.wire();
    two.extend(ask.edns.as_ref().expect("OPT").wire());
    two[11] = 2;
    assert_eq!(refused_as(&two), ResponseCode::FormErr);
    let mut named = Ask::new("www.wire.test", "A").wire();
    named.extend(b"\x01x");
    named.extend(ask.edns.as_ref().expect("OPT").wire());
    named[11] = 1;
    assert_eq!(refused_as(&named), ResponseCode::FormErr);
}

/// An OPT record that says 1,232 octets and DO, with an option that nobody knows.
const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\x06\xfd\xe9\0\x02hi";
/// The same of EDNS version 1.
const OPT_OF_VERSION_1: &[u8] = b"\0\0\x29\x04\xd0\0\x01\x80\0\0\0";
const ADDRESS: &[u8] = b"\x01x\0\0\x01\0\x01\0\0\0\0\0\x04\x7f\0\0\x01";

/// A message of this opcode, with these counts and nothing but these records.
fn message(opcode: u16, counts: [u16; 4], body: &[&[u8]]) -> Vec<u8> {
    let head = [[0x4d52, opcode << 11], [counts[0], counts[1]], [counts[2], counts[3]]];
    head.as_flattened().iter().flat_map(|field| field.to_be_bytes()).chain(body.concat()).collect()
}

/// "If an OPT record is present in a received request, compliant responders MUST include an OPT record in
/// their respective responses" (RFC 6891 section 6.1.1), whatever the request is, and alike over UDP and TCP.
#[test]
fn rfc6891_6_1_1_opt_comes_back_in_every_response() {
    let question = &Ask::new("www.wire.test", "A").wire()[12..];
    let soa = &Ask::new("wire.test", "SOA").wire()[12..];
    let axfr = &Ask::new("wire.test", "AXFR").wire()[12..];
    let pointer: &[u8] = b"\xc0\x0c\0\x1c\0\x01";
    for (rcode, wire) in [
        (ResponseCode::NoError, message(0, [1, 0, 0, 1], &[question, OPT])),
        (ResponseCode::NoError, message(0, [1, 0, 0, 2], &[question, OPT, ADDRESS])),
        (ResponseCode::NoError, message(0, [1, 0, 0, 2], &[question, ADDRESS, OPT])),
        (ResponseCode::Refused, message(0, [1, 0, 0, 1], &[axfr, OPT])),
        // Other opcodes, each in its own shape: IQUERY, STATUS, NOTIFY, UPDATE, DSO, one that is not assigned.
        (ResponseCode::NotImp, message(1, [0, 1, 0, 1], &[ADDRESS, OPT])),
        (ResponseCode::NotImp, message(2, [1, 0, 0, 1], &[question, OPT])),
        (ResponseCode::NotImp, message(2, [0, 0, 0, 1], &[OPT])),
        (ResponseCode::NotImp, message(4, [1, 1, 0, 1], &[soa, ADDRESS, OPT])),
        (ResponseCode::NotImp, message(5, [1, 1, 2, 1], &[soa, ADDRESS, ADDRESS, ADDRESS, OPT])),
        (ResponseCode::NotImp, message(6, [0, 0, 0, 1], &[OPT])),
        (ResponseCode::NotImp, message(15, [1, 0, 0, 1], &[question, OPT])),
        (ResponseCode::NotImp, message(5, [2, 0, 0, 1], &[soa, pointer, OPT])),
        // None or too many questions; the first is also how a cookie alone is asked for (RFC 7873 section 5.4).
        (ResponseCode::FormErr, message(0, [0, 0, 0, 1], &[OPT])),
        (ResponseCode::FormErr, message(0, [2, 0, 0, 1], &[question, question, OPT])),
        (ResponseCode::FormErr, message(0, [2, 0, 0, 1], &[question, pointer, OPT])),
        // Malformed beside an OPT record, or in it.
        (ResponseCode::FormErr, message(0, [1, 0, 0, 2], &[question, OPT, b"\0"])),
        (ResponseCode::FormErr, message(0, [1, 0, 0, 1], &[question, OPT, b"more"])),
        (ResponseCode::FormErr, message(0, [1, 0, 0, 1], &[question, b"\0\0\x29\x04\xd0\0\0\x80\0\0\x01x"])),
        (ResponseCode::FormErr, message(0, [1, 0, 0, 2], &[question, OPT, OPT])),
        (ResponseCode::FormErr, message(0, [1, 0, 0, 1], &[question, b"\x01x", OPT])),
        (ResponseCode::FormErr, message(0, [1, 1, 0, 0], &[question, OPT])),
        (ResponseCode::FormErr, message(0, [1, 0, 1, 0], &[question, OPT])),
    ] {
        assert_eq!(refused_or_not(&wire), (rcode, true), "{wire:02x?}");
    }
}

/// RCODE, and whether there is an OPT record, which has DO as the asker's and no option.
fn refused_or_not(wire: &[u8]) -> (ResponseCode, bool) {
    let over_udp = exchange_udp(server().dns, wire, Duration::from_secs(5)).expect("a reply");
    let over_tcp = exchange_tcp(server().dns, &[wire], 1).pop().expect("a reply");
    assert_eq!(over_udp, over_tcp);
    assert_eq!(over_udp[2] & 0x78, wire[2] & 0x78, "the opcode comes back");
    let reply = Reply::read(over_udp);
    let edns = reply.message.edns.as_ref();
    if let Some(edns) = edns {
        let (payload, version) = (edns.max_payload(), edns.version());
        assert_eq!((payload, version, edns.options().as_ref().len()), (1232, 0, 0));
        assert!(edns.flags().dnssec_ok);
    }
    (reply.rcode(), edns.is_some())
}

/// Nobody who spoke plain DNS gets one (RFC 6891 section 7).
#[test]
fn rfc6891_7_no_opt_comes_back_where_none_was_sent() {
    let question = &Ask::new("www.wire.test", "A").wire()[12..];
    for (rcode, wire) in [
        (ResponseCode::NotImp, message(4, [1, 0, 0, 0], &[question])),
        (ResponseCode::NotImp, message(5, [1, 0, 1, 0], &[question, ADDRESS])),
        (ResponseCode::NotImp, message(15, [0, 0, 0, 1], &[ADDRESS])),
        (ResponseCode::NotImp, message(6, [0, 0, 0, 0], &[b"\0\x01\0\0"])), // DSO's own format
        (ResponseCode::FormErr, message(0, [0, 0, 0, 0], &[])),
        (ResponseCode::FormErr, message(0, [2, 0, 0, 0], &[question, question])),
        (ResponseCode::FormErr, message(0, [1, 1, 0, 0], &[question, b"\0\0\x29"])), // not even a whole record
    ] {
        assert_eq!(refused_or_not(&wire), (rcode, false), "{wire:02x?}");
    }
}

/// "If a responder does not implement the VERSION level of the request, then it MUST respond with
/// RCODE=BADVERS", also to another opcode; a query that is malformed in version 0 already is FORMERR.
#[test]
fn rfc6891_6_1_3_a_later_version_comes_before_the_opcode() {
    let soa = &Ask::new("wire.test", "SOA").wire()[12..];
    for (rcode, wire) in [
        (ResponseCode::BADVERS, message(4, [1, 0, 0, 1], &[soa, OPT_OF_VERSION_1])),
        (ResponseCode::BADVERS, message(0, [1, 0, 0, 1], &[soa, OPT_OF_VERSION_1])),
        (ResponseCode::FormErr, message(0, [0, 0, 0, 1], &[OPT_OF_VERSION_1])),
        (ResponseCode::FormErr, message(0, [1, 0, 0, 2], &[soa, OPT_OF_VERSION_1, OPT])),
    ] {
        let (seen, has_opt) = refused_or_not(&wire);
        assert_eq!((u16::from(seen), has_opt), (u16::from(rcode), true), "{wire:02x?}");
    }
}

/// "The OPT RR MAY be placed anywhere within the additional data section" (RFC 6891 section 6.1.1), and nowhere
/// else; nor may a TSIG record (RFC 8945 section 5.2).
#[test]
fn rfc6891_6_1_1_opt_or_tsig_in_another_section_is_formerr() {
    let question = &Ask::new("www.wire.test", "A").wire()[12..];
    const TSIG: &[u8] = b"\x01k\0\0\xfa\0\xff\0\0\0\0\0\x11\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    for (counts, body) in [
        ([1, 1, 0, 0], [question, OPT, &[]]),
        ([1, 0, 1, 0], [question, OPT, &[]]),
        ([1, 1, 0, 1], [question, OPT, OPT]),
        ([1, 1, 0, 1], [question, OPT_OF_VERSION_1, OPT]),
        ([1, 1, 0, 0], [question, TSIG, &[]]),
        ([1, 0, 1, 0], [question, TSIG, &[]]),
    ] {
        assert_eq!(refused_as(&message(0, counts, &body)), ResponseCode::FormErr, "{counts:?}");
    }
    // Other records there are none of our business.
    assert_eq!(refused_or_not(&message(0, [1, 1, 1, 1], &[question, ADDRESS, ADDRESS, OPT])).0, ResponseCode::NoError);
}

/// Cookies are not spoken: a query for one alone is a query without a question, FORMERR by RFC 1035, and no
/// cookie comes back (RFC 7873 section 5.4 has only "servers with DNS Cookies enabled" answer it).
#[test]
fn rfc7873_5_4_a_query_for_a_cookie_alone_is_formerr_without_a_cookie() {
    let opt_with_cookie: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\x0c\0\x0a\0\x0812345678";
    assert_eq!(refused_or_not(&message(0, [0, 0, 0, 1], &[opt_with_cookie])), (ResponseCode::FormErr, true));
    let question = &Ask::new("www.wire.test", "A").wire()[12..];
    assert_eq!(refused_or_not(&message(0, [1, 0, 0, 1], &[question, opt_with_cookie])), (ResponseCode::NoError, true));
}

#[test]
fn rfc7871_7_2_1_subnet_comes_back_as_it_was_with_a_scope() {
    for prefix in ["127.82.5.0/24", "127.82.5.7/32", "127.82.0.0/16", "0.0.0.0/0", "2001:db8:8000::/33", "::/0"] {
        let reply = server().ask(&Ask::new("www.steer.test", "A").subnet(prefix));
        let subnet = reply.subnet().expect("an ECS option");
        assert_eq!(format!("{}/{}", subnet.addr(), subnet.source_prefix()), prefix);
        // What does not depend on the client may be shared with all.
        let reply = server().ask(&Ask::new("www.wire.test", "A").subnet(prefix));
        assert_eq!(reply.scope(), Some(0), "{prefix}");
    }
    let located = server().ask(&Ask::new("www.steer.test", "A").subnet("127.82.5.0/24"));
    assert!((1..=24).contains(&located.scope().expect("scope")), "{:?}", located.subnet());
}

#[test]
fn rfc7871_7_2_1_a_truncated_answer_has_the_scope_of_the_whole() {
    let ask = Ask::new("crowd.steer.test", "A").subnet("127.61.5.0/24").payload(512);
    let (over_udp, over_tcp) = (udp(server().dns, &ask), tcp(server().dns, &ask));
    assert!(over_udp.is_truncated() && !over_tcp.is_truncated());
    assert_eq!((over_udp.scope(), over_tcp.answers().len()), (over_tcp.scope(), 40));
    assert_ne!(over_udp.scope(), Some(0));
}

#[test]
fn rfc7871_7_1_2_a_source_length_of_0_asks_not_to_be_located() {
    let reply = server().ask(&Ask::new("www.steer.test", "A").subnet("0.0.0.0/0"));
    assert_eq!((reply.answers().len(), reply.scope()), (1, Some(0)));
}

#[test]
fn rfc7871_7_1_2_malformed_subnets_are_formerr() {
    for data in [
        &[][..],
        &[0, 1, 24][..],
        &[0, 1, 33, 0, 127, 82, 0, 0, 0],
        &[0, 1, 24, 24, 127, 82, 0],
        &[0, 1, 24, 0, 127, 82],
        &[0, 1, 24, 0, 127, 82, 0, 0],
        &[0, 1, 20, 0, 127, 82, 0x0f],
        &[0, 2, 129, 0],
    ] {
        let wire = Ask::new("www.steer.test", "A").option(8, data).wire();
        assert_eq!(refused_as(&wire), ResponseCode::FormErr, "{data:?}");
    }
    let two = Ask::new("www.steer.test", "A").subnet("127.82.0.0/24").subnet("127.82.0.0/24");
    assert_eq!(refused_as(&two.wire()), ResponseCode::FormErr);
}

#[test]
fn rfc7871_6_a_family_nobody_knows_is_ignored() {
    let reply = server().ask(&Ask::new("www.steer.test", "A").option(8, &[0, 3, 8, 0, 1]));
    assert_eq!(reply.answers().len(), 1);
    assert!(reply.subnet().is_none());
}

#[test]
fn a_response_is_never_answered() {
    for flags in [0x8000, 0x8400, 0xa800, 0xffff] {
        assert_eq!(raw(&Ask::new("www.wire.test", "A").flags(flags).wire()), None, "{flags:04x}");
    }
    // Over TCP the reply to the next query is the first that comes.
    let response = Ask { id: 1, ..Ask::new("www.wire.test", "A").flags(0x8000) }.wire();
    let query = Ask { id: 2, ..Ask::new("www.wire.test", "A") }.wire();
    let replies = exchange_tcp(server().dns, &[&response, &query], 1);
    assert!(replies.first().is_none_or(|reply| reply[..2] == [0, 2]), "{replies:02x?}");
}

#[test]
fn scraps_are_not_answered() {
    let wire = Ask::new("www.wire.test", "A").wire();
    for len in [0, 1, 11] {
        assert_eq!(raw(&wire[..len]), None, "{len} octets");
    }
}

#[test]
fn rfc1035_4_1_1_other_opcodes_are_not_implemented() {
    for opcode in (1..16).filter(|opcode| *opcode != 0) {
        let wire = Ask::new("wire.test", "SOA").flags(opcode << 11).wire();
        assert_eq!(refused_as(&wire), ResponseCode::NotImp, "opcode {opcode}");
    }
}

#[test]
fn rfc9619_4_more_or_less_than_one_question_is_formerr() {
    let one = Ask::new("www.wire.test", "A").wire();
    let mut two = [&one[..], &one[12..]].concat();
    two[5] = 2;
    assert_eq!(refused_as(&two), ResponseCode::FormErr);
    let mut none = one[..12].to_vec();
    none[5] = 0;
    assert_eq!(refused_as(&none), ResponseCode::FormErr);
    let mut lies = one.clone();
    lies[7] = 1;
    assert_eq!(refused_as(&lies), ResponseCode::FormErr);
    assert_eq!(refused_as(&[&one[..], b"more"].concat()), ResponseCode::FormErr);
    assert_eq!(refused_as(&one[..one.len() - 1]), ResponseCode::FormErr);
}

#[test]
fn names_that_are_none_are_formerr() {
    let with_name = |name: &[u8]| Ask { name: name.to_vec(), ..Ask::new("www.wire.test", "A") }.wire();
    for name in [
        &b"\xc0\x0c"[..],   // a pointer to itself
        b"\x03www\xc0\x0c", // a loop
        b"\x40aa\0",        // an extended label (RFC 6891 section 5)
        b"\x80aa\0",        // a reserved one
    ] {
        assert_eq!(refused_as(&with_name(name)), ResponseCode::FormErr, "{name:?}");
    }
    let of_256 = [[&[63][..], &[b'a'; 63]].concat().repeat(4), vec![0]].concat();
    assert_eq!(refused_as(&with_name(&of_256)), ResponseCode::FormErr);
}

#[test]
fn other_classes_and_transfers_are_refused() {
    for class in [0, 3, 4, 254, 255] {
        assert_eq!(refused_as(&Ask::new("wire.test", "SOA").class(class).wire()), ResponseCode::Refused, "{class}");
    }
    for qtype in ["AXFR", "IXFR"] {
        assert_eq!(refused_as(&Ask::new("wire.test", qtype).wire()), ResponseCode::Refused, "{qtype}");
    }
}

#[test]
fn rfc7766_6_2_1_1_queries_in_one_connection_are_all_answered() {
    let asks: Vec<Vec<u8>> = (1..=20).map(|id| Ask { id, ..Ask::new("www.wire.test", "A") }.wire()).collect();
    let messages: Vec<&[u8]> = asks.iter().map(Vec::as_slice).collect();
    let mut ids: Vec<u8> = exchange_tcp(server().dns, &messages, 20).iter().map(|reply| reply[1]).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=20).collect::<Vec<u8>>());
}

#[test]
fn rfc8945_5_2_1_a_signed_query_hears_that_its_key_is_not_known() {
    let key = b"\x03key\x04test\0\x00\xfa\x00\xff\0\0\0\0";
    let rdata = [&b"\x0bhmac-sha256\0\0\0\x65\0\0\0\x01\x2c\0\x20"[..], &[7; 32], b"\x4d\x52\0\0\0\0"].concat();
    for ask in [Ask::new("www.wire.test", "A"), Ask::new("www.wire.test", "A").payload(1232)] {
        let mut wire = [&ask.wire()[..], key, &(rdata.len() as u16).to_be_bytes(), &rdata].concat();
        wire[11] += 1;
        let octets = exchange_udp(server().dns, &wire, Duration::from_secs(5)).expect("a reply");
        let reply = Reply::read(octets);
        assert_eq!(reply.rcode(), ResponseCode::NotAuth);
        assert!(!reply.is_authoritative() && reply.answers().is_empty());
        assert_eq!(reply.message.edns.is_some(), ask.edns.is_some());
        let signature = reply.message.additionals.last().expect("a TSIG record, at the end");
        assert_eq!((signature.name.to_string(), u16::from(signature.record_type())), ("key.test.".to_owned(), 250));
        assert!(reply.octets.ends_with(b"\0\0\x4d\x52\0\x11\0\0"), "no MAC, BADKEY: {:02x?}", reply.octets);
    }
}
