//! Sites whose clients are answered alike, told without working out their answers.
//!
//! In: a service whose clients are all decided by the scores of its regions. Out: for each site the
//! cell that the first such site got. What a cell follows from, regions by tier and how far each is
//! behind the best of its tier, is quick to find and the same for most sites; the cell itself, with
//! its picks, is made once for all of them.

use std::collections::HashMap;

use foldhash::fast::RandomState as Folding;

use super::eligible::Eligible;
use super::terms::Terms;
use super::{Picker, TIER_MS, steps_behind};
use crate::model::RegionId;
use crate::steer::choice::cell::Pick;

/// The mark that ends a tier in a key; no region of a service has this place.
const END: u16 = u16::MAX;

/// The cells that sites got so far.
pub struct Alike<'p, 'a, T> {
    picker: &'p Picker<'a>,
    regions: &'p [RegionId],
    eligible: &'p Eligible,
    /// By what cells follow from: see [`Alike::find_key`].
    known: HashMap<Box<[u16]>, T, Folding>,
    /// Filled anew for each site.
    key: Vec<u16>,
    /// By region.
    terms: Vec<Terms>,
    totals: Vec<f64>,
}

impl<'a> Picker<'a> {
    /// `None` where more than the scores of regions decides.
    pub fn alike<T>(&self) -> Option<Alike<'_, 'a, T>> {
        let (regions, eligible) = (self.shape.scored.as_deref()?, self.standing.of_all()?);
        Some(Alike {
            picker: self,
            regions,
            eligible,
            known: HashMap::default(),
            key: Vec::new(),
            terms: regions.iter().map(|&region| self.inputs.terms(self.service, region)).collect(),
            totals: Vec::new(),
        })
    }
}

impl<T: Copy> Alike<'_, '_, T> {
    /// The number of the site's cell: what `make` gives for the first of all sites alike.
    pub fn number(&mut self, site: usize, make: impl FnOnce() -> T) -> T {
        if self.picker.shares(self.picker.service.policies.root, site).is_some() {
            return make(); // scores come second
        }
        self.find_key(site);
        if let Some(&number) = self.known.get(&self.key[..]) {
            return number;
        }
        let number = make();
        self.known.insert(self.key[..].into(), number);
        number
    }

    /// Tier by tier the eligible regions, each with its distance from the best, down to the tier in
    /// which somebody is answered for sure: all that [`Picker::by_tier`] looks at.
    fn find_key(&mut self, site: usize) {
        let picker = self.picker;
        self.key.clear();
        self.totals.clear();
        let total = |(of, region): (&Terms, &RegionId)| {
            of.total_ms(picker.service.weights, picker.inputs.rtt_ms(site, *region))
        };
        self.totals.extend(self.terms.iter().zip(self.regions).map(total));
        let mut before = f64::NEG_INFINITY; // the best of the tier before
        loop {
            let is_left = |total: f64| total - before > TIER_MS;
            let best = self.totals.iter().copied().filter(|&total| is_left(total)).fold(f64::INFINITY, f64::min);
            let is_last = best == f64::INFINITY; // all that is left is nowhere near
            let mut sure = is_last;
            for (index, (&region, &total)) in self.regions.iter().zip(&self.totals).enumerate() {
                let is_inside = is_left(total) && (is_last || total - best <= TIER_MS);
                if is_inside && self.eligible.has(region) {
                    // The loader refuses more than 1,024 regions; a tier has 20,480 steps.
                    self.key.extend([index as u16, steps_behind(total, best) as u16]);
                    sure |= matches!(picker.region(region, self.eligible), Pick::One(_));
                }
            }
            if sure {
                break;
            }
            self.key.push(END);
            before = best;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::model::{Coordinates, Policy};
    use crate::steer::choice::cell::{Asker, Regions};
    use crate::steer::choice::pick::{ClientKey, Identity};
    use crate::steer::decide::cell_at_place;
    use crate::steer::health::effective::Override;
    use crate::steer::plan::code::{Answer, Code, settled};
    use crate::steer::policy::PlanInputs;
    use crate::steer::policy::scan::only_regions;
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
            let shape = Shape::of(service, crate::model::Switched::default(), 0);
            let picker = Picker::of(inputs, service, &shape, standing);
            let by_score = picker.scored().expect("by score alone");
            let route = picker.route_of_all();
            let services: Vec<_> = picker.scored().into_iter().collect();
            let sites_there: Vec<u32> = sites.expect("sites").ids().map(|site| site as u32).collect();
            let scanned = only_regions(&services, model, sites.expect("sites"), &sites_there).remove(0);
            for place in world.atlas.places() {
                let site = sites.and_then(|sites| sites.of_place(place)).expect("a site");
                let cell = picker.cell(site, &route);
                let only = settled(&cell).map(Code::read);
                assert_eq!(scanned[site], by_score.only(site), "{place:?}");
                assert_eq!(by_score.only(site).map(Answer::One), only, "{place:?}");
                for network in 0..16 {
                    let key = ClientKey::from_bits(network);
                    let asker = Asker { key, source: None };
                    let (region, is_shared) = by_score.choose(site, &asker).expect("some region");
                    assert_eq!(
                        (Regions::one(region), is_shared),
                        (cell.pick.regions(&asker), settled(&cell).is_none()),
                        "{cell:?}"
                    );
                }
                assert_eq!(cell_at_place(&moment.view(), SERVICE, place).as_deref(), Some(&cell), "{place:?}");
            }
        }
    }
}
