//! The best that can be had of an interface: in the driver or in the kernel's stack, without copying or with, or
//! nothing. Then its queries are left to the sockets. Each step down is said in the log with its reason.
//!
//! ```text
//!    native ─┬─ zero copy ─▶ copy ─┐
//!            └─▶ generic ──────────┴─▶ sockets alone
//! ```
//!
//! In: interfaces to answer on, and the addresses the server listens at. Out: an [`XdpServer`] that holds all
//! it takes privileges to get; then [`Running`] threads, one per receive queue and one that keeps the addresses
//! answered in step with those of the machine.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing::{error, info, warn};

use super::interface::{Addresses, Interface};
use super::program::{Link, Mode, Program, ProgramError, STEER};
use super::socket::{Copying, Losses, XdpSocket, losses};
use super::worker::Worker;
use crate::model::xdp::{Queues, XdpInterface};
use crate::query::counters::CounterSet;
use crate::query::transport::{Complaint, Responder};

/// The interval at which addresses are looked up anew. Until then a new one is answered by the sockets, and one that
/// went away is answered if a packet still comes.
const REFRESH: Duration = Duration::from_secs(2);

/// Interfaces with a program and sockets of ours, not read yet.
#[derive(Default)]
pub struct XdpServer {
    interfaces: Vec<Attached>,
}

/// Programs that do what `steer` does, and more.
pub trait Substitute {
    /// The program to attach to an interface; `None`: `steer`. Why it is not another is said in the log.
    fn load(&self, wanted: &XdpInterface) -> Option<Program>;

    /// A program of [`Substitute::load`] has been attached.
    fn attached(&mut self, wanted: &XdpInterface, program: &mut Program, mode: Mode) -> Result<(), ProgramError>;
}

/// An interface, our program on it, and a socket per queue.
struct Attached {
    interface: Interface,
    listen: Vec<SocketAddr>,
    program: Program,
    link: Link,
    sockets: Sockets,
}

/// Queue, its socket, and the packets received over it.
type Sockets = Vec<(u32, XdpSocket, Arc<AtomicU64>)>;

impl XdpServer {
    /// Attaches to each interface, as well as it goes: what cannot be had is said in the log and left to the
    /// sockets. `listen` is where they are bound, with their final ports.
    ///
    /// This is all that takes privileges: CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, and
    /// CAP_IPC_LOCK or an `RLIMIT_MEMLOCK` of 8 MiB per queue.
    pub fn open(interfaces: &[XdpInterface], listen: &[SocketAddr], substitute: &mut dyn Substitute) -> XdpServer {
        let mut server = XdpServer::default();
        for wanted in interfaces {
            match Attached::new(wanted, listen, substitute) {
                Ok(attached) => server.interfaces.push(attached),
                Err(error) => {
                    warn!(interface = wanted.name, "answering through sockets alone on this interface: {error}");
                }
            }
        }
        server
    }

    /// Starts to answer: from here on queries come to these threads. The nth thread of an interface runs on the
    /// nth of `cpus` alone, beginning again after the last; with none, wherever the system puts it.
    ///
    /// Fails where a thread cannot be started.
    pub fn start<R: Responder>(self, responder: &Arc<R>, counters: &CounterSet, cpus: &[usize]) -> io::Result<Running> {
        let mut running = Running { stop: Arc::new(AtomicBool::new(false)), links: Vec::new(), threads: Vec::new() };
        let mut watched = Vec::new();
        for Attached { interface, listen, program, link, sockets } in self.interfaces {
            running.links.push(link);
            let mut cpus = cpus.iter().copied().cycle();
            for (queue, socket, received) in sockets {
                let worker = Worker {
                    socket,
                    received,
                    cpu: cpus.next(),
                    mtu: interface.mtu,
                    responder: responder.clone(),
                    counters: counters.register(),
                    stop: running.stop.clone(),
                    complaint: Complaint::default(),
                };
                let name = format!("xdp-{}-{queue}", interface.name);
                running.threads.push(thread::Builder::new().name(name).spawn(move || worker.run())?);
            }
            watched.push(Watched { interface, listen, program, complaint: Complaint::default(), gone: false });
        }
        if !watched.is_empty() {
            refresh(&mut watched);
            let stop = running.stop.clone();
            let watch = thread::Builder::new().name("xdp-addresses".into()).spawn(move || watch(watched, &stop))?;
            running.threads.push(watch);
        }
        Ok(running)
    }

