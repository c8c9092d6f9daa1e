//! The part that only a reload changes, as one: the model, and all that is made of it once.
//!
//! In: a model that was validated, and the settings queries need. Out: names and endpoints as they are
//! answered, and the ids of regions by name. Atlas and measurements have reloads of their own and are
//! not here.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Model, RegionId};

use super::NameTable;
use super::lookup::endpoints::EndpointRecords;

/// One configuration, ready to answer from.
#[derive(Debug)]
pub struct Configured {
    /// Shared: who has the same pointer has the same numbers.
    pub model: Arc<Model>,
    pub names: NameTable,
    /// The records that endpoints are answered with.
    pub endpoints: EndpointRecords,
    /// The identifier that NSID asks for (RFC 5001); empty: not answered.
    pub nsid: Box<[u8]>,
    /// Servers with the same seed make the same choices.
    pub seed: u64,
    /// Grows by one with every reload that took.
    pub reloads: u64,
    /// By qualified name.
    region_ids: HashMap<String, RegionId>,
}

impl Configured {
    pub fn new(model: Model, nsid: &str, seed: u64, reloads: u64) -> Configured {
        let names = NameTable::build(&model);
        Configured::of(model, names, nsid, seed, reloads)
    }

    /// The configuration that takes the place of this one: costs what differs.
    #[must_use]
    pub fn replaced(&self, model: Model, nsid: &str, seed: u64) -> Configured {
        let names = NameTable::after(&self.names, &self.model, &model);
        Configured::of(model, names, nsid, seed, self.reloads + 1)
    }

    fn of(model: Model, names: NameTable, nsid: &str, seed: u64, reloads: u64) -> Configured {
        Configured {
            names,
            endpoints: EndpointRecords::build(&model),
            nsid: nsid.as_bytes().into(),
            seed,
            reloads,
            region_ids: model.region_ids().map(|id| (model.qualified_region_name(id), id)).collect(),
            model: Arc::new(model),
        }
    }

    /// The region of this qualified name: `seoul@gslb.example`.
    pub fn region_id(&self, name: &str) -> Option<RegionId> {
        self.region_ids.get(name).copied()
    }
}
