//! The plan's word on a place's clients: the regions that share them, and how one client finds its
//! own.
//!
//! ```text
//!   plan ─▶ Table: class ─▶ Cell ─▶ Pick ─▶ one client's regions
//!                                        One          most cells: nothing to choose
//!                                        Split        by weighted rendezvous, of regions or of picks
//!                                        First        the first that does not shed this client
//!                                        Many         several regions in one answer
//!                                        Cohort       a canary's part of clients, and the others
//! ```
//!
//! Made by [`crate::steer::policy`]; read on the packet path, where nothing is allocated.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState as Folding;

use crate::model::policy::MAX_ANSWERS;
use crate::model::{RegionId, Weight};

use super::endpoint_set::EndpointSet;
use super::pick::{Claim, ClientKey, Identity, mix};
use crate::steer::policy::eligible::ServiceCondition;

/// The answer to the clients of some places, as far as they share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    pub pick: Pick,
    /// The condition that these clients' regions are in.
    pub condition: ServiceCondition,
}

/// A choice that is left to be made for each client, or one that is made. A copy shares what it holds: most cells of a
/// table are those of the table before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pick {
    One(RegionId),
    /// This region, but for the part of clients it sheds.
    Shedding {
        region: RegionId,
        shed: Weight,
        salt: Identity,
    },
    /// The first of these that does not shed the client; at least two.
    First(Arc<[Pick]>),
    /// One of these, by weighted rendezvous; at least two.
    Split {
        by: SplitBy,
        branches: Arc<[Branch]>,
    },
    /// So many of these at once, by weighted rendezvous; at least two.
    Many {
        answers: u8,
        branches: Arc<[Branch]>,
    },
    /// For this part of clients, 0 to 1, the first; for the others the second.
    Cohort {
        share: Weight,
        salt: Identity,
        of: Arc<[Pick; 2]>,
    },
}

/// The property of a client that its choice is made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SplitBy {
    /// The client that the answer is for: its network, or the resolver's address.
    Key,
    /// The network, of the client or of the resolver.
    Network,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Branch {
    pub identity: Identity,
    /// Above 0.
    pub weight: Weight,
    pub pick: Pick,
}

/// A region and its relative weight, above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub region: RegionId,
    pub weight: f64,
}

/// The asking client, as far as choices go by it.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    pub key: ClientKey,
    /// The address that asks, where `key` is not that of its network.
    pub source: Option<IpAddr>,
}

/// The regions of one answer, each once, the foremost first; at most [`MAX_ANSWERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regions {
    list: [RegionId; MAX_ANSWERS],
    len: u8,
}

impl Pick {
    /// The regions this client gets; at least one. A region that sheds it is taken all the same
    /// where there is nothing else.
    #[inline]
    pub fn regions(&self, asker: &Asker) -> Regions {
        let mut regions = Regions::NONE;
        if !self.fill(asker, Shed::Heeded, &mut regions) {
            self.fill(asker, Shed::Ignored, &mut regions);
        }
        regions
    }

    /// Puts this client's regions into `into`; false where all of them shed it.
    #[inline]
    fn fill(&self, asker: &Asker, shed: Shed, into: &mut Regions) -> bool {
        match self {
            Pick::One(region) => into.only(*region),
            Pick::Split { by, branches } => split(branches, *by, asker, shed, into).is_some(),
            pick => pick.fill_nested(asker, shed, into),
        }
    }

    /// [`Pick::fill`] for what is rare, by a call: the usual picks are inlined there.
    fn fill_nested(&self, asker: &Asker, shed: Shed, into: &mut Regions) -> bool {
        match self {
            Pick::One(_) | Pick::Split { .. } => self.fill(asker, shed, into),
            Pick::Shedding { region, shed: share, salt } => {
                let sheds = shed == Shed::Heeded && asker.key.is_in_cohort(*salt, share.get());
                !sheds && into.only(*region)
            }
            Pick::First(picks) => picks.iter().any(|pick| pick.fill(asker, shed, into)),
            Pick::Many { answers, branches } => {
                let foremost = Foremost::of(branches, *answers, asker, shed);
                foremost.fill(into);
                foremost.count > 0
            }
            Pick::Cohort { share, salt, of } => {
                let is_inside = asker.key.is_in_cohort(*salt, share.get());
                half(of.each_ref().map(Some), is_inside, asker, shed, into).is_some()
            }
        }
    }