    /// The losses of the kernel on this path, to be asked as long as the server runs.
    pub fn statistics(&self) -> Statistics {
        let mut statistics = Statistics::default();
        for Attached { interface, sockets, .. } in &self.interfaces {
            statistics.queues.extend(sockets.iter().map(|(number, socket, received)| Queue {
                interface: interface.name.clone(),
                number: *number,
                socket: socket.handle(),
                received: received.clone(),
            }));
        }
        statistics
    }
}

/// Threads at work. Dropping it takes the programs off, so that all queries go to the sockets, and waits
/// until the threads have ended.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    links: Vec<Link>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Stops all threads after the batch they are at.
    pub fn stop(self) {}
}

impl Drop for Running {
    fn drop(&mut self) {
        self.links.clear();
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A thread that panicked outside answering has said so already.
            let _ = thread.join();
        }
    }
}

/// The handle to ask what came and what was lost on this path; it keeps nothing open.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    queues: Vec<Queue>,
}

#[derive(Clone, Debug)]
struct Queue {
    interface: String,
    number: u32,
    socket: Weak<OwnedFd>,
    received: Arc<AtomicU64>,
}

/// The counts of what came over one receive queue, and what was lost, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally<'a> {
    pub interface: &'a str,
    pub queue: u32,
    /// Packets that our thread got.
    pub received: u64,
    pub lost: Losses,
}

impl Statistics {
    /// All queues served. Empty where no interface is attached.
    pub fn tallies(&self) -> impl Iterator<Item = Tally<'_>> {
        self.queues.iter().filter_map(|queue| {
            let lost = losses(queue.socket.upgrade()?.as_fd()).ok()?;
            let received = queue.received.load(Ordering::Relaxed);
            Some(Tally { interface: &queue.interface, queue: queue.number, received, lost })
        })
    }
}

impl Attached {
    fn new(
        wanted: &XdpInterface,
        listen: &[SocketAddr],
        substitute: &mut dyn Substitute,
    ) -> Result<Attached, SetupError> {
        let name = &wanted.name;
        let interface = Interface::find(name).map_err(SetupError::Interface)?;
        let queues = queues(&wanted.queues, interface.queues)?;
        let (mut program, is_substitute) = match substitute.load(wanted) {
            Some(program) => (program, true),
            None => (Program::load(STEER, "steer")?, false),
        };
        let addresses = Addresses::now().map_err(SetupError::Addresses)?;
        program.set_hardware_address(addresses.hardware(name).ok_or(SetupError::NotEthernet)?)?;
        let (mode, link) = attach(&mut program, &interface)?;
        let (copying, sockets) = open(&interface, &queues, mode)?;
        for (queue, socket, _) in &sockets {
            program.give_queue_to(*queue, socket.as_fd())?;
        }
        info!(interface = name, ?mode, ?copying, queues = queues.len(), "UDP queries pass the kernel's stack by");
        hint(name, mode);
        if is_substitute {
            substitute.attached(wanted, &mut program, mode)?;
        }
        Ok(Attached { interface, listen: listen.to_vec(), program, link, sockets })
    }
}

/// In the driver if it can, else in the kernel's stack.
fn attach(program: &mut Program, interface: &Interface) -> Result<(Mode, Link), SetupError> {
    match program.attach(interface.index, Mode::Native) {
        Ok(link) => Ok((Mode::Native, link)),
        Err(reason) => {
            // Another program is there, and this one may not be: no use in asking again.
            if matches!(reason.raw_os_error(), Some(libc::EBUSY | libc::EEXIST | libc::EPERM)) {
                return Err(SetupError::Attach(reason));
            }
            warn!(interface = interface.name, "not in the driver, but in the kernel's stack (generic XDP): {reason}");
            let link = program.attach(interface.index, Mode::Generic).map_err(SetupError::Attach)?;
            Ok((Mode::Generic, link))
        }
    }
}

