//! Services: the right region, families that agree, scopes that are true.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use meridian::model::Prefix;
use meridian::query::counters::CounterSet;
use meridian::query::demand::Sample;
use meridian::query::{Client, Transport, answer};
use meridian::state::Snapshot;

use crate::support::dns::{Ask, Reply, subnet_option, udp, udp_from};
use crate::{query, server};

fn steered(name: &str, qtype: &str, subnet: &str) -> Reply {
    server().ask(&Ask::new(name, qtype).subnet(subnet))
}

#[test]
fn clients_get_the_region_near_them() {
    for (subnet, address) in [
        ("127.82.0.0/24", "203.0.113.82"),
        ("127.81.0.0/24", "203.0.113.82"), // Japan
        ("127.33.0.0/24", "203.0.113.33"),
        ("127.34.0.0/24", "203.0.113.33"), // Spain
    ] {
        let reply = steered("www.steer.test", "A", subnet);
        assert_eq!(reply.data(), [address], "{subnet}");
        assert_eq!(reply.ttl(), Some(30));
        assert!(reply.is_authoritative());
    }
    let american = steered("www.steer.test", "A", "127.1.0.0/24").data();
    assert!(["203.0.113.1", "203.0.113.2"].contains(&american[0].as_str()), "{american:?}");
}

#[test]
fn without_a_subnet_the_source_is_the_client() {
    for (source, address) in [("127.82.0.9", "203.0.113.82"), ("127.33.0.9", "203.0.113.33")] {
        let source = source.parse().expect("an address");
        let reply = udp_from(source, server().dns, &Ask::new("www.steer.test", "A"));
        assert_eq!(reply.data(), [address], "{source}");
    }
}

#[test]
fn a_service_that_does_not_believe_subnets_takes_the_source() {
    let source: IpAddr = "127.33.0.9".parse().expect("an address");
    let reply = udp_from(source, server().dns, &Ask::new("plain.steer.test", "A").subnet("127.82.0.0/24"));
    assert_eq!((reply.data(), reply.scope()), (vec!["203.0.113.33".to_owned()], Some(0)));
}

#[test]
fn a_region_without_the_family_is_nodata_and_not_another_region() {
    assert_eq!(query("v4only.steer.test", "A").data(), ["203.0.113.49"]);
    let reply = query("v4only.steer.test", "AAAA");
    assert_eq!(reply.rcode(), ResponseCode::NoError);
    assert!(reply.answers().is_empty() && reply.is_authoritative());
    assert_eq!(reply.authority().len(), 1);
}

#[test]
fn rfc2308_3_no_address_of_a_family_holds_no_longer_than_the_choice_of_region() {
    let snapshot = server().snapshot();
    let germans = (0..=255).map(|n| format!("127.49.{n}.0/24"));
    let negative = germans.map(|subnet| direct(&snapshot, &Ask::new("www.steer.test", "AAAA").subnet(&subnet)));
    let negative = negative.filter(|reply| reply.answers().is_empty()).collect::<Vec<_>>();
    assert!(!negative.is_empty(), "frankfurt, which has no IPv6, gets some of them");
    for reply in negative {
        let authority = reply.authority();
        assert!(authority[0].starts_with("steer.test. 30 IN SOA "), "the service's TTL: {authority:?}");
    }
    // Where no region has any, the zone says how long that holds.
    assert!(query("v4only.steer.test", "AAAA").authority()[0].starts_with("steer.test. 60 IN SOA "));
}

#[test]
fn rfc7871_7_4_what_an_alias_may_replace_is_not_said_to_everyone() {
    // Korea's region has addresses, Brazil's and Australia's are aliases, which answer every type.
    for qtype in ["TXT", "HTTPS", "MX"] {
        let none = steered("hosted.steer.test", qtype, "127.82.0.0/24");
        assert!(none.answers().is_empty(), "{qtype}: {:?}", none.answers());
        let shared = Prefix::containing("127.82.0.0".parse().expect("an address"), none.scope().expect("a scope"));
        for other in ["127.55.0.0/24", "127.61.0.0/24"] {
            assert_eq!(steered("hosted.steer.test", qtype, other).answers_in_order().len(), 1, "{qtype} {other}");
            let other: Prefix = other.parse().expect("a prefix");
            assert!(!shared.contains(other.address()), "{qtype}: {shared} is told there is none, {other} an alias");
        }
    }
    // Where no region has an alias, other types are the same for everyone.
    assert_eq!(steered("www.steer.test", "TXT", "127.82.0.0/24").scope(), Some(0));
}

