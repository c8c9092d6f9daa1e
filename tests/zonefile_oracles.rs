//! Our reading of master files against that of others.
//!
//! `named-checkzone` (Debian: bind9-utils) reads a torture zone and writes it in its own plain
//! form; both texts, read by us, must be the same records. hickory-proto must make the same
//! octets of RDATA wherever it can express it. Without the tool the test is skipped (`support/tools.rs`).

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use hickory_proto::rr::{RData, RecordType as HickoryType};
use hickory_proto::serialize::binary::BinEncodable;
use meridian::control::diagnostic::SourceFile;
use meridian::control::zonefile::{Include, MasterText, Parsed, ZoneRecord, parse};
use meridian::model::{Name, Record, Ttl};

mod support;

use support::tools;

const ORIGIN: &str = "example.com";

/// Everything this grammar has, in one zone that BIND accepts as well.
const TORTURE: &str = r##"$TTL 1h30m
$ORIGIN example.com.
@	IN	SOA ns1 host\.master.example.com. ( ; a comment (with "all" kinds; of \ things)
		2026112101	; serial
		1h 15m 2w
		1d )
	NS	ns1
  IN 1h30m NS ns2.example.com.
	5400 IN MX 10 mail
	MX (
20
 mail2.example.net. )
ns1 A 192.0.2.53
	AAAA 2001:db8::53
ns2 1h30m IN A 198.51.100.53
mail a 192.0.2.25
Mixed.CASE tXt "KePt"
*.wild A 192.0.2.99
a\.dot TXT "escaped dot" in\ the\ name
back\\slash TXT "\\" "\"" \" \;
oct\001\255\032et TXT "\000\001\127\200\255"
\@ TXT "at"
\$dollar TXT $
semi\;colon TXT a;comment
quotes TXT "" "a;b(c)" "x"
long TXT "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012" ( "more"
 "and more" )
utf8 TXT "héllo wörld"
spf SPF "v=spf1 -all"
host HINFO "PC Intel" Linux
_sip._tcp SRV 0 5 5060 mail
none._tcp SRV 0 0 0 .
caa CAA 0 issue "letsencrypt.org; validationmethods=dns-01"
caa CAA 128 iodef "mailto:x@example.com"
ptr PTR mail
sub.deep.name CNAME mail
d DNAME example.net.
naptr NAPTR 100 10 "S" "SIP+D2U" "!^.*$!sip:customer@example.com!i" .
naptr NAPTR 100 20 u "E2U+email" "!^(.*)$!mailto:\\1@example.com!" _sip._tcp
tlsa TLSA 3 1 1 ( 0123456789abcdef0123456789ABCDEF
  0123456789abcdef0123456789abcdef )
smime SMIMEA 3 0 0 0a0b0c
ssh SSHFP 4 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
del NS ns.elsewhere.example.
del DS 60485 13 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A
cds CDS 60485 ECDSAP256SHA256 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4 469DA50A
key DNSKEY 257 3 ECDSAP256SHA256 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+ KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==
pgp OPENPGPKEY AQIDBAUG Bwg=
uri URI 10 1 "https://example.com/a?b=\"c\""
loc1 LOC 42 21 54 N 71 06 18 W -24m 30m
loc2 LOC 42 21 43.952 N 71 5 6.344 W -24m 1m 200m
loc3 LOC 52 14 05 N 00 08 50 E 10m
loc4 LOC 32 7 19 S 116 2 25 E 10m 0.05m 90000000.00m 12.34m
loc5 LOC 90 S 180 W -100000.00m 0 0.01 9
svcb1 SVCB 0 svc.example.net.
svcb2 SVCB 16 @ alpn="h2,h3-19" mandatory=ipv4hint,alpn ipv4hint=192.0.2.1,192.0.2.2
svcb3 SVCB 16 . alpn="f\\\\oo\\,bar,h2"
svcb4 SVCB 1 foo ( port="8443" key667="hello\210qoo" ; why
   ipv6hint=2001:db8::1,2001:db8::53:1 )
