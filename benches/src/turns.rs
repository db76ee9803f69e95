//! Contenders that take turns for a while, and what they saw.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use kube_lease_lock::LeaseLock;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::stats::Samples;

/// One turn of one contender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) contender: usize,
    pub(crate) asked: Instant,
    pub(crate) held: Instant,
    pub(crate) released: Instant,
}

/// The turns of all, in order. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<Vec<Turn>>>);

impl Turns {
    pub(crate) fn push(&self, turn: Turn) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(turn);
    }

    /// What came since the last call.
    pub(crate) fn take(&self) -> Vec<Turn> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Contenders that ask for the lock, hold it for a while, and ask again, until they are dropped.
pub(crate) struct Crowd {
    pub(crate) turns: Turns,
    contenders: JoinSet<Result<()>>,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        Self { turns: Turns::default(), contenders: JoinSet::new() }
    }

    pub(crate) fn join(&mut self, lock: LeaseLock, work: Duration) {
        let (turns, contender) = (self.turns.clone(), self.contenders.len());
        self.contenders.spawn(async move {
            loop {
                turns.push(turn(&lock, contender, work).await?);
            }
        });
    }

    /// Lets them go on for so long.
    ///
    /// # Errors
    ///
    /// The error of the first contender that failed.
    pub(crate) async fn go_on(&mut self, time: Duration) -> Result<()> {
        tokio::select! {
            failed = self.contenders.join_next() => failed.unwrap_or(Ok(Ok(())))?,
            () = sleep(time) => Ok(()),
        }
    }
}

async fn turn(lock: &LeaseLock, contender: usize, work: Duration) -> Result<Turn> {
    let asked = Instant::now();
    let guard = lock.acquire().await?;
    let held = Instant::now();
    if !work.is_zero() {
        sleep(work).await;
    }
    let released = Instant::now();
    guard.release().await?;
    Ok(Turn { contender, asked, held, released })
}

/// From each release to the next holder, where that was another one.
pub(crate) fn handovers(turns: &[Turn]) -> Samples {
    let pairs = turns.windows(2).filter(|pair| pair[0].contender != pair[1].contender);
    pairs.map(|pair| pair[1].held.saturating_duration_since(pair[0].released)).collect()
}
