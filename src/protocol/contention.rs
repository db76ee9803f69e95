//! The waiting side: when to look, when to claim, and what became of a claim that was not answered.

use super::judge::{Judge, Verdict};
use super::{Answer, Left, Moment, Release, Stamp, Terms, Write};
use crate::queue::{Queue, Ticket};
use crate::record::{Record, Snapshot, Version};

/// One acquisition by one holder identity, up to the claim that wins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Contention {
    me: String,
    ticket: Ticket,
    terms: Terms,
    /// Who of this process held the Lease before, and handed it on.
    predecessor: Option<String>,
    /// What was last received; `None`: there is no Lease.
    seen: Option<Snapshot>,
    /// The judgement on it; `None`: look before anything else.
    verdict: Option<Verdict>,
    under_way: Option<Request>,
    unsettled: Option<UnsettledClaims>,
    /// Nothing is sent before this.
    due: Moment,
    /// The last `renewTime` sent. They only rise, so that each claim can be told from the others.
    stamp: Option<Stamp>,
    won: Option<Claim>,
}

/// A claim that was made, and the sending that it counts from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub sent: Moment,
    pub snapshot: Snapshot,
    /// Whether it created the Lease.
    pub created: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Request {
    Look,
    Claim { on: Option<Version>, attempt: Attempt },
}

/// Claims that may have been made, or may yet be made, without our knowing it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct UnsettledClaims {
    /// The state they were conditional on; `None`: on there being no Lease.
    on: Option<Version>,
    attempts: Vec<Attempt>,
}

/// One sending of a claim, recognised in the Lease by its `renewTime`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempt {
    sent: Moment,
    stamp: Stamp,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContentionStep {
    /// Read the Lease and report its [`Answer`].
    Look,
    /// Send this write and report its [`Answer`].
    Claim(Write),
    /// Somebody holds the Lease: nothing before this moment, unless the watch tells something.
    Wait(Moment),
    /// A request failed: nothing before this moment.
    Pause(Moment),
    /// The Lease is ours.
    Won(Claim),
}

impl Contention {
    /// Starts with a look, unless the Lease was `left` for us to claim.
    pub(crate) fn new(me: String, ticket: Ticket, terms: Terms, left: Left) -> Self {
        let (predecessor, seen) = match left {
            Left::Unknown => (None, None),
            Left::Free(snapshot) => (None, Some(snapshot)),
            Left::Passed { by, snapshot } => (Some(by), Some(snapshot)),
        };
        Self {
            me,
            ticket,
            terms,
            predecessor,
            verdict: seen.as_ref().map(|_| Verdict::Claim),
            seen,
            under_way: None,
            unsettled: None,
            due: Moment::ORIGIN,
            stamp: None,
            won: None,
        }
    }

    /// Whether the next step is to claim what was seen.
    pub(crate) fn may_claim(&self) -> bool {
        self.won.is_none() && self.under_way.is_none() && self.verdict == Some(Verdict::Claim)
    }

    /// What was last received; `None`: there is no Lease, or nothing was received yet.
    pub(crate) fn seen(&self) -> Option<&Snapshot> {
        self.seen.as_ref()
    }

    /// The queue before the Lease, where it is for the first in it to claim: a record of our own is nobody else's.
    pub(crate) fn queue(&self) -> Option<&Queue> {
        self.seen.as_ref().filter(|seen| !self.is_ours(seen)).map(|seen| &seen.queue)
    }

    /// Whether the Lease has been seen, and nothing has cast doubt on it since.
    pub(crate) fn is_judged(&self) -> bool {
        self.verdict.is_some()
    }

    /// Whether a claim of ours may have created the Lease.
    pub(crate) fn may_have_created(&self) -> bool {
        let under_way = matches!(self.under_way, Some(Request::Claim { on: None, .. }));
        under_way || self.unsettled.as_ref().is_some_and(|claims| claims.on.is_none())
    }

    /// Decides. A returned [`ContentionStep::Look`] or [`ContentionStep::Claim`] counts as sent at `now`.
    pub(crate) fn step(&mut self, now: Moment, wall: Stamp) -> ContentionStep {
        if let Some(claim) = &self.won {
            return ContentionStep::Won(claim.clone());
        }
        if self.under_way.is_some() {
            return ContentionStep::Pause(now + self.terms.lease_duration);
        }
        match self.verdict {
            _ if now < self.due => ContentionStep::Pause(self.due),
            Some(Verdict::Wait(until)) if now < until => ContentionStep::Wait(until),
            Some(Verdict::Claim) => ContentionStep::Claim(self.claim(now, wall)),
            Some(Verdict::Wait(_)) | None => {
                self.under_way = Some(Request::Look);
                ContentionStep::Look
            }
        }
    }

    /// Takes the answer to the request under way.
    pub(crate) fn answered(&mut self, answer: Answer, judge: &mut Judge, now: Moment, wall: Stamp) {
        let Some(request) = self.under_way.take() else { return };
        if let Answer::Unknown { pause } = answer {
            self.due = now + pause;
        }
        match (request, answer) {
            // An answer that comes when the hold would be over already is as good as none.
            (Request::Claim { on, attempt }, Answer::Written(snapshot))
                if now < attempt.sent + self.terms.renew_deadline =>
            {
                self.unsettled = None;
                self.won = Some(Claim { sent: attempt.sent, snapshot, created: on.is_none() });
            }
            (Request::Claim { on, attempt }, _) => {
                self.unsettle(on, attempt);
                self.verdict = None;
            }
            (Request::Look, Answer::Seen(seen)) => {
                self.receive(seen, judge, now, wall);
                self.settle(now);
            }
            (Request::Look, _) => self.verdict = None,
        }
    }

