//! One acquisition: when to read, to claim, to join the queue, to wait for other processes, and when to give up.

use std::time::Duration;

use super::backoff::{Backoff, jittered};
use super::claim::{Claim, ClaimState};
use super::done::{DoneKey, DoneKeys};
use super::expiry::Availability;
use super::identity;
use super::memory::Memory;
use super::patience::Patience;
use super::queue::Queue;
use super::queueing::JoinStep;
use super::record::Snapshot;
use super::release::ReleaseState;
use super::request::{Join, Outcome, Write};
use super::time::{Instant, WallTime};
use super::timings::Timings;
use super::watch_health::WatchEvent;

/// One acquisition, from its first read to the claim that wins.
///
/// Invariants:
///
/// 1. It claims only what its [`ClaimState`] allows, and leaves a Lease that can be claimed to the processes ahead in the queue for
///    their head starts. An expired Lease is read when these are over: meanwhile the watch tells of their claims.
/// 2. It joins the queue of a Lease that a process of this crate holds. It does not join while another library holds it,
///    because the release of that holder can fail for good if another client has written since. It joins the queue of a free
///    Lease only if nobody waits, and its claim came too late, or the last one did: then the other processes are quicker.
/// 3. While it waits, it always has an instant at which it acts without an event, and there is a watch, or the pause before one.
/// 4. It gives up at once if waiting would not change anything. If no server has ever answered, or if the server goes on refusing
///    a request for a reason that may pass, it gives up after `startup_timeout`. A process that may not write learns it while another
///    process holds the Lease: by its join, or by a dry run if it does not join.
/// 5. The pauses after requests that fail in a row double.
/// 6. An acquisition for a key gives up as soon as a state of the Lease shows that the key is done, and never claims that state.
/// 7. A Lease whose holder is chosen by a coordinator is never claimed.
///
/// The driver calls [`step`](Self::step) and carries it out. It reports the outcome of a read or a claim by [`answered`](Self::answered)
/// before it calls again, the outcome of a join by [`joined`](Self::joined) whenever it comes, and what the watch delivers by
/// [`watched`](Self::watched). An acquisition that is given up ends with [`withdraw`](Self::withdraw).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AcquireState {
    claims: ClaimState,
    mode: Mode,
    create_mode: CreateMode,
    timings: Timings,
    started: Instant,
    patience: Patience,
    /// The key of the work for which the Lease is acquired.
    key: Option<String>,
    /// Nothing is sent before this.
    not_before: Instant,
    read_backoff: Backoff,
    /// Starts over when another process holds the Lease: then the refused claims were a matter of competition.
    claim_backoff: Backoff,
    opening: Option<Opening>,
    /// How long to wait for the next read while there is no watch.
    poll_pause: Duration,
    /// Whether a join or a dry run has asked the server if this process may write.
    probed: bool,
    given_up: Option<GiveUp>,
}

/// The reaction to a held Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// Wait until it can be claimed.
    Wait,
    /// Give up at once.
    Try,
}

/// Whether the lock may, must or must not create the Lease object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CreateMode {
    /// Create the Lease if it does not exist.
    #[default]
    IfMissing,
    /// Never create the Lease. If it does not exist, acquiring fails with
    /// [`AcquireError::LeaseMissing`](crate::AcquireError::LeaseMissing).
    MustExist,
    /// The first acquisition has to create the Lease. If the Lease exists, it fails with
    /// [`AcquireError::LeaseExists`](crate::AcquireError::LeaseExists). Later acquisitions of the same lock use the Lease that
    /// the lock created.
    MustNotExist,
}

/// A time in which the Lease can be claimed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Opening {
    since: Instant,
    /// Drawn after collisions.
    contention_pause: Duration,
    /// When the Lease can be created, if there is none.
    create_at: Instant,
}

/// The next action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AcquireStep {
    /// Read the Lease and report the [`Outcome`].
    Read,
    /// Send this write and report its [`Outcome`].
    Claim(Write),
    /// Send this write, and go on. Its outcome grants nothing.
    Join(Join),
    /// Make a dry run of a write, and go on. Report its outcome as that of a join.
    Probe,
    /// Open the watch from this revision. Zero: with what there is.
    OpenWatch(u64),
    /// Close the watch: it is not to be believed.
    CloseWatch,
    /// Do nothing before this instant, unless something is reported.
    Wait(Instant),
    /// The claim is won.
    Won(Claim),
    /// The acquisition has failed.
    GiveUp(GiveUp),
}

