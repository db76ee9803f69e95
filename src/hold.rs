//! The holding side: renews, notices loss, and releases when told to.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Fuse};
use tokio::sync::oneshot;

use crate::contend::Setback;
use crate::error::LossReason;
use crate::held::Held;
use crate::lease::FencingToken;
use crate::pace::{Backoff, jittered};
use crate::protocol::{Answer, Claim, Holder, Loss, Step};
use crate::record::{Record, Snapshot};
use crate::release;
use crate::session::{Session, Stop};
use crate::store::{Denial, Failure, Store, UnderWay};
use crate::time::Moment;
use crate::watch::News;

/// A watch that was open before the claim and does not tell of it within this time is dead.
const ECHO: Duration = Duration::from_secs(1);

/// Holds what `claim` won until it is lost or the order to stop comes. Returns that order, carried out.
pub(crate) async fn hold(
    session: &mut Session,
    claim: Claim,
    claimed: oneshot::Sender<Result<Held, Setback>>,
    mut stop: oneshot::Receiver<Stop>,
) -> Option<Stop> {
    let revision = claim.snapshot.version.revision;
    let record = claim.snapshot.record.clone();
    let first_renewal = claim.sent + jittered(session.terms.renew_interval, &mut session.rng);
    let holder = Holder::new(session.me.clone(), session.terms, claim.sent, claim.snapshot)
        .renewing_from(first_renewal);
    let held = Held::new(
        session.store.lease().clone(),
        session.me.clone(),
        FencingToken::from(revision),
        session.clock.clone(),
        holder.deadline(),
    );
    // However this task ends, in a panic or with its runtime, the token fires.
    let _last_will = scopeguard::guard(held.clone(), |held| held.end(LossReason::TaskEnded));
    tracing::info!(fencing_token = revision, transitions = record.transitions, "acquired");
    // Where nobody waits for it any more, the order to stop is on its way.
    let _ = claimed.send(Ok(held.clone()));

    let mut keeper = Keeper::new(session, holder, held.clone());
    match keeper.keep(&mut stop).await {
        End::Lost(loss) => {
            let failure = keeper.last_failure.take();
            // It may not have told what it should have.
            session.turn.watcher.close();
            report_loss(&session.store, &held, &record, loss, failure).await;
            None
        }
        End::Stop(mut order) => {
            let holder = keeper.holder;
            // Who looks at the clock may be the first to know, and give the order because of it.
            let over = holder.deadline() <= session.clock.now();
            held.end(if over { release::reason(Loss::Deadline) } else { LossReason::Released });
            let outcome = release::let_go(session, holder).await;
            if let Some(done) = order.as_mut().and_then(|order| order.done.take()) {
                // Fails where nobody waits for it any more.
                let _ = done.send(outcome);
            }
            order
        }
    }
}

enum End {
    Lost(Loss),
    Stop(Option<Stop>),
}

struct Keeper<'a> {
    session: &'a mut Session,
    holder: Holder,
    held: Held,
    request: UnderWay<Answer>,
    /// The revision that a watch opened before has to tell, and by when.
    echo: (u64, Moment),
    backoff: Backoff,
    last_failure: Option<Failure>,
}

impl<'a> Keeper<'a> {
    fn new(session: &'a mut Session, holder: Holder, held: Held) -> Self {
        let pause = session.longest_pause();
        let echo = (holder.revision(), session.clock.now() + ECHO);
        Self {
            session,
            holder,
            held,
            request: Fuse::terminated(),
            echo,
            backoff: Backoff::new(pause),
            last_failure: None,
        }
    }