/// A socket for each queue, all of a kind.
fn open(interface: &Interface, queues: &[u32], mode: Mode) -> Result<(Copying, Sockets), SetupError> {
    let open = |copying| -> Result<_, SetupError> {
        let one = |&queue: &u32| {
            let socket = XdpSocket::open(interface.index, queue, copying);
            socket.map(|socket| (queue, socket, Arc::default())).map_err(|error| SetupError::Socket(queue, error))
        };
        Ok((copying, queues.iter().map(one).collect::<Result<Vec<_>, _>>()?))
    };
    if mode == Mode::Generic {
        return open(Copying::Copy);
    }
    open(Copying::ZeroCopy).or_else(|reason| {
        info!(interface = interface.name, "the kernel copies packets, the driver cannot do without: {reason}");
        open(Copying::Copy)
    })
}

/// The queues to serve, of those there are.
fn queues(wanted: &Queues, there: u32) -> Result<Vec<u32>, SetupError> {
    match wanted {
        Queues::All => Ok((0..there.min(MAX_QUEUES)).collect()),
        Queues::Some(queues) => match queues.iter().find(|queue| **queue >= there) {
            Some(missing) => Err(SetupError::Queue(*missing, there)),
            None => Ok(queues.clone()),
        },
    }
}

/// As many as the program has places for.
const MAX_QUEUES: u32 = 256;

/// In a flood, receiving in softirq takes the core from whoever shares it; a thread of its own shares it fairly.
fn hint(interface: &str, mode: Mode) {
    let threaded = format!("/sys/class/net/{interface}/threaded");
    if mode == Mode::Native && std::fs::read_to_string(&threaded).is_ok_and(|value| value.trim() == "0") {
        info!("to withstand floods, have the kernel receive in threads: echo 1 > {threaded}");
    }
}

/// The reason why an interface is served by the sockets alone.
#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error("no such interface ({0}); `ip link` lists them")]
    Interface(io::Error),
    #[error("it has no Ethernet address")]
    NotEthernet,
    #[error("it has no receive queue {0}, it has {1}, counted from 0")]
    Queue(u32, u32),
    #[error("cannot list this machine's addresses: {0}")]
    Addresses(io::Error),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("the eBPF program cannot be attached: {0}{advice}", advice = advice(.0))]
    Attach(io::Error),
    #[error("no AF_XDP socket for queue {0}: {1}{advice}", advice = advice(.1))]
    Socket(u32, io::Error),
}

/// The advice about it.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "; it takes CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF",
        Some(libc::EBUSY | libc::EEXIST) => "; another XDP program or socket has it, `bpftool net` shows which",
        Some(libc::ENOBUFS) => "; give the process CAP_IPC_LOCK, or a larger limit of locked memory (LimitMEMLOCK)",
        Some(libc::ENETDOWN) => "; the interface is down",
        Some(libc::EINVAL) => "; the kernel is too old (5.19 is needed), or the MTU too large for the driver",
        _ => "",
    }
}

/// The parts that must be kept in step while an interface is served.
struct Watched {
    interface: Interface,
    listen: Vec<SocketAddr>,
    program: Program,
    complaint: Complaint,
    gone: bool,
}

/// Keeps what is answered in step with the machine's addresses, until it is told to stop. Writing to maps
/// takes no privilege, only their open descriptors.
fn watch(mut interfaces: Vec<Watched>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        // Woken early when stopping.
        thread::park_timeout(REFRESH);
        refresh(&mut interfaces);
    }
}

fn refresh(interfaces: &mut [Watched]) {
    let addresses = Addresses::now();
    for watched in interfaces {
        match &addresses {
            Ok(addresses) => watched.refresh(addresses),
            Err(error) => watched.complaint.say("cannot list this machine's addresses", error),
        }
    }
}

impl Watched {
    fn refresh(&mut self, addresses: &Addresses) {
        if self.gone || !self.interface.exists() {
            if !std::mem::replace(&mut self.gone, true) {
                error!(interface = self.interface.name, "the interface is gone; start again once it is back");
            }
            return;
        }
        let name = &self.interface.name;
        let hardware = addresses.hardware(name).map_or(Ok(()), |address| self.program.set_hardware_address(address));
        let answered = self.program.answer_at(&addresses.answered(name, &self.listen));
        if let Err(error) = hardware.and(answered) {
            self.complaint.say("some addresses are left to the sockets", &error);
        }
    }
}
