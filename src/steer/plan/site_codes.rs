//! Codes by site, in pages that tables share.
//!
//! ```text
//!   site ─▶ page, shared by all tables that say the same there ─▶ an octet: the only region, or several
//! ```
//!
//! Services that are decided unlike any other agree at most sites all the same, and one table agrees with itself before a
//! region was lost. So a table is a list of pages; tables that are made together have each page once, and one that goes on
//! from another has the other's. What a page names is noted when it is made: what a table names is told without looking
//! at its sites.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState as Folding;

use crate::model::RegionId;

/// Sites of a page: few enough that tables which differ somewhere have most pages in common, and that the list of pages
/// is short beside them.
const PAGE: usize = 256;
/// Not the one region of a site. Regions numbered so or above have no octet, and their sites are left open.
const SEVERAL: u8 = u8::MAX;

/// For each site its only region, or that it is open.
#[derive(Clone, Debug)]
pub struct SiteCodes {
    pages: Box<[Arc<Page>]>,
    sites: usize,
}

/// The pages of tables that are made together, each once.
#[derive(Debug, Default)]
pub struct KnownPages(HashSet<Arc<Page>, Folding>);

#[derive(Debug)]
struct Page {
    /// Of the last page, what lies beyond the last site is as its first.
    codes: [u8; PAGE],
    /// The codes that it has; follows from them.
    named: Octets,
}

/// A set of octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Octets([u64; 4]);

impl SiteCodes {
    /// Of each site its only region; `None`: open.
    pub fn of(only: &[Option<RegionId>], known: &mut KnownPages) -> SiteCodes {
        let page = |only: &[Option<RegionId>]| {
            let mut codes = [SEVERAL; PAGE];
            codes.iter_mut().zip(only).for_each(|(code, only)| *code = octet(*only));
            known.share(codes, only.len())
        };
        SiteCodes { pages: only.chunks(PAGE).map(page).collect(), sites: only.len() }
    }

    /// The same, but for these sites: ascending, each with its only region.
    pub fn patched(&self, sites: &[u32], only: &[Option<RegionId>], known: &mut KnownPages) -> SiteCodes {
        let mut patched = self.clone();
        let page_of = |site: u32| site as usize / PAGE;
        let mut left = sites.iter().copied().zip(only).peekable();
        while let Some(number) = left.peek().map(|(site, _)| page_of(*site)) {
            let Some(page) = patched.pages.get_mut(number) else { break };
            let mut codes = page.codes;
            while let Some((site, only)) = left.next_if(|(site, _)| page_of(*site) == number) {
                codes[site as usize % PAGE] = octet(*only);
            }
            if codes != page.codes {
                *page = known.share(codes, self.sites - number * PAGE);
            }
        }
        patched
    }

    /// The only region of a site, if any. The outer `None`: a site of other tables.
    #[inline]
    pub fn get(&self, site: u32) -> Option<Option<RegionId>> {
        let page = self.pages.get(site as usize / PAGE)?;
        Some(match page.codes[site as usize % PAGE] {
            SEVERAL => None,
            region => Some(RegionId(u16::from(region))),
        })
    }

    /// The number of sites.
    pub fn count(&self) -> usize {
        self.sites
    }

    /// The regions that some site has alone, ascending.
    pub fn regions(&self) -> impl Iterator<Item = RegionId> {
        let named = self.named();
        (0..SEVERAL).filter(move |octet| named.has(*octet)).map(|octet| RegionId(u16::from(octet)))
    }

    /// Tells whether some site is open.
    pub fn has_open(&self) -> bool {
        self.named().has(SEVERAL)
    }

    fn named(&self) -> Octets {
        self.pages.iter().fold(Octets::default(), |named, page| named.with(page.named))
    }

    /// The sites, ascending, that are open in some of these tables, or have one of the regions there that `is_so` is true
    /// of. The tables are of the same sites.
    pub fn open_or_with(tables: &[&SiteCodes], is_so: impl Fn(RegionId) -> bool) -> Vec<u32> {
        let mut wanted = Octets::of(&[SEVERAL]);
        (0..SEVERAL).filter(|octet| is_so(RegionId(u16::from(*octet)))).for_each(|octet| wanted.add(octet));
        let is_wanted: [bool; 256] = std::array::from_fn(|octet| wanted.has(octet as u8)); // there are 256
        let sites = tables.iter().map(|table| table.sites).max().unwrap_or(0);
        let mut found = Vec::new();
        for first in (0..sites).step_by(PAGE) {
            let (mut marks, mut seen) = ([false; PAGE], Vec::with_capacity(tables.len()));
            for page in tables.iter().filter_map(|table| table.pages.get(first / PAGE)) {
                if seen.contains(&Arc::as_ptr(page)) || !page.named.meets(wanted) {
                    continue;
                }
                seen.push(Arc::as_ptr(page));
                marks.iter_mut().zip(&page.codes).for_each(|(mark, code)| *mark |= is_wanted[usize::from(*code)]);
            }
            // Sites are numbered by u32: there is at most one per place.
            found.extend((first..sites).zip(marks).filter(|(_, mark)| *mark).map(|(site, _)| site as u32));
        }
        found
    }
}

