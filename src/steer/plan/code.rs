//! The answer to a class of clients, as short as it can be kept.

use std::sync::Arc;

use crate::model::RegionId;
use crate::steer::choice::cell::{Cell, Pick};
use crate::steer::policy::eligible::ServiceCondition;

use super::site_codes::SiteCodes;

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
    /// By site.
    BySite(SiteCodes),
    /// Every site is open, of which there are so many.
    Open(usize),
}

impl Codes {
    /// `None` only for a class of other tables.
    #[inline]
    pub fn get(&self, class: u32) -> Option<Code> {
        match self {
            Codes::ByClass(codes) => codes.get(class as usize).copied(),
            Codes::BySite(codes) => codes.get(class).map(|only| only.map_or(Code::open(class), Code::one)),
            Codes::Open(sites) => ((class as usize) < *sites).then_some(Code::open(class)),
        }
    }

    /// The number of classes.
    pub fn count(&self) -> usize {
        match self {
            Codes::ByClass(codes) => codes.len(),
            Codes::BySite(codes) => codes.count(),
            Codes::Open(sites) => *sites,
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
