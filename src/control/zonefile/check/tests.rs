//! The rules of a zone, one table per rule: zone in, what is said of it out.

use std::collections::BTreeMap;

use crate::control::diagnostic::SourceFile;
use crate::control::zonefile::{MasterText, NoInclude, parse};
use crate::model::ZoneNode;

use super::*;

/// Lines 1 to 5 of every zone here; its own begin at line 6.
const APEX: &str = "@ SOA ns1 host 1 2 3 4 5\n@ NS ns1\n@ NS ns.example.net.\nns1 A 192.0.2.53\n\n";

fn name(text: &str) -> Name {
    Name::parse_absolute(text).expect("a name")
}

/// Sets by name: type, TTL and RDATA of each.
type Nodes = BTreeMap<Name, Vec<(RecordType, Ttl, Vec<Vec<u8>>)>>;

/// Service `www` is made of addresses, `cdn:host` of a host name elsewhere, `cdn:a,b` of these host names,
/// `cdn:a,+` of one and addresses; `web:https` answers HTTPS.
fn run(text: &str, services: &[&str]) -> (Nodes, Vec<String>) {
    run_as(text, services, Strictness::Strict)
}

fn run_as(text: &str, services: &[&str], strictness: Strictness) -> (Nodes, Vec<String>) {
    let file = SourceFile::new("zone", text);
    let origin = name("example.com");
    let parsed = parse(MasterText::whole(&file), &origin, Some(Ttl::saturating(60)), &mut NoInclude);
    assert_eq!(parsed.diagnostics, [], "{text}");
    let toml = SourceFile::new("toml", services.join("\n"));
    let mut at = 0;
    let services: Vec<_> = services
        .iter()
        .map(|text| {
            let (label, kind) = text.split_once(':').unwrap_or((text, ""));
            let span = Span::new(&toml, at..at + text.len());
            at += text.len() + 1;
            let name = Name::parse(label, &origin).expect("a name");
            let hosts = match kind {
                "" | "https" => Vec::new(),
                "host" => vec![self::name("host.example.net")],
                kind => kind.split(',').filter(|host| *host != "+").map(|host| under(host, &origin)).collect(),
            };
            let has_addresses = hosts.is_empty() || kind.contains('+');
            let hosts = hosts.into_iter().map(|host| (host, span.clone())).collect();
            ServiceOwner { name, span, hosts, has_addresses, https: kind == "https" }
        })
        .collect();
    let span = Span::new(&file, 0..0);
    let (nodes, diagnostics) = check(&origin, &span, &parsed.records, &services, strictness);
    assert!(nodes.iter().map(|node| node.name(&origin)).is_sorted());
    let sets = |node: ZoneNode<'_>| {
        node.sets().map(|set| (set.rtype, set.ttl, set.rdatas().map(<[u8]>::to_vec).collect())).collect()
    };
    let nodes = nodes.iter().map(|node| (node.name(&origin), sets(node))).collect();
    (nodes, diagnostics.iter().map(told).collect())
}

fn under(text: &str, origin: &Name) -> Name {
    Name::parse(text, origin).expect("a name")
}

/// `E zone:6:1: message (label) <zone:1:1` with the places related.
fn told(diagnostic: &Diagnostic) -> String {
    let mut text = format!("{} {diagnostic}", if diagnostic.is_error() { "E" } else { "W" });
    for (span, _) in &diagnostic.related {
        let (line, column) = span.file.line_column(span.range.start);
        text.push_str(&format!(" <{}:{line}:{column}", span.file.path));
    }
    text
}

fn assert_told(text: &str, services: &[&str], expected: &[&str]) {
    let (_, found) = run(&format!("{APEX}{text}"), services);
    assert_same(text, &found, expected);
}

/// Each expectation is the beginning, then after ` … ` what the end must be.
fn assert_same(text: &str, found: &[String], expected: &[&str]) {
    assert_eq!(found.len(), expected.len(), "{text}\n{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        let (head, tail) = expected.split_once(" … ").unwrap_or((expected, ""));
        assert!(found.starts_with(head) && found.ends_with(tail), "{text}\nfound    {found}\nexpected {expected}");
    }
}

