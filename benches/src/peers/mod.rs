//! Other lock crates and other systems, each in processes of its own, with the clients that its users have.

mod contender;
mod crash;
mod free;
mod handover;
pub(crate) mod kube_lease_lock_peer;
mod namespace;
mod systems;
mod versions;

/// The part of `tests/peers` that acquires and releases locks by orders.
#[allow(dead_code, unreachable_pub, reason = "these modules belong to another program")]
#[path = "../../../tests/peers/src"]
mod program {
    pub(crate) mod clock;
    pub(crate) mod orders;
    pub(crate) mod peer;
}

use std::fmt::Write;

use anyhow::Result;
use futures::future::join_all;

use crate::options::Options;
use crate::stats::Samples;
use crate::support::ControlPlane;
use crate::system::Row;
use handover::Extent;
use namespace::Namespace;
use systems::System;

/// Measures each peer, and this crate in the same way, on the same API server.
pub(crate) async fn measure(plane: &ControlPlane, options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for system in &systems::ALL {
        system.build().await?;
        rows.push(Row { system: system.name(), settings: system.settings.to_owned(), ..Row::default() });
    }
    // Milliseconds are measured first, one system after the other. Then seconds are measured, of all systems at the
    // same time.
    for (system, row) in systems::ALL.iter().zip(&mut rows) {
        measure_milliseconds(system, row, plane, options).await;
    }
    let seconds = systems::ALL.iter().zip(&mut rows);
    join_all(seconds.map(|(system, row)| measure_seconds(system, row, plane, options))).await;
    Ok(rows)
}

/// The lease duration makes no difference here.
async fn measure_milliseconds(system: &System, row: &mut Row, plane: &ControlPlane, options: &Options) {
    if system.is_short {
        return;
    }
    let namespace = Namespace::new(plane).await;
    row.acquire = note(free::measure(system, &namespace, options.count(20, 200)).await, row);
    if system.is_prompt() {
        let extent = Extent { leases: 4, turns: options.count(5, 25) };
        row.handover = note(handover::measure(system, &namespace, extent).await, row);
    }
}

async fn measure_seconds(system: &System, row: &mut Row, plane: &ControlPlane, options: &Options) {
    let namespace = Namespace::new(plane).await;
    let handover = async {
        if system.is_prompt() {
            return None;
        }
        // Many Leases at the same time if each handover takes long, and many turns if not.
        let [leases, turns] = if system.is_short {
            [4, options.count(2, 16)]
        } else {
            [options.count(4, 16), options.count(1, 2)]
        };
        Some(handover::measure(system, &namespace, Extent { leases, turns }).await)
    };
    let crash = crash::measure(system, &namespace, options.count(4, 16));
    let (handover, crash) = futures::join!(handover, crash);
    if let Some(handover) = handover {
        row.handover = note(handover, row);
    }
    row.crash = note(crash, row);
}

/// An error is one of the results, so it goes into the table.
fn note(measured: Result<Samples>, row: &mut Row) -> Option<Samples> {
    measured
        .map_err(|error| {
            eprintln!("{}, {}: {error:?}", row.system, row.settings);
            let _ = write!(row.remark, "{error:#} ");
        })
        .ok()
}

/// A number between 0 and 1. The first n of them are spread evenly for every n, because of the golden ratio.
fn phase(n: usize) -> f64 {
    #[expect(clippy::cast_precision_loss)]
    let n = n as f64;
    (n * 0.618_033_988_75).fract()
}
