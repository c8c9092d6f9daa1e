//! `meridian man`: manual pages, made of the commands' own help.

use std::fs;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{Args, Command};

use super::output::{self, Failure, Outcome, count};

/// Print the manual page, or write one of every command
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian man | man -l -
  meridian man --out /usr/local/share/man/man1")]
pub struct Man {
    /// Write one page of each command into this directory, such as meridian-region-drain.1
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

impl Man {
    /// `program`: all commands there are.
    pub fn run(&self, program: Command) -> Outcome {
        let mut program = program.disable_help_subcommand(true);
        program.build();
        let Some(directory) = &self.out else { return output::print(&page(&program)?) };
        fs::create_dir_all(directory)
            .map_err(|error| Failure::new(format!("cannot make {}: {error}", directory.display())))?;
        let written = write_all(&program, directory)?;
        output::print(&format!("{} written to {}\n", count(written, "page"), directory.display()))
    }
}

/// Writes the pages of a command and of those below it; tells how many.
fn write_all(command: &Command, directory: &Path) -> Outcome<usize> {
    let path = directory.join(format!("{}.1", full_name(command)));
    fs::write(&path, page(command)?)
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    let mut written = 1;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        written += write_all(below, directory)?;
    }
    Ok(written)
}

/// `meridian-region-drain`.
fn full_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(command: &Command) -> Outcome<String> {
    let after = command.get_after_long_help().or_else(|| command.get_after_help()).map(ToString::to_string);
    let bare = command.clone().after_help(Resettable::Reset).after_long_help(Resettable::Reset);
    let page = clap_mangen::Man::new(bare).title(full_name(command)).manual("Meridian");
    let page = page.source(concat!("meridian ", env!("CARGO_PKG_VERSION")));
    let mut roff = Vec::new();
    page.render(&mut roff).map_err(|error| Failure::new(format!("cannot make the page: {error}")))?;
    Ok(ascii(&(String::from_utf8_lossy(&roff).into_owned() + &sections(&after.unwrap_or_default()))))
}

/// Other letters by their number: troff takes them so whatever it takes octets for (groff_char(7)).
fn ascii(text: &str) -> String {
    let each = text.chars().map(|c| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) });
    each.collect()
}

/// What follows a command's options in its help, with the headings that manual pages have.
fn sections(help: &str) -> String {
    let mut text = String::new();
    let mut last = "";
    for paragraph in help.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let heading = match paragraph.split_once(['\n', ':']).map_or(paragraph, |(first, _)| first) {
            "Examples" => "EXAMPLES",
            first if first.starts_with("Exit status") => "EXIT STATUS",
            _ => "NOTES",
        };
        text.push_str(&if heading == last { ".PP\n".to_owned() } else { format!(".SH \"{heading}\"\n") });
        last = heading;
        let lines = paragraph.strip_prefix("Examples:\n").unwrap_or(paragraph);
        text.push_str(&format!(".nf\n{}.fi\n", lines.lines().map(line).collect::<String>()));
    }
    text
}

/// A line as it is: nothing of it is a request (groff(7)).
fn line(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    let guard = if escaped.starts_with(['.', ' ']) { "\\&" } else { "" };
    format!("{guard}{escaped}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_ascii() {
        assert_eq!(ascii("↑ = é"), "\\[u2191] = \\[u00E9]");
    }

    #[test]
    fn what_follows_the_options_has_headings_and_makes_no_requests() {
        let help = "Exit status: 0 ok.\n\nExamples:\n  a 'b\\n'\n.so x\n\nMore.\n\nAnd more.";
        assert_eq!(
            sections(help),
            ".SH \"EXIT STATUS\"\n.nf\nExit status: 0 ok.\n.fi\n.SH \"EXAMPLES\"\n.nf\n\\&  a \\(aqb\\en\\(aq\n\\&.so x\n.fi\n\
             .SH \"NOTES\"\n.nf\nMore.\n.fi\n.PP\n.nf\nAnd more.\n.fi\n"
        );
    }
}
