//! Numbers of zones, regions and services: what the parts of a model name each other by.

/// Indexes `Model::zones` of the model (and the snapshot) it came from, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneId(pub u32);

impl ZoneId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Indexes `Model::regions` of the model (and the snapshot) it came from, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub u16);

impl RegionId {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Indexes `Model::services` of the model (and the snapshot) it came from, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u32);

impl ServiceId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