#[test]
fn rfc9460_7_3_https_hints_are_the_addresses_that_a_and_aaaa_answer() {
    let reply = steered("www.steer.test", "HTTPS", "127.82.0.0/24");
    let [https] = &reply.answers()[..] else { panic!("{:?}", reply.answers()) };
    for part in ["HTTPS 1 .", "alpn=h2,h3", "port=8443", "ipv4hint=203.0.113.82", "ipv6hint=2001:db8:82::1"] {
        assert!(https.contains(part), "{part} in {https}");
    }
    let plain = query("v4only.steer.test", "HTTPS");
    assert!(plain.answers()[0].contains("ipv4hint=203.0.113.49") && !plain.answers()[0].contains("ipv6hint"));
    // Without `https` there are no such records.
    assert!(query("split.steer.test", "HTTPS").answers().is_empty());
}

#[test]
fn several_regions_in_one_answer_are_the_same_for_every_type() {
    let (mut pairs, mut alone) = (HashSet::new(), 0);
    for n in 0..64 {
        let subnet = format!("127.44.{n}.0/24");
        let ask = |qtype| steered("several.steer.test", qtype, &subnet);
        let (a, aaaa, https) = (ask("A"), ask("AAAA"), ask("HTTPS"));
        assert_eq!((a.answers().len(), a.scope()), (2, Some(24)), "{:?}", a.answers());
        // 203.0.113.49 is the one region without IPv6.
        let region = |address: &String| address.rsplit(['.', ':']).find(|part| part.len() > 1).map(str::to_owned);
        let with_ipv6: BTreeSet<_> = a.data().iter().filter(|a| !a.ends_with(".49")).filter_map(region).collect();
        let of_ipv6: BTreeSet<_> = aaaa.data().iter().filter_map(region).collect();
        assert_eq!(with_ipv6, of_ipv6, "{:?} {:?}", a.data(), aaaa.data());
        alone += usize::from(aaaa.answers().len() == 1);
        let hints = &https.answers()[0];
        assert!(a.data().iter().chain(&aaaa.data()).all(|address| hints.contains(address)), "{hints}");
        pairs.insert(a.data().into_iter().collect::<BTreeSet<_>>());
    }
    assert!(pairs.len() == 3 && alone > 10, "{pairs:?}, {alone}");
}

