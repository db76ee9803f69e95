//! The Lease, the processes that contend for it, and the messages between them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::process::{Action, Process, Sent};
use super::{
    DoneKeys, Faults, Flaw, Instant, Join, Outcome, Queue, Record, Setup, Snapshot, Version, WallTime,
    WatchEvent, Write,
};

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub time: u64,
    revision: u64,
    objects: u64,
    pub lease: Option<Snapshot>,
    /// The state before the last change, if the store may be set back to it.
    before: Option<Before>,
    pub processes: Vec<Process>,
    /// On the way to the server.
    pub requests: Vec<Request>,
    /// On the way back.
    pub answers: Vec<(Request, Outcome)>,
    /// On the way from the watches, with the process that receives them. Each receives its own in order.
    pub events: Vec<(usize, WatchEvent)>,
    pub left: Faults,
    /// Holders from which another client took the Lease. Until they learn of it, they may hold beside a successor.
    dispossessed: BTreeSet<String>,
    /// The end of the hold that the other client has seized.
    seized_until: u64,
    /// The fencing token of the last guard.
    token: u64,
    pub broken: Option<&'static str>,
}

/// A state of the Lease, or its absence.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Before(Option<Snapshot>);

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub process: usize,
    /// No process waits for the answer any more.
    pub stale: bool,
    /// When it was sent, if the flaw under test needs that.
    pub sent: Option<Instant>,
    pub what: Sent,
}

const OUTSIDER: &str = "outsider";

impl World {
    pub(super) fn new(setup: &Setup) -> Self {
        let mut world = Self {
            time: 0,
            revision: 0,
            objects: 0,
            lease: None,
            before: None,
            processes: (0..setup.rates.len()).map(|number| Process::new(number, setup)).collect(),
            requests: Vec::new(),
            answers: Vec::new(),
            events: Vec::new(),
            left: setup.faults,
            dispossessed: BTreeSet::new(),
            seized_until: 0,
            token: 0,
            broken: None,
        };
        world.act(setup);
        world
    }

    pub(super) fn now(&self, setup: &Setup, process: usize) -> Instant {
        Instant::ORIGIN + Duration::from_millis(10 * setup.rates[process] * self.time)
    }

    /// The wall clocks of the processes differ by weeks.
    pub(super) fn wall(&self, setup: &Setup, process: usize) -> WallTime {
        WallTime(1_000_000_000_000 * i64::try_from(process).unwrap())
            + self.now(setup, process).since_origin()
    }

    /// Lets every process act until it has to wait.
    pub(super) fn act(&mut self, setup: &Setup) {
        for number in 0..self.processes.len() {
            while self.act_once(setup, number) {}
            self.processes[number].forget_measurements();
        }
        if setup.flaw.is_none() {
            self.forget_void_requests();
        }
        if self.holders(setup) > 1 {
            self.broken = Some("two hold at once");
        }
    }

    fn act_once(&mut self, setup: &Setup, number: usize) -> bool {
        let (now, wall) = (self.now(setup, number), self.wall(setup, number));
        match self.processes[number].act(setup, now, wall) {
            // A join that never arrives is like one that is not sent.
            Action::Send(Sent::Join(_)) if self.left.joins == 0 => {}
            Action::Send(what) => {
                self.left.joins -= u8::from(matches!(what, Sent::Join(_)));
                let sent = (setup.flaw == Some(Flaw::ReceivedAtRequest)).then_some(now);
                self.requests.push(Request { process: number, stale: false, sent, what });
            }
            Action::Watch(from) => {
                self.processes[number].watched(WatchEvent::Connected, now, wall);
                if let (0, Some(lease)) = (from, &self.lease) {
                    self.events.push((number, WatchEvent::Changed(lease.clone())));
                }
            }
            Action::CloseWatch => self.events.retain(|(process, _)| *process != number),
            Action::Granted(token) => {
                if !self.dispossessed.contains(&self.processes[number].identity()) {
                    if token <= self.token {
                        self.broken = Some("a fencing token does not rise");
                    }
                    self.token = token;
                }
            }
            Action::Ended => {
                self.abandon_requests(number);
                self.events.retain(|(process, _)| *process != number);
            }
            Action::Waits(until) => {
                let longest = setup.timings().lease_duration.max(Duration::from_secs(30));
                if until.is_some_and(|until| until <= now || until > now + longest) {
                    self.broken = Some("a process waits for too long, or for no time");
                }
                return false;
            }
        }
        true
    }

