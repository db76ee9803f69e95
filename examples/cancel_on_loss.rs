//! A job that is stopped the moment it loses its lock, and carries on where it was once it has the lock again.
//!
//! ```text
//! cargo run --example cancel_on_loss
//! ```
//!
//! An administrator meddles with the Lease while the job runs: first takes it over, later deletes it.

use std::convert::Infallible;
use std::time::Duration;

use kube_lease_lock::testing::LeaseServer;
use kube_lease_lock::{Hold, LeaseLock, LossReason, WithError};
use tokio::sync::watch;
use tokio::time::sleep;

const PAGES: u32 = 12;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = LeaseServer::new();
    let lock = LeaseLock::builder(server.connect().client(), "reindex")
        .identity("indexer")
        .lease_duration(Duration::from_secs(3))
        .build()?;

    let (progress, seen) = watch::channel(0);
    let administrator = tokio::spawn(administrate(server, seen));
    let losses = reindex(&lock, &progress).await?;
    administrator.await??;
    lock.shutdown().await?;

    let [LossReason::TakenOver { by, .. }, LossReason::Deleted] = &losses[..] else {
        return Err(format!("lost the lock for other reasons: {losses:?}").into());
    };
    if by != "administrator" {
        return Err(format!("lost the lock for other reasons: {losses:?}").into());
    }
    println!("all {PAGES} pages indexed, in spite of it all");
    Ok(())
}

/// Runs the job to its end, over as many holds of the lock as that takes.
///
/// `with` is `acquire`, then a `select!` between the job and the guard's token, then `release`.
async fn reindex(
    lock: &LeaseLock,
    progress: &watch::Sender<u32>,
) -> Result<Vec<LossReason>, WithError<Infallible>> {
    let mut losses = Vec::new();
    loop {
        match lock.with(|held| index_pages(held, progress)).await {
            Ok(()) => return Ok(losses),
            // The job has been dropped by now. What to do next is to queue again: whoever took the lock may need
            // it for good reason, and `with` waits until it is free.
            Err(WithError::Lost(reason)) => {
                println!("stopped: {reason}");
                losses.push(reason);
            }
            // Without permission, say, there is no use in trying again.
            Err(error) => return Err(error),
        }
    }
}

/// The job. It can be dropped at each `.await`, so it notes what it has done after each step.
///
/// Tasks and threads that it starts would not be dropped with it: hand them `held.token()`.
async fn index_pages(held: Hold, progress: &watch::Sender<u32>) -> Result<(), Infallible> {
    let done = *progress.borrow();
    println!("holding the lock with token {}, starting at page {}", held.fencing_token(), done + 1);
    for page in done + 1..=PAGES {
        sleep(Duration::from_millis(200)).await;
        println!("  page {page}");
        progress.send_replace(page);
    }
    Ok(())
}

/// What `kubectl edit lease reindex` and `kubectl delete lease reindex` would do.
async fn administrate(
    server: LeaseServer,
    mut progress: watch::Receiver<u32>,
) -> Result<(), watch::error::RecvError> {
    progress.wait_for(|page| *page >= 4).await?;
    println!("the administrator takes the Lease over");
    server.edit("default", "reindex", |lease| {
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some("administrator".to_owned());
        }
    });

    progress.wait_for(|page| *page >= 8).await?;
    println!("the administrator deletes the Lease");
    server.delete("default", "reindex");
    Ok(())
}
