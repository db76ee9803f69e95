//! The requests of a holder and of a waiter while nothing happens.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::audited::Audited;
use crate::bench::Bench;
use crate::options::Options;
use crate::table::{Table, Target};

const LEASE_DURATION: Duration = Duration::from_secs(6);
const RENEW_INTERVAL: Duration = Duration::from_secs(2);

pub(crate) async fn measure(options: &Options) -> Result<Table> {
    let audited = Audited::start().await;
    let bench = Bench::new(audited.plane(), options).await;
    let lock = |user| -> Result<_> {
        Ok(bench
            .builder(bench.client_as(user)?, "idle")
            .lease_duration(LEASE_DURATION)
            .renew_interval(RENEW_INTERVAL)
            .build()?)
    };
    let (holder, waiter) = (lock("holder")?, lock("waiter")?);
    let guard = holder.acquire().await?;
    let waiting = tokio::spawn(async move { waiter.acquire().await });
    // Until both have opened their watches. This ends in the middle between two renewals.
    sleep(RENEW_INTERVAL * 3 / 2).await;

    let before = ["holder", "waiter"].map(|user| audited.count(user));
    let renewals = u32::try_from(options.count(4, 20))?;
    sleep(RENEW_INTERVAL * renewals).await;
    let after = ["holder", "waiter"].map(|user| audited.count(user));
    let [by_holder, by_waiter] = [0, 1].map(|index: usize| after[index].since(&before[index]));
    waiting.abort();
    guard.release().await?;

    let heading = format!(
        "idle: requests in {renewals} renew intervals of {} s, by the audit log",
        RENEW_INTERVAL.as_secs()
    );
    let mut table = Table::new(&heading, ["", "requests", "per interval"]);
    let per_interval =
        |requests: usize| Ok::<_, anyhow::Error>(f64::from(u32::try_from(requests)?) / f64::from(renewals));
    // The renew interval is jittered, so there may be one renewal more.
    let one_more = 1.0 + 1.0 / f64::from(renewals);
    table.row([&"holds", &by_holder, &Target::at_most(per_interval(by_holder.requests())?, one_more, "")]);
    table.row([&"waits", &by_waiter, &Target::at_most(per_interval(by_waiter.requests())?, 0.0, "")]);
    Ok(table)
}
