//! Talking to a running server: where it is, and the secret it may ask for.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::Args;

use crate::admin::client::{AdminClient, ClientError};
use crate::control::bounded_file;
use crate::demo;

use super::output::{Failure, Outcome};

/// Which server is asked.
#[derive(Args, Clone, Debug)]
pub struct Server {
    /// The running server's admin API
    #[arg(long, global = true, value_name = "ADDRESS:PORT", default_value_t = demo::ADMIN, value_parser = admin_address)]
    admin: SocketAddr,
    /// A file with the admin token, where the server asks for one
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// `127.0.0.1:8053`, `localhost:8053`, or either as `http://…/`.
fn admin_address(text: &str) -> Result<SocketAddr, String> {
    if text.starts_with("https://") {
        return Err("the admin API speaks plain HTTP: give an address on this machine or of a tunnel".into());
    }
    let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let mut found = address.to_socket_addrs().map_err(|error| format!("{error}; expected such as 127.0.0.1:8053"))?;
    found.next().ok_or_else(|| "that name has no address".to_owned())
}

impl Server {
    /// Asks this server, and waits for its answer.
    pub fn ask<T>(&self, question: impl AsyncFnOnce(&AdminClient) -> Result<T, ClientError>) -> Outcome<T> {
        let client = AdminClient::new(self.admin, self.token()?).map_err(failure)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
        runtime.block_on(question(&client)).map_err(failure)
    }

    fn token(&self) -> Outcome<Option<String>> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let secret = bounded_file::read_secret(path, "the admin token", 1).map_err(Failure::new)?;
        Ok(Some(secret.text))
    }
}

fn failure(error: ClientError) -> Failure {
    let help = match &error {
        ClientError::Token { .. } => Some("name the file that admin.token_file names: --token-file FILE"),
        ClientError::CannotConnect { .. } => Some("say where its admin API is: --admin ADDRESS:PORT"),
        _ => None,
    };
    let failure = Failure::new(error.to_string());
    match help {
        Some(help) => failure.help(help),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_address_may_be_written_as_a_url() {
        for text in ["127.0.0.1:8053", "http://127.0.0.1:8053", "http://127.0.0.1:8053/"] {
            assert_eq!(admin_address(text), Ok(demo::ADMIN));
        }
        for text in ["", "127.0.0.1", "https://127.0.0.1:8053", "http://", "8053"] {
            assert!(admin_address(text).is_err(), "{text}");
        }
    }
}
