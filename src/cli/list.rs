//! Lists of a running server: all of one, or a part of it.

use std::num::NonZero;

use clap::Args;
use serde::de::DeserializeOwned;

use crate::admin::paging::Page;

use super::live::Server;
use super::output::Outcome;
use super::view::View;

/// What of a list is shown, and how.
#[derive(Args)]
pub struct List {
    /// Show at most so many
    #[arg(long, value_name = "COUNT", default_value = "10000")]
    limit: NonZero<u16>,
    /// Begin after this one: what an answer before gave as `next`
    #[arg(long, value_name = "NEXT")]
    after: Option<String>,
    #[command(flatten)]
    pub view: View,
    #[command(flatten)]
    pub server: Server,
}

impl List {
    /// Shows the list at a path of the API.
    pub fn show<T: DeserializeOwned>(&self, path: &[&str], text: impl Fn(&T) -> String) -> Outcome {
        let limit = usize::from(self.limit.get());
        self.view.show_as(&self.server, async |server| server.list(path, limit, self.after.as_deref()).await, text)
    }

    /// The same where the answer is nothing but the list; `none` is said where it is empty.
    pub fn show_page<T: DeserializeOwned>(&self, path: &[&str], none: &str, table: impl Fn(&[T]) -> String) -> Outcome {
        self.show(path, |page: &Page<T>| match page.items.is_empty() {
            true => format!("{none}\n"),
            false => table(&page.items) + &more(page.next.as_deref()),
        })
    }
}

/// A line where there is more than was shown.
pub fn more(next: Option<&str>) -> String {
    next.map_or(String::new(), |next| format!("  and more: --limit, or --after '{next}'\n"))
}