https HTTPS 1 . alpn=h3,h2 no-default-alpn ech=AEX+DQBBFAAgACBHwnMc dohpath=/dns-query{?dns}
unknown TYPE65400 \# 5 ( 00 1122 3344 )
empty TYPE65401 \# 0
known A \# 4 C0000201
known TYPE28 \# 16 20010db8000000000000000000000001
known2 TYPE16 "as text"
numeric CLASS1 60 TXT "class by number"
$TTL 300
default TXT "another default"
$ORIGIN child
rel TXT "below child.example.com"
@ TXT "child itself"
$ORIGIN other.example.com.
rel CNAME @
@ TXT "here"
$INCLUDE included.zone
after TXT "still below other"
$INCLUDE included.zone third.example.com.
	TXT "still after's"
$ORIGIN example.com.
$GENERATE 1-5 gen$ A 10.0.0.$
$GENERATE 0-20/5 gen-${10,4} 60 CNAME host-${0,3,x}.gen
$GENERATE 14-17 x-${0,2,X}.o-${0,3,o} CNAME h${-14}
$GENERATE 255-257 ${0,5,n}.nib PTR n${0,8,N}x.
$GENERATE 255-257 a${0,0,n}.nib2 PTR b${0,7,n}.x.
$GENERATE 1-2 genmx$ MX "10 mail$"
$GENERATE 1-2 gentxt$ TXT "a$ b"
$GENERATE 7-7 esc\$$ TXT $$
crlf A 192.0.2.7
last A 192.0.2.8"##;

const INCLUDED: &str = "inc 77 TXT \"included\"\n$ORIGIN deeper\ninc 77 TXT \"deeper\"\n";

struct Directory;

impl Include for Directory {
    fn read(&mut self, path: &str, _from: &SourceFile) -> Result<Arc<SourceFile>, String> {
        if path == "included.zone" { Ok(SourceFile::new(path, INCLUDED)) } else { Err("no such file".into()) }
    }
}

fn read(path: &str, text: &str) -> Parsed {
    let file = SourceFile::new(path, text);
    let origin = Name::parse_absolute(ORIGIN).expect("a name");
    parse(MasterText::whole(&file), &origin, None, &mut Directory)
}

fn read_soundly(path: &str, text: &str) -> Vec<ZoneRecord> {
    let parsed = read(path, text);
    let told: Vec<_> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(told, Vec::<String>::new());
    parsed.records
}

/// Owner, type, TTL and RDATA; the case of RDATA counts, that of owners does not.
type Plain = (String, String, Ttl, Vec<u8>);

fn plain(records: &[ZoneRecord]) -> BTreeSet<Plain> {
    let plain = |r: &ZoneRecord| {
        let record = &r.record;
        (record.owner.to_lowercase().to_string(), record.rtype.to_string(), record.ttl, record.rdata.to_vec())
    };
    records.iter().map(plain).collect()
}

/// `named-checkzone` on the zone: its plain form, or what it objects to. `None`: not installed.
fn named_checkzone(zone: &str) -> Option<Result<String, String>> {
    let program = tools::find("named-checkzone")?;
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("out");
    std::fs::write(directory.path().join("zone"), zone).expect("written");
    std::fs::write(directory.path().join("included.zone"), INCLUDED).expect("written");
    let mut command = Command::new(program);
    command.arg("-w").arg(directory.path());
    command.args(["-i", "none", "-k", "ignore", "-n", "ignore", "-r", "ignore", "-D", "-s", "full", "-o"]);
    command.arg(&out).args([ORIGIN, "zone"]);
    let output = command.output().expect("named-checkzone runs");
    Some(match output.status.success() {
        true => Ok(std::fs::read_to_string(out).expect("its output")),
        false => Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()),
    })
}

