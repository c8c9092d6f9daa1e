//! Counters and the snapshot in the text format that Prometheus scrapes (OpenMetrics 1.0).
//!
//! Nothing is kept for it: each scrape reads the counters and the snapshot there are. Series are
//! bounded by what is configured: regions (at most 1,024), services with their regions (at most 2,000 pairs) and fixed sets of
//! words, never by what clients ask.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use crate::control::answered::Counts;
use crate::control::cluster::status::ClusterStatus;
use crate::control::databases::Serves;
use crate::control::jobs::figures::JobFigures;
use crate::control::probe::times::{PROBE_BOUNDS_S, ProbeTimes};
use crate::control::readiness::NotReady;
use crate::control::troubles::{StateName, TroubleKind};
use crate::control::vitals::{Pulse, TaskKind};
use crate::query::Transport;
use crate::query::counters::{
    AnswerTimes, DropReason, Event, Loss, OTHER_RCODE, QuerySink, QueryTypeGroup, TIME_BOUNDS_S, TcpLimit, TcpWait,
    Totals,
};
use crate::query::demand::DemandTotals;
use crate::query::transport::xdp::{Statistics, Tally};
use crate::state::Snapshot;
use crate::steer::health::effective::{EffectiveState, Override, RegionState};
use crate::steer::health::verdict::Verdict;
use crate::steer::load::feed::Implausible;
use crate::steer::load::state::{Heard, LoadFigure};
use crate::steer::policy::eligible::ServiceCondition;

use super::context::Context;
use super::latency::counts;
use super::node::node;
use super::places::PlaceCounts;
use super::planning::planning;
use super::probing::Probing;
use super::receivers::{ReceiverStatus, receivers};
use super::status::{self, DatabaseStatus};

/// What [`text`] is, to be told to whoever gets it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics now.
pub fn text(context: &Arc<Context>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("meridian");
    registry.register_collector(Box::new(Scrape(context.clone())));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// The name of an extended RCODE in IANA's registry; `other` for those never sent.
pub fn rcode_name(rcode: u16) -> &'static str {
    const NAMES: [&str; 12] = [
        "NOERROR",
        "FORMERR",
        "SERVFAIL",
        "NXDOMAIN",
        "NOTIMP",
        "REFUSED",
        "YXDOMAIN",
        "YXRRSET",
        "NXRRSET",
        "NOTAUTH",
        "NOTZONE",
        "DSOTYPENI",
    ];
    match rcode {
        16 => "BADVERS",
        _ => NAMES.get(usize::from(rcode)).copied().unwrap_or("other"),
    }
}

struct Scrape(Arc<Context>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").finish_non_exhaustive()
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = Out(encoder);
        let snapshot = self.0.shared.load_full();
        queries(&mut out, &self.0.counters.total())?;
        query_logs(&mut out, &self.0.counters.total())?;
        demand(&mut out, &self.0.counters.demand_totals())?;
        answered(&mut out, &self.0)?;
        sockets(&mut out, &self.0.counters.total())?;
        admin_sockets(&mut out, self.0.places.counts())?;
        probes(&mut out, &self.0.probing)?;
        probe_times(&mut out, self.0.vitals.probes())?;
        vantages(&mut out, &snapshot)?;
        past_the_sockets(&mut out, &self.0.xdp)?;
        let regions = Regions::new(&snapshot);
        conditions(&mut out, &regions)?;
        stability(&mut out, &regions)?;
        drains(&mut out, &regions, &snapshot, Instant::now())?;
        loads(&mut out, &regions, Instant::now())?;
        plans(&mut out, &regions, &snapshot, Instant::now())?;
        jobs(&mut out, self.0.vitals.jobs(), Instant::now())?;
        whole(&mut out, &snapshot)?;
        measured(&mut out, &self.0, &snapshot)?;
        databases(&mut out, &status::databases(&self.0, &snapshot))?;
        wellbeing(&mut out, &self.0)?;
        readiness(&mut out, &self.0)?;
        if let Some(status) = super::cluster::cluster(&self.0) {
            cluster(&mut out, &status)?;
        }
        let told_of = [false, true].map(|commands| receivers(&self.0.receivers, commands));
        told(&mut out, &told_of.concat())?;
        process(&mut out, &self.0, &snapshot)
    }
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Writes metrics, each with its help and type and all its series.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn counter<'a, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'a>, V)>,
    ) -> fmt::Result {
        let none: Option<&Exemplar<Labels<'_>, f64>> = None;
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in series {
            match labels.is_empty() {
                true => metric.encode_counter(&value, none)?,
                false => metric.encode_family(&labels)?.encode_counter(&value, none)?,
            }
        }
        Ok(())
    }

    fn gauge<'a, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'a>, V)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            match labels.is_empty() {
                true => metric.encode_gauge(&value)?,
                false => metric.encode_family(&labels)?.encode_gauge(&value)?,
            }
        }
        Ok(())
    }
}

