//! Mistakes in files the operator wrote: where, what was found, what was expected, what to do.
//!
//! Loaders collect every [`Diagnostic`] of a run before they give up, so that one `meridian
//! check` shows all mistakes. Rendering shows file, line, column and the marked excerpt, without passwords and tokens
//! that stand in the file.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use crate::model::shown;

/// A file as it was read: what spans point into.
#[derive(Debug)]
pub struct SourceFile {
    /// As the operator would name it.
    pub path: String,
    /// All of it; of an excerpt these lines.
    pub text: String,
    /// Where the text begins in the file, in octets and in lines.
    begins: (usize, usize),
    /// The text without secrets, where it holds any; worked out when it is first shown.
    masked: OnceLock<Option<String>>,
    /// The number of line ends before each [`BLOCK`]; worked out when a place far behind is first shown.
    line_ends: OnceLock<Box<[usize]>>,
}

/// So many octets are searched for line ends to know the line of a place, in texts of any length.
const BLOCK: usize = 1 << 14;

impl PartialEq for SourceFile {
    fn eq(&self, other: &SourceFile) -> bool {
        self.path == other.path && self.begins == other.begins && self.text == other.text
    }
}

impl Eq for SourceFile {}

impl SourceFile {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Arc<SourceFile> {
        Arc::new(SourceFile::beginning(path.into(), text.into(), (0, 0)))
    }

    fn beginning(path: String, text: String, begins: (usize, usize)) -> SourceFile {
        SourceFile { path, text, begins, masked: OnceLock::new(), line_ends: OnceLock::new() }
    }

    /// The number of line ends in the text before an offset in it.
    fn line_ends_before(&self, at: usize) -> usize {
        let (octets, block) = (self.text.as_bytes(), at / BLOCK);
        if block == 0 {
            return count_line_ends(&octets[..at]);
        }
        let line_ends = self.line_ends.get_or_init(|| {
            let blocks = octets.chunks(BLOCK).map(count_line_ends);
            let behind = blocks.scan(0, |before, own| {
                *before += own;
                Some(*before)
            });
            std::iter::once(0).chain(behind).collect()
        });
        line_ends[block] + count_line_ends(&octets[block * BLOCK..at])
    }

    /// The lines that a range is on, or the first of them, and nothing else of the file.
    fn excerpt(&self, range: &Range<usize>) -> Arc<SourceFile> {
        const LONGEST: usize = 4096;
        let (octets, lines) = self.begins;
        let Range { start, end } = char_range(&self.text, &self.within(range));
        let begin = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[end..].find('\n').map_or(self.text.len(), |at| end + at);
        let first_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let is_short = |text: &&str| text.len() <= LONGEST;
        let of = |end| self.text.get(begin..end).filter(is_short);
        let text = of(end).or_else(|| of(first_end)).unwrap_or_default();
        let lines = lines + self.line_ends_before(begin);
        let begins = match text {
            // One long line is not kept. Its columns are not either.
            "" => (range.start, lines),
            _ => (octets + begin, lines),
        };
        Arc::new(SourceFile::beginning(self.path.clone(), text.to_owned(), begins))
    }

    /// A range of the file in the text that is here.
    fn within(&self, range: &Range<usize>) -> Range<usize> {
        range.start.saturating_sub(self.begins.0)..range.end.saturating_sub(self.begins.0)
    }

    /// The text as excerpts may show it: as long as it is, octet by octet.
    fn excerpted(&self) -> &str {
        self.masked.get_or_init(|| shown::masked(&self.text)).as_deref().unwrap_or(&self.text)
    }

    /// Line and column of a byte offset, both from 1; the column counts characters.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = &self.text.as_bytes()[..offset.saturating_sub(self.begins.0).min(self.text.len())];
        let line = self.line_ends_before(before.len()) + 1 + self.begins.1;
        let start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
        (line, column)
    }
}

/// In steps whose counts fit an octet each, so that many are compared at once.
fn count_line_ends(octets: &[u8]) -> usize {
    const STEP: usize = 192;
    let of_step = |step: &[u8]| step.iter().map(|&octet| u8::from(octet == b'\n')).sum::<u8>();
    octets.chunks(STEP).map(|step| usize::from(of_step(step))).sum()
}

/// A run of bytes in a file. Empty spans mark a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub file: Arc<SourceFile>,
    pub range: Range<usize>,
}

impl Span {
    pub fn new(file: &Arc<SourceFile>, range: Range<usize>) -> Span {
        Span { file: file.clone(), range }
    }

    /// The same place, with the lines it is on and no more of the file.
    pub fn excerpt(&self) -> Span {
        Span { file: self.file.excerpt(&self.range), range: self.range.clone() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The files cannot be used.
    Error,
    /// They can, but the operator should look.
    Warning,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// What is wrong, in one line, lower case, without a full stop.
    pub message: String,
    /// Where; `None` where there is no text to point at, such as a missing file.
    pub span: Option<Span>,
    /// Said at the mark: what was found or expected there. May be empty.
    pub label: String,
    /// Other places that matter, such as the first of two definitions.
    pub related: Vec<(Span, String)>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    pub fn error(message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            message: message.into(),
            span: None,
            label: String::new(),
            related: Vec::new(),
            help: None,
        }
    }

    pub fn warning(message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(message) }
    }

