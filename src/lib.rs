//! A distributed async mutex on Kubernetes Leases.
#[cfg(feature = "testing")]
pub mod testing;
