//! The waiting side: drives a [`Contention`] with requests, a watch and a timer until the claim is won.

use std::time::Duration;

use futures::FutureExt;
use futures::future::{Fuse, FusedFuture};

use crate::error::{AcquireError, RequestError};
use crate::identity::is_drawn;
use crate::lease::LeaseHolder;
use crate::pace::{Backoff, jittered};
use crate::protocol::{Answer, Claim, Contention, ContentionStep, Write};
use crate::record::Snapshot;
use crate::session::Session;
use crate::settings::CreateMode;
use crate::store::{Failure, UnderWay};
use crate::time::Moment;
use crate::watch::News;

/// How long to contend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Until the Lease is ours.
    Forever,
    /// Only if the Lease is free now.
    OneTry,
}

/// Why there is no claim.
#[derive(Debug)]
pub(crate) enum Setback {
    /// Somebody holds the Lease, and there is no patience to wait.
    Held(Option<Box<LeaseHolder>>),
    /// A request failed, and there is no patience to try again.
    Request(RequestError),
    /// It will not work later either.
    Hopeless(AcquireError),
}

impl From<AcquireError> for Setback {
    fn from(error: AcquireError) -> Self {
        Setback::Hopeless(error)
    }
}

/// Where a watch is forbidden, the Lease is read this often, less up to half.
const POLL: Duration = Duration::from_secs(2);

/// However long a server asks to be left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A watch that tells nothing for so long is checked with a read.
const SILENCE: Duration = Duration::from_secs(30);

/// Contends until the Lease is claimed. Dropped at any point, it leaves in `contention` what may be under way.
pub(crate) async fn contend(
    session: &mut Session,
    contention: &mut Contention,
    patience: Patience,
) -> Result<Claim, Setback> {
    let started = session.clock.now();
    let longest = session.longest_pause();
    let mut contender = Contender {
        session,
        contention,
        patience,
        started,
        reads: Backoff::new(longest),
        writes: Backoff::new(longest),
        joining: Fuse::terminated(),
        vacancy: None,
        heard_at: started,
        watch_doubted: false,
        holder: None,
    };
    contender.run().await
}

struct Contender<'a> {
    session: &'a mut Session,
    contention: &'a mut Contention,
    patience: Patience,
    started: Moment,
    reads: Backoff,
    /// Starts over when somebody else has got the Lease: then refusals were a matter of competition.
    writes: Backoff,
    /// Getting into the queue, where that is under way.
    joining: UnderWay<Snapshot>,
    /// Since when the Lease has been there to be claimed, and when our time for that comes.
    vacancy: Option<Vacancy>,
    /// When the Lease was last heard of.
    heard_at: Moment,
    /// The timer, not the watch, was the reason for the last look.
    watch_doubted: bool,
    /// Who was last seen to hold the Lease.
    holder: Option<String>,
}

struct Vacancy {
    since: Moment,
    /// Drawn after collisions.
    spread: Duration,
}

