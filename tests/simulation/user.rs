//! A task that uses a lock: acquires, works, releases, and gives up now and then.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use kube_lease_lock::testing::{Fault, Verb};
use kube_lease_lock::{AcquireError, Hold, LeaseGuard, TryAcquireError, WithError};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use crate::chance::Chance;
use crate::node::Node;
use crate::story::Story;

/// Longer than anything may take once nothing is wrong any more.
const STUCK: Duration = Duration::from_secs(600);

pub(crate) struct User {
    pub(crate) node: Arc<Node>,
    pub(crate) story: Story,
    pub(crate) chance: Chance,
    pub(crate) until: Instant,
    /// The longest that it does without the lock, in milliseconds.
    pub(crate) leisure: u64,
}

impl User {
    pub(crate) async fn live(mut self) {
        let node = self.node.clone();
        node.users.run(async { self.toil().await }).await;
    }

    async fn toil(&mut self) {
        while Instant::now() < self.until {
            sleep(self.chance.millis(0..=self.leisure)).await;
            if self.chance.knows(2) && self.chance.one_in(8) {
                self.give_up_while_claiming().await;
                continue;
            }
            match self.chance.number(0..=9) {
                0 => self.try_once().await,
                1 => self.use_with().await,
                2 => self.give_up_in_time().await,
                3 => self.give_up_at_a_poll().await,
                _ => self.acquire().await,
            }
        }
        // Everything is healed by now: nobody may be stuck.
        match timeout(STUCK, self.node.lock.acquire()).await {
            Err(_) => self.story.broken(format!("stuck: a waiter on {}", self.node.name)),
            Ok(Err(error)) => self.refused(&error).await,
            Ok(Ok(guard)) => self.work(guard, Duration::from_millis(100)).await,
        }
    }

    async fn acquire(&mut self) {
        let patience = self.until.max(Instant::now()) - Instant::now() + STUCK;
        let wait = self.story.waits(&self.node);
        let outcome = timeout(patience, self.node.lock.acquire()).await;
        self.story.waited(wait);
        match outcome {
            Err(_) => self.story.broken(format!("stuck: a waiter on {}", self.node.name)),
            Ok(Err(error)) => self.refused(&error).await,
            Ok(Ok(guard)) => self.enjoy(guard).await,
        }
    }

    async fn try_once(&mut self) {
        match self.node.lock.try_acquire().await {
            Ok(guard) => self.enjoy(guard).await,
            Err(TryAcquireError::Acquire(error)) => self.refused(&error).await,
            Err(_) => sleep(Duration::from_millis(500)).await,
        }
    }

    async fn give_up_in_time(&mut self) {
        let patience = self.patience();
        self.give_up_after(patience).await;
    }

    /// If the Lease is free: the read takes as long as the claim.
    async fn give_up_while_claiming(&mut self) {
        let latency = self.node.plan.latency;
        if self.node.plan.late_claims {
            let late = Fault::delay_before(self.chance.millis(50..=1_000));
            self.node.disturb(vec![late.on(Verb::Apply).times(1)]);
        }
        let patience = latency.mul_f64(1.5) + self.chance.millis(0..=1);
        self.give_up_after(patience).await;
    }

    async fn give_up_after(&mut self, patience: Duration) {
        match self.node.lock.acquire_timeout(patience).await {
            Ok(guard) => self.enjoy(guard).await,
            Err(AcquireError::TimedOut { .. }) => self.story.count("given up", "in time"),
            Err(error) => self.refused(&error).await,
        }
    }

    async fn give_up_at_a_poll(&mut self) {
        let polls = self.chance.number(1..=6);
        let node = self.node.clone();
        match at_most(polls, node.lock.acquire()).await {
            None => self.story.count("given up", "at some poll"),
            Some(Ok(guard)) => self.enjoy(guard).await,
            Some(Err(error)) => self.refused(&error).await,
        }
    }

    /// Some give up while their claim is on its way.
    fn patience(&mut self) -> Duration {
        let longest = self.chance.pick(&[100, 8_000, 15_000]);
        self.chance.millis(0..=longest)
    }

