//! Checks by a program of the operator's: its exit status is the verdict.
//!
//! It runs in a process group of its own, with nothing of this server's environment. Whatever ends the probe early
//! ends that group. What it says is read to the end, and its beginning is kept for the outcome.

use std::net::SocketAddr;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::model::ExecCheck;

use super::outcome::{Phase, ProbeError, Timings, excerpt};
use super::step::Clock;

/// Programs that run at once: each is a process, and may be a large one.
const MOST_AT_ONCE: usize = 32;
static PLACES: Semaphore = Semaphore::const_new(MOST_AT_ONCE);

/// So much of what a program says is kept, in octets.
const MOST_KEPT: usize = 1_024;
/// What a program left in its pipes is read within this time; what it left running may hold them open.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// `called`: the endpoint's host name, or its address as in a URL.
pub(super) async fn run(
    check: &ExecCheck,
    address: SocketAddr,
    called: &str,
    clock: Clock,
) -> Result<Timings, ProbeError> {
    let own = |why: String| ProbeError::Own(format!("{}: {why}", check.program));
    let place = clock.within(Phase::Exit, PLACES.acquire()).await;
    let _place = place.map_err(|_| own(format!("{MOST_AT_ONCE} programs are running already")))?;
    let ip = address.ip().to_string();
    let child = Command::new(&check.program)
        .args(check.arguments.iter().map(|argument| argument.replace("{address}", &ip)))
        .env_clear()
        .env("MERIDIAN_ADDRESS", &ip)
        .env("MERIDIAN_HOST", called)
        .env("MERIDIAN_TIMEOUT_MS", clock.timeout.as_millis().to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        // Whatever the reason, nobody was asked.
        .map_err(|error| own(format!("cannot be run: {error}")))?;
    let (status, said) = clock.within(Phase::Exit, ended(child)).await?.map_err(|error| own(error.to_string()))?;
    let timings = Timings { connect: clock.started.elapsed(), ..Timings::default() };
    if status.success() { Ok(timings) } else { Err(ProbeError::Answer(failed(status, &said))) }
}

/// Waits for the program's end. Its status, and what it said first: on stdout, else on stderr.
pub(in crate::control) async fn ended(mut child: Child) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let mut group = Group(child.id());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let status = {
        let reading = async { tokio::join!(read(stdout, &mut said), read(stderr, &mut complained)) };
        let mut reading = pin!(reading);
        tokio::select! {
            _ = &mut reading => child.wait().await?,
            status = child.wait() => {
                let _ = timeout(LAST_WORDS, reading).await;
                status?
            }
        }
    };
    // Its id is free to be given to others now.
    group.0 = None;
    Ok((status, if said.is_empty() { complained } else { said }))
}

/// Reads to the end, and keeps the first [`MOST_KEPT`] octets.
async fn read(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut octets = [0; 1_024];
    while let Ok(length @ 1..) = pipe.read(&mut octets).await {
        let room = MOST_KEPT - kept.len();
        kept.extend_from_slice(&octets[..length.min(room)]);
    }
}

/// The process group of a program that has not been waited for; it is killed when dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()).filter(|id| *id > 1) {
            // SAFETY: sends a signal. The group's leader is a child that was not waited for, so the id is still its own.
            unsafe { libc::kill(-id, libc::SIGKILL) };
        }
    }
}

/// `exit status 2: what it said first`.
pub(in crate::control) fn failed(status: ExitStatus, said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let text = text.trim();
    if text.is_empty() { status.to_string() } else { format!("{status}: {}", excerpt(text)) }
}
