//! A task that uses a lock: it acquires, works and releases, and sometimes gives up.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use kube_lease_lock::testing::{Fault, Verb};
use kube_lease_lock::{AcquireError, Hold, LeaseGuard, Once, OnceError, TryAcquireError, WithError};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use crate::node::Node;
use crate::rng::Rng;
use crate::scenario::Usage;
use crate::trace::Trace;

/// Longer than any operation may take after the faults have ended.
const STUCK_AFTER: Duration = Duration::from_secs(600);

/// Nobody may wait for more rounds of all nodes.
const MAX_ROUNDS: u32 = 4;

/// Work has failed.
struct Failed;

pub(crate) struct Workload {
    pub(crate) node: Arc<Node>,
    pub(crate) trace: Trace,
    pub(crate) rng: Rng,
    pub(crate) until: Instant,
    /// The longest pause between two operations, in milliseconds.
    pub(crate) max_idle_ms: u64,
    pub(crate) usage: Usage,
    pub(crate) once_in: Option<Duration>,
    /// Under contention, the tasks stop after so many holds of all nodes, if that is not too early.
    pub(crate) max_holds: usize,
    pub(crate) not_before: Instant,
    /// The time that all nodes need for one turn each, without faults.
    pub(crate) round: Duration,
}

impl Workload {
    pub(crate) async fn run(mut self) {
        let node = self.node.clone();
        node.workload_machine.run(async { self.run_operations().await }).await;
    }

    async fn run_operations(&mut self) {
        match self.usage {
            Usage::Random => {}
            Usage::Steady { hold, rest } => return self.contend(hold, rest).await,
            Usage::OneHolds => {
                sleep(self.rng.millis(0..=2_000)).await;
                return self.acquire_and_hold(None).await;
            }
        }
        while Instant::now() < self.until {
            sleep(self.rng.millis(0..=self.max_idle_ms)).await;
            if self.rng.includes(2) && self.rng.one_in(8) {
                self.give_up_while_claiming().await;
                continue;
            }
            if let Some(period) = self.once_in
                && self.rng.one_in(2)
            {
                self.do_once(period).await;
                continue;
            }
            match self.rng.number(0..=9) {
                0 => self.try_once().await,
                1 => self.use_with().await,
                2 => self.give_up_in_time().await,
                3 => self.give_up_at_some_poll().await,
                _ => self.acquire().await,
            }
        }
        if self.once_in.is_some() {
            self.do_once_for("the end", STUCK_AFTER).await;
        }
        // The faults have ended, so every waiter has to succeed.
        match timeout(STUCK_AFTER, self.node.lock.acquire()).await {
            Err(_) => self.trace.violation(format!("progress: a waiter on {}", self.node.name)),
            Ok(Err(error)) => self.acquire_failed(&error).await,
            Ok(Ok(guard)) => self.hold_and_release(guard, Duration::from_millis(100)).await,
        }
    }

    async fn contend(&mut self, hold: Duration, rest: Duration) {
        let decided = |trace: &Trace| trace.data().holds.len() >= self.max_holds;
        while Instant::now() < self.until && (Instant::now() < self.not_before || !decided(&self.trace)) {
            self.acquire_and_hold(Some(hold)).await;
            sleep(rest).await;
        }
    }

    /// Holds for that time, or until the faults end.
    async fn acquire_and_hold(&self, span: Option<Duration>) {
        let limit =
            self.until.max(Instant::now()) - Instant::now() + STUCK_AFTER.max(MAX_ROUNDS * self.round);
        let wait = self.trace.wait_begins(&self.node);
        let outcome = timeout(limit, self.node.lock.acquire()).await;
        self.trace.wait_ends(wait);
        let guard = match outcome {
            Err(_) => return self.trace.violation(format!("progress: a waiter on {}", self.node.name)),
            Ok(Err(error)) => return self.acquire_failed(&error).await,
            Ok(Ok(guard)) => guard,
        };
        let hold = self.trace.granted(&self.node, guard.hold());
        let rest = self.until.max(Instant::now()) - Instant::now();
        match span.unwrap_or(rest) {
            Duration::ZERO => yield_now().await,
            span => sleep(span).await,
        }
        if guard.release().await.is_ok() {
            self.trace.released(hold);
        }
    }

