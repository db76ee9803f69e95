//! The interface that a lease crate needs in order to contend here.

use anyhow::Result;

pub trait Peer {
    type Hold: Hold;

    /// Waits until it holds the Lease.
    async fn acquire(&self, lease: &str) -> Result<Self::Hold>;
}

pub trait Hold {
    /// Whether the crate says that it holds the Lease, by the most reliable way that it offers.
    fn is_held(&self) -> bool;

    /// Releases the Lease.
    async fn release(self) -> Result<()>;
}