    async fn use_with(&mut self) {
        let (node, patience) = (self.node.clone(), self.patience() + self.patience());
        let work = self.chance.millis(0..=4_000);
        let outcome = timeout(patience, node.lock.with(|held| self.guarded(held, work))).await;
        match outcome {
            Err(_) => self.story.count("given up", "using `with`"),
            Ok(Err(WithError::Acquire(error))) => self.refused(&error).await,
            Ok(_) => {}
        }
    }

    async fn guarded(&mut self, held: Hold, work: Duration) -> Result<(), ()> {
        self.story.granted(&self.node, &held);
        self.watch_over(&held, work).await;
        Ok(())
    }

    async fn enjoy(&mut self, guard: LeaseGuard) {
        let work = match self.chance.number(0..=9) {
            0 => Duration::ZERO,
            1..=4 => self.chance.millis(1..=4_000),
            _ => self.chance.millis(4_000..=30_000),
        };
        self.work(guard, work).await;
    }

    async fn work(&mut self, guard: LeaseGuard, work: Duration) {
        let hold = self.story.granted(&self.node, guard.hold());
        self.watch_over(guard.hold(), work).await;
        if self.chance.knows(2) && self.chance.one_in(8) {
            // On a thread that knows no runtime.
            return std::thread::spawn(|| drop(guard)).join().unwrap();
        }
        if self.chance.knows(3) && self.chance.one_in(8) {
            return self.leave_to_nobody(guard).await;
        }
        match self.chance.number(0..=3) {
            0 => drop(guard),
            1 => drop(timeout(self.chance.millis(0..=300), guard.release()).await),
            _ => {
                if guard.release().await.is_ok() {
                    self.story.released(hold);
                }
            }
        }
    }

    /// Somebody is in line behind it, and goes away just when it lets go.
    async fn leave_to_nobody(&mut self, guard: LeaseGuard) {
        let lock = self.node.lock.clone();
        let waiting = tokio::spawn(async move { lock.acquire().await });
        yield_now().await;
        drop(guard);
        for _ in 0..self.chance.number(0..=4) {
            yield_now().await;
        }
        waiting.abort();
        if let Ok(Ok(guard)) = waiting.await {
            self.story.granted(&self.node, guard.hold());
        }
    }

    /// Works, and looks at the hold from time to time, as a careful owner does.
    async fn watch_over(&mut self, held: &Hold, work: Duration) {
        let (token, end) = (held.token(), Instant::now() + work);
        let mut over = false;
        while Instant::now() < end && !token.is_cancelled() {
            let nap = self.chance.millis(1..=3_000).min(end - Instant::now());
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = sleep(nap) => {}
            }
            over = self.look(held, over);
        }
        self.look(held, over);
    }

    fn look(&self, held: &Hold, over: bool) -> bool {
        let (fired, is_held, remaining) = (held.token().is_cancelled(), held.is_held(), held.remaining());
        if is_held && (fired || over) {
            self.story.broken(format!("over: {} is held after its end", held.holder_identity()));
        }
        if remaining > self.node.plan.renew_deadline {
            self.story.broken(format!("over: {} remains for {remaining:?}", held.holder_identity()));
        }
        if !is_held && !held.token().is_cancelled() {
            self.story
                .broken(format!("over: {} is not held, and its token did not fire", held.holder_identity()));
        }
        !is_held
    }

    async fn refused(&self, error: &AcquireError) {
        self.story.note(&self.node.name, || format!("refused: {error}"));
        let what = match error {
            AcquireError::Forbidden(_) => "forbidden",
            AcquireError::Unreachable { .. } => "unreachable",
            AcquireError::TaskEnded(_) if self.node.ailing.load(Ordering::Relaxed) => "the task panicked",
            _ => {
                return self
                    .story
                    .broken(format!("refused: {} could not acquire: {error:?}", self.node.name));
            }
        };
        self.story.count("refused", what);
        sleep(Duration::from_secs(1)).await;
    }
}

/// Polls so many times, then drops the future wherever it is.
async fn at_most<F: Future>(polls: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            left -= 1;
            if left == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}
