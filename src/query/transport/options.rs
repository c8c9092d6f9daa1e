//! The options asked of the kernel for a socket or a thread, beyond what everybody asks.
//!
//! In: a socket, or the calling thread, and what an operator or an RFC wants. Out: an error where
//! the kernel refuses; most of it is best effort, and whoever asks says so in the log.

use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::thread::JoinHandleExt;
use std::thread::JoinHandle;
use std::time::Duration;

use libc::c_int;

/// Asks the kernel to say with each datagram which address it was sent to.
pub(super) fn report_asked_address(socket: &impl AsFd, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        IpAddr::V6(_) => set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
    }
}

/// Keeps replies in one piece, whatever ICMP messages say of path MTUs: anyone can forge one to have
/// responses sent in fragments, and then replaced (RFC 9715 section 3.1 and appendix C).
///
/// "UDP responders should configure their systems to prevent fragmentation of UDP packets when
/// sending replies" (its R2): over IPv4 by DF. IPv6 has no such bit, fragments at the sender alone,
/// and carries every reply we make within its minimum MTU. DF also spares the kernel the choice of
/// an IP identification, 4 % of what a reply costs it.
pub(super) fn never_fragment(socket: &impl AsFd, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
        IpAddr::V6(_) => set(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT),
    }
}

/// Has receiving threads look at the interface's queues themselves for that long before they
/// sleep (`SO_BUSY_POLL`). Refused above `net.core.busy_read` without CAP_NET_ADMIN.
pub(super) fn busy_poll(socket: &impl AsFd, time: Duration) -> io::Result<()> {
    let micros = c_int::try_from(time.as_micros()).unwrap_or(c_int::MAX);
    set(socket, libc::SOL_SOCKET, libc::SO_BUSY_POLL, micros)
}

/// A direction's buffer in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffer {
    Receive,
    Send,
}

/// Sets how many octets the kernel may hold for a socket; returns how many it agreed to. Beyond
/// `net.core.rmem_max` and `wmem_max` only CAP_NET_ADMIN goes.
pub(super) fn set_buffer(socket: &impl AsFd, buffer: Buffer, size: usize) -> io::Result<usize> {
    let (force, plain) = match buffer {
        Buffer::Receive => (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        Buffer::Send => (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    };
    let wanted = c_int::try_from(size).unwrap_or(c_int::MAX);
    if set(socket, libc::SOL_SOCKET, force, wanted).is_err() {
        set(socket, libc::SOL_SOCKET, plain, wanted)?;
    }
    // socket(7): the kernel doubles the value, for its own bookkeeping, and tells the double.
    Ok(usize::try_from(get(socket, libc::SOL_SOCKET, plain)?).unwrap_or_default() / 2)
}

/// Has a system call in which these threads wait return, again and again until they have ended.
///
/// Shutting a socket down would wake its readers as well, but for good, and also in a process that was given the socket.
pub(super) fn wake_until_ended(threads: &[JoinHandle<()>]) {
    extern "C" fn nothing(_: c_int) {}
    // Nobody sends it to us, and by itself it does nothing.
    const SIGNAL: c_int = libc::SIGURG;
    // SAFETY: the struct is valid as zeros; the handler does nothing, and is there as long as the program.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(c_int) as libc::sighandler_t;
        // No SA_RESTART: the call is to end.
        libc::sigaction(SIGNAL, &action, std::ptr::null_mut());
    }
    let mut pause = Duration::from_millis(1);
    while threads.iter().any(|thread| !thread.is_finished()) {
        for thread in threads.iter().filter(|thread| !thread.is_finished()) {
            // SAFETY: the thread has not been joined, so its handle is valid even if it ends now.
            unsafe { libc::pthread_kill(thread.as_pthread_t(), SIGNAL) };
        }
        std::thread::sleep(pause);
        // In the end longer than a reply may wait: an interrupted wait begins anew.
        pause = (2 * pause).min(Duration::from_millis(500));
    }
}

/// Lets the calling thread, and those it starts, run on one CPU alone. Refused where there is no
/// such CPU, or where the process may not use it.
pub(super) fn pin_this_thread(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a set of zeros is an empty one, and the CPU is within what a set holds.
    let set = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        set
    };
    // SAFETY: 0 is the calling thread; the kernel reads the set it is given the size of.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) })
}

fn set(socket: &impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let (fd, length) = (socket.as_fd().as_raw_fd(), size_of::<c_int>() as libc::socklen_t);
    // SAFETY: the descriptor is open while `socket` is borrowed; the kernel reads `length` octets of `value`.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), length) })
}

fn get(socket: &impl AsFd, level: c_int, name: c_int) -> io::Result<c_int> {
    let (fd, mut value, mut length) = (socket.as_fd().as_raw_fd(), 0, size_of::<c_int>() as libc::socklen_t);
    // SAFETY: the descriptor is open while `socket` is borrowed; the kernel writes at most `length` octets to `value`.
    check(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut length) })?;
    Ok(value)
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn socket(address: &str) -> (UdpSocket, IpAddr) {
        let socket = UdpSocket::bind((address, 0)).expect("bind");
        (socket, address.parse().expect("address"))
    }

    #[test]
    fn rfc9715_r2_replies_over_ipv4_say_not_to_fragment_and_no_family_heeds_forged_mtus() {
        let (v4, address) = socket("127.0.0.1");
        never_fragment(&v4, address).expect("set");
        assert_eq!(get(&v4, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER).expect("get"), libc::IP_PMTUDISC_PROBE);
        let (v6, address) = socket("::1");
        never_fragment(&v6, address).expect("set");
        assert_eq!(get(&v6, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER).expect("get"), libc::IPV6_PMTUDISC_OMIT);
    }

    #[test]
    fn a_buffer_is_as_large_as_the_kernel_allows() {
        let (socket, _) = socket("127.0.0.1");
        for buffer in [Buffer::Receive, Buffer::Send] {
            assert_eq!(set_buffer(&socket, buffer, 64 << 10).expect("set"), 64 << 10);
            let most = set_buffer(&socket, buffer, usize::MAX).expect("set");
            assert!((64 << 10..usize::MAX).contains(&most));
        }
    }

    #[test]
    fn a_thread_runs_on_the_cpu_it_is_pinned_to_and_no_other() {
        std::thread::spawn(|| {
            // The first this process may use.
            let cpu = (0..1024).find(|&cpu| pin_this_thread(cpu).is_ok()).expect("a CPU");
            // SAFETY: reads the number of the CPU in use.
            assert_eq!(usize::try_from(unsafe { libc::sched_getcpu() }).expect("a number"), cpu);
        })
        .join()
        .expect("pinned");
    }

    #[test]
    fn a_cpu_that_is_not_there_is_refused() {
        std::thread::spawn(|| {
            for cpu in [1023, 1024, usize::MAX] {
                assert!(pin_this_thread(cpu).is_err(), "{cpu}");
            }
        })
        .join()
        .expect("refused");
    }
}
