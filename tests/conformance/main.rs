//! The in-process server answers as a real one does: the same requests go to both, and every difference between their
//! answers is a failure.
//!
//! What has to differ is renamed or left out in `normal.rs`, with the reasons.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]
#![allow(clippy::needless_pass_by_value, reason = "scripts read better with json!() as an argument")]

#[path = "../support/mod.rs"]
mod support;

mod answer;
mod diff;
mod normal;
mod pair;
mod request;

mod bodies;
mod deletes;
mod fields;
mod identity;
mod namespaces;
mod ownership;
mod paths;
mod reads;
mod watches;
