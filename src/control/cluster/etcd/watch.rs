//! Changes as they come, over a response that does not end.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Response;
use tokio::time::timeout;

use crate::control::cluster::store::{Change, Revision, StoreError};
use crate::control::probe::outcome::chain;

use super::fault::Fault;
use super::members::Members;
use super::stream::{Heard, Reader};

/// A watch under way. It ends with its first error: then another one is begun, with the revision after the last one told.
pub struct Watch {
    members: Arc<Members>,
    endpoint: usize,
    response: Response,
    reader: Reader,
    idle: Duration,
}

impl Watch {
    /// Waits until etcd says that the watch is there.
    pub(super) async fn begin(
        members: Arc<Members>,
        endpoint: usize,
        response: Response,
        from: Revision,
        idle: Duration,
    ) -> Result<Watch, Fault> {
        let mut watch = Watch { members, endpoint, response, reader: Reader::new(from), idle };
        loop {
            match watch.hear().await? {
                Heard::Created => return Ok(watch),
                Heard::Nothing => {}
                Heard::Ended(fault) => return Err(fault),
                Heard::Compacted => return Err(Fault::Compacted(from)),
                Heard::Changes(_) => return Err(Fault::Unknown("changes of a watch that is not there".into())),
            }
        }
    }

    /// The next changes, in the order of revisions: all of one revision or of several, never a part of one.
    ///
    /// May be given up at any moment and called again: nothing is lost.
    ///
    /// # Errors
    /// [`StoreError::Away`]: the watch ended, or nothing was heard for [`watch_idle`]; [`StoreError::Compacted`]: the
    /// revision it goes on with is not told any more, or was told in part only: all is to be read anew;
    /// [`StoreError::Refused`]: the user lost the right to it.
    ///
    /// [`watch_idle`]: super::settings::EtcdSettings::watch_idle
    pub async fn next(&mut self) -> Result<Vec<Change>, StoreError> {
        loop {
            let heard = match timeout(self.idle, self.hear()).await {
                Ok(heard) => heard.unwrap_or_else(Heard::Ended),
                Err(_) => Heard::Ended(Fault::Unknown(format!("its watch was silent for {} s", self.idle.as_secs()))),
            };
            match heard {
                Heard::Changes(changes) => return Ok(changes),
                Heard::Created | Heard::Nothing => {}
                Heard::Compacted => return Err(StoreError::Compacted(self.next_revision())),
                Heard::Ended(fault) => {
                    if let Fault::NotDone(why) | Fault::Unknown(why) = &fault {
                        self.members.failed(self.endpoint, why);
                    }
                    return Err(fault.told());
                }
            }
        }
    }

    /// The revision to go on with, once this watch has ended.
    pub fn next_revision(&self) -> Revision {
        self.reader.next_revision()
    }

    async fn hear(&mut self) -> Result<Heard, Fault> {
        loop {
            if let Some(heard) = self.reader.read().map_err(Fault::Unknown)? {
                return Ok(heard);
            }
            let chunk = self.response.chunk().await.map_err(|error| Fault::Unknown(failed(error)))?;
            let chunk = chunk.ok_or_else(|| Fault::Unknown("it ended the watch".into()))?;
            self.reader.take(&chunk).map_err(Fault::Unknown)?;
        }
    }
}

fn failed(error: reqwest::Error) -> String {
    chain(&error.without_url())
}
