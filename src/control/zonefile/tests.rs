//! The meaning of master files, and what is said of their mistakes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::control::diagnostic::{Diagnostic, Severity, SourceFile, Span};
use crate::model::{Name, Record, RecordType, Ttl};

/// Files by path.
#[derive(Default)]
struct Files(HashMap<String, Arc<SourceFile>>);

impl Files {
    fn of(files: &[(&str, &str)]) -> Files {
        Files(files.iter().map(|(path, text)| (path.to_string(), SourceFile::new(*path, *text))).collect())
    }
}

impl Include for Files {
    fn read(&mut self, path: &str, _from: &SourceFile) -> Result<Arc<SourceFile>, String> {
        self.0.get(path).cloned().ok_or_else(|| "no such file".into())
    }
}

fn name(text: &str) -> Name {
    Name::parse_absolute(text).expect("a name")
}

fn parse_with(text: &str, default_ttl: Option<u32>, files: &[(&str, &str)]) -> Parsed {
    let file = SourceFile::new("zone", text);
    let default_ttl = default_ttl.map(Ttl::saturating);
    parse(MasterText::whole(&file), &name("example.com"), default_ttl, &mut Files::of(files))
}

/// `owner ttl type` of each record; there must be no diagnostics.
fn heads(text: &str, default_ttl: Option<u32>, files: &[(&str, &str)]) -> Vec<String> {
    let parsed = parse_with(text, default_ttl, files);
    assert_eq!(told(&parsed.diagnostics), Vec::<String>::new(), "{text}");
    let head = |r: &ZoneRecord| format!("{} {} {}", r.record.owner, r.record.ttl, r.record.rtype);
    parsed.records.iter().map(head).collect()
}

fn told(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(ToString::to_string).collect()
}

/// The RDATA of one entry, in hexadecimal.
fn rdata(text: &str) -> Result<String, String> {
    let parsed = parse_with(&format!("x 60 {text}\n"), None, &[]);
    if let Some(error) = parsed.diagnostics.iter().find(|diagnostic| diagnostic.is_error()) {
        return Err(error.to_string());
    }
    Ok(parsed.records[0].record.rdata.iter().map(|octet| format!("{octet:02x}")).collect())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// `file:line:column: message (label)` must begin with, or hold, what is expected.
fn assert_mistakes(text: &str, expected: &[&str]) {
    let found = told(&parse_with(text, Some(60), &[]).diagnostics);
    assert_eq!(found.len(), expected.len(), "{text}\n{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(&format!("zone:{expected}")), "{text}\nfound    {found}\nexpected {expected}");
    }
}

#[test]
fn rfc1035_5_1_owners_origins_and_blanks() {
    let text = "@ 60 IN SOA ns1 host 1 2 3 4 5\n\tNS ns1\n        60 IN NS ns2.other.\nwww A 192.0.2.1\n\
                $ORIGIN sub\nwww A 192.0.2.2\n$ORIGIN example.net.\n@ A 192.0.2.3\n\n  A 192.0.2.4\nabs.org. A 192.0.2.5\n*.w A 192.0.2.6";
    let owners: Vec<_> =
        heads(text, Some(60), &[]).iter().map(|h| h.split(' ').next().expect("owner").to_string()).collect();
    assert_eq!(
        owners,
        [
            "example.com.",
            "example.com.",
            "example.com.",
            "www.example.com.",
            "www.sub.example.com.",
            "example.net.",
            "example.net.",
            "abs.org.",
            "*.w.example.net."
        ]
    );
}

#[test]
fn rfc1035_5_1_ttl_and_class_in_either_order() {
    let text = "a 5 IN A 192.0.2.1\na IN 6 A 192.0.2.1\na in A 192.0.2.1\na 1h30m CLASS1 TYPE1 192.0.2.1\na a 192.0.2.1\r\na 2W TXT IN";
    let ttls: Vec<_> =
        parse_with(text, Some(9), &[]).records.iter().map(|r| (r.record.ttl.as_secs(), r.ttl_stated)).collect();
    assert_eq!(ttls, [(5, true), (6, true), (9, false), (5400, true), (9, false), (1_209_600, true)]);
}

#[test]
fn rfc2308_4_where_an_unstated_ttl_comes_from() {
    let soa = "@ SOA ns1 host 1 2 3 4 77\n";
    let ttls = |text: &str, default| -> Vec<u32> {
        parse_with(text, default, &[]).records.iter().map(|r| r.record.ttl.as_secs()).collect()
    };
    assert_eq!(ttls("$TTL 1h\na 5 A 192.0.2.1\na A 192.0.2.2\n$TTL 7\na A 192.0.2.2", Some(9)), [5, 3600, 7]);
    assert_eq!(ttls("a 5 A 192.0.2.1\na A 192.0.2.2", Some(9)), [5, 9]);
    assert_eq!(ttls("a 5 A 192.0.2.1\na A 192.0.2.2", None), [5, 5]);
    assert_eq!(ttls(&format!("{soa}a A 192.0.2.2"), None), [77, 77]);
    let found = told(&parse_with("a A 192.0.2.2\nb A 192.0.2.2", None, &[]).diagnostics);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("zone:1:3: the TTL is missing"), "{found:?}");
}

