//! Several nodes in one process, each a [`Simulation`] of its own, that share what they see by the code that servers share
//! it by: over a store in memory, with messages that arrive at once.
//!
//! ```text
//!   queries ─▶ the node that is asked ─▶ its demand ─▶ the leader ─▶ a plan ─▶ all nodes
//! ```

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::control::cluster::keys::prefix;
use crate::control::cluster::memory::MemoryStore;
use crate::control::cluster::node::{DEMAND_PERIOD, Identity, Input, LEASE, Node, Output, model_hash};
use crate::control::cluster::store::Revision;
use crate::steer::health::vote::Vantage;
use crate::steer::kept::Clock;

use super::day::{Second, Steering};
use super::{SimulatedAnswer, Simulation, World, WorldError};

/// Nodes at most.
pub const MAX_NODES: usize = 64;
const CLUSTER: &str = "simulation";
/// What follows from one second's news is settled in fewer rounds than that.
const MOST_ROUNDS: usize = 64;

/// The nodes of a cluster.
pub struct Nodes {
    store: MemoryStore,
    members: Vec<Member>,
    settled: bool,
}

struct Member {
    simulation: Simulation,
    node: Node,
    /// What it has heard of the store.
    heard: Option<Revision>,
    told_demand: Duration,
    told_verdicts: Option<Vantage>,
}

