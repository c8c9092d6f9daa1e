//! Connections that outlive the usual deadline, for as long as their answer goes on.

use std::sync::Arc;

use tokio::sync::watch;

/// Of one connection: tells it that the answer lasts.
#[derive(Clone)]
pub struct Lasting(Arc<watch::Sender<bool>>);

/// An answer that goes on until this is dropped.
pub struct Lasts(Lasting);

impl Default for Lasting {
    fn default() -> Lasting {
        Lasting(Arc::new(watch::Sender::new(false)))
    }
}

impl Lasting {
    /// From now on the connection has no deadline.
    pub fn begin(&self) -> Lasts {
        self.0.send_replace(true);
        Lasts(self.clone())
    }

    /// Completes once an answer that went on does no more.
    pub async fn has_ended(&self) {
        let mut lasts = self.0.subscribe();
        // Errors cannot be: the sender is held here.
        _ = lasts.wait_for(|lasts| *lasts).await;
        _ = lasts.wait_for(|lasts| !lasts).await;
    }

    /// Completes once no answer goes on; says whether one did.
    pub async fn over(&self) -> bool {
        let mut lasts = self.0.subscribe();
        let did = *lasts.borrow_and_update();
        // An error cannot be: the sender is held here.
        _ = lasts.wait_for(|lasts| !lasts).await;
        did
    }
}

impl Drop for Lasts {
    fn drop(&mut self) {
        self.0.0.send_replace(false);
    }
}
