//! An exhaustive search through what can happen to the shipped state machines: every order of arrivals,
//! delays, lost answers and repetitions, with clocks that run at different rates, and somebody else who edits,
//! empties, deletes and claims the Lease.
//!
//! One tick is one second of true time. After every event each process acts until it has to wait; everything
//! else, what arrives when, is explored. A message that never arrives is one that arrives after the horizon.
//!
//! At no point may two processes hold the Lease, nor a write replace the record of a hold that is not over, nor a
//! guard be handed out with a fencing token that is not higher than the one before.

mod events;
mod process;
mod search;
mod setup;
mod world;

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

use setup::{Faults, Flaw, Setup};

use super::*;

/// Nothing but delays.
const NOTHING: Faults = Faults {
    timeouts: 0,
    repetitions: 0,
    releases: 0,
    withdrawals: 0,
    hand_offs: 0,
    returns: 0,
    news: 0,
    edits: 0,
    deletions: 0,
    intrusions: 0,
    clearings: 0,
};

/// Clocks that differ by 20 % to either side: the fast one waits for 5 s of true time, the slow one trusts its
/// hold for as long.
const DRIFTING: Setup = Setup {
    rates: &[80, 120],
    lease_duration: 6,
    token_deadline: 4,
    horizon: 6,
    faults: Faults { timeouts: 1, ..NOTHING },
    flaw: None,
};

/// Clocks that run alike, and leases so short that they may change hands twice.
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

/// Seconds, in a debug build.
#[test]
fn every_single_fault() {
    all_hold(&[
        ("drifting clocks", Setup { faults: NOTHING, ..DRIFTING }),
        ("a lost answer", short(3, Faults { timeouts: 1, ..NOTHING })),
        ("a repeated write", short(3, Faults { repetitions: 1, ..NOTHING })),
        ("a release, and the same again", short(3, Faults { releases: 1, returns: 1, ..NOTHING })),
        ("a hold handed on", short(3, Faults { hand_offs: 1, ..NOTHING })),
        ("an acquisition given up", short(3, Faults { withdrawals: 1, ..NOTHING })),
        ("a watch", short(3, Faults { news: 1, ..NOTHING })),
        ("an edit beside the record", short(3, Faults { edits: 1, ..NOTHING })),
        ("a deletion", short(3, Faults { deletions: 1, ..NOTHING })),
        ("an emptied holder", short(3, Faults { clearings: 1, ..NOTHING })),
        ("an intruder", short(3, Faults { intrusions: 1, ..NOTHING })),
        ("three contenders", three(2, NOTHING)),
    ]);
}

/// Minutes, in a release build: asked for by `MODEL=large`.
#[test]
fn faults_together() {
    if !std::env::var("MODEL").is_ok_and(|size| size == "large") {
        return;
    }
    let lost = Faults { timeouts: 1, ..NOTHING };
    all_hold(&[
        ("drifting clocks, a lost answer", DRIFTING),
        ("a lost answer, two timings", SHORT),
        ("two lost answers", short(4, Faults { timeouts: 2, ..NOTHING })),
        ("a lost answer, an edit", short(4, Faults { edits: 1, ..lost })),
        ("a lost answer, a release, and again", short(3, Faults { releases: 1, returns: 1, ..lost })),
        ("a lost answer, a hold handed on", short(3, Faults { hand_offs: 1, ..lost })),
        (
            "a hold handed on, then given up",
            short(3, Faults { hand_offs: 1, withdrawals: 1, edits: 1, ..NOTHING }),
        ),
        (
            "a hold handed on, a deletion, an intruder",
            short(2, Faults { hand_offs: 1, deletions: 1, intrusions: 1, ..NOTHING }),
        ),
        ("a lost answer, given up", short(4, Faults { withdrawals: 1, ..lost })),
        ("a lost answer, a watch", short(3, Faults { news: 2, ..lost })),
        (
            "a lost answer, a deletion, a repetition",
            short(2, Faults { deletions: 1, repetitions: 1, ..lost }),
        ),
        ("a lost answer, a watch, an emptied holder", short(2, Faults { news: 1, clearings: 1, ..lost })),
        ("two deletions, a release", short(3, Faults { deletions: 2, releases: 1, ..NOTHING })),
        ("an intruder, a lost answer", short(4, Faults { intrusions: 1, ..lost })),
        (
            "an intruder, releases, and again",
            short(3, Faults { intrusions: 1, releases: 2, returns: 2, ..NOTHING }),
        ),
        (
            "releases, a repetition, and again",
            short(3, Faults { releases: 2, repetitions: 1, returns: 2, ..NOTHING }),
        ),
        ("three, a lost answer", three(2, lost)),
        ("three, a release, and again", three(2, Faults { releases: 1, returns: 1, ..NOTHING })),
        ("three, a hold handed on", three(2, Faults { hand_offs: 1, ..lost })),
        ("three, a deletion", three(2, Faults { deletions: 1, ..NOTHING })),
        ("three, an intruder", three(2, Faults { intrusions: 1, ..NOTHING })),
        ("three, a term and more", three(4, NOTHING)),
    ]);
}

/// On all cores.
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