    /// The regions this client gets where shedding is heeded, or not; `None`: all of them shed it.
    pub fn regions_as(&self, asker: &Asker, shed: Shed) -> Option<Regions> {
        let mut regions = Regions::NONE;
        self.fill(asker, shed, &mut regions).then_some(regions)
    }

    /// Each region's part of the clients, 0 to 1, summing to 1. Of several regions in one answer a
    /// client takes any.
    pub fn fractions(&self) -> Vec<(RegionId, f64)> {
        let mut fractions = Vec::new();
        self.add_fractions(1.0, &mut fractions);
        fractions.retain(|(_, part)| *part > 0.0);
        fractions
    }

    /// Every region that some client may get, some of them several times.
    pub fn for_each_region(&self, visit: &mut impl FnMut(RegionId)) {
        match self {
            Pick::One(only) | Pick::Shedding { region: only, .. } => visit(*only),
            Pick::First(picks) => picks.iter().for_each(|pick| pick.for_each_region(visit)),
            Pick::Split { branches, .. } | Pick::Many { branches, .. } => {
                branches.iter().for_each(|branch| branch.pick.for_each_region(visit));
            }
            Pick::Cohort { of, .. } => of.iter().for_each(|half| half.for_each_region(visit)),
        }
    }

    /// Tells whether all regions that some client may get are so.
    pub fn all(&self, is_so: &impl Fn(RegionId) -> bool) -> bool {
        match self {
            Pick::One(only) | Pick::Shedding { region: only, .. } => is_so(*only),
            Pick::First(picks) => picks.iter().all(|pick| pick.all(is_so)),
            Pick::Split { branches, .. } | Pick::Many { branches, .. } => {
                branches.iter().all(|branch| branch.pick.all(is_so))
            }
            Pick::Cohort { of, .. } => of.iter().all(|half| half.all(is_so)),
        }
    }

    /// Tells whether every client is answered without shedding being ignored.
    pub fn is_sure(&self) -> bool {
        match self {
            Pick::One(_) => true,
            Pick::Shedding { .. } => false,
            Pick::First(picks) => picks.iter().any(Pick::is_sure),
            Pick::Split { branches, .. } | Pick::Many { branches, .. } => branches.iter().any(|b| b.pick.is_sure()),
            Pick::Cohort { of, .. } => of[1].is_sure(),
        }
    }

    /// The first of these that does not shed the client. `None` where there are none.
    pub fn first_of(picks: impl IntoIterator<Item = Pick>) -> Option<Pick> {
        let mut kept: Vec<Pick> = Vec::new();
        for pick in picks {
            let is_sure = pick.is_sure();
            kept.push(pick);
            if is_sure {
                break; // those that come after it are not even made
            }
        }
        if kept.len() > 1 { Some(Pick::First(kept.into())) } else { kept.pop() }
    }

    /// Adds the part `of` of clients to those of the regions they get. Where regions shed clients
    /// it is an estimate, since who is shed by one may be shed by the next as well.
    fn add_fractions(&self, of: f64, into: &mut Vec<(RegionId, f64)>) {
        match self {
            Pick::One(region) | Pick::Shedding { region, .. } => add(*region, of, into),
            Pick::First(picks) => {
                let mut left = of;
                for (index, pick) in picks.iter().enumerate() {
                    let kept = if index + 1 == picks.len() { 1.0 } else { pick.kept() };
                    pick.add_fractions(left * kept, into);
                    left *= 1.0 - kept;
                }
            }
            Pick::Split { branches, .. } | Pick::Many { branches, .. } => {
                let weigh = |branch: &Branch| branch.weight.get() * branch.pick.kept();
                let all: f64 = branches.iter().map(weigh).sum();
                let sure = all > 0.0;
                let plain: f64 = branches.iter().map(|branch| branch.weight.get()).sum();
                for branch in branches.iter() {
                    let part = if sure { weigh(branch) / all } else { branch.weight.get() / plain };
                    branch.pick.add_fractions(of * part, into);
                }
            }
            Pick::Cohort { share, of: halves, .. } => {
                let inside = share.get() * halves[0].kept();
                halves[0].add_fractions(of * inside, into);
                halves[1].add_fractions(of * (1.0 - inside), into);
            }
        }
    }

