//! etcd, where it is installed: members on ports of 127.0.0.1, with their data in a folder that goes with them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::tools::{Running, find, free_port};

/// Members that form one store.
pub struct EtcdCluster {
    program: PathBuf,
    folder: TempDir,
    members: Vec<Member>,
    /// Options that each member has beside the usual ones.
    options: Vec<String>,
    scheme: &'static str,
}

struct Member {
    client: u16,
    peer: u16,
    running: Option<Running>,
}

impl EtcdCluster {
    /// Starts so many members; `None`: etcd is not installed.
    pub fn start(members: usize, options: &[&str]) -> Option<EtcdCluster> {
        EtcdCluster::start_as("http", members, options)
    }

    /// [`EtcdCluster::start`], with clients' ports that speak `http` or `https`.
    pub fn start_as(scheme: &'static str, members: usize, options: &[&str]) -> Option<EtcdCluster> {
        let program = find("etcd")?;
        let port = || free_port(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let members = (0..members).map(|_| Member { client: port(), peer: port(), running: None }).collect();
        let folder = scratch();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut cluster = EtcdCluster { program, folder, members, options, scheme };
        for member in 0..cluster.members.len() {
            cluster.start_member(member);
        }
        Some(cluster)
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| self.url(member.client)).collect()
    }

    /// Starts a member, or starts it again with the data it had.
    pub fn start_member(&mut self, number: usize) {
        let name = |number: usize| format!("m{number}");
        let peer = |member: &Member| format!("http://127.0.0.1:{}", member.peer);
        let all = self.members.iter().enumerate();
        let all: Vec<String> = all.map(|(number, member)| format!("{}={}", name(number), peer(member))).collect();
        let member = &self.members[number];
        let data = self.folder.path().join(name(number)).display().to_string();
        let mut arguments = vec![
            format!("--name={}", name(number)),
            format!("--data-dir={data}"),
            format!("--listen-client-urls={}", self.url(member.client)),
            format!("--advertise-client-urls={}", self.url(member.client)),
            format!("--listen-peer-urls={}", peer(member)),
            format!("--initial-advertise-peer-urls={}", peer(member)),
            format!("--initial-cluster={}", all.join(",")),
        ];
        arguments.extend(self.options.iter().cloned());
        let log = self.folder.path().join(format!("{}.log", name(number)));
        self.members[number].running = Some(Running::start(&self.program, &arguments, &log));
    }

    /// Ends a member at once.
    pub fn kill(&mut self, number: usize) {
        self.members[number].running = None;
    }

    pub fn kill_all(&mut self) {
        for number in 0..self.members.len() {
            self.kill(number);
        }
    }

    /// Stops a member where it is: its connections stay, and nothing answers.
    pub fn pause(&self, number: usize) {
        self.signal(number, "-STOP");
    }

    pub fn resume(&self, number: usize) {
        self.signal(number, "-CONT");
    }

    /// What the members wrote, for a test that fails.
    pub fn logs(&self) -> String {
        let read = |number| std::fs::read_to_string(self.folder.path().join(format!("m{number}.log")));
        (0..self.members.len()).filter_map(|number| read(number).ok()).collect()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn signal(&self, number: usize, signal: &str) {
        let id = self.members[number].running.as_ref().expect("a member that runs").id();
        let status = Command::new("kill").args([signal, &id.to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    fn url(&self, port: u16) -> String {
        format!("{}://127.0.0.1:{port}", self.scheme)
    }
}

/// In memory, where the system has such a place: members wait for their disks, and lose their leader over it.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder")
}

/// Asks again until it is well; fails after 20 s.
pub async fn until_well<T, E: std::fmt::Debug>(mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let begin = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(begin.elapsed() < Duration::from_secs(20), "still {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
