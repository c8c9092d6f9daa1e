//! Packets as they come from cards, and what becomes of them.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xc];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x5];

/// A UDP packet with right checksums.
fn packet(from: &str, to: &str, tag: Option<u16>, message: &[u8]) -> Vec<u8> {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().expect("address"), to.parse().expect("address"));
    let mut packet = [SERVER_MAC, CLIENT_MAC].concat();
    if let Some(tag) = tag {
        packet.extend([0x81, 0]);
        packet.extend(tag.to_be_bytes());
    }
    let length = (UDP + message.len()) as u16;
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let mut addresses = Vec::new();
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            addresses.extend(from.octets().into_iter().chain(to.octets()));
            let mut header =
                [&[0x45, 0][..], &(length + 20).to_be_bytes(), &[0, 1, 0, 0, 57, 17, 0, 0], &addresses].concat();
            let checksum = checksum(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            packet.extend([8, 0]);
            packet.extend(header);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            addresses.extend(from.octets().into_iter().chain(to.octets()));
            packet.extend([0x86, 0xdd, 0x60, 1, 2, 3]);
            packet.extend(length.to_be_bytes());
            packet.extend([17, 57]);
            packet.extend(&addresses);
        }
        _ => unreachable!("one family"),
    }
    let pseudo = [&addresses[..], &[0, 17], &length.to_be_bytes(), &ports, &length.to_be_bytes(), message].concat();
    packet.extend(ports);
    packet.extend(length.to_be_bytes());
    packet.extend(checksum(&pseudo).to_be_bytes());
    packet.extend(message);
    packet
}

