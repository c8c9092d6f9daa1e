//! The output of commands: text on standard output, failures on standard error.
//!
//! A reader that goes away (`meridian check | head`) ends the printing and is no failure. Whatever text of feeds,
//! endpoints or files is in it, nothing printed does anything to a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::control::diagnostic::Diagnostic;
use crate::model::shown::{is_seen, printable, printable_lines, without_secrets};
use crate::steer::figure::rounded;

use super::exit::Exit;

/// The outcome of a command.
pub type Outcome<T = ()> = Result<T, Failure>;

/// The reason why a command failed, in whole lines for people.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Failure {
    lines: Vec<String>,
    exit: Exit,
}

impl Failure {
    /// One mistake, said in a line without `error:`.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure::all([message.into()])
    }

    /// Several mistakes, each said in a line without `error:`.
    pub fn all(messages: impl IntoIterator<Item = String>) -> Failure {
        let lines = messages.into_iter().map(|message| safe(&format!("error: {message}"))).collect();
        Failure { lines, ..Failure::default() }
    }

    /// Mistakes in files, with their excerpts.
    pub fn of_files(diagnostics: &[Diagnostic]) -> Failure {
        let color = color_on_stderr();
        let lines = diagnostics.iter().map(|diagnostic| diagnostic.render(color)).collect();
        Failure { lines, ..Failure::default() }
    }

    /// All has been said already.
    pub fn told() -> Failure {
        Failure::default()
    }

    /// All has been said already, and it ends so.
    pub fn told_with(exit: Exit) -> Failure {
        Failure { exit, ..Failure::default() }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl std::fmt::Display) -> Failure {
        self.lines.push(safe(&format!("help: {help}")));
        self
    }

    /// Marks the failure as one of typing: what was typed is wrong, rather than that it failed.
    #[must_use]
    pub fn mistyped(self) -> Failure {
        self.ends(Exit::Mistyped)
    }

    /// The command ends so because of it.
    #[must_use]
    pub fn ends(self, exit: Exit) -> Failure {
        Failure { exit, ..self }
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit.code())
    }

    /// Says it on standard error.
    pub fn tell(&self) {
        // There is no better place to complain of standard error.
        let _ = io::stderr().lock().write_all(self.text().as_bytes());
    }

    /// All of its lines.
    pub fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line, "\n"]).collect()
    }
}

fn safe(lines: &str) -> String {
    printable_lines(&without_secrets(lines)).into_owned()
}

/// Prints lines on standard output.
pub fn print(text: &str) -> Outcome {
    print_styled(&printable_lines(text))
}

/// As [`print()`], for those who go on printing: tells whether the reader is still there.
pub fn print_on(text: &str) -> Outcome<bool> {
    write_out(&printable_lines(text))
}

/// Prints text as it is: for colours of our own, around text that was made harmless before.
pub fn print_styled(text: &str) -> Outcome {
    write_out(text).map(drop)
}

/// As [`print_styled`], for those who go on printing: tells whether the reader is still there.
pub fn print_styled_on(text: &str) -> Outcome<bool> {
    write_out(text)
}

/// Tells whether the reader is still there.
fn write_out(text: &str) -> Outcome<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(format!("cannot write to standard output: {error}"))),
    }
}

/// Prints values as JSON, one per line; tells whether the reader is still there.
pub fn print_json_lines(values: &[impl serde::Serialize]) -> Outcome<bool> {
    let mut text = String::new();
    for value in values {
        text.push_str(&serde_json::to_string(value).map_err(|error| Failure::new(error.to_string()))?);
        text.push('\n');
    }
    write_out(&harmless_json(&text))
}

/// Prints a value as JSON.
pub fn print_json(value: &impl serde::Serialize) -> Outcome {
    print_styled(&json_text(value, false)?)
}

/// A value as JSON that is harmless to terminals, with a line feed.
pub fn json_text(value: &impl serde::Serialize, one_line: bool) -> Outcome<String> {
    let text = if one_line { serde_json::to_string(value) } else { serde_json::to_string_pretty(value) };
    let mut text = text.map_err(|error| Failure::new(error.to_string()))?;
    text.push('\n');
    Ok(harmless_json(&text).into_owned())
}

