//! `[cluster]`: the other nodes. A [`Value`] comes in; [`ClusterSettings`] go out. No file that it names is read here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustls::pki_types::DnsName;

use super::files::{Sources, path};
use super::reader::{Table, Value};
use crate::control::bounded_file;
use crate::control::cluster::etcd::settings::EtcdSettings;
use crate::control::cluster::settings::{ClusterSettings, PeerSettings, Proof, is_name};
use crate::control::diagnostic::Diagnostic;

/// Members of etcd's own cluster: more than seven make it slower, not safer.
const MAX_ENDPOINTS: usize = 16;
const MAX_USER: usize = 256;
const NAME: &str = "1 to 63 letters, digits, - and _";
const NAME_EXAMPLE: &str = "name = \"prod\"";
const ENDPOINTS: &str = "an array of URLs such as [\"https://10.0.0.1:2379\"]";
const ENDPOINT: &str = "a URL such as \"https://10.0.0.1:2379\"";
const PEERS: &str = "peers = { listen = \"10.0.0.5:8054\", token_file = \"peers.token\" }";
const ADDRESS: &str = "an address and port such as \"10.0.0.5:8054\" or \"[2001:db8::5]:8054\"";
/// Where Linux tells the machine's name. A name has at most 64 octets.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

pub fn read(value: Value<'_>, sources: &Sources<'_>) -> Option<ClusterSettings> {
    value.table("`cluster`", |t| {
        let cluster = t.require("name", NAME_EXAMPLE).and_then(name);
        let stated = t.get("node");
        let node = match stated {
            Some(value) => name(value),
            None => host_name(t),
        };
        let (etcd, anycast) = (etcd(t, sources), t.or("anycast", false, |v| v.boolean()));
        let peers = t.require("peers", PEERS).and_then(|v| v.table_like("`peers`", PEERS, |t| peers(t, sources)));
        if let (Some(node), Some(PeerSettings { proof: Proof::Certificates { .. }, .. })) = (&node, &peers) {
            fits_certificates(node, stated, t);
        }
        Some(ClusterSettings { name: cluster?, node: node?, etcd: etcd?, peers: peers?, anycast })
    })
}

fn name(value: Value<'_>) -> Option<String> {
    value.text(NAME, |text| match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("not a name of a cluster or node"),
    })
}

/// The node's name where none is given.
fn host_name(table: &Table<'_>) -> Option<String> {
    let found = bounded_file::read_text(Path::new(HOST_NAME), 1024).unwrap_or_default();
    let first = found.trim().split('.').next().unwrap_or_default();
    if is_name(first) {
        return Some(first.to_owned());
    }
    let missing = Diagnostic::error("`node` is missing in `cluster`, and the machine's host name does not fit");
    let label = format!("the host name is {:?}; expected a key like node = \"fra1\"", found.trim());
    table.report().push_missing(missing.at(table.span(), label));
    None
}

/// A certificate says by a DNS name which node it is of: not each name of a node is one.
fn fits_certificates(node: &str, stated: Option<Value<'_>>, table: &Table<'_>) {
    if DnsName::try_from(node).is_err() {
        let wrong = Diagnostic::error(format!("no certificate can be of the node {node:?}"));
        let span = stated.map_or_else(|| table.span(), |value| value.span());
        let label = "with certificates, expected a DNS label: not digits alone, and no - at either end";
        table.report().push(wrong.at(span, label));
    }
}

fn etcd(table: &Table<'_>, sources: &Sources<'_>) -> Option<EtcdSettings> {
    let endpoints = table.require("etcd", ENDPOINTS).and_then(endpoints);
    let (ca, certificate, key) = (table.get("etcd_ca"), table.get("etcd_certificate"), table.get("etcd_key"));
    let (user, password) = (table.get("etcd_user"), table.get("etcd_password_file"));
    together([("etcd_certificate", certificate), ("etcd_key", key)]);
    together([("etcd_user", user), ("etcd_password_file", password)]);
    let plain = |url: &String| !url.starts_with("https:");
    if let (Some(plain), Some(tls)) = (endpoints.iter().flatten().find(|url| plain(url)), ca.or(certificate).or(key)) {
        tls.error::<()>(format!("`{}` is for https only", tls.name), format!("`etcd` has {plain}"));
    }
    let file = |value: Option<Value<'_>>| value.and_then(|v| path(v, sources));
    Some(EtcdSettings {
        endpoints: endpoints?,
        ca_file: file(ca),
        certificate_file: file(certificate),
        key_file: file(key),
        user: user.and_then(user_name),
        password_file: file(password),
        ..EtcdSettings::default()
    })
}

