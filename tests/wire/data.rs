//! What zones hold, as answered: data, nothing, referrals, aliases, wildcards.

use hickory_proto::op::ResponseCode;

use crate::query;
use crate::support::dns::Reply;

const SOA: &str = "wire.test. 60 IN SOA ns1.wire.test. Host.Master.wire.test. 1 3600 600 604800 60";

fn assert_negative(reply: &Reply, rcode: ResponseCode, soa: &str) {
    assert_eq!(reply.rcode(), rcode);
    assert!(reply.is_authoritative());
    assert!(reply.answers().is_empty(), "{:?}", reply.answers());
    assert_eq!(reply.authority(), [soa]);
}

fn assert_no_data(name: &str, qtype: &str) {
    assert_negative(&query(name, qtype), ResponseCode::NoError, SOA);
}

fn assert_no_name(name: &str, qtype: &str) {
    assert_negative(&query(name, qtype), ResponseCode::NXDomain, SOA);
}

#[test]
fn rfc1034_4_3_2_an_rrset_is_answered_whole_and_with_authority() {
    let reply = query("www.wire.test", "A");
    assert!(reply.is_authoritative());
    assert_eq!(reply.answers(), ["www.wire.test. 3600 IN A 192.0.2.80", "www.wire.test. 3600 IN A 192.0.2.81"]);
    assert!(reply.authority().is_empty() && reply.additional().is_empty());
    assert_eq!(query("short.wire.test", "A").ttl(), Some(10));
}

#[test]
fn rfc1034_4_3_2_addresses_of_named_hosts_come_along() {
    let reply = query("mx.wire.test", "MX");
    assert_eq!(reply.answers(), ["mx.wire.test. 3600 IN MX 10 Mail.WIRE.Test."]);
    assert_eq!(reply.additional(), ["Mail.WIRE.Test. 3600 IN A 192.0.2.25"]);
    let reply = query("wire.test", "NS");
    assert!(reply.is_authoritative());
    assert_eq!(reply.answers().len(), 2);
    assert_eq!(reply.additional().len(), 3);
}

#[test]
fn rfc2308_3_nothing_of_the_type_is_nodata_with_the_lesser_ttl() {
    assert_no_data("www.wire.test", "AAAA");
    assert_no_data("www.wire.test", "TYPE65400");
    assert_eq!(query("wire.test", "SOA").ttl(), Some(3600)); // the answer keeps its own
}

#[test]
fn rfc2308_3_no_such_name_is_nxdomain() {
    assert_no_name("missing.wire.test", "A");
    assert_no_name("a.b.c.missing.wire.test", "TXT");
    assert_no_name("below.www.wire.test", "A");
}

#[test]
fn rfc4592_2_2_2_empty_non_terminals_exist() {
    assert_no_data("ent.wire.test", "A");
    assert_no_data("y.ent.wire.test", "A");
    assert_no_data("y.ent.wire.test", "ANY");
    assert_no_name("z.ent.wire.test", "A");
    assert_eq!(query("x.y.ent.wire.test", "A").data(), ["192.0.2.60"]);
}

#[test]
fn outside_all_zones_is_refused() {
    for name in ["elsewhere.invalid", "test", ".", "xwire.test"] {
        let reply = query(name, "A");
        assert_eq!(reply.rcode(), ResponseCode::Refused, "{name}");
        assert!(!reply.is_authoritative() && reply.authority().is_empty() && reply.answers().is_empty());
    }
}

#[test]
fn rfc1034_4_3_2_a_cut_is_a_referral_without_authority_and_with_glue() {
    for name in ["child.wire.test", "host.child.wire.test", "a.b.child.wire.test", "ns1.child.wire.test"] {
        let reply = query(name, "A");
        assert_eq!(reply.rcode(), ResponseCode::NoError);
        assert!(!reply.is_authoritative(), "{name}");
        assert!(reply.answers().is_empty());
        assert_eq!(
            reply.authority(),
            ["child.wire.test. 3600 IN NS ns.elsewhere.invalid.", "child.wire.test. 3600 IN NS ns1.child.wire.test."]
        );
        assert_eq!(
            reply.additional(),
            ["ns1.child.wire.test. 3600 IN A 192.0.2.100", "ns1.child.wire.test. 3600 IN AAAA 2001:db8::100"]
        );
    }
}

#[test]
fn rfc4035_3_1_4_1_ds_at_a_cut_is_the_parents() {
    // Key tags 12345 and 54321, algorithm 13, digest 2 in base64: hickory-proto shows DS so here.
    let reply = query("child.wire.test", "DS");
    assert!(reply.is_authoritative());
    assert_eq!(reply.answers().len(), 1);
    assert!(reply.answers()[0].starts_with("child.wire.test. 3600 IN DS MDkNAg"), "{:?}", reply.answers());
    assert_no_data("unsigned.wire.test", "DS");
    let below = query("host.child.wire.test", "DS");
    assert!(!below.is_authoritative() && below.authority().len() == 2);
}

