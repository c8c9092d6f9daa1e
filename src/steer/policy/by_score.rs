//! Services whose clients all go by the scores of regions, and nothing else: the commonest there are.
//!
//! A service and a site come in; the one region of all its clients, or one client's own, goes out. Nothing is
//! allocated: where several regions share a site, nothing is kept of it either, and each client is told its region when
//! it asks. The decisions are those of [`Picker::cell`](super::Picker::cell), which is for policies of any kind.

use super::eligible::{Eligible, ServiceCondition};
use super::terms::Terms;
use super::{Picker, PlanInputs, SHARE_STEP_MS, SOFTNESS_MS, TIER_MS, steps_behind};
use crate::model::{RegionId, Service, Weights};
use crate::steer::choice::cell::{Asker, Share, Shed};
use crate::steer::choice::pick::{Claim, Identity};
use crate::steer::planner::score_group::ScoreGroup;

/// More regions than this are decided for by the way that is for policies of any kind.
pub const MOST_REGIONS: usize = 64;

/// One such service, ready to be asked.
pub struct ByScore<'a> {
    inputs: PlanInputs<'a>,
    service: &'a Service,
    /// Its regions, [`MOST_REGIONS`] at most.
    regions: &'a [RegionId],
    /// What the planner knows it as; `None` where it does not plan it.
    score_group: Option<&'a ScoreGroup>,
    eligible: &'a Eligible,
}

/// Regions among which clients choose by weight: what one looks at before the next.
struct Alternative {
    shares: [Share; MOST_REGIONS],
    len: usize,
}

impl<'a> Picker<'a> {
    /// `None` where more than the scores of regions decides, or they are too many.
    pub fn scored(&self) -> Option<ByScore<'a>> {
        Some(ByScore {
            inputs: self.inputs,
            service: self.service,
            regions: self.shape.scored.as_deref().filter(|regions| regions.len() <= MOST_REGIONS)?,
            score_group: self.shape.score_groups.get(self.service.policies.root.index()).and_then(Option::as_ref),
            eligible: self.standing.of_all()?,
        })
    }
}

