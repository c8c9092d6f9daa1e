//! Dependencies: regions that serve only while others do. Resolved names come in; an order in which each region comes
//! after all that it depends on goes out, or the circle for which there is none.

use std::collections::{BTreeMap, BTreeSet};

use super::{RegionId, Service, ServiceId};

/// A thing that a region depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependency {
    Region(RegionId),
    Service(ServiceId),
}

/// The dependencies of all regions, without a circle.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dependencies {
    in_order: Vec<(RegionId, Vec<Dependency>)>,
}

impl Dependencies {
    /// Dependencies of one region at most.
    pub const MOST: usize = 16;

    /// Those of each region. A service depends on all its regions, also those of stages that are not active.
    ///
    /// # Errors
    /// A circle: each depends on the next, the last on the first. A region is the first.
    pub fn new(of: BTreeMap<RegionId, Vec<Dependency>>, services: &[Service]) -> Result<Dependencies, Vec<Dependency>> {
        let mut walk = Walk { of: &of, services, path: Vec::new(), done: BTreeSet::new(), in_order: Vec::new() };
        for &region in of.keys() {
            walk.from(Dependency::Region(region))?;
        }
        let order = walk.in_order;
        let in_order = order.into_iter().filter_map(|region| Some((region, of.get(&region)?.clone()))).collect();
        Ok(Dependencies { in_order })
    }

    /// Regions that depend on something, each after all that it depends on.
    pub fn in_order(&self) -> &[(RegionId, Vec<Dependency>)] {
        &self.in_order
    }
}

/// A walk along dependencies, depth first.
struct Walk<'a> {
    of: &'a BTreeMap<RegionId, Vec<Dependency>>,
    services: &'a [Service],
    /// Where it stands, with what is ahead of each step.
    path: Vec<(Dependency, Vec<Dependency>)>,
    done: BTreeSet<Dependency>,
    in_order: Vec<RegionId>,
}

impl Walk<'_> {
    fn from(&mut self, first: Dependency) -> Result<(), Vec<Dependency>> {
        self.step(first)?;
        while let Some((at, ahead)) = self.path.last_mut() {
            match ahead.pop() {
                Some(next) => self.step(next)?,
                None => {
                    let at = *at;
                    self.path.pop();
                    self.done.insert(at);
                    if let Dependency::Region(region) = at {
                        self.in_order.push(region);
                    }
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, to: Dependency) -> Result<(), Vec<Dependency>> {
        if self.done.contains(&to) {
            return Ok(());
        }
        if let Some(at) = self.path.iter().position(|(before, _)| *before == to) {
            let mut circle: Vec<Dependency> = self.path.iter().skip(at).map(|(step, _)| *step).collect();
            if matches!(to, Dependency::Service(_)) {
                // After a service comes a region of it.
                circle.rotate_left(1);
            }
            return Err(circle);
        }
        let ahead = match to {
            Dependency::Region(region) => self.of.get(&region).cloned().unwrap_or_default(),
            Dependency::Service(service) => {
                let regions = self.services.get(service.index()).map_or(&[][..], |service| &service.regions);
                let depend = regions.iter().filter(|region| self.of.contains_key(*region));
                depend.map(|region| Dependency::Region(*region)).collect()
            }
        };
        self.path.push((to, ahead));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use Dependency::{Region, Service as Of};
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Name, Policy, ZoneId};

    fn services(of: &[&[u16]]) -> Vec<Service> {
        let name = Name::parse_absolute("www.gslb.example").expect("a name");
        let regions = |regions: &&[u16]| regions.iter().map(|&region| RegionId(region)).collect();
        of.iter().map(|of| Service::flat(name.clone(), ZoneId(0), Policy::Failover, regions(of))).collect()
    }

    fn region(id: u16) -> Dependency {
        Region(RegionId(id))
    }

    #[test]
    fn each_region_comes_after_what_it_depends_on() {
        let of = BTreeMap::from([
            (RegionId(0), vec![Of(ServiceId(0)), region(3)]),
            (RegionId(1), vec![region(2)]),
            (RegionId(2), vec![region(4)]),
        ]);
        let sorted = Dependencies::new(of, &services(&[&[1, 4]])).expect("no circle");
        let order: Vec<u16> = sorted.in_order().iter().map(|(region, _)| region.0).collect();
        assert_eq!(order, [2, 1, 0]);
    }

    #[test]
    fn a_circle_is_told_from_a_region_on() {
        let circle = |of: &[(u16, Dependency)]| {
            let of = of.iter().map(|&(region, on)| (RegionId(region), vec![on])).collect();
            Dependencies::new(of, &services(&[&[1, 2]])).expect_err("a circle")
        };
        assert_eq!(circle(&[(5, region(5))]), [region(5)], "itself");
        assert_eq!(circle(&[(0, region(3)), (3, region(4)), (4, region(3))]), [region(3), region(4)]);
        assert_eq!(circle(&[(2, Of(ServiceId(0)))]), [region(2), Of(ServiceId(0))], "a service of its own");
        assert_eq!(circle(&[(0, Of(ServiceId(0))), (2, Of(ServiceId(0)))]), [region(2), Of(ServiceId(0))]);
    }

    proptest! {
        #[test]
        fn there_is_an_order_or_a_true_circle(edges in prop::collection::btree_set((0u16..8, 0u16..11), 0..20)) {
            let services = services(&[&[0, 1], &[2, 7], &[5]]);
            let on = |to: u16| if to < 8 { region(to) } else { Of(ServiceId(u32::from(to) - 8)) };
            let mut of: BTreeMap<RegionId, Vec<Dependency>> = BTreeMap::new();
            edges.iter().for_each(|&(from, to)| of.entry(RegionId(from)).or_default().push(on(to)));
            let leads = |from: Dependency, to: Dependency| match (from, to) {
                (Region(from), to) => of.get(&from).is_some_and(|on| on.contains(&to)),
                (Of(from), Region(to)) => services[from.index()].regions.contains(&to),
                (Of(_), Of(_)) => false,
            };
            match Dependencies::new(of.clone(), &services) {
                Err(circle) => {
                    prop_assert!(matches!(circle[0], Region(_)));
                    let next = circle.iter().cycle().skip(1);
                    prop_assert!(circle.iter().zip(next).all(|(from, to)| leads(*from, *to)), "{circle:?}");
                }
                Ok(sorted) => {
                    let order: Vec<RegionId> = sorted.in_order().iter().map(|(region, _)| *region).collect();
                    prop_assert_eq!(order.len(), of.len());
                    for (at, (_, on)) in sorted.in_order().iter().enumerate() {
                        let later = |of: &RegionId| order[at..].contains(of);
                        let is_before = |on: &Dependency| match on {
                            Region(on) => !later(on),
                            Of(on) => !services[on.index()].regions.iter().any(later),
                        };
                        prop_assert!(on.iter().all(is_before));
                    }
                }
            }
        }
    }
}
