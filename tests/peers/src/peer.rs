//! What a lease crate has to offer to contend here.

use anyhow::Result;

pub trait Peer {
    type Hold: Hold;

    /// Waits until it holds the Lease.
    async fn acquire(&self, lease: &str) -> Result<Self::Hold>;
}

pub trait Hold {
    /// Whether the crate says so: by the best means that it has.
    fn is_held(&self) -> bool;

    /// Gives the Lease up.
    async fn release(self) -> Result<()>;
}
