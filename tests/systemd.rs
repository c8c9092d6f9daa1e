//! The units of `examples/systemd`: by systemd's own tools, that they are well formed and how much the service may do;
//! and run by a systemd of their own, the first process of namespaces that end with the test.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::tools::{Need, Running, find, present, skip};
use support::zones;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/systemd");

/// What it said, and whether it was content.
fn run(command: &mut Command) -> (bool, String) {
    let out = command.output().expect("it runs");
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
}

#[test]
fn the_service_may_do_little() {
    let Some(analyze) = present("systemd-analyze") else { return };
    let security = |unit: &str| {
        run(Command::new(&analyze).args(["security", "--offline=true", "--threshold=16", "--no-pager", unit]))
    };
    let (content, said) = security(&format!("{FOLDER}/meridian.service"));
    assert!(content, "{said}");

    let folder = tempfile::tempdir().expect("a folder");
    let all = folder.path().join("meridian.service");
    std::fs::write(&all, "[Service]\nExecStart=/bin/true\n").expect("written");
    let (content, said) = security(all.to_str().expect("UTF-8"));
    assert!(!content, "one that may do everything is found out: {said}");
}

#[test]
fn the_units_are_well_formed() {
    let Some(analyze) = present("systemd-analyze") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    for unit in ["meridian.service", "meridian.socket"] {
        let text = std::fs::read_to_string(format!("{FOLDER}/{unit}")).expect("a unit");
        let text = text.replace("/usr/bin/meridian", env!("CARGO_BIN_EXE_meridian"));
        std::fs::write(folder.path().join(unit), text).expect("written");
    }
    for unit in ["meridian.service", "meridian.socket"] {
        let path = folder.path().join(unit);
        let (content, said) = run(Command::new(&analyze).args(["verify", "--man=no"]).arg(&path));
        assert!(content && !said.contains(unit), "{unit}: {said}");
    }
}

/// Where the test's folder is seen inside: out of the places that the service may not see.
const INSIDE: &str = "/run/meridian-test";

/// What systemd starts: the unit, nothing of this machine, and the script that tries it.
const TARGET: &str = "[Unit]
DefaultDependencies=no
Wants=meridian.socket meridian.service tried.service
";
const TRIED: &str = "[Unit]
After=meridian.service
[Service]
Type=oneshot
ExecStart=/bin/bash /run/meridian-test/try
StandardOutput=append:/run/meridian-test/said
StandardError=append:/run/meridian-test/said
";

/// Makes the machine's folders its own before systemd begins.
const BOOT: &str = r#"set -e
mount --make-rprivate /
for own in /run /var/lib /var/log /etc/systemd/system; do mount -t tmpfs tmpfs "$own"; done
mkdir -p /run/meridian-test /run/systemd
mount --bind "$1" /run/meridian-test
mount --bind "$1/units" /lib/systemd/system
ip link set lo up
exec env -i container=lxc PATH="$PATH" /lib/systemd/systemd --system --unit=test.target --log-target=console
"#;

