//! Questions at a fixed rate, whatever becomes of the answers: how long each waits over a socket.
//!
//! One thread sends what is due and takes what has come, by turns and without ever waiting, so it keeps a core busy.
//! A question's wait begins when it is handed to the kernel: what held up this thread before does not count.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Datagrams in one call.
const BATCH: usize = 32;
/// Of a reply only the header is looked at.
const HEADER: usize = 12;
/// What has not come so long after the last question is lost.
const PATIENCE: Duration = Duration::from_millis(500);
/// Replies that wait to be taken, in octets: those of a tenth of a second and more.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The waits of a round.
pub struct Waits {
    /// Ascending.
    us: Vec<f64>,
    pub lost: usize,
}

impl Waits {
    pub fn quantile_us(&self, part: f64) -> f64 {
        let last = self.us.len().saturating_sub(1);
        self.us.get((last as f64 * part) as usize).copied().unwrap_or(f64::NAN)
    }
}

/// Asks so many questions per second for a round. `next` writes one into an empty buffer; its ID is set here.
pub fn ask(to: SocketAddr, rate: u32, round: Duration, mut next: impl FnMut(&mut Vec<u8>)) -> Waits {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(to).expect("connected");
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER); // the system may allow less
    let total = (f64::from(rate) * round.as_secs_f64()) as usize;
    let mut asked = vec![None; 1 << 16];
    let (mut us, mut sent, began) = (Vec::with_capacity(total), 0, Instant::now());
    let mut batch: Vec<Vec<u8>> = Vec::new();
    let mut last = began;
    while us.len() < total && (sent < total || last.elapsed() < PATIENCE) {
        let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as usize;
        let count = due.min(total).saturating_sub(sent).min(BATCH);
        batch.resize_with(count, Vec::new);
        for (number, query) in (sent..).zip(&mut batch) {
            query.clear();
            next(query);
            query[..2].copy_from_slice(&(number as u16).to_be_bytes());
        }
        if count > 0 {
            last = Instant::now();
            (sent..sent + count).for_each(|number| asked[number % (1 << 16)] = Some(last));
            sent += count;
            send(&socket, &mut batch);
        }
        receive(&socket, |id| {
            us.extend(asked[usize::from(id)].take().map(|at: Instant| at.elapsed().as_secs_f64() * 1e6))
        });
    }
    us.sort_by(f64::total_cmp);
    Waits { lost: total - us.len(), us }
}

fn send(socket: &UdpSocket, queries: &mut [Vec<u8>]) {
    let mut parts: Vec<libc::iovec> = queries
        .iter_mut()
        .map(|query| libc::iovec { iov_base: query.as_mut_ptr().cast(), iov_len: query.len() })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = parts.iter_mut().map(message).collect();
    let mut from = 0;
    while from < messages.len() {
        let left = &mut messages[from..];
        // SAFETY: as many headers as are said, each with one part that points into a query that outlives the call.
        let count = unsafe { libc::sendmmsg(socket.as_raw_fd(), left.as_mut_ptr(), left.len() as u32, 0) };
        assert!(count > 0, "sending: {}", std::io::Error::last_os_error());
        from += count as usize;
    }
}

/// Takes what is there, and tells the ID of each answer with records.
fn receive(socket: &UdpSocket, mut took: impl FnMut(u16)) {
    let mut headers = [[0_u8; HEADER]; BATCH];
    let mut parts =
        headers.each_mut().map(|header| libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: HEADER });
    let mut messages = parts.each_mut().map(message);
    let (fd, none) = (socket.as_raw_fd(), std::ptr::null_mut());
    // SAFETY: as many headers as are said, each with one part that points into a buffer of its length.
    let count = unsafe { libc::recvmmsg(fd, messages.as_mut_ptr(), BATCH as u32, libc::MSG_DONTWAIT, none) };
    for [high, low, _, flags, _, _, _, answers, ..] in headers.iter().take(usize::try_from(count).unwrap_or(0)) {
        assert!(flags & 15 == 0 && *answers > 0, "an answer with records");
        took(u16::from_be_bytes([*high, *low]));
    }
}

fn message(part: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all-zero headers are valid: no name, no parts, no control data.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (part, 1);
    message
}
