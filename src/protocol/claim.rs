//! The claims of one acquisition: which state can be claimed, and what became of a claim without an answer.

use super::carryover::Carryover;
use super::expiry::{Availability, ExpiryTracker};
use super::queue::Queue;
use super::record::{Record, Snapshot, Version};
use super::release::ReleaseState;
use super::request::{Outcome, Write};
use super::time::{Instant, WallTime};
use super::timings::Timings;

/// The claims by one holder identity, up to the one that wins.
///
/// Invariants:
///
/// 1. At most one request is in flight.
/// 2. A claim is conditional on the newest state that was received. That state was free, expired, our own, or handed off
///    to us.
/// 3. A claim that won counts from its own sending, also if a later read revealed it.
/// 4. After a claim without a definite answer comes a read, before any other claim.
/// 5. The `renewTime` of our claims only rises, so each claim can be told from the others.
///
/// [`AcquireState`](super::AcquireState) calls [`read`](Self::read) and [`claim`](Self::claim), and reports the outcome of each request by
/// [`answered`](Self::answered). At any time it reports what the watch delivers by [`watched`](Self::watched). Claims that are given
/// up end with [`withdraw`](Self::withdraw).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClaimState {
    me: String,
    /// The number on the ticket of this process.
    ticket: u32,
    timings: Timings,
    /// The previous holder, if it was another task of this process that handed the Lease off to us.
    predecessor: Option<String>,
    /// The newest state that was received. `None`: the Lease does not exist.
    observed: Option<Snapshot>,
    /// Whether `observed` may be claimed. `None`: read before anything else.
    availability: Option<Availability>,
    in_flight: Option<Request>,
    in_doubt: Option<InDoubtClaims>,
    /// Another write came before a claim.
    raced: bool,
    /// The `renewTime` of the last claim.
    last_renew_time: Option<WallTime>,
    won: Option<Claim>,
}

/// A claim that was made, and the sending that it counts from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub sent: Instant,
    pub snapshot: Snapshot,
    /// Whether the claim created the Lease.
    pub created: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Request {
    Read { sent: Instant },
    Claim { on: Condition, attempt: Attempt },
}

/// What a claim is conditional on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Condition {
    /// `None`: that there is no Lease.
    version: Option<Version>,
    /// If set: this record of the object, in any version.
    record: Option<Box<Record>>,
}

impl Condition {
    fn of(write: &Write) -> Self {
        Self { version: write.on.clone(), record: write.on_record.clone() }
    }

    fn is_creation(&self) -> bool {
        self.version.is_none()
    }

    fn is_met_by(&self, seen: Option<&Snapshot>) -> bool {
        let version = seen.map(|seen| &seen.version);
        let Some(record) = &self.record else { return version == self.version.as_ref() };
        let same_object = version.map(|on| &on.uid) == self.version.as_ref().map(|on| &on.uid);
        let same = |found: &Record| found.holder == record.holder && found.renewed == record.renewed;
        same_object && seen.is_some_and(|seen| same(&seen.record))
    }
}

/// Claims that may have been made, or may still be made, without an answer to us.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct InDoubtClaims {
    on: Condition,
    attempts: Vec<Attempt>,
}

/// One sending of a claim, recognised in the Lease by its `renewTime`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempt {
    sent: Instant,
    renew_time: WallTime,
}

impl ClaimState {
    /// A read comes first, unless the previous acquisition left a Lease that can be claimed.
    pub(crate) fn new(me: String, ticket: u32, timings: Timings, carryover: Carryover) -> Self {
        let (predecessor, observed) = match carryover {
            Carryover::Unknown => (None, None),
            Carryover::Free(snapshot) => (None, Some(snapshot)),
            Carryover::HandedOff { by, snapshot } => (Some(by), Some(snapshot)),
        };
        Self {
            me,
            ticket,
            timings,
            predecessor,
            availability: observed.as_ref().map(|_| Availability::Claimable),
            observed,
            in_flight: None,
            in_doubt: None,
            raced: false,
            last_renew_time: None,
            won: None,
        }
    }

    /// Whether the observed state can be claimed. `None`: a read has to come first.
    pub(crate) fn availability(&self) -> Option<Availability> {
        self.availability
    }

    /// The claim that won.
    pub(crate) fn won(&self) -> Option<&Claim> {
        self.won.as_ref()
    }

    /// The newest state that was received. `None`: the Lease does not exist, or nothing was received yet.
    pub(crate) fn observed(&self) -> Option<&Snapshot> {
        self.observed.as_ref()
    }

