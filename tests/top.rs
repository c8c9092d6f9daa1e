//! `meridian top` on a real terminal: it shows the demo, follows its size, quits on q, and gives the terminal back.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use meridian::demo::{Demo, Options};

/// On a machine busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
const ENTER_SCREEN: &str = "\x1b[?1049h";
const SHOW_CURSOR: &str = "\x1b[?25h";
const LEAVE_SCREEN: &str = "\x1b[?1049l";

/// A program on a terminal of its own.
struct Terminal {
    child: Child,
    /// Our end.
    keyboard: File,
    /// The program's end, kept open: what it was left like can be asked of it.
    line: OwnedFd,
    drawn: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn start(arguments: &[&str], (columns, rows): (u16, u16)) -> Terminal {
        let (mut ours, mut theirs) = (-1, -1);
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: both descriptors are written by the call, and are ours alone from then on.
        let (ours, line) = unsafe {
            let none = std::ptr::null_mut();
            assert_eq!(libc::openpty(&mut ours, &mut theirs, none, std::ptr::null_mut(), &raw const size as *mut _), 0);
            (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
        };
        let end = || Stdio::from(line.try_clone().expect("a second handle"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
        command
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(end())
            .stdout(end())
            .stderr(end());
        // SAFETY: both are calls that may be made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            })
        };
        let child = command.spawn().expect("the program starts");
        let keyboard = File::from(ours);
        let mut screen = keyboard.try_clone().expect("a second handle");
        let (tell, drawn) = channel();
        std::thread::spawn(move || {
            let mut octets = vec![0; 65_536];
            while let Ok(count @ 1..) = screen.read(&mut octets) {
                if tell.send(octets[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { child, keyboard, line, drawn, seen: String::new() }
    }

    /// Waits until this was drawn after what was waited for before.
    #[track_caller]
    fn shows(&mut self, what: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(what) {
                self.seen.drain(..at + what.len());
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            let octets = self.drawn.recv_timeout(left);
            let octets = octets.unwrap_or_else(|_| panic!("`{what}` was not drawn: {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&octets));
        }
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("typed");
    }

    fn resize(&self, columns: u16, rows: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the descriptor is open, and the size is read by the call.
        assert_eq!(unsafe { libc::ioctl(self.keyboard.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }, 0);
    }

    /// Whether lines are edited and echoed, as shells have it.
    fn is_as_shells_have_it(&self) -> bool {
        // SAFETY: the descriptor is open, and the attributes are written by the call.
        let attributes = unsafe {
            let mut attributes = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(self.line.as_raw_fd(), &mut attributes), 0);
            attributes
        };
        attributes.c_lflag & (libc::ICANON | libc::ECHO) == libc::ICANON | libc::ECHO
    }

    /// It ends with this exit status, and the terminal is as it was.
    #[track_caller]
    fn ends(mut self, code: i32) {
        self.shows(SHOW_CURSOR);
        self.shows(LEAVE_SCREEN);
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("a child") {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.code(), Some(code));
        assert!(self.is_as_shells_have_it());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_is_shown_and_the_terminal_given_back() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let demo = Demo::start(Options { dns: any, admin: any, region_port: 0, interval: None }).await.expect("a demo");
    let admin = demo.daemon.admin.expect("an address").to_string();
    let used = tokio::task::spawn_blocking(move || {
        let arguments = ["top", "--admin", &admin];
        let mut top = Terminal::start(&arguments, (80, 24));
        top.shows(ENTER_SCREEN);
        top.shows("frankfurt");
        top.shows("quit");
        assert!(!top.is_as_shells_have_it(), "keys come as they are pressed");
        // Another size draws everything anew.
        top.resize(60, 20);
        top.shows("virginia");
        // A region is selected, its details are shown, and it is drained after a yes.
        top.types("j\r");
        top.shows("location");
        top.types("d");
        top.shows("sure?");
        top.types("y");
        let until = Instant::now() + PATIENCE;
        while !region_is_drained(&admin) {
            assert!(Instant::now() < until, "it was not said");
        }
        top.types("q");
        top.ends(0);

        let mut top = Terminal::start(&arguments, (80, 24));
        top.shows("seoul");
        top.types("\x03");
        top.ends(0);

        let mut top = Terminal::start(&arguments, (80, 24));
        top.shows("seoul");
        let pid = i32::try_from(top.child.id()).expect("a process id");
        // SAFETY: sends a signal to the child, which has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
        top.ends(0);
        admin
    });
    let admin = used.await.expect("used");
    // It outlives the server, says so, and finds it again.
    let mut top = Terminal::start(&["top", "--admin", &admin], (80, 24));
    let top = tokio::task::spawn_blocking(move || {
        top.shows("seoul");
        top
    });
    let mut top = top.await.expect("shown");
    demo.stop().await;
    let ended = tokio::task::spawn_blocking(move || {
        top.shows("ANSWER");
        top.shows("asking");
        top.types("q");
        top.ends(0);
    });
    ended.await.expect("ended");
}

/// The first region, by the server's own word.
fn region_is_drained(admin: &str) -> bool {
    let asked =
        Command::new(env!("CARGO_BIN_EXE_meridian")).args(["region", "show", "frankfurt", "--admin", admin]).output();
    String::from_utf8_lossy(&asked.expect("it starts").stdout).contains("override   drain")
}

#[test]
fn nobody_at_the_address_is_said_on_the_screen() {
    // Bound, never listening: nobody else can take the port meanwhile.
    let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bound");
    let admin = held.local_addr().expect("an address").as_socket().expect("IPv4").to_string();
    let mut top = Terminal::start(&["top", "--admin", &admin], (80, 24));
    top.shows("ANSWER");
    top.shows("refused");
    top.types("q");
    top.ends(0);
}

#[test]
fn without_a_terminal_it_says_what_to_take_instead() {
    let ran = Command::new(env!("CARGO_BIN_EXE_meridian")).arg("top").stdin(Stdio::null()).output().expect("it starts");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains("needs a terminal") && said.contains("live --json") && ran.stdout.is_empty(), "{said}");
}

/// Where all streams of a server are taken, it asks again and again instead, and shows what it hears.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_place_for_a_stream_it_asks_and_shows_what_changes() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let demo = Demo::start(Options { dns: any, admin: any, region_port: 0, interval: None }).await.expect("a demo");
    let address = demo.daemon.admin.expect("an address");
    let used = tokio::task::spawn_blocking(move || {
        let taken: Vec<TcpStream> = (0..8).map(|_| live_stream(address)).collect();
        let admin = address.to_string();
        let mut top = Terminal::start(&["top", "--admin", &admin], (80, 24));
        top.shows("frankfurt");
        let said = Command::new(env!("CARGO_BIN_EXE_meridian"))
            .args(["region", "drain", "frankfurt", "--admin", &admin])
            .output()
            .expect("it starts");
        assert!(said.status.success());
        top.shows("drain");
        top.types("q");
        top.ends(0);
        // It asked: nobody else gets a stream meanwhile.
        let refused = Command::new(env!("CARGO_BIN_EXE_meridian")).args(["live", "--admin", &admin]).output();
        let refused = String::from_utf8_lossy(&refused.expect("it starts").stderr).into_owned();
        assert!(refused.contains("8 live streams are open"), "{refused}");
        drop(taken);
    });
    used.await.expect("used");
    demo.stop().await;
}

/// A stream whose first octets are there. Somebody goes on to read it, or it would be cut off.
fn live_stream(admin: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(admin).expect("connected");
    write!(stream, "GET /v1/live HTTP/1.1\r\nHost: {admin}\r\n\r\n").expect("sent");
    let mut octets = [0; 65_536];
    let count = stream.read(&mut octets).expect("an answer");
    assert!(octets[..count].starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&octets[..count]));
    let mut reading = stream.try_clone().expect("a second handle");
    std::thread::spawn(move || while matches!(reading.read(&mut octets), Ok(1..)) {});
    stream
}
