//! `meridian demo`: starts the demo and tells what to try, then every change of a region.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::Args;

use crate::control::config::Log;
use crate::demo::{self, Options};
use crate::model::{RegionId, ServiceId, Ttl};
use crate::state::Snapshot;
use crate::steer::decide::{Seen, decide};
use crate::steer::figure::{percent, rounded};
use crate::steer::health::effective::{EffectiveState, Override, RegionState};

use super::arguments::LogLevel;
use super::log;
use super::output::{self, Failure, Outcome};
use super::serve::{Signals, run_to_end};

/// Run five regions and their DNS on this machine, with everything embedded
///
/// DNS on 127.0.0.1:5300, the admin page on 127.0.0.1:8053, and the regions' own servers on
/// 127.200.CC.1:8080. The network 127.CC.0.0/16 plays the country with telephone code CC, so that `dig -b
/// 127.82.0.1` is a client in Korea. Prints what to try.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian demo
  meridian demo --dns 127.0.0.1:5301 --admin 127.0.0.1:8054 --region-port 8081")]
pub struct Demo {
    /// Where to answer DNS, over UDP and TCP
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = demo::DNS, value_parser = address)]
    dns: SocketAddr,
    /// Where the admin API and its page are
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = demo::ADMIN, value_parser = loopback)]
    admin: SocketAddr,
    /// The port of the regions' own servers
    #[arg(long, value_name = "PORT", default_value_t = demo::REGION_PORT)]
    region_port: u16,
}

impl Default for Demo {
    fn default() -> Demo {
        Demo { dns: demo::DNS, admin: demo::ADMIN, region_port: demo::REGION_PORT }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "not an address and port such as 127.0.0.1:5301".to_owned())
}

/// The demo's admin API has no token: nobody else may reach it.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address = address(text)?;
    if address.ip().is_loopback() { Ok(address) } else { Err("the demo's admin API is for this machine alone".into()) }
}

impl Demo {
    pub fn run(self, log: Option<LogLevel>) -> Outcome {
        log::start(log, Log::default(), "error")?;
        let options = Options { dns: self.dns, admin: self.admin, region_port: self.region_port, interval: None };
        run_to_end(run(options))
    }
}

async fn run(options: Options) -> Outcome {
    let mut signals = Signals::new()?;
    output::print("Meridian's demo: five regions and their DNS, all on this machine. Probing the regions …\n\n")?;
    let demo = tokio::select! {
        started = demo::Demo::start(options) => started.map_err(|why| Failure::all(why).help(OTHER_PORTS))?,
        () = signals.stop() => return Ok(()),
    };
    let mut watch = Watch::new(&demo);
    output::print(&welcome(&demo))?;
    loop {
        tokio::select! {
            // SIGHUP as well: the terminal has gone, and there is nothing to read anew.
            _ = signals.next() => break,
            () = tokio::time::sleep(LOOK) => {
                let changes = watch.changes(&demo.daemon.shared.load());
                if !changes.is_empty() {
                    output::print_styled(&changes)?;
                }
            }
        }
    }
    demo.stop().await;
    output::print("\nStopped.\n")
}

/// The time between two looks for changes.
const LOOK: Duration = Duration::from_millis(100);

const OTHER_PORTS: &str = "if another demo or program holds a port, stop it, or choose other ports: \
    meridian demo --dns 127.0.0.1:5301 --admin 127.0.0.1:8054 --region-port 8081";

fn welcome(demo: &demo::Demo) -> String {
    let dns = demo.daemon.dns.first().copied().unwrap_or(demo::DNS);
    let admin = demo.daemon.admin.unwrap_or(demo::ADMIN);
    let snapshot = demo.daemon.shared.load();
    let mut text =
        format!("  DNS     {dns} (UDP and TCP), zone gslb.example, service www\n  admin   http://{admin}/\n\n");
    for (balancer, state) in demo.balancers.iter().zip(&snapshot.states) {
        let effective = paint(state.effective);
        let _ = writeln!(text, "  {:10} http://{:18} {effective}", balancer.name, balancer.address.to_string() + "/");
    }
    text.push_str(&to_try(dns, admin, demo.balancers.first().map_or(admin, |first| first.address)));
    text
}