/// What is tried, a line of outcome each.
const TRY: &str = r#"
ask() { dig @127.0.0.1 +short +tries=1 +time=10 www.gslb.example; }
echo "answer: $(ask)"
pid=$(systemctl show -p MainPID --value meridian)
echo "user: $(stat -c %U /proc/$pid)"
grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/$pid/status
for task in /proc/$pid/task/*; do
  [ "$(cat $task/comm)" != jobs ] || echo "policy of jobs: $(cut -d' ' -f41 $task/stat)"
done
for _ in $(seq 400); do echo www.gslb.example; done >/run/meridian-test/names
dig -f /run/meridian-test/names @127.0.0.1 +short +tries=1 +time=10 >/run/meridian-test/answers &
for _ in 1 2 3; do systemctl restart meridian; done
wait
echo "answers through restarts: $(grep -c '^192.0.2.10$' /run/meridian-test/answers)"
systemctl reload meridian && echo "reloaded"
systemctl kill --signal=KILL --kill-who=main meridian
sleep 0.2
echo "answer after a kill: $(ask)"
echo "restarts: $(systemctl show -p NRestarts --value meridian)"
systemctl stop meridian.socket meridian.service
echo "state: $(systemctl show -p Result --value meridian)"
echo done
"#;

#[test]
fn a_systemd_runs_it_confined_and_no_query_is_lost_while_it_restarts() {
    let (Some(unshare), Some(_)) = (find("unshare"), find("dig")) else { return };
    let namespaces =
        ["--fork", "--pid", "--mount-proc", "--mount", "--cgroup", "--uts", "--ipc", "--net", "--kill-child"];
    let can = Path::new("/lib/systemd/systemd").exists()
        && run(Command::new(&unshare).args(namespaces).args(["mount", "-t", "tmpfs", "tmpfs", "/run"])).0;
    if !can {
        return skip(Need::Systemd, "no systemd, or no right to give it namespaces");
    }
    let folder = tempfile::tempdir().expect("a folder");
    lay_out(folder.path());
    let at = |name: &str| folder.path().join(name);
    let arguments = namespaces.map(str::to_owned).into_iter().chain(["/bin/bash".to_owned()]);
    let arguments: Vec<String> =
        arguments.chain([at("boot"), folder.path().to_owned()].map(|path| path.display().to_string())).collect();
    let systemd = Running::start(&unshare, &arguments, &at("log"));
    let said = || fs::read_to_string(at("said")).unwrap_or_default();
    let is_done = || said().ends_with("done\n");
    let patience = Duration::from_secs(60);
    let began = std::time::Instant::now();
    while !is_done() && began.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(systemd);
    let (said, log) = (said(), fs::read_to_string(at("service.log")).unwrap_or_default());
    for wanted in [
        "answer: 192.0.2.10\n",
        "user: meridian\n",
        // CAP_NET_BIND_SERVICE alone.
        "CapEff:\t0000000000000400\n",
        "NoNewPrivs:\t1\n",
        "Seccomp:\t2\n",
        // SCHED_IDLE.
        "policy of jobs: 5\n",
        "answers through restarts: 400\n",
        "reloaded\n",
        "answer after a kill: 192.0.2.10\n",
        "restarts: 1\n",
        "state: success\n",
    ] {
        assert!(said.contains(wanted), "{wanted:?} is not in\n{said}\n{log}");
    }
    for wanted in ["Landlock", "system_calls=\"69 refused\""] {
        assert!(log.contains(wanted), "{wanted} is not in\n{log}");
    }
}

/// Units, configuration, program and scripts.
fn lay_out(folder: &Path) {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect(name);
    for inner in ["units", "units/meridian.service.d", "zones"] {
        fs::create_dir_all(folder.join(inner)).expect(inner);
    }
    for target in ["basic", "sysinit", "sockets", "network-online", "nss-lookup", "shutdown"] {
        write(&format!("units/{target}.target"), "[Unit]\nDefaultDependencies=no\n");
    }
    write("units/test.target", TARGET);
    write("units/tried.service", TRIED);
    for unit in ["meridian.service", "meridian.socket"] {
        let text = fs::read_to_string(format!("{FOLDER}/{unit}")).expect("a unit");
        let moved = text.replace("/usr/bin", INSIDE).replace("/etc/meridian", INSIDE);
        assert_eq!(moved != text, unit == "meridian.service", "{unit}");
        write(&format!("units/{unit}"), &moved);
    }
    let log = format!("append:{INSIDE}/service.log");
    // This machine's /etc is seen inside, and stays as it is.
    let own = format!("[Service]\nConfigurationDirectory=\nStandardOutput={log}\nStandardError={log}\n");
    write("units/meridian.service.d/test.conf", &own);
    write("meridian.toml", "state = \"/var/lib/meridian\"\nlisten.admin = \"127.0.0.1:8053\"\n");
    write("zones/gslb.example.toml", zones::SEOUL_ALONE);
    write("boot", BOOT);
    write("try", TRY);
    fs::copy(env!("CARGO_BIN_EXE_meridian"), folder.join("meridian")).expect("copied");
    // The service's user is nobody here.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("readable");
}
