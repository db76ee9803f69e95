//! Contenders that take turns for a while, and what they saw.

use std::ops::Range;
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

/// The turns of all. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<Vec<Turn>>>);

impl Turns {
    pub(crate) fn push(&self, turn: Turn) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(turn);
    }

    /// What came since the last call, in the order of the holds.
    pub(crate) fn take(&self) -> Vec<Turn> {
        let mut turns = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        turns.sort_by_key(|turn| turn.held);
        turns
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// What a contender does with the lock, and without it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manner {
    /// How long it holds the lock.
    pub(crate) work: Duration,
    /// How long it leaves the lock to others before it asks again.
    pub(crate) rest: Duration,
}

/// Contenders that ask for the lock again and again, until they are dropped.
pub(crate) struct Crowd {
    pub(crate) turns: Turns,
    contenders: JoinSet<Result<()>>,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        Self { turns: Turns::default(), contenders: JoinSet::new() }
    }

    pub(crate) fn join(&mut self, lock: LeaseLock, manner: Manner) {
        let (turns, contender) = (self.turns.clone(), self.contenders.len());
        self.contenders.spawn(async move {
            loop {
                turns.push(turn(&lock, contender, manner.work).await?);
                pause(manner.rest).await;
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
    pause(work).await;
    let released = Instant::now();
    guard.release().await?;
    Ok(Turn { contender, asked, held, released })
}

/// Even the shortest sleep takes a millisecond.
async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

/// The longest wait within a time, over or still under way at its end.
pub(crate) fn longest_wait(turns: &[Turn], contenders: usize, time: Range<Instant>) -> Duration {
    let over = turns.iter().map(|turn| turn.held - turn.asked);
    let under_way = (0..contenders).map(|contender| {
        let own = turns.iter().filter(|turn| turn.contender == contender);
        time.end.saturating_duration_since(own.map(|turn| turn.released).max().unwrap_or(time.start))
    });
    over.chain(under_way).max().unwrap_or_default()
}

/// From each release to the next holder, where that was another one.
pub(crate) fn handovers(turns: &[Turn]) -> Samples {
    let pairs = turns.windows(2).filter(|pair| pair[0].contender != pair[1].contender);
    pairs.map(|pair| pair[1].held.saturating_duration_since(pair[0].released)).collect()
}
