//! Prometheus' text format, and what OpenMetrics made of it.
//!
//! ```text
//! # TYPE http_requests_in_flight gauge
//! http_requests_in_flight{code="200",path="/"} 12 1395066363000
//! ```
//!
//! Only samples of the metrics asked for are read; whatever else stands there may be anything.

use std::time::SystemTime;

use crate::control::probe::outcome::excerpt;
use crate::model::{MetricSelector, quoted};

use super::{LoadError, LoadSample, figure, time};

/// Labels of one sample at most.
const MOST_LABELS: usize = 64;

/// Adds up the samples that match, for the load and for the capacity.
///
/// The figure is as old as the oldest sample of either that has a timestamp. No sample that
/// matches is an error, never zero; the error names the nearest metrics.
pub(super) fn read(
    text: &str,
    load: &MetricSelector,
    capacity: Option<&MetricSelector>,
    now: SystemTime,
) -> Result<LoadSample, LoadError> {
    // OpenMetrics ends with this line, and has timestamps in seconds.
    let seconds_per_tick = if text.trim_end().ends_with("\n# EOF") { 1.0 } else { 1e-3 };
    let total = sum(text, load, seconds_per_tick, now)?;
    let limit = capacity.map(|selector| sum(text, selector, seconds_per_tick, now)).transpose()?;
    let at = limit.iter().chain([&total]).filter_map(|sum| sum.at).min();
    let limit = limit.zip(capacity).map(|(sum, selector)| (selector.metric.as_str(), sum.value));
    Ok(LoadSample { at, ..figure::sample((&load.metric, total.value), limit)? })
}

struct Sum {
    value: f64,
    /// Of the oldest sample that has a timestamp.
    at: Option<SystemTime>,
}

fn sum(text: &str, wanted: &MetricSelector, seconds_per_tick: f64, now: SystemTime) -> Result<Sum, LoadError> {
    let mut sum: Option<Sum> = None;
    for line in text.lines() {
        let Some(rest) = line.trim_start().strip_prefix(wanted.metric.as_str()) else { continue };
        if !rest.starts_with(['{', ' ', '\t']) {
            continue;
        }
        let sample = sample(rest).ok_or_else(|| unreadable(line))?;
        if !wanted.matches(&sample.labels) {
            continue;
        }
        let sum = sum.get_or_insert(Sum { value: 0.0, at: None });
        sum.value += figure::amount(&wanted.metric, figure::number(&wanted.metric, sample.value)?)?;
        let at = sample.timestamp.map(|tick| at(line, tick, seconds_per_tick, now)).transpose()?;
        sum.at = sum.at.into_iter().chain(at).min();
    }
    sum.ok_or_else(|| missing(text, wanted))
}

/// The parts that follow a metric's name.
struct Sample<'a> {
    labels: Vec<(&'a str, String)>,
    value: &'a str,
    timestamp: Option<&'a str>,
}

/// `None` for what breaks the format.
fn sample(rest: &str) -> Option<Sample<'_>> {
    let (labels, rest) = match rest.trim_start().strip_prefix('{') {
        Some(inner) => labels(inner)?,
        None => (Vec::new(), rest),
    };
    // An exemplar, of which nothing is wanted, is set off by `#`.
    let mut words = rest.split_once(" # ").map_or(rest, |(sample, _)| sample).split_whitespace();
    let (value, timestamp) = (words.next()?, words.next());
    words.next().is_none().then_some(Sample { labels, value, timestamp })
}

type Labels<'a> = (Vec<(&'a str, String)>, &'a str);

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<Labels<'_>> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (label, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start())?;
        if labels.len() == MOST_LABELS {
            return None;
        }
        labels.push((label.trim(), value));
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(more) => more,
            None if after.starts_with('}') => after,
            None => return None,
        };
    }
}

fn at(line: &str, tick: &str, seconds_per_tick: f64, now: SystemTime) -> Result<SystemTime, LoadError> {
    let seconds = tick.parse::<f64>().ok().map(|tick| tick * seconds_per_tick);
    time::past(seconds.and_then(time::since_1970).ok_or_else(|| unreadable(line))?, now)
}

fn unreadable(line: &str) -> LoadError {
    LoadError::Unreadable { expected: "Prometheus' text format", why: excerpt(line) }
}

