//! Lists page by page: so many at once, in the order of their keys, after the last key of the page before.
//!
//! Keys are names, so a page goes on at the right place also where a reload came between two of them.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problem;

/// So many are told where no limit is asked for.
const LIMIT: usize = 100;
/// So many at most.
const MOST: usize = 1000;

/// The part of a list that is asked for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// 1 to 1,000. Default 100.
    pub limit: Option<usize>,
    /// [`Page::next`] of the page before. Default: from the beginning.
    pub after: Option<String>,
}

/// A part of a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub struct Page<T> {
    /// Of the snapshot it was read from.
    pub generation: u64,
    /// In ascending order of their keys; empty past the end.
    pub items: Vec<T>,
    /// To be given as `after` for the next page; `None`: this is the last one.
    pub next: Option<String>,
}

impl PageQuery {
    /// Takes what axum made of a query.
    pub fn taken(query: Result<Query<PageQuery>, QueryRejection>) -> Result<PageQuery, Problem> {
        let Query(wanted) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
        if wanted.limit.is_some_and(|limit| !(1..=MOST).contains(&limit)) {
            return Err(Problem::bad_request(format!("`limit` is out of range: expected 1 to {MOST}")));
        }
        Ok(wanted)
    }

    /// How many are wanted.
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT)
    }

    /// The page of all these: each with its key, in any order.
    pub fn of<T>(&self, generation: u64, keyed: impl Iterator<Item = (String, T)>) -> Page<T> {
        let after = self.after.as_deref();
        let mut left: Vec<(String, T)> = keyed.filter(|(key, _)| after.is_none_or(|after| &**key > after)).collect();
        left.sort_by(|(a, _), (b, _)| a.cmp(b));
        let more = left.len() > self.limit();
        left.truncate(self.limit());
        let next = left.last().filter(|_| more).map(|(key, _)| key.clone());
        Page { generation, items: left.into_iter().map(|(_, item)| item).collect(), next }
    }
}

impl<T> Page<T> {
    /// The same page of what `make` makes of each.
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> Page<U> {
        Page { generation: self.generation, items: self.items.into_iter().map(make).collect(), next: self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pages_together_are_the_list() {
        let names = ["d", "a", "e", "c", "b"];
        let mut wanted = PageQuery { limit: Some(2), after: None };
        let mut found = Vec::new();
        for _ in 0..3 {
            let page = wanted.of(7, names.iter().map(|name| (name.to_string(), *name)));
            found.push(page.items);
            wanted.after = page.next;
        }
        assert_eq!(found, [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
        assert_eq!(wanted.after, None, "the last page says so");
        // A key that is gone, as after a reload, still says where to go on; past the end is nothing.
        let after = |after: &str| PageQuery { limit: None, after: Some(after.into()) };
        let of = |wanted: PageQuery| wanted.of(7, names.iter().map(|name| (name.to_string(), *name))).items;
        assert_eq!((of(after("bb")), of(after("x"))), (vec!["c", "d", "e"], vec![]));
    }
}