    async fn acquire(&mut self) {
        let limit = self.until.max(Instant::now()) - Instant::now() + STUCK_AFTER;
        let wait = self.trace.wait_begins(&self.node);
        let outcome = timeout(limit, self.node.lock.acquire()).await;
        self.trace.wait_ends(wait);
        match outcome {
            Err(_) => self.trace.violation(format!("progress: a waiter on {}", self.node.name)),
            Ok(Err(error)) => self.acquire_failed(&error).await,
            Ok(Ok(guard)) => self.hold_for_a_while(guard).await,
        }
    }

    async fn try_once(&mut self) {
        match self.node.lock.try_acquire().await {
            Ok(guard) => self.hold_for_a_while(guard).await,
            Err(TryAcquireError::Acquire(error)) => self.acquire_failed(&error).await,
            Err(_) => sleep(Duration::from_millis(500)).await,
        }
    }

    async fn give_up_in_time(&mut self) {
        let limit = self.draw_limit();
        self.give_up_after(limit).await;
    }

    /// Gives up after the read, when the claim is in flight if the Lease is free.
    async fn give_up_while_claiming(&mut self) {
        let latency = self.node.config.latency + 2 * self.node.config.distance;
        if self.node.config.late_claims {
            let late = Fault::delay_before(self.rng.millis(50..=1_000));
            self.node.set_faults(vec![late.on(Verb::Apply).times(1)]);
        }
        let limit = latency.mul_f64(1.5) + self.rng.millis(0..=1);
        self.give_up_after(limit).await;
    }

    async fn give_up_after(&mut self, limit: Duration) {
        match self.node.lock.acquire_timeout(limit).await {
            Ok(guard) => self.hold_for_a_while(guard).await,
            Err(AcquireError::TimedOut { .. }) => self.trace.count("given up", "at a timeout"),
            Err(error) => self.acquire_failed(&error).await,
        }
    }

    async fn give_up_at_some_poll(&mut self) {
        let polls = self.rng.number(1..=6);
        let node = self.node.clone();
        match at_most(polls, node.lock.acquire()).await {
            None => self.trace.count("given up", "by a drop after some polls"),
            Some(Ok(guard)) => self.hold_for_a_while(guard).await,
            Some(Err(error)) => self.acquire_failed(&error).await,
        }
    }

    /// A short limit can end while the claim is in flight.
    fn draw_limit(&mut self) -> Duration {
        let longest = self.rng.pick(&[100, 8_000, 15_000]);
        self.rng.millis(0..=longest)
    }

    async fn use_with(&mut self) {
        let (node, limit) = (self.node.clone(), self.draw_limit() + self.draw_limit());
        let work = self.rng.millis(0..=4_000);
        let outcome = timeout(limit, node.lock.with(|hold| self.use_hold(hold, work))).await;
        match outcome {
            Err(_) => self.trace.count("given up", "by a drop of `with`"),
            Ok(Err(WithError::Acquire(error))) => self.acquire_failed(&error).await,
            Ok(_) => {}
        }
    }

    async fn use_hold(&mut self, hold: Hold, work: Duration) -> Result<(), ()> {
        self.trace.granted(&self.node, &hold);
        self.check_while_holding(&hold, work).await;
        Ok(())
    }

    /// Does the work of this period or of one shortly before.
    async fn do_once(&mut self, period: Duration) {
        let now = self.trace.data().since_start(Instant::now());
        let number = u64::try_from(now.as_nanos() / period.as_nanos()).unwrap();
        let key = number.saturating_sub(self.rng.pick(&[0, 0, 1, 2]));
        let patience = self.until.max(Instant::now()) - Instant::now() + STUCK_AFTER;
        let limit = if self.rng.one_in(6) { self.draw_limit() } else { patience };
        self.do_once_for(&key.to_string(), limit).await;
    }

    async fn do_once_for(&mut self, key: &str, limit: Duration) {
        let (node, trace) = (self.node.clone(), self.trace.clone());
        let outcome = timeout(limit, node.lock.once(key, |hold| self.do_work(key, hold))).await;
        let what = match outcome {
            Err(_) if limit >= STUCK_AFTER => {
                return trace.violation(format!("progress: a waiter on {}", node.name));
            }
            Err(_) => "given up",
            Ok(Ok(Ok(Once::Done(run)))) => {
                trace.data().runs[run].confirmed = true;
                "done"
            }
            Ok(Ok(Ok(Once::AlreadyDone { by, .. }))) => {
                trace.data().already_done.push((key.to_owned(), by));
                "done already"
            }
            Ok(Ok(Err(Failed))) => "failed",
            Ok(Err(OnceError::Acquire(error))) => return self.acquire_failed(&error).await,
            Ok(Err(OnceError::Lost(_))) => "lost",
            Ok(Err(OnceError::Unconfirmed { source: Some(_), .. })) => "not confirmed",
            Ok(Err(error)) => {
                return trace.violation(format!("no_unexpected_error: {}: {error}", node.name));
            }
        };
        trace.count("work", what);
    }

