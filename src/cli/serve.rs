//! `meridian serve`: the server, until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::control::config::{self, Config, LogFormat};
use crate::control::memory;
use crate::control::reload::Prepared;
use crate::daemon::Daemon;
use crate::daemon::confinement::Confinement;
use crate::daemon::handover::{Handed, Old};
use crate::daemon::privileged::Privileged;

use super::arguments::{ConfigFile, LogLevel};
use super::log;
use super::output::{Failure, Outcome};
use super::source::FileSource;

/// Answer DNS queries as the configuration says
///
/// Loads everything, opens the sockets, probes every endpoint once, then answers. With any mistake in the
/// files it shows them all and ends; a bad GeoIP database alone is stood in for by its last good copy, or done
/// without, unless `geoip_required = true`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian serve --config /etc/meridian/meridian.toml
  meridian serve --replace -c meridian.toml          an upgrade: the new program in the old one's place
  meridian serve -c meridian.toml --log info,meridian::control::probe=debug
  meridian serve -c meridian.toml --log-format json  a line of JSON for each thing that happens

Signals:
  SIGHUP            reload: the new configuration whole, or, with any mistake, the old one stays
  SIGTERM, SIGINT   stop, after `stop_delay`; a second one ends that wait

Port 53 takes a privilege: with systemd, AmbientCapabilities=CAP_NET_BIND_SERVICE.")]
pub struct Serve {
    #[command(flatten)]
    file: ConfigFile,
    /// Take the place of the server that runs now, with its sockets: no query is lost
    ///
    /// That is the one with the same state directory. It answers until this one does, and goes on where this one
    /// fails. Without one, this is a start as any other.
    #[arg(long)]
    replace: bool,
    /// The form of the log's lines: text, or json; default: `log.format` of the configuration, else text
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

impl Serve {
    pub fn run(self, log: Option<LogLevel>) -> Outcome {
        // First of all: a SIGHUP while large databases are read must not end the process.
        hangups(libc::SIG_BLOCK);
        memory::keep_large_blocks_apart();
        let mut settings = config::log_settings(&self.file.config);
        settings.format = self.log_format.or(settings.format);
        log::start(log, settings, "info")?;
        let source = FileSource::new(&self.file.config);
        // Before there are threads: each has its own privileges and bounds.
        let privileged = Privileged::apart().map_err(|error| Failure::new(format!("cannot start: {error}")))?;
        let prepared = source.prepare_to_serve()?;
        let confinement = Confinement::begin(&prepared.loaded.config);
        run_to_end(serve(source, prepared, privileged.confined(confinement), self.replace))
    }
}

async fn serve(source: FileSource, prepared: Prepared, privileged: Privileged, replace: bool) -> Outcome {
    let mut signals = Signals::new()?;
    hangups(libc::SIG_UNBLOCK);
    let (handed, old) = match replace {
        true => place_of_another(&prepared.loaded.config)?,
        false => (Handed::activated(&prepared.loaded.config.listen), None),
    };
    let daemon = tokio::select! {
        started = Daemon::start_replacing(Arc::new(source), prepared, privileged, handed) => started.map_err(Failure::all)?,
        () = signals.stop() => return Ok(()),
    };
    if let Some(Err(error)) = old.map(Old::may_end) {
        info!("the server before has ended by itself: {error}");
    }
    if run_until_the_end(&daemon, &mut signals).await == Ended::Replaced {
        daemon.end_replaced().await;
        return Ok(());
    }
    let delay = daemon.leave();
    if !delay.is_zero() {
        info!(
            delay_s = delay.as_secs_f64(),
            "stopping; /ready says no, and answers go on until then or another signal"
        );
        _ = tokio::time::timeout(delay, signals.stop()).await;
    }
    info!("stopping");
    daemon.stop().await;
    Ok(())
}

/// The sockets of the server that runs now, and how to tell it that this one answers.
fn place_of_another(config: &Config) -> Outcome<(Handed, Option<Old>)> {
    if !config.listen.xdp.is_empty() {
        return Err(Failure::new("`listen.xdp` takes a restart: its interfaces cannot be handed over"));
    }
    match Handed::ask(&config.state).map_err(Failure::new)? {
        Some((handed, old)) => Ok((handed, Some(old))),
        None => {
            info!(state = %config.state.display(), "no server runs there that could be replaced: starting as usual");
            Ok((Handed::activated(&config.listen), None))
        }
    }
}

/// The reason why a server's work ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Stopped,
    /// Another one answers already.
    Replaced,
}

/// Reloads when it is told to, until there is an end.
async fn run_until_the_end(daemon: &Daemon, signals: &mut Signals) -> Ended {
    // One future all along: a reload must not break off a handover.
    let mut replaced = std::pin::pin!(daemon.replaced());
    loop {
        tokio::select! {
            signalled = signals.next() => if signalled == Signalled::Stop { return Ended::Stopped },
            () = &mut replaced => return Ended::Replaced,
        }
        tokio::select! {
            () = signals.stop() => return Ended::Stopped,
            () = &mut replaced => return Ended::Replaced,
            // How it went is in the log.
            _ = daemon.reload() => {}
        }
    }
}

/// Has the calling thread hold SIGHUP back (`SIG_BLOCK`), or take what has come meanwhile (`SIG_UNBLOCK`).
fn hangups(how: libc::c_int) {
    // SAFETY: zero is a valid set, and the calls read and write that one alone, which outlives them.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGHUP);
        libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut());
    }
}

/// The signals that the system sends this process.
pub struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub fn new() -> Outcome<Signals> {
        let take = |kind| signal(kind).map_err(|error| Failure::new(format!("cannot take signals: {error}")));
        Ok(Signals {
            hangup: take(SignalKind::hangup())?,
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
        })
    }

    /// Completes at SIGINT or SIGTERM.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Completes at any of the three.
    pub async fn next(&mut self) -> Signalled {
        tokio::select! {
            _ = self.hangup.recv() => Signalled::Reload,
            _ = self.interrupt.recv() => Signalled::Stop,
            _ = self.terminate.recv() => Signalled::Stop,
        }
    }
}

/// The meaning of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled {
    Reload,
    Stop,
}

/// The time that work still under way may take after the command has ended.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Runs a server's future on a runtime of its own.
pub fn run_to_end(server: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(server);
    runtime.shutdown_timeout(LAST_WORK);
    outcome
}