    /// The holder that was observed, if the Lease is held by another acquisition.
    pub(crate) fn foreign_holder(&self) -> Option<&Snapshot> {
        let held = |seen: &&Snapshot| seen.record.holder.as_ref().is_some_and(|holder| *holder != self.me);
        self.observed.as_ref().filter(held)
    }

    /// The queue on the Lease, if its first process has precedence. It has none if the Lease is already ours.
    pub(crate) fn queue(&self) -> Option<&Queue> {
        self.observed.as_ref().filter(|seen| !self.is_ours(seen)).map(|seen| &seen.queue)
    }

    /// Whether a claim of ours has created the Lease, or may have created it.
    pub(crate) fn may_have_created(&self) -> bool {
        let won = self.won.as_ref().is_some_and(|claim| claim.created);
        let in_flight = matches!(&self.in_flight, Some(Request::Claim { on, .. }) if on.is_creation());
        won || in_flight || self.in_doubt.as_ref().is_some_and(|claims| claims.on.is_creation())
    }

    /// Whether the request in flight is a claim.
    pub(crate) fn is_claiming(&self) -> bool {
        matches!(self.in_flight, Some(Request::Claim { .. }))
    }

    /// The observed state is no longer the newest. A read has to come first.
    pub(crate) fn doubt(&mut self) {
        self.availability = None;
    }

    /// A read is sent.
    pub(crate) fn read(&mut self, now: Instant) {
        self.in_flight = Some(Request::Read { sent: now });
    }

    /// The claim of the observed state, which is sent at `now`.
    pub(crate) fn claim(&mut self, now: Instant, wall: WallTime) -> Write {
        let previous = self.observed.as_ref().map(|seen| &seen.record);
        let renew_time = self.next_renew_time(previous, wall);
        let claim = Record::claim(&self.me, self.timings.lease_duration, previous, wall);
        let record = Record { renewed: Some(renew_time), ..claim };
        let write = match &self.observed {
            None => Write::create(record),
            // Processes that join the queue could make it fail again and again.
            Some(seen) if self.is_ours(seen) && self.raced => {
                Write::replace_record(seen, record, seen.queue.merged())
            }
            Some(seen) if self.is_ours(seen) => Write::replace(seen, record, seen.queue.merged()),
            Some(seen) => Write::replace(seen, record, seen.queue.after(self.ticket)),
        };
        self.last_renew_time = Some(renew_time);
        let attempt = Attempt { sent: now, renew_time };
        self.in_flight = Some(Request::Claim { on: Condition::of(&write), attempt });
        write
    }

    /// When the request in flight was sent.
    pub(crate) fn sent(&self) -> Option<Instant> {
        self.in_flight.as_ref().map(|request| match request {
            Request::Read { sent } => *sent,
            Request::Claim { attempt, .. } => attempt.sent,
        })
    }

    /// Takes the outcome of the request in flight.
    pub(crate) fn answered(
        &mut self,
        outcome: Outcome,
        expiry: &mut ExpiryTracker,
        now: Instant,
        wall: WallTime,
    ) {
        let Some(request) = self.in_flight.take() else { return };
        match (request, outcome) {
            // An answer that comes after the end of the hold is as good as none.
            (Request::Claim { on, attempt }, Outcome::Written(snapshot))
                if now < attempt.sent + self.timings.token_deadline =>
            {
                self.in_doubt = None;
                self.won = Some(Claim { sent: attempt.sent, snapshot, created: on.is_creation() });
            }
            // It has had no effect, and will have none.
            (Request::Claim { .. }, Outcome::Denied { .. }) => self.availability = None,
            (Request::Claim { on, attempt }, failure) => {
                self.raced |= failure == Outcome::Conflict;
                self.mark_in_doubt(on, attempt);
                self.availability = None;
            }
            (Request::Read { .. }, Outcome::Read(seen)) => {
                self.observe(seen, expiry, now, wall);
                self.resolve(now);
            }
            (Request::Read { .. }, _) => self.availability = None,
        }
    }

    /// Takes a state of the Lease from the watch, as of `revision`.
    pub(crate) fn watched(
        &mut self,
        revision: u64,
        seen: Option<Snapshot>,
        expiry: &mut ExpiryTracker,
        now: Instant,
        wall: WallTime,
    ) {
        let known = self.observed.as_ref().map_or(0, |seen| seen.version.revision);
        if revision > known && self.availability.is_some() {
            self.observe(seen, expiry, now, wall);
        }
    }