/// No sample matches: either the metric is not there, or its labels are others.
fn missing(text: &str, wanted: &MetricSelector) -> LoadError {
    let name = |line: &str| line.find(['{', ' ', '\t']).and_then(|end| line.get(..end)).map(str::len);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let mut names = samples.filter_map(|line| line.get(..name(line)?));
    if names.clone().any(|name| name == wanted.metric) {
        return LoadError::Missing(excerpt(&format!("{} with these labels", wanted.metric)));
    }
    figure::no_such("metric", &wanted.metric, names.by_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    const PAGE: &str = "\
# HELP http_in_flight Requests being served.
# TYPE http_in_flight gauge
http_in_flight{code=\"200\",path=\"/a \\\"b\\\" \\\\ \\n}\"} 12
http_in_flight{code=\"500\", path=\"/\",} 3
http_in_flight_limit 200
limit{pod=\"a\"}\t100
limit { pod = \"b\" } 1.5e2
odd{} 5
http_requests_total{code=\"200\"} 1027 1395066363000
http_requests_total{code=\"400\"} 3 1395066360000
something else entirely
";

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_395_066_400)
    }

    fn selector(text: &str) -> MetricSelector {
        MetricSelector::parse(text).expect("a selector")
    }

    fn of(page: &str, load: &str, capacity: Option<&str>) -> Result<LoadSample, LoadError> {
        read(page, &selector(load), capacity.map(selector).as_ref(), now())
    }

    fn figures(load: &str, capacity: Option<&str>) -> Result<(f64, Option<f64>), LoadError> {
        of(PAGE, load, capacity).map(|sample| (sample.load, sample.capacity))
    }

    #[test]
    fn samples_that_match_are_added_up() {
        assert_eq!(figures("http_in_flight", None), Ok((15.0, None)));
        assert_eq!(figures("http_in_flight{code=\"200\"}", Some("http_in_flight_limit")), Ok((12.0, Some(200.0))));
        assert_eq!(figures("http_in_flight{code!=\"200\"}", Some("limit")), Ok((3.0, Some(250.0))));
        assert_eq!(figures("http_in_flight{path=\"/a \\\"b\\\" \\\\ \\n}\"}", None), Ok((12.0, None)));
        assert_eq!(figures("odd{pod=\"\"}", None), Ok((5.0, None)));
    }

    #[test]
    fn the_oldest_timestamp_is_the_figures() {
        let sample = of(PAGE, "http_requests_total", None).expect("a count");
        assert_eq!((sample.load, sample.at), (1030.0, Some(now() - Duration::from_secs(40))));
        let open = "a_total 5 1395066390.5 # {trace_id=\"x\"} 0.67 1395066390\nb 9\n# EOF\n";
        let sample = of(open, "a_total", Some("b")).expect("OpenMetrics");
        assert_eq!(sample.at, Some(now() - Duration::from_millis(9_500)));
        assert_eq!(of("a 1\n", "a", None).expect("a figure").at, None);
        assert!(matches!(of("a 1 1395069999000\n", "a", None), Err(LoadError::Future { .. })));
    }

    #[test]
    fn no_sample_is_an_error_never_zero() {
        assert_eq!(
            figures("http_in_flight{code=\"404\"}", None).expect_err("none").to_string(),
            "there is no `http_in_flight with these labels`"
        );
        let error = figures("http_inflight", None).expect_err("none").to_string();
        assert!(error.starts_with("no metric `http_inflight` in the report; there are: http_in_flight, "), "{error}");
        assert!(matches!(figures("limit", Some("nothing")), Err(LoadError::NoSuch { .. })));
        for page in ["", "<html>", "http_in_flight", "# http_in_flight 5"] {
            assert!(of(page, "http_in_flight", None).is_err(), "{page}");
        }
    }

    #[test]
    fn one_lying_sample_is_not_hidden_by_the_others() {
        for lie in ["-1", "NaN", "+Inf", "-Inf", "1e16"] {
            let page = format!("a{{n=\"1\"}} 10\na{{n=\"2\"}} {lie}\n");
            assert!(matches!(of(&page, "a", None), Err(LoadError::Absurd { .. })), "{lie}");
            assert!(matches!(of(&format!("b 1\n{page}"), "b", Some("a")), Err(LoadError::Absurd { .. })), "{lie}");
        }
        assert!(matches!(of("a many\n", "a", None), Err(LoadError::NotANumber { .. })));
        assert!(matches!(of("a 1\nb 0\n", "a", Some("b")), Err(LoadError::Absurd { .. })));
    }

    #[test]
    fn a_broken_line_of_the_metric_is_an_error() {
        let labels = (0..65).map(|n| format!("l{n}=\"\",")).collect::<String>();
        for line in
            ["a{x=\"1\" 5", "a{x=1} 5", "a{x} 5", "a{x=\"1} 5", "a ", "a 1 2 3", "a 1 x", &format!("a{{{labels}}} 5")]
        {
            assert!(matches!(of(line, "a", None), Err(LoadError::Unreadable { .. })), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_true_sample_or_an_error(text in "(a([{][ -~]{0,20}[}])? [-+0-9.eEinfNa]{0,8}( [0-9]{0,14})?\n){0,5}") {
            if let Ok(sample) = of(&text, "a", Some("a{b!=\"c\"}")) {
                prop_assert!((0.0..=figure::MOST).contains(&sample.load));
                prop_assert!(sample.at.is_none_or(|at| at <= now()));
            }
        }
    }
}
