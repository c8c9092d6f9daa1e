//! Whether it is this server that is cut off: asked before a failure counts against anybody.
//!
//! ```text
//!   a probe fails on the way ─▶ excuse ─▶ does any reference answer now? ── yes ─▶ evidence against the endpoint
//!                                             (no references: is there a        └─ no ──▶ no evidence: verdicts stay
//!                                              route to any endpoint at all?)              as they are, and it is said
//! ```
//!
//! In: failures, and the references of the model. Out: an excuse, or none. Refusals and silence may be this server's own
//! network; an answer other than expected is the endpoint's, and needs no second opinion. Each family is judged by the
//! references of that family alone. Those who wonder at once share one round of questions.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::control::clock;
use crate::control::events::event::{Change, MOST_TEXT, Reach, ServerChange};
use crate::control::events::history::Events;
use crate::control::events::told::tell;
use crate::model::{Check, EndpointTarget, Model};

use super::ask::Question;
use super::heartbeat::Pulse;
use super::outcome::ProbeError;
use super::report::EndpointKey;
use super::resolve::Resolver;
use super::step::has_route;

/// From one round of questions to the next, where nobody wonders.
const CALM: Duration = Duration::from_secs(5);
/// The same while it is cut off.
const CUT_OFF: Duration = Duration::from_secs(1);
/// References that take longer than this are as good as silent: whoever wonders waits for them.
const LONGEST: Duration = Duration::from_secs(1);
/// Those that have not answered by then are asked once more: one packet that is lost cuts nobody off.
const ONCE_MORE: Duration = Duration::from_millis(400);
/// Rounds are at least so long apart.
const APART: Duration = Duration::from_millis(200);
/// A round that found nobody excuses failures for so long: until the network is back, one is as good as another.
const EXCUSED: Duration = Duration::from_millis(500);
/// So many endpoints' addresses are looked at for a route.
const MOST_TARGETS: usize = 64;

/// What is known of this server's own network.
#[derive(Default)]
pub struct Reachability {
    asks: ArcSwap<Asks>,
    /// The last round of each family; locked while one is under way.
    rounds: [tokio::sync::Mutex<Option<Round>>; 2],
    said: Mutex<[Said; 2]>,
    events: Arc<Events>,
}

/// Of one family.
#[derive(Default)]
struct Said {
    cut_off: Option<CutOff>,
    /// When it was last known to be cut off, where it is so no more.
    ended: Option<Instant>,
}

/// The addresses that it is judged by.
#[derive(Default)]
struct Asks {
    references: Vec<(IpAddr, Arc<Question>)>,
    /// Some of the endpoints'.
    targets: Vec<IpAddr>,
}

#[derive(Clone)]
struct Round {
    began: Instant,
    ended: Instant,
    /// Why none answered; `None`: some did.
    nobody: Option<Arc<str>>,
}

/// A family of addresses by which this server reaches nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutOff {
    pub ipv6: bool,
    pub since: std::time::Instant,
    pub why: Arc<str>,
}

impl Reachability {
    /// Adds what changes to these.
    pub fn recording(events: Arc<Events>) -> Reachability {
        Reachability { events, ..Reachability::default() }
    }

    /// Takes the references and endpoints of this model.
    pub fn configure(&self, model: &Model) {
        // No heartbeat is a reference's.
        let pulse = Pulse::of(&Arc::default(), &EndpointKey::only("", ""));
        let question = |address: IpAddr, check: &Check| {
            let check = Check { timeout: check.timeout.min(LONGEST), ..check.clone() };
            Arc::new(Question::new(
                EndpointTarget::Addresses(vec![address]),
                &check,
                Resolver::default(),
                pulse.clone(),
            ))
        };
        let references = model.references.iter().map(|of| (of.address, question(of.address, &of.check))).collect();
        let endpoints = model.regions.iter().filter_map(|region| region.endpoints.first());
        let addresses = endpoints.flat_map(|endpoint| match &endpoint.target {
            EndpointTarget::Addresses(addresses) => addresses.clone(),
            EndpointTarget::Host(_) => Vec::new(),
        });
        self.asks.store(Arc::new(Asks { references, targets: addresses.take(MOST_TARGETS).collect() }));
        // Of a family without references nobody would ever say that it is back.
        for ipv6 in [false, true].into_iter().filter(|ipv6| !self.has_references(*ipv6)) {
            self.conclude(ipv6, None);
        }
    }

