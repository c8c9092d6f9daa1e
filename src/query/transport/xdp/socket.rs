//! An AF_XDP socket: chunks of memory shared with the kernel, and the four rings they go round in.
//!
//! ```text
//!     fill ─▶ kernel receives ─▶ received ─▶ answered in place ─▶ sent ─▶ kernel sends ─▶ completion
//!      ▲                                       └─ not answered ─┐                              │
//!      └──────────────────── spare ◀────────────────────────────┴──────────────────────────────┘
//! ```
//!
//! All unsafe code of the packet path past the sockets is here and in `program`, `interface`. What makes it
//! sound: a chunk is ours from when it comes out of a ring until it goes into one, and it is lent, as one
//! slice at a time, only to the closure that answers the packet in it. (Kernel documentation:
//! Documentation/networking/af_xdp.rst.)

use std::io;
use std::mem::{self, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use libc::{c_int, c_void, xdp_desc};

use crate::state::lookup::prefetch::prefetch;

/// Octets of a chunk, a power of two as the kernel wants it: room for the 256 the kernel keeps in front,
/// and for the longest frames the program steers (1,600) and we send (1,298).
const CHUNK: u32 = 2048;

/// Slots of each ring, a power of two. As many packets may wait: some 2 ms of a flood.
const RING: u32 = 2048;

/// Chunks: enough to have a full ring received while another is being sent.
const CHUNKS: u32 = 2 * RING;

/// The number of packets before its turn at which one is fetched into the cache: some 200 ns.
const AHEAD: u32 = 1;

/// A socket bound to one receive queue of an interface.
#[derive(Debug)]
pub struct XdpSocket {
    fd: Arc<OwnedFd>,
    memory: Mapping,
    fill: Ring<u64>,
    completion: Ring<u64>,
    received: Ring<xdp_desc>,
    sent: Ring<xdp_desc>,
    /// The offsets of chunks that are in no ring: at most [`CHUNKS`].
    spare: Vec<u32>,
    /// The chunk lent to whoever answers: it is still there after a panic.
    lent: Option<u32>,
    /// There are packets to send that the kernel was not told of.
    unsent: bool,
    zero_copy: bool,
}

/// A packet received, and room for the one to be sent instead.
pub struct Packet<'a> {
    /// From the packet's first octet on, at least 1,298 octets; what is behind the packet is garbage.
    pub room: &'a mut [u8],
    /// Of the packet: at most that of `room`.
    pub length: usize,
}

/// The fate of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub received: usize,
    /// Answers for which there was no room in the ring of those to be sent.
    pub lost: usize,
}

/// The two ways of frames: read and written by the network card itself, or copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copying {
    /// It does; few drivers can.
    ZeroCopy,
    /// The kernel copies.
    Copy,
}

/// The counts of what the kernel could not do, since the socket was opened (`XDP_STATISTICS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Packets too long for a frame, and the like.
    pub received_dropped: u64,
    /// Packets for which there was no room in the ring: the thread was too slow.
    pub ring_full: u64,
    /// The number of times there was no free frame to receive into.
    pub no_frame: u64,
    /// Frames that we sent or gave back wrongly: a bug.
    pub invalid: u64,
}

