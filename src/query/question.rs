//! A question on its way to an answer, by whichever path.

use crate::model::{RegionId, ServiceId};
use crate::state::Snapshot;
use crate::steer::decide::Seen;
use crate::wire::edns::ClientSubnet;
use crate::wire::query::Query;

use super::client::Client;
use super::counters::Counters;
use super::demand::Sample;

/// A query with its client and what it is answered from. Lent to what is inlined alone, copied to what is not:
/// so the usual ones stay in registers.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub snapshot: &'a Snapshot,
    pub query: Query<'a>,
    pub client: &'a Client,
    pub counters: &'a Counters,
}

impl Question<'_> {
    /// The client that a service answers: the network that the query tells, where it tells one and it is
    /// believed.
    #[inline(always)]
    pub fn seen(&self, ecs: bool) -> Seen {
        let subnet = self.query.edns.and_then(|edns| edns.subnet).filter(|_| ecs);
        match subnet.and_then(ClientSubnet::network) {
            Some(network) => Seen::Subnet(network),
            None => Seen::Source(self.client.address), // the resolver's, which is all there is
        }
    }

    /// Counts a service's answer: which client was sent where, for how long.
    #[inline(always)]
    pub fn count_served(&self, service: ServiceId, region: RegionId, ttl: u32) {
        let question = *self;
        self.counters.answered(move || question.sample(service, region, ttl));
    }

    #[cold]
    fn sample(self, service: ServiceId, region: RegionId, ttl: u32) -> Sample {
        let ecs = self.snapshot.model.services.get(service.index()).is_some_and(|service| service.ecs);
        Sample {
            client: self.seen(ecs).address(),
            service,
            region,
            ttl,
            weight: 1,
            reloads: self.snapshot.reloads as u16, // its low bits
        }
    }
}
