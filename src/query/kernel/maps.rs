//! The memory shared with the program that answers by itself (`bpf/answer.bpf.c`): images it finds answers
//! in, what is current, and what it counted.
//!
//! An image is written in place, through a mapping that all programs see, whole or in parts. Its head has a version,
//! which is 0 meanwhile and another afterwards: a program copies what it needs, and throws it away where the version is
//! not the same as before. Nobody waits for anybody.
//!
//! ```text
//!   Update ────────────────▶ Images ─▶ arrays, in map IMAGES ───▶ program
//!   generation, stride ────▶ Control ──────────────────────────▶ program
//!   counters, demand ◀─ ProgramOutput ◀─ maps COUNTS, SAMPLES ◀─ program
//! ```

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use aya::maps::{Map, MapData, PerCpuArray, RingBuf};

use crate::model::{RegionId, ServiceId};
use crate::query::demand::Sample;
use crate::query::transport::xdp::program::{Mode, Program, ProgramError, map_error};

use super::image::{BLOCK_OCTETS, Block, ROOM, Update};

/// Places in the map IMAGES.
const NAMES: u32 = 0;
const CLASSES: u32 = 1;
/// Places in the entry of a service: see `struct entry`.
const FLAGS_AT: usize = 1;
const ANSWERS_AT: usize = 8;

/// The maps of one program.
pub struct KernelMaps {
    images: MapData,
    pub control: Arc<Control>,
    pub output: ProgramOutput,
}

impl KernelMaps {
    /// Takes the maps out of a program that is attached so: they can be taken once.
    pub fn new(program: &mut Program, mode: Mode) -> Result<KernelMaps, ProgramError> {
        let wrong = |name| move |error: aya::maps::MapError| map_error(name, error);
        let Map::ArrayOfMaps(images) = program.take_map("IMAGES")? else { return Err(unusable("IMAGES")) };
        let Map::Array(control) = program.take_map("CONTROL")? else { return Err(unusable("CONTROL")) };
        let control = Control::map(control, mode).map_err(|error| map_error("CONTROL", error))?;
        let counts = PerCpuArray::try_from(program.take_map("COUNTS")?).map_err(wrong("COUNTS"))?;
        let samples = RingBuf::try_from(program.take_map("SAMPLES")?).map_err(wrong("SAMPLES"))?;
        Ok(KernelMaps { images, control: Arc::new(control), output: ProgramOutput { counts, samples } })
    }
}

fn unusable(name: &'static str) -> ProgramError {
    map_error(name, "it is of another type")
}

/// The words that a program is told, by plain memory: `struct control`.
#[derive(Debug)]
pub struct Control {
    memory: Mapping,
    /// The way the program meets packets.
    mode: Mode,
    /// Keeps the memory what it is.
    _map: MapData,
}

#[repr(C)]
struct ControlWords {
    generation: AtomicU64,
    on: AtomicU32,
    stride: AtomicU32,
}

impl Control {
    fn map(map: MapData, mode: Mode) -> io::Result<Control> {
        let memory = Mapping::new(map.fd().as_fd(), BLOCK_OCTETS)?;
        let control = Control { memory, mode, _map: map };
        control.set_stride(1);
        Ok(control)
    }

    /// Images of other snapshots answer nothing from now on.
    pub fn set_generation(&self, generation: u64) {
        self.words().generation.store(generation, Ordering::SeqCst);
    }

    /// The same where nobody has done so before.
    pub fn set_first_generation(&self, generation: u64) {
        let _ = self.words().generation.compare_exchange(0, generation, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// While off, nothing is answered in the kernel.
    pub fn switch(&self, on: bool) {
        let on = match (on, self.mode) {
            (false, _) => 0,
            (true, Mode::Native) => 1,
            (true, Mode::Generic) => 2,
        };
        self.words().on.store(on, Ordering::SeqCst);
    }

    /// Services' answers per sample, on average.
    pub fn set_stride(&self, stride: u32) {
        self.words().stride.store(stride.max(1), Ordering::Relaxed);
    }

    fn words(&self) -> &ControlWords {
        // SAFETY: the mapping is a page, so large and aligned enough, and lives as long as `self`; all
        // of the words are atomic, and any bits are a number.
        unsafe { self.memory.start.cast().as_ref() }
    }
}

/// The counts and samples that a program tells.
pub struct ProgramOutput {
    counts: PerCpuArray<MapData, [u64; 8]>,
    samples: RingBuf<MapData>,
}

/// Sums over all processors, since the program was loaded: the beginning of `struct counts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Answers to questions for A.
    pub a: u64,
    pub aaaa: u64,
    /// Of both, to questions with an ECS option.
    pub subnets: u64,
    /// Services' answers that no sample stands for.
    pub lost: u64,
    /// Services' answers.
    pub services: u64,
}

impl ProgramOutput {
    pub fn counted(&self) -> Result<Counted, aya::maps::MapError> {
        let mut sum = Counted::default();
        for &[a, aaaa, subnets, lost, services, ..] in self.counts.get(&0, 0)?.iter() {
            sum.a = sum.a.wrapping_add(a);
            sum.aaaa = sum.aaaa.wrapping_add(aaaa);
            sum.subnets = sum.subnets.wrapping_add(subnets);
            sum.lost = sum.lost.wrapping_add(lost);
            sum.services = sum.services.wrapping_add(services);
        }
        Ok(sum)
    }

