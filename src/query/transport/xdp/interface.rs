//! The interfaces as the system tells of them: index, hardware address, MTU, receive queues, and the
//! addresses of the whole machine.
//!
//! In: a name. Out: an [`Interface`], or the addresses at which packets of it are ours. By system calls
//! rather than files, which show another network namespace than the one this thread is in.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

/// An interface as it was when asked.
#[derive(Clone, Debug)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    /// Octets that an IP packet may have.
    pub mtu: usize,
    /// Receive queues in use, at least 1.
    pub queues: u32,
}

impl Interface {
    /// Fails where there is no such interface.
    pub fn find(name: &str) -> io::Result<Interface> {
        let c_name = CString::new(name)?;
        // SAFETY: a string that ends with a 0 and outlives the call.
        let index = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        let asking = Asking::new(name)?;
        Ok(Interface { name: name.to_owned(), index, mtu: asking.mtu()?, queues: asking.queues() })
    }

    /// Tells whether it is still there, under whatever name.
    pub fn exists(&self) -> bool {
        let mut name = [0; libc::IF_NAMESIZE];
        // SAFETY: room for a name as the call wants it.
        !unsafe { libc::if_indextoname(self.index, name.as_mut_ptr()) }.is_null()
    }
}

/// The addresses that the machine is reached by, as it was when asked.
#[derive(Debug, Default)]
pub struct Addresses {
    /// Each with the interface it is set on.
    all: Vec<(String, IpAddr)>,
    hardware: Vec<(String, [u8; 6])>,
}

impl Addresses {
    /// Those of all interfaces of this network namespace.
    pub fn now() -> io::Result<Addresses> {
        let mut first = ptr::null_mut();
        // SAFETY: the call writes a pointer to a list, which is freed below and not used after.
        if unsafe { libc::getifaddrs(&mut first) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut addresses = Addresses::default();
        let mut next = first;
        // SAFETY: the list is as the call made it: each entry is valid, the last one's `next` is null.
        while let Some(entry) = unsafe { next.as_ref() } {
            // SAFETY: an entry's name is a string, its address null or of the family it says.
            unsafe { addresses.take(entry) };
            next = entry.ifa_next;
        }
        // SAFETY: made by getifaddrs, freed once.
        unsafe { libc::freeifaddrs(first) };
        Ok(addresses)
    }

    /// # Safety
    /// `entry` is as `getifaddrs` made it.
    unsafe fn take(&mut self, entry: &libc::ifaddrs) {
        if entry.ifa_addr.is_null() {
            return;
        }
        // SAFETY: as promised; each cast is to the type that belongs to the family.
        unsafe {
            let name = CStr::from_ptr(entry.ifa_name).to_string_lossy().into_owned();
            match libc::c_int::from((*entry.ifa_addr).sa_family) {
                libc::AF_INET => {
                    let address = entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                    self.all.push((name, Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).into()));
                }
                libc::AF_INET6 => {
                    let address = entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                    self.all.push((name, Ipv6Addr::from(address.sin6_addr.s6_addr).into()));
                }
                libc::AF_PACKET => {
                    let address = entry.ifa_addr.cast::<libc::sockaddr_ll>().read_unaligned();
                    if let (6, [a, b, c, d, e, f, ..]) = (address.sll_halen, address.sll_addr) {
                        self.hardware.push((name, [a, b, c, d, e, f]));
                    }
                }
                _ => {}
            }
        }
    }

    /// The hardware address of an interface, where it has one.
    pub fn hardware(&self, interface: &str) -> Option<[u8; 6]> {
        self.hardware.iter().find(|(name, _)| name == interface).map(|(_, address)| *address)
    }

    /// The addresses where queries that come in over `interface` are answered by a server that listens at
    /// `listen`: those of its addresses that this machine has. 0.0.0.0 and :: stand for all of them,
    /// on whatever interface they are set (an anycast address is often on the loopback one).
    pub fn answered(&self, interface: &str, listen: &[SocketAddr]) -> BTreeSet<SocketAddr> {
        let reached = |on: &str, address: IpAddr| match address {
            IpAddr::V4(address) => !address.is_loopback() && !address.is_unspecified(),
            // A link-local address means another host on another link.
            IpAddr::V6(address) if address.is_unicast_link_local() => on == interface,
            IpAddr::V6(address) => !address.is_loopback() && !address.is_unspecified(),
        };
        let ours = self.all.iter().filter(|(on, address)| reached(on, *address)).map(|(_, address)| *address);
        let at = |address: IpAddr| {
            let same_family = move |listen: &&SocketAddr| listen.is_ipv4() == address.is_ipv4();
            let fits = move |listen: &&SocketAddr| listen.ip().is_unspecified() || listen.ip() == address;
            listen.iter().filter(same_family).filter(fits).map(move |listen| SocketAddr::new(address, listen.port()))
        };
        ours.flat_map(at).collect()
    }
}

