//! Contenders in processes of their own, on a real control plane, through everything that can happen to them. They
//! report to a register on the one clock of the machine, which judges them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

#[path = "../support/mod.rs"]
mod support;

mod administrator;
mod breakdowns;
mod contender;
mod control_plane;
mod crashes;
mod disturbances;
mod journal;
mod life;
mod manner;
mod network;
mod processes;
mod proxy;
mod register;
mod storm;
mod world;