#[test]
fn rfc4035_3_1_4_1_ds_of_a_nested_zone_comes_from_the_parent_zone_served_here() {
    let reply = query("nested.wire.test", "DS");
    assert!(reply.is_authoritative());
    assert!(reply.answers()[0].starts_with("nested.wire.test. 3600 IN DS 1DENAg"), "{:?}", reply.answers());
}

#[test]
fn rfc4035_3_1_4_1_the_parent_says_that_there_is_no_ds() {
    assert_no_data("bare.wire.test", "DS"); // a nested zone without a delegation
    let reply = query("deep.child.wire.test", "DS"); // its parent is delegated to others
    assert!(!reply.is_authoritative());
    assert!(reply.authority()[0].starts_with("child.wire.test. 3600 IN NS"), "{:?}", reply.authority());
    assert!(query("deep.child.wire.test", "SOA").is_authoritative());
}

#[test]
fn a_nested_zone_served_here_answers_for_itself() {
    let reply = query("host.nested.wire.test", "A");
    assert!(reply.is_authoritative());
    assert_eq!(reply.data(), ["192.0.2.111"]);
    let soa = "nested.wire.test. 30 IN SOA ns1.nested.wire.test. hostmaster.nested.wire.test. 1 3600 600 604800 30";
    assert_negative(&query("missing.nested.wire.test", "A"), ResponseCode::NXDomain, soa);
    assert_negative(&query("nested.wire.test", "A"), ResponseCode::NoError, soa);
    assert_eq!(query("nested.wire.test", "SOA").answers().len(), 1);
}

#[test]
fn rfc1034_3_6_2_aliases_are_followed_in_their_order() {
    let reply = query("alias2.wire.test", "A");
    assert!(reply.is_authoritative());
    let answers = reply.answers_in_order();
    assert_eq!(answers.len(), 4);
    assert_eq!(answers[0], "alias2.wire.test. 3600 IN CNAME alias.wire.test.");
    assert_eq!(answers[1], "alias.wire.test. 3600 IN CNAME www.wire.test.");
    assert_eq!(answers[2], "www.wire.test. 3600 IN A 192.0.2.80");
    let reply = query("alias2.wire.test", "CNAME");
    assert_eq!(reply.answers(), ["alias2.wire.test. 3600 IN CNAME alias.wire.test."]);
}

#[test]
fn rfc2308_2_1_an_alias_into_nothing_has_the_targets_rcode_and_soa() {
    let reply = query("dangling.wire.test", "A");
    assert_eq!(reply.rcode(), ResponseCode::NXDomain);
    assert_eq!(reply.answers(), ["dangling.wire.test. 3600 IN CNAME missing.wire.test."]);
    assert_eq!(reply.authority(), [SOA]);
    let reply = query("alias.wire.test", "AAAA");
    assert_eq!(reply.rcode(), ResponseCode::NoError);
    assert_eq!((reply.answers().len(), reply.authority()), (1, vec![SOA.to_owned()]));
}

#[test]
fn an_alias_that_leaves_our_zones_ends_there() {
    let reply = query("outside.wire.test", "A");
    assert_eq!(reply.rcode(), ResponseCode::NoError);
    assert!(reply.is_authoritative() && reply.authority().is_empty());
    assert_eq!(reply.answers(), ["outside.wire.test. 3600 IN CNAME www.elsewhere.invalid."]);
}

#[test]
fn an_alias_to_below_a_cut_ends_in_a_referral_with_authority_for_the_alias() {
    let reply = query("below.wire.test", "A");
    assert!(reply.is_authoritative());
    assert_eq!(reply.answers(), ["below.wire.test. 3600 IN CNAME host.child.wire.test."]);
    assert_eq!((reply.authority().len(), reply.additional().len()), (2, 2));
}

#[test]
fn an_alias_to_a_service_is_steered() {
    let reply = query("steered.wire.test", "A");
    assert_eq!(reply.answers().len(), 2);
    assert_eq!(reply.answers_in_order()[0], "steered.wire.test. 3600 IN CNAME www.steer.test.");
}

