//! The steps that may be done only at the start: a thread of its own keeps the privileges that opening sockets and
//! attaching eBPF programs takes, does that, and ends. No other thread ever has them.
//!
//! ```text
//!    before any other thread: apart() ─┬─ this thread and all it starts: without
//!                                      └─ "setup": with ─▶ run(work) ─▶ its end
//! ```
//!
//! Linux keeps capabilities per thread (capabilities(7)), so this comes before the runtime's threads.

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tracing::{info, warn};

use super::confinement::Confinement;

/// Whoever may still open what takes privileges, and what all threads give up once that is done.
#[derive(Debug)]
pub struct Privileged {
    setup: Option<Setup>,
    confinement: Option<Confinement>,
}

#[derive(Debug)]
struct Setup {
    work: mpsc::Sender<Work>,
    thread: JoinHandle<()>,
}

type Work = Box<dyn FnOnce() + Send>;

impl Privileged {
    /// Takes from the calling thread, and from all threads it starts later, every privilege but [`KEPT`].
    ///
    /// Fails where a thread cannot be started.
    pub fn apart() -> io::Result<Privileged> {
        let (work, given) = mpsc::channel::<Work>();
        let thread = thread::Builder::new().name("setup".into()).spawn(move || {
            // An error means that there was nothing to do.
            if let Ok(work) = given.recv() {
                work();
            }
        })?;
        keep_only(KEPT)?;
        Ok(Privileged { setup: Some(Setup { work, thread }), confinement: None })
    }

    /// Has the confinement completed before [`Privileged::run`] returns.
    pub fn confined(self, confinement: Option<Confinement>) -> Privileged {
        Privileged { confinement, ..self }
    }

    /// The calling thread, with whatever it has.
    pub fn here() -> Privileged {
        Privileged { setup: None, confinement: None }
    }

    /// Does the work that takes privileges. Nobody has them any more when this returns.
    ///
    /// Fails where the work panics.
    pub fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let made = match self.setup {
            Some(setup) => setup.run(work)?,
            None => work(),
        };
        if let Some(confinement) = self.confinement {
            confinement.complete();
        }
        Ok(made)
    }
}

impl Setup {
    fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (result, done) = mpsc::channel();
        let ended = || io::Error::other("setting up ended early");
        let work: Work = Box::new(move || drop(result.send(work())));
        self.work.send(work).map_err(|_| ended())?;
        let made = done.recv().map_err(|_| ended());
        self.thread.join().map_err(|_| ended())?;
        made
    }
}

/// The capabilities that a server goes on to need: files of another user, as far as root reads and writes them
/// (reloads, state).
const KEPT: u64 = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH;
const CAP_DAC_OVERRIDE: u64 = 1;
const CAP_DAC_READ_SEARCH: u64 = 2;
/// Opens ports below 1024 and does nothing else.
const CAP_NET_BIND_SERVICE: u64 = 10;

/// Takes from this thread all capabilities but these, and the ways to get them back.
fn keep_only(kept: u64) -> io::Result<()> {
    const VERSION: u32 = 0x2008_0522;
    #[repr(C)]
    struct Header {
        version: u32,
        /// 0: the calling thread.
        thread: libc::c_int,
    }
    #[derive(Clone, Copy, Default)]
    #[repr(C)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header { version: VERSION, thread: 0 };
    // Capabilities 0 to 31, then 32 to 63.
    let mut sets = [Sets::default(); 2];
    // SAFETY: the call reads `header` and writes two `Sets`, laid out as capget(2) says.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, &raw mut sets) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let [low, high] = sets.map(|set| u64::from(set.permitted));
    let given_up = (low | high << 32) & !kept;
    for (set, kept) in sets.iter_mut().zip([kept as u32, (kept >> 32) as u32]) {
        *set = Sets { effective: set.effective & kept, permitted: set.permitted & kept, inheritable: 0 };
    }
    // SAFETY: the call reads both.
    if unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const sets) } != 0 {
        cannot_give_up(given_up, io::Error::last_os_error())?;
    }
    // Running another program gives nothing back, not even to root.
    // SAFETY: numbers alone.
    match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Goes on with these capabilities where whoever started the server does not let it change them, as systemd's filter of
/// `@privileged` system calls does not.
///
/// # Errors
/// That is not the reason.
fn cannot_give_up(capabilities: u64, error: io::Error) -> io::Result<()> {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return Err(error);
    }
    match capabilities & !(1 << CAP_NET_BIND_SERVICE) {
        0 => info!("capabilities stay as they were given: this process may not change them ({error})"),
        more => warn!("capabilities {more:#x} stay for good: this process may not give them up ({error})"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The capabilities this thread may use.
    fn effective() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("a line of capabilities");
        u64::from_str_radix(line.trim(), 16).expect("hexadecimal")
    }

    #[test]
    fn only_the_thread_that_sets_up_has_privileges() {
        // Each thread has its own: those of other tests are not touched.
        thread::spawn(|| {
            let before = effective();
            let privileged = Privileged::apart().expect("apart");
            assert_eq!(effective(), before & KEPT);
            assert_eq!(thread::spawn(effective).join().expect("a thread"), before & KEPT);
            assert_eq!(privileged.run(effective).expect("work"), before);
        })
        .join()
        .expect("no panic");
    }

    #[test]
    fn a_panic_while_setting_up_is_an_error() {
        thread::spawn(|| {
            let privileged = Privileged::apart().expect("apart");
            assert!(privileged.run(|| panic!("no")).is_err());
        })
        .join()
        .expect("no panic");
    }
}
