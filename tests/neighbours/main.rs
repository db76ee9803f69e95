//! This crate and other libraries contend for one Lease on a real API server: client-go's leader election,
//! kube-lease-manager, kubert and more. They take turns. If a fault of another library breaks the exclusion, our holder
//! learns of it immediately.
//!
//! Each neighbour, a contender with another library, is a process of its own: see `tests/control-plane/elector` and
//! `tests/peers`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

#[path = "../support/mod.rs"]
mod support;

mod alternation;
mod break_hold;
mod client_go;
mod fixture;
mod our_contender;
mod takeover;
mod unconditional_writes;
