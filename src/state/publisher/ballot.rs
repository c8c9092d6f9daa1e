//! The votes on all that is not plainly up at all vantages, from their words and the model.
//!
//! ```text
//!   words of vantages ─▶ contested endpoints ─▶ cut off ─▶ votes
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::model::{
    AddressPart, CheckKind, CheckRole, Endpoint, MemberCheck, Model, ProbeId, Region, RegionId, VoteRule,
};
use crate::state::vantages::Vantages;
use crate::steer::choice::pick::Identity;
use crate::steer::health::combine::combined;
use crate::steer::health::cut_off::{CutOff, Sighting, cut_off};
use crate::steer::health::effective::EndpointState;
use crate::steer::health::family::region_verdicts;
use crate::steer::health::verdict::Verdict;
use crate::steer::health::vote::{RegionVote, Tally, Vantage, Vote, can_judge};

/// The other vantages, and since when this one is cut off by their word.
#[derive(Default)]
pub struct Voting {
    /// By node name.
    pub others: BTreeMap<String, Vantage>,
    pub cut_off_since: BTreeMap<AddressPart, Instant>,
}

/// The regions that have probes, as a vantage tells them apart. Follows from the model alone.
pub struct Asked {
    pub judges: Arc<BTreeMap<Arc<str>, u64>>,
    /// By `RegionId`; `None`: it has no probes.
    pub regions: Vec<Option<AskedRegion>>,
}

pub struct AskedRegion {
    /// Qualified.
    pub name: Arc<str>,
    number: u64,
    /// Of all endpoints together.
    pub probes: usize,
    /// Endpoints by which a vantage may be found out: of [`AddressPart::Main`], then of IPv6.
    tell_tale: [usize; 2],
}

/// All votes of one moment.
#[derive(Default)]
pub struct Ballot {
    /// By `RegionId`; as long as the regions of the model.
    pub regions: Vec<RegionBallot>,
    pub vantages: Vantages,
}

/// The votes on one region.
#[derive(Default)]
pub struct RegionBallot {
    /// Of those of its probes that are not up at all vantages.
    pub votes: BTreeMap<Arc<str>, BTreeMap<ProbeId, Vote>>,
    pub count: Option<RegionVote>,
}

impl RegionBallot {
    pub fn of(&self, endpoint: &str, probe: &ProbeId) -> Option<&Vote> {
        self.votes.get(endpoint)?.get(probe)
    }
}

impl Asked {
    pub fn of(model: &Model) -> Asked {
        let regions: Vec<_> = model.region_ids().map(|id| AskedRegion::of(model, id)).collect();
        let judges = regions.iter().flatten().map(|of| (of.name.clone(), of.number)).collect();
        Asked { judges: Arc::new(judges), regions }
    }
}

impl AskedRegion {
    fn of(model: &Model, id: RegionId) -> Option<AskedRegion> {
        let region = model.region(id);
        let of_endpoint = |endpoint: &Endpoint| -> Vec<String> {
            let label = endpoint.label();
            region.probes_of(endpoint).map(|probed| format!("{label} {}", probed.id)).collect()
        };
        let mut probes: Vec<String> = region.endpoints.iter().flat_map(of_endpoint).collect();
        probes.sort();
        let tells = |part| region.endpoints.iter().filter(|of| has_part(of, part) && is_tell_tale(region)).count();
        (!probes.is_empty()).then(|| AskedRegion {
            name: model.qualified_region_name(id).into(),
            number: Identity::of(0, &probes.join("\n")).number(),
            probes: probes.len(),
            tell_tale: PARTS.map(tells),
        })
    }
}

/// Parts of addresses, as vantages are cut off of them.
pub const PARTS: [AddressPart; 2] = [AddressPart::Main, AddressPart::Ipv6];

pub fn index(part: AddressPart) -> usize {
    usize::from(part == AddressPart::Ipv6)
}

/// The part whose network a probe goes through.
fn part_of(endpoint: &Endpoint, probe: &ProbeId) -> AddressPart {
    match endpoint.has_ipv6() && !endpoint.has_ipv4() {
        true => AddressPart::Ipv6,
        false => probe.part,
    }
}

fn has_part(endpoint: &Endpoint, part: AddressPart) -> bool {
    endpoint.parts().iter().any(|&of| part_of(endpoint, &ProbeId { part: of, ..ProbeId::default() }) == part)
}

fn is_heartbeat(member: &MemberCheck) -> bool {
    matches!(member.check.kind, CheckKind::Push { .. })
}

