//! Changes by two at once: the version of what is shown, and changes that hold only while it is in force.

use clap::Args;
use serde::de::DeserializeOwned;

use super::live::Server;
use super::output::{self, Failure, Outcome};
use super::view::{View, understood};

/// How one region or service is shown.
#[derive(Args)]
pub struct Tagged {
    /// Print nothing but its version, which `--if-match` of a change takes
    #[arg(long, conflicts_with_all = ["json"])]
    etag: bool,
    #[command(flatten)]
    view: View,
}

/// The version that a change is held to.
#[derive(Args)]
pub struct IfMatch {
    /// Only while this is its version, as `--etag` shows it: else it is not done, and the exit status is 7
    #[arg(long = "if-match", value_name = "ETAG")]
    pub tag: Option<String>,
}

impl Tagged {
    /// Shows what is at a path of the API.
    pub fn show<T: DeserializeOwned>(
        &self,
        server: &Server,
        path: &[&str],
        text: impl Fn(&T, &str) -> String,
    ) -> Outcome {
        let tag = std::cell::RefCell::new(String::new());
        let look = async |server: &crate::admin::client::AdminClient| {
            let (answer, found) = server.look(path).await?;
            tag.replace(found.unwrap_or_default());
            Ok(answer)
        };
        if self.etag {
            server.ask(look)?;
            return match &**tag.borrow() {
                "" => Err(Failure::new("the server tells no version of it")),
                tag => output::print(&format!("{tag}\n")),
            };
        }
        self.view.show(server, look, |answer| Ok(text(&understood(answer)?, &tag.borrow()))).map(drop)
    }
}
