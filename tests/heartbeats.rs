//! Heartbeats for real: a region that waits for them, what the command line and the API say of it, and what is answered.

use std::process::{Command, Output};
use std::time::Duration;

use meridian::steer::health::effective::EffectiveState;

mod support;

use support::server::{Server, wait_until};

/// On a machine busy with other tests.
const PATIENCE: Duration = Duration::from_secs(20);

const ZONE: &str = r#"
origin = "gslb.example"
records = """
@ SOA ns1 hostmaster 1 1h 10m 1w 60
@ NS ns1
ns1 A 192.0.2.53
"""
[region.agent]
location = { country = "KR" }
endpoints = [{ address = "192.0.2.1" }, { address = "192.0.2.2" }]
check.push = { max_age = "1h", interval = "100ms", rise = 1, fall = 2 }
min_healthy = 2
[region.spare]
location = { country = "KR" }
endpoints = [{ address = "192.0.2.3" }]
[service.www]
policy = "failover"
regions = ["agent", "spare"]
"#;

/// `meridian region heartbeat …`, its exit status and what it says.
fn heartbeat(server: &Server, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
    command.args(["region", "heartbeat"]).args(arguments).args(["--admin", &server.admin.to_string()]);
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.success(), said)
}

#[test]
fn a_region_is_answered_by_its_heartbeats_and_not_after_one_that_says_so() {
    let server = Server::start("", &[("gslb.example.toml", ZONE)]);
    let becomes = |state| wait_until(&format!("{state:?}"), PATIENCE, || server.effective("agent") == state);
    assert_eq!(server.effective("agent"), EffectiveState::Unknown, "no heartbeat was heard, and none is missed yet");
    let (ok, said) = heartbeat(&server, &["agent"]);
    assert!(ok, "{said}");
    assert_eq!(said, "agent@gslb.example: heard as healthy: 192.0.2.1, 192.0.2.2. The next must come within 3600 s.\n");
    becomes(EffectiveState::Up);
    let (ok, said) = heartbeat(&server, &["agent", "--endpoint", "192.0.2.2", "--unhealthy", "disk full"]);
    assert!(ok && said.contains("heard as unhealthy: 192.0.2.2."), "{said}");
    becomes(EffectiveState::Down);
    assert_eq!(server.query("www.gslb.example", "A").data(), ["192.0.2.3"]);
    heartbeat(&server, &["agent", "--endpoint", "192.0.2.2"]);
    becomes(EffectiveState::Up);
    let (ok, said) = heartbeat(&server, &["spare"]);
    assert!(!ok && said.contains("spare@gslb.example takes no heartbeats: it has no check"), "{said}");
}
