//! Route 53's health checks, as checks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use super::sets::{Text, lines_of};
use crate::control::import::draft::{EndpointDraft, quoted};
use crate::control::import::left::Leftovers;

/// By their ids.
#[derive(Default)]
pub struct HealthChecks {
    checks: BTreeMap<String, Config>,
    /// Whether there was a file of them.
    told: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    health_checks: Vec<HealthCheck>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthCheck {
    id: String,
    health_check_config: Config,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    r#type: String,
    #[serde(rename = "IPAddress")]
    address: Option<IpAddr>,
    port: Option<u16>,
    resource_path: Option<String>,
    fully_qualified_domain_name: Option<String>,
    search_string: Option<String>,
    request_interval: Option<u64>,
    failure_threshold: Option<u64>,
    #[serde(default)]
    inverted: bool,
    #[serde(default)]
    disabled: bool,
    #[serde(rename = "EnableSNI")]
    sni: Option<bool>,
}

impl HealthChecks {
    pub fn read(file: &Text<'_>, left: &mut Leftovers) -> Result<HealthChecks, String> {
        let listed: Listed = serde_json::from_str(file.text)
            .map_err(|error| format!("{}:{}:{}: {error}", file.name, error.line(), error.column()))?;
        let mut lines = lines_of(file.text, "Id");
        let mut checks = BTreeMap::new();
        for HealthCheck { id, health_check_config: config } in listed.health_checks {
            let line = lines.next().unwrap_or(1);
            for (said, what, why) in [
                (config.inverted, "Inverted", "what answers is up here"),
                (config.disabled, "Disabled", "counts as up there: here it is asked"),
                (config.sni == Some(false), "EnableSNI", "a name is always sent here"),
            ] {
                if said {
                    left.push(file.name, line, format!("health check {id}: {what}"), why);
                }
            }
            checks.insert(id, config);
        }
        Ok(HealthChecks { checks, told: true })
    }

    /// A check as it is written; why there is none.
    pub fn check(&self, id: &str, endpoints: &[EndpointDraft]) -> Result<String, String> {
        let Some(config) = self.checks.get(id) else {
            return Err(match self.told {
                true => "is not in the file of health checks".to_owned(),
                false => "give `aws route53 list-health-checks` by --health-checks".to_owned(),
            });
        };
        if let Some(address) = config.address.filter(|address| !endpoints.contains(&EndpointDraft::Address(*address))) {
            return Err(format!("asks {address}, which is none of its addresses: endpoints are asked themselves here"));
        }
        let pace = config.pace();
        match config.r#type.as_str() {
            "TCP" => Ok(format!("tcp = {{ port = {}, {pace} }}", config.port.unwrap_or(80))),
            "HTTP" | "HTTP_STR_MATCH" => Ok(config.http("http", 80, &pace)),
            "HTTPS" | "HTTPS_STR_MATCH" => Ok(config.http("https", 443, &pace)),
            other => Err(format!("{other} is about other checks or metrics, and has no counterpart")),
        }
    }
}

impl Config {
    /// Route 53 waits for 4 s to connect, and 2 s for an answer.
    fn pace(&self) -> String {
        let interval = self.request_interval.unwrap_or(30).clamp(1, 3_600);
        let threshold = self.failure_threshold.unwrap_or(3).clamp(1, 100);
        format!("interval = \"{interval}s\", timeout = \"6s\", fall = {threshold}, rise = {threshold}")
    }

    fn http(&self, scheme: &str, usual: u16, pace: &str) -> String {
        let path = self.resource_path.as_deref().unwrap_or("/");
        let fits = |c: &char| c.is_ascii_graphic() && !"{}#".contains(*c);
        let path: String = path.chars().filter(fits).collect();
        let slash = if path.starts_with('/') { "" } else { "/" };
        let mut parts = vec![format!(
            "url = {}",
            quoted(&format!("{scheme}://{{address}}:{}{slash}{path}", self.port.unwrap_or(usual)))
        )];
        parts.extend(self.fully_qualified_domain_name.as_ref().map(|host| format!("host = {}", quoted(host))));
        // Route 53 verifies no certificates.
        parts.extend((scheme == "https").then(|| "verify = false".to_owned()));
        parts.extend(self.search_string.as_ref().map(|text| format!("body = {}", quoted(text))));
        format!("{scheme} = {{ {}, {pace} }}", parts.join(", "))
    }
}
