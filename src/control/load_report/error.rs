//! Why a load report was not believed.

/// A scrape that brought no figure. Never taken for a load of zero: the last figure stays, and
/// is shown as stale. Parts that came from the other side are cut to a bounded length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// No answer in time, no connection, or no whole HTTP answer.
    #[error("cannot fetch: {0}")]
    Fetch(String),
    #[error("status {0}, expected 200-299")]
    Status(u16),
    #[error("the answer is longer than {0} octets")]
    TooLong(usize),
    /// What came is something else, such as a login page.
    #[error("not HAProxy's statistics as CSV: {0}")]
    NotCsv(String),
    /// No row is the frontend or backend asked for; `known` names those there, the likeliest
    /// first, at most eight.
    #[error("no frontend or backend `{proxy}` in the statistics; there are: {}", known.join(", "))]
    NoSuchProxy { proxy: String, known: Vec<String> },
    #[error("not JSON: {0}")]
    NotJson(String),
    /// The cell is empty or the pointer leads nowhere.
    #[error("there is no `{0}`")]
    Missing(String),
    #[error("`{what}` is {got}, expected a number")]
    NotANumber { what: String, got: String },
    /// A number no load or capacity can be.
    #[error("`{what}` is {got}, expected {expected}")]
    Absurd { what: String, got: String, expected: &'static str },
}