/// A socket to ask about one interface by.
struct Asking {
    socket: OwnedFd,
    request: libc::ifreq,
}

impl Asking {
    fn new(name: &str) -> io::Result<Asking> {
        // SAFETY: plain numbers.
        let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor to us alone; a request of zeros is valid.
        let (socket, mut request): (_, libc::ifreq) = unsafe { (OwnedFd::from_raw_fd(socket), mem::zeroed()) };
        // The last octet stays 0.
        let room = request.ifr_name.len().saturating_sub(1);
        for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        Ok(Asking { socket, request })
    }

    fn mtu(&self) -> io::Result<usize> {
        let mut request = self.request;
        // SAFETY: the call reads the name and writes a number into the request, which outlives it.
        if unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so it wrote this field.
        Ok(usize::try_from(unsafe { request.ifr_ifru.ifru_mtu }).unwrap_or(0))
    }

    /// Drivers that do not tell have one queue.
    fn queues(&self) -> u32 {
        const ETHTOOL_GCHANNELS: u32 = 0x3c;
        #[repr(C)]
        #[derive(Default)]
        struct Channels {
            command: u32,
            most: [u32; 4],
            receive: u32,
            transmit: u32,
            other: u32,
            combined: u32,
        }
        let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
        let mut request = self.request;
        request.ifr_ifru.ifru_data = (&raw mut channels).cast();
        // SAFETY: the call reads the name and writes `channels`, laid out as `struct ethtool_channels`;
        // both outlive it.
        let told = unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) } == 0;
        if told { channels.receive.saturating_add(channels.combined).max(1) } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(all: &[(&str, &str)]) -> Addresses {
        let all = all.iter().map(|(on, address)| ((*on).to_owned(), address.parse().expect("address"))).collect();
        Addresses { all, hardware: vec![("eth0".into(), [2, 0, 0, 0, 0, 1])] }
    }

    fn answered(all: &Addresses, listen: &[&str]) -> Vec<String> {
        let listen: Vec<SocketAddr> = listen.iter().map(|text| text.parse().expect("address")).collect();
        all.answered("eth0", &listen).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn wildcards_stand_for_all_addresses_but_loopback_and_other_links() {
        let machine = addresses(&[
            ("lo", "127.0.0.1"),
            ("lo", "::1"),
            ("lo", "192.0.2.53"),
            ("eth0", "10.0.0.1"),
            ("eth0", "fe80::1"),
            ("eth1", "fe80::2"),
            ("eth1", "2001:db8::1"),
        ]);
        assert_eq!(answered(&machine, &["0.0.0.0:53"]), ["10.0.0.1:53", "192.0.2.53:53"]);
        assert_eq!(answered(&machine, &["[::]:53"]), ["[2001:db8::1]:53", "[fe80::1]:53"]);
    }

    #[test]
    fn an_address_this_machine_has_not_is_not_answered() {
        let machine = addresses(&[("eth0", "10.0.0.1"), ("eth0", "10.0.0.2")]);
        assert_eq!(
            answered(&machine, &["10.0.0.2:53", "10.0.0.3:53", "10.0.0.2:5353"]),
            ["10.0.0.2:53", "10.0.0.2:5353"]
        );
    }

    #[test]
    fn the_loopback_interface_is_there_with_its_address() {
        let lo = Interface::find("lo").expect("lo");
        assert!(lo.exists() && lo.index > 0 && lo.queues > 0 && lo.mtu >= 1280, "{lo:?}");
        let now = Addresses::now().expect("addresses");
        assert!(now.all.contains(&("lo".into(), IpAddr::from(Ipv4Addr::LOCALHOST))));
        assert!(Interface::find("none-such").is_err());
    }
}
