//! What one that holds and one that waits ask of the API server while nothing happens.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::audited::Audited;
use crate::bench::Bench;
use crate::options::Options;
use crate::table::{Table, Target};

const LEASE: Duration = Duration::from_secs(6);
const RENEWAL: Duration = Duration::from_secs(2);

pub(crate) async fn measure(options: &Options) -> Result<Table> {
    let audited = Audited::start().await;
    let bench = Bench::new(audited.plane(), options).await;
    let lock = |user| -> Result<_> {
        Ok(bench
            .builder(bench.client_as(user)?, "idle")
            .lease_duration(LEASE)
            .renew_interval(RENEWAL)
            .build()?)
    };
    let (holder, rival) = (lock("holder")?, lock("waiter")?);
    let guard = holder.acquire().await?;
    let waiting = tokio::spawn(async move { rival.acquire().await });
    // Until both have their watches, and a little before a renewal is due.
    sleep(RENEWAL * 3 / 2).await;

    let before = ["holder", "waiter"].map(|user| audited.count(user));
    let renewals = u32::try_from(options.count(4, 20))?;
    sleep(RENEWAL * renewals).await;
    let after = ["holder", "waiter"].map(|user| audited.count(user));
    let [held, waited] = [0, 1].map(|index: usize| after[index].since(&before[index]));
    waiting.abort();
    guard.release().await?;

    let heading =
        format!("idle: requests in {renewals} renew intervals of {} s, by the audit log", RENEWAL.as_secs());
    let mut table = Table::new(&heading, ["", "requests", "per interval"]);
    let per_interval =
        |requests: usize| Ok::<_, anyhow::Error>(f64::from(u32::try_from(requests)?) / f64::from(renewals));
    // The pace is jittered: an interval more or less has one renewal more.
    let one_more = 1.0 + 1.0 / f64::from(renewals);
    table.row([&"holds", &held, &Target::at_most(per_interval(held.requests())?, one_more, "")]);
    table.row([&"waits", &waited, &Target::at_most(per_interval(waited.requests())?, 0.0, "")]);
    Ok(table)
}