/// Why an acquisition has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum GiveUp {
    /// The Lease is held, and the mode is [`Mode::Try`].
    Held,
    /// The last request failed, and the mode is [`Mode::Try`].
    Failed,
    /// The last request was refused, and would be refused again.
    Denied,
    /// There is no Lease, and this lock does not create it.
    LeaseMissing,
    /// There is a Lease that this lock has not created.
    LeaseExists,
    /// A coordinator chooses the holder.
    Coordinated,
    /// No API server has answered for this time, or the server has refused the request for this time.
    NotAccepted { waited: Duration },
    /// The work is done already: see [`AcquireState::done`].
    AlreadyDone,
    /// The Lease does not say in a readable form what is done.
    DoneUnreadable,
}

impl AcquireState {
    /// If there is no watch, the Lease is read at this interval, less up to one half by chance.
    const POLL_INTERVAL: Duration = Duration::from_secs(2);

    /// A process that has not joined after this time may be in the queue already, or not be able to join it.
    const JOIN_PATIENCE: Duration = Duration::from_secs(5);

    /// The longest pause after a failed request, however long the server asks the client to wait.
    const MAX_RETRY_PAUSE: Duration = Duration::from_secs(60);

    /// An acquisition by the holder identity `me`. It goes on from what the previous acquisition left.
    pub(crate) fn new(
        me: String,
        mode: Mode,
        create_mode: CreateMode,
        timings: Timings,
        memory: &mut Memory,
        now: Instant,
    ) -> Self {
        let carryover = memory.begin(now);
        Self {
            claims: ClaimState::new(me, memory.queueing.number(), timings, carryover),
            mode,
            create_mode,
            timings,
            started: now,
            patience: Patience::new(now, timings.startup_timeout),
            key: None,
            not_before: Instant::ORIGIN,
            read_backoff: Backoff::new(timings.max_pause),
            claim_backoff: Backoff::new(timings.max_pause),
            opening: None,
            poll_pause: Self::POLL_INTERVAL,
            probed: false,
            given_up: None,
        }
    }

    /// The time that the caller has waited counts from `asked`, and not from the moment at which it was this task's turn.
    pub(crate) fn asked_at(self, asked: Instant) -> Self {
        Self { patience: Patience::new(asked, self.timings.startup_timeout), ..self }
    }

    /// The Lease is acquired for the work of this key, unless it is done.
    pub(crate) fn for_key(self, key: Option<String>) -> Self {
        Self { key, ..self }
    }

    /// The key, if the newest known state shows that its work is done.
    pub(crate) fn done(&self) -> Option<&DoneKey> {
        self.done_keys()?.find(self.key.as_ref()?)
    }

    /// The keys that are done, in the newest known state: that of the claim, once it is won.
    pub(crate) fn done_keys(&self) -> Option<&DoneKeys> {
        let claimed = self.claims.won().map(|claim| &claim.snapshot);
        claimed.or(self.claims.observed()).map(|seen| &seen.done)
    }

    /// The state in which the Lease is held by another acquisition, as far as is known.
    pub(crate) fn foreign_holder(&self) -> Option<&Snapshot> {
        self.claims.foreign_holder()
    }

    /// When the Lease can be claimed, if nothing is heard of its holder until then.
    pub(crate) fn free_at(&self) -> Option<Instant> {
        match self.claims.availability()? {
            Availability::HeldUntil(at) => Some(at),
            Availability::Claimable => None,
        }
    }

    /// Whether the state of the Lease is known, so that no read is needed.
    pub(crate) fn is_known(&self) -> bool {
        self.claims.availability().is_some()
    }

    /// Whether a claim has created the Lease, or may have created it.
    pub(crate) fn may_have_created(&self) -> bool {
        self.claims.may_have_created()
    }

