//! Measures the lock against a real API server, and prints one table for each thing that is measured. Ratios are
//! to plain requests in the same run: what the machine costs, both pay.

#[path = "../../tests/support/mod.rs"]
mod support;

mod audited;
mod bench;
mod clients;
mod footprint;
mod groups;
mod machine;
mod options;
mod peers;
mod picture;
mod raw;
mod relay;
mod stats;
mod system;
mod table;
mod tap;
mod turns;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use support::ControlPlane;

use bench::Bench;
use options::{Group, Options};
use system::Row;
use table::Table;

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[tokio::main]
async fn main() -> Result<()> {
    if peers::ours::is_wanted() {
        return peers::ours::contend().await;
    }
    let options = Options::parse();
    machine::raise_file_limit()?;
    // On a task, as everything in a program runs that is not `main`.
    tokio::spawn(measure_all(options)).await?
}

async fn measure_all(options: Options) -> Result<()> {
    let plane = ControlPlane::start().await;
    println!("{}", machine::head(&plane, &options).await);
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for group in Group::value_variants().iter().filter(|group| options.wants(**group)) {
        eprintln!("measuring {group:?} ...");
        match measure(*group, &plane, &options, &mut rows).await {
            Ok(table) => println!("{table}"),
            Err(error) => {
                println!("{group:?} failed: {error:?}\n");
                failed.push(*group);
            }
        }
    }
    if !rows.is_empty() {
        println!("{}", picture::draw(&rows, &options)?);
    }
    ensure!(failed.is_empty(), "failed: {failed:?}");
    Ok(())
}

/// Measures one group. What belongs in the picture is added to `rows`.
async fn measure(
    group: Group,
    plane: &ControlPlane,
    options: &Options,
    rows: &mut Vec<Row>,
) -> Result<Table> {
    let bench = Bench::new(plane, options).await;
    match group {
        Group::Held => groups::held::measure(&bench).await,
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