impl Contender<'_> {
    async fn run(&mut self) -> Result<Claim, Setback> {
        loop {
            if self.contention.is_judged() {
                self.check_create_mode()?;
            }
            if self.contention.may_claim()
                && let Some(news) = self.give_way().await
            {
                self.heard(news);
                continue;
            }
            match self.contention.step(self.session.clock.now(), self.session.clock.wall()) {
                ContentionStep::Look => self.look().await?,
                ContentionStep::Claim(write) => self.claim(write).await?,
                ContentionStep::Wait(until) => self.wait(until).await?,
                ContentionStep::Pause(until) => self.session.clock.sleep_until(until).await,
                ContentionStep::Won(claim) => {
                    self.session.turn.created |= claim.created;
                    self.session.turn.spread.won();
                    return Ok(claim);
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), Setback> {
        let known = self.contention.seen().is_some();
        let answer = match self.session.store.get(Duration::MAX).await {
            Ok(seen) => {
                self.reads.succeeded();
                self.heard_at = self.session.clock.now();
                let watcher = &mut self.session.turn.watcher;
                let untold = seen.as_ref().map_or(known, |seen| !watcher.has_told(seen.version.revision));
                if std::mem::take(&mut self.watch_doubted) && untold {
                    watcher.give_up();
                }
                Answer::Seen(seen)
            }
            Err(failure) => {
                let pause = failure.pause(&mut self.reads, &mut self.session.rng);
                self.endure(&failure, pause)?
            }
        };
        self.answered(answer);
        self.tell_holder();
        Ok(())
    }

    async fn claim(&mut self, write: Write) -> Result<(), Setback> {
        let answer = match self.session.store.write(&write, Duration::MAX).await {
            Ok(snapshot) => Answer::Written(snapshot),
            Err(failure) => self.claim_failed(&failure)?,
        };
        self.answered(answer);
        Ok(())
    }

    fn claim_failed(&mut self, failure: &Failure) -> Result<Answer, Setback> {
        let first = self.writes.is_fresh();
        let pause = failure.pause(&mut self.writes, &mut self.session.rng);
        match failure {
            Failure::Conflict(error) if first || self.patience == Patience::Forever => {
                tracing::debug!(%error, "the Lease has changed since it was looked at");
                if self.session.turn.watcher.is_open() || !first {
                    self.session.turn.spread.collided();
                }
                self.vacancy = None;
                Ok(Answer::Unknown { pause })
            }
            Failure::Conflict(_) | Failure::Unknown { .. } => self.endure(failure, pause),
            Failure::Denied(_) => {
                self.contention.refused();
                self.endure(failure, pause)
            }
        }
    }

    fn answered(&mut self, answer: Answer) {
        let (now, wall) = (self.session.clock.now(), self.session.clock.wall());
        self.contention.answered(answer, &mut self.session.turn.judge, now, wall);
    }

    /// What a failure means, if it can pass at all.
    fn endure(&mut self, failure: &Failure, pause: Duration) -> Result<Answer, Setback> {
        if let Failure::Denied(denial) = failure {
            return Err(AcquireError::from(denial.clone()).into());
        }
        let error = failure.error().clone();
        if self.patience == Patience::OneTry {
            return Err(Setback::Request(error));
        }
        let waited = self.started.until(self.session.clock.now());
        if !self.session.store.reached() && waited >= self.session.terms.lease_duration {
            return Err(AcquireError::Unreachable { waited, last: error }.into());
        }
        let pause = pause.min(LONGEST_PAUSE);
        tracing::warn!(%error, ?pause, "request failed");
        self.session.progress.failed(error);
        Ok(Answer::Unknown { pause })
    }

    fn check_create_mode(&self) -> Result<(), AcquireError> {
        let lease = || self.session.store.lease().clone();
        let exists = self.contention.seen().is_some();
        let ours = self.session.turn.created || self.contention.may_have_created();
        match self.session.create_mode {
            CreateMode::MustExist if !exists => Err(AcquireError::LeaseMissing(lease())),
            CreateMode::MustNotExist if exists && !ours => Err(AcquireError::LeaseExists(lease())),
            _ => Ok(()),
        }
    }

    /// Leaves a free Lease to those who are ahead in the queue. Who has no place in it also waits a little after
    /// collisions. Returns what the watch has told meanwhile.
    async fn give_way(&mut self) -> Option<News> {
        let now = self.session.clock.now();
        let turn = &mut *self.session.turn;
        let queue = self.contention.queue();
        let head_start = queue.map_or(Duration::ZERO, |queue| turn.line.head_start(queue));
        let has_place = queue.is_some_and(|queue| queue.contains(turn.line.ticket()));
        let rng = &mut self.session.rng;
        let vacancy =
            self.vacancy.get_or_insert_with(|| Vacancy { since: now, spread: turn.spread.pause(rng) });
        let spread = if has_place { Duration::ZERO } else { vacancy.spread };
        let due = vacancy.since + head_start + spread;
        if due <= now {
            return None;
        }
        if self.patience == Patience::OneTry {
            // The news may be old, and there is no patience for those to come: the claim will tell.
            self.session.clock.sleep_until(due).await;
            return None;
        }
        if let Some(Snapshot { version, .. }) = self.contention.seen() {
            turn.watcher.tend(version.revision, now);
        }
        tokio::select! {
            biased;
            news = turn.watcher.next() => Some(news),
            () = self.session.clock.sleep_until(due) => None,
        }
    }

    /// Waits for news from the watch, but not longer than makes sense without any.
    async fn wait(&mut self, until: Moment) -> Result<(), Setback> {
        if self.patience == Patience::OneTry {
            let holder = self.contention.seen().and_then(LeaseHolder::of);
            return Err(Setback::Held(holder.map(Box::new)));
        }
        self.vacancy = None;
        let now = self.session.clock.now();
        let join_at = self.get_in_line(now);
        let turn = &mut *self.session.turn;
        if let Some(seen) = self.contention.seen() {
            turn.watcher.tend(seen.version.revision, now);
        }
        let longest = if turn.watcher.is_open() { SILENCE } else { jittered(POLL, &mut self.session.rng) };
        let wake = until.min(self.heard_at + longest);
        tokio::select! {
            biased;
            news = turn.watcher.next() => self.heard(news),
            joined = &mut self.joining => self.joined(joined),
            () = self.session.clock.sleep_until(join_at.unwrap_or(wake).min(wake)) => {
                if wake <= self.session.clock.now() {
                    self.watch_doubted = true;
                    self.contention.doubt(self.session.clock.now());
                }
            }
        }
        Ok(())
    }

    /// Joins the queue where that is due, and tells when it will be. Not while another make holds the Lease, whose
    /// release may fail, once and for all, where somebody has written since.
    fn get_in_line(&mut self, now: Moment) -> Option<Moment> {
        let seen = self.contention.seen().filter(|_| self.joining.is_terminated())?;
        if !seen.record.holder.as_deref().is_some_and(is_drawn) {
            return None;
        }
        let turn = &mut *self.session.turn;
        let due = turn.line.join_at(seen, now, &mut self.session.rng)?;
        if due > now {
            return Some(due);
        }
        turn.line.joins(seen, now);
        let (store, on) = (self.session.store.clone(), seen.version.clone());
        let queue = seen.queue.joined_by(turn.line.ticket());
        self.joining = async move { store.join(&on, &queue).await }.boxed().fuse();
        None
    }

    /// Whatever came of it grants nothing, and is no reason to stop waiting.
    fn joined(&mut self, joined: Result<Snapshot, Failure>) {
        match joined {
            Ok(snapshot) => self.watched(snapshot.version.revision, Some(snapshot)),
            Err(failure) => {
                tracing::debug!(error = %failure.error(), "not in the queue");
                let line = &mut self.session.turn.line;
                match failure {
                    Failure::Conflict(_) => line.collided(self.session.clock.now()),
                    _ => line.widen(),
                }
            }
        }
    }

    fn heard(&mut self, news: News) {
        self.session.heard(&news);
        self.heard_at = self.session.clock.now();
        match news {
            News::Changed(snapshot) => self.watched(snapshot.version.revision, Some(snapshot)),
            News::Deleted(revision) => self.watched(revision, None),
            // Something may have been missed. A claim would find that out.
            News::Broken(_) if !self.contention.may_claim() => {
                self.contention.doubt(self.session.turn.watcher.due());
            }
            News::Broken(_) | News::Forbidden(_) => {}
        }
    }

    fn watched(&mut self, revision: u64, seen: Option<Snapshot>) {
        let (now, wall) = (self.session.clock.now(), self.session.clock.wall());
        self.contention.watched(revision, seen, &mut self.session.turn.judge, now, wall);
        self.tell_holder();
    }

    fn tell_holder(&mut self) {
        // A claim of our own that went unanswered is nobody to wait for.
        let holder = self.contention.seen().and_then(LeaseHolder::of);
        let holder = holder.filter(|holder| holder.identity != self.session.me);
        let identity = holder.as_ref().map(|holder| holder.identity.clone());
        if identity.is_some() && !self.contention.may_claim() {
            self.writes.succeeded();
        }
        if identity != self.holder {
            if let (Some(holder), Patience::Forever) = (&identity, self.patience) {
                tracing::info!(holder, "waiting");
            }
            self.holder = identity;
        }
        if self.contention.is_judged() {
            self.session.progress.saw(holder);
        }
    }
}