    /// Asks the references now and then, so that it is known before somebody wonders, and said when it has passed.
    pub async fn keep_asking(self: Arc<Self>) {
        loop {
            tokio::join!(self.look(false), self.look(true));
            let wait = if self.cut_off().is_empty() { CALM } else { CUT_OFF };
            tokio::time::sleep(wait).await;
        }
    }

    async fn look(&self, ipv6: bool) {
        if self.has_references(ipv6) {
            self.nobody_answers(ipv6, Instant::now()).await;
        } else if self.has_any_route(ipv6) {
            self.conclude(ipv6, None);
        }
    }

    /// The families by which nobody is reached, as far as is known.
    pub fn cut_off(&self) -> Vec<CutOff> {
        self.said().iter().filter_map(|said| said.cut_off.clone()).collect()
    }

    /// Whether there is such a family.
    pub fn is_cut_off(&self) -> bool {
        self.said().iter().any(|said| said.cut_off.is_some())
    }

    /// The number of references.
    pub fn references(&self) -> usize {
        self.asks.load().references.len()
    }

    /// Why this failure of a probe that started then says nothing of the endpoint; `None`: it is evidence.
    pub(super) async fn excuse(
        &self,
        target: &EndpointTarget,
        error: &ProbeError,
        started: Instant,
    ) -> Option<Arc<str>> {
        if !error.is_on_the_way() {
            return None;
        }
        let families: &[bool] = match target {
            EndpointTarget::Addresses(addresses) if addresses.iter().all(IpAddr::is_ipv4) => &[false],
            EndpointTarget::Addresses(addresses) if addresses.iter().all(IpAddr::is_ipv6) => &[true],
            _ => &[false, true],
        };
        let (failed, mut excuse) = (Instant::now(), None);
        for &ipv6 in families {
            let nobody = match self.has_references(ipv6) {
                true => self.nobody_answers(ipv6, failed).await,
                false => self.no_route(ipv6),
            };
            // One family in which somebody answers is enough to reach it.
            excuse = Some(nobody.or_else(|| self.was_cut_off(ipv6, started))?);
        }
        excuse
    }

    /// A probe has succeeded: where there are no references, that says as much.
    pub(super) fn heard(&self, target: &EndpointTarget) {
        if let EndpointTarget::Addresses(addresses) = target {
            for ipv6 in [false, true] {
                if addresses.iter().any(|address| address.is_ipv6() == ipv6) && !self.has_references(ipv6) {
                    self.conclude(ipv6, None);
                }
            }
        }
    }

    fn has_references(&self, ipv6: bool) -> bool {
        self.asks.load().references.iter().any(|(address, _)| address.is_ipv6() == ipv6)
    }

    /// Why no reference of the family has answered a question asked after `since`; `None`: one has.
    async fn nobody_answers(&self, ipv6: bool, since: Instant) -> Option<Arc<str>> {
        let mut round = self.rounds.get(usize::from(ipv6))?.lock().await;
        let serves = |round: &&Round| {
            round.began >= since || round.nobody.is_some() && since.saturating_duration_since(round.ended) < EXCUSED
        };
        if let Some(known) = round.as_ref().filter(serves) {
            return known.nobody.clone();
        }
        if let Some(known) = &*round {
            // Many endpoints that fail at once must not make a flood of questions.
            tokio::time::sleep_until(known.ended + APART).await;
        }
        let began = Instant::now();
        let nobody = self.ask(ipv6).await;
        *round = Some(Round { began, ended: Instant::now(), nobody: nobody.clone() });
        self.conclude(ipv6, nobody.clone());
        nobody
    }

    /// Asks all references of the family at once; `None` with the first that answers as expected.
    async fn ask(&self, ipv6: bool) -> Option<Arc<str>> {
        let asks = self.asks.load_full();
        let mut asked = JoinSet::new();
        for (address, question) in asks.references.iter().filter(|(address, _)| address.is_ipv6() == ipv6) {
            let (address, question) = (*address, question.clone());
            asked.spawn(async move { insist(question).await.err().map(|error| format!("{address}: {error}")) });
        }
        let mut failed = Vec::new();
        while let Some(outcome) = asked.join_next().await {
            match outcome {
                Ok(None) => return None,
                Ok(Some(why)) => failed.push(why),
                Err(_) => {}
            }
        }
        failed.sort();
        Some(format!("no {} reference answers ({})", family(ipv6), failed.join("; ")).into())
    }

