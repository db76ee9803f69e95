//! The only part of the crate that speaks HTTP and JSON.
//!
//! [`LeaseClient`] makes the few requests about one Lease, and [`watch`](self::watch::watch) watches it. What a Kubernetes
//! API server does with these requests is described, fact by fact, in `src/lease_api.md`.

mod classify;
mod codec;
mod exchange;
mod hedge;
mod permissions;
mod requests;
mod timestamp;
mod watch;
mod watch_stream;

pub(crate) use classify::{Denial, Failure};
pub(crate) use permissions::VERBS;
pub(crate) use requests::LeaseClient;
pub(crate) use watch::{Delivery, watch};