    /// Before this instant nothing is sent.
    pub(crate) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// Decides. A returned request counts as sent at `now`.
    pub(crate) fn step(
        &mut self,
        memory: &mut Memory,
        now: Instant,
        wall: WallTime,
        rng: &mut fastrand::Rng,
    ) -> AcquireStep {
        if let Some(claim) = self.claims.won() {
            memory.created |= claim.created;
            memory.contention.won();
            return self.check_done().map_or_else(|| AcquireStep::Won(claim.clone()), AcquireStep::GiveUp);
        }
        let given_up = self.given_up.or_else(|| self.check_create_mode(memory));
        if let Some(reason) = given_up.or_else(|| self.check_strategy()).or_else(|| self.check_done()) {
            return AcquireStep::GiveUp(reason);
        }
        if now < self.not_before {
            return AcquireStep::Wait(self.not_before);
        }
        match self.claims.availability() {
            None => self.read(memory, now),
            Some(Availability::Claimable) => self.approach(memory, now, wall, rng),
            Some(Availability::HeldUntil(expiry)) => match self.mode {
                Mode::Wait => self.wait(expiry, memory, now, rng),
                Mode::Try if now < expiry => AcquireStep::GiveUp(GiveUp::Held),
                Mode::Try => self.read(memory, now),
            },
        }
    }

    /// Claims the Lease, once the processes ahead in the queue have had their time.
    fn approach(
        &mut self,
        memory: &mut Memory,
        now: Instant,
        wall: WallTime,
        rng: &mut fastrand::Rng,
    ) -> AcquireStep {
        let claim_at = self.turn(now, memory, rng);
        if claim_at > now && self.mode == Mode::Try {
            // An event might be old, and there is no time to wait for a newer one. The claim will tell.
            return AcquireStep::Wait(claim_at);
        }
        if self.mode == Mode::Wait && memory.outpaced && self.claims.queue().is_some_and(Queue::is_empty) {
            match self.join(memory, now, rng) {
                JoinStep::Join(join) => return AcquireStep::Join(join),
                JoinStep::Wait(until) => return self.wait_with_watch(until, memory, now, rng),
                // It is on its way.
                JoinStep::None if memory.queueing.is_joining() => {
                    return self.wait_with_watch(now + Self::POLL_INTERVAL, memory, now, rng);
                }
                JoinStep::None => {}
            }
        }
        if claim_at > now && self.claims.observed().is_none() {
            // A read would tell no more than the creation will.
            return AcquireStep::Wait(claim_at);
        }
        if claim_at > now {
            return self.wait_with_watch(claim_at, memory, now, rng);
        }
        AcquireStep::Claim(self.claims.claim(now, wall))
    }

