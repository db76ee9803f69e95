//! A distributed async mutex on Kubernetes Leases, as an RAII guard that knows when it has lost the lock.
//!
//! ```no_run
//! use kube_lease_lock::LeaseLock;
//!
//! # async fn rebuild_index() {}
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = kube::Client::try_default().await?;
//! let lock = LeaseLock::new(client, "index")?;
//!
//! let guard = lock.acquire().await?; // waits for its turn
//! let lost = guard.token();
//! tokio::select! {
//!     biased;
//!     () = lost.cancelled() => eprintln!("stopped half way: {}", guard.lost().await),
//!     () = rebuild_index() => guard.release().await?,
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - **Exclusive.** From when [`LeaseLock::acquire`] returns a [`LeaseGuard`] until the guard's
//!   [`token`](Hold::token) fires or the guard is released, no other correct contender holds the Lease: neither
//!   one of this crate nor one of client-go's leader election.
//! - **Never late.** The token fires from a timer on the holder's own clock, before anybody else may take over,
//!   with the API server hung, slow, unreachable or failing; and at once when the holder learns that the Lease
//!   was taken, edited away or deleted. Wall clocks are not compared, unless by
//!   [`max_clock_skew`](LeaseLockBuilder::max_clock_skew). Time spent suspended counts (on Linux): a machine that
//!   wakes up finds [`is_held`](Hold::is_held) false at once, and its token fires within a second.
//! - **Nothing left behind.** A dropped guard releases the Lease: on any thread, in a panic, with or without a
//!   runtime context. A dropped `acquire()` leaves nothing held.
//! - **Fast, fair handover.** Waiters queue, first come, first served, between processes too; the first of them watches
//!   the Lease and takes over one round trip after a release.
//!
//! # What it does not promise
//!
//! A lock cannot recall what has been sent. A write that was on its way when the token fired may still land
//! after it, under the next holder; so may what a process does that was paused between checking the lock and
//! acting. Where that would do harm, hand the [fencing token](Hold::fencing_token) along with every read and
//! write, and have the guarded resource refuse tokens lower than the highest it has seen (reads count, or a
//! stale write could land between a successor's read and its write):
//!
//! ```
//! use kube_lease_lock::FencingToken;
//!
//! #[derive(Default)]
//! struct Ledger {
//!     highest: Option<FencingToken>,
//!     entries: Vec<&'static str>,
//! }
//!
//! impl Ledger {
//!     fn append(&mut self, token: FencingToken, entry: &'static str) -> Result<(), &'static str> {
//!         if Some(token) < self.highest {
//!             return Err("a newer holder has written already");
//!         }
//!         self.highest = Some(token);
//!         self.entries.push(entry);
//!         Ok(())
//!     }
//! }
//!
//! let (old_holder, new_holder) = (FencingToken::from(41), FencingToken::from(58));
//! let mut ledger = Ledger::default();
//! assert!(ledger.append(old_holder, "a").is_ok());
//! assert!(ledger.append(new_holder, "b").is_ok());
//! assert!(ledger.append(old_holder, "sent before the loss, arrived after it").is_err());
//! assert_eq!(ledger.entries, ["a", "b"]);
//! ```
//!
//! Nor does it promise anything against writers that ignore the rules: somebody who edits the holder by hand
//! takes the lock away. The present holder then notices at once, but not before.
//!
//! # When the token fires
//!
//! Stop. There is the time between `renew_deadline` and `lease_duration` to do so (5 of 15 seconds by default)
//! until somebody else can take over, if the reason is that the API server cannot be reached; there is none if
//! it is that somebody took the Lease. Then [`acquire`](LeaseLock::acquire) again, or exit.
//! [`LeaseLock::with`] does the stopping: it drops the future that it runs.
//!
//! # Leader election
//!
//! [`LeaseLock::elect`] acquires the lock again and again in the background, and publishes on a watch channel
//! whether this process leads: see [`Election`].
//!
//! # Test your own loss handling
//!
//! With the feature `testing`, [`testing::LeaseServer`](https://docs.rs/kube-lease-lock/latest/kube_lease_lock/testing)
//! is a Lease API server within the process, with faults to inject, that works under tokio's paused clock.
//!
//! # Logs
//!
//! Each acquisition has a [`tracing`] span `lease_lock` with the fields `namespace`, `lease` and `identity`, and in it
//! these events, whose messages and fields are part of the API:
//!
//! | message | level | fields |
//! |---|---|---|
//! | `waiting` | info | `holder` |
//! | `request failed` | warn | `error`, `pause` |
//! | `acquired` | info | `fencing_token`, `transitions` |
//! | `renewed` | debug | `resource_version` |
//! | `renewal failed` | warn | `error`, `left` |
//! | `lost` | warn | `reason` |
//! | `released` | info | |
//! | `release failed` | warn | `error` |
//! | `election refused` | error | `error`, `pause` |
//!
//! The last one belongs to an [`Election`], not to an acquisition: there `identity` has no suffix.
//!
//! # How it works
//!
//! The Lease is written by Server-Side Apply, conditional on its uid and its version, one write at a time. The
//! holder trusts it for `renew_deadline`, counted from *sending* the last write that succeeded. Contenders leave
//! a record alone for the holder's `leaseDurationSeconds`, counted from when they *received* it. As the former
//! is shorter by more than clocks can drift apart, the token fires first. A write whose outcome is unknown is
//! looked into before anything else is written.
//!
//! # Features
//!
//! - `client` (off): [`lock_client`](https://docs.rs/kube-lease-lock/latest/kube_lease_lock/fn.lock_client.html), a
//!   client made for locks alone. The lock is as safe on any other client.
//! - `rustls-tls` (off): [`rustls_connector`](https://docs.rs/kube-lease-lock/latest/kube_lease_lock/fn.rustls_connector.html),
//!   TLS for that client, over HTTP/2.
//! - `testing` (off): the in-process API server.
//!
//! Features only add API.
//!
//! # Runtime
//!
//! The lock needs a tokio runtime with time enabled, and one that is driven: on a current-thread runtime that
//! nobody runs, nothing is renewed, and the token does not fire until it runs again. [`Hold::is_held`] is right
//! even then.
//!
//! TLS is the application's choice: enable it on `kube`. So is the Kubernetes version: enable one on
//! `k8s-openapi`. Both are re-exported, in the versions that this crate's API speaks.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod backoff;
mod builder;
#[cfg(feature = "client")]
mod client;
mod clock;
mod driver;
mod election;
mod error;
mod guard;
mod hold;
mod kubernetes;
mod lease;
mod lock;
mod lock_core;
mod protocol;
mod random;
mod settings;
#[cfg(feature = "testing")]
pub mod testing;

pub use builder::LeaseLockBuilder;
#[cfg(feature = "rustls-tls")]
pub use client::rustls_connector;
#[cfg(feature = "client")]
pub use client::{ClientError, lock_client};
pub use election::Election;
pub use error::{
    AcquireError, BuildError, EndReason, LossReason, ReleaseError, RequestError, ShutdownError,
    TryAcquireError, WithError,
};
pub use guard::LeaseGuard;
pub use hold::Hold;
pub use lease::{FencingToken, LeaseHolder, LeaseName};
pub use lock::LeaseLock;
pub use settings::CreateMode;

pub use k8s_openapi;
pub use kube;
pub use tokio_util;

/// The code in the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
