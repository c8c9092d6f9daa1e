//! The cheapest way to share demand out among regions of limited capacity.
