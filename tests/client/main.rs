//! The client for locks (feature `client`).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod configuration;
mod connections;
mod http2;
mod http2_server;
mod latency;
mod proxy;
mod requests;
mod retries;
mod server;