#[test]
fn named_checkzone_reads_the_same_records() {
    let zone = TORTURE.replace("crlf A 192.0.2.7\n", "crlf A 192.0.2.7\r\n");
    let ours = plain(&read_soundly("zone", &zone));
    let Some(dumped) = named_checkzone(&zone) else { return };
    let theirs = plain(&read_soundly("dumped", &dumped.expect("a zone BIND accepts")));
    let only_ours: Vec<_> = ours.difference(&theirs).collect();
    let only_theirs: Vec<_> = theirs.difference(&ours).collect();
    assert!(only_ours.is_empty() && only_theirs.is_empty(), "ours: {only_ours:#?}\ntheirs: {only_theirs:#?}");
    assert!(ours.len() > 90, "{} records", ours.len());
}

#[test]
fn named_checkzone_refuses_what_we_refuse() {
    let apex = "$TTL 60\n@ SOA ns1 host 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.1\n";
    for entry in [
        "x A 192.0.2",
        "x A 192.0.2.256",
        "x A 192.0.2.1 2",
        "x AAAA 1.2.3.4",
        "x MX mail",
        "x MX 65536 mail",
        "x TXT",
        "x TXT \"open",
        "x TXT a\\256",
        "x CH A 192.0.2.1",
        "x ANY 1",
        "x AXFR",
        "x QQQ 1",
        "x..y A 192.0.2.1",
        "x TYPE1 \\# 3 c00002",
        "x TYPE1 \\# 4 c00002",
        "x TYPE2 \\# 2 c00c",
        "x TYPE65400 1",
        "x HTTPS 1 . no-default-alpn",
        "x HTTPS 1 . port=1 port=2",
        "x HTTPS 1 . mandatory=port",
        "x HTTPS 1 . mandatory=mandatory",
        "x HTTPS 1 . alpn=",
        "x HTTPS 1 . ipv4hint=::1",
        "x DS 1 13 2 00",
        "x SSHFP 1 1 00",
        "x LOC 91 N 0 E 0m",
        "x LOC 1 60 N 0 E 0m",
        "x CAA 256 issue a",
        "x CAA 0 is-sue a",
        "x NAPTR 1 1 a b c",
        "x SOA a b ( 1 2 3 4 5",
        "$TTL x",
        "$ORIGIN a..b",
        "$FROB",
        "$INCLUDE nowhere",
        "$GENERATE 2-1 x$ A 10.0.0.$",
        "$GENERATE 250-256 x$ A 10.0.0.$",
    ] {
        let zone = format!("{apex}{entry}\n");
        assert!(read("zone", &zone).diagnostics.iter().any(|d| d.is_error()), "we take {entry}");
        let Some(theirs) = named_checkzone(&zone) else { return };
        assert!(theirs.is_err(), "named-checkzone takes {entry}");
    }
}

#[test]
fn hickory_makes_the_same_rdata() {
    let mut differ = Vec::new();
    for line in [
        "A 192.0.2.1",
        "AAAA 2001:db8::1",
        "NS ns1.example.com.",
        "CNAME a.example.com.",
        "PTR a.example.com.",
        "SOA ns1.example.com. host.example.net. 1 7200 900 1209600 60",
        "MX 10 mail.example.com.",
        "TXT \"a b\" c \"\"",
        "SRV 1 2 443 a.example.com.",
        "CAA 0 issue \"letsencrypt.org\"",
        "NAPTR 100 10 \"S\" \"SIP+D2U\" \"\" _sip.example.com.",
        "HINFO PC Linux",
        "TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "SSHFP 4 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "SVCB 1 foo.example.com. port=53",
        "HTTPS 1 . alpn=h3,h2 port=8443 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1",
    ] {
        let ours = read_soundly("zone", &format!("x 60 {line}\n"));
        let (rtype, fields) = line.split_once(' ').expect("a type");
        let rtype: HickoryType = rtype.parse().expect("a type hickory knows");
        match RData::try_from_str(rtype, fields).map(|rdata| rdata.to_bytes()) {
            Ok(Ok(theirs)) if theirs[..] == ours[0].record.rdata[..] => {}
            other => differ.push(format!("{line}: {other:?}, ours {:?}", ours[0].record.rdata)),
        }
    }
    assert!(differ.is_empty(), "{differ:#?}");
}