#[test]
fn regions_that_do_not_fit_are_left_out_of_an_answer_but_for_the_first() {
    let mut seen = BTreeSet::new();
    for n in 0..64 {
        // 512 octets do not hold crowd's forty addresses; an alias stands alone, and only as the first.
        let ask = Ask::new("crowded.steer.test", "A").subnet(&format!("127.44.{n}.0/24")).payload(512);
        let reply = udp(server().dns, &ask);
        let data = reply.data();
        seen.insert(match (reply.is_truncated(), &data[..]) {
            (true, []) => "crowd first",
            (false, [one]) if one == "203.0.113.82" => "seoul first, crowd or the alias left out",
            (false, all) if all.iter().any(|alias| alias.starts_with("plain")) => "the alias first",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn a_service_at_a_wildcard_answers_for_every_name_below() {
    let reply = steered("any.where.apps.steer.test", "A", "127.82.0.0/24");
    assert_eq!(reply.answers(), ["any.where.apps.steer.test. 30 IN A 203.0.113.82"]);
    let none = query("apps.steer.test", "A");
    assert_eq!((none.rcode(), none.answers().len()), (ResponseCode::NoError, 0));
}

#[test]
fn a_service_at_the_apex_leaves_the_static_records_beside_it() {
    assert_eq!(query("apex.test", "A").data(), ["203.0.113.82"]);
    for (qtype, count) in [("SOA", 1), ("NS", 1), ("MX", 1), ("AAAA", 0), ("TXT", 0)] {
        let reply = query("apex.test", qtype);
        assert_eq!((reply.rcode(), reply.answers().len()), (ResponseCode::NoError, count), "{qtype}");
    }
}

#[test]
fn a_host_endpoint_is_a_cname_for_every_type() {
    for qtype in ["A", "AAAA", "TXT", "CNAME", "ANY", "HTTPS"] {
        let reply = steered("hosted.steer.test", qtype, "127.55.0.0/24");
        assert_eq!(
            reply.answers(),
            ["hosted.steer.test. 30 IN CNAME customer.elsewhere.invalid."],
            "{qtype}: what a CNAME stands for"
        );
    }
    assert_eq!(steered("hosted.steer.test", "A", "127.82.0.0/24").data(), ["203.0.113.82"]);
}

/// NSEC, RRSIG and KEY may stand beside a CNAME (RFC 4035 section 2.5), so they are asked of the service's own name.
#[test]
fn rfc4035_2_5_types_beside_a_host_endpoints_cname_are_nodata() {
    for qtype in ["NSEC", "RRSIG", "TYPE25"] {
        for client in ["127.55.0.0/24", "127.61.0.0/24", "127.82.0.0/24"] {
            let reply = steered("hosted.steer.test", qtype, client);
            assert_eq!((reply.rcode(), reply.answers().len(), reply.scope()), (ResponseCode::NoError, 0, Some(0)));
            assert_eq!(reply.authority().len(), 1, "{qtype} {client}");
        }
    }
}

/// RFC 8482 section 4.2: the one record stands for all only "if there is no CNAME present".
#[test]
fn rfc8482_4_2_any_at_a_service_is_one_record_and_lives_no_longer_than_its_reason() {
    let any = |name, client| steered(name, "ANY", client).answers();
    assert_eq!(any("www.steer.test", "127.82.0.0/24"), ["www.steer.test. 3600 IN HINFO RFC8482 "]);
    assert_eq!(any("split.steer.test", "127.82.0.0/24"), ["split.steer.test. 3600 IN HINFO RFC8482 "]);
    assert_eq!(any("a.apps.steer.test", "127.82.0.0/24"), ["a.apps.steer.test. 3600 IN HINFO RFC8482 "]);
    // A service of this zone is the alias's target: the CNAME is the whole answer.
    assert_eq!(any("hosted.steer.test", "127.61.0.0/24"), ["hosted.steer.test. 30 IN CNAME plain.steer.test."]);
    // Another region would be a CNAME.
    assert_eq!(any("hosted.steer.test", "127.82.0.0/24"), ["hosted.steer.test. 30 IN HINFO RFC8482 "]);
}

#[test]
fn nothing_of_a_type_lives_no_longer_than_the_choice_where_another_region_is_an_alias() {
    let reply = steered("hosted.steer.test", "TXT", "127.82.0.0/24");
    assert!(reply.answers().is_empty() && reply.authority()[0].starts_with("steer.test. 30 IN SOA"));
    let reply = steered("www.steer.test", "TXT", "127.82.0.0/24");
    assert!(reply.answers().is_empty() && reply.authority()[0].starts_with("steer.test. 60 IN SOA"));
}

#[test]
fn a_host_endpoint_that_is_a_service_here_is_followed() {
    let reply = steered("hosted.steer.test", "A", "127.61.0.0/24");
    assert_eq!(reply.answers_in_order()[0], "hosted.steer.test. 30 IN CNAME plain.steer.test.");
    assert_eq!(reply.answers().len(), 2);
    assert_eq!(reply.scope(), Some(16), "the narrower of both answers");
}

/// Where an answer's addresses are: all of a region's share their last number but virginia's.
fn place_of(data: &[String]) -> Option<&'static str> {
    match data.first()?.as_str() {
        "203.0.113.82" | "2001:db8:82::1" => Some("seoul"),
        "203.0.113.33" | "2001:db8:33::1" => Some("paris"),
        "203.0.113.1" | "2001:db8:1::1" => Some("virginia, first"),
        "203.0.113.2" | "2001:db8:1::2" => Some("virginia, second"),
        "203.0.113.49" => Some("frankfurt"),
        other => panic!("an address of no region: {other}"),
    }
}

#[test]
fn a_and_aaaa_agree_for_every_client() {
    let snapshot = server().snapshot();
    let mut chance = fastrand::Rng::with_seed(4);
    let mut seen = BTreeSet::new();
    for _ in 0..1_000 {
        let client = Ipv4Addr::from([127, chance.u8(..100), chance.u8(..), chance.u8(..)]).into();
        let prefix = Prefix::containing(client, 24);
        for name in ["split.steer.test", "www.steer.test"] {
            let ask = |qtype| Ask::new(name, qtype).option(8, &subnet_option(prefix.address(), 24));
            let a = place_of(&direct(&snapshot, &ask("A")).data()).expect("an address");
            let aaaa = direct(&snapshot, &ask("AAAA")).data();
            let expected = if a == "frankfurt" { None } else { Some(a) };
            assert_eq!(place_of(&aaaa), expected, "{name} for {prefix}");
            seen.insert(a);
        }
    }
    assert_eq!(seen.len(), 5, "all regions and endpoints were met: {seen:?}");
}

#[test]
fn rfc7871_7_3_1_inside_the_scope_everyone_gets_the_same_answer() {
    let snapshot = server().snapshot();
    let mut chance = fastrand::Rng::with_seed(7871);
    let mut scopes = HashSet::new();
    for _ in 0..2_000 {
        let (address, longest) = client(&mut chance);
        let source = chance.u8(8..=longest);
        let asked = Prefix::containing(address, source);
        for name in ["www.steer.test", "split.steer.test", "hosted.steer.test", "a.apps.steer.test"] {
            let ask = |at: Prefix| {
                let ask = Ask::new(name, "A").option(8, &subnet_option(at.address(), at.len()));
                direct(&snapshot, &ask)
            };
            let reply = ask(asked);
            let scope = reply.scope().expect("a scope");
            scopes.insert(scope);
            // A scope beyond the source speaks for what was asked alone (RFC 7871 section 7.3.1).
            let shared = Prefix::containing(asked.address(), scope.min(longest));
            for _ in 0..5 {
                let inside = within(shared, longest, &mut chance);
                let other = ask(Prefix::containing(inside, longest));
                assert_eq!(other.data(), reply.data(), "{name}: {inside} is within {shared}, asked as {asked}");
            }
        }
    }
    assert!(scopes.len() >= 3, "{scopes:?}");
}

/// Mostly clients the demo's database knows.
fn client(chance: &mut fastrand::Rng) -> (IpAddr, u8) {
    match chance.u8(..8) {
        0 => (Ipv6Addr::from(chance.u128(..)).into(), 128),
        1 => (Ipv4Addr::from(chance.u32(..)).into(), 32),
        _ => (Ipv4Addr::from([127, chance.u8(..), chance.u8(..), chance.u8(..)]).into(), 32),
    }
}

/// Any address of a prefix.
fn within(prefix: Prefix, longest: u8, chance: &mut fastrand::Rng) -> IpAddr {
    let free = u32::from(longest - prefix.len());
    let host = if free == 0 { 0 } else { chance.u128(..) >> (128 - free) };
    match prefix.address() {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4) | host as u32).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) | host).into(),
    }
}