impl XdpSocket {
    /// Opens a socket for `queue` of the interface with index `interface`, ready to receive.
    ///
    /// Fails with `EOPNOTSUPP` or `EINVAL` where the driver cannot do it this way, `EBUSY` where another
    /// socket has the queue, `ENETDOWN` where the interface is down, `ENOBUFS` where too little memory may be
    /// locked (`RLIMIT_MEMLOCK`, without CAP_IPC_LOCK), `EPERM` without CAP_NET_RAW.
    pub fn open(interface: u32, queue: u32, copying: Copying) -> io::Result<XdpSocket> {
        // SAFETY: plain numbers.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor to us alone.
        let fd = Arc::new(unsafe { OwnedFd::from_raw_fd(fd) });
        let memory = Mapping::new(CHUNKS as usize * CHUNK as usize, None)?;
        register(&fd, &memory)?;
        for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING] {
            set_option(&fd, libc::SOL_XDP, ring, &RING)?;
        }
        allow_many_in_flight(&fd);
        let offsets: libc::xdp_mmap_offsets = option(&fd, libc::XDP_MMAP_OFFSETS)?;
        let mut socket = XdpSocket {
            fill: Ring::map(&fd, &offsets.fr, libc::XDP_UMEM_PGOFF_FILL_RING)?,
            completion: Ring::map(&fd, &offsets.cr, libc::XDP_UMEM_PGOFF_COMPLETION_RING)?,
            received: Ring::map(&fd, &offsets.rx, libc::XDP_PGOFF_RX_RING as u64)?,
            sent: Ring::map(&fd, &offsets.tx, libc::XDP_PGOFF_TX_RING as u64)?,
            spare: (0..CHUNKS).map(|index| index * CHUNK).collect(),
            lent: None,
            unsent: false,
            zero_copy: false,
            memory,
            fd,
        };
        socket.refill();
        bind(&socket.fd, interface, queue, copying)?;
        let options: libc::xdp_options = option(&socket.fd, libc::XDP_OPTIONS)?;
        socket.zero_copy = options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0;
        Ok(socket)
    }

    pub fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// The number of packets that were received and not answered yet.
    #[inline]
    pub fn waiting(&mut self) -> usize {
        self.received.waiting() as usize
    }

    /// The first packets of those [`waiting`](XdpSocket::waiting), as they came, without taking them.
    pub fn packets(&self) -> impl Iterator<Item = &[u8]> {
        (0..).map_while(|ahead| self.received.ahead(ahead)).filter_map(|packet| {
            let (chunk, offset) = place(packet.addr)?;
            let length = packet.len.min(CHUNK - offset) as usize;
            // SAFETY: the kernel has given us this chunk, `place` has made sure that it is within the memory, and
            // the slice ends with it; nobody writes to it while `self` is borrowed. The memory was mapped as zeros.
            Some(unsafe { slice::from_raw_parts(self.memory.at((chunk + offset) as usize), length) })
        })
    }

    /// Hands packets that were received, `most` of them, to `answer`, which writes what is to be sent over
    /// the packet and returns its length; 0 sends nothing. [`XdpSocket::flush`] then sends them.
    pub fn answer(&mut self, most: usize, mut answer: impl FnMut(Packet<'_>) -> usize) -> Batch {
        // Left over where answering panicked.
        self.spare.extend(self.lent.take());
        let mut batch = Batch::default();
        while batch.received < most {
            let Some(packet) = self.received.take() else { break };
            batch.received += 1;
            self.fetch(AHEAD);
            let Some((chunk, offset)) = place(packet.addr) else { continue };
            self.lent = Some(chunk);
            let room = CHUNK - offset;
            // SAFETY: the kernel has given us this chunk, `place` has made sure that it is within the memory,
            // and it is in `lent`, that is in no ring and nowhere else; the slice ends with the chunk and lives
            // only until `answer` returns. The memory was mapped as zeros, so all of it is initialized.
            let room = unsafe { slice::from_raw_parts_mut(self.memory.at((chunk + offset) as usize), room as usize) };
            let length = (packet.len as usize).min(room.len());
            let length = answer(Packet { room, length });
            self.lent = None;
            match u32::try_from(length) {
                Ok(len @ 1..) if len <= CHUNK - offset && self.sent.room() > 0 => {
                    self.sent.put(xdp_desc { addr: u64::from(chunk + offset), len, options: 0 });
                    self.unsent = true;
                }
                Ok(0) => self.spare.push(chunk),
                _ => {
                    batch.lost += 1;
                    self.spare.push(chunk);
                }
            }
        }
        batch
    }

    /// Has the processor fetch a packet that comes soon: another core has written it.
    #[inline]
    fn fetch(&self, ahead: u32) {
        let Some(packet) = self.received.ahead(ahead) else { return };
        let Some((chunk, offset)) = place(packet.addr) else { return };
        let begin = (chunk + offset) as usize;
        // Headers and a question end in the second line.
        prefetch(self.memory.at(begin));
        prefetch(self.memory.at((begin + 64).min(self.memory.length - 1)));
    }

    /// Ends a batch: tells the kernel what was read and what is to be sent, and has it receive into
    /// all frames that are free again.
    ///
    /// Fails where sending fails; what was not sent stays queued for the next time.
    pub fn flush(&mut self) -> io::Result<()> {
        self.received.release();
        let result = self.kick();
        self.recycle();
        self.refill();
        result
    }

    /// Waits until there is something to receive, at most this long. Also sends what is still queued, and takes
    /// back what was sent meanwhile: with all frames on their way (a paused card holds two rings full of them)
    /// nothing is received, so that nobody else would.
    pub fn wait(&mut self, most: Duration) -> io::Result<()> {
        /// The time after which to look again while the kernel has no frame to receive into.
        const DRY: Duration = Duration::from_millis(1);
        self.recycle();
        self.refill();
        let most = if self.fill.is_empty() { most.min(DRY) } else { most };
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let timeout = c_int::try_from(most.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: one valid entry, whose descriptor is open.
        match unsafe { libc::poll(&raw mut poll, 1, timeout) } {
            -1 => Err(io::Error::last_os_error()),
            _ if poll.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0 => {
                Err(io::Error::from_raw_os_error(libc::ENETDOWN))
            }
            _ => Ok(()),
        }
    }

    /// The handle that its [`losses`] can be asked by as long as it is open.
    pub fn handle(&self) -> Weak<OwnedFd> {
        Arc::downgrade(&self.fd)
    }

    /// Has the kernel send. It takes a number of frames per call at most, and says `EAGAIN` where it left some.
    fn kick(&mut self) -> io::Result<()> {
        /// Calls for one batch: more are left to the next, lest a full device hold up receiving.
        const CALLS: usize = 4;
        if !mem::take(&mut self.unsent) {
            return Ok(());
        }
        self.sent.publish();
        if !self.sent.wants_wakeup() {
            return Ok(());
        }
        for _ in 0..CALLS {
            // SAFETY: nothing is sent from memory of ours: null and 0 are what the kernel expects here.
            let sent = unsafe { libc::sendto(self.fd.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
            if sent >= 0 || self.sent.is_empty() {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            // The send buffer is full, or the call's share used up; or, with EBUSY, the interface dropped one.
            if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR)) {
                return Err(error);
            }
            self.recycle();
        }
        Ok(())
    }

    /// Takes back the frames that were sent.
    fn recycle(&mut self) {
        while let Some(address) = self.completion.take() {
            self.spare.extend(place(address).map(|(chunk, _)| chunk));
        }
        self.completion.release();
    }

    /// Gives the kernel all spare frames it has room for, to receive into.
    fn refill(&mut self) {
        if self.spare.is_empty() {
            return;
        }
        let room = self.fill.room() as usize;
        let kept = self.spare.len().saturating_sub(room);
        for chunk in self.spare.drain(kept..) {
            self.fill.put(u64::from(chunk));
        }
        self.fill.publish();
    }
}

impl AsFd for XdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The chunk an address is in, and how far in; `None` for one that the kernel cannot mean.
#[inline]
fn place(address: u64) -> Option<(u32, u32)> {
    let address = u32::try_from(address).ok().filter(|address| *address < CHUNKS * CHUNK)?;
    Some((address - address % CHUNK, address % CHUNK))
}

/// The counts of what the kernel could not do for an AF_XDP socket so far.
pub fn losses(socket: BorrowedFd<'_>) -> io::Result<Losses> {
    let statistics: libc::xdp_statistics = option(&socket, libc::XDP_STATISTICS)?;
    Ok(Losses {
        received_dropped: statistics.rx_dropped,
        ring_full: statistics.rx_ring_full,
        no_frame: statistics.rx_fill_ring_empty_descs,
        invalid: statistics.rx_invalid_descs.saturating_add(statistics.tx_invalid_descs),
    })
}

/// One ring: a power of two of slots, written by one side and read by the other. Each side counts what it
/// has done for the other to see; both counts run freely and wrap.
#[derive(Debug)]
struct Ring<T> {
    /// Keeps the pointers valid.
    _mapping: Mapping,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    /// The position that we are at, published or not.
    ours: u32,
    /// The position that the other side was at when we last looked.
    theirs: u32,
}

// SAFETY: a ring is used through its owner alone, and what it points to belongs to its mapping, which
// is not tied to a thread.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    fn map(socket: &OwnedFd, offset: &libc::xdp_ring_offset, place: u64) -> io::Result<Ring<T>> {
        let length = offset.desc as usize + RING as usize * size_of::<T>();
        let mapping = Mapping::new(length, Some((socket.as_fd(), place)))?;
        let at = |offset: u64| {
            // The kernel says where in its own mapping things are.
            NonNull::new(mapping.at(offset as usize)).ok_or_else(|| io::Error::other("an empty ring"))
        };
        Ok(Ring {
            producer: at(offset.producer)?.cast(),
            consumer: at(offset.consumer)?.cast(),
            flags: at(offset.flags)?.cast(),
            slots: at(offset.desc)?.cast(),
            ours: 0,
            theirs: 0,
            _mapping: mapping,
        })
    }

    /// As consumer: the next entry that the kernel has put in.
    #[inline]
    fn take(&mut self) -> Option<T> {
        if self.ours == self.theirs {
            // SAFETY: points into the mapping; pairs with the kernel's release of what it wrote.
            self.theirs = unsafe { self.producer.as_ref() }.load(Ordering::Acquire);
            if self.ours == self.theirs {
                return None;
            }
        }
        // SAFETY: the index is within the ring, and the kernel does not write to entries it has
        // published until we release them.
        let entry = unsafe { self.slots.as_ptr().add((self.ours % RING) as usize).read() };
        self.ours = self.ours.wrapping_add(1);
        Some(entry)
    }

    /// As consumer: the number of entries that the kernel has put in and we have not taken.
    #[inline]
    fn waiting(&mut self) -> u32 {
        // SAFETY: points into the mapping; pairs with the kernel's release of what it wrote.
        self.theirs = unsafe { self.producer.as_ref() }.load(Ordering::Acquire);
        self.theirs.wrapping_sub(self.ours)
    }

    /// As consumer: an entry known to be there, this many behind the next one.
    #[inline]
    fn ahead(&self, entries: u32) -> Option<T> {
        if self.theirs.wrapping_sub(self.ours) <= entries {
            return None;
        }
        let index = self.ours.wrapping_add(entries) % RING;
        // SAFETY: as in `take`.
        Some(unsafe { self.slots.as_ptr().add(index as usize).read() })
    }

    /// As consumer: lets the kernel use the entries taken.
    #[inline]
    fn release(&mut self) {
        // SAFETY: points into the mapping, which the kernel reads and only we write.
        unsafe { self.consumer.as_ref() }.store(self.ours, Ordering::Release);
    }

    /// As producer: how many entries may be put in.
    #[inline]
    fn room(&mut self) -> u32 {
        if self.ours.wrapping_sub(self.theirs) >= RING {
            // SAFETY: points into the mapping; pairs with the kernel's release of what it has read.
            self.theirs = unsafe { self.consumer.as_ref() }.load(Ordering::Acquire);
        }
        RING.saturating_sub(self.ours.wrapping_sub(self.theirs))
    }

    /// As producer: puts an entry in; nothing where there is no [`Ring::room`].
    #[inline]
    fn put(&mut self, entry: T) {
        if self.ours.wrapping_sub(self.theirs) >= RING {
            return;
        }
        // SAFETY: the index is within the ring, and the kernel has released this entry.
        unsafe { self.slots.as_ptr().add((self.ours % RING) as usize).write(entry) };
        self.ours = self.ours.wrapping_add(1);
    }

    /// As producer: lets the kernel see the entries put in.
    #[inline]
    fn publish(&mut self) {
        // SAFETY: points into the mapping, which the kernel reads and only we write.
        unsafe { self.producer.as_ref() }.store(self.ours, Ordering::Release);
    }

    /// As producer: whether the kernel has read everything.
    fn is_empty(&mut self) -> bool {
        // SAFETY: points into the mapping.
        self.theirs = unsafe { self.consumer.as_ref() }.load(Ordering::Acquire);
        self.ours == self.theirs
    }

    /// Tells whether the kernel looks at the ring only when told (`XDP_USE_NEED_WAKEUP`).
    fn wants_wakeup(&self) -> bool {
        // SAFETY: points into the mapping.
        unsafe { self.flags.as_ref() }.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// Memory mapped for as long as this lives.
#[derive(Debug)]
struct Mapping {
    begin: NonNull<u8>,
    length: usize,
}

// SAFETY: memory is not tied to a thread; who reads and writes it is the owner's business.
unsafe impl Send for Mapping {}

impl Mapping {
    /// New memory of zeros, or, of a socket, the ring at `place`.
    fn new(length: usize, ring: Option<(BorrowedFd<'_>, u64)>) -> io::Result<Mapping> {
        let (kind, fd, offset) = match ring {
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0),
            Some((socket, place)) => (libc::MAP_SHARED, socket.as_raw_fd(), place as libc::off_t),
        };
        // SAFETY: a new mapping where the kernel likes; nothing else is touched.
        let begin = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                kind | libc::MAP_POPULATE,
                fd,
                offset,
            )
        };
        match NonNull::new(begin.cast::<u8>()) {
            Some(begin) if begin.as_ptr().cast::<c_void>() != libc::MAP_FAILED => Ok(Mapping { begin, length }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The place `offset` octets in.
    #[inline]
    fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset < self.length);
        self.begin.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, and unmapped once.
        unsafe { libc::munmap(self.begin.as_ptr().cast(), self.length) };
    }
}

/// Makes `memory` the socket's frames.
fn register(socket: &OwnedFd, memory: &Mapping) -> io::Result<()> {
    // SAFETY: all fields are numbers.
    let mut frames: libc::xdp_umem_reg = unsafe { mem::zeroed() };
    frames.addr = memory.begin.as_ptr() as u64;
    frames.len = memory.length as u64;
    frames.chunk_size = CHUNK;
    set_option(socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &frames)
}

fn bind(socket: &OwnedFd, interface: u32, queue: u32, copying: Copying) -> io::Result<()> {
    let how = match copying {
        Copying::ZeroCopy => libc::XDP_ZEROCOPY,
        Copying::Copy => libc::XDP_COPY,
    };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: how | libc::XDP_USE_NEED_WAKEUP,
        sxdp_ifindex: interface,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    let length = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` octets of `address`; the descriptor is open.
    match unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets more packets be on their way at once than the defaults do. Best effort: fewer cost only more calls.
fn allow_many_in_flight(socket: &OwnedFd) {
    /// Frames one call sends at most; since Linux 6.17, 32 before.
    const XDP_MAX_TX_SKB_BUDGET: c_int = 9;
    let _ = set_option(socket, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &RING);
    let buffer: c_int = 8 << 20;
    if set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &buffer).is_err() {
        let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, &buffer);
    }
}

/// Sets an option whose value is plain numbers without padding.
fn set_option<T: Copy>(socket: &OwnedFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the descriptor is open; the kernel reads `length` octets of `value`.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const *value).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// An option of AF_XDP whose value is plain numbers.
fn option<T: Copy>(socket: &impl AsRawFd, name: c_int) -> io::Result<T> {
    // SAFETY: numbers may be zeros.
    let mut value: T = unsafe { mem::zeroed() };
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the descriptor is open; the kernel writes `length` octets of `value` at most.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, name, (&raw mut value).cast(), &raw mut length) };
    match result {
        // An old kernel would tell less, laid out otherwise.
        0 if length as usize == size_of::<T>() => Ok(value),
        0 => Err(io::Error::from(io::ErrorKind::Unsupported)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
pub(super) mod testing {
    //! Sockets without a kernel behind them.

    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// A ring in memory, of which the test is the other side.
    pub(super) fn ring<T: Copy>() -> Ring<T> {
        const SLOTS_AT: usize = 64;
        let mapping = Mapping::new(SLOTS_AT + RING as usize * size_of::<T>(), None).expect("memory");
        let at = |offset| NonNull::new(mapping.at(offset)).expect("an address");
        let (producer, consumer, flags) = (at(0).cast(), at(4).cast(), at(8).cast());
        Ring { producer, consumer, flags, slots: at(SLOTS_AT).cast(), ours: 0, theirs: 0, _mapping: mapping }
    }

    /// Puts in what the kernel would.
    pub(super) fn give<T: Copy>(ring: &Ring<T>, entries: &[T]) {
        for (slot, entry) in entries.iter().enumerate() {
            // SAFETY: within the ring, whose other side is this test.
            unsafe { ring.slots.as_ptr().add(slot).write(*entry) };
        }
        // SAFETY: points into the mapping.
        unsafe { ring.producer.as_ref() }.store(entries.len() as u32, Ordering::Release);
    }

    /// A socket to which nothing comes, with so many frames, all of which are on their way out.
    pub fn quiet(frames: usize) -> XdpSocket {
        let nothing_comes = UnixDatagram::unbound().expect("a socket");
        XdpSocket {
            fd: Arc::new(nothing_comes.into()),
            memory: Mapping::new(frames * CHUNK as usize, None).expect("memory"),
            fill: ring(),
            completion: ring(),
            received: ring(),
            sent: ring(),
            spare: Vec::new(),
            lent: None,
            unsent: false,
            zero_copy: true,
        }
    }

    /// A socket that has received these packets.
    pub fn received(packets: &[Vec<u8>]) -> XdpSocket {
        let socket = quiet(packets.len());
        let entries: Vec<xdp_desc> = packets
            .iter()
            .zip(0..)
            .map(|(packet, frame)| {
                let address = frame * CHUNK + 256;
                // SAFETY: a packet of a test is shorter than a frame.
                let place = unsafe { slice::from_raw_parts_mut(socket.memory.at(address as usize), packet.len()) };
                place.copy_from_slice(packet);
                xdp_desc { addr: u64::from(address), len: packet.len() as u32, options: 0 }
            })
            .collect();
        give(&socket.received, &entries);
        socket
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{give, quiet};
    use super::*;

    /// As the kernel sees it: how many entries were put in, and taken out.
    fn counts<T>(ring: &Ring<T>) -> (u32, u32) {
        // SAFETY: both point into the mapping.
        unsafe { (ring.producer.as_ref().load(Ordering::Acquire), ring.consumer.as_ref().load(Ordering::Acquire)) }
    }

    #[test]
    fn frames_that_a_paused_card_gives_back_late_are_received_into_again() {
        let mut socket = quiet(2);
        let began = std::time::Instant::now();
        socket.wait(Duration::from_secs(10)).expect("nothing came");
        assert!(began.elapsed() < Duration::from_secs(5), "dry, it looks again soon");
        assert_eq!(counts(&socket.fill), (0, 0));
        // The card goes on, and gives two frames back.
        give(&socket.completion, &[0, u64::from(CHUNK)]);
        socket.wait(Duration::ZERO).expect("nothing came");
        assert_eq!((counts(&socket.completion), counts(&socket.fill)), ((2, 2), (2, 0)));
    }
}