/// One record, or more where a form has variants, of each type that is seldom seen: type, then RDATA.
const SELDOM: &[&str] = &[
    "WKS 192.0.2.1 TCP ( ftp telnet 25 0 1023 )",
    "WKS 192.0.2.1 17 53",
    "MB mail",
    "MG mail",
    "MR mail",
    "HINFO PC-Intel-700mhz \"Redhat Linux 7.1\"",
    "MINFO who.example.net. errors",
    "RP who.example.net. about",
    "RP . .",
    "AFSDB 1 afs",
    "X25 311061700956",
    "ISDN 150862028003217 004",
    "ISDN isdn-address",
    "RT 10 relay.example.net.",
    "NSAP 0x47.0005.80.005a00.0000.0001.e133.ffffff000161.00",
    "NSAP-PTR foo",
    "KEY 512 255 1 AQMFD5raczCJHViKtLYhWGz8hMY9UGRuniJDBzC7w0aRyzWZriO6i2odGWWQVucZqKVsENW91IOW4vqudngPZsY3",
    "PX 10 map.example.net. px",
    "GPOS -22.6882 116.8652 250.0",
    "KX 10 kx",
    "CERT PGP 1 2 AQIDBAUGBwgJ",
    "CERT 65534 65535 PRIVATEOID AQMFD5raczCJHViKtLYhWGz8hMY=",
    "APL !1:10.0.0.1/32 1:10.0.0.0/24 2:2001:db8::/32 1:0.0.0.0/0",
    "APL",
    "IPSECKEY 10 1 2 192.0.2.38 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
    "IPSECKEY 10 0 2 . AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
    "IPSECKEY 10 3 2 gw AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
    "IPSECKEY 10 2 2 2001:db8::8002:0:2000:1 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
    "DHCID AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=",
    "HIP 2 200100107B1A74DF365639CC39F1D578 AwEAAbdxyhNuSutc5EMzxTs9LBPCIkOFH8cIvM4p9+LrV4e1 rvs1 rvs2.example.net.",
    "HIP 2 200100107B1A74DF365639CC39F1D578 AwEAAbdxyhNuSutc5EMzxTs9LBPCIkOFH8cIvM4p9+LrV4e1",
    "NINFO foo bar",
    "RKEY 0 255 1 AQMFD5raczCJHViKtLYhWGz8hMY9UGRuniJDBzC7w0aRyzWZriO6",
    "TALINK . talink1",
    "NID 10 0014:4fff:ff20:ee64",
    "L32 10 203.0.113.44",
    "L64 10 2001:0DB8:1140:1000",
    "LP 10 l64-subnet1",
    "EUI48 01-23-45-67-89-ab",
    "EUI64 01-23-45-67-89-ab-cd-ef",
    "AVC foo:bar \"two words\"",
    "AMTRELAY 10 1 2 2001:db8::15",
    "AMTRELAY 0 0 0 .",
    "RESINFO qnamemin exterr=15-17 infourl=https://resolver.example.com/guide",
    "DSYNC CDS NOTIFY 5359 scanner.example.net.",
    "DSYNC CSYNC 1 53 scanner",
];

/// Types of [`SELDOM`] that a tool of this name does not know by name, in the versions of Debian 12.
fn unknown_to(tool: &str) -> &'static [&'static str] {
    match tool {
        "named-checkzone" => &["RESINFO", "DSYNC"],
        "kzonecheck" => &[
            "WKS", "MB", "MG", "MR", "X25", "ISDN", "NSAP", "NSAP-PTR", "PX", "GPOS", "HIP", "NINFO", "RKEY", "TALINK",
            "AVC", "AMTRELAY", "RESINFO", "DSYNC",
        ],
        _ => &["NSAP-PTR", "MB", "MG", "MR", "NINFO", "RKEY", "TALINK", "AMTRELAY", "GPOS", "HIP", "RESINFO", "DSYNC"],
    }
}

