//! Contenders in processes of their own, on a real control plane, through everything that can happen to them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

#[path = "../support/mod.rs"]
mod support;

mod register;
