//! The answer to a class of clients, as short as it can be kept.

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
