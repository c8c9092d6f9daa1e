//! Zones of every kind of name and policy. In the demo's database clients are at 127.CC.0.0/16, by
//! their country's telephone code.

/// File names and texts.
pub const ALL: &[(&str, &str)] = &[
    ("wire.test.toml", WIRE),
    ("nested.wire.test.toml", NESTED),
    ("bare.wire.test.toml", BARE),
    ("deep.child.wire.test.toml", BELOW_A_CUT),
    ("example.toml", RFC4592),
    ("steer.test.toml", STEER),
    ("apex.test.toml", APEX),
    ("policy.test.toml", POLICY),
];

/// The zone gslb.example with one region, `seoul`, which is never checked, for tests of all but answers.
pub const SEOUL_ALONE: &str = r#"origin = "gslb.example"
records = """
@    SOA  ns1 hostmaster 1 1h 10m 1w 60
@    300 NS   ns1
ns1  3600 A    192.0.2.53
"""
[region.seoul]
location  = { country = "KR" }
endpoints = [{ address = "192.0.2.10" }]
[service.www]
regions = ["seoul"]
"#;

const WIRE: &str = r#"
origin = "wire.test"
strict = false # for its loop of aliases
records = """
$TTL 1h
@        SOA   ns1 Host.Master 1 1h 10m 1w 60
@        NS    ns1
@        NS    NS2.Wire.TEST.
ns1      A     192.0.2.53
ns1      AAAA  2001:db8::53
NS2      A     192.0.2.54
www      A     192.0.2.80
www      A     192.0.2.81
www      TXT   "text"
mx       MX    10 Mail.WIRE.Test.
mail     A     192.0.2.25
alias    CNAME www
alias2   CNAME alias
dangling CNAME missing
outside  CNAME www.elsewhere.invalid.
below    CNAME host.child
steered  CNAME www.steer.test.
loop1    CNAME loop2
loop2    CNAME loop1
long0    CNAME long1
long1    CNAME long2
long2    CNAME long3
long3    CNAME long4
long4    CNAME long5
long5    CNAME long6
long6    CNAME long7
long7    CNAME long8
long8    CNAME long9
long9    CNAME www
child    NS    ns1.child
child    NS    ns.elsewhere.invalid.
child    DS    12345 13 2 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
ns1.child A    192.0.2.100
ns1.child AAAA 2001:db8::100
unsigned NS    ns.elsewhere.invalid.
nested   NS    ns1.nested
ns1.nested A   192.0.2.110
nested   DS    54321 13 2 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
$GENERATE 1-13 many NS a-long-name-$.many
$GENERATE 1-13 a-long-name-$.many A 192.0.2.$
$GENERATE 1-13 a-long-name-$.many AAAA 2001:db8::$
moved    DNAME target
a.target A     192.0.2.70
gone     DNAME elsewhere.invalid.
toolong  DNAME aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.target
x.y.ent  A     192.0.2.60
*.wild   A     192.0.2.99
*.wild   MX    10 mail
exact.wild TXT "exact"
*.points CNAME www
*.round  CNAME back.round
*.deep   A     192.0.2.98
b.a.deep TXT   "makes a.deep exist"
short    10    A 192.0.2.61
$GENERATE 1-25 middle TXT "0123456789abcdef-$"
$GENERATE 1-150 big TXT "0123456789abcdef-$"
"""
"#;

/// A zone inside another that is served here too.
const NESTED: &str = r#"
origin = "nested.wire.test"
records = """
@    SOA ns1 hostmaster 1 1h 10m 1w 30
@    NS  ns1
ns1  A   192.0.2.110
host A   192.0.2.111
"""
"#;

/// A zone inside another that does not delegate it.
const BARE: &str = r#"
origin = "bare.wire.test"
records = """
@    SOA ns1 hostmaster 1 1h 10m 1w 30
@    NS  ns1
ns1  A   192.0.2.120
"""
"#;

/// A zone below what another zone delegates to others.
const BELOW_A_CUT: &str = r#"
origin = "deep.child.wire.test"
records = """
@    SOA ns1 hostmaster 1 1h 10m 1w 30
@    NS  ns1
ns1  A   192.0.2.130
"""
"#;

/// The zone of RFC 4592 section 2.2.1.
const RFC4592: &str = r#"
origin = "example"
ttl = 3600
records = """
@                SOA ns.example.com. hostmaster.example.com. 1 1h 10m 1w 600
@                NS  ns.example.com.
@                NS  ns.example.net.
*                TXT "this is a wildcard"
*                MX  10 host1
sub.*            TXT "this is not a wildcard"
host1            A   192.0.2.1
_ssh._tcp.host1  SRV 0 0 22 host1
_ssh._tcp.host2  SRV 0 0 22 host1
subdel           NS  ns.example.com.
subdel           NS  ns.example.net.
"""
"#;

const STEER: &str = r#"
origin = "steer.test"
records = """
@   SOA ns1 hostmaster 1 1h 10m 1w 60
@   NS  ns1
ns1 A   192.0.2.53
both TXT "beside nothing"
"""

[region.seoul]
location  = { country = "KR", latitude = 37.57, longitude = 126.98 }
endpoints = [{ address = ["203.0.113.82", "2001:db8:82::1"] }]

[region.frankfurt]
location  = { country = "DE", latitude = 50.11, longitude = 8.68 }
endpoints = [{ address = "203.0.113.49" }]

[region.paris]
location  = { country = "FR", latitude = 48.85, longitude = 2.35 }
endpoints = [{ address = ["203.0.113.33", "2001:db8:33::1"] }]