/// Commands as they can be pasted: with the ports of this run, and this program's own path.
fn to_try(dns: SocketAddr, admin: SocketAddr, region: SocketAddr) -> String {
    let dig = format!("@{} -p {}", dns.ip(), dns.port());
    let program = std::env::args().next().unwrap_or_else(|| "meridian".into());
    let at = if admin == demo::ADMIN { String::new() } else { format!(" --admin http://{admin}") };
    format!(
        "
Try, in another terminal:

  dig +short -b 127.82.0.1 {dig} www.gslb.example      # a client in Korea
  dig +short -b 127.49.0.1 {dig} www.gslb.example      # in Germany; 1 US, 55 Brazil, 61 Australia, 91 India …
  dig {dig} www.gslb.example +subnet=127.82.0.0/24     # a resolver that says where its client is (ECS)
  curl http://{region}/                           # that region's own balancer answers
  curl -X POST http://{region}/break              # its health check fails: watch below, and dig again
  curl -X POST http://{region}/repair
  curl -X POST http://{region}/load/40000         # twice its capacity: once that has lasted for 75 s, its clients move
  {program} explain www.gslb.example --client 127.82.0.1 --by-source --live{at}
  {program} region drain seoul{at}                # then: region auto seoul

Ctrl-C stops it. Changes, in seconds since now:

"
    )
}

/// Notices what becomes of regions, and of clients near them.
struct Watch {
    began: Instant,
    generation: u64,
    seen: Vec<Seeing>,
}

/// The facts told of a region when it changes.
#[derive(Clone, Copy, PartialEq)]
struct Seeing {
    effective: EffectiveState,
    operator_override: Override,
    /// The region that a client in its country gets.
    neighbour_gets: Option<RegionId>,
}

impl Watch {
    fn new(demo: &demo::Demo) -> Watch {
        let snapshot = demo.daemon.shared.load();
        Watch { began: Instant::now(), generation: snapshot.generation, seen: look(&snapshot) }
    }

    /// A line for each region that changed; empty where none did.
    fn changes(&mut self, snapshot: &Snapshot) -> String {
        let mut text = String::new();
        if snapshot.generation == self.generation {
            return text;
        }
        let now = look(snapshot);
        let pairs = self.seen.iter().zip(&now);
        for (id, _) in snapshot.model.region_ids().zip(pairs).filter(|(_, (old, new))| old != new) {
            let _ = writeln!(text, "{:8.1}  {}", self.began.elapsed().as_secs_f64(), change(snapshot, id));
        }
        self.generation = snapshot.generation;
        self.seen = now;
        text
    }
}

fn look(snapshot: &Snapshot) -> Vec<Seeing> {
    let look = |(id, state): (RegionId, &RegionState)| Seeing {
        effective: state.effective,
        operator_override: state.operator_override,
        neighbour_gets: neighbour_of(snapshot, id)
            .and_then(|client| answer(snapshot, client))
            .map(|(region, _)| region),
    };
    snapshot.model.region_ids().zip(&snapshot.states).map(look).collect()
}

/// A region's state now, the reason, and what its neighbours are answered.
fn change(snapshot: &Snapshot, id: RegionId) -> String {
    let Some(state) = snapshot.states.get(id.index()) else { return String::new() };
    let probe = state.endpoints.first().map(|endpoint| endpoint.last_probe.clone()).unwrap_or_default();
    let mut why = match state.operator_override {
        Override::Auto => probe,
        said => format!("override {}", said.as_str()),
    };
    if let Some(used) = state.load.last.and_then(|figure| figure.utilisation()) {
        let _ = write!(why, ", {} used, price {} ms", percent(used, 0), rounded(state.price_ms, 0));
    }
    let mut text = format!("{} is {} ({why})", snapshot.model.region(id).name, paint(state.effective));
    if let Some(client) = neighbour_of(snapshot, id)
        && let Some((region, ttl)) = answer(snapshot, client)
    {
        let _ = write!(text, "; {client} gets {}, TTL {}", snapshot.model.region(region).name, ttl.as_secs());
    }
    text
}

/// A client in the region's country: the region at 127.200.CC.1 is in that of 127.CC.0.0/16.
fn neighbour_of(snapshot: &Snapshot, id: RegionId) -> Option<IpAddr> {
    let label = snapshot.model.region(id).endpoints.first()?.label();
    let [_, _, code, _] = label.parse::<Ipv4Addr>().ok()?.octets();
    Some(Ipv4Addr::new(127, code, 0, 1).into())
}

/// The region and TTL a client of the first service gets.
fn answer(snapshot: &Snapshot, client: IpAddr) -> Option<(RegionId, Ttl)> {
    let decision = decide(&snapshot.view(), ServiceId(0), Seen::Source(client))?;
    Some((decision.region, decision.ttl))
}

fn paint(effective: EffectiveState) -> String {
    let word = effective.as_str();
    let color = match effective {
        EffectiveState::Up => 32,
        EffectiveState::Suspect | EffectiveState::Unknown | EffectiveState::Drain => 33,
        EffectiveState::Down => 31,
    };
    if output::color_on_stdout() { format!("\x1b[{color}m{word}\x1b[0m") } else { word.to_owned() }
}
