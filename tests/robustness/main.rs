//! Contenders in processes of their own, on a real control plane, with faults of every kind. They report to a register,
//! which judges them on the one clock of the machine.
//!
//! ```text
//! cargo test --test robustness -- --include-ignored       each fault by itself, and 15 seconds of random faults
//! ROBUSTNESS_MINUTES=60 cargo test --release --test robustness random_faults -- --include-ignored --nocapture
//! ```
//!
//! The test with random faults prints its seed, and `ROBUSTNESS_SEED` sets it. The event log of a failed run is kept,
//! and the test prints its path.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

#[path = "../support/mod.rs"]
mod support;

mod administrator;
mod behaviour;
mod contender;
mod contender_process;
mod control_plane;
mod event_log;
mod fixture;
mod nemesis;
mod network;
mod processes;
mod proxy;
mod random_faults;
mod register;
mod store;