/// Reports the one of two keys that stands alone.
fn together([(first, a), (second, b)]: [(&str, Option<Value<'_>>); 2]) {
    match (a, b) {
        (Some(value), None) => value.error(format!("`{first}` without `{second}`"), "one needs the other"),
        (None, Some(value)) => value.error(format!("`{second}` without `{first}`"), "one needs the other"),
        _ => None::<()>,
    };
}

fn user_name(value: Value<'_>) -> Option<String> {
    value.text("1 to 256 octets of text", |text| match text.len() {
        1..=MAX_USER => Ok(text.to_owned()),
        0 => Err("the user is empty"),
        _ => Err("the user is longer than 256 octets"),
    })
}

fn endpoints(value: Value<'_>) -> Option<Vec<String>> {
    let items = value.one_or_many(ENDPOINTS, MAX_ENDPOINTS)?;
    if items.is_empty() {
        return value.error("`etcd` holds no URL", format!("expected {ENDPOINTS}"));
    }
    let mut urls = Vec::new();
    for item in items {
        let Some(url) = endpoint(item) else { continue };
        if urls.contains(&url) {
            item.error::<()>(format!("`etcd` names {url} twice"), "again here");
        }
        urls.push(url);
    }
    Some(urls)
}

/// A URL of a host and a port alone. What is wrong is told without the URL: it may hold a password.
fn endpoint(value: Value<'_>) -> Option<String> {
    let expected = |message: String| value.error(message, format!("expected {ENDPOINT}"));
    let text = value.string(ENDPOINT)?;
    let url = match reqwest::Url::parse(text) {
        Ok(url) => url,
        Err(error) => return expected(format!("`etcd`: not a URL: {error}")),
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return expected("`etcd`: the URL does not begin with http:// or https://".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return value.error("`etcd`: the URL names a user", "expected `etcd_user` and `etcd_password_file` for that");
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return expected("`etcd`: the URL goes on after the port".into());
    }
    Some(url.as_str().trim_end_matches('/').to_owned())
}

fn peers(table: &Table<'_>, sources: &Sources<'_>) -> Option<PeerSettings> {
    let listen = table.require("listen", "listen = \"10.0.0.5:8054\"");
    let (listen_at, stated) = (listen.and_then(socket_address), table.get("address"));
    let address = stated.and_then(reachable_address);
    let proof = proof(table, sources);
    if let (Some(value), Some(at), None) = (listen, listen_at, stated)
        && at.ip().is_unspecified()
    {
        let unclear = Diagnostic::error(format!("other nodes cannot reach this one at {at}"));
        let unclear = unclear.at(value.span(), "every address of this machine");
        value.report().push(unclear.help("say where they reach it: address = \"10.0.0.5:8054\""));
    }
    let listen = listen_at?;
    Some(PeerSettings { listen, address: address.unwrap_or(listen), proof: proof? })
}

fn socket_address(value: Value<'_>) -> Option<SocketAddr> {
    let address = value.text(ADDRESS, str::parse::<SocketAddr>)?;
    if address.port() == 0 {
        return value.error(format!("`{}` has no port", value.name), format!("expected {ADDRESS}"));
    }
    Some(address)
}

fn reachable_address(value: Value<'_>) -> Option<SocketAddr> {
    let address = socket_address(value)?;
    if address.ip().is_unspecified() {
        return value.error(format!("other nodes cannot reach this one at {address}"), format!("expected {ADDRESS}"));
    }
    Some(address)
}

/// A token's file, or three of certificates.
fn proof(table: &Table<'_>, sources: &Sources<'_>) -> Option<Proof> {
    let file = |key| table.get(key).map(|v| (v, path(v, sources)));
    let certificates = [("ca", file("ca")), ("certificate", file("certificate")), ("key", file("key"))];
    let first = certificates.iter().find_map(|(_, found)| found.as_ref().map(|(value, _)| *value));
    match (file("token_file"), first) {
        (Some((token, _)), Some(first)) => {
            let both = format!("`token_file` and `{}` cannot both stand in `peers`", first.name);
            let both = Diagnostic::error(both).at(first.span(), "expected a token or certificates, not both");
            table.report().push(both.related(token.span(), "the token"));
            None
        }
        (Some((_, path)), None) => path.map(|file| Proof::Token { file }),
        (None, Some(first)) => certified(certificates, first),
        (None, None) => {
            let missing = Diagnostic::error("`peers` says not how nodes know each other");
            let label = "expected `token_file`, or `ca`, `certificate` and `key`";
            table.report().push_missing(missing.at(table.span(), label));
            None
        }
    }
}

type Found<'a> = (&'static str, Option<(Value<'a>, Option<PathBuf>)>);

fn certified(files: [Found<'_>; 3], first: Value<'_>) -> Option<Proof> {
    let [ca, certificate, key] = files.map(|(key, found)| match found {
        Some((_, path)) => path,
        None => first.error(format!("`{}` without `{key}`", first.name), "`ca`, `certificate` and `key` go together"),
    });
    Some(Proof::Certificates { ca: ca?, certificate: certificate?, key: key? })
}
