//! A mistake at a range of a master file's text, and the report that collects such mistakes.
//!
//! The parts of the parser return a [`Mistake`] with a range in the text at hand; the reader,
//! which knows the file, turns it into a [`Diagnostic`].

use std::ops::Range;

use super::text::MasterText;
use crate::control::diagnostic::{Diagnostic, Severity};

/// The most errors, and the most warnings, told of one run. Who has more fixes these first.
pub(super) const MAX_TOLD: usize = 100;

/// A [`Diagnostic`] whose place is still a range of the text being read.
#[derive(Debug)]
pub(super) struct Mistake {
    pub severity: Severity,
    pub range: Range<usize>,
    pub message: String,
    pub label: String,
    pub help: Option<String>,
}

impl Mistake {
    /// An error: what is wrong, and what to say at the mark.
    pub fn new(range: Range<usize>, message: impl Into<String>, label: impl Into<String>) -> Mistake {
        Mistake { severity: Severity::Error, range, message: message.into(), label: label.into(), help: None }
    }

    pub fn warning(range: Range<usize>, message: impl Into<String>, label: impl Into<String>) -> Mistake {
        Mistake { severity: Severity::Warning, ..Mistake::new(range, message, label) }
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Mistake {
        self.help = Some(help.into());
        self
    }

    pub fn within(self, text: &MasterText<'_>) -> Diagnostic {
        let span = text.span(self.range);
        let diagnostic = Diagnostic { severity: self.severity, ..Diagnostic::error(self.message) };
        Diagnostic { help: self.help, ..diagnostic.at(span, self.label) }
    }
}

/// The diagnostics of one run: at most [`MAX_TOLD`] of each severity and a last one that says so.
#[derive(Default)]
pub(super) struct BoundedDiagnostics {
    diagnostics: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
}

impl BoundedDiagnostics {
    /// The number told so far.
    pub fn len(&self) -> usize {
        self.diagnostics.len()
    }

    pub fn add(&mut self, diagnostic: Diagnostic) {
        let (count, more) = match diagnostic.severity {
            Severity::Error => (&mut self.errors, Diagnostic::error("there are more mistakes than these")),
            Severity::Warning => (&mut self.warnings, Diagnostic::warning("there are more warnings than these")),
        };
        if *count > MAX_TOLD {
            return;
        }
        self.diagnostics.push(if *count < MAX_TOLD { diagnostic } else { more });
        *count += 1;
    }

    /// No further error will be told: there is no use in reading on.
    pub fn is_full(&self) -> bool {
        self.errors > MAX_TOLD
    }

    /// Adds what was told behind this.
    pub fn append(&mut self, more: BoundedDiagnostics) {
        more.diagnostics.into_iter().for_each(|diagnostic| self.add(diagnostic));
    }

    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Tells whether there were so many warnings that the rest may be left out.
    pub fn is_full_of_warnings(&self) -> bool {
        self.warnings >= MAX_TOLD
    }

    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }
}

/// A text as messages quote it: whole if short, else its beginning.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        None => format!("`{text}`"),
        Some((cut, _)) => format!("`{}…`", &text[..cut]),
    }
}

/// By file and place; those without a place last.
pub(super) fn in_order(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let place = |diagnostic: &Diagnostic| match &diagnostic.span {
        Some(span) => (0, span.file.path.clone(), span.range.start),
        None => (1, String::new(), 0),
    };
    diagnostics.sort_by_cached_key(place);
    diagnostics
}
