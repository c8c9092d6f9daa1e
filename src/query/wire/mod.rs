//! DNS messages as octets (RFC 1035 section 4): [`query`] reads them, [`response`] writes them.
//! [`edns`] is what both know of RFC 6891 and RFC 7871, [`tsig`] what they know of RFC 8945.

pub mod edns;
pub mod query;
pub mod response;
pub mod tsig;

pub use crate::state::encode::HEADER_OCTETS;

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