    /// The holder identity and the sending of the last claim that may have been made.
    pub(crate) fn last_attempt(&self) -> Option<(String, Instant)> {
        let in_flight = match &self.in_flight {
            Some(Request::Claim { attempt, .. }) => Some(attempt),
            _ => None,
        };
        let in_doubt = self.in_doubt.as_ref().and_then(|claims| claims.attempts.last());
        let won = self.won.as_ref().map(|claim| claim.sent);
        let sent = in_flight.or(in_doubt).map(|attempt| attempt.sent).or(won)?;
        Some((self.me.clone(), sent))
    }

    /// The way to ensure that no claim of ours stays in the Lease. `None` if there was no claim.
    pub(crate) fn withdraw(mut self, now: Instant) -> Option<ReleaseState> {
        if let Some(Claim { sent, snapshot, .. }) = self.won {
            let deadline = sent + self.timings.token_deadline;
            return Some(ReleaseState::of_hold(self.me, snapshot, false, deadline, self.timings));
        }
        if let Some(Request::Claim { on, attempt }) = self.in_flight.take() {
            self.mark_in_doubt(on, attempt);
        }
        let deadline = now + self.timings.token_deadline;
        let ours = [self.predecessor, Some(self.me)].into_iter().flatten().collect::<Vec<_>>();
        match self.in_doubt {
            Some(claims) => Some(ReleaseState::of_claim(ours, claims.on.version, deadline, self.timings)),
            None => (ours.len() > 1).then(|| ReleaseState::of_hand_off(ours, deadline, self.timings)),
        }
    }

    /// Whether the Lease has a claim of ours, or the hold that our predecessor handed off.
    fn is_ours(&self, seen: &Snapshot) -> bool {
        let ours = |holder: &String| *holder == self.me || Some(holder) == self.predecessor.as_ref();
        seen.record.holder.as_ref().is_some_and(ours)
    }

    /// Later than all our earlier ones, by a whole second. Records of other holders differ from ours in any case.
    fn next_renew_time(&self, previous: Option<&Record>, wall: WallTime) -> WallTime {
        let next = self.last_renew_time.map_or(wall, |last| wall.after(last));
        match previous
            .filter(|record| record.holder.as_ref() == Some(&self.me))
            .and_then(|record| record.renewed)
        {
            Some(replaced) => next.after(replaced),
            None => next,
        }
    }

    fn observe(&mut self, seen: Option<Snapshot>, expiry: &mut ExpiryTracker, now: Instant, wall: WallTime) {
        let ours = seen.as_ref().is_some_and(|seen| self.is_ours(seen));
        let foreign = if ours { None } else { seen.as_ref() };
        self.availability = Some(expiry.observe(&self.me, foreign, now, wall));
        self.observed = seen;
    }

    /// The outcome of a claim is unknown. Earlier claims on another state can no longer be made, because that state was
    /// gone when this claim was sent.
    fn mark_in_doubt(&mut self, on: Condition, attempt: Attempt) {
        let earlier = self.in_doubt.take().filter(|claims| claims.on == on);
        let mut attempts = earlier.map_or_else(Vec::new, |claims| claims.attempts);
        attempts.push(attempt);
        self.in_doubt = Some(InDoubtClaims { on, attempts });
    }

    /// Finds out what became of the claims in doubt. A claim that was made counts from its own sending. A record of ours
    /// that is none of these claims is claimed again.
    fn resolve(&mut self, now: Instant) {
        let Some(claims) = &self.in_doubt else { return };
        if claims.on.is_met_by(self.observed.as_ref()) {
            return; // They may still be made.
        }
        let Some(seen) = self.observed.as_ref().filter(|seen| seen.record.holder.as_ref() == Some(&self.me))
        else {
            self.in_doubt = None; // They never will be.
            return;
        };
        let made = claims.attempts.iter().find(|attempt| seen.record.renewed == Some(attempt.renew_time));
        let fresh = made.filter(|attempt| now < attempt.sent + self.timings.renew_interval);
        let intact = seen.record.duration == Some(self.timings.lease_duration);
        if let (Some(attempt), true) = (fresh, intact) {
            let claim =
                Claim { sent: attempt.sent, snapshot: seen.clone(), created: claims.on.is_creation() };
            self.won = Some(claim);
            self.in_doubt = None;
        }
    }
}
