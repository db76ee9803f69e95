//! An exhaustive search through everything that can happen to the shipped state machines: every order of arrivals, delays,
//! lost answers and repetitions, with clocks that run at different rates, and with another client that edits, empties,
//! deletes and claims the Lease.
//!
//! One tick is one second of true time. After every event each process acts until it has to wait. The search explores
//! everything else, which is what arrives when. A message that never arrives is one that arrives after the horizon.
//!
//! Invariants, at every point:
//!
//! 1. At most one process holds the Lease.
//! 2. No write replaces the record of a hold that is not over.
//! 3. Each guard has a higher fencing token than the guard before.
//! 4. A process that waits always has an instant ahead at which it acts by itself, and that instant is near.

mod events;
mod process;
mod search;
mod setup;
mod world;

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

use setup::{Faults, Flaw, Setup};

use super::*;

/// Delays only.
const NOTHING: Faults = Faults {
    timeouts: 0,
    repetitions: 0,
    releases: 0,
    withdrawals: 0,
    hand_offs: 0,
    returns: 0,
    joins: 0,
    events: 0,
    breaks: 0,
    strips: 0,
    set_backs: 0,
    edits: 0,
    deletions: 0,
    seizures: 0,
    clearings: 0,
};

/// Clocks that are 20 % too slow and 20 % too fast. The fast one waits for 5 s of true time, and the slow one trusts its hold
/// for 5 s of true time.
const DRIFTING: Setup = Setup {
    rates: &[80, 120],
    lease_duration: 6,
    token_deadline: 4,
    horizon: 6,
    faults: Faults { timeouts: 1, ..NOTHING },
    flaw: None,
};

/// Clocks with the same rate, and leases so short that they can change hands twice.
const SHORT: Setup =
    Setup { rates: &[100, 100], lease_duration: 3, token_deadline: 2, horizon: 5, ..DRIFTING };

const fn short(horizon: u64, faults: Faults) -> Setup {
    Setup { horizon, faults, ..SHORT }
}

const fn three(horizon: u64, faults: Faults) -> Setup {
    Setup { rates: &[100, 100, 100], horizon, faults, ..SHORT }
}

#[track_caller]
fn holds(what: &str, setup: &Setup) -> usize {
    match search::explore(setup) {
        Ok(states) => {
            println!("{states:>10} states: {what}");
            states
        }
        Err(counterexample) => panic!("{what}: {counterexample:?}"),
    }
}

#[track_caller]
fn breaks(setup: &Setup, flaw: Option<Flaw>) {
    let flawed = Setup { flaw, ..setup.clone() };
    assert!(search::explore(&flawed).is_err(), "{flaw:?} should have been found");
}

#[test]
fn every_flaw_is_found() {
    breaks(&Setup { token_deadline: 5, ..DRIFTING }, None);
    breaks(&DRIFTING, Some(Flaw::StampedAtAnswer));
    breaks(&DRIFTING, Some(Flaw::ReceivedAtRequest));
    breaks(&SHORT, Some(Flaw::Unconditional));
}

/// This takes seconds in a debug build.
#[test]
fn every_single_fault() {
    all_hold(&[
        ("drifting clocks", Setup { faults: NOTHING, ..DRIFTING }),
        ("a lost answer", short(3, Faults { timeouts: 1, ..NOTHING })),
        ("a repeated write", short(3, Faults { repetitions: 1, ..NOTHING })),
        ("a release, and the same again", short(3, Faults { releases: 1, returns: 1, ..NOTHING })),
        ("a hold handed off", short(3, Faults { hand_offs: 1, ..NOTHING })),
        ("an acquisition given up", short(3, Faults { withdrawals: 1, ..NOTHING })),
        ("a watch", short(3, Faults { events: 1, ..NOTHING })),
        ("a watch that breaks off", short(3, Faults { breaks: 1, ..NOTHING })),
        ("a join", short(3, Faults { joins: 1, ..NOTHING })),
        ("a queue that is removed", short(3, Faults { strips: 1, ..NOTHING })),
        ("a store that is set back", short(3, Faults { set_backs: 1, ..NOTHING })),
        ("an edit beside the record", short(3, Faults { edits: 1, ..NOTHING })),
        ("a deletion", short(3, Faults { deletions: 1, ..NOTHING })),
        ("an emptied holder", short(3, Faults { clearings: 1, ..NOTHING })),
        ("a seizure", short(3, Faults { seizures: 1, ..NOTHING })),
        ("three contenders", three(2, NOTHING)),
    ]);
}

