//! Many worlds, on all cores.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::rng::Seed;
use crate::trace::{Counts, TraceMode};
use crate::world::run;

#[derive(Default)]
pub(crate) struct Campaign {
    pub(crate) worlds: u64,
    virtual_time: Duration,
    counts: Counts,
    /// The worlds in which an invariant was violated.
    pub(crate) failed: BTreeMap<Seed, Vec<String>>,
}

impl Campaign {
    /// After so many failures there is nothing more to learn.
    pub(crate) const MAX_FAILURES: usize = 100;

    /// Runs the worlds of all these seeds, until `max_failures` of them have failed.
    pub(crate) fn run(seeds: impl Iterator<Item = Seed> + Send, max_failures: usize) -> Self {
        let (seeds, total) = (Mutex::new(seeds), Mutex::new(Self::default()));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (started, next_report) = (Instant::now(), AtomicU64::new(1));
        std::thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(|| {
                    while let Some(seed) = next(&seeds) {
                        let one = Self::one(seed);
                        one.failed
                            .iter()
                            .for_each(|(seed, invariants)| eprintln!("{seed}: {}", invariants.join("; ")));
                        let mut total = total.lock().unwrap();
                        total.add(one);
                        if total.failed.len() >= max_failures {
                            return;
                        }
                        let minutes = started.elapsed().as_secs() / 60;
                        if next_report.fetch_max(minutes + 1, Ordering::Relaxed) <= minutes {
                            eprintln!("{} worlds so far, {} failed", total.worlds, total.failed.len());
                        }
                    }
                });
            }
        });
        total.into_inner().unwrap()
    }

    fn one(seed: Seed) -> Self {
        let mut one = Self { worlds: 1, ..Self::default() };
        match catch_unwind(AssertUnwindSafe(|| run(seed, TraceMode::Off))) {
            Ok(outcome) => {
                (one.virtual_time, one.counts) = (outcome.virtual_time, outcome.counts);
                if !outcome.violations.is_empty() {
                    one.failed.insert(seed, outcome.violations);
                }
            }
            Err(_) => drop(one.failed.insert(seed, vec!["panicked".into()])),
        }
        one
    }

    fn add(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.virtual_time += other.virtual_time;
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.failed.extend(other.failed);
    }
}

fn next(seeds: &Mutex<impl Iterator<Item = Seed>>) -> Option<Seed> {
    seeds.lock().unwrap().next()
}

impl std::fmt::Display for Campaign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hours = self.virtual_time.as_secs() / 3_600;
        writeln!(f, "{} worlds, {hours} virtual hours, {} failed", self.worlds, self.failed.len())?;
        for ((kind, what), count) in &self.counts {
            writeln!(f, "{kind:>14}: {count:>10} {what}")?;
        }
        for (seed, invariants) in &self.failed {
            writeln!(f, "SIMULATION_SEED={seed}: {}", invariants.join("; "))?;
        }
        Ok(())
    }
}
