//! Measures the lock on a real API server, and prints one table for each group of measurements. Ratios compare the lock
//! with plain requests in the same run, which have the same machine.

#[path = "../../tests/support/mod.rs"]
mod support;

mod audited;
mod bench;
mod chart;
mod clients;
mod contenders;
mod floor_handover;
mod footprint;
mod groups;
mod load;
mod machine;
mod options;
mod peers;
mod processes;
mod raw;
mod recorder;
mod stats;
mod system;
mod table;

use std::alloc::System;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use bench::Bench;
use load::Load;
use options::{Group, Options};
use support::ControlPlane;
use system::Row;
use table::Table;

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[tokio::main]
async fn main() -> Result<()> {
    if peers::kube_lease_lock_peer::is_requested() {
        return peers::kube_lease_lock_peer::contend().await;
    }
    let options = Options::parse();
    machine::raise_file_limit()?;
    // On a task of the runtime, as most code of a program runs, and not on the thread of `main`.
    tokio::spawn(measure_all(options)).await?
}

async fn measure_all(options: Options) -> Result<()> {
    let plane = ControlPlane::start().await;
    println!("{}", machine::head(&plane, &options).await);
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for group in Group::value_variants().iter().filter(|group| options.wants(**group)) {
        eprintln!("measuring {group:?} ...");
        let load = Load::start();
        let measured = measure(*group, &plane, &options, &mut rows).await;
        let load = load.end();
        match measured {
            Ok(table) => println!("{table}\n{load}"),
            Err(error) => {
                println!("{group:?} failed: {error:?}\n\n{load}");
                failed.push(*group);
            }
        }
    }
    if !rows.is_empty() {
        println!("{}", chart::draw(&rows, &options)?);
    }
    ensure!(failed.is_empty(), "failed: {failed:?}");
    Ok(())
}

/// Measures one group, and adds its rows of the chart to `rows`.
async fn measure(
    group: Group,
    plane: &ControlPlane,
    options: &Options,
    rows: &mut Vec<Row>,
) -> Result<Table> {
    let bench = Bench::new(plane, options).await;
    match group {
        Group::Held => groups::held::measure(options).await,
        Group::Floor => groups::floor::measure(&bench).await,
        Group::Acquire => groups::acquire::measure(&bench).await,
        Group::Handover => groups::handover::measure(&bench, rows).await,
        Group::Crash => groups::crash::measure(&bench).await,
        Group::Idle => groups::idle::measure(options).await,
        Group::Waiters => groups::waiters::measure(&bench).await,
        Group::Fairness => groups::fairness::measure(&bench).await,
        Group::Tasks => groups::tasks::measure(&bench).await,
        Group::Peers => {
            let peers = peers::measure(plane, options).await?;
            let table = system::table(&peers);
            rows.extend(peers);
            Ok(table)
        }
    }
}
