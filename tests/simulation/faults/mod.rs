//! The faults of a world: severe ones, mild ones, and the edits of an administrator.

mod admin;
mod mild;
mod severe;

use std::sync::Arc;

use tokio::time::Instant;

use crate::node::Node;
use crate::rng::Rng;
use crate::trace::Trace;

pub(crate) use admin::Admin;
pub(crate) use mild::silence_watches;

/// Injects faults into one node until a given time.
pub(crate) struct FaultInjector {
    pub(crate) node: Arc<Node>,
    pub(crate) trace: Trace,
    pub(crate) rng: Rng,
    pub(crate) until: Instant,
}