/// Heartbeats reach one vantage only: those that hear none have not lost their network.
fn is_witness(member: &MemberCheck) -> bool {
    member.role != CheckRole::WatchOnly && !is_heartbeat(member)
}

fn is_tell_tale(region: &Region) -> bool {
    region.checks.iter().flat_map(|checks| &checks.members).any(is_witness)
}

/// The endpoints that are not plainly up at all vantages.
pub struct Contested<'a> {
    endpoints: Vec<ContestedEndpoint<'a>>,
    /// Of each vantage, how many more endpoints of each part it judges.
    calm: Vec<[usize; 2]>,
    /// By `RegionId`, of each vantage: whether it judges the region.
    judges: Vec<Vec<bool>>,
}

struct ContestedEndpoint<'a> {
    region: RegionId,
    endpoint: &'a Endpoint,
    /// In the order of the region.
    index: usize,
    label: Arc<str>,
    /// So many of its checks that vote must pass.
    needed: usize,
    probes: Vec<ContestedProbe<'a>>,
}

struct ContestedProbe<'a> {
    id: ProbeId,
    member: &'a MemberCheck,
    /// Of each vantage.
    verdicts: Vec<Option<Verdict>>,
}

impl<'a> Contested<'a> {
    pub fn of(model: &'a Model, asked: &Asked, vantages: &[&Vantage]) -> Contested<'a> {
        let mut contested = Contested { endpoints: Vec::new(), calm: vec![[0; 2]; vantages.len()], judges: Vec::new() };
        for (id, of) in model.region_ids().zip(&asked.regions) {
            let judges: Vec<bool> = match of {
                Some(of) => vantages.iter().map(|vantage| vantage.judges(&of.name, of.number)).collect(),
                None => vec![false; vantages.len()],
            };
            if let Some(of) = of {
                contested.add(model, id, of, vantages, &judges);
            }
            contested.judges.push(judges);
        }
        contested
    }

    fn add(&mut self, model: &'a Model, id: RegionId, of: &AskedRegion, vantages: &[&Vantage], judges: &[bool]) {
        let (region, needed, first) = (model.region(id), needed(model.region(id)), self.endpoints.len());
        let judging = || vantages.iter().zip(judges).filter(|(_, judges)| **judges).map(|(vantage, _)| vantage);
        let exceptions = judging().filter_map(|vantage| vantage.exceptions.get(&of.name));
        let listed: BTreeSet<&str> = exceptions.flat_map(|of| of.keys().map(|label| &**label)).collect();
        let says = |vantage: &Vantage, judges: bool, label: &str, probe: &ProbeId| {
            judges.then(|| vantage.says(&of.name, label, probe)).flatten()
        };
        // Labels are made only where some are looked for.
        let endpoints = region.endpoints.iter().enumerate().filter(|_| !listed.is_empty());
        for (index, endpoint) in endpoints {
            let label = endpoint.label();
            if !listed.contains(label.as_str()) {
                continue;
            }
            let verdicts = |probe: &ProbeId| {
                vantages.iter().zip(judges).map(|(vantage, judges)| says(vantage, *judges, &label, probe)).collect()
            };
            let probes = region.probes_of(endpoint);
            let probes = probes.map(|of| ContestedProbe { verdicts: verdicts(&of.id), id: of.id, member: of.member });
            let probes = probes.collect();
            let label = label.into();
            self.endpoints.push(ContestedEndpoint { region: id, endpoint, index, label, needed, probes });
        }
        for part in PARTS {
            let contested = self.endpoints[first..].iter().filter(|of| has_part(of.endpoint, part)).count();
            let calm = of.tell_tale[index(part)].saturating_sub(contested);
            let calms = self.calm.iter_mut().zip(judges).filter(|(_, judges)| **judges);
            calms.for_each(|(of, _)| of[index(part)] += calm);
        }
    }

    /// Of each vantage, why it is cut off of this part.
    pub fn cut_off(&self, part: AddressPart) -> Vec<Option<CutOff>> {
        let endpoints = self.endpoints.iter().filter(|of| has_part(of.endpoint, part));
        let sightings: Vec<Sighting> = endpoints
            .filter(|of| of.probes.iter().any(|probe| is_witness(probe.member)))
            .map(|of| {
                let verdicts = (0..self.calm.len()).map(|vantage| of.seen_by(vantage, part, is_witness));
                Sighting {
                    region: of.region,
                    verdicts: verdicts.map(|seen| seen.filter(|of| can_judge(*of))).collect(),
                }
            })
            .collect();
        let calm: Vec<usize> = self.calm.iter().map(|of| of[index(part)]).collect();
        cut_off(&sightings, &calm)
    }

    pub fn votes(
        &self,
        model: &Model,
        rule: VoteRule,
        is_cut_off: impl Fn(usize, AddressPart) -> bool,
    ) -> Vec<RegionBallot> {
        let mut ballots: Vec<RegionBallot> = model.region_ids().map(|_| RegionBallot::default()).collect();
        for of in &self.endpoints {
            let votes = of.probes.iter().map(|probe| {
                let part = part_of(of.endpoint, &probe.id);
                (probe.id.clone(), probe.vote(rule, |vantage| is_cut_off(vantage, part)))
            });
            let votes = votes.collect();
            if let Some(ballot) = ballots.get_mut(of.region.index()) {
                ballot.votes.insert(of.label.clone(), votes);
            }
        }
        let mut rest = &self.endpoints[..];
        for (id, ballot) in model.region_ids().zip(&mut ballots) {
            let (endpoints, others) = rest.split_at(rest.iter().take_while(|of| of.region == id).count());
            rest = others;
            let judges = self.judges.get(id.index()).into_iter().flatten().enumerate();
            let voting = judges.filter(|(at, judges)| **judges && !is_cut_off(*at, AddressPart::Main));
            ballot.count = region_vote(model.region(id), endpoints, voting.map(|(at, _)| at));
        }
        ballots
    }
}

impl ContestedEndpoint<'_> {
    /// The verdict of one vantage on a part, by those of its checks that count here.
    fn seen_by(&self, vantage: usize, part: AddressPart, counts: impl Fn(&MemberCheck) -> bool) -> Option<Verdict> {
        let probes = self.probes.iter().filter(|of| part_of(self.endpoint, &of.id) == part && counts(of.member));
        let said = probes.map(|of| (of.member.role, of.verdicts.get(vantage).copied().flatten()));
        combined(said, self.needed)
    }
}

