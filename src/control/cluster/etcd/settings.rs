//! Where etcd is, whom a node trusts to be it, and how it knows the node.

use std::path::PathBuf;

/// The settings by which etcd is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSettings {
    /// `http` or `https` URLs of its members, 1 to 16, without a path.
    pub endpoints: Vec<String>,
    /// The certificates that its members' must lead to, as PEM. Default `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate that this node shows, as PEM; only with a key. Default `None`: it shows none.
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// The user that this node is to etcd; only with a password. Default `None`: none.
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
}