#[test]
fn a_sound_zone_gives_nodes_in_canonical_order_and_says_nothing() {
    let text = format!(
        "{APEX}WWW A 192.0.2.1\nwww A 192.0.2.2\nwww TXT x\n*.w A 192.0.2.1\nmail MX 10 www\nmail MX 20 mx.example.net.\n\
         nomail MX 0 .\n_s._tcp SRV 0 0 0 .\n_t._tcp SRV 1 1 1 a.w\nalias CNAME www\nd DNAME example.org.\n\
         sub NS ns.sub\nsub NS ns.example.net.\nsub NS ns1\nsub DS 1 13 1 0000000000000000000000000000000000000000\n\
         ns.sub A 192.0.2.1\nself NS self\nself A 192.0.2.9\n"
    );
    let (nodes, found) = run(&text, &["svc", "cdn:host", "@", "www.w:https"]);
    assert_eq!(found, Vec::<String>::new());
    let names: Vec<_> = nodes.keys().map(ToString::to_string).collect();
    assert_eq!(names[0], "example.com.");
    let www = &nodes[&name("www.example.com")];
    assert_eq!(
        www.iter().map(|(rtype, _, rdatas)| (*rtype, rdatas.len())).collect::<Vec<_>>(),
        [(RecordType::A, 2), (RecordType::TXT, 1)]
    );
    assert_eq!(www[0].2[1], [192, 0, 2, 2]);
}

#[test]
fn rfc1035_5_2_one_soa_and_name_servers_at_the_apex() {
    for (text, expected) in [
        (
            "",
            &[
                "E zone:1:1: the zone example.com. has no SOA record",
                "E zone:1:1: the zone example.com. has no NS record",
            ][..],
        ),
        ("@ SOA a. b. 1 2 3 4 5\n@ NS a.\n", &["W zone:2:1: the zone has one name server"]),
        (
            "@ SOA a. b. 1 2 3 4 5\n@ NS a.\n@ NS b.\n@ SOA a. b. 2 2 3 4 5\n",
            &["E zone:4:1: example.com. has more than one SOA record … <zone:1:1"],
        ),
        (
            "@ SOA a. b. 1 2 3 4 5\n@ NS a.\n@ NS b.\nx SOA a. b. 1 2 3 4 5\n",
            &["E zone:4:1: an SOA record at x.example.com. (expected only at the apex)"],
        ),
    ] {
        assert_same(text, &run(text, &[]).1, expected);
    }
}

#[test]
fn records_outside_the_zone_are_refused() {
    assert_told(
        "example.net. A 192.0.2.1\nnotexample.com. A 192.0.2.1\n",
        &[],
        &[
            "E zone:6:1: example.net. is outside the zone (not at or below example.com.)",
            "E zone:7:1: notexample.com. is outside the zone",
        ],
    );
}

#[test]
fn rfc1034_3_6_2_a_cname_is_alone() {
    for (text, expected) in [
        (
            "a CNAME x.net.\na TXT x\n",
            &["E zone:6:1: the CNAME of a.example.com. is not alone (TXT stands beside it) <zone:7:1"][..],
        ),
        (
            "a CNAME x.net.\nA CNAME y.net.\n",
            &["E zone:7:1: a.example.com. has more than one CNAME record … <zone:6:1"],
        ),
        ("a CNAME x.net.\na CNAME X.net.\n", &["W zone:7:1: this CNAME record is written twice (kept once) <zone:6:1"]),
        ("a CNAME a\n", &["E zone:6:1: a.example.com. is an alias of itself"]),
        ("a CNAME nowhere\n", &["W zone:6:1: the target nowhere.example.com. does not exist"]),
    ] {
        assert_told(text, &[], expected);
    }
}

