//! The memory shared with the program that answers by itself (`bpf/answer.bpf.c`): images it finds answers
//! in, what is current, and what it counted.
//!
//! An image is written into an array that the program does not see yet, through a mapping, and then
//! takes the place of the one before at once. The system call that does so returns when no processor
//! looks at the one before any more, which is written anew the next time.
//!
//! ```text
//!   NameImage, ClassImage ─▶ Images ─▶ arrays ─▶ map IMAGES ───▶ program
//!   generation, stride ────▶ Control ──────────────────────────▶ program
//!   counters, demand ◀─ ProgramOutput ◀─ maps COUNTS, SAMPLES ◀─ program
//! ```

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aya::maps::{Map, MapData, PerCpuArray, RingBuf};

use crate::model::{RegionId, ServiceId};
use crate::query::demand::Sample;
use crate::query::transport::xdp::program::{Mode, Program, ProgramError, map_error};

use super::image::{BLOCK_OCTETS, Block, ClassImage, NameImage};

/// Places in the map IMAGES.
const NAMES: u32 = 0;
const CLASSES: u32 = 1;
/// Blocks that an image may have without an array being made for it.
const ROOM: usize = 1 << 17;
/// Blocks of a page, the least that an array has room for.
const PAGE_BLOCKS: usize = 64;

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

/// The images that programs look into, each kept twice: as they see it, and to be written.
#[derive(Default)]
pub struct Images {
    names: Pair,
    classes: Pair,
}

impl Images {
    /// With room for images of 8 MiB each, had now, while it is allowed: a server that has dropped its
    /// privileges may not get more later.
    pub fn with_room() -> io::Result<Images> {
        let pair =
            || Ok::<_, io::Error>(Pair { seen: None, unseen: Some(Array::new(ROOM)?), spare: Some(Array::new(ROOM)?) });
        Ok(Images { names: pair()?, classes: pair()? })
    }

    /// Programs answer from these classes as soon as there are names that go by them.
    pub fn put_classes(&mut self, programs: &[KernelMaps], image: &ClassImage) -> io::Result<()> {
        self.classes.put(programs, CLASSES, &image.blocks)
    }

    /// Programs answer from these names, while their generation is the current one.
    pub fn put_names(&mut self, programs: &[KernelMaps], image: &NameImage) -> io::Result<()> {
        self.names.put(programs, NAMES, &image.blocks)
    }
}

#[derive(Default)]
struct Pair {
    seen: Option<Array>,
    unseen: Option<Array>,
    /// For the first time, when none is seen yet.
    spare: Option<Array>,
}

impl Pair {
    fn put(&mut self, programs: &[KernelMaps], kind: u32, blocks: &[Block]) -> io::Result<()> {
        // Were this to fail in the middle, a program might still see the one that would be written next.
        let fitting = self.unseen.take().filter(|array| array.blocks >= blocks.len());
        let mut array = match fitting {
            Some(array) => array,
            None => Array::new(blocks.len() + blocks.len() / 4)?,
        };
        array.write(blocks);
        for program in programs {
            set(program.images.fd().as_fd(), kind, array.fd.as_fd())?;
        }
        self.unseen = self.seen.replace(array).or_else(|| self.spare.take());
        Ok(())
    }
}

/// A map of the kind that IMAGES holds, and its contents in memory.
struct Array {
    fd: OwnedFd,
    memory: Mapping,
    blocks: usize,
}

impl Array {
    fn new(at_least: usize) -> io::Result<Array> {
        let blocks = at_least.div_ceil(PAGE_BLOCKS).max(1) * PAGE_BLOCKS;
        let entries = u32::try_from(blocks).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let fd = create(entries)?;
        let memory = Mapping::new(fd.as_fd(), blocks * BLOCK_OCTETS)?;
        Ok(Array { fd, memory, blocks })
    }

    /// Nobody may be looking. What is behind stays as it was: nothing leads there.
    fn write(&mut self, blocks: &[Block]) {
        let count = blocks.len().min(self.blocks);
        // SAFETY: the mapping holds `self.blocks` blocks, and `count` is no more than either side has;
        // the two do not overlap, since nothing else is given a reference into the mapping.
        unsafe { ptr::copy_nonoverlapping(blocks.as_ptr(), self.memory.start.cast::<Block>().as_ptr(), count) };
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
    const BPF_F_INNER_MAP: u32 = 1 << 12;
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
        flags: BPF_F_MMAPABLE | BPF_F_INNER_MAP,
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