impl Nodes {
    /// So many nodes of the same world. One is a simulation as any other.
    pub fn start(world: &World, count: usize) -> Result<Nodes, WorldError> {
        let member = |index: usize| {
            let simulation = Simulation::start(world)?;
            let name = format!("node{index}");
            let identity = Identity {
                cluster: CLUSTER.into(),
                address: name.clone(),
                node: name,
                boot: index as u64 + 1,
                version: String::new(),
            };
            let model = model_hash(&simulation.snapshot().model, world.seed);
            let node = Node::new(identity, model);
            Ok(Member { simulation, node, heard: None, told_demand: Duration::ZERO, told_verdicts: None })
        };
        let members = (0..count.clamp(1, MAX_NODES)).map(member).collect::<Result<_, WorldError>>()?;
        Ok(Nodes { store: MemoryStore::new(1), members, settled: false })
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Something is told to one node; `None`: to all.
    pub fn tell(&mut self, node: Option<usize>, mut tell: impl FnMut(&mut Simulation)) {
        self.settled = false;
        let told = |index: &usize| node.is_none_or(|node| node == *index);
        let indices: Vec<usize> = (0..self.members.len()).filter(told).collect();
        indices.into_iter().for_each(|index| self.with(index, |member| tell(&mut member.simulation)));
    }

    /// As [`Simulation::report_load`], of one node, which tells the others; `None`: it comes to all.
    pub fn report_load(&mut self, node: Option<usize>, region: usize, load: f64, capacity: Option<f64>) {
        self.tell(node, |simulation| simulation.report_load(region, load, capacity));
        if let Some(index) = node {
            self.with(index, |member| {
                let update = member.simulation.load_update(region, load, capacity);
                update.into_iter().for_each(|update| member.node.tell_load(update));
            });
        }
    }

    /// The number of regions.
    pub fn regions(&self) -> usize {
        self.members.first().map_or(0, |member| member.simulation.regions())
    }

    /// The number of locations.
    pub fn locations(&self) -> usize {
        self.members.first().map_or(0, |member| member.simulation.locations())
    }

    /// Since the start.
    pub fn time(&self) -> Duration {
        self.members.first().map_or(Duration::ZERO, |member| member.simulation.time())
    }

    /// As [`Simulation::keep_in`]: where there are several, each in a directory of its own.
    pub fn keep_in(&mut self, state: &Path, wall: Duration) {
        let alone = self.members.len() == 1;
        for (index, member) in self.members.iter_mut().enumerate() {
            match alone {
                true => member.simulation.keep_in(state, wall),
                false => member.simulation.keep_in(&state.join(format!("node{index}")), wall),
            }
        }
    }

    /// As [`Simulation::take_notices`].
    pub fn take_notices(&mut self) -> Vec<String> {
        self.members.iter_mut().flat_map(|member| member.simulation.take_notices()).collect()
    }

    /// Something is told to all of them.
    pub fn each(&mut self, tell: impl FnMut(&mut Simulation)) {
        self.tell(None, tell);
    }

    /// As [`Simulation::set_time`].
    pub fn set_time(&mut self, now: Duration) {
        self.each(|simulation| simulation.set_time(now));
        self.store.advance(now);
    }

    /// As [`Simulation::query`], of one node.
    pub fn query(&mut self, node: usize, location: usize, key: u64, by_subnet: bool) -> Option<SimulatedAnswer> {
        if !self.settled {
            self.settle();
        }
        self.members.get_mut(node)?.simulation.query(location, key, by_subnet)
    }

    /// As [`Simulation::end_second`].
    pub fn end_second(&mut self) {
        if !self.settled {
            self.settle();
        }
        for member in &mut self.members {
            member.simulation.end_second();
            let now = member.simulation.time();
            if now >= member.told_demand + DEMAND_PERIOD {
                member.told_demand = now;
                let samples = member.simulation.publisher().planning().take_outgoing();
                member.node.tell_demand(samples);
            }
        }
    }

    /// Has all nodes take what came, and tell each other, until nothing follows any more.
    fn settle(&mut self) {
        self.settled = true;
        if self.members.len() == 1 {
            return; // alone, as a server without a cluster
        }
        for _ in 0..MOST_ROUNDS {
            self.members.iter_mut().for_each(|member| member.simulation.settle());
            let mut done = true;
            for index in 0..self.members.len() {
                done &= !self.act(index);
            }
            if done {
                break;
            }
        }
    }

    /// Does what one node has to do. Whether there was anything.
    fn act(&mut self, index: usize) -> bool {
        let Some(member) = self.members.get_mut(index) else { return false };
        let clock = member.simulation.clock();
        member.listen(&self.store, &clock);
        let own = member.simulation.publisher().own_verdicts();
        if member.told_verdicts.as_ref() != Some(&own) {
            member.told_verdicts = Some(own.clone());
            member.node.set_verdicts(own, &clock);
        }
        if let Some(proposal) = member.simulation.publisher().planning().take_proposal(&clock) {
            member.node.propose(proposal, &clock);
        }
        member.node.tick(&clock);
        let outputs = member.node.take_outputs();
        let any = !outputs.is_empty();
        outputs.into_iter().for_each(|output| self.put_out(index, output, &clock));
        any
    }

    fn put_out(&mut self, index: usize, output: Output, clock: &Clock) {
        let Some(at) = self.members.get(index).map(|member| member.simulation.time()) else { return };
        let asked_at = clock.now();
        let input = match output {
            Output::Grant => Input::Granted { asked_at, result: self.store.grant(LEASE, at) },
            Output::KeepAlive(lease) => Input::KeptAlive { asked_at, result: self.store.keep_alive(lease, at) },
            Output::Commit { of, transaction } => Input::Committed { of, result: self.store.commit(transaction) },
            Output::Send { of, to, kind, body, .. } => {
                let from = format!("node{index}");
                let result = self.deliver(&from, &to, kind, &body, clock);
                Input::Replied { of, from: to, result }
            }
            Output::News(news) => return self.with(index, |member| member.simulation.tell(news)),
            Output::Load(update) => return self.with(index, |member| member.simulation.take_load(update)),
            // Nobody says anything in a simulation.
            Output::Words(_) | Output::Said { .. } | Output::Overtaken(_) => return,
        };
        self.with(index, |member| member.node.hear(input, clock));
    }

    fn deliver(&mut self, from: &str, to: &str, kind: &str, body: &[u8], clock: &Clock) -> Result<Vec<u8>, String> {
        let found = self.members.iter_mut().find(|member| member.node.name() == to);
        found.ok_or("there is no such node")?.node.receive(from, kind, body, clock)
    }

    fn with(&mut self, index: usize, act: impl FnOnce(&mut Member)) {
        if let Some(member) = self.members.get_mut(index) {
            act(member);
        }
    }
}

impl Member {
    /// Hears what has changed in the store.
    fn listen(&mut self, store: &MemoryStore, clock: &Clock) {
        let prefix = prefix(CLUSTER);
        let input = match self.heard {
            Some(heard) => store.changes_since(&prefix, heard).map(Input::Changed),
            None => store.list(&prefix).map(Input::Listed),
        };
        self.heard = input.is_ok().then(|| store.revision());
        match input {
            Ok(Input::Changed(changes)) if changes.is_empty() => {}
            Ok(input) => self.node.hear(input, clock),
            // All is read anew when it is back.
            Err(error) => self.node.hear(Input::Away(error), clock),
        }
    }
}

/// Which node a query goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// A resolver, or subnet, keeps its node.
    ByResolver,
    /// Any, each time.
    AtRandom,
    /// Each node sees a part of the world.
    ByLongitude,
}