    /// The part of clients that is not shed.
    fn kept(&self) -> f64 {
        match self {
            Pick::One(_) => 1.0,
            Pick::Shedding { shed, .. } => 1.0 - shed.get(),
            Pick::First(picks) => 1.0 - picks.iter().map(|pick| 1.0 - pick.kept()).product::<f64>(),
            Pick::Split { branches, .. } | Pick::Many { branches, .. } => {
                1.0 - branches.iter().map(|branch| 1.0 - branch.pick.kept()).product::<f64>()
            }
            Pick::Cohort { of, .. } => of[1].kept(),
        }
    }
}

/// The choice whether regions may shed a client. First they may; where that leaves nothing, they may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    Heeded,
    Ignored,
}

fn add(region: RegionId, part: f64, into: &mut Vec<(RegionId, f64)>) {
    match into.iter_mut().find(|(of, _)| *of == region) {
        Some((_, sum)) => *sum += part,
        None => into.push((region, part)),
    }
}

/// The place of the branch of the greatest reach that does not shed the client; its regions go into `into`.
pub fn split(branches: &[Branch], by: SplitBy, asker: &Asker, shed: Shed, into: &mut Regions) -> Option<usize> {
    let key = by.key(asker);
    let mut best: Option<(Claim, usize)> = None;
    let mut regions = Regions::NONE;
    for (index, branch) in branches.iter().enumerate() {
        let claim = Claim::of(key, branch.identity, branch.weight.get());
        if best.is_some_and(|(best, _)| !claim.beats(&best)) {
            continue;
        }
        match &branch.pick {
            Pick::One(region) => *into = Regions::one(*region),
            pick if pick.fill_nested(asker, shed, &mut regions) => *into = regions,
            _ => continue,
        }
        best = Some((claim, index));
    }
    best.map(|(_, index)| index)
}

/// The half that a client gets, 0 or 1: the first is for those inside of a cohort, and for all where there is no other.
pub fn half(
    [first, second]: [Option<&Pick>; 2],
    is_inside: bool,
    asker: &Asker,
    shed: Shed,
    into: &mut Regions,
) -> Option<usize> {
    let mut keeps = |half: Option<&Pick>| half.is_some_and(|half| half.fill(asker, shed, into));
    if (is_inside || second.is_none()) && keeps(first) {
        return Some(0);
    }
    keeps(second).then_some(1)
}

/// The branches of the greatest reach, the foremost first. Each stands for its foremost region.
pub struct Foremost {
    claims: [(f64, Identity, RegionId); MAX_ANSWERS],
    count: usize,
}

impl Foremost {
    /// Of the branches that do not shed the client, `answers` at most.
    pub fn of(branches: &[Branch], answers: u8, asker: &Asker, shed: Shed) -> Foremost {
        let mut claims = [(f64::NEG_INFINITY, Identity::default(), RegionId(0)); MAX_ANSWERS];
        let most = usize::from(answers).clamp(1, MAX_ANSWERS);
        let mut count = 0;
        let mut regions = Regions::NONE;
        for branch in branches {
            if !branch.pick.fill(asker, shed, &mut regions) {
                continue;
            }
            let claim =
                (Claim::of(asker.key, branch.identity, branch.weight.get()).reach(), branch.identity, regions.first());
            // A region that several branches lead to stands for its best claim.
            let mut at = match claims[..count].iter().position(|other| other.2 == claim.2) {
                Some(same) if claim > claims[same] => same,
                None if count < most => {
                    count += 1;
                    count - 1
                }
                None if claim > claims[most - 1] => most - 1,
                _ => continue,
            };
            claims[at] = claim;
            while at > 0 && claims[at] > claims[at - 1] {
                claims.swap(at, at - 1);
                at -= 1;
            }
        }
        Foremost { claims, count }
    }

