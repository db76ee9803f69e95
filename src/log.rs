//! The events that operators read.

/// Logs an event about a Lease, as `log!(level, lease, fields and message)`.
///
/// All events have the target `lease_lock`, so that a filter for `kube` does not switch them off. Each names the Lease itself, because an
/// operator may not see the fields of spans.
macro_rules! log {
    ($level:ident, $lease:expr, $($event:tt)*) => {
        tracing::$level!(target: "lease_lock", lease = %$lease, $($event)*)
    };
}

pub(crate) use log;
