//! eBPF programs in the kernel: loading an object, its maps, and attaching it to an interface.
//!
//! In: an object that was compiled beforehand (`bpf/compile`), an interface. Out: a [`Program`] with
//! its maps at hand, and a [`Link`] that keeps it attached. Both are file descriptors: whatever way
//! this process ends, the kernel takes the program off the interface.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use aya::maps::{Array, HashMap, Map, XskMap};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};

/// The object with the program `steer`, which hands queries to AF_XDP sockets.
pub const STEER: &[u8] = aya::include_bytes_aligned!("bpf/steer.bpf.o");

/// 1 where processors may see another's stores in another order than it made them: programs that read what we write
/// meanwhile heed it, and where it is 0 the kernel leaves out what that costs.
const WEAKLY_ORDERED: u32 = if cfg!(any(target_arch = "x86_64", target_arch = "x86")) { 0 } else { 1 };

/// A verified program, not yet attached anywhere, and the maps of its object.
pub struct Program {
    object: Ebpf,
    name: &'static str,
    /// The addresses that the map `ADDRESSES` holds.
    answered: BTreeSet<SocketAddr>,
    hardware_address: [u8; 6],
    /// The one of them that is looked at first: finding it in the map takes longer than all else `steer` does.
    usual: Option<SocketAddr>,
}

/// The way a program meets packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel has made anything of a packet.
    Native,
    /// In the kernel's stack: works with every driver, and saves less.
    Generic,
}

/// A program attached to an interface, until this goes.
#[derive(Debug)]
pub struct Link(#[expect(dead_code, reason = "closing it detaches the program")] OwnedFd);

/// The reason why a program or one of its maps is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("the kernel does not take the eBPF program: {0}")]
    Load(String),
    #[error("the map {0} of the eBPF program: {1}")]
    Map(&'static str, String),
}

impl Program {
    /// Loads an object and has the kernel verify the program `name` in it.
    ///
    /// Fails without CAP_BPF and CAP_NET_ADMIN.
    pub fn load(object: &[u8], name: &'static str) -> Result<Program, ProgramError> {
        // No types of the running kernel are needed: packets look alike everywhere.
        let mut loader = EbpfLoader::new();
        let object = loader.btf(None).override_global("WEAKLY_ORDERED", &WEAKLY_ORDERED, false).load(object);
        let mut object = object.map_err(load_error)?;
        xdp(&mut object, name)?.load().map_err(load_error)?;
        Ok(Program { object, name, answered: BTreeSet::new(), hardware_address: [0; 6], usual: None })
    }

    /// Attaches the program to the interface with this index.
    ///
    /// Fails with `EOPNOTSUPP` and the like where the driver has no native mode, `EBUSY` or `EEXIST`
    /// where another program is there, `EINVAL` before Linux 5.9.
    pub fn attach(&mut self, interface: u32, mode: Mode) -> io::Result<Link> {
        let program = xdp(&mut self.object, self.name).map_err(io::Error::other)?;
        let program = program.fd().map_err(io::Error::other)?.as_fd();
        link(program, interface, mode)
    }

    /// A map of the object by its name in the source.
    pub fn map_mut(&mut self, name: &str) -> Option<&mut Map> {
        self.object.map_mut(name)
    }

    /// Takes a map of the object, which the program goes on to use.
    pub fn take_map(&mut self, name: &'static str) -> Result<Map, ProgramError> {
        self.object.take_map(name).ok_or_else(|| map_error(name, "the object has none"))
    }

    /// Runs the program on a packet that came from nowhere: for tests. Gives its verdict, and in `out` the
    /// packet as the program left it, with its length.
    pub fn run(&self, packet: &[u8], out: &mut [u8]) -> Result<(u32, usize), ProgramError> {
        let program: &Xdp = match self.object.program(self.name).map(TryInto::try_into) {
            Some(Ok(program)) => program,
            _ => return Err(load_error("the object has no such program")),
        };
        let options = TestRunOptions { data_in: Some(packet), data_out: Some(out), ..TestRunOptions::new() };
        let result = program.test_run(options).map_err(load_error)?;
        Ok((result.return_value, result.data_size_out as usize))
    }

    /// Gives queries that come in over `queue` to `socket`, bound to that queue.
    pub fn give_queue_to(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), ProgramError> {
        let mut sockets = XskMap::try_from(self.map("SOCKETS")?).map_err(|error| map_error("SOCKETS", error))?;
        sockets.set(queue, socket.as_raw_fd(), 0).map_err(|error| map_error("SOCKETS", error))
    }

    /// Makes `addresses` those that are answered; all others are left to the kernel.
    ///
    /// With the map full (4,096) the last ones are left to the kernel as well, and that is an error.
    pub fn answer_at(&mut self, addresses: &BTreeSet<SocketAddr>) -> Result<(), ProgramError> {
        let Program { object, answered, .. } = self;
        let map = object.map_mut("ADDRESSES").ok_or_else(|| map_error("ADDRESSES", "the object has none"))?;
        let mut map: HashMap<_, ServiceKey, u8> = map.try_into().map_err(|error| map_error("ADDRESSES", error))?;
        for gone in answered.difference(addresses).copied().collect::<Vec<_>>() {
            map.remove(&key(gone)).map_err(|error| map_error("ADDRESSES", error))?;
            answered.remove(&gone);
        }
        for new in addresses.difference(answered).copied().collect::<Vec<_>>() {
            map.insert(key(new), 1, 0).map_err(|error| map_error("ADDRESSES", error))?;
            answered.insert(new);
        }
        let usual = self.usual.filter(|usual| self.answered.contains(usual)).or(self.answered.first().copied());
        if usual != self.usual {
            self.usual = usual;
            self.set_interface()?;
        }
        Ok(())
    }

    /// Says which hardware address packets to this interface have.
    pub fn set_hardware_address(&mut self, address: [u8; 6]) -> Result<(), ProgramError> {
        self.hardware_address = address;
        self.set_interface()
    }

    /// Writes `struct interface`.
    fn set_interface(&mut self) -> Result<(), ProgramError> {
        let mut interface = [0; INTERFACE_OCTETS];
        let (hardware, usual) = interface.split_at_mut(8);
        hardware[..6].copy_from_slice(&self.hardware_address);
        usual.copy_from_slice(&self.usual.map_or([0; size_of::<ServiceKey>()], key));
        let mut map: Array<_, [u8; INTERFACE_OCTETS]> =
            self.map("INTERFACE")?.try_into().map_err(|error| map_error("INTERFACE", error))?;
        map.set(0, interface, 0).map_err(|error| map_error("INTERFACE", error))
    }

    fn map(&mut self, name: &'static str) -> Result<&mut Map, ProgramError> {
        self.object.map_mut(name).ok_or_else(|| map_error(name, "the object has none"))
    }
}

fn xdp<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, ProgramError> {
    let program = object.program_mut(name).ok_or_else(|| load_error("the object has no such program"))?;
    program.try_into().map_err(|error: aya::programs::ProgramError| load_error(error))
}

fn load_error(error: impl Into<Box<dyn Error>>) -> ProgramError {
    ProgramError::Load(chain(&*error.into()))
}

/// An error with the map of this name.
pub fn map_error(name: &'static str, error: impl Into<Box<dyn Error>>) -> ProgramError {
    ProgramError::Map(name, chain(&*error.into()))
}

/// The error with its causes: those of the library say little by themselves.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let mut words: Vec<String> = causes.map(ToString::to_string).collect();
    words.dedup();
    words.join(": ")
}