    /// Waits while the Lease is held, until `expiry` and the end of the head starts at the latest.
    fn wait(
        &mut self,
        expiry: Instant,
        memory: &mut Memory,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> AcquireStep {
        let expired = expiry <= now;
        let until = if expired { self.turn(expiry, memory, rng) } else { expiry };
        if until <= now {
            return self.read(memory, now);
        }
        let join = self.join(memory, now, rng);
        if let JoinStep::Join(join) = join {
            self.probed = true;
            return AcquireStep::Join(join);
        }
        let mut until = until;
        // The driver has room for one of the two.
        if !self.probed && !memory.queueing.is_joining() {
            let probe_at = self.probe_at(memory);
            if probe_at <= now {
                self.probed = true;
                return AcquireStep::Probe;
            }
            until = until.min(probe_at);
        }
        if let JoinStep::Wait(at) = join {
            until = until.min(at);
        }
        self.wait_with_watch(until, memory, now, rng)
    }

    /// When to ask whether this process may write, if it has not joined by then.
    fn probe_at(&self, memory: &Memory) -> Instant {
        let patience = if self.may_join() { Self::JOIN_PATIENCE } else { Duration::ZERO };
        memory.may_write_until().max(self.started + patience)
    }

    /// Whether no other library holds the Lease.
    fn may_join(&self) -> bool {
        let holder = self.claims.observed().and_then(|seen| seen.record.holder.as_deref());
        holder.is_none_or(identity::is_generated)
    }

    /// Waits for an event, but no longer than is safe without one.
    fn wait_with_watch(
        &mut self,
        until: Instant,
        memory: &mut Memory,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> AcquireStep {
        let Memory { watch, trip, .. } = memory;
        if watch.give_up(trip, now, rng) {
            return AcquireStep::CloseWatch;
        }
        if let Some(from) = self.claims.observed().and_then(|seen| watch.open(seen.version.revision, now)) {
            return AcquireStep::OpenWatch(from);
        }
        let read_at = watch.read_at(self.poll_pause);
        if read_at <= now {
            return self.read(memory, now);
        }
        let wake_at = watch.wake_at(trip).filter(|at| *at > now);
        AcquireStep::Wait(wake_at.into_iter().fold(until.min(read_at), Instant::min))
    }

    /// When the processes ahead in the queue have had their time, of a Lease that can be claimed since `since`. After collisions,
    /// a process outside the queue waits a little longer.
    fn turn(&mut self, since: Instant, memory: &Memory, rng: &mut fastrand::Rng) -> Instant {
        let Memory { queueing, contention, trip, recreation, .. } = memory;
        let opening = self.opening.get_or_insert_with(|| Opening {
            since,
            contention_pause: contention.pause(rng),
            create_at: recreation.create_at(rng),
        });
        if self.claims.observed().is_none() && self.mode == Mode::Wait {
            return opening.since.max(opening.create_at);
        }
        let Some(queue) = self.claims.queue() else { return opening.since };
        let has_place = queue.contains(queueing.number());
        let pause = if has_place { Duration::ZERO } else { opening.contention_pause };
        opening.since + queueing.head_start(queue, trip, self.timings.lease_duration / 2) + pause
    }

    fn join(&self, memory: &mut Memory, now: Instant, rng: &mut fastrand::Rng) -> JoinStep {
        let Memory { queueing, trip, .. } = memory;
        match self.claims.observed() {
            Some(seen) if self.may_join() => queueing.join(seen, trip, now, rng),
            _ => JoinStep::None,
        }
    }

    fn read(&mut self, memory: &mut Memory, now: Instant) -> AcquireStep {
        memory.watch.reading();
        self.claims.read(now);
        AcquireStep::Read
    }

    /// Stale states count too: a key that was done stays so.
    fn check_done(&self) -> Option<GiveUp> {
        self.key.as_ref()?;
        match self.done_keys()? {
            DoneKeys::Unreadable(_) => Some(GiveUp::DoneUnreadable),
            _ => self.done().map(|_| GiveUp::AlreadyDone),
        }
    }

    fn check_create_mode(&self, memory: &Memory) -> Option<GiveUp> {
        self.claims.availability()?;
        let exists = self.claims.observed().is_some();
        let ours = memory.created || self.may_have_created();
        match self.create_mode {
            CreateMode::MustExist if !exists => Some(GiveUp::LeaseMissing),
            CreateMode::MustNotExist if exists && !ours => Some(GiveUp::LeaseExists),
            _ => None,
        }
    }

    fn check_strategy(&self) -> Option<GiveUp> {
        self.claims.availability()?;
        self.strategy().map(|_| GiveUp::Coordinated)
    }

    /// How a coordinator chooses the holder of the Lease, if there is one.
    pub(crate) fn strategy(&self) -> Option<&str> {
        self.claims.observed()?.record.strategy()
    }

    /// Takes the outcome of a read or a claim.
    pub(crate) fn answered(
        &mut self,
        outcome: Outcome,
        memory: &mut Memory,
        now: Instant,
        wall: WallTime,
        rng: &mut fastrand::Rng,
    ) {
        let Some(sent) = self.claims.sent() else { return };
        let Memory { watch, trip, .. } = memory;
        match &outcome {
            Outcome::Read(seen) => {
                watch.read(seen.as_ref().map(|seen| seen.version.revision), sent, trip, now);
                self.read_backoff.succeeded();
                self.patience.accepted_read();
                self.poll_pause = jittered(Self::POLL_INTERVAL, rng);
                if let Some(seen) = seen {
                    memory.shown(seen);
                }
            }
            Outcome::Written(seen) => {
                watch.wrote(seen.version.revision, sent, trip, now);
                memory.recreation.exists(seen, now);
            }
            Outcome::Conflict => self.too_late(memory, now, rng),
            Outcome::InDoubt { server_known, refused, .. } => {
                let claiming = self.claims.is_claiming();
                let backoff = if claiming { &mut self.claim_backoff } else { &mut self.read_backoff };
                self.not_before = now + backoff.failed_with(&outcome, rng).min(Self::MAX_RETRY_PAUSE);
                let end = self.patience.failed(claiming, *server_known, *refused, now);
                if let Some(end) = end {
                    // The last try comes when the time is over.
                    self.not_before = self.not_before.min(end.max(now));
                }
                self.failed(end, now);
            }
            Outcome::Denied { .. } => self.given_up = Some(GiveUp::Denied),
        }
        self.claims.answered(outcome, &mut memory.expiry, now, wall);
        self.observed(memory, now);
    }

    /// A claim was refused, because the Lease has changed. The first time, the next read comes at once.
    fn too_late(&mut self, memory: &mut Memory, now: Instant, rng: &mut fastrand::Rng) {
        self.patience.accepted_claim();
        if self.claims.observed().is_none() {
            memory.recreation.created_by_another(now);
        }
        let first = self.claim_backoff.is_fresh();
        self.not_before = now + self.claim_backoff.came_too_late(rng);
        if !first && self.mode == Mode::Try {
            self.given_up = Some(GiveUp::Failed);
        }
        if memory.watch.is_open() || !first {
            memory.contention.collided();
        }
        memory.outpaced = true;
        self.opening = None;
    }

    /// A request has failed in a way that may pass. If it fails again until `end`, it is an error.
    fn failed(&mut self, end: Option<Instant>, now: Instant) {
        if self.mode == Mode::Try {
            self.given_up = Some(GiveUp::Failed);
        } else if end.is_some_and(|end| end <= now) {
            self.given_up = Some(GiveUp::NotAccepted { waited: self.patience.waited(now) });
        }
    }

    /// Takes the outcome of a join or a probe. It grants nothing. A failure is no reason to stop waiting, unless it shows that
    /// this process may not write at all.
    pub(crate) fn joined(&mut self, outcome: Outcome, memory: &mut Memory, now: Instant, wall: WallTime) {
        if outcome == (Outcome::Denied { any_write: true }) {
            self.given_up = Some(GiveUp::Denied);
        }
        let Memory { queueing, watch, trip, .. } = memory;
        let sent = queueing.answered(&outcome, trip, now);
        if outcome == Outcome::Conflict && self.can_claim() {
            self.claims.doubt();
        }
        if let (Outcome::Written(seen), Some(sent)) = (outcome, sent) {
            let revision = seen.version.revision;
            watch.wrote(revision, sent, trip, now);
            memory.shown(&seen);
            self.claims.watched(revision, Some(seen), &mut memory.expiry, now, wall);
            self.observed(memory, now);
        }
    }

    /// Takes an event of the watch.
    pub(crate) fn watched(
        &mut self,
        event: WatchEvent,
        memory: &mut Memory,
        now: Instant,
        wall: WallTime,
        rng: &mut fastrand::Rng,
    ) {
        memory.told(&event, now, rng);
        let expiry = &mut memory.expiry;
        match event {
            WatchEvent::Changed(seen) => {
                self.claims.watched(seen.version.revision, Some(seen), expiry, now, wall);
            }
            WatchEvent::Deleted(revision) => self.claims.watched(revision, None, expiry, now, wall),
            _ => return,
        }
        self.observed(memory, now);
    }

    /// Draws the consequences of a new observation of the Lease.
    fn observed(&mut self, memory: &mut Memory, now: Instant) {
        if self.claims.availability().is_none() {
            return;
        }
        match self.claims.observed() {
            Some(seen) => memory.recreation.exists(seen, now),
            None => memory.recreation.missing(now),
        }
        if let Some(Availability::HeldUntil(expiry)) = self.claims.availability()
            && now < expiry
        {
            self.opening = None;
            self.claim_backoff.succeeded();
            self.patience.accepted_claim();
        }
        if let Some(seen) = self.claims.observed()
            && memory.queueing.observed(seen, now)
        {
            memory.trip.exceeded();
        }
    }

    fn can_claim(&self) -> bool {
        self.claims.availability() == Some(Availability::Claimable)
    }

    /// See [`Memory::forget_measurements`].
    #[cfg(test)]
    pub(crate) fn forget_measurements(&mut self) {
        self.started = Instant::ORIGIN;
        self.read_backoff.succeeded();
        self.claim_backoff.succeeded();
    }

    /// The way to ensure that no claim of ours stays in the Lease. `None` if there was no claim.
    pub(crate) fn withdraw(self, memory: &mut Memory, now: Instant) -> Option<ReleaseState> {
        match (self.claims.last_attempt(), self.claims.observed()) {
            (Some((me, sent)), _) => memory.expiry.lost(me, sent),
            // Many tasks may ask for one key, and each would have to read the Lease.
            (None, Some(seen)) if self.done().is_some() && seen.record.holder.is_none() => {
                memory.leave_free(seen.clone(), now);
            }
            _ => {}
        }
        self.claims.withdraw(now)
    }
}

#[cfg(test)]
mod tests;
