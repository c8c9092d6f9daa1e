//! DNS messages as octets (RFC 1035 section 4), for whoever reads or writes them: the floor below state.
//!
//! - [`query`]: a query read, with [`name`]: its name in lower case
//! - [`records`]: records written, names compressed
//! - [`response`]: a message finished around them
//! - [`edns`], [`tsig`]: what query and response know of RFC 6891, RFC 7871 and RFC 8945

pub mod edns;
pub mod name;
pub mod query;
pub mod records;
pub mod response;
pub mod tsig;

/// Octets of a message header (RFC 1035 section 4.1.1).
pub const HEADER_OCTETS: usize = 12;
/// The class IN (RFC 1035 section 3.2.4).
pub const CLASS_IN: u16 = 1;

/// Response codes (RFC 6895 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rcode {
    NoError = 0,
    FormErr = 1,
    ServFail = 2,
    NxDomain = 3,
    NotImp = 4,
    Refused = 5,
    YxDomain = 6,
    /// Here: a TSIG key that is not known (RFC 8945 section 5.2.1).
    NotAuth = 9,
    /// Extended (RFC 6891 section 6.1.3).
    BadVers = 16,
}

impl Rcode {
    /// The four bits in the header.
    pub fn low_bits(self) -> u8 {
        self as u8 & 0x0f
    }

    /// The eight bits above them, which OPT holds (RFC 6891 section 6.1.3).
    pub fn extended(self) -> u8 {
        (self as u16 >> 4) as u8
    }
}