#[test]
fn rfc1035_5_1_an_include_has_its_own_scope() {
    let files = [("inc", "a A 192.0.2.1\n$ORIGIN deep\n$TTL 5\nb A 192.0.2.2\n"), ("my file", "c A 192.0.2.3")];
    let text = "$TTL 60\nx A 192.0.2.9\n$INCLUDE inc sub\n  TXT here\ny A 192.0.2.9\n$INCLUDE inc\n$include \"my file\" ; why\n";
    assert_eq!(
        heads(text, None, &files),
        [
            "x.example.com. 60 A",
            "a.sub.example.com. 60 A",
            "b.deep.sub.example.com. 5 A",
            "x.example.com. 60 TXT",
            "y.example.com. 60 A",
            "a.example.com. 60 A",
            "b.deep.example.com. 5 A",
            "c.example.com. 60 A",
        ]
    );
}

#[test]
fn includes_are_bounded() {
    let nested: Vec<_> = (0..10).map(|n| (format!("f{n}"), format!("$INCLUDE f{}\n", n + 1))).collect();
    let nested: Vec<_> = nested.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    for (text, files, expected) in [
        ("$INCLUDE no", &[][..], "zone:1:10: cannot include `no` (no such file)"),
        ("$INCLUDE", &[], "zone:1:9: the file is missing"),
        ("$INCLUDE f a b", &[("f", "")], "zone:1:14: `b` is more than $INCLUDE takes"),
        ("$INCLUDE me", &[("me", "; \n$INCLUDE me")], "me:2:10: cannot include `me` (it includes itself)"),
        ("$INCLUDE zone", &[("zone", "")], "zone:1:10: cannot include `zone` (it includes itself)"),
        ("$INCLUDE f0", &nested, "f7:1:10: cannot include `f8` (files are included more than 8 deep)"),
        ("$INCLUDE bad", &[("bad", "\n x A 192.0.2.1")], "bad:2:2: there is no owner yet"),
    ] {
        let found = told(&parse_with(text, Some(60), files).diagnostics);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:#?}\nexpected {expected}");
    }
}

#[test]
fn a_zone_of_too_many_bytes_is_refused() {
    let comments = format!(";{}\n", "x".repeat(8 << 20));
    let text = "$INCLUDE big\n".repeat(9);
    let found = told(&parse_with(&text, Some(60), &[("big", &comments)]).diagnostics);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("zone:8:10: the zone is larger than 64 MiB"), "{found:?}");

    let template = format!("$GENERATE 1-65536 h$ TXT {}\n", "x".repeat(255)).repeat(4);
    let parsed = parse_with(&template, Some(60), &[]);
    assert!(parsed.records.len() < 4 * 65_536);
    assert!(told(&parsed.diagnostics)[0].contains("larger than 64 MiB"));
}

#[test]
fn generate_makes_records_at_the_template() {
    let text = "keep A 192.0.2.1\n$GENERATE 1-3 h$ 5 A 10.0.0.$\n  TXT still-keep\n$GENERATE 0-1 $.0.0 CNAME ${0,2}\n";
    assert_eq!(
        heads(text, Some(60), &[]),
        [
            "keep.example.com. 60 A",
            "h1.example.com. 5 A",
            "h2.example.com. 5 A",
            "h3.example.com. 5 A",
            "keep.example.com. 60 TXT",
            "0.0.0.example.com. 60 CNAME",
            "1.0.0.example.com. 60 CNAME"
        ]
    );
    let parsed = parse_with(text, Some(60), &[]);
    assert_eq!(&text[parsed.records[2].span.range.clone()], "h$ 5 A 10.0.0.$");
    assert_mistakes(
        "$GENERATE 250-260 h$ A 10.0.0.$\n",
        &["1:19: `10.0.0.256` is not an IPv4 address (for 256: expected"],
    );
    assert_mistakes(
        "$GENERATE 1-2\n$GENERATE\n$GENERATE 1-2 h$\n",
        &["1:14: the owner is missing", "2:10: the range is missing", "3:15: the record type is missing"],
    );
    assert_mistakes("$GENERATE 1-2 $$ORIGIN x\n", &["1:15: `x` is no record type (for 1:"]);
}