#[test]
fn rfc1034_3_6_2_loops_and_long_chains_end() {
    let reply = query("loop1.wire.test", "A");
    assert_eq!(reply.rcode(), ResponseCode::NoError);
    assert_eq!(
        reply.answers_in_order(),
        ["loop1.wire.test. 3600 IN CNAME loop2.wire.test.", "loop2.wire.test. 3600 IN CNAME loop1.wire.test."]
    );
    let reply = query("x.round.wire.test", "A");
    assert_eq!(
        reply.answers_in_order(),
        [
            "x.round.wire.test. 3600 IN CNAME back.round.wire.test.",
            "back.round.wire.test. 3600 IN CNAME back.round.wire.test."
        ]
    );
    let reply = query("long0.wire.test", "A");
    assert_eq!(reply.rcode(), ResponseCode::NoError);
    assert_eq!(reply.answers().len(), 9); // eight aliases are followed
}

#[test]
fn rfc6672_3_2_dname_comes_with_the_cname_it_makes() {
    let reply = query("a.moved.wire.test", "A");
    assert!(reply.is_authoritative());
    assert_eq!(
        reply.answers_in_order(),
        [
            "moved.wire.test. 3600 IN DNAME target.wire.test.",
            "a.moved.wire.test. 3600 IN CNAME a.target.wire.test.",
            "a.target.wire.test. 3600 IN A 192.0.2.70"
        ]
    );
    let reply = query("b.moved.wire.test", "A");
    assert_eq!(reply.rcode(), ResponseCode::NXDomain);
    assert_eq!((reply.answers().len(), reply.authority()), (2, vec![SOA.to_owned()]));
    let reply = query("x.y.gone.wire.test", "A");
    assert_eq!(reply.answers_in_order()[1], "x.y.gone.wire.test. 3600 IN CNAME x.y.elsewhere.invalid.");
    assert_eq!(reply.rcode(), ResponseCode::NoError);
}

#[test]
fn rfc6672_2_3_dname_says_nothing_of_its_own_name() {
    assert_no_data("moved.wire.test", "A");
    assert_eq!(query("moved.wire.test", "DNAME").answers(), ["moved.wire.test. 3600 IN DNAME target.wire.test."]);
}

#[test]
fn rfc6672_3_2_a_name_that_grows_too_long_is_yxdomain() {
    let label = "c".repeat(60);
    let reply = query(&format!("{label}.{label}.toolong.wire.test"), "A");
    assert_eq!(reply.rcode(), ResponseCode::YXDomain);
    assert_eq!(reply.answers().len(), 1); // the DNAME itself
    assert_ne!(query(&format!("{label}.toolong.wire.test"), "A").rcode(), ResponseCode::YXDomain);
}

#[test]
fn rfc4592_wildcards_answer_for_names_that_do_not_exist() {
    assert_eq!(query("any.wild.wire.test", "A").answers(), ["any.wild.wire.test. 3600 IN A 192.0.2.99"]);
    assert_eq!(query("a.b.c.wild.wire.test", "A").data(), ["192.0.2.99"]);
    assert_eq!(query("*.wild.wire.test", "A").answers(), ["*.wild.wire.test. 3600 IN A 192.0.2.99"]);
    assert_no_data("any.wild.wire.test", "TXT");
    assert_no_data("exact.wild.wire.test", "A"); // exists, so the wildcard has no say
    assert_no_name("below.exact.wild.wire.test", "A");
    assert_no_data("wild.wire.test", "A");
    let reply = query("any.wild.wire.test", "MX");
    assert_eq!(reply.additional(), ["mail.wire.test. 3600 IN A 192.0.2.25"]);
}

#[test]
fn rfc4592_3_3_1_an_empty_non_terminal_shadows_the_wildcard() {
    assert_no_data("a.deep.wire.test", "A");
    assert_no_name("c.a.deep.wire.test", "A");
    assert_eq!(query("c.deep.wire.test", "A").data(), ["192.0.2.98"]);
}

#[test]
fn rfc4592_4_4_a_cname_at_a_wildcard_is_followed() {
    let answers = query("any.points.wire.test", "A").answers_in_order();
    assert_eq!(answers[0], "any.points.wire.test. 3600 IN CNAME www.wire.test.");
    assert_eq!(answers.len(), 3);
}

