//! Sites whose clients are answered alike, told without working out their answers.
//!
//! In: a service whose clients are all decided by the scores of its regions. Out: for each site the
//! cell that the first such site got. What a cell follows from, regions by tier and how far each is
//! behind the best of its tier, is quick to find and the same for most sites; the cell itself, with
//! its picks, is made once for all of them.

use std::collections::HashMap;

use super::eligible::{Eligible, ServiceCondition};
use super::{NO_TIER, Picker, TIER_MS, steps_behind, take_tier};
use crate::model::{Child, Policy, RegionId};
use crate::steer::choice::cell::{Pick, Share};
use crate::steer::plan::table::Code;

/// The mark that ends a tier in a key; no region of a service has this place.
const END: u16 = u16::MAX;

/// The cells that sites got so far.
pub struct Alike<'p, 'a> {
    picker: &'p Picker<'a>,
    regions: Vec<RegionId>,
    eligible: &'p Eligible,
    /// By what cells follow from: see [`Alike::find_key`].
    known: HashMap<Box<[u16]>, u32>,
    /// Filled anew for each site.
    key: Vec<u16>,
    totals: Vec<f64>,
    tiers: Vec<u32>,
}

impl<'a> Picker<'a> {
    /// `None` where more than the scores of regions decides.
    pub fn alike(&self) -> Option<Alike<'_, 'a>> {
        let (entry, eligible) = (self.shape.entries.first()?, self.standing.of_all()?);
        let [root] = entry.groups[..] else { return None };
        let group = self.service.policies.group(root);
        let region = |child: &Child| match child {
            Child::Region(region) => Some(*region),
            Child::Group(_) => None,
        };
        let regions: Vec<RegionId> = group.children.iter().map(region).collect::<Option<_>>()?;
        let by_score = matches!(group.policy, Policy::Score) && !self.service.policies.locates();
        by_score.then(|| Alike {
            picker: self,
            regions,
            eligible,
            known: HashMap::new(),
            key: Vec::new(),
            totals: Vec::new(),
            tiers: Vec::new(),
        })
    }
}

impl Alike<'_, '_> {
    /// The number of the site's cell: what `make` gives for the first of all sites alike.
    pub fn number(&mut self, site: usize, make: impl FnOnce() -> u32) -> u32 {
        if self.planned(site).is_some() {
            return make();
        }
        self.find_key(site);
        if let Some(&number) = self.known.get(&self.key[..]) {
            return number;
        }
        let number = make();
        self.known.insert(self.key[..].into(), number);
        number
    }

    /// The one region that all clients of the site get, else [`Code::open`].
    pub fn only(&self, site: usize) -> Code {
        let open = Code::open(site as u32); // at most one site per place, and those are fewer than 2^30
        let eligible = |regions: &mut dyn Iterator<Item = RegionId>| {
            let mut regions = regions.filter(|&region| self.eligible.has(region));
            let (only, others) = (regions.next()?, regions.next().is_some());
            let is_sure = !others && matches!(self.picker.region(only, self.eligible), Pick::One(_));
            let is_normal = self.eligible.condition == ServiceCondition::Normal;
            Some(if is_sure && is_normal { Code::one(only) } else { open })
        };
        if let Some(shares) = self.planned(site)
            && let Some(code) =
                eligible(&mut shares.iter().filter(|share| share.weight > 0.0).map(|share| share.region))
        {
            return code;
        }
        let total = |region: &RegionId| self.picker.total_ms(site, *region);
        let mut before = f64::NEG_INFINITY; // the best of the tier before
        loop {
            let left = |total: &f64| *total - before > TIER_MS;
            let best = self.regions.iter().map(total).filter(left).fold(f64::INFINITY, f64::min);
            if best == f64::INFINITY {
                return open;
            }
            let in_tier = |region: &&RegionId| Some(total(region)).filter(left).is_some_and(|it| it - best <= TIER_MS);
            if let Some(code) = eligible(&mut self.regions.iter().filter(in_tier).copied()) {
                return code;
            }
            before = best;
        }
    }

    /// The planner's shares for the site: where there are some, scores come second.
    fn planned(&self, site: usize) -> Option<&[Share]> {
        let root = self.picker.service.policies.root.index();
        let score_group = self.picker.shape.score_groups.get(root).and_then(Option::as_ref)?;
        self.picker.inputs.planned?.shares(score_group, site)
    }