#[test]
fn every_type_from_text_to_wire() {
    let cases: &[(&str, &[u8])] = &[
        ("A 192.0.2.1", &[192, 0, 2, 1]),
        ("AAAA 2001:DB8::1", b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"),
        ("NS ns1", b"\x03ns1\x07example\x03com\0"),
        ("CNAME a.b.", b"\x01a\x01b\0"),
        ("DNAME .", b"\0"),
        ("PTR a.", b"\x01a\0"),
        ("SOA a. b\\.c.d. 4294967295 1h 5 1w2d 0", b"\x01a\0\x03b.c\x01d\0\xff\xff\xff\xff\0\0\x0e\x10\0\0\0\x05\0\x0b\xdd\x80\0\0\0\0"),
        ("MX 10 a.", b"\0\x0a\x01a\0"),
        ("MX 0 .", b"\0\0\0"),
        (r#"TXT "a b" c "\065\"\\\;" """#, b"\x03a b\x01c\x04A\"\\;\0"),
        (r#"TXT "é""#, b"\x02\xc3\xa9"),
        ("SPF v=spf1", b"\x06v=spf1"),
        ("HINFO \"\" Linux", b"\0\x05Linux"),
        ("SRV 1 2 443 a.", b"\0\x01\0\x02\x01\xbb\x01a\0"),
        ("CAA 128 issue \"ca.example; x=y\"", b"\x80\x05issueca.example; x=y"),
        ("CAA 0 issue \"\"", b"\0\x05issue"),
        (r#"NAPTR 1 2 u E2U+sip "!^.*$!sip:x!" ."#, b"\0\x01\0\x02\x01u\x07E2U+sip\x0c!^.*$!sip:x!\0"),
        ("TLSA 3 1 1 ( 00112233445566778899aabbccddeeff 00112233445566778899aabbccddeeff )", b"\x03\x01\x01\0\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\0\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"),
        ("SMIMEA 3 0 0 abcdef", b"\x03\0\0\xab\xcd\xef"),
        ("SSHFP 4 3 ab c d", b"\x04\x03\xab\xcd"),
        ("DS 60485 ECDSAP256SHA256 1 2BB183AF5F22588179A53B0A 98631FAD1A292118", b"\xec\x45\x0d\x01\x2b\xb1\x83\xaf\x5f\x22\x58\x81\x79\xa5\x3b\x0a\x98\x63\x1f\xad\x1a\x29\x21\x18"),
        ("CDS 0 0 0 00", b"\0\0\0\0\0"),
        ("CDNSKEY 0 3 0 AA==", b"\0\0\x03\0\0"),
        ("DNSKEY 257 3 13 AQI DBA==", b"\x01\x01\x03\x0d\x01\x02\x03\x04"),
        ("OPENPGPKEY AQID", b"\x01\x02\x03"),
        ("URI 10 1 \"ftp://x/\"", b"\0\x0a\0\x01ftp://x/"),
        // RFC 1876 section 4 and appendix A
        ("LOC 42 21 54 N 71 06 18 W -24m 30m", b"\0\x33\x16\x13\x89\x17\x2d\xd0\x70\xbe\x15\xf0\0\x98\x8d\x20"),
        ("LOC 52 N 4 E 0.00 0.00 9000000.00m 0.09", b"\0\0\x98\x90\x8b\x28\x72\x00\x80\xdb\xba\x00\0\x98\x96\x80"),
        ("TYPE65400 \\# 3 ab cdef", b"\xab\xcd\xef"),
        ("TYPE65400 \\# 0", b""),
        ("A \\# 4 c0000201", &[192, 0, 2, 1]),
        ("TYPE1 192.0.2.1", &[192, 0, 2, 1]),
        ("TYPE15 \\# 5 000a 016100", b"\0\x0a\x01a\0"),
    ];
    for (text, expected) in cases {
        assert_eq!(rdata(text), Ok(hex(expected)), "{text}");
    }
}

#[test]
fn rfc9460_appendix_d_test_vectors() {
    let foo = b"\x03foo\x07example\x03com\0";
    let wire = |priority: u16, target: &[u8], params: &[u8]| hex(&[&priority.to_be_bytes(), target, params].concat());
    for (text, expected) in [
        ("HTTPS 0 foo.example.com.", wire(0, foo, b"")),
        ("SVCB 1 .", wire(1, b"\0", b"")),
        ("SVCB 16 foo.example.com. port=53", wire(16, foo, b"\0\x03\0\x02\0\x35")),
        ("SVCB 1 foo.example.com. key667=hello", wire(1, foo, b"\x02\x9b\0\x05hello")),
        (r#"SVCB 1 foo.example.com. key667="hello\210qoo""#, wire(1, foo, b"\x02\x9b\0\x09hello\xd2qoo")),
        (
            r#"SVCB 1 foo.example.com. ( ipv6hint="2001:db8::1,2001:db8::53:1" )"#,
            wire(
                1,
                foo,
                b"\0\x06\0\x20\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\x53\0\x01",
            ),
        ),
        (
            r#"SVCB 16 foo.example.com. ( alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1 )"#,
            wire(16, foo, b"\0\0\0\x04\0\x01\0\x04\0\x01\0\x09\x02h2\x05h3-19\0\x04\0\x04\xc0\0\x02\x01"),
        ),
        (r#"SVCB 16 foo.example.com. alpn="f\\\\oo\\,bar,h2""#, wire(16, foo, b"\0\x01\0\x0c\x08f\\oo,bar\x02h2")),
        (r#"SVCB 16 foo.example.com. alpn=f\\\092oo\092,bar,h2"#, wire(16, foo, b"\0\x01\0\x0c\x08f\\oo,bar\x02h2")),
        (
            "HTTPS 1 . no-default-alpn alpn=h2 ech=AQID dohpath=/q{?dns} ohttp",
            wire(1, b"\0", b"\0\x01\0\x03\x02h2\0\x02\0\0\0\x05\0\x03\x01\x02\x03\0\x07\0\x08/q{?dns}\0\x08\0\0"),
        ),
        ("HTTPS 1 . tls-supported-groups=29,23", wire(1, b"\0", b"\0\x09\0\x04\0\x1d\0\x17")),
        (r"HTTPS 1 . key1=\002h2", wire(1, b"\0", b"\0\x01\0\x03\x02h2")),
    ] {
        assert_eq!(rdata(text), Ok(expected), "{text}");
    }
}

#[test]
fn rfc9460_appendix_d_3_failures() {
    for (text, expected) in [
        ("SVCB 1 foo.example.com. ( key123=abc key123=def )", "1:43: the parameter key123 is given twice"),
        ("SVCB 1 foo.example.com. mandatory", "1:30: `` is not a value of mandatory"),
        ("SVCB 1 foo.example.com. alpn", "1:30: `` is not a value of alpn"),
        ("SVCB 1 foo.example.com. port", "1:30: `` is not a value of port (expected a port"),
        ("SVCB 1 foo.example.com. ipv4hint=", "1:30: `` is not a value of ipv4hint"),
        ("SVCB 1 foo.example.com. ipv6hint", "1:30: `` is not a value of ipv6hint"),
        (
            "SVCB 1 foo.example.com. no-default-alpn=abc alpn=h2",
            "1:30: `abc` is not a value of no-default-alpn (takes no value)",
        ),
        ("SVCB 1 foo.example.com. mandatory=key123", "1:30: the parameters contradict each other (key123 is mandatory"),
        (
            "SVCB 1 foo.example.com. mandatory=mandatory",
            "1:30: `mandatory` is not a value of mandatory (`mandatory` does not name itself)",
        ),
        (
            "SVCB 1 foo.example.com. ( mandatory=key123,key123 key123=abc )",
            "1:32: `key123,key123` is not a value of mandatory (names a parameter twice)",
        ),
        ("HTTPS 1 . no-default-alpn", "1:16: the parameters contradict each other (no-default-alpn needs alpn)"),
        ("HTTPS 1 . prot=53", "1:16: `prot` is not a service parameter"),
        ("HTTPS 1 . key0123=x", "1:16: `key0123` is not a service parameter"),
        ("HTTPS 1 . key65535=x", "1:16: `key65535` is not a service parameter"),
        ("HTTPS 1 . key3=\"x\"", "1:16: `x` is not a value of port (expected two octets)"),
        ("HTTPS 1 . alpn=h2,", "1:16: `h2,` is not a value of alpn"),
        ("HTTPS 1 . alpn=h\\\\x", "1:16: `h\\\\x` is not a value of alpn (expected `\\\\,`"),
        ("HTTPS 1 . alpn=\"h\\2\"", "1:23: a bad escape"),
        ("HTTPS 1 . alpn= \"h2\"", "1:16: `` is not a value of alpn"),
        ("HTTPS 1 . \"alpn=h2\"", "1:16: a string where a parameter belongs"),
        ("HTTPS 1 . ech=%", "1:16: `%` is not a value of ech (not base64"),
        ("HTTPS 1 . \\# 2 0001", "1:16: `\\#` is not a service parameter"),
        ("HTTPS \\# 7 0001 00 0003 0000", "1:17: these octets are not HTTPS RDATA (port: expected two octets)"),
        (
            "HTTPS \\# 13 0001 00 0008 0000 0003 0002 0101",
            "1:18: these octets are not HTTPS RDATA (port is out of order",
        ),
        ("HTTPS \\# 5 0001 00 0003", "1:17: these octets are not HTTPS RDATA (a parameter is cut short)"),
    ] {
        let found = rdata(text).expect_err(text);
        // Columns count from the type's own: the line begins with `x 60 `.
        assert!(found.starts_with(&format!("zone:{expected}")), "{text}\nfound    {found}\nexpected {expected}");
    }
}

#[test]
fn rfc9460_2_4_2_parameters_in_alias_mode_are_warned_of() {
    assert_mistakes("x HTTPS 0 a. alpn=h2 port=1\n", &["1:14: a parameter in AliasMode (priority 0)"]);
}

#[test]
fn mistakes_in_rdata_are_marked_where_they_are() {
    for (text, expected) in [
        ("A 1.2.3", "8: `1.2.3` is not an IPv4 address (expected four numbers"),
        ("A 1.2.3.256", "8: `1.2.3.256` is not an IPv4 address"),
        (
            "A ::1",
            "8: `::1` is not an IPv4 address (expected four numbers such as `192.0.2.1`); IPv6 addresses are of type AAAA",
        ),
        ("A", "7: the address is missing (expected an IPv4 address here)"),
        ("A 1.2.3.4 5.6.7.8", "16: `5.6.7.8` is more than a record of type A takes"),
        ("AAAA 1.2.3.4", "11: `1.2.3.4` is not an IPv6 address"),
        ("MX mail", "9: `mail` is not a preference (expected a number from 0 to 65535)"),
        ("MX 65536 a", "9: `65536` is not a preference"),
        ("MX +1 a", "9: `+1` is not a preference"),
        ("MX 10", "11: the exchange is missing (expected a domain name here)"),
        ("NS a..b", "9: `a..b` is not a domain name (an empty label"),
        ("NS \"a\"", "9: `a` is not a domain name (names are not quoted)"),
        (&format!("NS {}", "a".repeat(64)), "9: `aaaaaaaa"),
        ("SOA a b 1 2 3 4", "21: the minimum is missing"),
        ("SOA a b x 2 3 4 5", "14: `x` is not a serial"),
        ("SOA a b 1 2x 3 4 5", "16: `2x` is not a refresh (expected a time"),
        ("TXT", "9: the text is missing"),
        (r"TXT ab\256c", "12: a bad escape"),
        (r#"TXT "ab\25""#, "13: a bad escape"),
        (r"TXT a\", "11: a bad escape"),
        (&format!("TXT ok {}", "a".repeat(256)), "13: a string of the text is too long (256 octets, at most 255 fit)"),
        ("CAA 256 issue x", "10: `256` is not a flags octet"),
        ("CAA 0 is-sue x", "12: `is-sue` is not a tag"),
        ("CAA 0 issue", "17: the value is missing"),
        ("TLSA 3 1 1 00ff", "17: the certificate data of this TLSA record makes no sense (2 octets; its type has 32)"),
        ("TLSA 3 1 0 0g", "18: the certificate data is not hexadecimal"),
        ("TLSA 3 1 0 000", "17: the certificate data is not hexadecimal (an odd number of digits)"),
        ("TLSA 3 1 0", "16: the certificate data is missing"),
        ("DS 1 13 2 00", "16: the digest of this DS record makes no sense (1 octet; its type has 32)"),
        ("DS 1 ECDSAP256SHA265 2 00", "11: `ECDSAP256SHA265` is not an algorithm"),
        ("DNSKEY 257 4 13 AA==", "17: the protocol of this DNSKEY record makes no sense (must be 3"),
        ("DNSKEY 257 3 13 A*==", "22: the public key is not base64"),
        ("SSHFP 1 1 00", "16: the fingerprint of this SSHFP record makes no sense"),
        ("URI 1 1 \"\"", "14: the target is empty"),
        ("LOC 91 N 0 E 0", "10: `91` is not a latitude"),
        ("LOC 90 1 N 0 E 0", "10: the latitude is too large (above 90 degrees)"),
        ("LOC 1 60 N 0 E 0", "12: `60` is not a number of minutes"),
        ("LOC 1 1 1 1 N", "16: `1` is not a direction (expected `N` or `S`)"),
        ("LOC 1 N 1 E", "17: the altitude is missing"),
        ("LOC 1 N 1 E 1 1 1 1 1", "26: `1` is more than"),
        ("LOC 1 N 1 E -100001m", "18: `-100001m` is not an altitude"),
        ("LOC 1 N 1 E 1 90000001", "20: `90000001` is not a size"),
        ("TYPE65400 x", "16: TYPE65400 has no text form here (expected `\\# length hex`"),
        ("TYPE65400 \\# 2 ab", "19: the length is wrong (says 2, but 1 octet follows)"),
        ("TYPE65400 \\# x ab", "19: `x` is not a length"),
        ("TYPE65400 \\# 1", "20: the RDATA is missing"),
        ("A \\# 3 c00002", "13: these octets are not A RDATA (octet 0: no address there)"),
        ("A \\# 5 c000020101", "13: these octets are not A RDATA (1 octet too many)"),
        ("NS \\# 2 c00c", "14: these octets are not NS RDATA (octet 0: no name server there)"),
        ("SOA \\# 0", "14: these octets are not SOA RDATA"),
        ("TXT \\# 2 0261", "15: these octets are not TXT RDATA"),
        ("LOC \\# 4 00000000", "15: these octets are not LOC RDATA"),
        ("CAA \\# 3 000061", "15: these octets are not CAA RDATA"),
    ] {
        let found = rdata(text).expect_err(text);
        assert!(found.starts_with(&format!("zone:1:{expected}")), "{text}\nfound    {found}\nexpected {expected}");
    }
}

#[test]
fn mistakes_before_rdata() {
    for (text, expected) in [
        ("x 60 CH A 192.0.2.1", "1:6: the class `CH` is not served (expected `IN`)"),
        ("x CLASS3 A 192.0.2.1", "1:3: the class `CLASS3` is not served"),
        ("x ANY A 192.0.2.1", "1:3: the class `ANY` is not served"),
        ("x IN IN A 192.0.2.1", "1:6: a second class"),
        ("x 1 2 A 192.0.2.1", "1:5: a second TTL"),
        ("x 1y A 192.0.2.1", "1:3: `1y` is not a TTL"),
        ("x 2147483648 A 192.0.2.1", "1:3: `2147483648` is not a TTL (expected seconds up to 2147483647"),
        ("x 60 IN", "1:8: the record type is missing"),
        ("x", "1:2: the record type is missing"),
        ("x AAA ::1", "1:3: `AAA` is no record type (expected a TTL, `IN` or a record type); did you mean `A"),
        ("x QQQQQQ 1", "1:3: `QQQQQQ` is no record type (expected a TTL, `IN` or a record type); other types are"),
        ("x \"A\" 1", "1:3: `A` is no record type (types are not quoted)"),
        ("x ANY 1", "1:3: ANY is for queries and messages, not for zones"),
        ("x OPT 1", "1:3: OPT is for queries"),
        ("x TYPE252 \\# 0", "1:3: AXFR is for queries"),
        ("x RRSIG A 13", "1:3: RRSIG records are not taken from files (signed zones"),
        (" A 192.0.2.1", "1:2: there is no owner yet"),
        (
            "x A 192.0.2.1\n  $TTL 5",
            "2:3: `$TTL` is no record type (expected a TTL, `IN` or a record type); a line that begins",
        ),
        ("x..y A 192.0.2.1", "1:1: `x..y` is not a domain name"),
        ("\"x\" A 192.0.2.1", "1:1: `x` is not a domain name (names are not quoted)"),
        (
            "$TTTL 5",
            "1:1: unknown directive `$TTTL` (expected `$ORIGIN`, `$TTL`, `$INCLUDE` or `$GENERATE`); did you mean `$TTL`?",
        ),
        ("$FROBNICATE", "1:1: unknown directive `$FROBNICATE`"),
        ("$TTL", "1:5: the TTL is missing"),
        ("$TTL x", "1:6: `x` is not a TTL"),
        ("$TTL 1 2", "1:8: `2` is more than $TTL takes"),
        ("$ORIGIN", "1:8: the origin is missing"),
        ("$ORIGIN a..b", "1:9: `a..b` is not a domain name"),
        ("x TXT \"open", "1:7: a quoted string is not closed"),
        ("x SOA a b ( 1 2 3 4 5", "1:11: `(` without its `)`"),
    ] {
        assert_mistakes(text, &[expected]);
    }
}

#[test]
fn probable_slips_are_warned_of() {
    assert_mistakes(
        "www CNAME www.example.com\nwww.EXAMPLE.com A 192.0.2.1\nbücher A 192.0.2.1\nx CAA 0 isue a\n",
        &[
            "1:11: a relative name ends in the origin (is www.example.com.example.com.); end it with a dot",
            "2:1: a relative name ends in the origin",
            "3:1: a name has characters outside ASCII",
            "4:9: `isue` is not a registered CAA tag; did you mean `issue`?",
        ],
    );
    assert!(heads("wwwexample.com A 192.0.2.1\nwww.example.com. A 192.0.2.1\n", Some(1), &[]).len() == 2);
}

#[test]
fn all_mistakes_of_a_file_are_found_at_once() {
    assert_mistakes(
        "a A x\nb MX y z\n$TTTL 1\nc TXT \"open\nd A 192.0.2.1\n\te A 192.0.2.1\nf SOA a b (\n 1 2\n 3 4 five )\nb.. A 192.0.2.1\n",
        &[
            "1:5: `x` is not an IPv4",
            "2:6: `y` is not a preference",
            "3:1: unknown directive",
            "4:7: a quoted string",
            "6:2: `e` is no record type",
            "9:6: `five` is not a minimum",
            "10:1: `b..` is not a domain name",
        ],
    );
}

#[test]
fn mistakes_are_told_up_to_a_limit() {
    let parsed = parse_with(&"x A y\n".repeat(1000), Some(1), &[]);
    assert_eq!(parsed.diagnostics.len(), 101);
    assert_eq!(parsed.diagnostics[100].message, "there are more mistakes than these");
    let parsed = parse_with(&format!("{}x A y\n", "é A 192.0.2.1\n".repeat(1000)), Some(1), &[]);
    assert_eq!(parsed.diagnostics.len(), 102);
    assert_eq!(parsed.diagnostics[101].severity, Severity::Error);
    assert_eq!(parsed.records.len(), 1000);
}

#[test]
fn text_inside_another_file_is_marked_there() {
    let file = SourceFile::new("zone.toml", "records = \"\"\"\nx A oops\n\"\"\"\n");
    let text = MasterText { file: &file, text: "x A oops\n", locate: &|range| range.start + 14..range.end + 14 };
    let parsed = parse(text, &name("example.com"), Some(Ttl::saturating(1)), &mut NoInclude);
    assert!(told(&parsed.diagnostics)[0].starts_with("zone.toml:2:5: `oops` is not an IPv4 address"));
}

#[test]
fn the_empty_and_the_odd_are_sound() {
    for text in ["", "\n", "; only a comment", "\u{feff}", "\u{feff}; x\n", "(\n)\n", " \n\t\n", "( ; x\n )"] {
        assert!(heads(text, None, &[]).is_empty(), "{text:?}");
    }
    assert_eq!(heads("\u{feff}x 5 A 192.0.2.1", None, &[]), ["x.example.com. 5 A"]);
    assert_eq!(heads("x 5 A ( ; why\r\n192.0.2.1 ) ; because\r\n", None, &[]), ["x.example.com. 5 A"]);
}

#[test]
fn the_longest_rdata_fits_and_no_longer() {
    let text = |strings: usize| format!("TXT {}", "\"\" ".repeat(strings));
    assert_eq!(rdata(&text(65_535)).map(|wire| wire.len()), Ok(2 * 65_535));
    assert!(rdata(&text(65_536)).expect_err("too long").contains("the TXT record is too long (65536 octets"));
}

#[test]
fn the_cost_is_linear() {
    // Each of these once took, or could take, a rescan per line.
    let many = 40_000;
    for text in ["x A (\n", "\"\n", "x TXT \"a\" b\n", ")\n", "$ORIGIN a\n$ORIGIN .\n", "x TXT (a\n)\n"] {
        let started = Instant::now();
        parse_with(&text.repeat(many), Some(1), &[]);
        assert!(started.elapsed().as_secs() < 5, "{text:?} took {:?}", started.elapsed());
    }
}

#[test]
fn the_cost_of_a_crowded_name_is_linear() {
    let many: String =
        (0..30_000).map(|n| format!("s A 10.0.{}.{}\ns MX {n} .\nx{n}.s TXT x\n", n >> 8, n & 255)).collect();
    let parsed = parse_with(&format!("s NS x.net.\n{many}"), Some(1), &[]);
    let started = Instant::now();
    check(&name("example.com"), &parsed.records[0].span, &parsed.records, &[], Strictness::default());
    assert!(started.elapsed().as_secs() < 5, "took {:?}", started.elapsed());
}

/// Words of which odd zones are made.
fn tokens() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "@",
        "x",
        ".",
        "a.b.",
        "IN",
        "CH",
        "ANY",
        "60",
        "1h",
        "A",
        "AAAA",
        "NS",
        "SOA",
        "MX",
        "TXT",
        "SRV",
        "CAA",
        "LOC",
        "HTTPS",
        "NAPTR",
        "TLSA",
        "DS",
        "URI",
        "TYPE1",
        "TYPE65",
        "TYPE999",
        "\\#",
        "0",
        "4",
        "c0000201",
        "ab",
        "192.0.2.1",
        "::1",
        "$TTL",
        "$ORIGIN",
        "$INCLUDE",
        "$GENERATE",
        "1-3",
        "1-3/2",
        "$",
        "${1,2,n}",
        "${",
        "alpn=h2",
        "alpn=",
        "port=1",
        "mandatory=alpn",
        "key9=",
        "\"q\"",
        "\"",
        "\"a\\",
        "(",
        ")",
        ";",
        "\n",
        "\n",
        "\n ",
        "\r\n",
        "\\",
        "\\999",
        "\\.",
        "é",
        "N",
        "E",
        "1.5m",
        "AA==",
        "=",
        "\0",
        "\u{feff}",
    ]);
    prop::collection::vec((words, prop::sample::select(vec![" ", "", "\t", "\n"])), 0..40)
        .prop_map(|parts| parts.into_iter().flat_map(|(word, space)| [word, space]).collect())
}

fn assert_sound(text: &str) {
    let parsed = parse_with(text, Some(60), &[("x", "y A 192.0.2.1\n$INCLUDE x")]);
    for diagnostic in &parsed.diagnostics {
        diagnostic.render(false);
    }
    // What was read is well made: it reads again from its generic form.
    for record in &parsed.records {
        let Record { owner, rtype, rdata, .. } = &record.record;
        let generic = format!("{owner} 60 TYPE{} \\# {} {}\n", rtype.0, rdata.len(), hex(rdata));
        let again = parse_with(&generic, None, &[]);
        assert_eq!(told(&again.diagnostics), Vec::<String>::new(), "{text:?}\n{generic}");
        assert_eq!((&again.records[0].record.owner, &again.records[0].record.rdata), (owner, rdata));
    }
    let file = SourceFile::new("zone", text);
    check(&name("example.com"), &Span::new(&file, 0..0), &parsed.records, &[], Strictness::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn never_panics_on_any_text(text in "\\PC{0,200}") {
        assert_sound(&text);
    }

    #[test]
    fn never_panics_on_any_octets(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        assert_sound(&String::from_utf8_lossy(&octets));
    }

    #[test]
    fn never_panics_on_any_tokens(text in tokens()) {
        assert_sound(&text);
    }

    #[test]
    fn rfc1035_5_1_names_round_trip(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..6)) {
        let owner = labels.iter().try_fold(Name::root(), |name, label| name.prepend(label)).expect("short enough");
        let parsed = parse_with(&format!("{owner} NS {owner}\n"), Some(60), &[]);
        let told = told(&parsed.diagnostics).into_iter().filter(|told| !told.contains("longer as text"));
        prop_assert_eq!(told.collect::<Vec<_>>(), Vec::<String>::new());
        prop_assert_eq!(parsed.records[0].record.owner.as_wire(), owner.as_wire());
        prop_assert_eq!(&parsed.records[0].record.rdata[..], owner.as_wire());
    }

    #[test]
    fn rfc1035_5_1_strings_round_trip(octets in prop::collection::vec(any::<u8>(), 0..=255)) {
        let mut wire = vec![octets.len() as u8];
        wire.extend(&octets);
        let escaped: String = octets.iter().map(|&octet| match octet {
            b'"' | b'\\' => format!("\\{}", char::from(octet)),
            0x20..=0x7e => char::from(octet).to_string(),
            _ => format!("\\{octet:03}"),
        }).collect();
        prop_assert_eq!(rdata(&format!("TXT \"{escaped}\"")), Ok(hex(&wire)));
    }

    #[test]
    fn rfc3597_5_generic_octets_never_panic(rtype in prop::sample::select(vec![1u16, 2, 6, 15, 16, 29, 33, 35, 43, 44, 52, 64, 65, 256, 257, 999]), octets in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(3), any::<u8>()], 0..40)) {
        let text = format!("x TYPE{rtype} \\# {} {}", octets.len(), hex(&octets));
        for record in parse_with(&text, Some(1), &[]).records {
            rdata::canonical(RecordType(rtype), &record.record.rdata);
            rdata::first_name(RecordType(rtype), &record.record.rdata);
        }
    }
}

/// Text of a few hundred octets must not cost gigabytes.
#[test]
fn a_zone_is_bounded_in_records_and_memory() {
    let refused = |text: String, origin: &str| {
        let file = SourceFile::new("zone", text);
        let parsed = parse(MasterText::whole(&file), &name(origin), Some(Ttl::default()), &mut NoInclude);
        let told: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        (parsed.records.len(), told[0].clone())
    };
    let generates: String = (0..56).map(|n| format!("$GENERATE 0-65535 h${{0,0,x}}-{n} A 10.{n}.0.1\n")).collect();
    let (records, told) = refused(generates, "example.com");
    assert_eq!(records as u64, MAX_GENERATED_IN_ALL);
    assert!(told.contains("the zone generates too many records (with this one 327680, at most 262144)"), "{told}");
    let (records, told) = refused("a A 192.0.2.1\n".repeat(MAX_RECORDS + 5), "example.com");
    assert_eq!(records, MAX_RECORDS);
    assert!(told.starts_with("zone:2000001:1: the zone has more than 2000000 records"), "{told}");
    // Each name of two octets is 255 in memory.
    let long = format!("{0}.{0}.{0}.{1}", "x".repeat(63), "x".repeat(59));
    let (records, told) = refused(format!("a HIP 2 00 AAAA {}\n", "a ".repeat(240)).repeat(40_000), &long);
    assert!(
        records < 10_000 && told.contains("the zone's records take more than 1024 MiB of memory"),
        "{records} {told}"
    );
    let (_, told) = refused(format!("a HIP 2 00 AAAA {}\n", "a ".repeat(500_000)), &long);
    assert!(told.contains("the HIP record is too long"), "{told}");
}

#[test]
fn names_longer_as_text_than_others_can_be_are_warned_of() {
    let label = "\\001".repeat(60);
    let file = SourceFile::new("zone", format!("{label} 60 A 192.0.2.1\n{label}.{label} 60 A 192.0.2.1\n"));
    let parsed = parse(MasterText::whole(&file), &name("example.com"), None, &mut NoInclude);
    let told: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("zone:2:1: a name is longer as text") && told[0].contains("493 characters"),
        "{told:?}"
    );
}
