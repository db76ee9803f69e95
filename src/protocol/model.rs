//! An exhaustive search through what can happen to the shipped state machines: every order of arrivals,
//! delays, lost answers and repetitions, with clocks that run at different rates.
//!
//! One tick is one second of true time. After every event each process acts until it has to wait; everything
//! else, what arrives when, is explored. A message that never arrives is one that arrives after the horizon.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::*;

/// What is explored.
#[derive(Clone)]
struct Setup {
    /// The rate of each process's clock, in percent of true time: 100 is right.
    rates: &'static [u64],
    lease_duration: u64,
    renew_deadline: u64,
    horizon: u64,
    faults: Faults,
    flaw: Option<Flaw>,
}

/// How often something may go wrong on the way through.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Faults {
    /// Requests given up on; they may arrive all the same.
    timeouts: u8,
    repetitions: u8,
    releases: u8,
    /// Edits beside the record, by somebody else.
    edits: u8,
}

/// Deliberate breaches of the protocol, to see that the search finds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// A claim counts from its answer.
    StampedAtAnswer,
    /// The server takes every write, whatever it is conditional on.
    Unconditional,
    /// A record counts as received when it was asked for.
    ReceivedAtRequest,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    time: u64,
    revision: u64,
    objects: u64,
    lease: Option<Snapshot>,
    processes: Vec<Process>,
    /// On their way to the server.
    requests: Vec<Request>,
    /// On their way back.
    answers: Vec<(Request, Answer)>,
    left: Faults,
    /// The fencing token of the last guard.
    token: u64,
    /// A guard was handed out with a token that is not higher than the one before.
    token_fell: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Process {
    judge: Judge,
    state: State,
    /// Whether it waits for an answer.
    waiting: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum State {
    Contending(Contention),
    Holding(Holder),
    Releasing(Release),
    Over,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Request {
    process: usize,
    /// Nobody waits for the answer any more.
    stale: bool,
    /// When it was sent, where that matters.
    sent: Option<Moment>,
    /// `None` reads.
    write: Option<Write>,
}

/// What happened, by process.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "for people to read")]
enum Event {
    Tick,
    Served(usize),
    ServedTwice(usize),
    Answered(usize),
    TimedOut(usize),
    Releases(usize),
    Edited,
}

impl World {
    fn new(setup: &Setup) -> Self {
        let terms = setup.terms();
        let process = |number: usize| Process {
            judge: Judge::new(terms.lease_duration, None),
            state: State::Contending(Contention::new(format!("p{number}"), terms, None)),
            waiting: false,
        };
        let mut world = Self {
            time: 0,
            revision: 0,
            objects: 0,
            lease: None,
            processes: (0..setup.rates.len()).map(process).collect(),
            requests: Vec::new(),
            answers: Vec::new(),
            left: setup.faults,
            token: 0,
            token_fell: false,
        };
        world.act(setup);
        world
    }

    fn now(&self, setup: &Setup, process: usize) -> Moment {
        Moment::ORIGIN + Duration::from_millis(10 * setup.rates[process] * self.time)
    }

    /// Wall clocks differ by weeks.
    fn wall(&self, setup: &Setup, process: usize) -> Stamp {
        Stamp(1_000_000_000_000 * i64::try_from(process).unwrap()) + self.now(setup, process).since_origin()
    }

    /// Lets every process do what it does by itself.
    fn act(&mut self, setup: &Setup) {
        for number in 0..self.processes.len() {
            while self.act_once(setup, number) {}
        }
        // A write conditional on a state that has gone can change nothing, and nobody waits for its answer.
        if setup.flaw.is_none() {
            let found = self.lease.as_ref().map(|lease| lease.version.clone());
            self.requests.retain(|request| {
                let on = request.write.as_ref().map(|write| &write.on);
                !request.stale || on == Some(&found)
            });
        }
    }

    fn act_once(&mut self, setup: &Setup, number: usize) -> bool {
        let (now, wall) = (self.now(setup, number), self.wall(setup, number));
        let process = &mut self.processes[number];
        let write = match &mut process.state {
            State::Contending(contention) => match contention.step(now, wall) {
                ContentionStep::Look => None,
                ContentionStep::Claim(write) => Some(write),
                ContentionStep::Won(mut claim) => {
                    if setup.flaw == Some(Flaw::StampedAtAnswer) {
                        claim.sent = now;
                    }
                    let token = claim.snapshot.version.revision;
                    self.token_fell |= token <= self.token;
                    self.token = token;
                    let holder = Holder::new(format!("p{number}"), setup.terms(), claim.sent, claim.snapshot);
                    process.state = State::Holding(holder);
                    return true;
                }
                ContentionStep::Wait(_) | ContentionStep::Pause(_) => return false,
            },
            State::Holding(holder) => match holder.step(now, wall) {
                Step::Look => None,
                Step::Renew(write) => Some(write),
                Step::Lost(_) => {
                    process.state = State::Over;
                    process.waiting = false;
                    self.give_up(number);
                    return false;
                }
                Step::Wait(_) => return false,
            },
            State::Releasing(release) => match release.step(now, wall) {
                ReleaseStep::Look => None,
                ReleaseStep::Write(write) => Some(write),
                ReleaseStep::End(_) => {
                    process.state = State::Over;
                    process.waiting = false;
                    self.give_up(number);
                    return false;
                }
                ReleaseStep::Wait(_) => return false,
            },
            State::Over => return false,
        };
        process.waiting = true;
        let sent = (setup.flaw == Some(Flaw::ReceivedAtRequest)).then_some(now);
        self.requests.push(Request { process: number, stale: false, sent, write });
        true
    }

    /// Everything that can happen next.
    fn successors(&self, setup: &Setup) -> Vec<(Event, World)> {
        let mut next = Vec::new();
        let mut explore = |event: Event, change: &dyn Fn(&mut World)| {
            let mut world = self.clone();
            change(&mut world);
            world.act(setup);
            next.push((event, world));
        };
        if self.time < setup.horizon {
            explore(Event::Tick, &|world| world.time += 1);
        }
        for at in 0..self.requests.len() {
            let request = &self.requests[at];
            explore(Event::Served(request.process), &|world| {
                let request = world.requests.remove(at);
                world.serve(setup, request);
            });
            if self.left.repetitions > 0 && request.write.is_some() {
                explore(Event::ServedTwice(request.process), &|world| {
                    world.left.repetitions -= 1;
                    // The client is told what came of the second.
                    let request = Request { stale: true, ..world.requests[at].clone() };
                    world.serve(setup, request);
                });
            }
        }
        for at in 0..self.answers.len() {
            let (request, _) = &self.answers[at];
            explore(Event::Answered(request.process), &|world| {
                let (request, answer) = world.answers.remove(at);
                let received = request.sent.unwrap_or(world.now(setup, request.process));
                world.deliver(setup, request.process, answer, received);
            });
        }
        for (number, process) in self.processes.iter().enumerate() {
            if process.waiting && self.left.timeouts > 0 {
                explore(Event::TimedOut(number), &|world| {
                    world.left.timeouts -= 1;
                    world.give_up(number);
                    let now = world.now(setup, number);
                    world.deliver(setup, number, Answer::Unknown { pause: Duration::ZERO }, now);
                });
            }
            if let (State::Holding(holder), true) = (&process.state, self.left.releases > 0) {
                explore(Event::Releases(number), &|world| {
                    world.left.releases -= 1;
                    world.processes[number].state = State::Releasing(holder.clone().release());
                    world.give_up(number);
                    world.processes[number].waiting = false;
                });
            }
        }
        if self.left.edits > 0 && self.lease.is_some() {
            explore(Event::Edited, &|world| {
                world.left.edits -= 1;
                world.revision += 1;
                let revision = world.revision;
                world.lease.iter_mut().for_each(|lease| lease.version.revision = revision);
            });
        }
        next
    }

    fn serve(&mut self, setup: &Setup, request: Request) {
        let answer = match &request.write {
            None => Answer::Seen(self.lease.clone()),
            Some(write) if self.accepts(setup, write) => {
                if self.lease.is_none() {
                    self.objects += 1;
                }
                self.revision += 1;
                let version = Version { uid: self.objects.to_string(), revision: self.revision };
                let snapshot = Snapshot { version, record: write.record.clone() };
                self.lease = Some(snapshot.clone());
                Answer::Written(snapshot)
            }
            Some(_) => Answer::Unknown { pause: Duration::ZERO },
        };
        if !request.stale {
            self.answers.push((request, answer));
        }
    }

    /// What a process has under way may still arrive, but its answer is lost on it.
    fn give_up(&mut self, process: usize) {
        for request in self.requests.iter_mut().filter(|request| request.process == process) {
            request.stale = true;
        }
        self.requests.retain(|request| !request.stale || request.write.is_some());
        self.answers.retain(|(request, _)| request.process != process);
    }

    fn accepts(&self, setup: &Setup, write: &Write) -> bool {
        let found = self.lease.as_ref().map(|lease| &lease.version);
        match setup.flaw {
            Some(Flaw::Unconditional) => true,
            _ => found == write.on.as_ref(),
        }
    }

    fn deliver(&mut self, setup: &Setup, number: usize, answer: Answer, now: Moment) {
        let wall = self.wall(setup, number);
        self.answers.retain(|(request, _)| request.process != number);
        let process = &mut self.processes[number];
        process.waiting = false;
        match &mut process.state {
            State::Contending(contention) => contention.answered(answer, &mut process.judge, now, wall),
            State::Holding(holder) => holder.answered(answer, now),
            State::Releasing(release) => release.answered(answer, now),
            State::Over => {}
        }
    }

    /// Processes that believe to hold the Lease.
    fn holders(&self, setup: &Setup) -> usize {
        let holds = |(number, process): (usize, &Process)| matches!(&process.state, State::Holding(holder) if self.now(setup, number) < holder.deadline());
        self.processes.iter().enumerate().filter(|process| holds(*process)).count()
    }
}

impl Setup {
    fn terms(&self) -> Terms {
        Terms {
            lease_duration: Duration::from_secs(self.lease_duration),
            renew_deadline: Duration::from_secs(self.renew_deadline),
            renew_interval: Duration::from_secs(self.renew_deadline / 2),
        }
    }

    /// Searches through everything. Returns the number of states, or the way to two holders,
    /// or to a fencing token that does not rise.
    fn explore(&self) -> Result<usize, Vec<Event>> {
        let mut seen = HashSet::new();
        let mut open = vec![(0, None, World::new(self))];
        let mut way: Vec<Event> = Vec::new();
        while let Some((depth, event, world)) = open.pop() {
            way.truncate(depth);
            way.extend(event);
            let mut hasher = DefaultHasher::new();
            world.hash(&mut hasher);
            if !seen.insert(hasher.finish()) {
                continue;
            }
            if world.holders(self) > 1 || world.token_fell {
                return Err(way);
            }
            let depth = way.len();
            open.extend(world.successors(self).into_iter().map(|(event, world)| (depth, Some(event), world)));
        }
        Ok(seen.len())
    }
}

const NOTHING: Faults = Faults { timeouts: 0, repetitions: 0, releases: 0, edits: 0 };

/// Clocks that differ by 20 % to either side: the fast one waits for 5 s of true time, the slow one trusts its
/// hold for as long.
const DRIFTING: Setup = Setup {
    rates: &[80, 120],
    lease_duration: 6,
    renew_deadline: 4,
    horizon: 6,
    faults: Faults { timeouts: 1, ..NOTHING },
    flaw: None,
};

/// Clocks that run alike, and leases so short that they may change hands twice.
const SHORT: Setup =
    Setup { rates: &[100, 100], lease_duration: 3, renew_deadline: 2, horizon: 5, ..DRIFTING };

#[track_caller]
fn holds(setup: &Setup) {
    match setup.explore() {
        Ok(states) => println!("{states} states"),
        Err(way) => panic!("two holders, or a token that does not rise, after {way:?}"),
    }
}

#[track_caller]
fn breaks(setup: &Setup, flaw: Option<Flaw>) {
    let flawed = Setup { flaw, ..setup.clone() };
    assert!(flawed.explore().is_err(), "{flaw:?} should have been found");
}

#[test]
fn drifting_clocks() {
    holds(&Setup { faults: NOTHING, ..DRIFTING });
}

#[test]
fn lost_answers() {
    holds(&Setup { horizon: 3, ..SHORT });
}

#[test]
fn releases() {
    holds(&Setup { faults: Faults { releases: 1, ..NOTHING }, horizon: 3, ..SHORT });
}

#[test]
fn repetitions() {
    holds(&Setup { faults: Faults { repetitions: 1, ..NOTHING }, horizon: 3, ..SHORT });
}

#[test]
fn edits_beside_the_record() {
    holds(&Setup { faults: Faults { edits: 1, ..NOTHING }, horizon: 3, ..SHORT });
}

#[test]
fn three_contenders() {
    holds(&Setup { rates: &[100, 100, 100], horizon: 2, faults: NOTHING, ..SHORT });
}

/// Minutes, in a release build: asked for by `MODEL=large`.
#[test]
fn larger() {
    if std::env::var("MODEL").is_ok_and(|size| size == "large") {
        holds(&DRIFTING);
        holds(&SHORT);
        holds(&Setup { faults: Faults { timeouts: 1, edits: 1, ..NOTHING }, horizon: 4, ..SHORT });
        holds(&Setup { faults: Faults { releases: 1, repetitions: 1, ..NOTHING }, horizon: 4, ..SHORT });
        holds(&Setup { rates: &[100, 100, 100], horizon: 3, faults: NOTHING, ..SHORT });
    }
}

#[test]
fn every_flaw_is_found() {
    breaks(&Setup { renew_deadline: 5, ..DRIFTING }, None);
    breaks(&DRIFTING, Some(Flaw::StampedAtAnswer));
    breaks(&DRIFTING, Some(Flaw::ReceivedAtRequest));
    breaks(&SHORT, Some(Flaw::Unconditional));
}