/// A few short searches. With `MODEL=large` all of them, which takes minutes in a release build.
#[test]
fn faults_together() {
    let lost = Faults { timeouts: 1, ..NOTHING };
    all_hold(&[
        ("a queue that is removed", short(2, Faults { joins: 1, strips: 1, ..NOTHING })),
        ("a store that is set back, a watch", short(2, Faults { set_backs: 1, events: 1, ..NOTHING })),
        ("a hold handed off, given up", short(2, Faults { hand_offs: 1, withdrawals: 1, ..NOTHING })),
    ]);
    if !std::env::var("MODEL").is_ok_and(|size| size == "large") {
        println!("SKIPPED: longer searches; set MODEL=large, in a release build");
        return;
    }
    all_hold(&[
        ("drifting clocks, a lost answer", DRIFTING),
        ("a lost answer, two holds", SHORT),
        ("two lost answers", short(4, Faults { timeouts: 2, ..NOTHING })),
        ("a lost answer, an edit", short(4, Faults { edits: 1, ..lost })),
        ("a lost answer, a release, and again", short(3, Faults { releases: 1, returns: 1, ..lost })),
        ("a lost answer, a hold handed off", short(3, Faults { hand_offs: 1, ..lost })),
        (
            "a hold handed off, then given up",
            short(3, Faults { hand_offs: 1, withdrawals: 1, edits: 1, ..NOTHING }),
        ),
        (
            "a hold handed off, a deletion, a seizure",
            short(2, Faults { hand_offs: 1, deletions: 1, seizures: 1, ..NOTHING }),
        ),
        ("a lost answer, given up", short(4, Faults { withdrawals: 1, ..lost })),
        ("a lost answer, a watch", short(3, Faults { events: 2, ..lost })),
        (
            "a lost answer, a deletion, a repetition",
            short(2, Faults { deletions: 1, repetitions: 1, ..lost }),
        ),
        ("a lost answer, a watch, an emptied holder", short(2, Faults { events: 1, clearings: 1, ..lost })),
        (
            "a queue that is removed, a release, and again",
            short(3, Faults { joins: 1, strips: 1, releases: 1, ..NOTHING }),
        ),
        ("a watch that breaks off twice, and goes on", short(3, Faults { breaks: 2, events: 1, ..NOTHING })),
        ("a store that is set back, a watch", short(3, Faults { set_backs: 1, events: 1, ..NOTHING })),
        ("two deletions, a release", short(3, Faults { deletions: 2, releases: 1, ..NOTHING })),
        ("a seizure, a lost answer", short(4, Faults { seizures: 1, ..lost })),
        (
            "a seizure, releases, and again",
            short(3, Faults { seizures: 1, releases: 2, returns: 2, ..NOTHING }),
        ),
        (
            "releases, a repetition, and again",
            short(3, Faults { releases: 2, repetitions: 1, returns: 2, ..NOTHING }),
        ),
        ("three, a lost answer", three(2, lost)),
        ("three, a release, and again", three(2, Faults { releases: 1, returns: 1, ..NOTHING })),
        ("three, a hold handed off", three(2, Faults { hand_offs: 1, ..lost })),
        ("three, a deletion", three(2, Faults { deletions: 1, ..NOTHING })),
        ("three, a seizure", three(2, Faults { seizures: 1, ..NOTHING })),
        ("three, a hold and more", three(4, NOTHING)),
    ]);
}

/// Runs the searches on all cores.
fn all_hold(cases: &[(&str, Setup)]) {
    let (next, states) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some((what, setup)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    states.fetch_add(holds(what, setup), Ordering::Relaxed);
                }
            });
        }
    });
    println!("{:>10} states in all", states.into_inner());
}