    /// Does the work of a key, which fails now and then. Returns the number of this run.
    async fn do_work(&mut self, key: &str, hold: Hold) -> Result<usize, Failed> {
        let run = self.trace.work_begins(&self.node, key, &hold);
        let work = self.rng.millis(0..=4_000);
        self.check_while_holding(&hold, work).await;
        if self.rng.one_in(6) {
            return Err(Failed);
        }
        self.trace.data().runs[run].ended = true;
        Ok(run)
    }

    async fn hold_for_a_while(&mut self, guard: LeaseGuard) {
        let work = match self.rng.number(0..=9) {
            0 => Duration::ZERO,
            1..=4 => self.rng.millis(1..=4_000),
            _ => self.rng.millis(4_000..=30_000),
        };
        self.hold_and_release(guard, work).await;
    }

    async fn hold_and_release(&mut self, guard: LeaseGuard, work: Duration) {
        let hold = self.trace.granted(&self.node, guard.hold());
        self.check_while_holding(guard.hold(), work).await;
        if self.rng.includes(2) && self.rng.one_in(8) {
            // On a thread without a runtime.
            return std::thread::spawn(|| drop(guard)).join().unwrap();
        }
        if self.rng.includes(3) && self.rng.one_in(8) {
            return self.release_to_an_aborted_waiter(guard).await;
        }
        match self.rng.number(0..=3) {
            0 => drop(guard),
            1 => drop(timeout(self.rng.millis(0..=300), guard.release()).await),
            _ => {
                if guard.release().await.is_ok() {
                    self.trace.released(hold);
                }
            }
        }
    }

    /// Releases while another task of the process waits, and aborts that task at the same time.
    async fn release_to_an_aborted_waiter(&mut self, guard: LeaseGuard) {
        let lock = self.node.lock.clone();
        let waiting = tokio::spawn(async move { lock.acquire().await });
        yield_now().await;
        drop(guard);
        for _ in 0..self.rng.number(0..=4) {
            yield_now().await;
        }
        waiting.abort();
        if let Ok(Ok(guard)) = waiting.await {
            self.trace.granted(&self.node, guard.hold());
        }
    }

    /// Works, and checks the hold from time to time.
    async fn check_while_holding(&mut self, hold: &Hold, work: Duration) {
        let (token, end) = (hold.token(), Instant::now() + work);
        let mut over = false;
        while Instant::now() < end && !token.is_cancelled() {
            let nap = self.rng.millis(1..=3_000).min(end - Instant::now());
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = sleep(nap) => {}
            }
            over = self.check_hold(hold, over);
        }
        self.check_hold(hold, over);
    }

    fn check_hold(&self, hold: &Hold, was_over: bool) -> bool {
        let (cancelled, is_held, remaining) = (hold.token().is_cancelled(), hold.is_held(), hold.remaining());
        if is_held && (cancelled || was_over) {
            self.trace
                .violation(format!("no_hold_after_end: {} is held after its end", hold.holder_identity()));
        }
        if remaining > self.node.config.renew_deadline {
            self.trace.violation(format!(
                "no_hold_after_end: {} remains for {remaining:?}",
                hold.holder_identity()
            ));
        }
        if !is_held && !hold.token().is_cancelled() {
            self.trace.violation(format!(
                "no_hold_after_end: {} is not held, and its token is not cancelled",
                hold.holder_identity()
            ));
        }
        !is_held
    }

    async fn acquire_failed(&self, error: &AcquireError) {
        self.trace.log(&self.node.name, || format!("refused: {error}"));
        let what = match error {
            AcquireError::Forbidden(_) => "forbidden",
            AcquireError::Unreachable { .. } => "unreachable",
            AcquireError::TaskEnded(_) if self.node.may_have_panicked.load(Ordering::Relaxed) => {
                "the task panicked"
            }
            _ => {
                return self.trace.violation(format!(
                    "no_unexpected_error: {} could not acquire: {error:?}",
                    self.node.name
                ));
            }
        };
        self.trace.count("refused", what);
        sleep(Duration::from_secs(1)).await;
    }
}

/// Polls a future at most `polls` times, then drops it.
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
