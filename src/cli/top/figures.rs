//! Rates out of two looks at a server's metrics.

use std::collections::BTreeMap;
use std::time::Duration;

/// Counters at one moment, as far as they are shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    queries: BTreeMap<String, f64>,
    responses: BTreeMap<String, f64>,
    answers: BTreeMap<String, f64>,
}

/// How fast they grow: events a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// All queries.
    pub queries: f64,
    /// By transport; those that do not grow are left out, here as below.
    pub transports: Vec<(String, f64)>,
    /// By response code, the most frequent first.
    pub rcodes: Vec<(String, f64)>,
    /// By region, qualified.
    pub regions: BTreeMap<String, f64>,
}

impl Figures {
    /// Reads the text of `/metrics`. What is not there counts as nothing.
    pub fn read(text: &str) -> Figures {
        let mut figures = Figures::default();
        for line in text.lines() {
            let Some((name, rest)) = line.split_once('{') else { continue };
            let (counters, label) = match name {
                "meridian_queries_total" => (&mut figures.queries, "transport"),
                "meridian_responses_total" => (&mut figures.responses, "rcode"),
                "meridian_answers_total" => (&mut figures.answers, "region"),
                _ => continue,
            };
            let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
            let value = value.split(' ').next().and_then(|value| value.parse::<f64>().ok());
            if let (Some(of), Some(value)) = (label_of(labels, label), value) {
                *counters.entry(of.to_owned()).or_default() += value;
            }
        }
        figures
    }

    /// The rates from `before` to now; `None` where the server began anew meanwhile.
    pub fn since(&self, before: &Figures, elapsed: Duration) -> Option<Rates> {
        let seconds = elapsed.as_secs_f64();
        let rates = |now: &BTreeMap<String, f64>, before: &BTreeMap<String, f64>| {
            let grown = now.iter().map(|(of, now)| (of.clone(), now - before.get(of).copied().unwrap_or(0.0)));
            let grown: Vec<_> = grown.filter(|(_, grown)| *grown != 0.0).collect();
            let is_anew = seconds <= 0.0 || grown.iter().any(|(_, grown)| *grown < 0.0);
            (!is_anew).then(|| grown.into_iter().map(|(of, grown)| (of, grown / seconds)).collect::<Vec<_>>())
        };
        let transports = rates(&self.queries, &before.queries)?;
        let mut rcodes = rates(&self.responses, &before.responses)?;
        rcodes.sort_by(|a, b| b.1.total_cmp(&a.1));
        let regions = rates(&self.answers, &before.answers)?.into_iter().collect();
        Some(Rates { queries: transports.iter().map(|(_, rate)| rate).sum(), transports, rcodes, regions })
    }
}

/// The value of one label; names of regions need no escapes.
fn label_of<'a>(labels: &'a str, wanted: &str) -> Option<&'a str> {
    let mut each = labels.split(',').filter_map(|label| label.split_once('='));
    each.find(|(name, _)| *name == wanted).map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
# TYPE meridian_queries counter
meridian_queries_total{transport=\"udp\"} 100
meridian_queries_total{transport=\"tcp\"} 5
meridian_responses_total{rcode=\"NOERROR\"} 90
meridian_responses_total{rcode=\"NXDOMAIN\"} 0
meridian_answers_total{service=\"www.gslb.example.\",region=\"seoul@gslb.example\"} 7
meridian_answers_total{service=\"api.gslb.example.\",region=\"seoul@gslb.example\"} 3
";

    #[test]
    fn counters_become_rates() {
        let before = Figures::read(BEFORE);
        let after = BEFORE.replace("} 100", "} 300").replace("} 90", "} 100").replace("N\"} 0", "N\"} 40");
        let after = Figures::read(&after.replace("} 7", "} 17").replace("} 3\n", "} 13\n"));
        let rates = after.since(&before, Duration::from_secs(2)).expect("rates");
        assert_eq!((rates.queries, rates.transports), (100.0, vec![("udp".to_owned(), 100.0)]));
        assert_eq!(rates.rcodes, [("NXDOMAIN".to_owned(), 20.0), ("NOERROR".to_owned(), 5.0)]);
        assert_eq!(rates.regions, BTreeMap::from([("seoul@gslb.example".to_owned(), 10.0)]));
    }

    #[test]
    fn a_server_that_began_anew_has_no_rates_yet() {
        let (few, many) = (Figures::read("meridian_queries_total{transport=\"udp\"} 1"), Figures::read(BEFORE));
        assert_eq!(few.since(&many, Duration::from_secs(2)), None);
        assert_eq!(many.since(&few, Duration::ZERO), None);
        assert_eq!(Figures::read("nothing } of { ours\nmeridian_queries_total{ x"), Figures::default());
    }
}
