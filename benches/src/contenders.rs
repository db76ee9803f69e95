//! Contenders that take turns for a while, and their turns.

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
    pub(crate) called: Instant,
    pub(crate) acquired: Instant,
    pub(crate) released: Instant,
}

/// The turns of all contenders. It is cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<Vec<Turn>>>);

impl Turns {
    pub(crate) fn push(&self, turn: Turn) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(turn);
    }

    /// The turns since the last call, in the order of the holds.
    pub(crate) fn take(&self) -> Vec<Turn> {
        let mut turns = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        turns.sort_by_key(|turn| turn.acquired);
        turns
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// How long a contender holds the lock, and how long it pauses.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pace {
    /// How long it holds the lock.
    pub(crate) hold: Duration,
    /// How long it pauses before it acquires the lock again.
    pub(crate) pause: Duration,
}

/// Contenders that acquire the lock again and again, until this is dropped.
pub(crate) struct Contenders {
    pub(crate) turns: Turns,
    contenders: JoinSet<Result<()>>,
}

impl Contenders {
    pub(crate) fn new() -> Self {
        Self { turns: Turns::default(), contenders: JoinSet::new() }
    }

    pub(crate) fn add(&mut self, lock: LeaseLock, pace: Pace) {
        let (turns, contender) = (self.turns.clone(), self.contenders.len());
        self.contenders.spawn(async move {
            loop {
                turns.push(turn(&lock, contender, pace.hold).await?);
                pause(pace.pause).await;
            }
        });
    }

    /// Waits for this time while the contenders take turns.
    ///
    /// # Errors
    ///
    /// The error of the first contender that failed.
    pub(crate) async fn run_for(&mut self, time: Duration) -> Result<()> {
        tokio::select! {
            failed = self.contenders.join_next() => failed.unwrap_or(Ok(Ok(())))?,
            () = sleep(time) => Ok(()),
        }
    }
}

async fn turn(lock: &LeaseLock, contender: usize, hold: Duration) -> Result<Turn> {
    let called = Instant::now();
    let guard = lock.acquire().await?;
    let acquired = Instant::now();
    pause(hold).await;
    let released = Instant::now();
    guard.release().await?;
    Ok(Turn { contender, called, acquired, released })
}

/// Does not sleep if the time is zero, because even the shortest sleep takes a millisecond.
async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

/// The longest wait within a time, including the waits that have not ended at its end.
pub(crate) fn longest_wait(turns: &[Turn], contenders: usize, time: Range<Instant>) -> Duration {
    let ended = turns.iter().map(|turn| turn.acquired - turn.called);
    let unfinished = (0..contenders).map(|contender| {
        let own = turns.iter().filter(|turn| turn.contender == contender);
        time.end.saturating_duration_since(own.map(|turn| turn.released).max().unwrap_or(time.start))
    });
    ended.chain(unfinished).max().unwrap_or_default()
}

/// The time from each release to the next acquisition, if that was by another contender.
pub(crate) fn handovers(turns: &[Turn]) -> Samples {
    let pairs = turns.windows(2).filter(|pair| pair[0].contender != pair[1].contender);
    pairs.map(|pair| pair[1].acquired.saturating_duration_since(pair[0].released)).collect()
}
