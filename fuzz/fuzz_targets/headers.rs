//! Any octets as a frame from a card, and the reply written over it: read again it is the response, from
//! whom it went to, to whom it came from, with checksums that a second way of summing finds right.
//!
//! The first octet says whether the frame's checksums are put right first, which chance never does, and how
//! long the response is.

#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use meridian::query::transport::xdp::headers::{MAX_HEADERS, QueryPacket, overhead, read, reply};
use meridian_fuzz::frames::checksum;
use meridian_fuzz::pick;

fuzz_target!(|data: &[u8]| {
    let Some((chosen, frame)) = pick(data) else { return };
    let mut frame = frame.to_vec();
    if chosen & 1 == 0 {
        put_checksums_right(&mut frame);
    }
    let Ok(asked) = read(&frame) else { return };
    assert!(asked.message.end <= frame.len() && asked.message.start <= MAX_HEADERS, "{asked:?}");
    let said = &frame[asked.message.start - 4..asked.message.start - 2];
    assert_eq!(8 + asked.message.len(), usize::from(u16::from_be_bytes([said[0], said[1]])), "UDP's length");
    let before = frame.clone();
    let from = Ends::of(&before, &asked);
    assert_eq!((asked.client(&before), asked.port), (from.source.ip(), from.source.port()));
    let response: Vec<u8> = (0..(chosen >> 1) * 9).map(|octet| (octet * 7) as u8).collect();
    frame.resize(2_048, 0xaa);
    let length = reply(&mut frame, &asked, &response);
    let back = &frame[..length];
    assert!(length >= 60 && length >= asked.message.start + response.len());
    let again = read(back).expect("a reply that can be read");
    assert_eq!(back[again.message.clone()], response);
    assert_eq!(overhead(&again), overhead(&asked));
    let to = Ends::of(back, &again);
    assert_eq!((to.source, to.destination), (from.destination, from.source));
    assert_eq!((&back[..6], &back[6..12]), (&before[6..12], &before[..6]), "the cards' addresses");
    assert!(udp_sum_is_right(back, &again), "the checksum of UDP");
});

/// Source and destination as they stand in the headers.
struct Ends {
    source: SocketAddr,
    destination: SocketAddr,
}

impl Ends {
    fn of(frame: &[u8], asked: &QueryPacket) -> Ends {
        let (udp, is_v4) = (asked.message.start - 8, !asked.is_ipv6);
        let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let address = |back: usize| -> IpAddr {
            match is_v4 {
                true => <[u8; 4]>::try_from(&frame[udp - 4 * back..][..4]).expect("four octets").into(),
                false => <[u8; 16]>::try_from(&frame[udp - 16 * back..][..16]).expect("sixteen octets").into(),
            }
        };
        Ends { source: SocketAddr::new(address(2), port(udp)), destination: SocketAddr::new(address(1), port(udp + 2)) }
    }
}

fn udp_sum_is_right(frame: &[u8], asked: &QueryPacket) -> bool {
    let udp = asked.message.start - 8;
    let addresses = if !asked.is_ipv6 { 8 } else { 32 };
    let length = (asked.message.end - udp) as u16;
    let summed =
        [&frame[udp - addresses..udp], &[0, 17], &length.to_be_bytes(), &frame[udp..asked.message.end]].concat();
    checksum(&summed) == 0
}

/// Where headers are plain enough to say where the checksums would be.
fn put_checksums_right(frame: &mut [u8]) {
    let tagged = matches!(frame.get(12..14), Some([0x81, 0] | [0x88, 0xa8]));
    let ip = if tagged { 18 } else { 14 };
    let (is_v4, header) = match frame.get(ip - 2..ip) {
        Some([8, 0]) => (true, 20),
        Some([0x86, 0xdd]) => (false, 40),
        _ => return,
    };
    let udp = ip + header;
    if frame.len() < udp + 8 {
        return;
    }
    if is_v4 {
        frame[ip + 10..ip + 12].fill(0);
        let sum = checksum(&frame[ip..udp]).to_be_bytes();
        frame[ip + 10..ip + 12].copy_from_slice(&sum);
    }
    let length = usize::from(u16::from_be_bytes([frame[udp + 4], frame[udp + 5]]));
    let Some(datagram) = frame.get(udp..udp + length).filter(|datagram| datagram.len() >= 8) else { return };
    let addresses = &frame[udp - if is_v4 { 8 } else { 32 }..udp];
    let mut summed = [addresses, &[0, 17], &(length as u16).to_be_bytes(), datagram].concat();
    let at = addresses.len() + 4 + 6;
    summed[at..at + 2].fill(0);
    let sum = match checksum(&summed) {
        0 => 0xffff,
        sum => sum,
    };
    frame[udp + 6..udp + 8].copy_from_slice(&sum.to_be_bytes());
}
