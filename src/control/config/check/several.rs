//! `check.all`, `check.any`, `check.of` with `at_least`: several checks of a region, and how many of them must pass.

use std::collections::HashSet;
use std::sync::Arc;

use super::one;
use crate::control::config::files::Sources;
use crate::control::config::reader::{Table, Value};
use crate::model::{CheckRole, Checks, MemberCheck};

const EXAMPLE: &str = "an array such as [{ http = { url = \"http://{address}/\" } }, { tcp = { port = 443 } }]";
const ROLES: [(&str, CheckRole); 3] = [
    (CheckRole::Vote.as_str(), CheckRole::Vote),
    (CheckRole::MustPass.as_str(), CheckRole::MustPass),
    (CheckRole::WatchOnly.as_str(), CheckRole::WatchOnly),
];

/// Characters of a name at most.
const MAX_NAME: usize = 32;

/// Every way to put several together, likewise.
pub const COMBINATIONS: [&str; 3] = ["all", "any", "of"];

/// Reads the list of them, and `at_least`.
pub fn read(table: &Table<'_>, sources: &Sources<'_>) -> Option<Checks> {
    let combination = table.one_of(&COMBINATIONS)?;
    let at_least = table.get("at_least");
    let items = combination.array(EXAMPLE, Checks::MOST)?;
    if items.is_empty() {
        return combination
            .error(format!("`check.{}` holds no check", combination.name), format!("expected {EXAMPLE}"));
    }
    let mut names = HashSet::new();
    // All are read before the first failure counts: each reports its own mistakes.
    let read: Vec<_> = items.into_iter().map(|item| member(item, &mut names, sources)).collect();
    let members: Vec<MemberCheck> = read.into_iter().collect::<Option<_>>()?;
    let votes = members.iter().filter(|member| member.role == CheckRole::Vote).count();
    let needed = match (combination.name, at_least) {
        ("of", Some(at_least)) => at_least.small(1..=votes.max(1) as u64)?,
        ("of", None) => {
            return combination.error("`check.of` without `at_least`", "say how many must pass: `at_least = 2`");
        }
        (_, Some(at_least)) => {
            let help = "write `check.of`, with `at_least`";
            return at_least.error(format!("`at_least` cannot be with `check.{}`", combination.name), help);
        }
        ("any", None) => votes.min(1),
        _ => votes,
    };
    Some(Checks { members, needed })
}

fn member(value: Value<'_>, names: &mut HashSet<Arc<str>>, sources: &Sources<'_>) -> Option<MemberCheck> {
    value.table_like("a check", "a table such as { tcp = { port = 443 } }", |table| {
        let given = table.get("name");
        let role = table.or("role", CheckRole::default(), |v| v.choice(&ROLES));
        let kind = one::KINDS.iter().copied().find(|kind| value.has(kind)).unwrap_or("check");
        let name: Arc<str> = match given {
            Some(given) => given.text("a name such as \"cache\"", name)?.into(),
            None => unused(kind, names).into(),
        };
        if !names.insert(name.clone()) {
            let twice = format!("two checks of the region are called `{name}`");
            return given.unwrap_or(value).error(twice, "the second of them");
        }
        Some(MemberCheck { name, role, check: one::read(table, sources)? })
    })
}

/// `http`, and `http-2` where that is taken.
fn unused(kind: &str, names: &HashSet<Arc<str>>) -> String {
    let numbered = (2..).map(|number| format!("{kind}-{number}"));
    let mut choices = std::iter::once(kind.to_owned()).chain(numbered);
    choices.find(|name| !names.contains(name.as_str())).unwrap_or_default()
}

fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    match text.len() {
        1..=MAX_NAME if text.chars().all(fits) => Ok(text.to_owned()),
        _ => Err(format!("1 to {MAX_NAME} of a to z, 0 to 9, `-` and `_`")),
    }
}