    /// Tier by tier the eligible regions, each with its distance from the best, down to the tier in
    /// which somebody is answered for sure: all that [`Picker::by_tier`] looks at.
    fn find_key(&mut self, site: usize) {
        let picker = self.picker;
        self.key.clear();
        self.totals.clear();
        self.totals.extend(self.regions.iter().map(|&region| picker.total_ms(site, region)));
        self.tiers.clear();
        self.tiers.resize(self.totals.len(), NO_TIER);
        let mut tier = 0;
        while let Some(best) = take_tier(&self.totals, &mut self.tiers, tier) {
            let mut sure = false;
            for (index, &region) in self.regions.iter().enumerate() {
                if self.tiers[index] == tier && self.eligible.has(region) {
                    // The loader refuses more than 1,024 regions; a tier has 20,480 steps.
                    self.key.extend([index as u16, steps_behind(self.totals[index], best) as u16]);
                    sure |= matches!(picker.region(region, self.eligible), Pick::One(_));
                }
            }
            if sure {
                break;
            }
            self.key.push(END);
            tier += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::model::{Coordinates, Policy};
    use crate::steer::choice::pick::Identity;
    use crate::steer::decide::cell_at_place;
    use crate::steer::health::effective::Override;
    use crate::steer::plan::table::settled;
    use crate::steer::policy::PlanInputs;
    use crate::steer::policy::shape::Shape;
    use crate::steer::testing::{SERVICE, World, at};

    fn anywhere(rng: &mut fastrand::Rng) -> Coordinates {
        at(rng.f64() * 130.0 - 60.0, rng.f64() * 360.0 - 180.0)
    }

    /// Regions and 250 sites all over, one per /16; anything may be the matter with the regions.
    fn world(rng: &mut fastrand::Rng) -> World {
        let regions: Vec<(String, Coordinates)> = (0..7).map(|n| (format!("r{n}"), anywhere(rng))).collect();
        let regions: Vec<(&str, Coordinates)> = regions.iter().map(|(name, at)| (name.as_str(), *at)).collect();
        let sites: Vec<(String, Coordinates)> = (0..250).map(|n| (format!("10.{n}.0.0/16"), anywhere(rng))).collect();
        let sites: Vec<(&str, Coordinates)> = sites.iter().map(|(prefix, at)| (prefix.as_str(), *at)).collect();
        let mut world = World::new(Policy::Score, &regions).clients(&sites);
        for region in 0..7 {
            match rng.u8(..6) {
                0 => world.down(region),
                1 => world.say(region, Override::Drain),
                2 => world.states[region].shed = rng.f64(),
                3 => world.states[region].over_limit = true,
                _ => world.states[region].price_ms = (rng.f64() * 60.0).round(),
            }
        }
        world
    }

    #[test]
    fn sites_alike_are_worked_out_once() {
        // 5 km apart, half-way between the two.
        let regions = [("west", at(0.0, -5.0)), ("east", at(0.0, 5.0))];
        let world = World::new(Policy::Score, &regions).clients(&[
            ("10.1.0.0/16", at(0.0, 0.0)),
            ("10.2.0.0/16", at(0.045, 0.0)),
            ("10.3.0.0/16", at(0.0, 4.0)),
        ]);
        let plan = world.plan(Instant::now()).plan;
        let table = &plan.services[0].table;
        let [one, near, other] = [1, 2, 3].map(|n| table.class_of(world.atlas.locate([10, n, 0, 0].into()).place));
        assert_eq!(one, near);
        assert_ne!(one, other);
    }

    #[test]
    fn every_site_gets_the_cell_that_it_would_get_alone() {
        let mut rng = fastrand::Rng::with_seed(4);
        for _ in 0..40 {
            let world = world(&mut rng);
            let moment = world.plan(Instant::now());
            let plan = &moment.plan;
            let sites = plan.sites.as_deref();
            let identity = |id| Identity::of(0, &world.model.qualified_region_name(id));
            let identities: Vec<Identity> = world.model.region_ids().map(identity).collect();
            let (model, states) = (&world.model, &world.states[..]);
            let inputs = PlanInputs { model, states, identities: &identities, sites, planned: None, seed: 0 };
            let (service, standing) = (&world.model.services[0], &plan.services[0].standing);
            let shape = Shape::of(service, None, 0);
            let picker = Picker::of(inputs, service, &shape, standing);
            let alike = picker.alike().expect("by score alone");
            let route = picker.route_of_all();
            for place in world.atlas.places() {
                let site = sites.and_then(|sites| sites.of_place(place)).expect("a site");
                let cell = picker.cell(site, &route);
                let only = settled(&cell).unwrap_or(Code::open(site as u32));
                assert_eq!(alike.only(site), only, "{place:?}");
                assert_eq!(cell_at_place(&moment.view(), SERVICE, place).as_deref(), Some(&cell), "{place:?}");
            }
        }
    }
}