/// `struct service_key` of `packet.bpf.h`.
type ServiceKey = [u8; 20];
/// Of `struct interface`: the hardware address, two unused, a `struct service_key`.
const INTERFACE_OCTETS: usize = 28;

fn key(address: SocketAddr) -> ServiceKey {
    let mut key = [0; 20];
    let (octets, rest) = key.split_at_mut(16);
    let family = match address.ip() {
        IpAddr::V4(ip) => {
            octets[..4].copy_from_slice(&ip.octets());
            4
        }
        IpAddr::V6(ip) => {
            octets.copy_from_slice(&ip.octets());
            6
        }
    };
    rest[..2].copy_from_slice(&address.port().to_be_bytes());
    rest[3] = family;
    key
}

/// `BPF_LINK_CREATE`. Not by the library, which falls back to attachments that outlive a killed process.
fn link(program: BorrowedFd<'_>, interface: u32, mode: Mode) -> io::Result<Link> {
    const BPF_LINK_CREATE: libc::c_int = 28;
    const BPF_XDP: u32 = 37;
    const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
    const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
    #[repr(C)]
    struct LinkCreate {
        program: libc::c_int,
        interface: u32,
        attach_type: u32,
        flags: u32,
    }
    let flags = match mode {
        Mode::Native => XDP_FLAGS_DRV_MODE,
        Mode::Generic => XDP_FLAGS_SKB_MODE,
    };
    let attributes = LinkCreate { program: program.as_raw_fd(), interface, attach_type: BPF_XDP, flags };
    // SAFETY: the kernel reads as many octets of `attributes` as it is told; the descriptor in it is
    // open while `program` is borrowed.
    let fd =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, &raw const attributes, mem::size_of::<LinkCreate>()) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just given this descriptor to us alone.
        Ok(fd) if fd >= 0 => Ok(Link(unsafe { OwnedFd::from_raw_fd(fd) })),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_laid_out_as_in_the_source() {
        let v4 = key("192.0.2.1:53".parse().expect("address"));
        assert_eq!(v4, [192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 53, 0, 4]);
        let v6 = key("[2001:db8::1]:5353".parse().expect("address"));
        assert_eq!(v6, [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x14, 0xe9, 0, 6]);
    }
}