/// RFC 1071 section 4.1, word by word in network order: not as it is done above.
fn checksum(octets: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The reply to `packet` with this response.
fn reply_to(packet: &[u8], response: &[u8]) -> Vec<u8> {
    let asked = read(packet).expect("a packet");
    let mut frame = packet.to_vec();
    frame.resize(2048 - 256, 0xee);
    let length = reply(&mut frame, &asked, response);
    frame.truncate(length);
    frame
}

const V4: (&str, &str) = ("10.1.2.3:4567", "10.9.9.9:53");
const V6: (&str, &str) = ("[fd00::1]:4567", "[fd00::2]:53");

#[test]
fn a_query_is_found_behind_its_headers() {
    for ((from, to), tag, start) in [(V4, None, 42), (V4, Some(7), 46), (V6, None, 62), (V6, Some(7), 66)] {
        let packet = packet(from, to, tag, b"a query");
        let asked = read(&packet).expect("a packet");
        assert_eq!((asked.client(&packet), asked.port), (from.parse::<SocketAddr>().expect("address").ip(), 4567));
        assert_eq!(asked.message, start..start + 7);
        assert_eq!(&packet[asked.message], b"a query");
    }
}

#[test]
fn a_reply_is_a_whole_packet_back_to_where_the_query_came_from() {
    for ((from, to), tag) in [(V4, None), (V4, Some(0x2007)), (V6, None), (V6, Some(7))] {
        for response in [&b"a long response, and an odd length"[..], b"short"] {
            let mut reply = reply_to(&packet(from, to, tag, b"a query"), response);
            assert_eq!(reply[..12], [CLIENT_MAC, SERVER_MAC].concat());
            // What the other side reads of it, padding cut.
            let asked = read(&reply).expect("valid headers and checksums");
            assert_eq!((asked.client(&reply), asked.port), (to.parse::<SocketAddr>().expect("address").ip(), 53));
            assert_eq!(&reply[asked.message.clone()], response);
            assert!(reply.len() >= 60 && reply[asked.message.end..].iter().all(|octet| *octet == 0), "padding");
            // But for hops, identification and flags it is what the other side would have written.
            let mut theirs = packet(to, from, tag, response);
            theirs[..12].copy_from_slice(&[CLIENT_MAC, SERVER_MAC].concat());
            reply.truncate(theirs.len());
            let ip = asked.ip;
            match asked.is_ipv6 {
                false => {
                    assert_eq!(reply[ip + 4..ip + 9], [0, 0, 0x40, 0, 64], "no identification, DF, 64 hops");
                    reply.drain(ip + 4..ip + 12);
                    theirs.drain(ip + 4..ip + 12);
                }
                true => {
                    assert_eq!(reply[ip..ip + 4], [0x60, 0, 0, 0]);
                    assert_eq!(reply[ip + 7], 64);
                    theirs[ip..ip + 4].copy_from_slice(&[0x60, 0, 0, 0]);
                    theirs[ip + 7] = 64;
                }
            }
            assert_eq!(reply, theirs);
        }
    }
}

#[test]
fn rfc_768_a_checksum_of_zero_is_none_in_ipv4_and_wrong_in_ipv6() {
    let mut v4 = packet(V4.0, V4.1, None, b"a query");
    v4[40..42].fill(0);
    assert!(read(&v4).is_ok());
    let mut v6 = packet(V6.0, V6.1, None, b"a query");
    v6[60..62].fill(0);
    assert_eq!(read(&v6), Err(Flaw::Checksum));
}

#[test]
fn a_checksum_left_to_the_card_is_taken() {
    for (from, to) in [V4, V6] {
        let mut packet = packet(from, to, None, b"a query");
        let asked = read(&packet).expect("a packet");
        let at = asked.message.start - 2;
        let left = fold(asked.addresses + pseudo(15)).to_ne_bytes();
        packet[at..at + 2].copy_from_slice(&left);
        assert!(read(&packet).is_ok());
        packet[at] ^= 1;
        assert_eq!(read(&packet), Err(Flaw::Checksum));
    }
}

#[test]
fn rfc_768_a_computed_checksum_of_zero_is_sent_as_all_ones() {
    // Some response of two octets makes the sum come to 0.
    let query = packet(V4.0, V4.1, None, b"a query");
    let found = (0..=u16::MAX).any(|word| {
        let reply = reply_to(&query, &word.to_be_bytes());
        assert_ne!(reply[40..42], [0, 0]);
        reply[40..42] == [0xff, 0xff] && read(&reply).is_ok()
    });
    assert!(found);
}

#[test]
fn a_damaged_packet_is_refused() {
    let query = packet(V4.0, V4.1, None, b"a query");
    for at in 14..query.len() {
        let mut damaged = query.clone();
        damaged[at] ^= 0x10;
        assert!(read(&damaged).is_err(), "octet {at}");
    }
}

#[test]
fn fragments_options_and_other_protocols_are_refused() {
    let query = packet(V4.0, V4.1, None, b"a query");
    for (at, octet) in [(20, 0x20), (21, 1), (14, 0x46), (14, 0x65), (23, 6), (12, 9)] {
        let mut other = query.clone();
        other[at] = octet;
        other[24..26].fill(0);
        let sum = checksum(&other[14..34]);
        other[24..26].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(read(&other), Err(Flaw::Header), "{octet} at {at}");
    }
    let mut fragment = packet(V6.0, V6.1, None, b"a query");
    fragment[20] = 44;
    assert_eq!(read(&fragment), Err(Flaw::Header));
}

#[test]
fn a_packet_cut_anywhere_is_refused() {
    for (from, to) in [V4, V6] {
        let whole = packet(from, to, Some(1), b"a query");
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), Err(Flaw::Header), "{length} octets");
        }
    }
}

#[test]
fn a_frame_too_short_for_the_response_sends_nothing() {
    let query = packet(V4.0, V4.1, None, b"a query");
    let asked = read(&query).expect("a packet");
    assert_eq!(reply(&mut query.clone(), &asked, &[0; 100]), 0);
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..200), start in 0..3usize) {
        let begin: &[u8] = [&[][..], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0x45], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x86, 0xdd, 0x60]][start];
        let mut frame = [begin, &octets].concat();
        if let Ok(asked) = read(&frame) {
            reply(&mut frame, &asked, b"response");
        }
    }

    #[test]
    fn sums_are_those_of_rfc_1071(octets in proptest::collection::vec(any::<u8>(), 0..1300)) {
        prop_assert_eq!(!fold(sum(&octets)), checksum(&octets).to_be());
    }
}
