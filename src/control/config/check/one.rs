//! One check: its kind, and how often and how patiently it is asked.

use std::time::Duration;

use super::{dns, exchange, exec, grpc, http, tls};
use crate::control::config::files::Sources;
use crate::control::config::reader::{Table, Value};
use crate::control::diagnostic::Diagnostic;
use crate::model::{Check, CheckKind};

/// Every kind of check, as the zone file calls it.
pub const KINDS: [&str; 10] = ["http", "https", "tcp", "udp", "tls", "dns", "grpc", "icmp", "push", "exec"];
/// How often the age of a heartbeat is looked at, unless the file says.
const PUSH_INTERVAL: Duration = Duration::from_secs(1);
/// 1 s to 24 h.
const MAX_AGES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3_600);

/// 100 ms to 1 h.
pub const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);
/// 10 ms to 60 s.
pub const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

/// Reads the one kind that is in the table.
pub fn read(table: &Table<'_>, sources: &Sources<'_>) -> Option<Check> {
    let probe = table.one_of(&KINDS)?;
    probe.table(format!("`check.{}`", probe.name), |t| {
        let is_push = probe.name == "push";
        let usual_interval = if is_push { PUSH_INTERVAL } else { Check::INTERVAL };
        let interval_key = t.get("interval");
        let interval = interval_key.and_then(|v| v.duration(INTERVALS)).unwrap_or(usual_interval);
        // Nobody is waited for.
        let timeout_key = if is_push { None } else { t.get("timeout") };
        let timeout = timeout_key.and_then(|v| v.duration(TIMEOUTS)).unwrap_or(Check::TIMEOUT);
        let fall = t.or("fall", Check::FALL, |v| v.small(1..=100));
        let rise = t.or("rise", Check::RISE, |v| v.small(1..=100));
        let grace = t.or("grace", Duration::ZERO, |v| v.duration(Duration::ZERO..=*INTERVALS.end()));
        if !is_push {
            warn_of_slow_verdicts(t, timeout_key.or(interval_key), timeout, interval * fall);
        }
        let kind = match probe.name {
            "tcp" => exchange::tcp(t),
            "udp" => exchange::udp(t),
            "tls" => tls::handshake(t, sources),
            "dns" => dns::read(t).map(CheckKind::Dns),
            "grpc" => grpc::read(t, sources).map(CheckKind::Grpc),
            "icmp" => Some(CheckKind::Icmp),
            "push" => push(t),
            "exec" => exec::read(t, sources).map(CheckKind::Exec),
            name => http::read(t, name == "https", sources).map(CheckKind::Http),
        };
        Some(Check { kind: kind?, interval, timeout, fall, rise, grace })
    })
}

/// Heartbeats that must arrive.
fn push(table: &Table<'_>) -> Option<CheckKind> {
    let max_age = table.require("max_age", "max_age = \"30s\"")?.duration(MAX_AGES)?;
    Some(CheckKind::Push { max_age })
}

fn warn_of_slow_verdicts(table: &Table<'_>, at: Option<Value<'_>>, timeout: Duration, verdict: Duration) {
    if timeout < verdict {
        return;
    }
    let span = at.map_or_else(|| table.span(), |value| value.span());
    let slow = Diagnostic::warning("a probe may take as long as `fall` of them should")
        .at(span, format!("a timeout of {timeout:?} against {verdict:?}, which is interval × fall"))
        .help("choose a timeout below the interval, so that an endpoint that hangs is found down in time");
    table.report().push(slow);
}