    /// Where there is no route to any endpoint at all, not this endpoint is gone but this machine's network.
    fn no_route(&self, ipv6: bool) -> Option<Arc<str>> {
        if self.has_any_route(ipv6) {
            self.conclude(ipv6, None);
            return None;
        }
        let why: Arc<str> = format!("this machine has no {} route to any endpoint", family(ipv6)).into();
        self.conclude(ipv6, Some(why.clone()));
        Some(why)
    }

    /// Of one endpoint alone nobody can tell: then there is said to be one.
    fn has_any_route(&self, ipv6: bool) -> bool {
        let asks = self.asks.load();
        let mut targets = asks.targets.iter().filter(|address| address.is_ipv6() == ipv6);
        targets.clone().count() < 2 || targets.any(|address| has_route(SocketAddr::new(*address, 9)))
    }

    /// What a probe has sent into a network that was cut off then is lost, though the network is back.
    fn was_cut_off(&self, ipv6: bool, started: Instant) -> Option<Arc<str>> {
        let ended = self.said().get(usize::from(ipv6))?.ended?;
        (started <= ended).then(|| "this server was cut off when it asked".into())
    }

    /// Remembers and tells what has changed.
    fn conclude(&self, ipv6: bool, nobody: Option<Arc<str>>) {
        let mut said = self.said();
        let Some(known) = said.get_mut(usize::from(ipv6)) else { return };
        let change = |after, why: Option<String>, for_s| {
            let before = if after == Reach::CutOff { Reach::Connected } else { Reach::CutOff };
            let (family, by_others) = (family(ipv6).into(), false);
            Change::Server(ServerChange { before, after, family, why, for_s, by_others })
        };
        let change = match (&mut known.cut_off, nobody) {
            (None, None) => return,
            (Some(known), Some(why)) => {
                known.why = why;
                return;
            }
            (None, Some(why)) => {
                known.cut_off = Some(CutOff { ipv6, since: std::time::Instant::now(), why: why.clone() });
                change(Reach::CutOff, Some(why.chars().take(MOST_TEXT).collect()), None)
            }
            (Some(was), None) => {
                let for_s = was.since.elapsed().as_secs();
                *known = Said { cut_off: None, ended: Some(Instant::now()) };
                change(Reach::Connected, None, Some(for_s))
            }
        };
        // While it is locked: the end must not be told before the beginning.
        tell(std::slice::from_ref(&change));
        self.events.add(&clock::read(), vec![change]);
    }

    fn said(&self) -> MutexGuard<'_, [Said; 2]> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The question's outcome, asked a second time where there is none yet after [`ONCE_MORE`].
async fn insist(question: Arc<Question>) -> Result<(), ProbeError> {
    let first = question.clone().ask();
    tokio::pin!(first);
    tokio::select! {
        outcome = &mut first => return outcome.map(drop),
        () = tokio::time::sleep(ONCE_MORE) => {}
    }
    // A failure of its own adds nothing to that of the first, which comes soon.
    let again = async {
        if question.ask().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        outcome = &mut first => outcome.map(drop),
        () = again => Ok(()),
    }
}

fn family(ipv6: bool) -> &'static str {
    if ipv6 { "IPv6" } else { "IPv4" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::events::history::Wanted;
    use crate::model::{CheckKind, Coordinates, Endpoint, ExchangeCheck, Reference, Region, ZoneId};

    async fn listening() -> (tokio::net::TcpListener, u16) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let port = listener.local_addr().expect("an address").port();
        (listener, port)
    }

    fn asking(ports: &[u16]) -> Reachability {
        let references = ports.iter().map(|&port| Reference {
            address: IpAddr::from([127, 0, 0, 1]),
            check: Check::new(CheckKind::Tcp { port }),
        });
        let reachability = Reachability::default();
        reachability.configure(&Model { references: references.collect(), ..Model::default() });
        reachability
    }

    fn target(address: &str) -> EndpointTarget {
        EndpointTarget::Addresses(vec![address.parse().expect("an address")])
    }