#[test]
fn rfc4592_2_2_1_its_own_examples() {
    assert_eq!(query("host3.example", "MX").answers(), ["host3.example. 3600 IN MX 10 host1.example."]);
    assert_eq!(query("foo.bar.example", "TXT").data(), ["this is a wildcard"]);
    for (name, qtype, rcode) in [
        ("host3.example", "A", ResponseCode::NoError), // "a type that the wildcard has not"
        ("host1.example", "MX", ResponseCode::NoError), // exists
        ("sub.*.example", "MX", ResponseCode::NoError), // exists
        ("_telnet._tcp.host1.example", "SRV", ResponseCode::NXDomain), // below _tcp.host1, which exists
        ("ghost.*.example", "MX", ResponseCode::NXDomain), // its wildcard would be *.*.example
    ] {
        let reply = query(name, qtype);
        assert_eq!(reply.rcode(), rcode, "{name}");
        assert!(reply.is_authoritative() && reply.answers().is_empty(), "{name}");
        assert_eq!(reply.authority().len(), 1, "{name}");
        assert!(reply.authority()[0].starts_with("example. 600 IN SOA "), "{name}");
    }
    let referral = query("host.subdel.example", "A");
    assert!(!referral.is_authoritative() && referral.answers().is_empty());
    assert_eq!(
        referral.authority(),
        ["subdel.example. 3600 IN NS ns.example.com.", "subdel.example. 3600 IN NS ns.example.net."]
    );
}

#[test]
fn rfc4592_3_3_1_its_table_of_closest_enclosers() {
    for (name, synthesised) in [
        ("host3.example", true),
        ("_telnet._tcp.host1.example", false),
        ("_dns._udp.host2.example", false),
        ("_telnet._tcp.host3.example", true),
        ("_chat._udp.host3.example", true),
        ("foobar.*.example", false),
    ] {
        let reply = query(name, "TXT");
        let rcode = if synthesised { ResponseCode::NoError } else { ResponseCode::NXDomain };
        assert_eq!(reply.rcode(), rcode, "{name}");
        assert_eq!(reply.answers().len(), usize::from(synthesised), "{name}");
    }
}

#[test]
fn rfc8482_4_2_any_gets_one_small_record() {
    // At a DNAME's own name, too: "DNAME ... applies to names below it" (RFC 6672 section 2.3).
    for name in ["www.wire.test", "wire.test", "www.steer.test", "any.wild.wire.test", "moved.wire.test"] {
        let reply = query(name, "ANY");
        assert_eq!(reply.rcode(), ResponseCode::NoError);
        assert_eq!(reply.answers().len(), 1, "{name}");
        assert!(reply.answers()[0].contains(" HINFO RFC8482"), "{:?}", reply.answers());
    }
    assert_no_name("missing.wire.test", "ANY");
}

/// "If there is no CNAME present at the owner name matching the QNAME, the resource record returned in the
/// response MAY instead be synthesized": else the CNAME itself is the answer, and ANY matches it, so it is not
/// followed (RFC 1034 section 4.3.2 step 3a).
#[test]
fn rfc8482_4_2_any_at_an_alias_gets_the_cname() {
    for (name, target) in [
        ("alias.wire.test", "www.wire.test."),
        ("ALIAS2.wire.test", "alias.wire.test."),
        ("outside.wire.test", "www.elsewhere.invalid."),
        ("any.points.wire.test", "www.wire.test."),
    ] {
        let reply = query(name, "ANY");
        assert!(reply.is_authoritative() && reply.authority().is_empty());
        assert_eq!(reply.answers(), [format!("{name}. 3600 IN CNAME {target}")]);
    }
    // So is the CNAME that a DNAME makes.
    let reply = query("a.moved.wire.test", "ANY");
    assert_eq!(
        reply.answers_in_order(),
        ["moved.wire.test. 3600 IN DNAME target.wire.test.", "a.moved.wire.test. 3600 IN CNAME a.target.wire.test."]
    );
}

#[test]
fn rfc1034_4_3_2_any_at_and_below_a_cut_is_a_referral() {
    for name in ["child.wire.test", "host.child.wire.test", "ns1.child.wire.test"] {
        let reply = query(name, "ANY");
        assert!(!reply.is_authoritative() && reply.answers().is_empty(), "{name}");
        assert_eq!((reply.authority().len(), reply.additional().len()), (2, 2), "{name}");
    }
}

/// The types that may stand beside a CNAME are asked of its own name: RRSIG, NSEC and KEY by RFC 4035 section
/// 2.5, SIG, NXT and KEY by RFC 2181 section 10.1. Here there are none.
#[test]
fn rfc4035_2_5_types_that_stand_beside_a_cname_are_no_reason_to_follow_it() {
    for qtype in ["NSEC", "RRSIG", "TYPE25", "TYPE24", "TYPE30"] {
        for name in ["alias.wire.test", "outside.wire.test", "any.points.wire.test"] {
            assert_no_data(name, qtype);
        }
        // What a DNAME makes stands beside nothing: "Go back to step 1" (RFC 6672 section 3.2).
        assert_eq!(query("a.moved.wire.test", qtype).answers().len(), 2);
    }
    for qtype in ["DS", "NSEC3", "DNSKEY"] {
        assert_eq!(query("outside.wire.test", qtype).data(), ["www.elsewhere.invalid."], "{qtype}");
    }
}
