//! A distributed async mutex on Kubernetes Leases. It gives you an RAII guard that knows when the lock is lost.
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
//! - **One holder.** From the moment when [`LeaseLock::acquire`] returns a [`LeaseGuard`] until the guard's
//!   [`token`](Hold::token) is cancelled or the guard is released, no other correct contender holds the Lease. This
//!   includes contenders of this crate and of client-go's leader election. It holds for a process that runs: a process that is
//!   paused cannot cancel its token. If it runs again after the deadline, [`is_held`](Hold::is_held) is false at once.
//! - **You learn of a loss in time.** A timer on the holder's own clock cancels the token before any other process
//!   can take over. It does so even if the API server hangs, is slow, cannot be reached or fails. If another client takes,
//!   clears or deletes the Lease, a watch tells the holder at once, and the token is cancelled: from the first second of the
//!   hold on. Without a watch that works (no permission, a dead connection), a renewal or a read tells it, after 30 seconds
//!   at most. Wall clocks are not compared, unless you set [`max_clock_skew`](LeaseLockBuilder::max_clock_skew). On Linux,
//!   the time for which the machine is suspended counts. When a machine wakes up after the deadline,
//!   [`is_held`](Hold::is_held) is false at once, and the token is cancelled within a second.
//! - **Nothing is left behind.** Dropping a guard releases the Lease in the background: on any thread, in a panic, with or
//!   without a runtime context. Dropping an unfinished `acquire()` leaves nothing held. Both need the runtime of the lock:
//!   see [below](#runtime). If it has ended, the Lease expires.
//! - **Fast and fair handover.** Up to 128 processes queue, first come, first served. The first waiter watches the Lease, and
//!   takes over one round trip after it was told of a release. A process that finds the queue full waits for a place in it.
//!
//! # What it does not promise
//!
//! A lock cannot stop a request that was already sent. The request may arrive after the token was cancelled, when
//! another process holds the lock. The same can happen if your process is paused after it has checked the lock and
//! before it writes.
//!
//! If such a request would do harm, send the [fencing token](Hold::fencing_token) with every read and write. The
//! guarded resource has to refuse tokens that are lower than the highest it has seen. Reads count too. Otherwise a
//! stale write could arrive between a successor's read and its write.
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
//! The time for which a *virtual machine* is paused or restored from a snapshot does not count: its clocks stand still
//! meanwhile, and no program in it can read how much time has passed. After that, [`is_held`](Hold::is_held) can be
//! true for up to `renew_deadline` while another process holds the lock. Fence the writes if your machines may be
//! paused, moved or restored while they run.
//!
//! The lock does not promise anything against writers that ignore the rules. A person who edits the holder by hand
//! takes the lock away. The holder notices this after the fact, as said above.
//!
//! Fencing tokens rise as long as the API server keeps its store. A restored backup or another cluster can set them back: see
//! [`FencingToken`].
//!
//! # When the token is cancelled
//!
//! Stop the work. Then [`acquire`](LeaseLock::acquire) again, or exit. How much time you have to stop depends on the
//! reason:
//!
//! - If the API server cannot be reached, you have the time between `renew_deadline` and `lease_duration` (5 of 15
//!   seconds by default). After that, another process can take over.
//! - If another client took the Lease, you have no time.
//!
//! [`LeaseLock::with`] stops the work for you: it drops the future that it runs. It reads the clock before each poll, so the
//! work makes no step after the hold is over.
//!
//! # Work that is done once
//!
//! [`LeaseLock::once`] runs the work of a key, for example of one run of a schedule, unless the Lease says that it was done. So
//! several replicas can run the same schedule.
//!
//! # Leader election
//!
//! [`LeaseLock::lead`] runs work whenever this process leads, and stops it before another process does.
//! [`LeaseLock::elect`] stands for election in the background, and tells any number of tasks whether this process leads: see
//! [`Election`].
//!
//! A Lease with `spec.strategy` belongs to a coordinated leader election of Kubernetes (KEP-4355), in which a coordinator
//! chooses the leader. Locks and elections leave it alone: see [`AcquireError::Coordinated`]. If a coordinator takes charge of a
//! Lease while an election holds it, the election gives way to the holder that the coordinator prefers: see
//! [`LossReason::NotPreferred`].
//!
//! # Who leads
//!
//! [`LeaseLock::observe`] and [`LeaseObserver::new`] follow who holds a Lease without contending for it, by one watch and no
//! writes: see [`LeaseObserver`].
//!
//! # Test your own loss handling
//!
//! The feature `testing` brings
//! [`testing::LeaseServer`](https://docs.rs/kube-lease-lock/latest/kube_lease_lock/testing), an API server for Leases
//! that runs inside your test. You can inject faults, and it works under tokio's paused clock.
//!
//! # Logs
//!
//! Each acquisition has a [`tracing`] span `lease_lock` with the fields `namespace`, `lease` and `identity`. In this
//! span, the lock logs the following events. All have the target `lease_lock`, so that `RUST_LOG=warn,lease_lock=info` shows
//! them, and the field `lease` (`namespace/name`). Their target, messages and fields are part of the API:
//!
//! | message | level | fields |
//! |---|---|---|
//! | `waiting` | info | `holder`, `ticket`, the number in the queue of the Lease, and `free_in`: how long the record stands if its holder is not heard of |
//! | `request failed` | warn | `error`, `pause` |
//! | `acquired` | info | `fencing_token`, `transitions`, `waited`, and `previous`, the holder that was seen last, if there was one |
//! | `renewed` | debug | `resource_version` |
//! | `renewal failed` | warn | `error`, `left` |
//! | `lost` | warn | `reason`, and `stood_still`: how long at least the process or its machine stood still, if that was the cause |
//! | `released` | info | |
//! | `release failed` | warn | `error` |
//! | `released, but the key is not marked as done` | warn | |
//! | `election refused` | error | `error`, `pause` |
//! | `hold broken` | warn | `holder` |
//!
//! The events `election refused` and `hold broken` belong to an [`Election`] and to [`LeaseLock::break_hold`], not to an
//! acquisition. In their span, `identity` has no suffix. A [`LeaseObserver`] logs `request failed` in a span `lease_observer`
//! with the fields `namespace` and `lease`, for the first of several failures in a row.
//!
//! # How it works
//!
//! The lock creates a missing Lease by a PUT that is refused if the Lease exists. It claims, renews and releases by Server-Side
//! Apply, conditional on the uid and the version of the Lease. If another write came first and has left its record, it repeats a
//! renewal or release as a JSON Patch that is conditional on that record. One such write is in flight at a time, or several copies of it
//! if the server is silent. Besides, a JSON Patch that joins the queue may be in flight: it changes one annotation and nothing
//! else.
//!
//! The holder trusts the Lease for `renew_deadline`, counted from the moment when it *sent* the last write that
//! succeeded. Contenders leave a record alone for the holder's `leaseDurationSeconds`, counted from the moment when
//! they *received* it. The holder's time is shorter by more than clocks can drift apart, so the token is cancelled
//! first. If the outcome of a write is unknown, the lock reads the Lease before it writes anything else.
//!
//! The page [`migrating`] is for users of other libraries. The page [`running`] is about permissions, outages, deployment tools
//! and backups. The page [`architecture`] has the parts of the crate, and the page [`lease_api`] the behaviour of the API server that
//! the lock builds on.
//!
//! # Features
//!
//! - `rustls-tls` (off):
//!   [`lock_client`](https://docs.rs/kube-lease-lock/latest/kube_lease_lock/fn.lock_client.html), a client for locks
//!   alone, over HTTP/2. The lock is as safe on any other client.
//! - `client` (off):
//!   [`lock_client_with_connector`](https://docs.rs/kube-lease-lock/latest/kube_lease_lock/fn.lock_client_with_connector.html),
//!   that client with another TLS than rustls.
//! - `serde` (off): [`FencingToken`] is serialized as a number.
//! - `testing` (off): the in-process API server.
//!
//! Features only add API.
//!
//! # Runtime
//!
//! The lock needs a tokio runtime that has time enabled and that is being driven. The background task of each acquisition runs
//! on the runtime on which the acquisition began. Programs that drive a current-thread runtime only from time to time, with
//! `block_on`, should know what happens in between:
//!
//! - The lock does not renew the Lease, and the token is not cancelled until the runtime runs again. [`Hold::is_held`] is
//!   right even then.
//! - An `acquire()` or an [`Election`] that is dropped gives up its place in the FIFO at once, even if its runtime never runs
//!   again. So does an `acquire_timeout` that has timed out.
//! - A guard that is dropped is handed off at once to a task of this process that waits.
//! - If no task waits, a dropped guard is not released yet, and a claim that was on its way is not withdrawn yet. This is done
//!   by whatever comes first: the runtime runs again, another task of this process acquires the lock, or
//!   [`LeaseLock::shutdown`] is called. Otherwise the Lease expires by itself. To release at once, end with
//!   `runtime.block_on(guard.release())`.
//! - Two things keep the other tasks of this process waiting until the runtime runs again, or ends: an `acquire()` that was not
//!   dropped, for example in a spawned task, and a release whose request was in flight when the runtime stopped.
//!
//! TLS is the application's choice: enable it on `kube`. The Kubernetes version is its choice too: enable one on
//! `k8s-openapi`. This crate re-exports both in the versions that its API uses.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]
// On docs.rs, each item says which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod check;
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
mod log;
mod observer;
mod protocol;
mod random;
mod settings;
#[cfg(feature = "testing")]
pub mod testing;
mod work;