impl ByScore<'_> {
    pub fn regions(&self) -> &[RegionId] {
        self.regions
    }

    pub fn weights(&self) -> Weights {
        self.service.weights
    }

    pub fn terms(&self, region: RegionId) -> Terms {
        self.inputs.terms(self.service, region)
    }

    pub fn is_eligible(&self, region: RegionId) -> bool {
        self.eligible.has(region)
    }

    /// Tells whether it is every client's where it is alone in its tier.
    pub fn is_settled(&self, region: RegionId) -> bool {
        self.shed(region) <= 0.0 && self.eligible.condition == ServiceCondition::Normal
    }

    /// Tells whether the planner may have shares for some site.
    pub fn has_plan(&self) -> bool {
        self.score_group.is_some() && self.inputs.planned.is_some()
    }

    /// Tells whether the planner has shares for a site: then scores come second.
    pub fn is_planned(&self, site: usize) -> bool {
        self.planned(site).is_some()
    }

    /// The one region that all clients of a site get, under [`ServiceCondition::Normal`]; `None`: there are several, or
    /// the service is on worse ones.
    pub fn only(&self, site: usize) -> Option<RegionId> {
        let mut only = None;
        self.alternatives(site, |shares, _| {
            only = self.settled(shares);
            true
        });
        only.filter(|_| self.eligible.condition == ServiceCondition::Normal)
    }

    /// A client's region, and whether it may be another for other clients of the site. `None`: nothing is eligible.
    pub fn choose(&self, site: usize, asker: &Asker) -> Option<(RegionId, bool)> {
        let (mut chosen, mut is_shared) = (None, None);
        for shed in [Shed::Heeded, Shed::Ignored] {
            self.alternatives(site, |shares, best| {
                is_shared.get_or_insert(self.settled(shares).is_none());
                chosen = self.among(shares, best, asker, shed);
                chosen.is_some()
            });
            if chosen.is_some() {
                break;
            }
        }
        chosen.zip(is_shared)
    }

    /// The region that all clients with this alternative get.
    fn settled(&self, shares: &[Share]) -> Option<RegionId> {
        match shares {
            [Share { region, .. }] if self.shed(*region) <= 0.0 => Some(*region),
            _ => None,
        }
    }

    /// The region of the greatest reach that does not shed the client. `best`: as of [`ByScore::alternatives`].
    fn among(&self, shares: &[Share], best: Option<f64>, asker: &Asker, shed: Shed) -> Option<RegionId> {
        let keeps = |region: RegionId| shed == Shed::Ignored || !self.sheds(region, asker);
        if let [Share { region, .. }] = *shares {
            return keeps(region).then_some(region);
        }
        let mut first: Option<(Claim, RegionId)> = None;
        for &Share { region, weight } in shares {
            let weight = best.map_or(weight, |best| softened(weight, best));
            let claim = Claim::of(asker.key, self.identity(region), weight);
            if first.is_none_or(|(first, _)| claim.beats(&first)) && keeps(region) {
                first = Some((claim, region));
            }
        }
        first.map(|(_, region)| region)
    }

    /// The planner's shares where there are any, then tier by tier, until `is_enough`; none is empty. Of a tier, weights
    /// are totals as yet, and the best of all regions in the tier is given with them.
    fn alternatives(&self, site: usize, mut is_enough: impl FnMut(&[Share], Option<f64>) -> bool) {
        let mut alternative =
            Alternative { shares: [Share { region: RegionId(0), weight: 0.0 }; MOST_REGIONS], len: 0 };
        if let Some(shares) = self.planned(site) {
            shares.iter().filter(|share| self.eligible.has(share.region)).for_each(|share| alternative.push(*share));
            if alternative.weighed().is_some_and(|shares| is_enough(shares, None)) {
                return;
            }
        }
        let mut totals = [f64::INFINITY; MOST_REGIONS];
        for (total, &region) in totals.iter_mut().zip(self.regions) {
            *total = self.inputs.total_ms(self.service, site, region);
        }
        let totals = &totals[..self.regions.len().min(MOST_REGIONS)];
        let mut before = f64::NEG_INFINITY; // the best of the tier before
        loop {
            let is_left = |total: f64| total - before > TIER_MS;
            let best = totals.iter().copied().filter(|&total| is_left(total)).fold(f64::INFINITY, f64::min);
            if best == f64::INFINITY {
                return;
            }
            alternative.len = 0;
            for (&total, &region) in totals.iter().zip(self.regions) {
                if is_left(total) && total - best <= TIER_MS && self.eligible.has(region) {
                    alternative.push(Share { region, weight: total });
                }
            }
            if alternative.len > 0 && is_enough(&alternative.shares[..alternative.len], Some(best)) {
                return;
            }
            before = best;
        }
    }

    fn planned(&self, site: usize) -> Option<&[Share]> {
        self.score_group.zip(self.inputs.planned).and_then(|(group, planned)| planned.shares(group, site))
    }

    /// The part of clients that a region sheds, 0 to 1: none where there is nowhere to shed to.
    fn shed(&self, region: RegionId) -> f64 {
        match self.eligible.condition {
            ServiceCondition::Normal => self.inputs.states.get(region.index()).map_or(0.0, |state| state.shed),
            _ => 0.0,
        }
    }

    fn sheds(&self, region: RegionId, asker: &Asker) -> bool {
        let shed = self.shed(region);
        let salt = || self.identity(region).within(Identity::of(self.inputs.seed, "shed"));
        shed > 0.0 && asker.key.is_in_cohort(salt(), shed)
    }

    fn identity(&self, region: RegionId) -> Identity {
        self.inputs.identities.get(region.index()).copied().unwrap_or_default()
    }
}

impl Alternative {
    fn push(&mut self, share: Share) {
        if let Some(place) = self.shares.get_mut(self.len) {
            *place = share;
            self.len += 1;
        }
    }

    /// Those that weigh anything; where none does, all of them, alike. `None`: there is none.
    fn weighed(&mut self) -> Option<&[Share]> {
        let weighs = |share: &Share| share.weight > 0.0;
        if self.shares[..self.len].iter().any(weighs) {
            let mut kept = 0;
            for at in 0..self.len {
                if weighs(&self.shares[at]) {
                    self.shares.swap(kept, at);
                    kept += 1;
                }
            }
            self.len = kept;
        } else {
            self.shares[..self.len].iter_mut().for_each(|share| share.weight = 1.0);
        }
        (self.len > 0).then(|| &self.shares[..self.len])
    }
}

/// The weight of a region by its total, in a tier where `best` is the least.
fn softened(total: f64, best: f64) -> f64 {
    (-steps_behind(total, best) * SHARE_STEP_MS / SOFTNESS_MS).exp()
}