impl KnownPages {
    /// The page of these codes, of which the first so many are of sites.
    fn share(&mut self, mut codes: [u8; PAGE], sites: usize) -> Arc<Page> {
        let first = codes[0];
        codes.iter_mut().skip(sites).for_each(|code| *code = first);
        let mut page = Page { codes, named: Octets::default() };
        if let Some(page) = self.0.get(&page) {
            return page.clone();
        }
        page.named = Octets::of(&codes);
        let page = Arc::new(page);
        self.0.insert(page.clone());
        page
    }
}

impl PartialEq for Page {
    fn eq(&self, other: &Page) -> bool {
        self.codes == other.codes
    }
}

impl Eq for Page {}

impl Hash for Page {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.codes);
    }
}

impl Octets {
    fn of(octets: &[u8]) -> Octets {
        let mut set = Octets::default();
        octets.iter().for_each(|octet| set.add(*octet));
        set
    }

    fn add(&mut self, octet: u8) {
        self.0[usize::from(octet >> 6)] |= 1 << (octet & 63);
    }

    fn has(self, octet: u8) -> bool {
        self.0[usize::from(octet >> 6)] & 1 << (octet & 63) != 0
    }

    fn with(self, other: Octets) -> Octets {
        Octets(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    fn meets(self, other: Octets) -> bool {
        self.0.iter().zip(other.0).any(|(word, other)| word & other != 0)
    }
}

fn octet(only: Option<RegionId>) -> u8 {
    only.and_then(|region| u8::try_from(region.0).ok()).unwrap_or(SEVERAL)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(codes: &SiteCodes) -> Vec<Option<RegionId>> {
        (0..codes.count() as u32).map(|site| codes.get(site).expect("a site")).collect()
    }

    /// Long stretches alike, as places that lie together are.
    fn sites() -> impl Strategy<Value = Vec<Option<RegionId>>> {
        let stretch = (prop::option::of((0u16..4).prop_map(RegionId)), 1usize..400);
        prop::collection::vec(stretch, 1..6)
            .prop_map(|stretches| stretches.into_iter().flat_map(|(only, len)| vec![only; len]).collect())
    }

    proptest! {
        #[test]
        fn codes_are_read_as_they_were_given_and_named_as_they_are(only in sites()) {
            let mut known = KnownPages::default();
            let codes = SiteCodes::of(&only, &mut known);
            prop_assert_eq!(read(&codes), only.clone());
            let mut named: Vec<RegionId> = only.iter().copied().flatten().collect();
            named.sort_unstable();
            named.dedup();
            prop_assert_eq!(codes.regions().collect::<Vec<_>>(), named);
            prop_assert_eq!(codes.has_open(), only.contains(&None));
        }

        #[test]
        fn a_patched_table_is_the_one_made_anew(
            only in sites(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(0u16..5)), 0..40),
        ) {
            let mut known = KnownPages::default();
            let codes = SiteCodes::of(&only, &mut known);
            let changes: std::collections::BTreeMap<u32, Option<RegionId>> = changes
                .into_iter()
                .map(|(site, region)| (site.index(only.len()) as u32, region.map(RegionId)))
                .collect();
            let (sites, others): (Vec<u32>, Vec<Option<RegionId>>) = changes.iter().map(|(a, b)| (*a, *b)).unzip();
            let mut anew = only;
            changes.iter().for_each(|(site, region)| anew[*site as usize] = *region);
            let (patched, anew) = (codes.patched(&sites, &others, &mut known), SiteCodes::of(&anew, &mut known));
            prop_assert_eq!(read(&patched), read(&anew));
            prop_assert!(patched.pages.iter().zip(&anew.pages).all(|(one, other)| Arc::ptr_eq(one, other)));
            prop_assert_eq!(patched.regions().collect::<Vec<_>>(), anew.regions().collect::<Vec<_>>());
            prop_assert_eq!(patched.has_open(), anew.has_open());
        }

        #[test]
        fn sites_that_are_open_or_have_a_region_are_found(tables in prop::collection::vec(sites(), 1..4)) {
            let mut known = KnownPages::default();
            let len = tables.iter().map(Vec::len).min().expect("some");
            let tables: Vec<SiteCodes> = tables.iter().map(|only| SiteCodes::of(&only[..len], &mut known)).collect();
            let found = SiteCodes::open_or_with(&tables.iter().collect::<Vec<_>>(), |region| region == RegionId(2));
            let tables: Vec<Vec<Option<RegionId>>> = tables.iter().map(read).collect();
            let is_so = |site: usize| tables.iter().any(|only| only[site].is_none_or(|region| region == RegionId(2)));
            let expected: Vec<u32> = (0..len as u32).filter(|site| is_so(*site as usize)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn regions_without_an_octet_are_left_open() {
        let only = [254, 255, 256, 1023].map(|region| Some(RegionId(region)));
        let codes = SiteCodes::of(&only, &mut KnownPages::default());
        assert_eq!(read(&codes), [Some(RegionId(254)), None, None, None]);
    }
}