    /// The request under way was refused for good: it has had, and will have, no effect.
    pub(crate) fn refused(&mut self) {
        self.under_way = None;
    }

    /// Takes a state of the Lease from the watch, told as of `revision`.
    pub(crate) fn watched(
        &mut self,
        revision: u64,
        seen: Option<Snapshot>,
        judge: &mut Judge,
        now: Moment,
        wall: Stamp,
    ) {
        let known = self.seen.as_ref().map_or(0, |seen| seen.version.revision);
        if revision > known && self.verdict.is_some() {
            self.receive(seen, judge, now, wall);
        }
    }

    /// Has the Lease looked at before anything else, but not before `due`.
    pub(crate) fn doubt(&mut self, due: Moment) {
        self.verdict = None;
        self.due = due;
    }

    /// The way to make sure that no claim of ours stays in the Lease; `None` if there was none.
    pub(crate) fn withdraw(mut self, now: Moment) -> Option<Release> {
        if let Some(Request::Claim { on, attempt }) = self.under_way.take() {
            self.unsettle(on, attempt);
        }
        let deadline = now + self.terms.renew_deadline;
        let ours = [self.predecessor, Some(self.me)].into_iter().flatten().collect::<Vec<_>>();
        match self.unsettled {
            Some(claims) => Some(Release::of_claim(ours, claims.on, deadline)),
            None => (ours.len() > 1).then(|| Release::of_passed(ours, deadline)),
        }
    }

    fn claim(&mut self, now: Moment, wall: Stamp) -> Write {
        let previous = self.seen.as_ref().map(|seen| &seen.record);
        let stamp = self.next_stamp(previous, wall);
        let record = Record::claim(&self.me, self.terms.lease_duration, previous, stamp);
        let write = match &self.seen {
            None => Write::create(record),
            Some(seen) if self.is_ours(seen) => Write::replace(seen, record, seen.queue.clone()),
            Some(seen) => Write::replace(seen, record, seen.queue.after(self.ticket)),
        };
        self.stamp = Some(stamp);
        let attempt = Attempt { sent: now, stamp };
        self.under_way = Some(Request::Claim { on: write.on.clone(), attempt });
        write
    }

    /// Whether a claim of ours is in the Lease, or what our predecessor handed on.
    fn is_ours(&self, seen: &Snapshot) -> bool {
        let ours = |holder: &String| *holder == self.me || Some(holder) == self.predecessor.as_ref();
        seen.record.holder.as_ref().is_some_and(ours)
    }

    /// Later than all of ours, and in another second than what it replaces.
    fn next_stamp(&self, previous: Option<&Record>, wall: Stamp) -> Stamp {
        let replaced = previous.and_then(|record| record.renewed);
        let stamp = self.stamp.map_or(wall, |last| wall.after(last));
        match replaced {
            Some(ours) if previous.is_some_and(|record| record.holder.as_ref() == Some(&self.me)) => {
                stamp.after(ours)
            }
            other => stamp.distinct_from(other),
        }
    }

    fn receive(&mut self, seen: Option<Snapshot>, judge: &mut Judge, now: Moment, wall: Stamp) {
        let ours = seen.as_ref().is_some_and(|seen| self.is_ours(seen));
        let judged = if ours { None } else { seen.as_ref() };
        self.verdict = Some(judge.judge(&self.me, judged, now, wall));
        self.seen = seen;
    }

    /// Nobody knows what became of a claim. Earlier ones on another state can no longer be made: that state
    /// had gone when this one was sent.
    fn unsettle(&mut self, on: Option<Version>, attempt: Attempt) {
        let earlier = self.unsettled.take().filter(|claims| claims.on == on);
        let mut attempts = earlier.map_or_else(Vec::new, |claims| claims.attempts);
        attempts.push(attempt);
        self.unsettled = Some(UnsettledClaims { on, attempts });
    }

    /// Looks for what became of unsettled claims. One that was made counts from its own sending; a record of
    /// ours that is not known to be one of them is claimed over.
    fn settle(&mut self, now: Moment) {
        let Some(claims) = &self.unsettled else { return };
        if self.seen.as_ref().map(|seen| &seen.version) == claims.on.as_ref() {
            return; // They may yet be made.
        }
        let Some(seen) = self.seen.as_ref().filter(|seen| seen.record.holder.as_ref() == Some(&self.me))
        else {
            self.unsettled = None; // They never will be.
            return;
        };
        let made = claims.attempts.iter().find(|attempt| seen.record.renewed == Some(attempt.stamp));
        let fresh = made.filter(|attempt| now < attempt.sent + self.terms.renew_interval);
        let intact = seen.record.duration == Some(self.terms.lease_duration);
        if let (Some(attempt), true) = (fresh, intact) {
            let claim = Claim { sent: attempt.sent, snapshot: seen.clone(), created: claims.on.is_none() };
            self.won = Some(claim);
            self.unsettled = None;
        }
    }
}

#[cfg(test)]
mod tests;