impl ContestedProbe<'_> {
    fn vote(&self, rule: VoteRule, is_cut_off: impl Fn(usize) -> bool) -> Vote {
        let voting = || self.verdicts.iter().enumerate().filter(|(vantage, _)| !is_cut_off(*vantage));
        let tally = Tally::of(voting().map(|(_, said)| *said));
        let verdict = match is_heartbeat(self.member) {
            true => tally.verdict_by_heartbeats(rule),
            false => tally.verdict(rule),
        };
        let down_elsewhere = voting().any(|(vantage, said)| vantage > OWN && *said == Some(Verdict::Down));
        Vote { verdict, tally, down_elsewhere, is_cut_off: is_cut_off(OWN) }
    }
}

/// This node is the first of the vantages.
const OWN: usize = 0;

/// The word of each vantage on a region as a whole, counted.
fn region_vote(
    region: &Region,
    contested: &[ContestedEndpoint<'_>],
    vantages: impl Iterator<Item = usize>,
) -> Option<RegionVote> {
    let mut count = RegionVote { judging: 0, down: 0 };
    for vantage in vantages {
        let verdict = if contested.is_empty() { Verdict::Up } else { region_seen_by(region, contested, vantage) };
        count.judging += usize::from(can_judge(verdict));
        count.down += usize::from(verdict == Verdict::Down);
    }
    (count.judging > 0).then_some(count)
}

fn region_seen_by(region: &Region, contested: &[ContestedEndpoint<'_>], vantage: usize) -> Verdict {
    let up = EndpointState { verdict: Some(Verdict::Up), ipv6: Some(Verdict::Up), ..EndpointState::default() };
    let mut endpoints = vec![up; region.endpoints.len()];
    for of in contested {
        let Some(seen) = endpoints.get_mut(of.index) else { continue };
        let of_part = |part| {
            let probes = of.probes.iter().filter(|probe| probe.id.part == part);
            combined(probes.map(|probe| (probe.member.role, probe.verdicts.get(vantage).copied().flatten())), of.needed)
        };
        (seen.verdict, seen.ipv6) = (of_part(AddressPart::Main), of_part(AddressPart::Ipv6));
    }
    region_verdicts(region, &endpoints).0
}

fn needed(region: &Region) -> usize {
    region.checks.as_ref().map_or(0, |checks| checks.needed)
}