#[test]
fn rfc6672_2_4_nothing_is_below_a_dname() {
    assert_told(
        "d DNAME x.net.\nd TXT beside\na.b.d A 192.0.2.1\n",
        &[],
        &["E zone:8:1: a.b.d.example.com. is below a DNAME record (never answered) <zone:6:1"],
    );
    assert_told(
        "d DNAME x.net.\nd DNAME y.net.\n",
        &[],
        &["E zone:7:1: d.example.com. has more than one DNAME record"],
    );
    let at_apex = "@ DNAME x.net.\n";
    assert_told(
        at_apex,
        &[],
        &[
            "E zone:2:1: the name server ns1.example.com. is an alias … <zone:6:1",
            "E zone:4:1: ns1.example.com. is below a DNAME",
        ],
    );
}

#[test]
fn rfc2181_5_2_ttls_are_alike() {
    assert_told(
        "a 5 A 192.0.2.1\na A 192.0.2.2\na 7 TXT x\n",
        &[],
        &[
            "E zone:7:1: the TTLs of the A records of a.example.com. differ (60 s, by default); records of one name and type have one TTL … <zone:6:1",
        ],
    );
    assert_told("a 604801 A 192.0.2.1\nb 1w A 192.0.2.1\n", &[], &["W zone:6:1: a TTL above one week (604801 s"]);
}

#[test]
fn duplicates_are_kept_once() {
    let text = "a A 192.0.2.1\na A 192.0.2.1\na MX 1 ns1\na MX 1 NS1.example.com.\na TXT x\na TXT X\n";
    let (nodes, found) = run(&format!("{APEX}{text}"), &[]);
    assert_same(
        text,
        &found,
        &["W zone:7:1: this A record is written twice (kept once) <zone:6:1", "W zone:9:1: this MX record"],
    );
    let sizes: Vec<_> = nodes[&name("a.example.com")].iter().map(|(_, _, rdatas)| rdatas.len()).collect();
    assert_eq!(sizes, [1, 1, 2]);
}

#[test]
fn rfc2181_10_3_name_servers_have_addresses_and_are_no_aliases() {
    for (text, services, expected) in [
        (
            "@ NS ns9\n",
            &[][..],
            &["E zone:6:1: the name server ns9.example.com. has no address (expected in this zone); add A"][..],
        ),
        ("@ NS ns9\nns9 TXT x\n", &[], &["E zone:6:1: the name server ns9"]),
        ("@ NS ns9\nns9 CNAME ns1\n", &[], &["E zone:6:1: the name server ns9.example.com. is an alias … <zone:7:1"]),
        ("@ NS ns9\n*  AAAA ::1\n", &[], &[]),
        (
            "@ NS a.ns9\n*  AAAA ::1\nb.ns9 A 192.0.2.1\n",
            &[],
            &["E zone:6:1: the name server a.ns9.example.com. has no address"],
        ),
        ("@ NS a.b.ns9\n*.ns9 AAAA ::1\n", &[], &[]),
        ("@ NS svc\n", &["svc"], &["W zone:6:1: the name server svc.example.com. is a service … <toml:1:1"]),
        ("sub NS svc\n", &["svc"], &[]),
        ("@ NS svc\n", &["svc:host"], &["E zone:6:1: the name server svc.example.com. is an alias … <toml:1:1"]),
        ("@ NS ns.sub\nsub NS ns.sub\nns.sub A 192.0.2.1\n", &[], &[]),
        ("@ NS ns.sub\nsub NS x.net.\n", &[], &["E zone:6:1: the name server ns.sub.example.com. has no address"]),
        (
            "sub NS ns.sub\n",
            &[],
            &["E zone:6:1: the name server ns.sub.example.com. has no address (its glue is missing)"],
        ),
        ("sub NS sub\n", &[], &["E zone:6:1: the name server sub.example.com. has no address (its glue is missing)"]),
        ("sub NS ns9\n", &[], &["E zone:6:1: the name server ns9.example.com. has no address"]),
        (
            "sub NS ns.d\nd DNAME x.net.\n",
            &[],
            &["E zone:6:1: the name server ns.d.example.com. is an alias … <zone:7:1"],
        ),
        ("sub NS ns.other\nother NS x.net.\n", &[], &[]),
    ] {
        assert_told(text, services, expected);
    }
}