    async fn keep(&mut self, stop: &mut oneshot::Receiver<Stop>) -> End {
        loop {
            let now = self.session.clock.now();
            let idle_until = match self.holder.step(now, self.session.clock.wall()) {
                Step::Lost(loss) => return End::Lost(loss),
                Step::Wait(until) => until,
                Step::Look => {
                    self.request = look(self.session.store.clone(), now.until(self.holder.deadline())).fuse();
                    continue;
                }
                Step::Renew(write) => {
                    let left = now.until(self.holder.deadline());
                    let store = self.session.store.clone();
                    let renewal = async move { store.write(&write, left).await.map(Answer::Written) };
                    self.request = renewal.boxed().fuse();
                    continue;
                }
            };
            if !self.held.set_deadline(self.holder.deadline()) {
                // By the guard, which is being dropped, or by a reader of the clock.
                return stop.try_recv().map_or(End::Lost(Loss::Deadline), |order| End::Stop(Some(order)));
            }
            let watcher = &mut self.session.turn.watcher;
            let (claim, echo_due) = self.echo;
            if !watcher.has_told(claim) && echo_due <= now {
                watcher.give_up();
            }
            watcher.tend(self.holder.revision(), now);
            let wake = match watcher.is_open() {
                true if watcher.has_told(claim) => idle_until,
                true => idle_until.min(echo_due),
                false => idle_until.min(watcher.due()),
            };
            tokio::select! {
                biased;
                order = &mut *stop => return End::Stop(order.ok()),
                () = self.session.clock.sleep_until(self.holder.deadline()) => {}
                answer = &mut self.request => self.answered(answer),
                news = watcher.next() => self.heard(news),
                () = self.session.clock.sleep_until(wake) => {}
            }
        }
    }

    fn answered(&mut self, answer: Result<Answer, Failure>) {
        let now = self.session.clock.now();
        let answer = match answer {
            Ok(answer) => {
                if let Answer::Written(snapshot) = &answer {
                    self.renewed(snapshot);
                }
                answer
            }
            Err(failure) => {
                let left = now.until(self.holder.deadline());
                let answer = release::answer_to(&failure, left, &mut self.backoff, &mut self.session.rng);
                if matches!(failure, Failure::Conflict(_)) {
                    tracing::debug!(error = %failure.error(), "the Lease has changed since the last renewal");
                } else {
                    tracing::warn!(error = %failure.error(), ?left, "renewal failed");
                }
                self.last_failure = Some(failure);
                answer
            }
        };
        self.holder.answered(answer, now);
    }

    fn heard(&mut self, news: News) {
        self.session.heard(&news);
        let now = self.session.clock.now();
        match news {
            News::Changed(snapshot) => {
                self.holder.watched(snapshot, now);
            }
            News::Deleted(revision) => {
                self.holder.watched_deletion(revision, now);
            }
            News::Broken(_) | News::Forbidden(_) => {}
        }
    }

    fn renewed(&mut self, snapshot: &Snapshot) {
        tracing::debug!(resource_version = snapshot.version.revision, "renewed");
        self.backoff.succeeded();
        self.last_failure = None;
        // A watch that has not told of one renewal by the time of the next is dead.
        if !self.session.turn.watcher.has_told(self.holder.revision()) {
            self.session.turn.watcher.give_up();
        }
    }
}

fn look(store: Arc<Store>, left: Duration) -> BoxFuture<'static, Result<Answer, Failure>> {
    async move { store.get(left).await.map(Answer::Seen) }.boxed()
}

async fn report_loss(store: &Store, held: &Held, record: &Record, loss: Loss, failure: Option<Failure>) {
    // First things first: where the reason takes a request to find out, the token does not wait for it.
    held.fire();
    let reason = match (release::reason(loss), failure) {
        (LossReason::Deleted, _) if store.namespace_gone(record, Duration::MAX).await => {
            LossReason::NamespaceGone
        }
        (LossReason::DeadlinePassed { .. }, Some(Failure::Denied(Denial::Forbidden(error)))) => {
            LossReason::Forbidden { message: error.to_string() }
        }
        (LossReason::DeadlinePassed { .. }, Some(failure)) => {
            LossReason::DeadlinePassed { last_failure: Some(failure.error().to_string()) }
        }
        (reason, _) => reason,
    };
    tracing::warn!(%reason, "lost");
    held.end(reason);
}
