//! Measured round trips in a running server: what was kept, the socket for browsers, and the task that
//! tells the writer.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use socket2::Socket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::error;

use crate::control::clock;
use crate::control::config::Config;
use crate::control::rum::listener::Rum;
use crate::control::rum::{Measurements, unix_now};
use crate::control::supervise::supervise;
use crate::control::troubles::Troubles;
use crate::control::vitals::{TaskKind, Vitals};
use crate::control::writer::Command;
use crate::state::{News, Publisher, SharedSnapshot};

use super::handover::Handed;
use super::listening::{advice, stopped};

/// The tasks that measure, not yet started.
pub struct Measuring {
    pub measurements: Arc<Measurements>,
    listener: Option<(TcpListener, Arc<Rum>)>,
}

impl Measuring {
    /// Reads what was kept, so that the first answers go by it, and binds the socket, or takes the one that was handed over.
    ///
    /// # Errors
    /// The socket cannot be had, or there is no key to sign tokens with.
    pub fn new(
        config: &Config,
        publisher: &mut Publisher,
        troubles: &Arc<Troubles>,
        handed: Option<Socket>,
    ) -> Result<Measuring, String> {
        let measurements = Arc::new(Measurements::open(&config.rum, &config.state, unix_now(), troubles.clone()));
        let measured = measurements.measured(unix_now());
        if !measured.is_empty() {
            let now = clock::read();
            publisher.apply(News::Measured(Arc::new(measured)), now);
            publisher.publish(now);
        }
        let listener = config.listen.rum.map(|address| {
            let bind = || TcpListener::bind(address);
            let listener = Handed::listener(handed, address).map_or_else(bind, Ok).map_err(|error| {
                format!("cannot listen on TCP {address} for browsers' measurements: {error}{}", advice(&error))
            })?;
            let rum = Rum::new(&config.rum, &config.state, publisher.shared(), measurements.clone())?;
            Ok::<_, String>((listener, Arc::new(rum)))
        });
        Ok(Measuring { measurements, listener: listener.transpose()? })
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    pub fn listener(&self) -> Option<&TcpListener> {
        self.listener.as_ref().map(|(listener, _)| listener)
    }

    pub fn start(
        self,
        shared: &SharedSnapshot,
        commands: &mpsc::Sender<Command>,
        stopping: &watch::Receiver<bool>,
        vitals: &Arc<Vitals>,
        tasks: &mut Vec<JoinHandle<()>>,
    ) {
        let (measurements, shared, commands) = (self.measurements, shared.clone(), commands.clone());
        let run = move || measurements.clone().run(shared.clone(), commands.clone());
        tasks.push(tokio::spawn(supervise(TaskKind::Measurements, String::new(), vitals.clone(), run)));
        if let Some((listener, rum)) = self.listener {
            let served = rum.serve(listener, stopped(stopping.clone()));
            tasks.push(tokio::spawn(async move {
                if let Err(error) = served.await {
                    error!("measuring by browsers ended: {error}; answers go on");
                }
            }));
        }
    }
}
