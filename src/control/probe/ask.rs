//! One probe of one endpoint: is it asked, does it answer as expected, how long does it take?
//!
//! ```text
//!   host name ─▶ resolve ─┐
//!                         ├─▶ connect ─▶ what the kind of check asks ─▶ judge
//!   every address ────────┘      └── TCP checks end here
//! ```
//!
//! Each step is bounded by one deadline for the whole probe. The connection is always a new one, to the
//! endpoint's own address, whatever Host and SNI say. What each kind of check asks is in a file of its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::model::{Check, CheckKind, DnsCheck, EndpointTarget, ExchangeCheck, ExecCheck};

use super::dns;
use super::encrypt::{Encryption, bracketed};
use super::exchange::{over_tcp, over_udp};
use super::exec;
use super::grpc::GrpcQuestion;
use super::heartbeat::Pulse;
use super::http::HttpQuestion;
use super::icmp;
use super::outcome::{Phase, ProbeError, Timings};
use super::resolve::Resolver;
use super::step::{Clock, connect, has_route, not_resolved};

/// What is asked of one endpoint, with all that can be prepared.
pub(super) struct Question {
    target: EndpointTarget,
    asked: Asked,
    port: u16,
    timeout: Duration,
    resolver: Resolver,
    /// These are IPv6 addresses of an endpoint that has IPv4 ones, too.
    beside_ipv4: bool,
    pulse: Pulse,
}

/// What is asked of each address, by kind.
enum Asked {
    /// To accept a connection.
    Tcp,
    TcpExchange(ExchangeCheck),
    Udp(ExchangeCheck),
    Tls(Encryption),
    Dns(DnsCheck),
    Grpc(GrpcQuestion),
    Icmp,
    /// Nothing: a heartbeat came within this time.
    Push(Duration),
    Exec(ExecCheck),
    Http(HttpQuestion),
}

impl Asked {
    /// With the port that is asked.
    fn new(kind: &CheckKind) -> (Asked, u16) {
        match kind {
            CheckKind::Tcp { port } => (Asked::Tcp, *port),
            CheckKind::TcpExchange(check) => (Asked::TcpExchange(check.clone()), check.port),
            CheckKind::Udp(check) => (Asked::Udp(check.clone()), check.port),
            CheckKind::Tls { port, tls } => (Asked::Tls(Encryption::new(tls, &[])), *port),
            CheckKind::Dns(check) => (Asked::Dns(check.clone()), check.port),
            CheckKind::Grpc(check) => (Asked::Grpc(GrpcQuestion::new(check)), check.port),
            CheckKind::Icmp => (Asked::Icmp, 0),
            CheckKind::Push { max_age } => (Asked::Push(*max_age), 0),
            // A program is told the address alone.
            CheckKind::Exec(check) => (Asked::Exec(check.clone()), 0),
            CheckKind::Http(check) => (Asked::Http(HttpQuestion::new(check)), check.port),
        }
    }

    /// `called`: the endpoint's host name, or its address as in a URL. Each kind's work is boxed, or a probe that only
    /// connects would take as much memory, and as much copying, as HTTP over TLS.
    async fn of(&self, address: SocketAddr, called: &str, clock: Clock) -> Result<Timings, ProbeError> {
        match self {
            Asked::Tcp => Ok(Timings { connect: connect(address, clock).await?.1, ..Timings::default() }),
            Asked::TcpExchange(check) => Box::pin(over_tcp(check, address, clock)).await,
            Asked::Udp(check) => Box::pin(over_udp(check, address, clock)).await,
            Asked::Tls(encryption) => Box::pin(encryption.ask(address, called, clock)).await,
            Asked::Dns(check) => Box::pin(dns::ask(check, address, clock)).await,
            Asked::Grpc(question) => Box::pin(question.ask(address, called, clock)).await,
            Asked::Icmp => Box::pin(icmp::ask(address, clock)).await,
            Asked::Push(_) => Err(ProbeError::Check("a heartbeat is of no address".into())),
            Asked::Exec(check) => Box::pin(exec::run(check, address, called, clock)).await,
            Asked::Http(question) => Box::pin(question.ask(address, called, clock)).await,
        }
    }
}

impl Question {
    /// `pulse`: the endpoint's heartbeats.
    pub(super) fn new(target: EndpointTarget, check: &Check, resolver: Resolver, pulse: Pulse) -> Question {
        let (asked, port) = Asked::new(&check.kind);
        Question { target, asked, port, timeout: check.timeout, resolver, pulse, beside_ipv4: false }
    }

