//! Address prefixes (CIDR blocks) of both families.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A prefix with all host bits zero. Length 0 to 32 for IPv4, 0 to 128 for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

/// The reason why a text is not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    #[error("not ADDRESS/LENGTH")]
    Syntax,
    #[error("the length is above 32 (IPv4) or 128 (IPv6)")]
    TooLong,
    #[error("there are bits beyond the prefix length")]
    HostBits,
}

impl Prefix {
    /// The prefix of this length that `address` lies in. Lengths above the family's are cut.
    pub fn containing(address: IpAddr, len: u8) -> Prefix {
        match address {
            IpAddr::V4(v4) => {
                let len = len.min(32);
                let bits = u32::from(v4) & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                Prefix { address: IpAddr::V4(bits.into()), len }
            }
            IpAddr::V6(v6) => {
                let len = len.min(128);
                let bits = u128::from(v6) & u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                Prefix { address: IpAddr::V6(bits.into()), len }
            }
        }
    }

    /// A prefix from its first address. Fails where host bits are set or the length is too long.
    pub fn new(address: IpAddr, len: u8) -> Result<Prefix, PrefixError> {
        if len > family_bits(address) {
            return Err(PrefixError::TooLong);
        }
        let prefix = Prefix::containing(address, len);
        if prefix.address == address { Ok(prefix) } else { Err(PrefixError::HostBits) }
    }

    /// The first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    #[allow(clippy::len_without_is_empty)] // a length in bits, not a count
    pub fn len(self) -> u8 {
        self.len
    }

    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && Prefix::containing(address, self.len) == self
    }

    /// The IPv4 prefix that this one stands for where it lies inside `::ffff:0:0/96` (RFC 4291
    /// section 2.5.5.2); else itself.
    pub fn unmapped(self) -> Prefix {
        match (self.address.to_canonical(), self.len.checked_sub(96)) {
            (IpAddr::V4(v4), Some(len)) if self.address.is_ipv6() => Prefix { address: IpAddr::V4(v4), len },
            _ => self,
        }
    }

    /// The last address.
    pub fn last(self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => {
                IpAddr::V4((u32::from(v4) | u32::MAX.checked_shr(u32::from(self.len)).unwrap_or(0)).into())
            }
            IpAddr::V6(v6) => {
                IpAddr::V6((u128::from(v6) | u128::MAX.checked_shr(u32::from(self.len)).unwrap_or(0)).into())
            }
        }
    }
}

fn family_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// `192.0.2.0/24`, `2001:db8::/32`; a bare address is the prefix of that one address.
impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Syntax)?;
        let len = match len {
            Some(len) if len.bytes().all(|b| b.is_ascii_digit()) => len.parse().map_err(|_| PrefixError::TooLong)?,
            Some(_) => return Err(PrefixError::Syntax),
            None => family_bits(address),
        };
        Prefix::new(address, len)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.address, self.len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_and_ends_where_it_should() {
        let prefix: Prefix = "192.0.2.0/25".parse().expect("a prefix");
        assert!(prefix.contains("192.0.2.127".parse().expect("ip")));
        assert!(!prefix.contains("192.0.2.128".parse().expect("ip")));
        assert!(!prefix.contains("::1".parse().expect("ip")));
        assert_eq!(prefix.last(), "192.0.2.127".parse::<IpAddr>().expect("ip"));
        let all: Prefix = "::/0".parse().expect("a prefix");
        assert!(all.contains("ffff::".parse().expect("ip")));
    }

    #[test]
    fn rfc4291_2_5_5_2_mapped_prefixes_stand_for_ipv4() {
        let unmapped = |text: &str| text.parse::<Prefix>().expect("a prefix").unmapped().to_string();
        assert_eq!(unmapped("::ffff:192.0.2.0/120"), "192.0.2.0/24");
        assert_eq!(unmapped("::ffff:0:0/96"), "0.0.0.0/0");
        for itself in ["::fffe:0:0/95", "::/0", "2001:db8::/32", "192.0.2.0/24", "0.0.0.0/0"] {
            assert_eq!(unmapped(itself), itself);
        }
    }

    #[test]
    fn refuses_what_is_not_a_prefix() {
        assert_eq!("192.0.2.1/24".parse::<Prefix>(), Err(PrefixError::HostBits));
        assert_eq!("192.0.2.0/33".parse::<Prefix>(), Err(PrefixError::TooLong));
        assert_eq!("::/129".parse::<Prefix>(), Err(PrefixError::TooLong));
        for text in ["", "/8", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "x/8"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
