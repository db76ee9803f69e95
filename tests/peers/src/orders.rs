//! Acquires and releases Leases when it is ordered to, and tells exactly when what happened: that is how a benchmark
//! measures two processes on one clock.
//!
//! Orders come on standard input, one per line: `acquire <lease>` and `release <lease>`. They are obeyed side by side, so
//! that one process can wait for many Leases. `tests/control-plane/orders` is the same in Go.

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
    let (mut turns, mut endings) = (FuturesUnordered::new(), HashMap::new());
    loop {
        select! {
            order = orders.next_line() => {
                let Some(order) = order? else { return Ok(()) };
                match order.split_once(' ') {
                    Some(("acquire", lease)) => {
                        let (ending, end) = oneshot::channel();
                        endings.insert(lease.to_owned(), ending);
                        turns.push(turn(&peer, lease.to_owned(), end));
                    }
                    Some(("release", lease)) => drop(endings.remove(lease)),
                    _ => bail!("an unknown order: {order}"),
                }
            }
            Some(ended) = turns.next() => ended?,
        }
    }
}

/// Holds the Lease until the other half of `end` is dropped.
async fn turn(peer: &impl Peer, lease: String, end: oneshot::Receiver<()>) -> Result<()> {
    tell("asking", &lease);
    let hold = peer.acquire(&lease).await.with_context(|| format!("acquiring {lease}"))?;
    tell("acquired", &lease);
    let _ = end.await;
    tell("releasing", &lease);
    hold.release().await.with_context(|| format!("releasing {lease}"))?;
    tell("released", &lease);
    Ok(())
}

/// Says that this happens now.
fn tell(event: &str, lease: &str) {
    println!("{}", json!({ "event": event, "lock": lease, "at": now() }));
}
