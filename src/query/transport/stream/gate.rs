//! How many connections may be open, in all and from one network.
//!
//! In: the address of a client that connects. Out: a [`Place`], given back when dropped, or the limit
//! that is met. One gate for all threads, passed when connections come and go.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::Prefix;
use crate::query::counters::TcpLimit;

use super::limits::TcpLimits;

/// Counts the connections that are open.
pub struct Gate {
    limits: TcpLimits,
    /// Written with `by_network` locked, read by anyone.
    open: AtomicUsize,
    /// Networks with open connections: at most as many as `open`.
    by_network: Mutex<HashMap<Prefix, usize>>,
}

/// A connection's place; given back when dropped.
pub struct Place {
    gate: Arc<Gate>,
    network: Prefix,
}

impl Gate {
    pub fn new(limits: TcpLimits) -> Gate {
        Gate { limits, open: AtomicUsize::new(0), by_network: Mutex::default() }
    }

    /// Takes a place, or tells which limit is met.
    pub fn enter(self: &Arc<Gate>, peer: IpAddr) -> Result<Place, TcpLimit> {
        let network = Prefix::containing(peer, if peer.is_ipv4() { 24 } else { 56 });
        let mut by_network = self.lock();
        let open = self.open();
        if open >= self.limits.connections {
            return Err(TcpLimit::Total);
        }
        let in_network = by_network.get(&network).copied().unwrap_or(0);
        if in_network >= self.limits.connections_per_network {
            return Err(TcpLimit::Network);
        }
        by_network.insert(network, in_network + 1);
        self.open.store(open + 1, Ordering::Relaxed);
        Ok(Place { gate: self.clone(), network })
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Prefix, usize>> {
        self.by_network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_network = self.gate.lock();
        self.gate.open.store(self.gate.open().saturating_sub(1), Ordering::Relaxed);
        match by_network.get_mut(&self.network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(by_network.remove(&self.network)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_gets_its_places_back() {
        let gate = Arc::new(Gate::new(TcpLimits { connections_per_network: 2, ..TcpLimits::default() }));
        let client = IpAddr::from([127, 0, 0, 1]);
        for _ in 0..3 {
            let places = [gate.enter(client), gate.enter(client)];
            assert!(places.iter().all(Result::is_ok));
            assert_eq!(gate.enter(client).err(), Some(TcpLimit::Network));
        }
        assert_eq!(gate.open(), 0);
        assert!(gate.lock().is_empty());
    }

    #[test]
    fn ipv6_networks_are_56_bits_long() {
        let gate = Arc::new(Gate::new(TcpLimits { connections_per_network: 1, ..TcpLimits::default() }));
        let enter = |text: &str| gate.enter(text.parse().expect("address"));
        let _first = enter("2001:db8:0:1::1").expect("the first");
        assert_eq!(enter("2001:db8:0:ff::1").err(), Some(TcpLimit::Network), "the same /56");
        assert!(enter("2001:db8:0:100::1").is_ok(), "another /56");
    }
}
