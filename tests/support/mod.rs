//! A real Kubernetes API server for the tests that need one.
//!
//! ```ignore
//! mod support;
//! use support::ControlPlane;
//!
//! #[tokio::test]
//! #[ignore = "needs a Kubernetes API server"]
//! async fn example() {
//!     let plane = ControlPlane::shared().await; // or `start()`: one to kill, pause and restart
//!     let namespace = plane.fresh_namespace().await;
//!     plane.grant(&namespace, "worker", "kind: Role ...").await;
//!     let client = plane.client_as("worker").await;
//! }
//! ```
//!
//! It comes from the first of these that exists:
//!
//! 1. `KUBE_LEASE_LOCK_TEST_KUBECONFIG`: the kubeconfig of a running cluster, for `shared()` only.
//! 2. `KUBEBUILDER_ASSETS`: a folder with the programs `etcd` and `kube-apiserver`.
//! 3. `tests/control-plane`, which is built with Go into the target folder. The first build takes minutes.
//!    `KUBE_LEASE_LOCK_TEST_STORE` and `KUBE_LEASE_LOCK_TEST_KUBERNETES` choose another store or version.
//!
//! There is also a [`Register`], which judges contenders, and [`Neighbour`], a contender that uses another library.

#![allow(dead_code, unused_imports, reason = "no test binary uses all of it")]
#![allow(clippy::expect_used, reason = "a test has nobody to hand an error to")]

mod audit;
mod build;
mod control_plane;
mod faults;
mod find;
mod go_build;
mod neighbour;
mod peers_build;
mod process;
mod rbac;
mod register;
mod reporter;
mod verdict;

pub(crate) use control_plane::ControlPlane;
pub(crate) use faults::Paused;
pub(crate) use go_build::{ELECTOR, ETCDLOCK, GoProgram};
pub(crate) use neighbour::{Library, Neighbour, NeighbourOptions, Pace};
pub(crate) use peers_build::optimized_program as peers;
pub(crate) use process::signal;
pub(crate) use register::{Register, now};
pub(crate) use reporter::Reporter;
pub(crate) use verdict::Verdict;