    /// Drops writes that can no longer change anything: their state is gone, and no process waits for the answer.
    fn forget_void_requests(&mut self) {
        let lease = self.lease.clone();
        let found = lease.as_ref().map(|lease| lease.version.clone());
        let may_come_back = self.left.deletions > 0 || self.left.set_backs > 0;
        self.requests.retain(|request| match &request.what {
            Sent::Write(write) => {
                !request.stale
                    || is_on_record(write, lease.as_ref())
                    || write.on == found
                    || (may_come_back && (write.on.is_none() || self.left.set_backs > 0))
            }
            Sent::Read | Sent::Join(_) => true,
        });
    }

    /// The process no longer waits for the answers to its requests. The requests may still arrive. Its watch stays open.
    pub(super) fn abandon_requests(&mut self, process: usize) {
        for request in self.requests.iter_mut().filter(|request| request.process == process) {
            request.stale = true;
        }
        self.requests.retain(|request| !request.stale || request.what != Sent::Read);
        self.answers.retain(|(request, _)| request.process != process);
    }

    pub(super) fn serve(&mut self, setup: &Setup, request: Request) {
        let answer = match &request.what {
            Sent::Read => Outcome::Read(self.lease.clone()),
            Sent::Write(write) if self.accepts(setup, write) => {
                if self.replaces_live_hold(setup, request.process) {
                    self.broken = Some("a write replaces the record of a hold that is not over");
                }
                // The write was decided on a state after the dispossession: this is a new hold.
                if let Some(holder) = &write.record.holder {
                    self.dispossessed.remove(holder);
                }
                let queue = match (&write.on_record, &self.lease) {
                    (Some(_), Some(lease)) => lease.queue.clone(),
                    _ => write.queue.clone(),
                };
                Outcome::Written(self.put(write.record.clone(), queue))
            }
            Sent::Write(_) => Outcome::Conflict,
            Sent::Join(join) => self.serve_join(join),
        };
        if !request.stale {
            self.answers.push((request, answer));
        }
    }

    fn serve_join(&mut self, Join { uid, under, expected, forced, ticket }: &Join) -> Outcome {
        let Some(lease) = self.lease.clone().filter(|lease| lease.version.uid == *uid) else {
            return Outcome::Conflict;
        };
        if under.as_ref().is_some_and(|under| *under != lease.record.holder.clone().unwrap_or_default()) {
            return Outcome::Conflict;
        }
        if !forced && lease.queue.joining() != Some(expected) {
            return Outcome::Conflict;
        }
        let joining = expected.iter().chain([ticket]).copied().collect();
        Outcome::Written(self.put(lease.record, Queue::new(lease.queue.waiting().to_vec(), Some(joining))))
    }

    fn accepts(&self, setup: &Setup, write: &Write) -> bool {
        let found = self.lease.as_ref().map(|lease| &lease.version);
        match setup.flaw {
            Some(Flaw::Unconditional) => true,
            _ => found == write.on.as_ref() || is_on_record(write, self.lease.as_ref()),
        }
    }

    /// Whether another client or process holds the Lease and may still trust it.
    fn replaces_live_hold(&self, setup: &Setup, writer: usize) -> bool {
        let holder = self.lease.as_ref().and_then(|lease| lease.record.holder.as_ref());
        let Some(holder) = holder.filter(|holder| !self.dispossessed.contains(*holder)) else {
            return false;
        };
        let seized = holder == OUTSIDER && self.time < self.seized_until;
        let others = (0..self.processes.len()).filter(|number| *number != writer);
        let mut owners = others.filter(|number| self.processes[*number].identity() == *holder);
        seized || owners.any(|number| self.holds(setup, number))
    }