#[test]
fn rfc1034_4_2_1_below_a_delegation_is_only_glue() {
    assert_told(
        "sub NS ns.sub\nns.sub A 192.0.2.1\nns.sub TXT x\nother.sub A 192.0.2.2\nsub MX 1 x.net.\na.sub NS x.net.\n",
        &[],
        &[
            "E zone:8:1: sub.example.com. is delegated (never answered: it belongs into the delegated zone) <zone:6:1",
            "W zone:9:1: sub.example.com. is delegated (never answered: no name server is called so) <zone:6:1",
            "E zone:10:1: sub.example.com. is delegated",
            "E zone:11:1: sub.example.com. is delegated",
        ],
    );
}

#[test]
fn rfc4035_2_4_ds_is_beside_a_delegation() {
    let ds = "DS 1 13 1 0000000000000000000000000000000000000000\n";
    assert_told(&format!("a {ds}"), &[], &["E zone:6:1: a DS record without a delegation"]);
    assert_told(&format!("@ {ds}"), &[], &["E zone:6:1: a DS record at the apex (belongs into the parent zone)"]);
}

#[test]
fn rfc4592_4_wildcards_neither_delegate_nor_redirect() {
    assert_told(
        "* NS x.net.\n*.d DNAME x.net.\n",
        &[],
        &[
            "E zone:6:1: a wildcard cannot delegate (undefined by RFC 4592 section 4.2)",
            "W zone:7:1: a DNAME record at a wildcard",
        ],
    );
}

#[test]
fn mail_and_service_targets_have_addresses() {
    assert_told(
        "a MX 1 c\nb SRV 1 1 1 c\nc CNAME x.net.\nd MX 1 none\ne MX 0 .\ne MX 1 ns1\nf MX 1 svc\n",
        &["svc"],
        &[
            "W zone:6:1: the MX target c.example.com. is an alias … <zone:8:1",
            "W zone:7:1: the SRV target c.example.com. is an alias … <zone:8:1",
            "W zone:9:1: the MX target none.example.com. has no address",
            "W zone:10:1: a null MX record beside others",
        ],
    );
}

#[test]
fn rfc4592_3_3_1_a_wildcard_service_answers_for_targets() {
    let text = "sub NS ns.apps\na MX 1 mail.apps\nb CNAME x.y.apps\nunder.apps TXT x\n";
    assert_told(text, &["*.apps"], &[]);
    assert_told(
        "a CNAME b.under.apps\nb MX 1 under.apps\nunder.apps TXT x\nc CNAME x.api.apps\nd MX 1 e.apps\n",
        &["*.apps:host", "api.apps"],
        &[
            "W zone:6:1: the target b.under.apps.example.com. does not exist",
            "W zone:7:1: the MX target under.apps.example.com. has no address",
            "W zone:9:1: the target x.api.apps.example.com. does not exist",
            "W zone:10:1: the MX target e.apps.example.com. is an alias … <toml:1:1",
        ],
    );
}

#[test]
fn an_rrset_fits_a_message() {
    let zone = |records: usize| (0..records).map(|n| format!("a A 10.0.{}.{}\n", n / 256, n % 256)).collect::<String>();
    assert_told(&zone(4083), &[], &[]); // 12 + 15 + 4 + 4083 * 16 = 65359, of 65535 without an OPT of 167
    assert_told(
        &zone(4084),
        &[],
        &[
            "E zone:6:1: the 4084 A records of a.example.com. fit no message (an answer of 65375 octets, at most 65368 can be sent)",
        ],
    );
    let text = format!("a TXT {}\n", "\"x\" ".repeat(32_760));
    assert_told(
        &text,
        &[],
        &["E zone:6:1: the TXT record of a.example.com. fits no message (an answer of 65563 octets"],
    );
    let mail = |at: &str, records: usize| {
        (0..records).map(|n| format!("{at} MX 1 mail-server-{n:04}.x.net.\n")).collect::<String>()
    };
    assert_told(&mail("a", 1_900), &[], &[]);
    assert_told(&mail("a", 2_500), &[], &["E zone:6:1: the 2500 MX records of a.example.com. fit no message"]);
}

