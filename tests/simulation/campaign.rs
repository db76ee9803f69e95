//! Many worlds, on all cores.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::chance::Seed;
use crate::story::{Counts, Telling};
use crate::world::live;

#[derive(Default)]
pub(crate) struct Campaign {
    pub(crate) worlds: u64,
    lasted: Duration,
    counts: Counts,
    /// Of those worlds where a law was broken.
    pub(crate) failed: BTreeMap<Seed, Vec<String>>,
}

impl Campaign {
    /// After so many failures there is nothing more to learn.
    pub(crate) const ENOUGH: usize = 100;

    /// Lives through the worlds of all these seeds in turn, until `enough` of them have failed.
    pub(crate) fn run(seeds: impl Iterator<Item = Seed> + Send, enough: usize) -> Self {
        let (seeds, total) = (Mutex::new(seeds), Mutex::new(Self::default()));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (begun, told) = (Instant::now(), AtomicU64::new(1));
        std::thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(|| {
                    while let Some(seed) = next(&seeds) {
                        let one = Self::one(seed);
                        one.failed.iter().for_each(|(seed, laws)| eprintln!("{seed}: {}", laws.join("; ")));
                        let mut total = total.lock().unwrap();
                        total.add(one);
                        if total.failed.len() >= enough {
                            return;
                        }
                        let minutes = begun.elapsed().as_secs() / 60;
                        if told.fetch_max(minutes + 1, Ordering::Relaxed) <= minutes {
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
        match catch_unwind(AssertUnwindSafe(|| live(seed, Telling::Silent))) {
            Ok(outcome) => {
                (one.lasted, one.counts) = (outcome.lasted, outcome.counts);
                if !outcome.broken.is_empty() {
                    one.failed.insert(seed, outcome.broken);
                }
            }
            Err(_) => drop(one.failed.insert(seed, vec!["panicked".into()])),
        }
        one
    }

    fn add(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.lasted += other.lasted;
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
        let hours = self.lasted.as_secs() / 3_600;
        writeln!(f, "{} worlds, {hours} virtual hours, {} failed", self.worlds, self.failed.len())?;
        for ((kind, what), count) in &self.counts {
            writeln!(f, "{kind:>14}: {count:>10} {what}")?;
        }
        for (seed, laws) in &self.failed {
            writeln!(f, "SIMULATION_SEED={seed}: {}", laws.join("; "))?;
        }
        Ok(())
    }
}
