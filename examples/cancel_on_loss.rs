//! A job that stops immediately when it loses its lock, and continues where it stopped when it has the lock again.
//!
//! ```text
//! cargo run --example cancel_on_loss
//! ```
//!
//! While the job runs, an administrator first takes the Lease over, and later deletes it.

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
    println!("all {PAGES} pages indexed, although the lock was lost twice");
    Ok(())
}

/// Runs the job to its end, in as many holds of the lock as it needs.
///
/// `with` acquires the lock, runs the job until it ends or the guard's token is cancelled, and releases the lock.
async fn reindex(lock: &LeaseLock, progress: &watch::Sender<u32>) -> Result<Vec<LossReason>, WithError> {
    let mut losses = Vec::new();
    loop {
        match lock.with(|hold| index_pages(hold, progress)).await {
            Ok(()) => return Ok(losses),
            // The job has been dropped. Now the loop queues for the lock again: the new holder may need it, and `with`
            // waits until the lock is free.
            Err(WithError::Lost(reason)) => {
                println!("stopped: {reason}");
                losses.push(reason);
            }
            // Another attempt would fail too, for example without the permission.
            Err(error) => return Err(error),
        }
    }
}

/// The job. It can be dropped at each `.await`, so it records its progress after each step.
///
/// If it started tasks or threads, they would not be dropped with it. They would need `hold.token()`.
async fn index_pages(hold: Hold, progress: &watch::Sender<u32>) {
    let done = *progress.borrow();
    println!("holding the lock with token {}, starting at page {}", hold.fencing_token(), done + 1);
    for page in done + 1..=PAGES {
        sleep(Duration::from_millis(200)).await;
        println!("  page {page}");
        progress.send_replace(page);
    }
}

/// Does the same as `kubectl edit lease reindex` and `kubectl delete lease reindex`.
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
