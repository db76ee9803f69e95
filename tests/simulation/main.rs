//! The whole crate in simulated worlds: real locks and clients on an in-process API server, in virtual time, under
//! every fault. One seed gives one world, the same each time.
//!
//! ```text
//! cargo test --test simulation                                                     some worlds
//! SIMULATION_SEED=42 cargo test --test simulation -- --nocapture                   the trace of one seed's world
//! SIMULATION_WORLDS=1000000 cargo test --release --test simulation -- --nocapture  a campaign
//! ```
//!
//! `SIMULATION_FIRST` sets the first seed of a campaign, and `SIMULATION_STOP=1` ends it with the first violation.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

mod campaign;
mod client_go;
mod faults;
mod history;
mod invariants;
mod meter;
mod node;
mod rng;
mod scenario;
mod trace;
mod workload;
mod world;

use campaign::Campaign;
use rng::Seed;
use trace::TraceMode;
use world::run;

/// With the allocator of glibc, a world would spend a third of its time there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Worlds that once violated an invariant, one seed a line, with its edition.
const REGRESSIONS: &str = include_str!("regressions.txt");

/// As many worlds as fit into half a minute.
const SOME: u64 = if cfg!(debug_assertions) { 400 } else { 4_000 };

#[test]
fn every_invariant_holds_in_every_world() {
    if let Ok(seed) = std::env::var("SIMULATION_SEED") {
        return replay(seed.parse().unwrap());
    }
    let worlds = variable("SIMULATION_WORLDS").unwrap_or(SOME);
    let first = variable("SIMULATION_FIRST").unwrap_or(1);
    if variable("SIMULATION_STOP").is_some() {
        return stop_at_first_violation(first..first + worlds);
    }
    let regressions =
        REGRESSIONS.lines().filter(|line| !line.starts_with('#')).map(|seed| seed.parse().unwrap());
    let seeds = (first..first + worlds).map(Seed::from);
    let campaign = Campaign::run(regressions.chain(seeds), Campaign::MAX_FAILURES);
    eprintln!("{campaign}");
    if let Some(seed) = campaign.failed.keys().next() {
        replay(*seed);
    }
}

#[test]
fn a_seed_gives_the_same_world_each_time() {
    for seed in (1..=20).map(Seed::from) {
        let (once, again) = (run(seed, TraceMode::Keep).lines, run(seed, TraceMode::Keep).lines);
        let parted = once.iter().zip(&again).find(|(one, other)| one != other);
        assert_eq!(parted, None, "SIMULATION_SEED={seed}");
    }
}

/// Prints how many worlds it takes until an invariant is violated. The worlds of `regressions.txt` do not count.
fn stop_at_first_violation(seeds: std::ops::Range<u64>) {
    let first = seeds.start;
    // All worlds before the first failed one ran to the end.
    if let Some((seed, violations)) = Campaign::run(seeds.map(Seed::from), 1).failed.pop_first() {
        eprintln!("violated after {} worlds: {}", seed.number + 1 - first, violations.join("; "));
        panic!("SIMULATION_SEED={seed} prints its trace");
    }
}

/// Runs one world, prints its trace, and fails if it violates an invariant.
fn replay(seed: Seed) {
    let outcome = run(seed, TraceMode::Print);
    assert!(outcome.violations.is_empty(), "SIMULATION_SEED={seed}: {}", outcome.violations.join("\n"));
}

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}, not a number")))
}