    /// Gives the samples since the last time.
    pub fn drain(&mut self, mut take: impl FnMut(Sample)) {
        while let Some(item) = self.samples.next() {
            take_sample(&item).into_iter().for_each(&mut take);
        }
    }
}

/// `struct sample`.
fn take_sample(octets: &[u8]) -> Option<Sample> {
    let (client, figures) = octets.split_first_chunk::<16>()?;
    let figures: &[u8; 16] = figures.first_chunk()?;
    let u32_at = |at: usize| u32::from_ne_bytes([figures[at], figures[at + 1], figures[at + 2], figures[at + 3]]);
    let u16_at = |at: usize| u16::from_ne_bytes([figures[at], figures[at + 1]]);
    Some(Sample {
        client: IpAddr::V6(Ipv6Addr::from(*client)).to_canonical(),
        service: ServiceId(u32_at(0)),
        ttl: u32_at(4),
        weight: u32_at(8),
        region: RegionId(u16_at(12)),
        reloads: u16_at(14),
    })
}

/// The images that programs look into.
pub struct Images {
    names: Array,
    classes: Array,
    /// The last that was written.
    version: u64,
    /// Programs have been shown the arrays.
    shown: bool,
}

/// The beginning of `struct names_head`.
#[repr(C)]
struct Head {
    version: AtomicU64,
    generation: AtomicU64,
}

impl Images {
    /// With all the memory they will have: a server that has dropped its privileges may not get more later.
    pub fn with_room() -> io::Result<Images> {
        Ok(Images { names: Array::new()?, classes: Array::new()?, version: 0, shown: false })
    }

    /// Programs answer from what is so updated, while its generation is the current one.
    ///
    /// Fails where there are more ranges of clients than an image takes, and has written nothing then.
    pub fn put(&mut self, programs: &[KernelMaps], update: &Update<'_>) -> io::Result<()> {
        self.show(programs)?;
        if update.classes.is_some_and(|blocks| blocks.len() > ROOM) {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the ranges of clients' addresses take more than 16 MiB",
            ));
        }
        if !update.is_empty() {
            self.head().version.store(0, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            update.classes.iter().for_each(|blocks| self.classes.write(0, blocks));
            update.names.iter().for_each(|(at, blocks)| self.names.write(*at, blocks));
            for service in update.services {
                let at = service.at as usize * BLOCK_OCTETS;
                let [a, aaaa] = service.answers.map(u32::to_ne_bytes);
                self.names.memory.write(at + FLAGS_AT, &[service.flags]);
                self.names.memory.write(at + ANSWERS_AT, &[a, aaaa].concat());
            }
            fence(Ordering::SeqCst);
            self.version += 1;
        }
        // Blocks that were written have zeros here.
        self.head().generation.store(update.generation, Ordering::SeqCst);
        self.head().version.store(self.version, Ordering::SeqCst);
        Ok(())
    }

    /// Once: it takes a system call that waits for all processors.
    fn show(&mut self, programs: &[KernelMaps]) -> io::Result<()> {
        if !self.shown {
            for program in programs {
                set(program.images.fd().as_fd(), CLASSES, self.classes.fd.as_fd())?;
                set(program.images.fd().as_fd(), NAMES, self.names.fd.as_fd())?;
            }
        }
        self.shown = true;
        Ok(())
    }

    fn head(&self) -> &Head {
        // SAFETY: the mapping is larger than that and begins at a page, and lives as long as `self`; all of it is
        // atomic, and any bits are a number. Blocks are written over it by this thread alone, through `&mut self`.
        unsafe { self.names.memory.start.cast().as_ref() }
    }
}

