//! The holding side: when to renew, what to believe, and when the hold is over.

use std::time::Duration;

use super::{Answer, Left, Moment, Release, Stamp, Terms, Write};
use crate::queue::Queue;
use crate::record::{Record, Snapshot};

/// Keeps one claimed Lease.
///
/// The hold lasts until the deadline: the *sending* of the last write that definitely succeeded, plus
/// `renew_deadline`. A write of unknown outcome that turns out to have been made counts from its own sending,
/// never from the reading that revealed it. Past the deadline nothing revives the hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    me: String,
    terms: Terms,
    /// The newest state of the Lease that is known to be ours.
    current: Snapshot,
    deadline: Moment,
    /// Nothing is sent before this.
    due: Moment,
    under_way: Option<Request>,
    /// Writes that may have been made without our knowing it.
    unsettled: Vec<Attempt>,
    /// The last `renewTime` sent. They only rise, whatever the wall clock does: a record that came back to
    /// what it was would look to contenders as if it had never been renewed.
    stamp: Stamp,
    /// A read must come before the next write.
    doubt: bool,
    lost: Option<Loss>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Request {
    /// A read, or a write whose fate is known already.
    Read,
    Write(Attempt),
}

/// A renewal, recognised in the Lease by its `renewTime`: no two of one hold share a second.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempt {
    sent: Moment,
    record: Record,
}

/// Why the hold is over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Loss {
    /// No write was confirmed in time.
    Deadline,
    /// Somebody else is the holder.
    TakenOver { by: String },
    /// Somebody emptied the holder.
    Cleared,
    /// The object that was claimed is gone, whether or not there is a new one.
    Deleted,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Send this write and report its [`Answer`].
    Renew(Write),
    /// Read the Lease and report its [`Answer`].
    Look,
    /// Nothing before this moment, unless something is reported.
    Wait(Moment),
    /// Over.
    Lost(Loss),
}

impl Holder {
    /// An edited record is restored at once, but not more often than this.
    const RESTORE_INTERVAL: Duration = Duration::from_secs(1);

    /// A hold by `me` that began with a write sent at `sent`, which left `claimed`.
    pub(crate) fn new(me: String, terms: Terms, sent: Moment, claimed: Snapshot) -> Self {
        Self {
            me,
            terms,
            stamp: claimed.record.renewed.unwrap_or(Stamp(0)),
            current: claimed,
            deadline: sent + terms.renew_deadline,
            due: sent + terms.renew_interval,
            under_way: None,
            unsettled: Vec::new(),
            doubt: false,
            lost: None,
        }
    }

    /// Has the first renewal come at `first` already: what was claimed at the same time as others is not to be renewed
    /// at the same time as they are ever after.
    pub(crate) fn renewing_from(mut self, first: Moment) -> Self {
        self.due = self.due.min(first);
        self
    }

    /// Up to when the hold may be trusted, exclusively.
    pub(crate) fn deadline(&self) -> Moment {
        self.deadline
    }

    /// The newest revision of the Lease that is known to be ours.
    pub(crate) fn revision(&self) -> u64 {
        self.current.version.revision
    }

    /// Who waits for the Lease, as far as is known.
    pub(crate) fn queue(&self) -> &Queue {
        &self.current.queue
    }

    /// Whether it is certain that the Lease is ours to hand on.
    pub(crate) fn may_pass(&self, now: Moment) -> bool {
        let settled = !self.doubt && self.under_way.is_none() && self.lost.is_none();
        settled && now < self.deadline
    }

    /// Ends the hold, and leaves its record to the next acquisition of this process.
    pub(crate) fn pass(self) -> Left {
        Left::Passed { by: self.me, snapshot: self.current }
    }

    /// The way to give the Lease back, whatever is under way.
    pub(crate) fn release(self) -> Release {
        let doubt = self.doubt || self.under_way.is_some();
        Release::of_hold(self.me, self.current, doubt, self.deadline)
    }

    /// Decides. A returned [`Step::Renew`] or [`Step::Look`] counts as sent at `now`.
    pub(crate) fn step(&mut self, now: Moment, wall: Stamp) -> Step {
        self.expire(now);
        if let Some(loss) = &self.lost {
            return Step::Lost(loss.clone());
        }
        if self.under_way.is_some() {
            return Step::Wait(self.deadline);
        }
        if now < self.due {
            return Step::Wait(self.due.min(self.deadline));
        }
        if self.doubt {
            self.under_way = Some(Request::Read);
            return Step::Look;
        }
        Step::Renew(self.renewal(now, wall))
    }

