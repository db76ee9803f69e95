//! A service that works under the lock, and ends in the right order on SIGTERM: it stops the work first, releases the
//! lock second, and calls `shutdown` last. Its successor need not wait until the Lease expires.
//!
//! ```text
//! cargo run --example graceful_shutdown
//! ```
//!
//! This needs no cluster, and the program sends SIGTERM to itself after two seconds. With `-- --cluster` it holds the
//! Lease `graceful-shutdown` in the namespace of the current kubeconfig until it gets a signal.

#[cfg(unix)]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    unix::main().await
}

#[cfg(not(unix))]
fn main() {
    println!("This example needs SIGTERM, which this system does not have.");
}

#[cfg(unix)]
mod unix {
    use std::time::Duration;

    use kube::Config;
    use kube_lease_lock::testing::LeaseServer;
    use kube_lease_lock::tokio_util::sync::CancellationToken;
    use kube_lease_lock::{AcquireError, LeaseLock, lock_client};
    use tokio::process::Command;
    use tokio::signal::unix::{SignalKind, signal};
    use tokio::task::{JoinError, JoinSet};
    use tokio::time::sleep;

    type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

    pub(crate) async fn main() -> Result<()> {
        let in_cluster = match std::env::args().nth(1).as_deref() {
            None => false,
            Some("--cluster") => true,
            Some(other) => return Err(format!("unknown argument {other:?}").into()),
        };
        let client = if in_cluster {
            let config = Config::infer().await?;
            lock_client(&config)?
        } else {
            terminate_myself_after(2)?;
            LeaseServer::new().connect().client()
        };
        let lock = LeaseLock::new(client, "graceful-shutdown")?;

        let outcome = run_service(&lock).await;
        // All guards have been dropped, and their releases are in progress. Without this call the process might end
        // first.
        lock.shutdown().await?;
        outcome?;

        match lock.holder().await? {
            None => println!("the Lease is free"),
            Some(next) if in_cluster => println!("the Lease is now held by {}", next.identity),
            Some(_) => return Err("the Lease is still held".into()),
        }
        Ok(())
    }

    /// Runs until a signal comes, then stops the work. So the work ends before the lock is released.
    async fn run_service(lock: &LeaseLock) -> Result<()> {
        // Both tasks share the lock: one of them works, and the other one waits for the lock.
        let stop = CancellationToken::new();
        let mut service = JoinSet::new();
        for name in ["first", "second"] {
            service.spawn(serve(name, lock.clone(), stop.clone()));
        }
        let flat = |ended: Result<Result<(), AcquireError>, JoinError>| Ok(ended??);
        let mut outcome = tokio::select! {
            signal = terminated() => signal.map(|signal| println!("{signal}: stopping")).map_err(Into::into),
            // Before the signal a task ends only if it fails.
            Some(ended) = service.join_next() => flat(ended),
        };
        stop.cancel();
        // When this loop ends, all tasks have ended and have dropped their guards, whatever the reason.
        while let Some(ended) = service.join_next().await {
            outcome = outcome.and(flat(ended));
        }
        outcome
    }

    /// Works under the lock until `stop` is cancelled.
    async fn serve(name: &'static str, lock: LeaseLock, stop: CancellationToken) -> Result<(), AcquireError> {
        while !stop.is_cancelled() {
            // A task that still waits for the lock when `stop` is cancelled stops waiting.
            let Some(guard) = stop.run_until_cancelled(lock.acquire()).await else {
                break;
            };
            let guard = guard?;
            println!("{name} holds the lock");
            let lost = guard.token();
            for batch in 1..=5 {
                // A lost lock stops the batch immediately. `stop` only takes effect after the batch, which is much
                // shorter than the time that Kubernetes gives a pod, `terminationGracePeriodSeconds`. Because of
                // `biased`, the work is not polled again after the token was cancelled.
                tokio::select! {
                    biased;
                    () = lost.cancelled() => {
                        println!("{name} stopped: {}", guard.lost().await);
                        break;
                    }
                    () = work(name, batch) => {}
                }
                if stop.is_cancelled() {
                    break;
                }
            }
            // Dropping the guard releases the lock, wherever the work ends: here, with `?`, or in a panic.
            drop(guard);
        }
        println!("{name} has stopped");
        Ok(())
    }

    async fn work(name: &str, batch: u32) {
        sleep(Duration::from_millis(300)).await;
        println!("{name} has done batch {batch}");
    }

    /// Waits for SIGTERM, which Kubernetes sends, or for SIGINT, which Ctrl-C sends.
    async fn terminated() -> std::io::Result<&'static str> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        Ok(tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        })
    }

    fn terminate_myself_after(seconds: u32) -> std::io::Result<()> {
        let script = format!("sleep {seconds}; kill -TERM {}", std::process::id());
        Command::new("sh").args(["-c", &script]).spawn()?;
        Ok(())
    }
}
