//! Three replicas of a service run the same schedule, and one of them makes the report of each night. One replica crashes
//! while it makes a report, and another one makes that report again.
//!
//! ```text
//! cargo run --example nightly_job
//! ```
//!
//! This needs no cluster: the API server is part of the program. A night takes a second.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube_lease_lock::testing::{LeaseServer, Link};
use kube_lease_lock::{LeaseLock, Once};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const REPLICAS: [&str; 3] = ["ada", "bob", "cleo"];
const NIGHTS: [&str; 5] = ["2026-12-01", "2026-12-02", "2026-12-03", "2026-12-04", "2026-12-05"];
const CRASH_NIGHT: &str = "2026-12-03";
const NIGHT: Duration = Duration::from_secs(1);

/// The minimum, so that the successor of the crashed replica need not wait for long.
const LEASE_DURATION: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<()> {
    let (server, reports) = (LeaseServer::new(), Reports::default());
    let mut replicas = JoinSet::new();
    for name in REPLICAS {
        let replica = Replica { name, link: server.connect(), reports: reports.clone() };
        replicas.spawn(replica.run());
    }
    let mut crashed = 0;
    while let Some(ended) = replicas.join_next().await {
        if let Err(error) = ended? {
            println!("-- {error}");
            crashed += 1;
        }
    }

    let made: Vec<_> = reports.lock()?.iter().map(|(night, tries)| (*night, tries.made)).collect();
    println!("-- reports made: {made:?}");
    if crashed != 1 || made != NIGHTS.map(|night| (night, 1)) {
        return Err("each report should have been made once".into());
    }
    Ok(())
}

/// Each replica represents a process: it shares neither client nor lock with the others.
struct Replica {
    name: &'static str,
    link: Link,
    reports: Reports,
}

impl Replica {
    async fn run(self) -> Result<()> {
        let lock = LeaseLock::builder(self.link.client(), "nightly-report")
            .identity(self.name)
            .lease_duration(LEASE_DURATION)
            .build()?;
        let start = Instant::now();
        for (number, night) in (1..).zip(NIGHTS) {
            // The schedule of each replica. It does not matter whether their clocks agree.
            sleep_until(start + number * NIGHT).await;
            // The key is the time that the schedule names, and not the present time, which differs from replica to replica.
            match lock.once(night, |_hold| self.make_report(night)).await?? {
                Once::Done(pages) => println!("{night}: {} has made the report, {pages} pages", self.name),
                Once::AlreadyDone { by, .. } => println!("{night}: {} need not, because of {by}", self.name),
            }
        }
        lock.shutdown().await?;
        Ok(())
    }

    /// The work. It can be dropped at each `.await`, if the lock is lost.
    async fn make_report(&self, night: &'static str) -> Result<u32> {
        let first = self.reports.begin(night)?;
        sleep(Duration::from_millis(200)).await;
        if first && night == CRASH_NIGHT {
            // As a process that is gone, it sends nothing more.
            self.link.cut();
            return Err(format!("{} has crashed while it made the report of {night}", self.name).into());
        }
        self.reports.made(night)?;
        Ok(12)
    }
}

/// The reports of all nights.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<BTreeMap<&'static str, Tries>>>);

#[derive(Default)]
struct Tries {
    begun: usize,
    made: usize,
}

impl Reports {
    fn lock(&self) -> Result<std::sync::MutexGuard<'_, BTreeMap<&'static str, Tries>>> {
        self.0.lock().map_err(|_| "a replica panicked".into())
    }

    /// Returns whether nobody has begun with this report before.
    fn begin(&self, night: &'static str) -> Result<bool> {
        let mut reports = self.lock()?;
        let tries = reports.entry(night).or_default();
        tries.begun += 1;
        Ok(tries.begun == 1)
    }

    fn made(&self, night: &'static str) -> Result<()> {
        self.lock()?.entry(night).or_default().made += 1;
        Ok(())
    }
}
