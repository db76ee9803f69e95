//! A distributed async mutex on Kubernetes Leases.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod builder;
mod clock;
mod contend;
mod error;
mod guard;
mod held;
mod hold;
mod lease;
mod lock;
mod pace;
mod protocol;
mod record;
mod release;
mod session;
mod settings;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod watch;

pub use builder::LeaseLockBuilder;
pub use error::{
    AcquireError, BuildError, LossReason, ReleaseError, RequestError, ShutdownError, TryAcquireError,
    WithError,
};
pub use guard::LeaseGuard;
pub use held::Held;
pub use lease::{FencingToken, LeaseHolder, LeaseName};
pub use lock::LeaseLock;
pub use settings::CreateMode;

pub use k8s_openapi;
pub use kube;
pub use tokio_util;
