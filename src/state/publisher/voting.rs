//! The votes of several vantages, of which this node is one, on all that is not plainly up.
//!
//! ```text
//!   facts ─▶ own verdicts ─┐
//!                          ├─▶ sightings ─▶ cut off ─▶ votes ─▶ states
//!   other vantages ────────┘
//! ```
//!
//! Costs nothing where there are no others, and little where all is well: only exceptions are looked at. What this node
//! tells others, and keeps over a restart, is what its own probes say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::model::{AddressPart, ProbeId, VoteRule};
use crate::state::news::Urgency;
use crate::state::vantages::{OwnCutOff, Vantages};
use crate::steer::health::cut_off::CutOff;
use crate::steer::health::verdict::Verdict;
use crate::steer::health::vote::Vantage;

use super::Publisher;
use super::ballot::{Asked, AskedRegion, Ballot, Contested, PARTS, index};
use super::facts::RegionFacts;

impl Publisher {
    /// The verdicts of this node's own probes, as other nodes are told them. Equal to that of before where no verdict has
    /// changed, at the cost of the exceptions alone.
    pub fn own_verdicts(&self) -> Vantage {
        let asked = self.asked();
        let mut exceptions = BTreeMap::new();
        for (id, of) in self.configured.model.region_ids().zip(&asked.regions) {
            let Some(of) = of else { continue };
            let region = self.configured.model.region(id);
            let found = match self.regions.get(&*of.name) {
                Some(facts) => facts.exceptions(region, of.probes),
                None => RegionFacts::default().exceptions(region, of.probes),
            };
            if !found.is_empty() {
                exceptions.insert(of.name.clone(), found);
            }
        }
        Vantage { judges: asked.judges.clone(), exceptions }
    }

    /// Takes the verdicts of the other vantages, in place of all they said before.
    pub(super) fn take_vantages(&mut self, others: BTreeMap<String, Vantage>) -> Urgency {
        if self.voting.others == others {
            return Urgency::None;
        }
        let before = self.voted_exceptions();
        self.voting.others = others;
        if self.voting.others.is_empty() {
            self.voting.cut_off_since.clear();
        }
        match before == self.voted_exceptions() {
            true => Urgency::Soon,
            false => Urgency::Now,
        }
    }

    /// The votes as of now; `None` where this node goes by its own probes alone.
    pub(super) fn ballot(&mut self, now: Instant) -> Option<Ballot> {
        let (mut ballot, own) = self.count()?;
        let since = &mut self.voting.cut_off_since;
        since.retain(|part, _| own.iter().any(|(of, _)| of == part));
        for (part, why) in own {
            ballot.vantages.cut_off.push(OwnCutOff { part, since: *since.entry(part).or_insert(now), why });
        }
        Some(ballot)
    }

    /// All votes, and the parts that this node is cut off of.
    fn count(&self) -> Option<(Ballot, Vec<(AddressPart, CutOff)>)> {
        let (model, rule) = (&self.configured.model, self.configured.model.vote);
        if self.voting.others.is_empty() || rule == VoteRule::Own {
            return None;
        }
        let own = self.own_verdicts();
        let vantages: Vec<&Vantage> = [&own].into_iter().chain(self.voting.others.values()).collect();
        let contested = Contested::of(model, self.asked(), &vantages);
        let cut_off = PARTS.map(|part| contested.cut_off(part));
        let is_cut_off =
            |vantage: usize, part: AddressPart| cut_off[index(part)].get(vantage).is_some_and(Option::is_some);
        let names = self.voting.others.keys().map(|name| Arc::<str>::from(name.as_str()));
        let lost = names.clone().enumerate().filter(|(at, _)| PARTS.iter().any(|&part| is_cut_off(at + 1, part)));
        let standing = Vantages {
            others_cut_off: lost.map(|(_, name)| name).collect(),
            others: names.collect(),
            cut_off: Vec::new(),
        };
        let own = PARTS.into_iter().filter_map(|part| Some((part, (*cut_off[index(part)].first()?)?)));
        Some((Ballot { regions: contested.votes(model, rule, is_cut_off), vantages: standing }, own.collect()))
    }

    /// All probes whose verdict is not up, by all who have a say.
    fn voted_exceptions(&self) -> BTreeMap<(Arc<str>, Arc<str>, ProbeId), Verdict> {
        let own = self.own_verdicts();
        let mut found = BTreeMap::new();
        for (region, endpoints) in own.exceptions {
            for (endpoint, probes) in endpoints {
                let probes = probes.into_iter();
                found.extend(probes.map(|(probe, verdict)| ((region.clone(), endpoint.clone(), probe), verdict)));
            }
        }
        let ballots = self.count().map(|(ballot, _)| ballot.regions).unwrap_or_default();
        for (ballot, asked) in ballots.into_iter().zip(&self.asked().regions) {
            let Some(AskedRegion { name, .. }) = asked else { continue };
            for (endpoint, votes) in ballot.votes {
                let voted = votes.into_iter().filter_map(|(probe, vote)| Some((probe, vote.verdict?)));
                found.extend(voted.map(|(probe, verdict)| ((name.clone(), endpoint.clone(), probe), verdict)));
            }
        }
        found.retain(|_, verdict| *verdict != Verdict::Up);
        found
    }

    fn asked(&self) -> &Asked {
        self.asked.get_or_init(|| Asked::of(&self.configured.model))
    }
}

#[cfg(test)]
mod tests;