    fn put(&mut self, record: Record, queue: Queue) -> Snapshot {
        self.keep_state();
        if self.lease.is_none() {
            self.objects += 1;
        }
        self.revision += 1;
        let version = Version { uid: self.objects.to_string(), revision: self.revision };
        let snapshot = Snapshot { version, record, queue, done: DoneKeys::Empty };
        self.lease = Some(snapshot.clone());
        snapshot
    }

    fn keep_state(&mut self) {
        if self.left.set_backs > 0 {
            self.before = Some(Before(self.lease.clone()));
        }
    }

    /// The number of processes that believe they hold the Lease, without the dispossessed ones.
    fn holders(&self, setup: &Setup) -> usize {
        let is_dispossessed =
            |number: &usize| self.dispossessed.contains(&self.processes[*number].identity());
        (0..self.processes.len())
            .filter(|number| self.holds(setup, *number) && !is_dispossessed(number))
            .count()
    }

    fn holds(&self, setup: &Setup, number: usize) -> bool {
        self.processes[number].deadline().is_some_and(|deadline| self.now(setup, number) < deadline)
    }

    /// Another client edits a field beside the record.
    pub(super) fn edit(&mut self) {
        if let Some(lease) = &self.lease {
            self.put(lease.record.clone(), lease.queue.clone());
        }
    }

    /// Another client removes the queue.
    pub(super) fn strip(&mut self) {
        if let Some(lease) = &self.lease {
            self.put(lease.record.clone(), Queue::default());
        }
    }

    /// The store comes back in the state before the last change. It repeats no revision, so that conditions still hold.
    pub(super) fn set_back(&mut self) {
        let Some(Before(lease)) = self.before.take() else { return };
        self.dispossess();
        (self.lease, self.token) = (lease, 0);
    }

    /// Whether there is a state to come back to.
    pub(super) fn can_be_set_back(&self) -> bool {
        self.before.is_some()
    }

    pub(super) fn delete(&mut self) {
        self.dispossess();
        self.keep_state();
        self.revision += 1;
        self.lease = None;
    }

    pub(super) fn empty(&mut self) {
        self.dispossess();
        if let Some(lease) = &self.lease {
            self.put(Record { holder: None, ..lease.record.clone() }, lease.queue.clone());
        }
    }

    /// Another client claims the Lease, and trusts it for as long as a process of this crate would.
    pub(super) fn seize(&mut self, setup: &Setup) {
        self.dispossess();
        let now = WallTime(1_000_000_000_000_000) + Duration::from_secs(self.time);
        let previous = self.lease.as_ref().map(|lease| &lease.record);
        let record = Record::claim(OUTSIDER, setup.timings().lease_duration, previous, now);
        let queue = self.lease.as_ref().map_or(Queue::EMPTY, |lease| lease.queue.clone());
        self.put(record, queue);
        self.seized_until = self.time + setup.token_deadline;
    }

    fn dispossess(&mut self) {
        self.dispossessed.extend(self.lease.as_ref().and_then(|lease| lease.record.holder.clone()));
    }

    /// The watch of a process sends the present state.
    pub(super) fn watch(&mut self, process: usize) {
        let event = match &self.lease {
            Some(lease) => WatchEvent::Changed(lease.clone()),
            None => WatchEvent::Deleted(self.revision),
        };
        self.events.push((process, event));
    }

    /// The watch of a process breaks off.
    pub(super) fn break_watch(&mut self, process: usize, expired: bool) {
        self.events.retain(|(receiver, _)| *receiver != process);
        self.events.push((process, WatchEvent::Broken { expired }));
    }

    /// Whether there is a state that a watch could send.
    pub(super) fn has_history(&self) -> bool {
        self.revision > 0
    }
}

/// Whether the write is conditional on the record alone, and finds it.
fn is_on_record(write: &Write, lease: Option<&Snapshot>) -> bool {
    let (Some(record), Some(on), Some(lease)) = (&write.on_record, &write.on, lease) else {
        return false;
    };
    let found = &lease.record;
    lease.version.uid == on.uid && found.holder == record.holder && found.renewed == record.renewed
}