/// JSON in which what is not seen is escaped: `serde_json` does so with some control characters alone.
fn harmless_json(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c != '\n' && !is_seen(c);
    if !text.chars().any(harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmful(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}"); // a String takes all
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// See <https://no-color.org>.
pub fn color_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

pub fn color_on_stdout() -> bool {
    color_wanted() && io::stdout().is_terminal()
}

pub fn color_on_stderr() -> bool {
    color_wanted() && io::stderr().is_terminal()
}

/// Columns under their titles.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    title: &'static str,
    align: Align,
}

/// Words begin under each other, numbers end under each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

impl Table {
    pub fn new<const N: usize>(columns: [(&'static str, Align); N]) -> Table {
        let columns = columns.map(|(title, align)| Column { title, align });
        Table { columns: columns.into(), rows: Vec::new() }
    }

    /// A row; cells beyond the columns are left out.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell).into_owned()).into());
    }

    /// The lines, indented by two, each with a line feed.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let titles: Vec<String> = self.columns.iter().map(|column| column.title.to_owned()).collect();
        let widths: Vec<usize> = self.columns.iter().enumerate().map(|(index, _)| self.width(index, &titles)).collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, column), width) in row.iter().zip(&self.columns).zip(&widths) {
                let width = *width;
                // Writing to a String cannot fail.
                let _ = match column.align {
                    Align::Left => write!(line, "  {cell:width$}"),
                    Align::Right => write!(line, "  {cell:>width$}"),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn width(&self, index: usize, titles: &[String]) -> usize {
        let cells = self
            .rows
            .iter()
            .chain(std::iter::once(&titles.to_vec()))
            .filter_map(|row| row.get(index))
            .map(|c| c.chars().count())
            .max();
        cells.unwrap_or(0)
    }
}

/// `45 s`, `3 h`: the largest unit of which there is at least one.
pub fn age(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(length, _)| seconds >= *length);
    unit.map_or_else(|| format!("{seconds} s"), |(length, name)| format!("{} {name}", seconds / length))
}

/// `42 s`, `7 min`, `3.5 h`, `12 d`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{} s", rounded(s, 0)),
        s if s < 7_200.0 => format!("{} min", rounded(s / 60.0, 0)),
        s if s < 172_800.0 => format!("{} h", rounded(s / 3_600.0, 1)),
        s => format!("{} d", rounded(s / 86_400.0, 0)),
    }
}

/// `1 zone`, `2 zones`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_titles() {
        let mut table = Table::new([("region", Align::Left), ("ms", Align::Right), ("why", Align::Left)]);
        table.row(["são paulo".into(), "7".into(), String::new()]);
        table.row(["seoul".into(), "114.5".into(), "down".into()]);
        let expected = "  region        ms  why\n  são paulo      7\n  seoul      114.5  down\n";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn nothing_printed_does_anything_to_a_terminal() {
        let harmful = "a\u{1b}[2J\u{9b}2J\u{202e}\u{e0001}b";
        let mut table = Table::new([("x", Align::Left)]);
        table.row([format!("{harmful}\nc")]);
        assert_eq!(table.render().lines().count(), 2, "a line feed in a cell ends no row");
        let failure = Failure::new(harmful).help("see http://u:hunter2@h/");
        assert_eq!(failure.lines[1], "help: see http://***@h/");
        let json = serde_json::to_string(harmful).expect("JSON");
        let safe = harmless_json(&json);
        assert_eq!(serde_json::from_str::<String>(&safe).expect("still JSON"), harmful);
        for text in [table.render(), failure.lines.concat(), safe.into_owned()] {
            assert!(text.chars().all(|c| c == '\n' || is_seen(c)), "{text:?}");
        }
    }

    #[test]
    fn failures_say_error_once_each() {
        let failure = Failure::all(["one".into(), "two".into()]).help("three");
        assert_eq!(failure.lines, ["error: one", "error: two", "help: three"]);
    }
}
