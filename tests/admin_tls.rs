//! The admin API over TLS, and with certificates of those who ask: `admin.certificate`, `admin.key`, `admin.client_ca`, as
//! the command line sees it.

mod support;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use support::server::{Server, wait_until};
use support::zones::SEOUL_ALONE;

/// Writes an authority's certificate, and what it has signed: `NAME.pem` and `NAME.key`.
fn certify(folder: &Path, authority: &str, names: &[(&str, &str)]) {
    let write = |name: String, text: String| std::fs::write(folder.join(name), text).expect("written");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write(format!("{authority}.pem"), params.self_signed(&key).expect("signed").pem());
    let issuer = Issuer::new(params, key);
    for (file, name) in names {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![(*name).to_owned()]).expect("parameters");
        write(format!("{file}.pem"), params.signed_by(&key, &issuer).expect("signed").pem());
        write(format!("{file}.key"), key.serialize_pem());
    }
}

/// A server and its files, in a folder that also has `ca`, `own`, `alice`, and `other-ca` with `mallory`.
fn server(settings: &str) -> Server {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    certify(path, "ca", &[("own", "127.0.0.1"), ("alice", "alice.ops.example")]);
    certify(path, "other-ca", &[("mallory", "alice.ops.example")]);
    std::fs::create_dir(path.join("zones")).expect("a folder");
    std::fs::write(path.join("zones/gslb.example.toml"), SEOUL_ALONE).expect("written");
    let listen = "listen = { dns = [\"127.0.0.1:0\"], admin = \"127.0.0.1:0\" }\nthreads = 1\n";
    let main = format!("{listen}admin = {{ certificate = \"own.pem\", key = \"own.key\"{settings} }}\n");
    std::fs::write(path.join("meridian.toml"), main).expect("written");
    Server::start_in(folder)
}

/// Whether it went well, and what was said.
fn meridian(server: &Server, scheme: &str, arguments: &str) -> (bool, String) {
    let SocketAddr::V4(admin) = server.admin else { panic!("IPv4") };
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
    command.current_dir(server.folder()).args(arguments.split(' ')).args(["--admin", &format!("{scheme}{admin}")]);
    let out = command.env("NO_COLOR", "1").output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.success(), said)
}

#[test]
fn it_is_asked_by_https_and_by_nothing_else() {
    let server = server("");
    let (well, said) = meridian(&server, "https://", "status --admin-ca ca.pem");
    assert!(well && said.contains("seoul"), "{said}");
    // Those who never end their handshake hold nobody else up.
    let _silent: Vec<_> = (0..20).map(|_| TcpStream::connect(server.admin).expect("connected")).collect();
    assert!(meridian(&server, "https://", "status --admin-ca ca.pem").0);
    for (scheme, arguments) in
        [("http://", "status"), ("https://", "status"), ("https://", "status --admin-ca other-ca.pem")]
    {
        let (well, said) = meridian(&server, scheme, arguments);
        assert!(!well, "{scheme} {arguments}: {said}");
    }
}

#[test]
fn certificates_of_those_who_ask_say_who_they_are() {
    let server = server(", client_ca = \"ca.pem\"");
    for arguments in ["", " --admin-certificate mallory.pem --admin-key mallory.key"] {
        let (well, said) = meridian(&server, "https://", &format!("status --admin-ca ca.pem{arguments}"));
        assert!(!well, "{arguments}: {said}");
    }
    let alice = "--admin-ca ca.pem --admin-certificate alice.pem --admin-key alice.key";
    let (well, said) = meridian(&server, "https://", &format!("region drain seoul {alice}"));
    assert!(well, "{said}");
    wait_until("it is on the record", Duration::from_secs(20), || {
        let audit = std::fs::read_to_string(server.folder().join("state/audit.jsonl")).unwrap_or_default();
        audit.contains("\"alice.ops.example\"")
    });
}
