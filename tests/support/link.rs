//! Two machines with a cable between them: network namespaces of this process, gone with it, and a veth pair.
//!
//! In: nothing but the right to make them (root). Out: threads that live in one namespace each and do what they
//! are told there. No name is visible outside, so tests never meet each other.

use std::io;
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use super::tools::{self, Need};

/// A server's and a client's machine, cabled: `eth0` on both, with addresses of 10.0.0.0/24 and fd00::/64.
pub struct Link {
    pub server: Machine,
    pub client: Machine,
}

pub const SERVER: [&str; 2] = ["10.0.0.1", "fd00::1"];
pub const CLIENT: [&str; 2] = ["10.0.0.2", "fd00::2"];
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

impl Link {
    /// `None`, said aloud, where this process may not make namespaces.
    pub fn new() -> Option<Link> {
        let [server, client] = Machine::several()?;
        server.cable("eth0", &client, "eth0");
        for (machine, mac, addresses) in
            [(&server, "02:00:00:00:00:01", SERVER), (&client, "02:00:00:00:00:02", CLIENT)]
        {
            machine.ip(&["link", "set", "lo", "up"]);
            machine.ip(&["link", "set", "eth0", "address", mac]);
            machine.ip(&["address", "add", &format!("{}/24", addresses[0]), "dev", "eth0"]);
            machine.ip(&["address", "add", &format!("{}/64", addresses[1]), "dev", "eth0", "nodad"]);
            machine.ip(&["link", "set", "eth0", "up"]);
        }
        Some(Link { server, client })
    }
}

/// A network namespace, and a thread in it. Threads and programs started there are in it as well.
pub struct Machine {
    work: Option<mpsc::Sender<Work>>,
    running: Option<JoinHandle<()>>,
    /// The id of the thread.
    thread: libc::pid_t,
}

type Work = Box<dyn FnOnce() + Send>;

impl Machine {
    /// So many; `None`, said aloud, where this process may not make namespaces.
    pub fn several<const MANY: usize>() -> Option<[Machine; MANY]> {
        let machines: io::Result<Vec<Machine>> = (0..MANY).map(|_| Machine::new()).collect();
        let machines = match machines {
            Ok(machines) => machines,
            // Only who may not is excused.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tools::skip(Need::Namespaces, &format!("no network namespaces here ({error})"));
                return None;
            }
            Err(error) => panic!("no network namespace: {error}"),
        };
        tools::find("ip")?;
        machines.try_into().ok()
    }

    /// Lays a cable between two machines: the names are those of its ends.
    pub fn cable(&self, end: &str, to: &Machine, other_end: &str) {
        let thread = to.thread.to_string();
        self.ip(&["link", "add", end, "type", "veth", "peer", "name", other_end, "netns", &thread]);
    }

    fn new() -> io::Result<Machine> {
        let (work, given) = mpsc::channel::<Work>();
        let (say, begun) = mpsc::channel();
        let running = thread::spawn(move || {
            // SAFETY: this thread alone moves to a new network namespace.
            let moved = match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
                // SAFETY: no arguments.
                0 => Ok(unsafe { libc::gettid() }),
                _ => Err(io::Error::last_os_error()),
            };
            let _ = say.send(moved);
            while let Ok(work) = given.recv() {
                work();
            }
        });
        let thread = begun.recv().expect("a thread")?;
        Ok(Machine { work: Some(work), running: Some(running), thread })
    }

    /// Does something on this machine; a panic there is a panic here.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (say, done) = mpsc::channel();
        let work = move || drop(say.send(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))));
        self.work.as_ref().expect("a thread").send(Box::new(work)).expect("a thread");
        done.recv().expect("an end").unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// `ip` with these arguments, and what it prints.
    pub fn ip(&self, arguments: &[&str]) -> String {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        self.run(move || {
            let ip = tools::present("ip").expect("ip");
            let output = Command::new(ip).args(&arguments).output().expect("ip runs");
            assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.work = None;
        let _ = self.running.take().map(JoinHandle::join);
    }
}
