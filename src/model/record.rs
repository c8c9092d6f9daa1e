//! Records as they stand in a zone: owner, type, TTL and RDATA in wire form.

use std::fmt;
use std::str::FromStr;

use super::{Name, Ttl};

/// One resource record of class IN. RDATA is uncompressed wire form, at most 65,535 octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub owner: Name,
    pub rtype: RecordType,
    pub ttl: Ttl,
    pub rdata: Box<[u8]>,
}

/// A DNS TYPE or QTYPE (RFC 1035 section 3.2.2 and the IANA registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordType(pub u16);

macro_rules! record_types {
    ($($name:ident = $code:literal),* $(,)?) => {
        impl RecordType {
            $(pub const $name: RecordType = RecordType($code);)*
        }

        /// Mnemonics this program knows, with their codes.
        const MNEMONICS: &[(&str, u16)] = &[("NSAP-PTR", RecordType::NSAP_PTR.0), $((stringify!($name), $code)),*];
    };
}

record_types! {
    A = 1, NS = 2, CNAME = 5, SOA = 6, MB = 7, MG = 8, MR = 9, NULL = 10, WKS = 11, PTR = 12, HINFO = 13, MINFO = 14, MX = 15,
    TXT = 16, RP = 17, AFSDB = 18, X25 = 19, ISDN = 20, RT = 21, NSAP = 22, KEY = 25, PX = 26, GPOS = 27, AAAA = 28,
    LOC = 29, EID = 31, NIMLOC = 32, SRV = 33, NAPTR = 35, KX = 36, CERT = 37, DNAME = 39, OPT = 41, APL = 42, DS = 43, SSHFP = 44,
    IPSECKEY = 45, RRSIG = 46, NSEC = 47, DNSKEY = 48, DHCID = 49, NSEC3 = 50, NSEC3PARAM = 51, TLSA = 52,
    SMIMEA = 53, HIP = 55, NINFO = 56, RKEY = 57, TALINK = 58, CDS = 59, CDNSKEY = 60, OPENPGPKEY = 61, CSYNC = 62,
    ZONEMD = 63, SVCB = 64, HTTPS = 65, DSYNC = 66, HHIT = 67, BRID = 68, SPF = 99, NID = 104, L32 = 105, L64 = 106, LP = 107,
    EUI48 = 108, EUI64 = 109, TKEY = 249, TSIG = 250, IXFR = 251, AXFR = 252, MAILB = 253, MAILA = 254, ANY = 255,
    URI = 256, CAA = 257, AVC = 258, AMTRELAY = 260, RESINFO = 261, WALLET = 262,
}

impl RecordType {
    /// Its mnemonic `NSAP-PTR` (RFC 1706 section 7) is no word of the language.
    pub const NSAP_PTR: RecordType = RecordType(23);

    /// Whether a zone may hold records of this type: not the QTYPEs and meta types
    /// (RFC 6895 section 3.1), and not OPT.
    pub fn is_data(self) -> bool {
        self.0 != 0 && self.0 != RecordType::OPT.0 && !(128..=255).contains(&self.0) && self.0 != u16::MAX
    }

    /// The mnemonic, where this program knows one.
    pub fn mnemonic(self) -> Option<&'static str> {
        MNEMONICS.iter().find(|(_, code)| *code == self.0).map(|(name, _)| *name)
    }

    /// All mnemonics this program knows.
    pub fn mnemonics() -> impl Iterator<Item = &'static str> {
        MNEMONICS.iter().map(|(name, _)| *name)
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(name) => f.pad(name),
            None => f.pad(&format!("TYPE{}", self.0)), // RFC 3597 section 5
        }
    }
}

/// The text is neither a mnemonic known here nor `TYPEnnn` (RFC 3597 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a record type")]
pub struct UnknownType;

impl FromStr for RecordType {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, UnknownType> {
        if let Some((_, code)) = MNEMONICS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Ok(RecordType(*code));
        }
        let digits = match text.get(..4) {
            Some(head) if head.eq_ignore_ascii_case("TYPE") => &text[4..],
            _ => return Err(UnknownType),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(UnknownType);
        }
        digits.parse().map(RecordType).map_err(|_| UnknownType)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3597_5_generic_type_names() {
        assert_eq!("TYPE1".parse(), Ok(RecordType::A));
        assert_eq!("type65399".parse(), Ok(RecordType(65399)));
        assert_eq!(RecordType(65399).to_string(), "TYPE65399");
        for text in ["TYPE", "TYPE65536", "TYPE-1", "TYPE1x", "B", "", "TYPE+1"] {
            assert_eq!(text.parse::<RecordType>(), Err(UnknownType), "{text}");
        }
    }

    #[test]
    fn meta_types_are_not_data() {
        assert!(RecordType::A.is_data() && RecordType::URI.is_data() && RecordType(65280).is_data());
        for meta in [RecordType::OPT, RecordType::AXFR, RecordType::ANY, RecordType::TSIG, RecordType(0)] {
            assert!(!meta.is_data(), "{meta}");
        }
    }
}
