//! The reason why a load report was not believed.

/// A report that brought no figure. Never taken for a load of zero: the last figure stays, and
/// is shown as stale. Parts that came from the other side are cut to a bounded length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// No answer in time, no connection, or no whole answer.
    #[error("cannot fetch: {0}")]
    Fetch(String),
    /// This machine could not ask: says nothing of the report, and is never told of it.
    #[error("not asked, for a fault of this machine: {0}")]
    Own(String),
    #[error("status {0}, expected 200-299")]
    Status(u16),
    #[error("the answer is longer than {0} octets")]
    TooLong(usize),
    /// The answer is something else, such as a login page.
    #[error("not {expected}: {why}")]
    Unreadable { expected: &'static str, why: String },
    /// The thing asked for is not in the report; `known` names what is, the likeliest first, at
    /// most eight.
    #[error("no {what} `{name}` in the report; there are: {}", known.join(", "))]
    NoSuch { what: &'static str, name: String, known: Vec<String> },
    /// The cell is empty, the pointer leads nowhere, or no sample matches.
    #[error("there is no `{0}`")]
    Missing(String),
    #[error("`{what}` is {got}, expected a number")]
    NotANumber { what: String, got: String },
    /// A number no load or capacity can be.
    #[error("`{what}` is {got}, expected {expected}")]
    Absurd { what: String, got: String, expected: &'static str },
    #[error("`{what}` is {got}, expected {expected}")]
    NotATime { what: String, got: String, expected: &'static str },
    /// One of the two clocks is wrong: how old the figure is cannot be known.
    #[error("the figure is of {ahead_s} s in the future: set the clocks, there and here")]
    Future { ahead_s: u64 },
    /// A rate takes two scrapes, not too far apart.
    #[error("the first count: a rate takes two")]
    FirstCount,
    #[error("the count fell from {before} to {now}: it began anew, and the next scrape gives a rate")]
    CountFell { before: String, now: String },
}
