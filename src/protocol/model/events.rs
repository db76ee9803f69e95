//! Every event that can happen next.

use super::process::{Sent, State};
use super::world::{Request, World};
use super::{Faults, Outcome, Setup};

/// An event, with the process that it concerns.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "for people to read")]
pub(super) enum Event {
    Tick,
    Served(usize),
    ServedTwice(usize),
    Answered(usize),
    TimedOut(usize),
    WatchSends(usize),
    WatchDelivers(usize),
    WatchBreaks(usize),
    Releases(usize),
    Withdraws(usize),
    HandsOff(usize),
    Returns(usize),
    Edited,
    Stripped,
    SetBack,
    Deleted,
    Emptied,
    Seized,
}

/// Selects the fault of which one more is spent.
type Budget = fn(&mut Faults) -> &mut u8;

struct Explorer<'a> {
    setup: &'a Setup,
    world: &'a World,
    next: Vec<(Event, World)>,
}

/// Every event that is possible in `world`, with the world after it.
pub(super) fn successors(setup: &Setup, world: &World) -> Vec<(Event, World)> {
    let mut explorer = Explorer { setup, world, next: Vec::new() };
    if world.time < setup.horizon {
        explorer.explore(Event::Tick, |world| world.time += 1);
    }
    explorer.requests();
    explorer.answers();
    explorer.events();
    explorer.processes();
    explorer.other_clients();
    explorer.next
}

impl Explorer<'_> {
    fn explore(&mut self, event: Event, change: impl FnOnce(&mut World)) {
        let mut world = self.world.clone();
        change(&mut world);
        world.act(self.setup);
        self.next.push((event, world));
    }

    /// Explores the event if its fault may happen once more.
    fn spend(&mut self, budget: Budget, event: Event, change: impl FnOnce(&mut World)) {
        let mut left = self.world.left;
        if *budget(&mut left) > 0 {
            self.explore(event, |world| {
                *budget(&mut world.left) -= 1;
                change(world);
            });
        }
    }

    fn requests(&mut self) {
        let (setup, world) = (self.setup, self.world);
        for (at, request) in world.requests.iter().enumerate() {
            self.explore(Event::Served(request.process), |world| {
                let request = world.requests.remove(at);
                world.serve(setup, request);
            });
            if request.what != Sent::Read {
                self.spend(
                    |left| &mut left.repetitions,
                    Event::ServedTwice(request.process),
                    |world| {
                        // The client gets the answer to the second arrival.
                        let first = Request { stale: true, ..world.requests[at].clone() };
                        world.serve(setup, first);
                    },
                );
            }
        }
    }

    fn answers(&mut self) {
        let (setup, world) = (self.setup, self.world);
        for (at, (request, _)) in world.answers.iter().enumerate() {
            self.explore(Event::Answered(request.process), |world| {
                let (request, answer) = world.answers.remove(at);
                let (now, wall) = (world.now(setup, request.process), world.wall(setup, request.process));
                let (process, now) = (&mut world.processes[request.process], request.sent.unwrap_or(now));
                match request.what {
                    Sent::Join(_) => process.joined(answer, now, wall),
                    Sent::Read | Sent::Write(_) => process.answered(answer, now, wall),
                }
            });
        }
    }

    fn events(&mut self) {
        let (setup, world) = (self.setup, self.world);
        for number in 0..world.processes.len() {
            let next = world.events.iter().position(|(process, _)| *process == number);
            if let Some(at) = next.filter(|_| world.processes[number].listens()) {
                self.explore(Event::WatchDelivers(number), |world| {
                    let (_, event) = world.events.remove(at);
                    let (now, wall) = (world.now(setup, number), world.wall(setup, number));
                    world.processes[number].watched(event, now, wall);
                });
            }
        }
    }

    fn processes(&mut self) {
        let (setup, world) = (self.setup, self.world);
        for (number, process) in world.processes.iter().enumerate() {
            if process.waiting {
                self.spend(
                    |left| &mut left.timeouts,
                    Event::TimedOut(number),
                    |world| {
                        let (now, wall) = (world.now(setup, number), world.wall(setup, number));
                        world.abandon_requests(number);
                        let in_doubt =
                            Outcome::InDoubt { retry_after: None, server_known: true, refused: false };
                        world.processes[number].answered(in_doubt, now, wall);
                    },
                );
            }
            let stop = |world: &mut World| {
                let now = world.now(setup, number);
                world.abandon_requests(number);
                world.processes[number].stop(false, now);
            };
            match &process.state {
                State::Acquiring(_) => {
                    self.spend(|left| &mut left.withdrawals, Event::Withdraws(number), stop);
                }
                State::Holding(_) => {
                    self.spend(|left| &mut left.releases, Event::Releases(number), stop);
                    self.spend(
                        |left| &mut left.hand_offs,
                        Event::HandsOff(number),
                        |world| {
                            let now = world.now(setup, number);
                            world.abandon_requests(number);
                            world.processes[number].hand_off(setup, now);
                        },
                    );
                }
                State::Releasing(_) => continue,
                State::Over => {
                    self.spend(
                        |left| &mut left.returns,
                        Event::Returns(number),
                        |world| {
                            let now = world.now(setup, number);
                            world.processes[number].acquire(setup, now);
                        },
                    );
                    continue;
                }
            }
            if process.watching && world.has_history() {
                self.spend(|left| &mut left.events, Event::WatchSends(number), |world| world.watch(number));
            }
            if process.watching {
                let expired = world.left.breaks % 2 == 1;
                self.spend(
                    |left| &mut left.breaks,
                    Event::WatchBreaks(number),
                    |world| world.break_watch(number, expired),
                );
            }
        }
    }

    fn other_clients(&mut self) {
        let setup = self.setup;
        if self.world.can_be_set_back() {
            self.spend(|left| &mut left.set_backs, Event::SetBack, World::set_back);
        }
        self.spend(|left| &mut left.seizures, Event::Seized, |world| world.seize(setup));
        if self.world.lease.is_some() {
            self.spend(|left| &mut left.edits, Event::Edited, World::edit);
            self.spend(|left| &mut left.strips, Event::Stripped, World::strip);
            self.spend(|left| &mut left.deletions, Event::Deleted, World::delete);
            self.spend(|left| &mut left.clearings, Event::Emptied, World::empty);
        }
    }
}
