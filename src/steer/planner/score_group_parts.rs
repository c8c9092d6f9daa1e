//! The decisions by score that a service's clients come to, and the part of them: what the planner
//! plans for.
//!
//! Comes from a service's policies at work; goes to the planner, which wants it by site. Where a
//! fence, a list or a canary stands above a score, only some of a site's clients come to it. Places of
//! one site count alike, since demand is known by site.

use std::collections::HashMap;

use super::score_group::ScoreGroup;

/// By site: score groups, and the part of the site's clients that come to each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoreGroupParts {
    score_groups: Vec<ScoreGroup>,
    /// Into `score_groups`, with the part of clients: above 0, summing to 1 at most.
    parts: Vec<Vec<(u32, f64)>>,
    /// By site, into `parts`; empty where all sites are alike: then there is one of `parts`.
    by_site: Vec<u32>,
}

impl ScoreGroupParts {
    /// The same everywhere.
    pub fn everywhere(score_groups: Vec<(&ScoreGroup, f64)>) -> ScoreGroupParts {
        let parts = (0u32..).zip(&score_groups).map(|(group, (_, part))| (group, *part)).collect();
        let score_groups = score_groups.into_iter().map(|(group, _)| group.clone()).collect();
        ScoreGroupParts { score_groups, parts: vec![parts], by_site: Vec::new() }
    }

    /// The score groups that clients of a site come to, by their place in [`ScoreGroupParts::score_groups`], each with
    /// the part of clients. The rest is sent somewhere without a score.
    pub fn at(&self, site: usize) -> &[(u32, f64)] {
        let number = self.by_site.get(site).map_or(0, |&number| number as usize);
        self.parts.get(number).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn score_groups(&self) -> &[ScoreGroup] {
        &self.score_groups
    }
}

/// [`ScoreGroupParts`] in the making: what is known of each place of a site is averaged.
#[derive(Default)]
pub struct ScoreGroupPartsBySite {
    numbers: HashMap<ScoreGroup, u32>,
    /// By site: places seen, and the sum of their parts by score group.
    sites: Vec<(u32, Vec<(u32, f64)>)>,
}

impl ScoreGroupPartsBySite {
    /// Numbers score groups, for [`ScoreGroupPartsBySite::add`].
    pub fn number(&mut self, score_groups: Vec<(&ScoreGroup, f64)>) -> Vec<(u32, f64)> {
        let mut number = |group: &ScoreGroup| {
            let next = self.numbers.len() as u32; // at most one per group of a service
            *self.numbers.entry(group.clone()).or_insert(next)
        };
        score_groups.into_iter().map(|(group, part)| (number(group), part)).collect()
    }

    /// A place of this site, whose clients come to these.
    pub fn add(&mut self, site: usize, parts: &[(u32, f64)]) {
        if self.sites.len() <= site {
            self.sites.resize_with(site + 1, Default::default);
        }
        let (places, sums) = &mut self.sites[site];
        *places += 1;
        for (group, part) in parts {
            match sums.iter_mut().find(|(of, _)| of == group) {
                Some((_, sum)) => *sum += part,
                None => sums.push((*group, *part)),
            }
        }
    }

    pub fn finish(self) -> ScoreGroupParts {
        let mut score_groups: Vec<(ScoreGroup, u32)> = self.numbers.into_iter().collect();
        score_groups.sort_by_key(|(_, number)| *number);
        let mut known: HashMap<Vec<(u32, u64)>, u32> = HashMap::new();
        let mut parts = Vec::new();
        let by_site = self.sites.into_iter().map(|(places, sums)| {
            let mean: Vec<(u32, f64)> =
                sums.into_iter().map(|(group, sum)| (group, sum / f64::from(places.max(1)))).collect();
            let bits = mean.iter().map(|(group, part)| (*group, part.to_bits())).collect();
            *known.entry(bits).or_insert_with(|| {
                parts.push(mean);
                parts.len() as u32 - 1 // at most one per site, and those are u32
            })
        });
        let by_site = by_site.collect();
        ScoreGroupParts { score_groups: score_groups.into_iter().map(|(group, _)| group).collect(), parts, by_site }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RegionId, Weights};

    #[test]
    fn places_of_a_site_are_averaged() {
        let group = |region| ScoreGroup::new(&[RegionId(region)], Weights::default(), &[]);
        let (one, other) = (group(0), group(1));
        let mut by_site = ScoreGroupPartsBySite::default();
        let (all, half) = (by_site.number(vec![(&one, 1.0)]), by_site.number(vec![(&one, 0.5), (&other, 0.5)]));
        by_site.add(2, &all);
        by_site.add(2, &half);
        by_site.add(0, &all);
        let parts = by_site.finish();
        assert_eq!(parts.score_groups(), [one.clone(), other]);
        assert_eq!(parts.at(0), [(0, 1.0)]);
        assert_eq!(parts.at(1), []);
        assert_eq!(parts.at(2), [(0, 0.75), (1, 0.25)]);
        assert_eq!(ScoreGroupParts::everywhere(vec![(&one, 1.0)]).at(77), [(0, 1.0)]);
        assert_eq!(ScoreGroupParts::default().at(0), []);
    }
}
