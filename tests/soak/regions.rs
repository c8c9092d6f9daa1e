//! Endpoints on loopback, one per probed region: they answer probes and tell their load, hang, fail, refuse, and come
//! back.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::world::{PROBED, probed_address};

/// How an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    Good,
    /// Nothing listens.
    Gone,
    /// It accepts, and never answers.
    Hung,
    /// It says 500.
    Failing,
}

const MODES: [Mode; 4] = [Mode::Good, Mode::Gone, Mode::Hung, Mode::Failing];
/// How often an endpoint looks at its mode and for who has come.
const LOOK: Duration = Duration::from_millis(3);
/// Connections that are left hanging, at most.
const MOST_HUNG: usize = 64;

pub struct Endpoints {
    pub port: u16,
    modes: [Arc<AtomicU8>; PROBED],
}

impl Endpoints {
    /// One thread each, until the process ends.
    pub fn start() -> Endpoints {
        let (port, listeners) = one_port_for_all();
        let modes: [Arc<AtomicU8>; PROBED] = std::array::from_fn(|_| Arc::new(AtomicU8::new(Mode::Good as u8)));
        for (region, (listener, mode)) in listeners.into_iter().zip(&modes).enumerate() {
            let mode = mode.clone();
            std::thread::spawn(move || serve(region, listener, &mode));
        }
        Endpoints { port, modes }
    }

    pub fn set(&self, region: usize, mode: Mode) {
        self.modes[region].store(mode as u8, Ordering::SeqCst);
    }
}

fn one_port_for_all() -> (u16, Vec<TcpListener>) {
    for _ in 0..100 {
        let first = TcpListener::bind((probed_address(0), 0)).expect("a port");
        let port = first.local_addr().expect("an address").port();
        let others = (1..PROBED).map(|region| TcpListener::bind((probed_address(region), port)));
        if let Ok(others) = others.collect::<Result<Vec<_>, _>>() {
            return (port, std::iter::once(first).chain(others).collect());
        }
    }
    panic!("no port is free at all addresses");
}

fn serve(region: usize, listener: TcpListener, mode: &AtomicU8) {
    let at = listener.local_addr().expect("an address");
    let (mut listener, mut hung, began) = (Some(listener), Vec::new(), Instant::now());
    loop {
        let mode = MODES[usize::from(mode.load(Ordering::SeqCst))];
        if mode != Mode::Hung {
            hung.clear();
        }
        if mode == Mode::Gone {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(at).ok(); // or tried again: somebody may have the port for a moment
        }
        let accepted = listener.as_ref().and_then(accept);
        match (mode, accepted) {
            (Mode::Hung, Some(stream)) if hung.len() < MOST_HUNG => hung.push(stream),
            (Mode::Good | Mode::Failing, Some(stream)) => answer(stream, mode, load(region, began)),
            (_, None) => std::thread::sleep(LOOK),
            _ => {}
        }
    }
}

fn accept(listener: &TcpListener) -> Option<TcpStream> {
    listener.set_nonblocking(true).expect("it can wait for nobody");
    listener.accept().ok().map(|(stream, _)| stream)
}

/// Goes up and down within minutes, in each region at another time, and stays below its capacity.
fn load(region: usize, began: Instant) -> f64 {
    500.0 + 350.0 * (began.elapsed().as_secs_f64() / 40.0 + region as f64).sin()
}

/// Answers one request. Who says nothing, as a TCP check, or does not listen, is let go.
fn answer(mut stream: TcpStream, mode: Mode, load: f64) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
    let (mut request, mut chunk) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(length @ 1..) if request.len() < 8_192 => request.extend_from_slice(&chunk[..length]),
            _ => return,
        }
    }
    let status = if mode == Mode::Good { "200 OK" } else { "500 Internal Server Error" };
    let body = match request.starts_with(b"GET /load") {
        true => format!("{{\"load\": {load:.1}, \"capacity\": 1000}}"),
        false => "ok".to_owned(),
    };
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
}
