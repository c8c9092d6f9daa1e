//! Where etcd is, and who asks it.

use std::path::PathBuf;
use std::time::Duration;

/// Without endpoints every call fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSettings {
    /// `http://` or `https://` URLs of members' client ports, such as `https://etcd-1.example.net:2379`.
    pub endpoints: Vec<String>,
    /// PEM certificates of the authorities that may have signed the members' ones. `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to members, with those that lead to its authority, as PEM. Goes with `key_file`.
    pub certificate_file: Option<PathBuf>,
    /// The private key of that certificate, as PEM.
    pub key_file: Option<PathBuf>,
    /// The user whose roles etcd holds us to. `None`: etcd asks for none. Goes with `password_file`.
    pub user: Option<String>,
    /// The file with that user's password and nothing else; white space around it is not part of it.
    pub password_file: Option<PathBuf>,
    /// The longest that a call takes, with all endpoints it tries. Default 2 s: leases of some 10 s are then kept alive
    /// even while a member hangs.
    pub timeout: Duration,
    /// A watch that hears nothing for so long is given up. Default 60 s: a connection that a firewall forgot stays silent
    /// for ever, and etcd itself says that nothing happened only every 10 minutes.
    pub watch_idle: Duration,
}

impl Default for EtcdSettings {
    fn default() -> EtcdSettings {
        EtcdSettings {
            endpoints: Vec::new(),
            ca_file: None,
            certificate_file: None,
            key_file: None,
            user: None,
            password_file: None,
            timeout: Duration::from_secs(2),
            watch_idle: Duration::from_secs(60),
        }
    }
}