    /// Where this machine has no route for IPv6, that says nothing of an endpoint that is judged by IPv4 besides.
    pub(super) fn beside_ipv4(self, beside_ipv4: bool) -> Question {
        Question { beside_ipv4, ..self }
    }

    /// How many connections one probe opens at once; at least 1.
    pub(super) fn connections(&self) -> usize {
        match &self.target {
            EndpointTarget::Addresses(addresses) => addresses.len().max(1),
            EndpointTarget::Host(_) => 1,
        }
    }

    /// Probes every address of the endpoint, or the first one its host name resolves to. All
    /// must answer as expected; the first failure is the outcome.
    pub(super) async fn ask(self: Arc<Self>) -> Result<Timings, ProbeError> {
        if let Asked::Push(max_age) = self.asked {
            return self.pulse.judge(max_age);
        }
        let clock = Clock::new(self.timeout);
        match &self.target {
            EndpointTarget::Host(host) => {
                let host = host.to_string();
                let host = host.strip_suffix('.').unwrap_or(&host);
                let turn = clock.within(Phase::Dns, self.resolver.turn()).await;
                // Others' names hold all threads: that is no fault of this one.
                let turn = turn.map_err(|_| ProbeError::Own("no thread was free to resolve the name".into()))?;
                let lookup = turn.map_err(not_resolved)?.lookup(host.to_owned(), self.port);
                let found = clock.within(Phase::Dns, lookup).await?.map_err(not_resolved)?;
                let dns = Some(clock.started.elapsed());
                let address = found.first().ok_or_else(|| ProbeError::Dns(format!("{host} has no address")))?;
                Ok(Timings { dns, ..self.ask_one(*address, host, clock).await? })
            }
            EndpointTarget::Addresses(addresses) => match addresses[..] {
                [] => Err(ProbeError::Check("the endpoint has no address".into())),
                [address] => self.ask_address(address, clock).await,
                _ => self.clone().ask_all(addresses, clock).await,
            },
        }
    }

    async fn ask_all(self: Arc<Self>, addresses: &[IpAddr], clock: Clock) -> Result<Timings, ProbeError> {
        let mut asked = JoinSet::new();
        for &address in addresses {
            let question = self.clone();
            asked.spawn(async move {
                let outcome = question.ask_address(address, clock).await;
                outcome.map_err(|error| ProbeError::At { address, error: Box::new(error) })
            });
        }
        let (mut slowest, mut own, mut warning) = (Timings::default(), None, None);
        while let Some(outcome) = asked.join_next().await {
            match outcome.unwrap_or_else(|e| Err(ProbeError::Check(e.to_string()))) {
                Ok(timings) => {
                    warning = warning.or(timings.warning);
                    slowest = if timings.total > slowest.total { timings } else { slowest };
                }
                // Another address may have failed by itself: that is evidence.
                Err(ProbeError::At { error, .. }) if matches!(*error, ProbeError::Own(_)) => own = Some(*error),
                Err(error) => return Err(error),
            }
        }
        own.map_or(Ok(Timings { warning, ..slowest }), Err)
    }

    async fn ask_address(&self, address: IpAddr, clock: Clock) -> Result<Timings, ProbeError> {
        self.ask_one(SocketAddr::new(address, self.port), &bracketed(address), clock).await
    }

    async fn ask_one(&self, address: SocketAddr, called: &str, clock: Clock) -> Result<Timings, ProbeError> {
        let asked = self.asked.of(address, called, clock).await;
        let timings = asked.map_err(|error| match error {
            ProbeError::Unreachable(why) if self.beside_ipv4 && !has_route(address) => ProbeError::Own(why),
            error => error,
        })?;
        Ok(Timings { total: clock.started.elapsed(), ..timings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::probe::EndpointKey;
    use crate::model::HttpCheck;

    #[test]
    fn a_probe_is_small_whatever_others_need() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let check = Check::new(CheckKind::Tcp { port: 80 });
        let pulse = Pulse::of(&Arc::default(), &EndpointKey::only("seoul@gslb.example", "192.0.2.1"));
        let target = EndpointTarget::Addresses(vec![address.ip()]);
        let tcp = Arc::new(Question::new(target, &check, Resolver::default(), pulse)).ask();
        assert!(size_of_val(&tcp) <= 2_048, "{}", size_of_val(&tcp));
        let http = HttpQuestion::new(&HttpCheck::new(80));
        let http = http.ask(address, "127.0.0.1", Clock::new(check.timeout));
        assert!(size_of_val(&http) <= 4_096, "{}", size_of_val(&http));
    }
}