    pub fn identities(&self) -> impl Iterator<Item = Identity> {
        self.claims.iter().take(self.count).map(|claim| claim.1)
    }

    fn fill(&self, into: &mut Regions) {
        into.len = self.count as u8; // at most MAX_ANSWERS
        for (place, claim) in into.list.iter_mut().zip(self.claims) {
            *place = claim.2;
        }
    }
}

impl SplitBy {
    /// The key that is hashed.
    pub fn key(self, asker: &Asker) -> ClientKey {
        match self {
            SplitBy::Key => asker.key,
            SplitBy::Network => asker.source.map_or(asker.key, ClientKey::of_network),
        }
    }
}

impl Regions {
    const NONE: Regions = Regions { list: [RegionId(0); MAX_ANSWERS], len: 0 };

    /// To be filled.
    pub fn none() -> Regions {
        Regions::NONE
    }

    #[inline]
    pub fn one(region: RegionId) -> Regions {
        let mut regions = Regions::NONE;
        regions.only(region);
        regions
    }

    #[inline]
    fn only(&mut self, region: RegionId) -> bool {
        (self.list[0], self.len) = (region, 1);
        true
    }

    #[inline]
    pub fn first(&self) -> RegionId {
        self.list[0]
    }

    #[inline]
    pub fn as_slice(&self) -> &[RegionId] {
        self.list.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl Cell {
    /// [`Pick::fractions`] of the cell's clients.
    pub fn fractions(&self) -> impl Iterator<Item = (RegionId, f64)> + use<> {
        self.pick.fractions().into_iter()
    }

    /// Tells whether which client asks can matter: for its region, or for the endpoint within it.
    pub fn is_keyed(&self, endpoint_sets: &[EndpointSet]) -> bool {
        match &self.pick {
            Pick::One(only) => {
                endpoint_sets.get(only.index()).is_some_and(|endpoint_set| endpoint_set.endpoints.len() > 1)
            }
            _ => true,
        }
    }
}

/// Cells in the making, each once.
#[derive(Default)]
pub struct Cells<H = Folding> {
    list: Vec<Cell>,
    /// By the hash of the cell: a long list is made without hashing any twice.
    numbers: HashMap<u64, u32, Folding>,
    hasher: H,
}

impl<H: BuildHasher> Cells<H> {
    pub fn number(&mut self, cell: Cell) -> u32 {
        let mut hash = self.hasher.hash_one(&cell);
        loop {
            match self.numbers.entry(hash) {
                Entry::Vacant(entry) => {
                    let next = self.list.len() as u32; // at most one per place, and those are u32
                    self.list.push(cell);
                    return *entry.insert(next);
                }
                Entry::Occupied(entry) if self.list.get(*entry.get() as usize) == Some(&cell) => return *entry.get(),
                Entry::Occupied(_) => hash = mix(hash), // another by chance: the next
            }
        }
    }

    /// All of them, by number.
    pub fn into_list(self) -> Vec<Cell> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, Hasher};

    use super::*;

    /// Hashes all alike.
    #[derive(Default)]
    struct Same;

    impl Hasher for Same {
        fn write(&mut self, _: &[u8]) {}

        fn finish(&self) -> u64 {
            7
        }
    }

    #[test]
    fn cells_that_hash_alike_are_told_apart() {
        let cell = |region| Cell { pick: Pick::One(RegionId(region)), condition: ServiceCondition::Normal };
        let mut cells = Cells::<BuildHasherDefault<Same>>::default();
        assert_eq!([3, 1, 3, 2, 1, 2].map(|region| cells.number(cell(region))), [0, 1, 0, 2, 1, 2]);
        assert_eq!(cells.into_list(), [cell(3), cell(1), cell(2)]);
    }
}
