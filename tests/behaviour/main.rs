//! How the lock behaves towards an API server: each test runs against the in-process server in virtual time,
//! and against a real one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

#[path = "../support/mod.rs"]
mod support;
mod world;

/// One body, two servers.
macro_rules! on_both_servers {
    ($($test:ident),+ $(,)?) => {
        mod in_process {
            $(
                #[tokio::test(start_paused = true)]
                async fn $test() {
                    super::$test(crate::world::World::in_process()).await;
                }
            )+
        }
        mod real {
            $(
                #[tokio::test]
                #[ignore = "needs a Kubernetes API server"]
                async fn $test() {
                    super::$test(crate::world::World::real().await).await;
                }
            )+
        }
    };
}

mod acquire;
mod cancel;
mod create;
mod denied;
mod elect;
mod exclusion;
mod foreign;
mod frugal;
mod line;
mod loss;
mod wire;
