//! `check.exec`: the program that is run for each address, where the main file allows it.

use crate::control::config::files::Sources;
use crate::control::config::reader::{Table, Value};
use crate::control::diagnostic::Diagnostic;
use crate::model::ExecCheck;

/// Arguments at most, the program among them, and octets of one.
const MAX_ARGUMENTS: usize = 64;
const MAX_OCTETS: usize = 4_096;

const COMMAND: &str = "an array such as [\"/usr/local/bin/check-shop\", \"{address}\"]";

pub fn read(table: &Table<'_>, sources: &Sources<'_>) -> Option<ExecCheck> {
    let command = table.require("command", "command = [\"/usr/local/bin/check-shop\", \"{address}\"]");
    if !sources.may_run_programs() {
        let span = command.map_or_else(|| table.span(), |value| value.span());
        let refused = Diagnostic::error("zone files may not run programs").at(span, "`allow_exec` is not true");
        table
            .report()
            .push(refused.help("write `allow_exec = true` in the main file, if all zone files are trusted with it"));
    }
    let items: Vec<_> = command?.array(COMMAND, MAX_ARGUMENTS)?.into_iter().map(argument).collect();
    let items: Vec<String> = items.into_iter().collect::<Option<_>>()?;
    match items.split_first() {
        Some((program, arguments)) if program.starts_with('/') => {
            Some(ExecCheck { program: program.clone(), arguments: arguments.to_vec() })
        }
        _ => command?.error("`command` does not begin with a program", "expected an absolute path as its first item"),
    }
}

fn argument(value: Value<'_>) -> Option<String> {
    value.text("an argument", |text| match text.len() {
        _ if text.contains('\0') => Err("holds a NUL".to_owned()),
        0..=MAX_OCTETS => Ok(text.to_owned()),
        length => Err(format!("{length} octets, expected at most {MAX_OCTETS}")),
    })
}
