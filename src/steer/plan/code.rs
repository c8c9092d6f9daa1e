//! The answer to a class of clients, as short as it can be kept.

use std::sync::Arc;

use crate::model::RegionId;
use crate::steer::choice::cell::{Cell, Pick};
use crate::steer::policy::eligible::ServiceCondition;

/// The answer to a class: see [`Answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(u32);

/// A [`Code`] read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This region, under [`ServiceCondition::Normal`].
    One(RegionId),
    /// Worked out for this site when somebody asks.
    Open { site: u32 },
    /// Into the cells.
    Cell(u32),
}

const ONE: u32 = 1 << 31;
const OPEN: u32 = 1 << 30;

impl Code {
    pub fn one(region: RegionId) -> Code {
        Code(ONE | u32::from(region.0))
    }

    /// Sites are fewer than 2^30: there is at most one per place.
    pub fn open(site: u32) -> Code {
        Code(OPEN | site)
    }

    pub fn cell(number: u32) -> Code {
        Code(number)
    }

    /// The same for codes that are the same.
    pub fn number(self) -> u32 {
        self.0
    }

    #[inline]
    pub fn read(self) -> Answer {
        match self.0 {
            code if code & ONE != 0 => Answer::One(RegionId(code as u16)),
            code if code & OPEN != 0 => Answer::Open { site: code & !OPEN },
            number => Answer::Cell(number),
        }
    }
}

/// The codes of a table.
#[derive(Clone, Debug)]
pub enum Codes {
    /// By class of its part's clients.
    ByClass(Arc<[Code]>),
    /// By site: the number of the one region, or [`SEVERAL`].
    BySite(Box<[u16]>),
    /// Every site is open, of which there are so many.
    Open(usize),
}

/// Not the one region of a site: there are at most 1,024.
const SEVERAL: u16 = u16::MAX;

impl Codes {
    /// Of each site its only region; `None`: open.
    pub fn by_site(only: &[Option<RegionId>]) -> Codes {
        Codes::BySite(only.iter().map(|only| only.map_or(SEVERAL, |region| region.0)).collect())
    }

    /// `None` only for a class of other tables.
    #[inline]
    pub fn get(&self, class: u32) -> Option<Code> {
        match self {
            Codes::ByClass(codes) => codes.get(class as usize).copied(),
            Codes::BySite(regions) => regions.get(class as usize).map(|&region| Codes::of_site(class, region)),
            Codes::Open(sites) => ((class as usize) < *sites).then_some(Code::open(class)),
        }
    }

    fn of_site(site: u32, region: u16) -> Code {
        if region == SEVERAL { Code::open(site) } else { Code::one(RegionId(region)) }
    }

    /// The number of classes.
    pub fn count(&self) -> usize {
        match self {
            Codes::ByClass(codes) => codes.len(),
            Codes::BySite(regions) => regions.len(),
            Codes::Open(sites) => *sites,
        }
    }

    /// Visits the code of each class, in their order.
    pub fn for_each(&self, mut visit: impl FnMut(Code)) {
        match self {
            Codes::ByClass(codes) => codes.iter().for_each(|&code| visit(code)),
            Codes::BySite(regions) => {
                (0..).zip(regions).for_each(|(site, &region)| visit(Codes::of_site(site, region)));
            }
            Codes::Open(sites) => (0..*sites as u32).for_each(|site| visit(Code::open(site))),
        }
    }

    /// In the order of the classes.
    pub fn iter(&self) -> impl Iterator<Item = Code> {
        (0..self.count() as u32).filter_map(|class| self.get(class)) // at most one per place, and those are u32
    }
}

/// The class of a client, and the widest prefix length around it within which all are in the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub class: u32,
    pub widest: u8,
}

/// The code of a cell that leaves its clients nothing to choose.
pub fn settled(cell: &Cell) -> Option<Code> {
    match cell {
        Cell { pick: Pick::One(region), condition: ServiceCondition::Normal } => Some(Code::one(*region)),
        _ => None,
    }
}
