//! The in-process server responds as a real one does. Each test sends the same requests to both, and fails on every
//! difference between the responses. The words of messages do not count.
//!
//! `normal.rs` renames or removes the parts that may differ, and gives the reasons.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]
#![allow(clippy::needless_pass_by_value, reason = "scripts read better with json!() as an argument")]

#[path = "../support/mod.rs"]
mod support;

mod diff;
mod normal;
mod pair;
mod request;
mod response;

mod bodies;
mod deletes;
mod fields;
mod identity;
mod json_patches;
mod namespaces;
mod ownership;
mod paths;
mod reads;
mod watches;