    /// Takes the answer to the request under way.
    pub(crate) fn answered(&mut self, answer: Answer, now: Moment) {
        self.expire(now);
        let Some(request) = self.under_way.take() else {
            return;
        };
        match (request, answer) {
            (Request::Read, Answer::Written(snapshot)) => self.accept(snapshot, now),
            (request @ Request::Write(_), Answer::Written(snapshot)) => {
                self.unsettle(request);
                self.accept(snapshot, now);
            }
            (_, Answer::Seen(Some(snapshot))) => {
                self.doubt = false;
                self.accept(snapshot, now);
            }
            (_, Answer::Seen(None)) => self.lose(Loss::Deleted),
            (request, Answer::Unknown { pause }) => {
                self.unsettle(request);
                self.due = now + pause;
            }
        }
    }

    /// Takes a state of the Lease from the watch.
    pub(crate) fn watched(&mut self, snapshot: Snapshot, now: Moment) {
        self.expire(now);
        self.accept(snapshot, now);
    }

    /// Takes a deletion from the watch.
    pub(crate) fn watched_deletion(&mut self, revision: u64, now: Moment) {
        self.expire(now);
        if revision > self.current.version.revision {
            self.lose(Loss::Deleted);
        }
    }

    /// Believes a state, unless it is older than what is known.
    fn accept(&mut self, seen: Snapshot, now: Moment) {
        if seen.version.revision <= self.current.version.revision {
            return;
        }
        if seen.version.uid != self.current.version.uid {
            return self.lose(Loss::Deleted);
        }
        match &seen.record.holder {
            Some(holder) if *holder == self.me => {}
            Some(holder) => return self.lose(Loss::TakenOver { by: holder.clone() }),
            None => return self.lose(Loss::Cleared),
        }
        let expected = match self.attempt_seen_in(&seen.record) {
            Some(attempt) => self.confirm(attempt),
            None => self.current.record.clone(),
        };
        if seen.record != expected {
            self.heed_edit(&seen.record, now);
        }
        self.current = seen;
    }

    fn attempt_seen_in(&self, record: &Record) -> Option<Attempt> {
        let under_way = match &self.under_way {
            Some(Request::Write(attempt)) => Some(attempt),
            _ => None,
        };
        let mut attempts = self.unsettled.iter().chain(under_way);
        attempts.find(|attempt| attempt.record.renewed == record.renewed).cloned()
    }

    /// An attempt was made. All others were conditional on what it replaced: if they were not made
    /// before it, they never will be. Returns what it wrote.
    fn confirm(&mut self, attempt: Attempt) -> Record {
        self.deadline = self.deadline.max(attempt.sent + self.terms.renew_deadline);
        self.due = attempt.sent + self.terms.renew_interval;
        self.unsettled.clear();
        self.under_way = self.under_way.take().map(|_| Request::Read);
        self.doubt = false;
        attempt.record
    }

    /// A request brought nothing certain.
    fn unsettle(&mut self, request: Request) {
        self.doubt = true;
        if let Request::Write(attempt) = request {
            self.unsettled.push(attempt);
        }
    }

    /// Somebody edited our record but left us the holder: restore it soon, and if contenders now wait less
    /// than they should, trust the hold less in proportion.
    fn heed_edit(&mut self, record: &Record, now: Moment) {
        self.due = self.due.min(now + Self::RESTORE_INTERVAL);
        let wait = record.duration.unwrap_or_default();
        if wait < self.terms.lease_duration {
            let share = wait.as_secs_f64() / self.terms.lease_duration.as_secs_f64();
            self.deadline = self.deadline.min(now + self.terms.renew_deadline.mul_f64(share));
            self.due = now;
        }
    }

    fn renewal(&mut self, now: Moment, wall: Stamp) -> Write {
        self.stamp = wall.after(self.stamp).distinct_from(self.current.record.renewed);
        let record = self.current.record.renewal(self.terms.lease_duration, self.stamp);
        self.under_way = Some(Request::Write(Attempt { sent: now, record: record.clone() }));
        Write::replace(&self.current, record, self.current.queue.clone())
    }

    fn expire(&mut self, now: Moment) {
        if now >= self.deadline {
            self.lose(Loss::Deadline);
        }
    }

    fn lose(&mut self, loss: Loss) {
        self.lost.get_or_insert(loss);
    }
}

#[cfg(test)]
mod tests;