/// Asks the function that answers packets, without sockets: the same octets, much faster.
#[test]
fn services_answers_are_counted_with_the_client_they_were_decided_by() {
    let snapshot = server().snapshot();
    let set = CounterSet::new();
    let counters = set.register();
    let counted = |ask: Ask| {
        let client = Client { address: "127.33.0.9".parse().expect("an address"), transport: Transport::Udp };
        answer(&snapshot, &ask.wire(), client, &mut [0; 1232], &counters);
        let mut samples = Vec::new();
        set.drain_demand(Duration::from_secs(1), |sample| samples.push(sample));
        let name = |sample: Sample| {
            let region = snapshot.model.region(sample.region).name.to_string();
            (sample.client.to_string(), region, sample.ttl, sample.weight)
        };
        samples.into_iter().map(name).collect::<Vec<_>>()
    };
    let one = |client: &str, region: &str| vec![(client.to_owned(), region.to_owned(), 30, 1)];
    for qtype in ["A", "AAAA", "HTTPS"] {
        let ask = Ask::new("www.steer.test", qtype);
        assert_eq!(counted(ask.clone().subnet("127.82.7.0/24")), one("127.82.7.0", "seoul"), "{qtype}");
        assert_eq!(counted(ask), one("127.33.0.9", "paris"), "{qtype}");
    }
    // Its subnet is not believed; NODATA of a family; an alias to a balancer elsewhere.
    assert_eq!(counted(Ask::new("plain.steer.test", "A").subnet("127.82.7.0/24")), one("127.33.0.9", "paris"));
    assert_eq!(counted(Ask::new("v4only.steer.test", "AAAA")).len(), 1);
    assert_eq!(counted(Ask::new("hosted.steer.test", "A")).len(), 1);
    // Not of a service, not of a type that is steered, not an answer.
    for (name, qtype) in [("ns1.steer.test", "A"), ("www.steer.test", "TXT"), ("missing.steer.test", "A")] {
        assert_eq!(counted(Ask::new(name, qtype)), [], "{name} {qtype}");
    }
}

fn direct(snapshot: &Snapshot, ask: &Ask) -> Reply {
    let mut out = [0; 1232];
    let client = Client { address: Ipv4Addr::LOCALHOST.into(), transport: Transport::Udp };
    static COUNTERS: LazyLock<CounterSet> = LazyLock::new(CounterSet::new);
    let len = answer(snapshot, &ask.wire(), client, &mut out, &COUNTERS.shared());
    Reply::read(out[..len].to_vec())
}

#[test]
fn the_function_without_sockets_answers_as_the_server_does() {
    let ask = Ask::new("www.steer.test", "A").subnet("127.82.0.0/24");
    assert_eq!(direct(&server().snapshot(), &ask).octets, udp(server().dns, &ask).octets);
}