#[test]
fn seldom_seen_types_read_again_from_their_generic_form() {
    for line in SELDOM {
        let ours = read_soundly("zone", &format!("x 60 {line}\n"));
        let record = &ours[0].record;
        let generic = generic(&ours[0]);
        assert_eq!(read_soundly("generic", &generic)[0].record, *record, "{line}\n{generic}");
        assert_eq!(record.rtype.to_string(), line.split(' ').next().unwrap_or_default());
        // Cut short anywhere, it is refused or something else.
        for len in 0..record.rdata.len() {
            let mut cut = ours[0].clone();
            cut.record.rdata = record.rdata[..len].into();
            let parsed = read("cut", &self::generic(&cut));
            assert!(parsed.records.iter().all(|each| each.record.rdata.len() == len), "{line}");
        }
    }
}

/// RFC 3597 section 5.
fn generic(record: &ZoneRecord) -> String {
    let Record { owner, rtype, ttl, rdata } = &record.record;
    let hex: String = rdata.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{owner} {ttl} TYPE{} \\# {} {hex}\n", rtype.0, rdata.len())
}

/// Each tool is given our octets in generic form and, at other names, the text. Those that print what they read
/// must find both to be the same.
#[test]
fn others_read_the_same_octets_of_seldom_seen_types() {
    for (tool, least) in [("named-checkzone", 40), ("nsd-checkzone", 28)] {
        let Some(printed) = compiled(tool) else { continue };
        let records = plain(&read_soundly("printed", &printed));
        let at = |kind: char| -> BTreeSet<_> {
            let number = |owner: &str| owner.split('.').next()?.strip_prefix(kind)?.parse::<usize>().ok();
            records.iter().filter_map(|plain| Some((number(&plain.0)?, plain.1.clone(), plain.3.clone()))).collect()
        };
        let (texts, generics) = (at('t'), at('g'));
        let different: Vec<_> = texts.symmetric_difference(&generics).collect();
        assert!(different.is_empty(), "{tool}: {different:#?}");
        assert!(texts.len() >= least, "{tool}: {}", texts.len());
    }
    compiled("kzonecheck");
}

/// A zone with the types the tool knows, each as text at `tN` and in our octets at `gN`; the tool's plain form of it,
/// where it has one, in which equal records look equal whichever form they were written in.
fn compiled(tool: &str) -> Option<String> {
    let mut zone = String::from("$TTL 60\n@ SOA ns1 host 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.1\n");
    let known = SELDOM.iter().filter(|line| !unknown_to(tool).contains(&line.split(' ').next().unwrap_or_default()));
    for (at, line) in known.enumerate() {
        let generic = generic(&read_soundly("zone", &format!("g{at} 60 {line}\n"))[0]);
        zone.push_str(&format!("t{at} 60 {line}\n{generic}"));
    }
    if tool == "named-checkzone" {
        return named_checkzone(&zone).map(|dumped| dumped.expect("a zone BIND accepts"));
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("zone");
    std::fs::write(&path, &zone).expect("written");
    let mut command = Command::new(tool);
    match tool {
        "kzonecheck" => command.args(["-o", ORIGIN]).arg(&path),
        _ => command.args(["-p", ORIGIN]).arg(&path),
    };
    match command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default())).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{tool}: {said}\n{zone}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(why) => {
            let need = if tool == "nsd-checkzone" { tools::Need::Nsd } else { tools::Need::Program };
            tools::skip(need, &format!("{tool} does not run ({why}); Debian has it in knot-dnssecutils or nsd"));
            None
        }
    }
}
