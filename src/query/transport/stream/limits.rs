//! The limits of connections, with their defaults.

use std::time::Duration;

/// Most of the server that clients may take by connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpLimits {
    /// Open at once, in all; at least 1. For one more, the one that waited longest without a whole message closes.
    pub connections: usize,
    /// Open at once from one /24 (IPv4) or /56 (IPv6), and four times as many from one /48, so that no single site
    /// takes all; at least 1. For one more, another of the same network closes.
    pub connections_per_network: usize,
    /// The time that a connection may wait for its next query. Shrinks linearly to `idle_min` while the
    /// open connections go from half of `connections` to all.
    pub idle: Duration,
    pub idle_min: Duration,
    /// From a message's first octet to its last, however steadily it drips. Shrinks to `message_min` as `idle` does.
    pub message: Duration,
    pub message_min: Duration,
    /// From the first octet of a write to the last, as slow as the client reads.
    pub write: Duration,
    /// The number of responses that are collected for one write.
    pub responses_per_write: usize,
}

impl Default for TcpLimits {
    fn default() -> TcpLimits {
        TcpLimits {
            connections: 1000,
            connections_per_network: 50,
            idle: Duration::from_secs(10),
            idle_min: Duration::from_secs(1),
            message: Duration::from_secs(5),
            message_min: Duration::from_secs(1),
            write: Duration::from_secs(5),
            responses_per_write: 64,
        }
    }
}

impl TcpLimits {
    /// The time that a connection may be idle while `open` connections are open.
    pub fn idle_at(&self, open: usize) -> Duration {
        self.shrunk(self.idle, self.idle_min, open)
    }

    /// The time that a message may take while `open` connections are open.
    pub fn message_at(&self, open: usize) -> Duration {
        self.shrunk(self.message, self.message_min, open)
    }

    fn shrunk(&self, most: Duration, least: Duration, open: usize) -> Duration {
        let half = self.connections / 2;
        let pressure = open.saturating_sub(half) as f64 / (self.connections - half).max(1) as f64;
        most.saturating_sub(most.saturating_sub(least).mul_f64(pressure.min(1.0)))
    }
}
