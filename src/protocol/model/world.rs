//! The Lease, the processes that contend for it, and the messages between them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::process::{Action, Process};
use super::{Faults, Flaw, Instant, Outcome, Queue, Record, Setup, Snapshot, Version, WallTime, Write};

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub time: u64,
    revision: u64,
    objects: u64,
    pub lease: Option<Snapshot>,
    pub processes: Vec<Process>,
    /// On the way to the server.
    pub requests: Vec<Request>,
    /// On the way back.
    pub answers: Vec<(Request, Outcome)>,
    /// On the way from the watches. Each process receives its own in order.
    pub events: Vec<WatchEvent>,
    pub left: Faults,
    /// Holders from which another client took the Lease. Until they learn of it, they may hold beside a successor.
    dispossessed: BTreeSet<String>,
    /// The end of the hold that the other client has seized.
    seized_until: u64,
    /// The fencing token of the last guard.
    token: u64,
    pub broken: Option<&'static str>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub process: usize,
    /// No process waits for the answer any more.
    pub stale: bool,
    /// When it was sent, if the flaw under test needs that.
    pub sent: Option<Instant>,
    /// `None`: a read.
    pub write: Option<Write>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct WatchEvent {
    pub process: usize,
    pub revision: u64,
    pub seen: Option<Snapshot>,
}

const OUTSIDER: &str = "outsider";

impl World {
    pub(super) fn new(setup: &Setup) -> Self {
        let mut world = Self {
            time: 0,
            revision: 0,
            objects: 0,
            lease: None,
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
            Action::Send(write) => {
                let sent = (setup.flaw == Some(Flaw::ReceivedAtRequest)).then_some(now);
                self.requests.push(Request { process: number, stale: false, sent, write });
            }
            Action::Granted(token) => {
                if !self.dispossessed.contains(&self.processes[number].identity()) {
                    if token <= self.token {
                        self.broken = Some("a fencing token does not rise");
                    }
                    self.token = token;
                }
            }
            Action::Ended => self.abandon_requests(number),
            Action::Waits => return false,
        }
        true
    }

    /// Drops writes that can no longer change anything: their state is gone, and no process waits for the answer.
    fn forget_void_requests(&mut self) {
        let found = self.lease.as_ref().map(|lease| lease.version.clone());
        let may_come_back = self.left.deletions > 0;
        self.requests.retain(|request| {
            let on = request.write.as_ref().map(|write| &write.on);
            !request.stale || on == Some(&found) || (may_come_back && on == Some(&None))
        });
    }

    /// The process no longer waits for the answers to its requests. The requests may still arrive. Its watch stays open.
    pub(super) fn abandon_requests(&mut self, process: usize) {
        for request in self.requests.iter_mut().filter(|request| request.process == process) {
            request.stale = true;
        }
        self.requests.retain(|request| !request.stale || request.write.is_some());
        self.answers.retain(|(request, _)| request.process != process);
    }

    pub(super) fn serve(&mut self, setup: &Setup, request: Request) {
        let answer = match &request.write {
            None => Outcome::Read(self.lease.clone()),
            Some(write) if self.accepts(setup, write) => {
                if self.replaces_live_hold(setup, request.process) {
                    self.broken = Some("a write replaces the record of a hold that is not over");
                }
                // The write was decided on a state after the dispossession: this is a new hold.
                if let Some(holder) = &write.record.holder {
                    self.dispossessed.remove(holder);
                }
                Outcome::Written(self.put(write.record.clone()))
            }
            Some(_) => Outcome::Unknown { pause: Duration::ZERO },
        };
        if !request.stale {
            self.answers.push((request, answer));
        }
    }

    fn accepts(&self, setup: &Setup, write: &Write) -> bool {
        let found = self.lease.as_ref().map(|lease| &lease.version);
        match setup.flaw {
            Some(Flaw::Unconditional) => true,
            _ => found == write.on.as_ref(),
        }
    }

    /// Whether another client or process holds the Lease and may still trust it.
    fn replaces_live_hold(&self, setup: &Setup, writer: usize) -> bool {
        let Some(holder) = self.lease.as_ref().and_then(|lease| lease.record.holder.as_ref()) else {
            return false;
        };
        let seized = holder == OUTSIDER && self.time < self.seized_until;
        let others = (0..self.processes.len()).filter(|number| *number != writer);
        let mut owners = others.filter(|number| self.processes[*number].identity() == *holder);
        seized || owners.any(|number| self.holds(setup, number))
    }

    fn put(&mut self, record: Record) -> Snapshot {
        if self.lease.is_none() {
            self.objects += 1;
        }
        self.revision += 1;
        let version = Version { uid: self.objects.to_string(), revision: self.revision };
        let snapshot = Snapshot { version, record, queue: Queue::default() };
        self.lease = Some(snapshot.clone());
        snapshot
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
            self.put(lease.record.clone());
        }
    }

    pub(super) fn delete(&mut self) {
        self.dispossess();
        self.revision += 1;
        self.lease = None;
    }

    pub(super) fn empty(&mut self) {
        self.dispossess();
        if let Some(lease) = &self.lease {
            self.put(Record { holder: None, ..lease.record.clone() });
        }
    }

    /// Another client claims the Lease, and trusts it for as long as a process of this crate would.
    pub(super) fn seize(&mut self, setup: &Setup) {
        self.dispossess();
        let now = WallTime(1_000_000_000_000_000) + Duration::from_secs(self.time);
        let previous = self.lease.as_ref().map(|lease| &lease.record);
        let record = Record::claim(OUTSIDER, setup.timings().lease_duration, previous, now);
        self.put(record);
        self.seized_until = self.time + setup.token_deadline;
    }

    fn dispossess(&mut self) {
        self.dispossessed.extend(self.lease.as_ref().and_then(|lease| lease.record.holder.clone()));
    }

    /// The watch of a process sends the present state.
    pub(super) fn watch(&mut self, process: usize) {
        self.events.push(WatchEvent { process, revision: self.revision, seen: self.lease.clone() });
    }

    /// Whether there is a state that a watch could send.
    pub(super) fn has_history(&self) -> bool {
        self.revision > 0
    }
}
