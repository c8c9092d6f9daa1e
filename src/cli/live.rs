//! Talking to a running server: where it is, and the secret it may ask for.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::admin::client::{AdminClient, ClientError, TlsFiles};
use crate::control::bounded_file;
use crate::demo;

use super::exit::Exit;
use super::output::{Failure, Outcome};

/// Which server is asked.
#[derive(Args, Clone, Debug)]
pub struct Server {
    /// The running server's admin API; or `unix:/PATH` of its socket
    ///
    /// `https://HOST:PORT` where it has a certificate (`admin.certificate`).
    #[arg(long, global = true, value_name = "ADDRESS:PORT", default_value_t = Admin::Address(demo::ADMIN))]
    admin: Admin,
    /// The certificates that an https server's must lead to, in PEM; else the system's
    #[arg(long, global = true, value_name = "FILE")]
    admin_ca: Option<PathBuf>,
    /// A certificate to show to a server that asks for one (`admin.client_ca`), in PEM
    #[arg(long, global = true, value_name = "FILE", requires = "admin_key")]
    admin_certificate: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, global = true, value_name = "FILE", requires = "admin_certificate")]
    admin_key: Option<PathBuf>,
    /// A file with the admin token, where the server asks for one
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Where an admin API is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Admin {
    Address(SocketAddr),
    /// `HOST:PORT`, by TLS.
    Encrypted(String),
    Socket(PathBuf),
}

impl FromStr for Admin {
    type Err = String;

    fn from_str(text: &str) -> Result<Admin, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("expected such as unix:/run/meridian/admin.sock".into()),
            Some(path) => Ok(Admin::Socket(path.into())),
            None => match text.strip_prefix("https://") {
                Some(authority) => encrypted(authority.trim_end_matches('/')),
                None => admin_address(text).map(Admin::Address),
            },
        }
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Admin::Address(address) => address.fmt(f),
            Admin::Encrypted(authority) => write!(f, "https://{authority}"),
            Admin::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

fn encrypted(authority: &str) -> Result<Admin, String> {
    let parsed: Result<http::uri::Authority, _> = authority.parse();
    match parsed.ok().filter(|parsed| parsed.port_u16().is_some() && !authority.contains('@')) {
        Some(_) => Ok(Admin::Encrypted(authority.to_owned())),
        None => Err("expected such as https://gslb1.example:8053".into()),
    }
}

/// `127.0.0.1:8053`, `localhost:8053`, or either as `http://…/`.
fn admin_address(text: &str) -> Result<SocketAddr, String> {
    let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let mut found = address.to_socket_addrs().map_err(|error| format!("{error}; expected such as 127.0.0.1:8053"))?;
    found.next().ok_or_else(|| "that name has no address".to_owned())
}

impl Server {
    /// Asks this server, and waits for its answer.
    pub fn ask<T>(&self, question: impl AsyncFnOnce(&AdminClient) -> Result<T, ClientError>) -> Outcome<T> {
        self.with(async |client| Ok(question(client).await?))
    }

    /// Does with this server what takes more than a question.
    pub fn with<T>(&self, work: impl AsyncFnOnce(&AdminClient) -> Outcome<T>) -> Outcome<T> {
        let client = match &self.admin {
            Admin::Address(address) => AdminClient::new(*address, self.token()?),
            Admin::Encrypted(authority) => AdminClient::over_tls(authority, self.token()?, &self.files()),
            Admin::Socket(path) => AdminClient::here(path, self.token()?),
        };
        let client = client?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
        runtime.block_on(work(&client))
    }

    fn files(&self) -> TlsFiles {
        let (ca, certificate, key) = (&self.admin_ca, &self.admin_certificate, &self.admin_key);
        TlsFiles { ca: ca.clone(), certificate: certificate.clone(), key: key.clone() }
    }

    fn token(&self) -> Outcome<Option<String>> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let secret = bounded_file::read_secret(path, "the admin token", 1).map_err(Failure::new)?;
        Ok(Some(secret.text))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let help = match &error {
            ClientError::Token { .. } => Some("name the file that admin.token_file names: --token-file FILE"),
            ClientError::CannotConnect { .. } => Some("say where its admin API is: --admin ADDRESS:PORT"),
            _ => None,
        };
        let failure = Failure::new(error.to_string()).ends(exit(&error));
        match help {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

fn exit(error: &ClientError) -> Exit {
    match error {
        ClientError::CannotConnect { .. } | ClientError::NotMeridian { .. } => Exit::NoServer,
        ClientError::Token { .. } | ClientError::Refused { status: 401 | 403, .. } => Exit::NotAllowed,
        ClientError::Refused { status: 412, .. } => Exit::Changed,
        ClientError::Refused { .. } | ClientError::Unusable(_) => Exit::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_this_machine_is_an_admin_api_too() {
        let socket = "unix:/run/meridian/admin.sock";
        let admin: Admin = socket.parse().expect("a socket");
        assert_eq!((&admin, &*admin.to_string()), (&Admin::Socket("/run/meridian/admin.sock".into()), socket));
        assert!("unix:".parse::<Admin>().is_err());
        assert_eq!("localhost:8053".parse::<Admin>().map(|admin| admin.to_string().ends_with(":8053")), Ok(true));
    }

    #[test]
    fn an_admin_address_may_be_written_as_a_url() {
        for text in ["127.0.0.1:8053", "http://127.0.0.1:8053", "http://127.0.0.1:8053/"] {
            assert_eq!(admin_address(text), Ok(demo::ADMIN));
        }
        for text in ["", "127.0.0.1", "https://", "https://127.0.0.1", "https://a@b:1", "http://", "8053"] {
            assert!(text.parse::<Admin>().is_err(), "{text}");
        }
        for text in ["https://127.0.0.1:8053", "https://gslb1.example:8053/"] {
            assert_eq!(text.parse::<Admin>().map(|admin| admin.to_string()), Ok(text.trim_end_matches('/').to_owned()));
        }
    }
}
