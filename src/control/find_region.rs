//! Regions by the names that people type: bare or qualified, in; an id, or what may have been meant, out.

use crate::model::{Model, RegionId};

use super::diagnostic::nearest;

/// So many names are listed to choose from.
const MOST_NAMED: usize = 12;

/// The one region of this name.
///
/// # Errors
/// There is none, or several zones have one; for people.
pub fn find_region(model: &Model, name: &str) -> Result<RegionId, String> {
    match *model.find_regions(name) {
        [id] => Ok(id),
        [] => Err(unknown_region(model, name)),
        ref several => {
            let choices: Vec<String> = several.iter().map(|&id| model.qualified_region_name(id)).collect();
            Err(format!("several zones have a region `{name}`: say which of {}", choices.join(", ")))
        }
    }
}

/// That no region has this name, with the one that may have been meant, or those that there are.
pub fn unknown_region(model: &Model, name: &str) -> String {
    let known: Vec<String> = model.region_ids().map(|id| model.qualified_region_name(id)).collect();
    let bare = model.region_ids().map(|id| &*model.region(id).name);
    match nearest(name, bare.chain(known.iter().map(String::as_str))) {
        Some(meant) => format!("no region is called `{name}`: did you mean `{meant}`?"),
        None if known.len() <= MOST_NAMED => format!("no region is called `{name}`; there are: {}", known.join(", ")),
        None => format!("no region is called `{name}`, of {} that there are", known.len()),
    }
}