    #[tokio::test]
    async fn failures_are_excused_while_no_reference_answers_and_no_longer() {
        let (one, port) = listening().await;
        let (two, dead) = listening().await;
        drop(two);
        let reachability = asking(&[port, dead]);
        let of = target("192.0.2.1");
        let excuse = |error: ProbeError| {
            let (reachability, of) = (&reachability, &of);
            async move { reachability.excuse(of, &error, Instant::now()).await }
        };
        assert_eq!(excuse(ProbeError::Refused).await, None, "one of two answers");
        assert!(reachability.cut_off().is_empty());
        drop(one);
        let why = excuse(ProbeError::Refused).await.expect("an excuse");
        assert!(why.starts_with("no IPv4 reference answers (127.0.0.1: connection refused"), "{why}");
        assert_eq!(reachability.cut_off().len(), 1);
        let status = ProbeError::Status { got: 503, expected: "200".into() };
        assert_eq!(excuse(status).await, None, "it came back: no network is in doubt");
        let ipv6 = reachability.excuse(&target("2001:db8::1"), &ProbeError::Refused, Instant::now()).await;
        assert_eq!(ipv6, None, "there are no references of that family");
        let _back = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port again");
        tokio::time::sleep(EXCUSED).await;
        let why = excuse(ProbeError::Refused).await.expect("an excuse");
        assert_eq!(&*why, "this server was cut off when it asked");
        assert_eq!(excuse(ProbeError::Refused).await, None);
        assert!(reachability.cut_off().is_empty());
    }

    #[tokio::test]
    async fn a_reference_that_misses_a_question_is_asked_again_and_one_that_is_silent_makes_an_event() {
        let reference = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("an address");
        let port = reference.local_addr().expect("an address").port();
        let check = CheckKind::Udp(ExchangeCheck { port, send: b"?".into(), expect: b"!".into() });
        let references = vec![Reference { address: IpAddr::from([127, 0, 0, 1]), check: Check::new(check) }];
        let events = Arc::new(Events::default());
        let reachability = Reachability::recording(events.clone());
        reachability.configure(&Model { references, ..Model::default() });
        let heard_twice = async {
            let mut octets = [0; 8];
            let _lost = reference.recv_from(&mut octets).await.expect("a question");
            let (_, from) = reference.recv_from(&mut octets).await.expect("the same again");
            reference.send_to(b"!", from).await.expect("sent");
        };
        let (nobody, ()) = tokio::join!(reachability.nobody_answers(false, Instant::now()), heard_twice);
        assert_eq!(nobody, None);
        assert!(reachability.nobody_answers(false, Instant::now()).await.is_some(), "it answers no more");
        let told = events.find(&Wanted { limit: 9, ..Wanted::default() }).events;
        let [event] = &told[..] else { panic!("{told:?}") };
        let Change::Server(change) = &event.change else { panic!("{event:?}") };
        assert_eq!((change.before, change.after, &*change.family), (Reach::Connected, Reach::CutOff, "IPv4"));
    }

    #[tokio::test]
    async fn those_who_wonder_at_once_share_one_round() {
        let (listener, port) = listening().await;
        let reachability = Arc::new(asking(&[port]));
        let started = Instant::now();
        let mut asking = JoinSet::new();
        for _ in 0..200 {
            let reachability = reachability.clone();
            asking.spawn(async move { reachability.excuse(&target("192.0.2.1"), &ProbeError::Refused, started).await });
        }
        assert!(asking.join_all().await.iter().all(Option::is_none));
        let mut rounds = 0;
        while tokio::time::timeout(Duration::from_millis(50), listener.accept()).await.is_ok() {
            rounds += 1;
        }
        assert!(rounds <= 2, "one for the first, one for those who failed while that was under way: {rounds}");
    }

    #[tokio::test]
    async fn without_references_only_a_machine_without_any_route_is_cut_off() {
        let region = |address: &str| {
            let at = Coordinates::new(0.0, 0.0).expect("coordinates");
            Region::new(address, ZoneId(0), at, vec![Endpoint::at(address.parse().expect("an address"))])
        };
        let reachability = Reachability::default();
        let regions = vec![region("127.0.0.1"), region("127.0.0.2")];
        reachability.configure(&Model { regions, ..Model::default() });
        let unreachable = ProbeError::Unreachable("Network is unreachable".into());
        for error in [unreachable, ProbeError::Refused] {
            assert_eq!(reachability.excuse(&target("127.0.0.1"), &error, Instant::now()).await, None);
        }
    }
}