pub use check::{CheckReport, CheckWarning};
#[cfg(feature = "rustls-tls")]
pub use client::lock_client;
#[cfg(feature = "client")]
pub use client::{ClientError, TcpConnection, TcpConnector, lock_client_with_connector};
pub use election::{Election, ElectionStatus, Leadership, LeadershipReceiver};
pub use error::{
    AcquireError, BreakHoldError, BuildError, CheckError, EndReason, LossReason, ObserveError, OnceError,
    ReleaseError, RequestError, ShutdownError, TryAcquireError, TryWithError, WithError,
};
pub use guard::LeaseGuard;
pub use hold::Hold;
pub use lease::{FencingToken, LeaseHolder, LeaseName};
pub use lock::{Health, LeaseLock, LeaseLockBuilder, Once};
pub use observer::{LeaseObserver, ObservedHolder};
pub use protocol::CreateMode;

pub use k8s_openapi;
pub use kube;
pub use tokio_util;

#[cfg(doc)]
#[doc = include_str!("running.md")]
pub mod running {}

// Also in tests of the documentation, because it has an example.
#[cfg(any(doc, doctest))]
#[doc = include_str!("migrating.md")]
pub mod migrating {}

#[cfg(doc)]
#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[cfg(doc)]
#[doc = include_str!("lease_api.md")]
pub mod lease_api {}

/// The code in the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
