//! The limits of connections, with their defaults.

use std::time::Duration;

/// Most of the server that clients may take by connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpLimits {
    /// Open at once, in all. More are closed at once.
    pub connections: usize,
    /// Open at once from one /24 (IPv4) or /56 (IPv6), so that no single site takes all.
    pub connections_per_network: usize,
    /// How long a connection may wait for its next query. Shrinks linearly to `idle_min` while the
    /// open connections go from half of `connections` to all.
    pub idle: Duration,
    pub idle_min: Duration,
    /// From a message's first octet to its last, however steadily it drips.
    pub message: Duration,
    /// From the first octet of a write to the last, as slow as the client reads.
    pub write: Duration,
    /// How many responses are collected for one write.
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
            write: Duration::from_secs(5),
            responses_per_write: 64,
        }
    }
}

impl TcpLimits {
    /// How long a connection may be idle while `open` connections are open.
    pub fn idle_at(&self, open: usize) -> Duration {
        let half = self.connections / 2;
        let pressure = open.saturating_sub(half) as f64 / (self.connections - half).max(1) as f64;
        self.idle.saturating_sub(self.idle.saturating_sub(self.idle_min).mul_f64(pressure.min(1.0)))
    }
}