/// Nodes under a way of splitting queries: something that steers.
pub struct SplitNodes {
    nodes: Nodes,
    split: Split,
    chance: fastrand::Rng,
    /// By location, 0 to 1.
    longitudes: Vec<f64>,
}

impl SplitNodes {
    pub fn new(nodes: Nodes, split: Split, world: &World) -> SplitNodes {
        let longitude = |place: &super::ClientLocation| (place.at.longitude() + 180.0) / 360.0;
        let longitudes = world.locations.iter().map(longitude).collect();
        SplitNodes { nodes, split, chance: fastrand::Rng::with_seed(world.seed), longitudes }
    }

    pub fn nodes(&mut self) -> &mut Nodes {
        &mut self.nodes
    }

    fn node_of(&mut self, location: usize, key: u64) -> usize {
        let count = self.nodes.len();
        match self.split {
            Split::ByResolver => (key % count as u64) as usize,
            Split::AtRandom => self.chance.usize(0..count),
            Split::ByLongitude => {
                let part = self.longitudes.get(location).copied().unwrap_or(0.0);
                ((part * count as f64) as usize).min(count - 1)
            }
        }
    }
}

impl Steering for SplitNodes {
    fn second(&mut self, second: &Second<'_>, answers: &mut Vec<SimulatedAnswer>) -> io::Result<()> {
        self.nodes.set_time(Duration::from_secs(second.t));
        self.nodes.each(|simulation| simulation.hear(second));
        for query in second.queries {
            let node = self.node_of(query.location, query.key);
            answers.extend(self.nodes.query(node, query.location, query.key, query.by_subnet));
        }
        self.nodes.end_second();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Coordinates;
    use crate::simulate::{ClientLocation, Site};
    use crate::state::memory::planning::role::Role;

    const PLACES: usize = 24;

    /// Two regions of 1,000, one beside most clients.
    fn world() -> World {
        let at = |latitude, longitude| Coordinates::new(latitude, longitude).expect("coordinates");
        let region =
            |name: &str, longitude| Site { name: name.into(), at: at(40.0, longitude), cost: 0.5, capacity: 1000.0 };
        let place = |n: usize| {
            let longitude = if n < 20 { 80.0 + 4.0 * n as f64 } else { n as f64 };
            ClientLocation { country: None, at: at(30.0, longitude), name: format!("place {n}") }
        };
        let regions = vec![region("seoul", 127.0), region("paris", 8.0)];
        World { regions, locations: (0..PLACES).map(place).collect(), seed: 3, ..World::default() }
    }

    /// Resolvers that keep an answer for its life, each with clients behind it: 1,500 in all.
    struct Played {
        nodes: Nodes,
        cached: Vec<Option<(usize, u64)>>,
        t: u64,
        /// The node that each query goes to.
        node_of: fn(usize, usize) -> usize,
    }

    const RESOLVERS: usize = 25;
    const DEMAND: f64 = 1500.0;

    impl Played {
        fn start(count: usize, node_of: fn(usize, usize) -> usize) -> Played {
            let nodes = Nodes::start(&world(), count).expect("nodes");
            Played { nodes, cached: vec![None; PLACES * RESOLVERS], t: 0, node_of }
        }

        fn load(&self, region: usize) -> f64 {
            let on = self.cached.iter().flatten().filter(|(on, _)| *on == region).count();
            DEMAND * on as f64 / self.cached.len() as f64
        }

        fn seconds(&mut self, seconds: u64) {
            for _ in 0..seconds {
                self.nodes.set_time(Duration::from_secs(self.t));
                if self.t.is_multiple_of(10) {
                    (0..2).for_each(|region| {
                        let load = self.load(region);
                        self.nodes.report_load(None, region, load, Some(1000.0));
                    });
                }
                for (index, cached) in self.cached.iter_mut().enumerate() {
                    if cached.is_none_or(|(_, until)| until <= self.t) {
                        let (place, key) = (index / RESOLVERS, index as u64 * 7919);
                        let node = (self.node_of)(place, index) % self.nodes.len();
                        let answer = self.nodes.query(node, place, key, true).expect("an answer");
                        *cached = Some((answer.region, self.t + u64::from(answer.ttl_s)));
                    }
                }
                self.nodes.end_second();
                self.t += 1;
            }
        }

        /// The regions that each node would answer all resolvers with.
        fn answers(&mut self, node: usize) -> Vec<usize> {
            let keys = (0..PLACES).flat_map(|place| (0..40u64).map(move |key| (place, key * 7919)));
            keys.map(|(place, key)| self.nodes.query(node, place, key, true).expect("an answer").region).collect()
        }

        fn roles(&self, role: Role) -> usize {
            self.nodes.members.iter().filter(|member| member.node.role() == role).count()
        }
    }

    #[test]
    fn one_node_plans_for_all_and_all_answer_alike() {
        let mut played = Played::start(4, |place, _| place / 6);
        played.seconds(300);
        assert_eq!((played.roles(Role::Leader), played.roles(Role::Follower)), (1, 3));
        let first = played.answers(0);
        assert!((1..4).all(|node| played.answers(node) == first));
        let loads = [played.load(0), played.load(1)];
        assert!(
            loads.iter().all(|load| *load <= 1000.0),
            "{loads:?}: each node alone sees room enough for all it sees"
        );
        let plans: Vec<_> = played.nodes.members.iter().map(|member| member.node.plans().in_force()).collect();
        assert!(plans[0].is_some() && plans.iter().all(|plan| *plan == plans[0]), "{plans:?}");
    }

    #[test]
    fn a_region_is_down_when_most_nodes_see_it_down() {
        let mut played = Played::start(3, |_, index| index);
        played.seconds(300);
        played.nodes.tell(Some(1), |simulation| simulation.set_alive(0, false));
        let before = played.answers(1);
        played.seconds(20);
        let after = played.answers(1);
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert!(moved * 20 <= before.len(), "one node's path is no outage: {moved} of {} moved", before.len());
        played.nodes.tell(Some(2), |simulation| simulation.set_alive(0, false));
        played.seconds(8);
        for node in 0..3 {
            assert!(played.answers(node).iter().all(|&region| region == 1), "node {node}");
        }
    }

    #[test]
    fn a_report_that_one_node_has_reaches_all() {
        let mut played = Played::start(3, |_, index| index);
        played.seconds(5);
        played.nodes.set_time(Duration::from_secs(5));
        played.nodes.report_load(Some(2), 0, 700.0, Some(1000.0));
        played.nodes.end_second();
        played.t = 6;
        played.seconds(3);
        for member in &played.nodes.members {
            let load = member.simulation.snapshot().states[0].load.last.map(|figure| figure.load);
            assert_eq!(load, Some(700.0));
        }
    }

    #[test]
    fn another_node_leads_when_the_leader_is_gone_and_goes_on_from_what_it_knew() {
        let mut played = Played::start(3, |_, index| index);
        played.seconds(200);
        let leader = played.nodes.members.iter().position(|member| member.node.role() == Role::Leader).expect("one");
        let before = played.answers((leader + 1) % 3);
        played.nodes.members.remove(leader);
        played.nodes.settled = false;
        played.seconds(60);
        assert_eq!((played.roles(Role::Leader), played.roles(Role::Follower)), (1, 1));
        let after = played.answers(0);
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert!(moved * 20 <= before.len(), "{moved} of {} moved", before.len());
        assert_eq!(after, played.answers(1));
    }

    #[test]
    fn without_the_store_the_last_plan_holds_then_each_plans_alone_and_all_is_as_before_when_it_is_back() {
        let mut played = Played::start(3, |place, _| place / 8);
        played.seconds(300);
        let before = played.answers(0);
        played.nodes.store.set_away(true);
        played.seconds(250);
        assert_eq!(played.roles(Role::Follower), 3, "nobody leads, and the last plan holds");
        assert_eq!(played.answers(1), played.answers(2));
        played.seconds(400);
        assert_eq!(played.roles(Role::Alone), 3);
        for node in 0..3 {
            let answers = played.answers(node);
            let moved = before.iter().zip(&answers).filter(|(before, after)| before != after).count();
            assert!(moved * 10 <= before.len(), "node {node}: {moved} of {} moved", before.len());
        }
        let loads = [played.load(0), played.load(1)];
        assert!(loads.iter().all(|load| *load <= 1000.0), "{loads:?}");
        played.nodes.store.set_away(false);
        played.seconds(15);
        assert_eq!((played.roles(Role::Leader), played.roles(Role::Follower)), (1, 2));
        played.seconds(60);
        let first = played.answers(0);
        assert!((1..3).all(|node| played.answers(node) == first));
    }
}