[region.virginia]
location  = { country = "US", latitude = 39.04, longitude = -77.49 }
endpoints = [
  { address = ["203.0.113.1", "2001:db8:1::1"], weight = 3 },
  { address = ["203.0.113.2", "2001:db8:1::2"], weight = 1 },
]

[region.rented]
location  = { country = "BR", latitude = -23.55, longitude = -46.63 }
endpoints = [{ host = "customer.elsewhere.invalid." }]

[region.inside]
location  = { country = "AU", latitude = -33.87, longitude = 151.21 }
endpoints = [{ host = "plain.steer.test." }]

[region.crowd]
location  = { country = "AU", latitude = -33.87, longitude = 151.21 }
endpoints = [{ address = [
    "198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4", "198.51.100.5", "198.51.100.6", "198.51.100.7", "198.51.100.8",
    "198.51.100.9", "198.51.100.10", "198.51.100.11", "198.51.100.12", "198.51.100.13", "198.51.100.14", "198.51.100.15", "198.51.100.16",
    "198.51.100.17", "198.51.100.18", "198.51.100.19", "198.51.100.20", "198.51.100.21", "198.51.100.22", "198.51.100.23", "198.51.100.24",
    "198.51.100.25", "198.51.100.26", "198.51.100.27", "198.51.100.28", "198.51.100.29", "198.51.100.30", "198.51.100.31", "198.51.100.32",
    "198.51.100.33", "198.51.100.34", "198.51.100.35", "198.51.100.36", "198.51.100.37", "198.51.100.38", "198.51.100.39", "198.51.100.40"
] }]

[service.crowd]
policy  = "score"
regions = ["crowd", "seoul"]

[service.www]
policy  = "score"
regions = ["seoul", "frankfurt", "paris", "virginia"]
https   = { alpn = ["h2", "h3"], port = 8443 }

[service.v4only]
policy  = "failover"
regions = ["frankfurt"]
https   = {}

[service.split]
policy  = "weighted"
regions = { seoul = 1, paris = 1, virginia = 2 }

[service.several]
policy  = "multi"
answers = 2
regions = ["seoul", "frankfurt", "paris"]
https   = {}

[service.crowded]
policy  = "multi"
answers = 2
regions = ["seoul", "crowd", "inside"]

[service."*.apps"]
policy  = "score"
regions = ["seoul", "frankfurt", "virginia"]

[service.hosted]
policy  = "score"
regions = ["seoul", "rented", "inside"]

[service.plain]
policy  = "score"
regions = ["seoul", "paris"]
ecs     = false
"#;

const APEX: &str = r#"
origin = "apex.test"
records = """
@   SOA ns1 hostmaster 1 1h 10m 1w 60
@   NS  ns1
@   MX  10 ns1
ns1 A   192.0.2.53
"""

[region.seoul]
location  = { country = "KR", latitude = 37.57, longitude = 126.98 }
endpoints = [{ address = "203.0.113.82" }]

[service."@"]
policy  = "failover"
regions = ["seoul"]
"#;

/// A service of every policy, and what else decides.
const POLICY: &str = r#"
origin = "policy.test"
records = """
@   SOA ns1 hostmaster 1 1h 10m 1w 60
@   NS  ns1
ns1 A   192.0.2.53
ns1 AAAA 2001:db8::53
$GENERATE 1-300 host-$ A 192.0.2.1
"""

[region.seoul]
location  = { country = "KR", latitude = 37.57, longitude = 126.98 }
endpoints = [{ address = ["203.0.113.82", "2001:db8:82::1"] }]

[region.tokyo]
location  = { country = "JP", latitude = 35.68, longitude = 139.69 }
endpoints = [{ address = ["203.0.113.81", "2001:db8:81::1"] }]

[region.frankfurt]
location  = { country = "DE", latitude = 50.11, longitude = 8.68 }
endpoints = [{ address = ["203.0.113.49", "2001:db8:49::1"] }]

[region.virginia]
location  = { country = "US", latitude = 39.04, longitude = -77.49 }
endpoints = [{ address = ["203.0.113.1", "2001:db8:1::1"] }, { address = "203.0.113.2" }]

[region.rented]
location  = { country = "BR", latitude = -23.55, longitude = -46.63 }
endpoints = [{ host = "customer.elsewhere.invalid." }]

[service.nearest]
policy  = "nearest"
regions = ["seoul", "tokyo", "frankfurt", "virginia"]
https   = { alpn = ["h2"] }

[service.latency]
policy  = "latency"
regions = ["seoul", "frankfurt", "rented"]

[service.geo]
policy  = "geo"
regions = ["seoul", "tokyo", "frankfurt", "virginia"]
geo = { default = ["virginia"], network = { "127.81.64.0/18" = ["frankfurt"], "2001:db8::/32" = ["seoul"] }, country = { KR = ["seoul", "tokyo"] }, continent = { AS = ["tokyo"], EU = ["frankfurt"] } }

[service.weighted]
policy  = "weighted"
regions = { seoul = 3, virginia = 1, rented = 1 }

[service.failover]
policy  = "failover"
regions = ["frankfurt", "virginia"]

[service.sticky]
policy  = "sticky"
regions = ["seoul", "frankfurt"]

[service.multi]
policy  = "multi"
answers = 8
regions = ["seoul", "tokyo", "frankfurt", "virginia"]
https   = {}

[service.groups]
policy  = "failover"
regions = ["asia", "rest"]

[service.groups.group.asia]
policy  = "weighted"
regions = { seoul = 3, tokyo = 1 }

[service.groups.group.rest]
policy  = "nearest"
regions = ["frankfurt", "virginia"]

[service."*.any"]
policy  = "score"
regions = ["seoul", "frankfurt", "virginia"]
"#;
