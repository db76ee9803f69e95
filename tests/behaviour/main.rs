//! How the lock behaves.
//!
//! A test named in `on_both_servers!` has one body and runs twice: as `in_process::…` against the server of this crate,
//! in virtual time, and as `real::…` against a Kubernetes API server. `-- real:: --include-ignored` selects the latter.
//! Every other test runs in-process only, because it injects faults or edits what no client may edit.
//!
//! | module | subject | servers |
//! |---|---|---|
//! | `acquire` | taking a free Lease, waiting, giving up | both |
//! | `break_hold` | a hold that is ended by force | both, faults in-process only |
//! | `cancel` | whatever is dropped at any point | both |
//! | `coordinated` | Leases of a coordinated leader election | in-process |
//! | `cost` | requests for each step | both, one in-process only |
//! | `create` | when the lock creates the Lease, and how | both |
//! | `denied` | errors that no waiting can resolve | both, `in_process_only` apart |
//! | `errors` | the text of errors, and their causes | in-process |
//! | `exclusion` | one holder at a time | both |
//! | `loss` | a Lease that another client changes | both |
//! | `once` | work that is done once for each key | both, the faults in-process only |
//! | `other_writers` | Leases as other clients leave them | both |
//! | `queue` | the order of waiters, and hand-offs | both, three in-process only |
//! | `record` | the Lease as other clients read it | both |
//! | `election` | leader election | in-process, `both_servers` apart |
//! | `fairness` | the order of processes at any distance, and what it costs | in-process |
//! | `faults` | requests and watches that fail | in-process |
//! | `field` | what went wrong with other locks | in-process |
//! | `logs` | messages and fields | in-process |
//! | `observer` | who holds the Lease, for those who do not contend | in-process, the first of `answers` both |
//! | `odd_leases` | generated Leases and replies | in-process |
//! | `refusals` | a process that may not write, or not yet | in-process, one on a real server |
//! | `regressions` | defects that were found and repaired | in-process |
//! | `with` | work that runs under the lock | in-process |

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

mod cluster;
#[path = "../support/fixture.rs"]
mod fixture;
mod intercept;
#[path = "../support/mod.rs"]
mod support;

/// Runs each test against both servers.
macro_rules! on_both_servers {
    ($($test:ident),+ $(,)?) => {
        mod in_process {
            $(
                #[tokio::test(start_paused = true)]
                async fn $test() {
                    super::$test(crate::cluster::Cluster::in_process()).await;
                }
            )+
        }
        mod real {
            $(
                #[tokio::test]
                #[ignore = "needs a Kubernetes API server"]
                async fn $test() {
                    super::$test(crate::cluster::Cluster::real().await).await;
                }
            )+
        }
    };
}

mod acquire;
mod break_hold;
mod cancel;
mod coordinated;
mod cost;
mod create;
mod denied;
mod election;
mod errors;
mod exclusion;
mod fairness;
mod faults;
mod field;
mod health;
mod lead;
mod logs;
mod loss;
mod observer;
mod odd_leases;
mod once;
mod other_writers;
mod queue;
mod record;
mod refusals;
mod regressions;
mod with;