impl Out<'_> {
    /// Histograms, each with its sum and its buckets: the greatest value of each, ascending, and how many are in it.
    fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'a>, (f64, Vec<(f64, u64)>))>,
    ) -> fmt::Result {
        let none: Option<&HashMap<usize, Exemplar<Labels<'_>, f64>>> = None;
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, (sum, buckets)) in series {
            let count = buckets.iter().map(|(_, count)| count).sum();
            match labels.is_empty() {
                true => metric.encode_histogram(sum, count, &buckets, none)?,
                false => metric.encode_family(&labels)?.encode_histogram(sum, count, &buckets, none)?,
            }
        }
        Ok(())
    }
}

/// One series without labels.
fn only<'a, V>(value: V) -> [(Labels<'a>, V); 1] {
    [(Vec::new(), value)]
}

/// A counter per word of a label.
fn by<'a, const N: usize>(
    totals: &Totals,
    label: &'static str,
    events: [(&'a str, Event); N],
) -> [(Labels<'a>, u64); N] {
    events.map(|(word, event)| (vec![(label, word)], totals.get(event)))
}

fn queries(out: &mut Out<'_>, totals: &Totals) -> fmt::Result {
    let transports = [("udp", Event::Query(Transport::Udp)), ("tcp", Event::Query(Transport::Tcp))];
    out.counter("queries", "Messages received, by transport", by(totals, "transport", transports))?;
    let responses = responses(totals);
    let responses = responses.iter().map(|(labels, count)| (labels.to_vec(), *count));
    out.counter("responses", "Responses sent, by transport, type asked for and response code", responses)?;
    out.counter("responses_truncated", "Responses with TC set", only(totals.get(Event::Truncated)))?;
    let by_rate = totals.get(Event::RateTruncated);
    out.counter(
        "rate_truncated",
        "Truncated responses that are empty: their network had as many as it may have",
        only(by_rate),
    )?;
    let types = QueryTypeGroup::ALL.into_iter().filter(|(group, _)| *group != QueryTypeGroup::None);
    let types = types.map(|(group, name)| (vec![("qtype", name)], totals.questions(group)));
    out.counter("questions", "Well-formed questions, by what they ask for", types)?;
    out.counter("ecs_queries", "Queries with a client subnet (RFC 7871)", only(totals.get(Event::Ecs)))?;
    let dropped = [
        ("response", Event::Dropped(DropReason::Response)),
        ("short", Event::Dropped(DropReason::Short)),
        ("source_port", Event::Dropped(DropReason::SourcePort)),
        ("long", Event::Dropped(DropReason::Long)),
        ("header", Event::Dropped(DropReason::Header)),
        ("checksum", Event::Dropped(DropReason::Checksum)),
        ("rate", Event::Dropped(DropReason::Rate)),
    ];
    out.counter("dropped", "Packets that got no response, by reason", by(totals, "reason", dropped))
}

/// Those that there were; of what was asked for at all, also the usual response codes that there were not, so that the
/// first of them is an increase. All RCODEs without a name add up to `other`.
fn responses(totals: &Totals) -> Vec<([(&'static str, &'static str); 3], u64)> {
    const USUAL: [&str; 4] = ["NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED"];
    let mut all = Vec::new();
    for (transport, over) in [(Transport::Udp, "udp"), (Transport::Tcp, "tcp")] {
        for (group, qtype) in QueryTypeGroup::ALL {
            let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
            for rcode in 0..=OTHER_RCODE {
                let count = totals.get(Event::Response(transport, group, rcode));
                *counts.entry(rcode_name(rcode)).or_default() += count;
            }
            if counts.values().all(|count| *count == 0) {
                continue;
            }
            counts.retain(|name, count| *count > 0 || USUAL.contains(name));
            let labels = |rcode| [("transport", over), ("qtype", qtype), ("rcode", rcode)];
            all.extend(counts.into_iter().map(|(rcode, count)| (labels(rcode), count)));
        }
    }
    all
}

/// What was written down of queries.
fn query_logs(out: &mut Out<'_>, totals: &Totals) -> fmt::Result {
    let lost = |sink| {
        [("rate", Loss::Rate), ("queue", Loss::Queue), ("write", Loss::Write)]
            .map(|(word, loss)| (word, Event::Unrecorded(sink, loss)))
    };
    let lines = totals.get(Event::Recorded(QuerySink::QueryLog));
    out.counter("query_log_lines", "Lines written to the query log", only(lines))?;
    let dropped = by(totals, "reason", lost(QuerySink::QueryLog));
    out.counter("query_log_dropped", "Queries that should be in the query log and are not, by reason", dropped)?;
    let told = totals.get(Event::Recorded(QuerySink::Dnstap));
    out.counter("dnstap_queries", "Queries that the reader of dnstap was told of", only(told))?;
    let [_, queue, write] = lost(QuerySink::Dnstap);
    let dropped = by(totals, "reason", [queue, write]);
    out.counter("dnstap_dropped", "Queries that the reader of dnstap should have been told of, by reason", dropped)?;
    let connected = totals.get(Event::DnstapConnected);
    out.counter("dnstap_connections", "Connections made to the reader of dnstap", only(connected))?;
    let is_up = connected.saturating_sub(totals.get(Event::DnstapLost));
    out.gauge("dnstap_connected", "1 while the reader of dnstap is connected; 0 otherwise", only(is_up))
}

fn demand(out: &mut Out<'_>, totals: &DemandTotals) -> fmt::Result {
    out.counter("service_answers", "Answers that services gave", only(totals.answers))?;
    out.counter("demand_samples", "Answers sampled to estimate demand; each stands for several", only(totals.samples))?;
    out.counter("demand_lost", "Answers that no sample stands for: samples came too fast", only(totals.lost))
}

/// Where services sent their clients, and how long messages were here.
fn answered(out: &mut Out<'_>, context: &Context) -> fmt::Result {
    let Counts { pairs, other, .. } = context.answered.counts();
    let series = pairs
        .iter()
        .map(|((service, region), &count)| (vec![("service", service.as_str()), ("region", region.as_str())], count));
    let rest = (vec![("service", "other"), ("region", "other")], other);
    out.counter("answers", "Answers by service and region, from samples that stand for all", series.chain([rest]))?;
    let AnswerTimes { buckets, sum_s } = context.counters.times();
    let bounds = TIME_BOUNDS_S.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(buckets).collect();
    out.histogram(
        "answer_seconds",
        "Time from receiving a message over UDP until its answer had been sent; of one batch in sixteen",
        only((sum_s, buckets)),
    )
}

fn past_the_sockets(out: &mut Out<'_>, statistics: &Statistics) -> fmt::Result {
    let tallies: Vec<(Tally<'_>, String)> =
        statistics.tallies().map(|tally| (tally, tally.queue.to_string())).collect();
    fn labels<'a>((tally, queue): &'a (Tally<'_>, String)) -> Labels<'a> {
        vec![("interface", tally.interface), ("queue", queue)]
    }
    let received = tallies.iter().map(|tally| (labels(tally), tally.0.received));
    out.counter("xdp_packets", "Packets received past the kernel's stack", received)?;
    let lost = tallies.iter().flat_map(|tally| {
        let lost = tally.0.lost;
        let reasons = [
            ("dropped", lost.received_dropped),
            ("ring_full", lost.ring_full),
            ("no_frame", lost.no_frame),
            ("invalid", lost.invalid),
        ];
        reasons.map(|(reason, count)| ([labels(tally), vec![("reason", reason)]].concat(), count))
    });
    out.counter("xdp_lost", "What the kernel could not receive or send past its stack, by reason", lost)
}

fn sockets(out: &mut Out<'_>, totals: &Totals) -> fmt::Result {
    let accepted = totals.get(Event::TcpAccepted);
    out.counter("tcp_connections_accepted", "TCP connections let in", only(accepted))?;
    let limits = [("total", Event::TcpYielded(TcpLimit::Total)), ("network", Event::TcpYielded(TcpLimit::Network))];
    out.counter(
        "tcp_connections_yielded",
        "TCP connections closed to let another in, by the limit that one met",
        by(totals, "limit", limits),
    )?;
    let waits = [
        ("idle", Event::TcpTimeout(TcpWait::Idle)),
        ("message", Event::TcpTimeout(TcpWait::Message)),
        ("write", Event::TcpTimeout(TcpWait::Write)),
    ];
    out.counter("tcp_timeouts", "TCP connections closed for being slow, by what at", by(totals, "wait", waits))?;
    let unsent = [("udp", Event::SendFailed(Transport::Udp)), ("tcp", Event::SendFailed(Transport::Tcp))];
    out.counter("send_failures", "Responses that could not be sent, by transport", by(totals, "transport", unsent))?;
    let errors = [("udp", Event::SocketError(Transport::Udp)), ("tcp", Event::SocketError(Transport::Tcp))];
    out.counter(
        "socket_errors",
        "Failures to receive or accept that are no client's doing, by transport",
        by(totals, "transport", errors),
    )?;
    out.counter("panics", "Panics while answering: each is a bug", only(totals.get(Event::Panicked)))
}

fn admin_sockets(out: &mut Out<'_>, counts: PlaceCounts) -> fmt::Result {
    let states = [("waiting", counts.waiting), ("working", counts.working)];
    out.gauge(
        "admin_connections",
        "Connections to the admin API: those that wait for their clients, and those whose request is worked on",
        states.map(|(word, count)| (vec![("state", word)], count)),
    )?;
    out.counter(
        "admin_connections_yielded",
        "Connections to the admin API closed while they waited for their clients, to let another in",
        only(counts.yielded),
    )
}

fn probes(out: &mut Out<'_>, probing: &Probing) -> fmt::Result {
    let counts = probing.budget.counts();
    let connections = [("held", counts.held), ("limit", counts.connections)];
    out.gauge(
        "probe_connections",
        "Connections that probes hold, and may hold",
        connections.map(|(word, count)| (vec![("of", word)], count)),
    )?;
    out.gauge("probes_waiting", "Probes that are due and wait for a connection", only(counts.waiting))?;
    out.counter("probes_delayed", "Probes that had to wait for a connection", only(counts.delayed))?;
    let cut_off = probing.reachability.cut_off();
    out.gauge(
        "prober_cut_off",
        "1 while this server reaches nobody by that family, so that failures count against nobody; 0 otherwise",
        [("ipv4", false), ("ipv6", true)]
            .map(|(word, ipv6)| (vec![("family", word)], u32::from(cut_off.iter().any(|of| of.ipv6 == ipv6)))),
    )?;
    let faults = [("probe", probing.probe_faults.count()), ("load_report", probing.scrape_faults.count())];
    out.counter(
        "own_faults",
        "Probes and load reports that could not be asked for a fault of this machine: they count against nobody",
        faults.map(|(word, count)| (vec![("of", word)], count)),
    )
}

/// Nothing where no other node judges with this one.
fn probe_times(out: &mut Out<'_>, times: &ProbeTimes) -> fmt::Result {
    let series = times.all().into_iter().map(|(check, result, times)| {
        let bounds = PROBE_BOUNDS_S.into_iter().chain([f64::INFINITY]);
        (vec![("check", check), ("result", result)], (times.sum_s, bounds.zip(times.buckets).collect()))
    });
    out.histogram("probe_seconds", "Time that probes took, by kind of check and by what came of it", series)
}

fn vantages(out: &mut Out<'_>, snapshot: &Snapshot) -> fmt::Result {
    let Some(vantages) = &snapshot.vantages else { return Ok(()) };
    out.gauge(
        "vantages",
        "Other nodes that judge the health of regions with this one",
        only(vantages.others.len() as u64),
    )?;
    out.gauge(
        "vantage_cut_off",
        "1 while this node is cut off by the other nodes' word, by that family, so that its probes do not vote; 0 otherwise",
        ["IPv4", "IPv6"].map(|family| {
            let is_cut_off = vantages.cut_off.iter().any(|of| of.family() == family);
            (vec![("family", if family == "IPv4" { "ipv4" } else { "ipv6" })], u32::from(is_cut_off))
        }),
    )
}

fn measured(out: &mut Out<'_>, context: &Context, snapshot: &Snapshot) -> fmt::Result {
    let estimates = snapshot.measured.len() as u64;
    out.gauge("measured_round_trips", "Measured round-trip times that plans go by", only(estimates))?;
    let counts = counts(&context.measurements);
    let counts = counts.iter().map(|count| (vec![("of", &*count.of), ("outcome", &*count.outcome)], count.count));
    out.counter("rum_events", "Plans, reports and times of browsers, by what became of them", counts)
}

/// Every region's qualified name and state.
struct Regions<'a>(Vec<(String, &'a RegionState)>);

impl<'a> Regions<'a> {
    fn new(snapshot: &'a Snapshot) -> Regions<'a> {
        let names = snapshot.model.region_ids().map(|id| snapshot.model.qualified_region_name(id));
        Regions(names.zip(&snapshot.states).collect())
    }

    /// Those of which load reports are asked.
    fn reporting(&self) -> Regions<'a> {
        let asked = self.0.iter().filter(|(_, state)| state.load.stale_after.is_some());
        Regions(asked.cloned().collect())
    }

    /// One series per region; those without a value have none.
    fn each<'s, V>(
        &'s self,
        value: impl Fn(&RegionState) -> Option<V> + 's,
    ) -> impl Iterator<Item = (Labels<'s>, V)> + 's {
        self.0.iter().filter_map(move |(name, state)| Some((vec![("region", name.as_str())], value(state)?)))
    }

    /// One series per region and word.
    fn each_word<'s, V>(
        &'s self,
        label: &'static str,
        words: &'s [&'static str],
        value: impl Fn(&RegionState, &str) -> V + 's,
    ) -> impl Iterator<Item = (Labels<'s>, V)> + 's {
        let series = self.0.iter().flat_map(move |region| words.iter().map(move |&word| (region, word)));
        series.map(move |((name, state), word)| (vec![("region", name.as_str()), (label, word)], value(state, word)))
    }
}

fn conditions(out: &mut Out<'_>, regions: &Regions<'_>) -> fmt::Result {
    let effective_states = [
        EffectiveState::Up,
        EffectiveState::Suspect,
        EffectiveState::Unknown,
        EffectiveState::Drain,
        EffectiveState::Down,
    ]
    .map(EffectiveState::as_str);
    out.gauge(
        "region_state",
        "1 at what the region is good for now: the override, else what the probes say; 0 at the rest",
        regions.each_word("state", &effective_states, |state, word| u32::from(state.effective.as_str() == word)),
    )?;
    let overrides = [Override::Auto, Override::Up, Override::Down, Override::Drain].map(Override::as_str);
    out.gauge(
        "region_override",
        "1 at what the operator says of the region; 0 at the rest",
        regions.each_word("override", &overrides, |state, word| u32::from(state.operator_override.as_str() == word)),
    )?;
    let [up, suspect, unknown, down] =
        [Verdict::Up, Verdict::Suspect, Verdict::Unknown, Verdict::Down].map(Verdict::as_str);
    let verdicts = [up, suspect, unknown, down, UNPROBED];
    out.gauge(
        "region_endpoints",
        "Endpoints of the region, by what their probes say",
        regions.each_word("verdict", &verdicts, |state, word| {
            let verdict = |seen: Option<Verdict>| seen.map_or(UNPROBED, Verdict::as_str);
            state.endpoints.iter().filter(|endpoint| verdict(endpoint.verdict) == word).count()
        }),
    )?;
    out.gauge(
        "region_ipv6_up",
        "0 where the region's AAAA answers are empty because its IPv6 addresses are down; 1 where they are not; of regions \
         with both families",
        regions.each(|state| state.ipv6.map(|verdict| u32::from(verdict != Verdict::Down || state.ipv6_doubted))),
    )?;
    out.gauge(
        "region_endpoints_restored",
        "Endpoints of the region whose verdict is from before a restart, and that no probe has confirmed since",
        regions.each(|state| Some(state.endpoints.iter().filter(|endpoint| endpoint.restored).count())),
    )?;
    out.gauge(
        "region_price_milliseconds",
        "What the region's load adds to its score: by the plan, or where there is none, 0 to 250 by its own load",
        regions.each(|state| Some(state.price_ms)),
    )
}

const UNPROBED: &str = "unprobed";

/// Why answers are not what the probes alone would make them.
fn stability(out: &mut Out<'_>, regions: &Regions<'_>) -> fmt::Result {
    out.gauge(
        "region_offered_ratio",
        "The part of its capacity the region offers; less than 1 during a slow start and while it is degraded",
        regions.each(|state| Some(state.offered)),
    )?;
    out.gauge(
        "region_degraded_ratio",
        "The part of its capacity the region offers for what its balancer says and for slow probes; 1 where all is well",
        regions.each(|state| Some(state.degraded.factor)),
    )?;
    out.gauge(
        "region_damped",
        "1 where the region is out though its probes say up, for having gone down too often",
        regions.each(|state| Some(u32::from(state.stability.damped_until.is_some()))),
    )?;
    out.gauge(
        "region_dependency_failed",
        "1 where the region counts as down because something that it depends on does not serve",
        regions.each(|state| Some(u32::from(state.stability.failed_dependency.is_some()))),
    )?;
    out.gauge(
        "region_failback_delayed",
        "1 where the region is out though its probes say up, for having been up for too short a time since they took it down",
        regions.each(|state| Some(u32::from(state.stability.delayed_until.is_some()))),
    )?;
    out.gauge(
        "region_awaits_resume",
        "1 where the region's probes took it down, and an operator's word alone brings it back",
        regions.each(|state| Some(u32::from(state.stability.awaits_resume.is_some()))),
    )?;
    out.gauge(
        "region_held",
        "1 where the region is answered though its probes say down, because too many of its zone have gone at once",
        regions.each(|state| Some(u32::from(state.stability.held_until.is_some()))),
    )
}

/// How far drains have come.
fn drains(out: &mut Out<'_>, regions: &Regions<'_>, snapshot: &Snapshot, now: Instant) -> fmt::Result {
    let draining = || {
        regions.0.iter().zip(snapshot.model.region_ids()).filter_map(move |((name, state), id)| {
            let answered = || snapshot.plan.answers(id);
            let allowance = snapshot.model.steering.drain_allowance;
            let progress = state.stability.drain?.progress(answered(), &state.load, allowance, now);
            Some((vec![("region", name.as_str())], progress))
        })
    };
    out.gauge(
        "region_drain_may_come_ratio",
        "The part of a draining region's clients that may still come, at most, by the age of answers; missing where it does not drain",
        draining().map(|(labels, progress)| (labels, progress.may_come)),
    )?;
    out.gauge(
        "region_drain_load_ratio",
        "A draining region's load over that when the drain began; missing where one of the two is not known",
        draining().filter_map(|(labels, progress)| Some((labels, progress.load_ratio?))),
    )?;
    out.gauge(
        "region_drain_safe_in_seconds",
        "Time until no answer sends clients to the draining region, 0 once it is safe; missing while it is answered",
        draining().filter_map(|(labels, progress)| {
            Some((labels, progress.safe_at?.saturating_duration_since(now).as_secs_f64()))
        }),
    )
}

fn loads(out: &mut Out<'_>, regions: &Regions<'_>, now: Instant) -> fmt::Result {
    let last = |state: &RegionState| state.load.last;
    out.gauge(
        "region_load",
        "Load as last reported, in the region's own unit; missing where it never was",
        regions.each(move |state| Some(last(state)?.load)),
    )?;
    out.gauge(
        "region_capacity",
        "Capacity as last reported, else as configured, in the unit of the load",
        regions.each(move |state| last(state)?.capacity),
    )?;
    out.gauge(
        "region_utilisation_ratio",
        "Load over capacity; above 1 in an overload",
        regions.each(move |state| last(state).as_ref().and_then(LoadFigure::utilisation)),
    )?;
    out.gauge(
        "region_load_age_seconds",
        "Age of the last load report that made sense",
        regions.each(move |state| Some(now.saturating_duration_since(last(state)?.at).as_secs_f64())),
    )?;
    out.gauge(
        "region_load_stale",
        "1 where the last load report is too old to act on",
        regions.each(move |state| last(state).map(|_| u32::from(state.load.stale))),
    )?;
    out.gauge(
        "region_load_failing",
        "1 where the last load report brought no figure, or more than can be believed",
        regions.each(|state| Some(u32::from(state.load.error.is_some()))),
    )?;
    let reporting = regions.reporting();
    out.gauge(
        "region_load_heard",
        "1 at how the region's load reports stand; 0 at the rest: anything but believed and new needs a look",
        reporting.each_word("heard", &Heard::WORDS, |state, word| u32::from(state.load.heard().as_str() == word)),
    )?;
    out.gauge(
        "region_load_doubt",
        "1 at why the region's figures are not believed; 0 at the rest",
        reporting.each_word("why", &Implausible::WORDS, |state, word| {
            u32::from(state.load.doubt.is_some_and(|doubt| doubt.as_str() == word))
        }),
    )?;
    readings(out, regions)?;
    out.gauge(
        "region_probe_age_seconds",
        "Time since the last probe of any of the region's endpoints",
        regions.each(move |state| {
            let latest = state.endpoints.iter().filter_map(|endpoint| endpoint.probed_at).max()?;
            Some(now.saturating_duration_since(latest).as_secs_f64())
        }),
    )
}

/// How figures are read.
fn readings(out: &mut Out<'_>, regions: &Regions<'_>) -> fmt::Result {
    let reading = |state: &RegionState| state.load.reading;
    out.gauge(
        "region_load_unit",
        "Load, as the region counts it, per unit of demand; missing where its figures were not made sense of",
        regions.each(move |state| Some(reading(state)?.unit)),
    )?;
    out.gauge(
        "region_load_of_others",
        "Load that did not come by answers given here, in the region's own unit",
        regions.each(move |state| Some(reading(state)?.others)),
    )?;
    out.gauge(
        "region_load_gain_ratio",
        "How many times what there is the region's feed says; 1 unless it jumped for no reason that is known",
        regions.each(move |state| Some(reading(state)?.gain)),
    )?;
    out.gauge(
        "region_load_restless",
        "1 where the region's load rises and falls again and again, so that it counts in the mean of 20 min only",
        regions.each(move |state| Some(u32::from(reading(state)?.restless))),
    )
}

/// What the planner does.
fn plans(out: &mut Out<'_>, regions: &Regions<'_>, snapshot: &Snapshot, now: Instant) -> fmt::Result {
    let planning = planning(snapshot, now);
    out.gauge(
        "plan_in_force",
        "1 where a plan shares clients out; 0 where prices alone do",
        only(u32::from(planning.age_s.is_some())),
    )?;
    out.gauge(
        "plan_age_seconds",
        "Age of the plan in force; missing where there is none",
        planning.age_s.map(|age_s| (Vec::new(), age_s)),
    )?;
    out.gauge(
        "plan_failing",
        "1 where the last attempt at a plan came to nothing",
        only(u32::from(planning.error.is_some())),
    )?;
    out.gauge(
        "demand",
        "All demand as estimated, in the unit of the load reports; missing where nothing is known of it",
        planning.demand.map(|demand| (Vec::new(), demand)),
    )?;
    let kept = snapshot.plan.planned().map(|planned| &planned.kept_near);
    out.gauge(
        "plan_kept_near_places",
        "Places whose clients would be sent farther than steering.max_detour, were the load of their nearest region believed",
        kept.map(|kept| (Vec::new(), kept.places)),
    )?;
    out.gauge(
        "plan_kept_near_ratio",
        "The part of the demand that is planned for in these places",
        kept.map(|kept| (Vec::new(), kept.part)),
    )?;
    out.counter(
        "plans_solved_plainly",
        "Plans that took longer since the quick way to solve them failed, up to the one in force; each is a bug",
        only(snapshot.plan.planned().map_or(0, |planned| planned.plainly)),
    )?;
    let loads = snapshot.plan.planned().map(|planned| planned.loads.as_slice()).unwrap_or_default();
    let planned = regions.0.iter().zip(loads).map(|((name, _), &load)| (vec![("region", name.as_str())], load));
    out.gauge("region_planned_load", "What the region should have by the plan in force, in its own unit", planned)
}

/// The work that plans take, beside what is answered.
fn jobs(out: &mut Out<'_>, figures: &JobFigures, now: Instant) -> fmt::Result {
    out.gauge(
        "planning_lag_seconds",
        "Age of the oldest news that the plan in force does not heed; 0 where it heeds all",
        only(figures.lag(now).as_secs_f64()),
    )?;
    out.counter(
        "planning_cpu_seconds",
        "CPU time of all jobs; steering.planning_cpu bounds it",
        only(figures.cpu().as_secs_f64()),
    )?;
    let outcomes = figures.tallies().into_iter().flat_map(|(kind, of)| {
        let counts = [("taken", of.taken), ("dropped", of.dropped), ("failed", of.failed), ("given_up", of.given_up)];
        counts.map(|(word, count)| (vec![("job", kind.as_str()), ("outcome", word)], count))
    });
    out.counter(
        "jobs",
        "Jobs done beside the writer, by what became of them; each that failed is a bug, those given up got no CPU time",
        outcomes,
    )
}

fn whole(out: &mut Out<'_>, snapshot: &Snapshot) -> fmt::Result {
    let conditions = [
        ("normal", ServiceCondition::Normal),
        ("full", ServiceCondition::Full),
        ("unproven", ServiceCondition::Unproven),
        ("panic", ServiceCondition::Panic),
        ("only_draining", ServiceCondition::OnlyDraining),
        ("all_withdrawn", ServiceCondition::AllWithdrawn),
    ];
    let services = || snapshot.plan.services.iter();
    let count = |condition| services().filter(|plan| plan.standing.condition == condition).count();
    out.gauge(
        "services",
        "Services by condition: anything but normal needs a look",
        conditions.map(|(word, condition)| (vec![("condition", word)], count(condition))),
    )?;
    let fences = |condition| {
        services().flat_map(|plan| &plan.standing.fences_out).filter(|out| out.condition == condition).count()
    };
    out.gauge(
        "fences_out",
        "Fences whose regions have run out, by the condition of their clients",
        conditions[1..].iter().map(|&(word, condition)| (vec![("condition", word)], fences(condition))),
    )?;
    out.gauge("zones", "Zones served", only(snapshot.model.zones.len()))?;
    out.gauge("names", "Names served, empty non-terminals counted", only(snapshot.names.len()))?;
    out.gauge("atlas_places", "Distinct places clients can be in", only(snapshot.atlas.place_count()))?;
    out.gauge("atlas_memory_bytes", "Memory the atlas takes", only(snapshot.atlas.memory_bytes()))?;
    out.gauge(
        "snapshot_generation",
        "The snapshot queries are answered from; grows by one with every change",
        only(snapshot.generation),
    )
}

fn databases(out: &mut Out<'_>, databases: &[DatabaseStatus]) -> fmt::Result {
    let rows = || databases.iter().map(|database| (vec![("database", database.path.as_str())], database));
    let each = |value: fn(&DatabaseStatus) -> u64| rows().map(move |(labels, database)| (labels, value(database)));
    out.gauge(
        "database_ok",
        "1 where the database's file is read and in use; 0 where it is bad, and something else or nothing serves",
        each(|database| database.error.is_none().into()),
    )?;
    let serves = Serves::ALL.map(Serves::as_str);
    let words = rows().flat_map(|(labels, database)| {
        let row = |word| ([labels.clone(), vec![("serves", word)]].concat(), u64::from(database.serves == word));
        serves.map(row)
    });
    out.gauge("database_serves", "1 at what answers go by; 0 at the rest", words)?;
    out.gauge(
        "database_built_timestamp_seconds",
        "When what serves was built, since 1970; 0 where nothing serves",
        each(|database| database.built_unix_s),
    )?;
    out.gauge(
        "database_generation",
        "How often the database's file was taken since the start",
        each(|database| database.generation),
    )?;
    out.gauge(
        "database_failures",
        "How often in a row the database's file was found bad; it is tried again by itself",
        each(|database| database.failures.into()),
    )
}

/// How the control plane does.
fn wellbeing(out: &mut Out<'_>, context: &Context) -> fmt::Result {
    let (vitals, troubles) = (&context.vitals, &context.troubles);
    let pulse = vitals.pulse().as_str();
    out.gauge(
        "writer_pulse",
        "1 at how the writer does; 0 at the rest: unless it is beating, answers follow nothing any more",
        Pulse::WORDS.map(|word| (vec![("pulse", word)], u32::from(word == pulse))),
    )?;
    let silent = vitals.silent_for().as_secs_f64();
    out.gauge("writer_silent_seconds", "Time since the writer was heard of", only(silent))?;
    let files = StateName::ALL.iter().flat_map(|&file| TroubleKind::ALL.map(|kind| (file, kind)));
    out.gauge(
        "state_file_trouble",
        "1 at what is wrong with a file of the state directory; 0 at the rest",
        files.map(|(file, kind)| {
            (vec![("file", file.as_str()), ("kind", kind.as_str())], u32::from(troubles.has(file, kind)))
        }),
    )?;
    let restarts = TaskKind::ALL.map(|task| (vec![("task", task.as_str())], vitals.restarts(task)));
    out.counter("task_restarts", "Tasks started again after a panic: each is a bug", restarts)
}

/// Whether routers should send clients here.
fn readiness(out: &mut Out<'_>, context: &Context) -> fmt::Result {
    let node = node(context);
    out.gauge("ready", "1 where this node should be announced, else 0; as /ready says", only(u32::from(node.ready)))?;
    let holds = |word: &str| u32::from(node.reasons.iter().any(|of| of.reason == word));
    out.gauge(
        "not_ready",
        "1 at each reason why this node should not be announced; 0 at the rest",
        NotReady::WORDS.map(|word| (vec![("reason", word)], holds(word))),
    )
}

/// Nodes that have a series of their own; further ones have none.
const MOST_NODES: usize = 64;

/// The nodes of a cluster, as this one sees them.
fn cluster(out: &mut Out<'_>, status: &ClusterStatus) -> fmt::Result {
    out.gauge("cluster_store_up", "1 while etcd answers, else 0", only(u32::from(status.etcd.there)))?;
    out.gauge("cluster_nodes", "Nodes of the cluster that are there, this one among them", only(status.nodes.len()))?;
    let roles = ["leader", "follower", "alone"];
    out.gauge(
        "cluster_role",
        "1 at what this node is, else 0: it plans for all, follows, or plans alone",
        roles.map(|role| (vec![("role", role)], u32::from(status.role == role))),
    )?;
    let plan = status.plan.as_ref();
    out.gauge(
        "cluster_plan_epoch",
        "The epoch of the plan in force among nodes; grows with each leader; missing where there is none",
        plan.map(|plan| (Vec::new(), plan.epoch)),
    )?;
    out.gauge("cluster_plan_number", "Its number in the epoch", plan.map(|plan| (Vec::new(), plan.number)))?;
    out.gauge("cluster_plan_age_seconds", "How long ago it was made", plan.map(|plan| (Vec::new(), plan.age_s)))?;
    let heard = status.nodes.iter().filter_map(|node| Some((vec![("node", node.name.as_str())], node.silent_s?)));
    out.gauge(
        "cluster_peer_heard_seconds",
        "Time since another node was heard, at most 64 nodes",
        heard.take(MOST_NODES),
    )?;
    let here: usize = status.nodes.iter().map(|node| node.here.len()).sum();
    out.gauge("cluster_words_here", "Words of operators that hold at one node alone, at all nodes", only(here))?;
    let counts = status.counts;
    out.counter("cluster_store_writes", "Transactions that etcd was asked for", only(counts.writes))?;
    let bytes = [("sent", counts.sent_bytes), ("received", counts.received_bytes)];
    out.counter(
        "cluster_peer_bytes",
        "Octets of messages to and from other nodes, without envelopes",
        bytes.map(|(direction, octets)| (vec![("direction", direction)], octets)),
    )?;
    let refused = [("plan", counts.refused_plans), ("word", counts.refused_words)];
    out.counter(
        "cluster_refused",
        "Plans that began to be refused, and words of operators that did not come to hold",
        refused.map(|(what, count)| (vec![("what", what)], count)),
    )
}

/// Who is told of events, and how that goes.
fn told(out: &mut Out<'_>, receivers: &[ReceiverStatus]) -> fmt::Result {
    let outcomes = receivers.iter().flat_map(|of| {
        let counts = [("delivered", of.delivered), ("refused", of.refused), ("left_out", of.left_out)];
        counts.map(|(word, count)| (vec![("receiver", of.name.as_str()), ("outcome", word)], count))
    });
    out.counter("event_deliveries", "Events by what became of them at each receiver", outcomes)?;
    let each = |value: fn(&ReceiverStatus) -> u64| {
        receivers.iter().map(move |of| (vec![("receiver", of.name.as_str())], value(of)))
    };
    out.gauge("events_waiting", "Events that a receiver is still to be told of", each(|of| of.waiting as u64))?;
    out.gauge(
        "event_delivery_failures",
        "How often in a row a receiver could not be told; 0 where all is well",
        each(|of| of.failures.into()),
    )
}

fn process(out: &mut Out<'_>, context: &Context, snapshot: &Snapshot) -> fmt::Result {
    let load = context.load_status.load();
    out.counter("reloads", "Reloads that took", only(snapshot.reloads))?;
    out.gauge(
        "last_load_success",
        "1 where the last load or reload took; 0 where the configuration before it is served",
        only(u32::from(load.mistakes.is_empty())),
    )?;
    let at = load.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    out.gauge("last_load_timestamp_seconds", "When the last load or reload was tried, since 1970", only(at))?;
    out.gauge("uptime_seconds", "Time since the start", only(context.started.elapsed().as_secs_f64()))?;
    out.gauge("build_info", "Always 1; which version this is", [(vec![("version", env!("CARGO_PKG_VERSION"))], 1u32)])
}
