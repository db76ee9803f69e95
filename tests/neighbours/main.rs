//! This crate beside others on one real Lease: client-go's leader election, kube-lease-manager, kubert. They take
//! turns, and where a neighbour's own fault breaks the exclusion, our holder is told at once.
//!
//! Each neighbour is a process of its own: see `tests/control-plane/elector` and `tests/peers`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

#[path = "../support/mod.rs"]
mod support;

mod alternation;
mod client_go;
mod leftovers;
mod turns;
mod unconditional;
mod world;