    /// Marks where, with what to say there.
    #[must_use]
    pub fn at(mut self, span: Span, label: impl Into<String>) -> Diagnostic {
        self.span = Some(span);
        self.label = label.into();
        self
    }

    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Diagnostic {
        self.related.push((span, label.into()));
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The same, with the lines that its places are on and no more of files.
    pub fn excerpt(&self) -> Diagnostic {
        let related = self.related.iter().map(|(span, label)| (span.excerpt(), label.clone()));
        Diagnostic { span: self.span.as_ref().map(Span::excerpt), related: related.collect(), ..self.clone() }
    }

    /// The diagnostic with its excerpt, over several lines, without a trailing newline.
    pub fn render(&self, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(shown::shown(&self.message)));
        if let Some(span) = &self.span {
            let mut snippet = source(span).annotation(mark(AnnotationKind::Primary, span, &self.label));
            for (other, label) in self.related.iter().filter(|(other, _)| other.file == span.file) {
                snippet = snippet.annotation(mark(AnnotationKind::Context, other, label));
            }
            group = group.element(snippet);
            for (other, label) in self.related.iter().filter(|(other, _)| other.file != span.file) {
                group = group.element(source(other).annotation(mark(AnnotationKind::Context, other, label)));
            }
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(shown::shown(help)));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

fn source(span: &Span) -> Snippet<'_, Annotation<'_>> {
    Snippet::source(span.file.excerpted()).line_start(span.file.begins.1 + 1).path(shown::printable(&span.file.path))
}

fn mark<'a>(kind: AnnotationKind, span: &Span, label: &'a str) -> Annotation<'a> {
    kind.span(char_range(span.file.excerpted(), &span.file.within(&span.range))).label(shown::shown(label))
}

/// `file:line:column: message (label)`, for logs and APIs: a line without secrets.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(span) = &self.span {
            let (line, column) = span.file.line_column(span.range.start);
            write!(f, "{}:{line}:{column}: ", shown::printable(&span.file.path))?;
        }
        f.write_str(&shown::shown(&self.message))?;
        if !self.label.is_empty() {
            write!(f, " ({})", shown::shown(&self.label))?;
        }
        if let Some(help) = &self.help {
            write!(f, "; {}", shown::shown(help))?;
        }
        Ok(())
    }
}

/// The known word nearest to `found`, where one is near enough to have been meant.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&found.to_lowercase(), &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= 1 + word.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// The range cut to the text and widened to character boundaries: excerpts are never refused.
fn char_range(text: &str, range: &Range<usize>) -> Range<usize> {
    let mut start = range.start.min(text.len());
    let mut end = range.end.clamp(start, text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_file_line_column_and_the_marked_excerpt() {
        let file = SourceFile::new("zones/a.toml", "origin = \"a\"\nttll = 5\n");
        let diagnostic = Diagnostic::error("unknown key `ttll`")
            .at(Span::new(&file, 13..17), "not known here")
            .help("did you mean `ttl`?");
        let text = diagnostic.render(false);
        for part in
            ["error: unknown key `ttll`", "zones/a.toml:2:1", "ttll = 5", "^^^^ not known here", "did you mean `ttl`?"]
        {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert_eq!(
            diagnostic.to_string(),
            "zones/a.toml:2:1: unknown key `ttll` (not known here); did you mean `ttl`?"
        );
    }

    #[test]
    fn no_password_is_shown_and_no_terminal_is_told_anything() {
        let file = SourceFile::new("x.toml", "\u{1b}[2J\nurl = \"http://u:hunter2@h:84o4/?token=abc\"\n");
        let diagnostic = Diagnostic::error("bad \u{1b}[2J")
            .at(Span::new(&file, 11..47), "found the string \"http://u:hunter2@h:84o4/?token=abc\"")
            .related(Span::new(&file, 0..1), "http://u:hunter2@h")
            .help("not http://u:hunter2@h");
        for text in [diagnostic.render(false), diagnostic.to_string()] {
            assert!(!text.contains("hunter2") && !text.contains("abc") && !text.contains('\u{1b}'), "{text}");
            assert!(text.contains("@h:84o4"), "{text}");
        }
    }

    #[test]
    fn any_span_renders() {
        let file = SourceFile::new("x", "é\n");
        for range in [0..1, 1..1, 2..99, 99..120, 0..0] {
            Diagnostic::error("e").at(Span::new(&file, range), "").render(false);
        }
        Diagnostic::error("e").at(Span::new(&SourceFile::new("x", ""), 0..0), "here").render(false);
    }

    #[test]
    fn an_excerpt_is_shown_as_the_file_was() {
        let file = SourceFile::new(
            "zones/a.toml",
            format!("first\nsecond é = 5\n{}\n{}last", "long ".repeat(2_000), "a\n".repeat(BLOCK)),
        );
        let last = file.text.len() - 4..file.text.len();
        let counted = file.text[..last.start].matches('\n').count() + 1;
        assert_eq!(file.line_column(last.start), (counted, 1));
        for range in [0..5, 6..12, 15..19, last] {
            let whole = Diagnostic::warning("odd").at(Span::new(&file, range), "this");
            let excerpt = whole.excerpt();
            assert_eq!((excerpt.to_string(), excerpt.render(false)), (whole.to_string(), whole.render(false)));
            assert!(excerpt.span.as_ref().is_some_and(|span| span.file.text.len() < 20));
            assert_eq!(excerpt.excerpt(), excerpt);
        }
        let long = Diagnostic::warning("odd").at(Span::new(&file, 15..9_000), "over long lines");
        assert_eq!(long.excerpt().to_string(), long.to_string());
    }

    #[test]
    fn nearest_knows_when_nothing_is_near() {
        assert_eq!(nearest("ttll", ["ttl", "regions"]), Some("ttl"));
        assert_eq!(nearest("colour", ["ttl", "regions"]), None);
    }
}