/// RFC 9471 section 3.1: a referral with its glue, or truncation.
#[test]
fn a_referral_fits_a_message() {
    let zone = |servers: usize| {
        let server = |n: usize| format!("sub NS n{n}.sub\nn{n}.sub A 192.0.2.1\nn{n}.sub AAAA 2001:db8::1\n");
        (0..servers).map(server).collect::<String>()
    };
    assert_told(&zone(800), &[], &[]);
    assert_told(&zone(1_100), &[], &["E zone:6:1: the referral to sub.example.com. fits no message with its glue"]);
}

#[test]
fn aliases_in_a_circle_are_told_once() {
    for (text, expected) in [
        (
            "a CNAME b\nb CNAME c\nc CNAME a\n",
            &[
                "E zone:6:1: aliases lead in a circle (a.example.com. → b.example.com. → c.example.com. → a.example.com.)",
            ][..],
        ),
        ("* CNAME x\n", &["E zone:6:1: aliases lead in a circle (*.example.com. → x.example.com. → x.example.com.)"]),
        (
            "d DNAME e\ne DNAME d\n",
            &["E zone:6:1: aliases lead in a circle (x.d.example.com. → x.e.example.com. → x.d"],
        ),
        ("d DNAME x.d\n", &["E zone:6:1: d.example.com. is redirected to itself, or below"]),
        ("a CNAME y.d\nd DNAME e\ny.e CNAME a\n", &["E zone:6:1: aliases lead in a circle"]),
        ("a CNAME b\nb CNAME c\nc A 192.0.2.1\nd DNAME e\ny.e CNAME a\n", &[]),
    ] {
        assert_told(text, &[], expected);
    }
}

#[test]
fn endpoints_lead_to_an_answer() {
    for (text, services, expected) in [
        ("", &["www:www"][..], &["E toml:1:1: the service www.example.com. is an alias of itself … <toml:1:1"][..]),
        (
            "",
            &["a:b", "b:a"],
            &[
                "E toml:1:1: the endpoint b.example.com. of a.example.com. leads in a circle (b.example.com. → a.example.com. → b.example.com.)",
            ],
        ),
        (
            "",
            &["a:b", "b:a,+"],
            &[
                "W toml:1:1: the endpoint b.example.com. of a.example.com. may lead in a circle",
                "W toml:2:1: the endpoint a.example.com. of b.example.com. may lead in a circle",
            ],
        ),
        ("c CNAME a\n", &["a:c"], &["E toml:1:1: the endpoint c.example.com. of a.example.com. leads in a circle"]),
        (
            "",
            &["*.apps:x.apps"],
            &["E toml:1:1: the endpoint x.apps.example.com. of *.apps.example.com. leads in a circle"],
        ),
        ("", &["a:nowhere"], &["E toml:1:1: the endpoint nowhere.example.com. of a.example.com. does not exist"]),
        ("t TXT x\n", &["a:t"], &["W toml:1:1: the endpoint t.example.com. of a.example.com. has no address"]),
        ("t A 192.0.2.1\nsub NS x.net.\n", &["a:t,x.sub,b,x.net.", "b"], &[]),
        ("c CNAME t\nt A 192.0.2.1\n", &["a:c"], &[]),
    ] {
        assert_told(text, services, expected);
    }
}

