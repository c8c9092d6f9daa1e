//! The part of a core that the scheduler leaves to threads of the control plane.

use std::io;

/// Added to the niceness of the process.
pub(super) const NICER_BY: libc::c_int = 10;

/// How far a thread lets others go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Gets what nobody else wants. Whoever wakes up takes the core from it at once, and beside a busy thread it gets
    /// 0.3 % of one. For good: without privileges only a new thread, of one that is not idle itself, gets more.
    Idle,
    /// Gets a tenth of a core beside a busy thread, which waits for it for a time slice, some milliseconds.
    Nice,
}

impl Manner {
    /// Takes it on for the calling thread. What it is then: where the system refuses the first, the second.
    pub fn take_on(self) -> Manner {
        match self {
            Manner::Idle if be_idle().is_ok() => Manner::Idle,
            Manner::Idle | Manner::Nice => {
                be_nice();
                Manner::Nice
            }
        }
    }
}

/// Lets others on this machine go first. Where the system does not let it, the budget still holds.
pub fn be_nice() {
    // SAFETY: both calls take and return numbers alone; 0 is the calling thread.
    unsafe {
        let now = libc::getpriority(libc::PRIO_PROCESS, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, now + NICER_BY);
    }
}

fn be_idle() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // By its number, because musl's function of that name always fails.
    // SAFETY: the call reads the one struct it is given, which outlives it; 0 is the calling thread.
    let done = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_IDLE, &raw const parameters) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_idle_or_nice_and_others_are_as_they_were() {
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let policy = || unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) } as libc::c_int;
        let before = (nice(), policy());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!((Manner::Nice.take_on(), policy()), (Manner::Nice, before.1));
                assert_eq!(nice(), (before.0 + NICER_BY).min(19));
            });
            scope.spawn(|| assert_eq!((Manner::Idle.take_on(), policy()), (Manner::Idle, libc::SCHED_IDLE)));
        });
        assert_eq!((nice(), policy()), before);
    }
}
