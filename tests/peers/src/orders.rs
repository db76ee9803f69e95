//! Acquires and releases Leases by orders, and reports the exact time of each event. So a benchmark can measure two
//! processes on one clock.
//!
//! Orders come on standard input, one per line: `acquire <lease>` and `release <lease>`. They are carried out
//! concurrently, so that one process can wait for many Leases. `tests/control-plane/orders` is the same in Go.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::select;
use tokio::sync::oneshot;

use super::clock::now;
use super::peer::{Hold, Peer};

/// Ends when standard input closes, or with the first error.
pub async fn obey(peer: impl Peer) -> Result<()> {
    let mut orders = BufReader::new(stdin()).lines();
    let (mut holds, mut releases) = (FuturesUnordered::new(), HashMap::new());
    loop {
        select! {
            order = orders.next_line() => {
                let Some(order) = order? else { return Ok(()) };
                match order.split_once(' ') {
                    Some(("acquire", lease)) => {
                        let (release, release_order) = oneshot::channel();
                        releases.insert(lease.to_owned(), release);
                        holds.push(acquire_and_release(&peer, lease.to_owned(), release_order));
                    }
                    Some(("release", lease)) => drop(releases.remove(lease)),
                    _ => bail!("an unknown order: {order}"),
                }
            }
            Some(ended) = holds.next() => ended?,
        }
    }
}

/// Acquires the Lease, and releases it when the sender of `release` is dropped.
async fn acquire_and_release(peer: &impl Peer, lease: String, release: oneshot::Receiver<()>) -> Result<()> {
    report("asking", &lease);
    let hold = peer.acquire(&lease).await.with_context(|| format!("acquiring {lease}"))?;
    report("acquired", &lease);
    let _ = release.await;
    report("releasing", &lease);
    hold.release().await.with_context(|| format!("releasing {lease}"))?;
    report("released", &lease);
    Ok(())
}

/// Prints that this event happens now.
fn report(event: &str, lease: &str) {
    println!("{}", json!({ "event": event, "lock": lease, "at": now() }));
}