/// A map of the kind that IMAGES holds, and its contents in memory.
struct Array {
    fd: OwnedFd,
    memory: Mapping,
}

impl Array {
    fn new() -> io::Result<Array> {
        let fd = create(ROOM as u32)?;
        let memory = Mapping::new(fd.as_fd(), ROOM * BLOCK_OCTETS)?;
        Ok(Array { fd, memory })
    }

    /// What is behind stays as it was: nothing leads there.
    fn write(&mut self, at: usize, blocks: &[Block]) {
        // SAFETY: blocks are octets without padding, and any octets may be read.
        let octets = unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast::<u8>(), mem::size_of_val(blocks)) };
        self.memory.write(at * BLOCK_OCTETS, octets);
    }
}

/// Memory of a map.
#[derive(Debug)]
struct Mapping {
    start: NonNull<libc::c_void>,
    octets: usize,
}

// SAFETY: a mapping belongs to the process, not to the thread that made it.
unsafe impl Send for Mapping {}
// SAFETY: what is shared between threads is only reached through atomics ([`Control`]).
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(map: BorrowedFd<'_>, octets: usize) -> io::Result<Mapping> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping wherever the kernel likes; nothing that exists is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), octets, protection, libc::MAP_SHARED, map.as_raw_fd(), 0) };
        match NonNull::new(start) {
            Some(start) if start.as_ptr() != libc::MAP_FAILED => Ok(Mapping { start, octets }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Mapping {
    /// Puts octets at an offset; nothing where they do not fit. Programs may read meanwhile, and see any part of it.
    fn write(&mut self, at: usize, octets: &[u8]) {
        if at.checked_add(octets.len()).is_some_and(|end| end <= self.octets) {
            // SAFETY: it lies within the mapping, as was just seen; the two do not overlap, since nobody is given a
            // reference into the mapping but to its head, which is not held while this is called.
            unsafe {
                ptr::copy_nonoverlapping(octets.as_ptr(), self.start.cast::<u8>().as_ptr().add(at), octets.len())
            };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and unmapped once.
        unsafe { libc::munmap(self.start.as_ptr(), self.octets) };
    }
}

/// `BPF_MAP_CREATE` of a `struct image`. By hand, since the library gives no descriptor of what it creates.
fn create(entries: u32) -> io::Result<OwnedFd> {
    const BPF_MAP_CREATE: libc::c_int = 0;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    const BPF_F_MMAPABLE: u32 = 1 << 10;
    #[repr(C)]
    struct MapCreate {
        kind: u32,
        key_octets: u32,
        value_octets: u32,
        entries: u32,
        flags: u32,
    }
    let attributes = MapCreate {
        kind: BPF_MAP_TYPE_ARRAY,
        key_octets: 4,
        value_octets: BLOCK_OCTETS as u32,
        entries,
        flags: BPF_F_MMAPABLE,
    };
    // SAFETY: the kernel reads as many octets of `attributes` as it is told.
    let fd =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, &raw const attributes, mem::size_of::<MapCreate>()) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just given this descriptor to us alone.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `BPF_MAP_UPDATE_ELEM` of a map of maps: returns when no program sees the map that was there before.
fn set(outer: BorrowedFd<'_>, index: u32, inner: BorrowedFd<'_>) -> io::Result<()> {
    const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
    #[repr(C)]
    struct MapUpdate {
        map: libc::c_int,
        unused: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let value = inner.as_raw_fd();
    let attributes = MapUpdate {
        map: outer.as_raw_fd(),
        unused: 0,
        key: (&raw const index) as u64,
        value: (&raw const value) as u64,
        flags: 0,
    };
    // SAFETY: the kernel reads as many octets of `attributes` as it is told, and four each of `index` and
    // `value`, which outlive the call.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_UPDATE_ELEM, &raw const attributes, mem::size_of::<MapUpdate>())
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_laid_out_as_in_the_source() {
        let mut octets = Vec::new();
        octets.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
        octets.extend([7u32, 30, 1000].into_iter().flat_map(u32::to_ne_bytes));
        octets.extend([3u16, 9].into_iter().flat_map(u16::to_ne_bytes));
        let sample = take_sample(&octets).expect("a sample");
        assert_eq!(sample.client, IpAddr::from([192, 0, 2, 1]));
        assert_eq!((sample.service, sample.region), (ServiceId(7), RegionId(3)));
        assert_eq!((sample.ttl, sample.weight, sample.reloads), (30, 1000, 9));
        assert_eq!(take_sample(&octets[..31]), None);
    }
}
