//! Events to a program of the operator's: on its standard input, as a webhook gets them. Exit status 0 is "taken".
//!
//! It runs in a process group of its own, with nothing of this server's environment, and ends with its time.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};
use tokio::time::timeout;

use crate::control::config::events::EventCommand;
use crate::control::events::history::Batch;
use crate::control::probe::exec::{ended, failed};
use crate::model::shown::shown;

use super::body;
use super::deliver::{Outcome, Sender};

/// Events for one run.
const MOST_EVENTS: usize = 100;

pub struct CommandSender(pub EventCommand);

impl CommandSender {
    /// The error says why the program did not take them.
    async fn run(&self, batch: &Batch) -> Result<(), String> {
        let mut child = Command::new(&self.0.program)
            .args(&self.0.arguments)
            .env_clear()
            .env("MERIDIAN_DELIVERY", body::name(batch))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot be run: {error}"))?;
        let stdin = child.stdin.take();
        // Both at once: a program may say much before it reads.
        let ((), ended) = tokio::join!(give(stdin, body::generic(batch)), ended(child));
        let (status, said) = ended.map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(shown(&failed(status, &said)).into_owned()) }
    }
}

impl Sender for CommandSender {
    fn most(&self) -> usize {
        MOST_EVENTS
    }

    async fn send(&self, batch: &Batch) -> Outcome {
        let why = match timeout(self.0.timeout, self.run(batch)).await {
            Ok(Ok(())) => return Outcome::Delivered,
            Ok(Err(why)) => why,
            Err(_) => format!("has not ended in time: waited {} ms", self.0.timeout.as_millis()),
        };
        Outcome::Failed { why, asked: None }
    }
}

/// Who ends without reading has its reasons: its exit status tells.
async fn give(stdin: Option<ChildStdin>, octets: Vec<u8>) {
    let Some(mut stdin) = stdin else { return };
    let _ = stdin.write_all(&octets).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::control::events::event::{Change, Event, tests::down};

    async fn run(script: &str, timeout: Duration) -> Outcome {
        let event = |_| Arc::new(Event { id: 7, at: jiff::Timestamp::UNIX_EPOCH, change: Change::Region(down()) });
        let batch = Batch::of((0..100).map(event).collect(), 2);
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        CommandSender(EventCommand { program: "/bin/sh".into(), arguments, timeout }).send(&batch).await
    }

    fn why(outcome: Outcome) -> String {
        match outcome {
            Outcome::Failed { why, asked: None } => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_program_gets_the_events_and_its_exit_status_tells() {
        let (folder, minute) = (tempfile::tempdir().expect("a folder"), Duration::from_secs(60));
        let path = folder.path().join("got");
        let script = format!("echo $MERIDIAN_DELIVERY $HOME > {0}.env; cat > {0}", path.display());
        assert_eq!(run(&script, minute).await, Outcome::Delivered);
        let got: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
        assert_eq!((got["events"][99]["id"].as_u64(), got["left_out"].as_u64()), (Some(7), Some(2)));
        let environment = std::fs::read_to_string(folder.path().join("got.env")).expect("read");
        assert_eq!(environment, "7-7\n", "nothing of the server's");
        assert_eq!(run("exit 0", minute).await, Outcome::Delivered, "unread");
        assert_eq!(why(run("echo no pager; exit 3", minute).await), "exit status: 3: no pager");
        let script = "head -c 300000 /dev/zero; cat > /dev/null";
        assert_eq!(run(script, minute).await, Outcome::Delivered, "it says much before it reads");
    }

    #[tokio::test]
    async fn a_program_that_hangs_ends_with_its_time_and_all_it_began() {
        let folder = tempfile::tempdir().expect("a folder");
        let began = Instant::now();
        let script = format!("(sleep 3; touch {0}/late) & sleep 60", folder.path().display());
        let why = why(run(&script, Duration::from_millis(300)).await);
        assert_eq!(why, "has not ended in time: waited 300 ms");
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        assert!(!folder.path().join("late").exists());
    }
}
