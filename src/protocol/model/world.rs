//! The Lease, those who contend for it, and what is on its way between them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::process::{Act, Process};
use super::{Faults, Flaw, Instant, Outcome, Queue, Record, Setup, Snapshot, Version, WallTime, Write};

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub time: u64,
    revision: u64,
    objects: u64,
    pub lease: Option<Snapshot>,
    pub processes: Vec<Process>,
    /// On their way to the server.
    pub requests: Vec<Request>,
    /// On their way back.
    pub answers: Vec<(Request, Outcome)>,
    /// On their way from the watch, in the order of each process.
    pub news: Vec<News>,
    pub left: Faults,
    /// From whom somebody else took the Lease: until they learn of it, they may hold beside a successor.
    robbed: BTreeSet<String>,
    /// Up to when the intruder holds what it has taken.
    intruded_until: u64,
    /// The fencing token of the last guard.
    token: u64,
    pub broken: Option<&'static str>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub process: usize,
    /// Nobody waits for the answer any more.
    pub stale: bool,
    /// When it was sent, where that matters.
    pub sent: Option<Instant>,
    /// `None` reads.
    pub write: Option<Write>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct News {
    pub process: usize,
    pub revision: u64,
    pub seen: Option<Snapshot>,
}

const INTRUDER: &str = "intruder";

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
            news: Vec::new(),
            left: setup.faults,
            robbed: BTreeSet::new(),
            intruded_until: 0,
            token: 0,
            broken: None,
        };
        world.act(setup);
        world
    }

    pub(super) fn now(&self, setup: &Setup, process: usize) -> Instant {
        Instant::ORIGIN + Duration::from_millis(10 * setup.rates[process] * self.time)
    }

    /// Wall clocks differ by weeks.
    pub(super) fn wall(&self, setup: &Setup, process: usize) -> WallTime {
        WallTime(1_000_000_000_000 * i64::try_from(process).unwrap())
            + self.now(setup, process).since_origin()
    }

    /// Lets every process do what it does by itself.
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
            Act::Send(write) => {
                let sent = (setup.flaw == Some(Flaw::ReceivedAtRequest)).then_some(now);
                self.requests.push(Request { process: number, stale: false, sent, write });
            }
            Act::Granted(token) => {
                if !self.robbed.contains(&self.processes[number].identity()) {
                    if token <= self.token {
                        self.broken = Some("a fencing token does not rise");
                    }
                    self.token = token;
                }
            }
            Act::Ended => self.give_up(number),
            Act::Waits => return false,
        }
        true
    }

    /// A write conditional on a state that has gone can change nothing, where nobody waits for its answer.
    fn forget_void_requests(&mut self) {
        let found = self.lease.as_ref().map(|lease| lease.version.clone());
        let may_come_back = self.left.deletions > 0;
        self.requests.retain(|request| {
            let on = request.write.as_ref().map(|write| &write.on);
            !request.stale || on == Some(&found) || (may_come_back && on == Some(&None))
        });
    }

    /// What a process has under way may still arrive, but its answer is lost on it. Its watch stays open.
    pub(super) fn give_up(&mut self, process: usize) {
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
                if self.tramples(setup, request.process) {
                    self.broken = Some("a write replaces the record of a hold that is not over");
                }
                // What was written after a robbery was decided on what that had left.
                if let Some(holder) = &write.record.holder {
                    self.robbed.remove(holder);
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

    /// Whether the Lease is somebody else's, who may trust in it.
    fn tramples(&self, setup: &Setup, writer: usize) -> bool {
        let Some(holder) = self.lease.as_ref().and_then(|lease| lease.record.holder.as_ref()) else {
            return false;
        };
        let intruded = holder == INTRUDER && self.time < self.intruded_until;
        let others = (0..self.processes.len()).filter(|number| *number != writer);
        let mut owners = others.filter(|number| self.processes[*number].identity() == *holder);
        intruded || owners.any(|number| self.holds(setup, number))
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

    /// Processes that believe to hold the Lease, and whom nobody has robbed of it.
    fn holders(&self, setup: &Setup) -> usize {
        let is_robbed = |number: &usize| self.robbed.contains(&self.processes[*number].identity());
        (0..self.processes.len()).filter(|number| self.holds(setup, *number) && !is_robbed(number)).count()
    }

    fn holds(&self, setup: &Setup, number: usize) -> bool {
        self.processes[number].deadline().is_some_and(|deadline| self.now(setup, number) < deadline)
    }

    /// Somebody edits what is beside the record.
    pub(super) fn edit(&mut self) {
        if let Some(lease) = &self.lease {
            self.put(lease.record.clone());
        }
    }

    pub(super) fn delete(&mut self) {
        self.rob();
        self.revision += 1;
        self.lease = None;
    }

    pub(super) fn empty(&mut self) {
        self.rob();
        if let Some(lease) = &self.lease {
            self.put(Record { holder: None, ..lease.record.clone() });
        }
    }

    /// Somebody claims, and trusts in it for as long as one of us would.
    pub(super) fn intrude(&mut self, setup: &Setup) {
        self.rob();
        let now = WallTime(1_000_000_000_000_000) + Duration::from_secs(self.time);
        let previous = self.lease.as_ref().map(|lease| &lease.record);
        let record = Record::claim(INTRUDER, setup.timings().lease_duration, previous, now);
        self.put(record);
        self.intruded_until = self.time + setup.token_deadline;
    }

    fn rob(&mut self) {
        self.robbed.extend(self.lease.as_ref().and_then(|lease| lease.record.holder.clone()));
    }

    /// A watch sends the present state on its way.
    pub(super) fn watch(&mut self, process: usize) {
        self.news.push(News { process, revision: self.revision, seen: self.lease.clone() });
    }

    /// Whether there is anything to tell.
    pub(super) fn has_history(&self) -> bool {
        self.revision > 0
    }
}