/// Text that others load is read as the RFCs say it then is.
#[test]
fn a_lenient_reading_warns_and_drops_what_is_never_answered() {
    let text = "example.net. A 192.0.2.1\na 5 A 192.0.2.1\na 3 A 192.0.2.2\nsub NS ns.sub\nsub TXT x\nx.sub TXT x\n\
                y.x.sub NS z.net.\nd DNAME z.net.\nx.d A 192.0.2.1\nds DS 1 13 1 0000000000000000000000000000000000000000\n\
                @ DS 1 13 1 0000000000000000000000000000000000000000\nw SOA a. b. 1 2 3 4 5\n* NS z.net.\nl CNAME l\n@ NS gone\n";
    let (nodes, found) = run_as(&format!("{APEX}{text}"), &[], Strictness::Lenient);
    assert!(found.iter().all(|told| told.starts_with("W ")), "{found:#?}");
    assert_eq!(found.len(), 13, "{found:#?}");
    let (_, strictly) = run(&format!("{APEX}{text}"), &[]);
    assert_eq!(strictly.iter().filter(|told| told.starts_with("E ")).count(), 13, "{strictly:#?}");
    let held: Vec<String> = nodes
        .iter()
        .flat_map(|(name, sets)| sets.iter().map(move |(rtype, ttl, _)| format!("{name} {ttl} {rtype}")))
        .collect();
    let expected = [
        "example.com. 60 NS",
        "example.com. 60 SOA",
        "a.example.com. 3 A",
        "d.example.com. 60 DNAME",
        "ds.example.com. 60 DS",
        "l.example.com. 60 CNAME",
        "ns1.example.com. 60 A",
        "sub.example.com. 60 NS",
    ];
    assert_eq!(held, expected);
}

/// Text that the server itself cannot answer rightly stays an error.
#[test]
fn a_lenient_reading_refuses_what_cannot_be_answered() {
    for (text, services, expected) in [
        ("a CNAME x.net.\na CNAME y.net.\n", &[][..], "E zone:7:1: a.example.com. has more than one CNAME"),
        ("a A 192.0.2.1\n", &["a"], "E toml:1:1: the service a.example.com. collides"),
        ("", &["a:a"], "E toml:1:1: the service a.example.com. is an alias of itself"),
    ] {
        let (_, found) = run_as(&format!("{APEX}{text}"), services, Strictness::Lenient);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }
}

#[test]
fn a_service_never_collides_with_static_records() {
    for (text, services, expected) in [
        (
            "s A 192.0.2.1\n",
            &["s"][..],
            &[
                "E toml:1:1: the service s.example.com. collides with a static A record (it answers these itself) <zone:6:1",
            ][..],
        ),
        ("s AAAA ::1\n", &["s"], &["E toml:1:1: the service s.example.com. collides with a static AAAA"]),
        ("s CNAME x.net.\n", &["s"], &["E toml:1:1: the service s.example.com. collides with a static CNAME"]),
        ("s DNAME x.net.\n", &["s"], &["E toml:1:1: the service s.example.com. collides with a static DNAME"]),
        ("s TXT x\ns HTTPS 1 .\n", &["s"], &[]),
        (
            "s TXT x\ns HTTPS 1 .\n",
            &["s:https"],
            &["E toml:1:1: the service s.example.com. collides with a static HTTPS record … <zone:7:1"],
        ),
        (
            "s TXT x\n",
            &["s:host"],
            &[
                "E toml:1:1: the service s.example.com. collides with a static TXT record (it answers CNAMEs, which stand alone) <zone:6:1",
            ],
        ),
        ("", &["@:host"], &["E toml:1:1: the service example.com. is at the apex"]),
        ("", &["@"], &[]),
        ("", &["a", "b", "A"], &["E toml:3:1: two services are called A.example.com. (the second) <toml:1:1"]),
        ("", &["x.example.net."], &["E toml:1:1: the service x.example.net. is outside the zone"]),
        ("sub NS x.net.\n", &["sub"], &["E toml:1:1: the service sub.example.com. is delegated … <zone:6:1"]),
        ("sub NS x.net.\n", &["a.sub:host"], &["E toml:1:1: the service a.sub.example.com. is delegated … <zone:6:1"]),
        (
            "d DNAME x.net.\n",
            &["a.d"],
            &["E toml:1:1: the service a.d.example.com. is below a DNAME record … <zone:6:1"],
        ),
    ] {
        assert_told(text, services, expected);
    }
}

#[test]
fn mistakes_are_told_up_to_a_limit() {
    let many: String = (0..500).map(|n| format!("h{n} CNAME none\nh{n} TXT x\n")).collect();
    let (_, found) = run(&format!("{APEX}{many}"), &[]);
    assert_eq!(found.len(), 202);
    assert_eq!(found.iter().filter(|text| text.contains("there are more")).count(), 2);
}
