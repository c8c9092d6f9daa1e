//! The alternatives a group has for the clients of a place, of which each client takes the first that does not
//! shed it.
//!
//! [`Picker::alternatives`](super::Picker::alternatives) makes them. They become the place's [`Pick`]; and `explain`
//! asks them what one client takes.

use std::sync::Arc;

use crate::model::{Child, Weight};
use crate::steer::choice::cell::{Branch, Pick, SplitBy};
use crate::steer::choice::pick::Identity;

/// One of the alternatives of a group.
pub enum Alternative {
    One(Child, Pick),
    /// One of these by weighted rendezvous; may be empty.
    Split(SplitBy, Vec<Branch>),
    /// So many of these at once; may be empty.
    Many(u8, Vec<Branch>),
    /// For the part `share` of clients the first child, for the others the second, as far as they have something.
    Cohort {
        share: Weight,
        salt: Identity,
        of: [Option<Pick>; 2],
    },
}

impl Alternative {
    /// The choice that is left to clients; `None`: nothing is eligible.
    pub fn into_pick(self) -> Option<Pick> {
        match self {
            Alternative::One(_, pick) => Some(pick),
            Alternative::Split(by, branches) => several(branches, |branches| Pick::Split { by, branches }),
            Alternative::Many(answers, branches) => several(branches, |branches| Pick::Many { answers, branches }),
            Alternative::Cohort { share, salt, of: [Some(inside), Some(outside)] } => {
                Some(Pick::Cohort { share, salt, of: Arc::new([inside, outside]) })
            }
            Alternative::Cohort { of: [inside, outside], .. } => inside.or(outside),
        }
    }
}

/// Between one branch there is nothing to choose.
fn several(mut branches: Vec<Branch>, pick: impl FnOnce(Arc<[Branch]>) -> Pick) -> Option<Pick> {
    match branches.len() {
        0 | 1 => branches.pop().map(|branch| branch.pick),
        _ => Some(pick(branches.into())),
    }
}
