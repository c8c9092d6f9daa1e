//! The settings of a node among others: what the cluster and the node are called, and how others are reached.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::etcd::settings::EtcdSettings;

/// Names are at most this long: that of a DNS label, which a node's name is in certificates.
pub const MAX_NAME: usize = 63;

/// The settings of `[cluster]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The cluster's name, as [`is_name`] has it: its keys in etcd are below `/meridian/NAME/`.
    pub name: String,
    /// This node's, as [`is_name`] has it, another one on each node. Default: the first label of the machine's host name.
    pub node: String,
    pub etcd: EtcdSettings,
    pub peers: PeerSettings,
    /// Whether all nodes answer at the same addresses, and the network decides which of them a resolver reaches.
    /// Default no.
    pub anycast: bool,
}

/// The settings by which nodes send each other messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    pub listen: SocketAddr,
    /// The address that other nodes reach this one at; never unspecified. Default: `listen`.
    pub address: SocketAddr,
    pub proof: Proof,
}

/// How nodes prove to each other which they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By a secret that all of them know, 16 octets or more. It signs messages; these are not encrypted.
    Token { file: PathBuf },
    /// By certificates that lead to `ca` and have the node's name as a DNS name. PEM files. All is encrypted.
    Certificates { ca: PathBuf, certificate: PathBuf, key: PathBuf },
}

/// Tells whether a cluster or a node may be called so: 1 to 63 letters, digits, `-` and `_` of ASCII.
pub fn is_name(text: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(fits)
}
