//! The table in `src/running.md`: how long an outage a hold survives with which settings.

use std::time::Duration;

use kube_lease_lock::testing::Fault;
use tokio::time::{sleep, timeout};

use super::on_every_verb;
use crate::fixture::Fixture;

/// The settings of one row of the table, and the outage that a hold survives with them.
struct Row {
    outage: Duration,
    lease_duration: Duration,
    renew_deadline: Duration,
    renew_interval: Duration,
}

fn rows() -> Vec<Row> {
    let page = include_str!("../../../src/running.md");
    let (_, table) = page.split_once("| to survive an outage of |").expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let seconds = |cell: &str| cell.trim().strip_suffix(" s")?.parse().ok().map(Duration::from_secs);
        let cells: Vec<_> = row.split('|').skip(1).take(4).map(|cell| seconds(cell).expect(row)).collect();
        Row { outage: cells[0], lease_duration: cells[1], renew_deadline: cells[2], renew_interval: cells[3] }
    })
    .collect()
}

fn outages() -> [(&'static str, Fault); 5] {
    [
        ("hang", Fault::hang()),
        ("refuse", Fault::refuse()),
        ("reset", Fault::reset()),
        ("500", Fault::status(500)),
        ("429", Fault::status(429)),
    ]
}

/// Whether a hold with these settings survives every kind of outage of this length, whenever the outage begins.
async fn survives(row: &Row, outage: Duration) -> bool {
    const PHASES: u32 = 10;
    for (_, fault) in outages() {
        for phase in 0..PHASES {
            let Fixture { link, lock, .. } = Fixture::with(|builder| {
                let builder = builder.lease_duration(row.lease_duration);
                builder.renew_deadline(row.renew_deadline).renew_interval(row.renew_interval)
            });
            let guard = lock.acquire().await.unwrap();
            sleep(2 * row.renew_interval + row.renew_interval * phase / PHASES).await;
            link.inject(on_every_verb(fault.clone()));
            sleep(outage).await;
            link.heal();
            if timeout(row.renew_deadline, guard.lost()).await.is_ok() {
                return false;
            }
        }
    }
    true
}

#[tokio::test(start_paused = true)]
async fn a_hold_survives_the_outages_in_the_documentation() {
    let rows = rows();
    assert_eq!(rows.len(), 4);
    for row in &rows {
        let Row { outage, renew_deadline, renew_interval, .. } = row;
        let pause = (*renew_interval / 4).max(Duration::from_secs(5));
        let by_the_rule = renew_deadline.saturating_sub(*renew_interval + pause);
        let outage = by_the_rule.max(*outage);
        assert!(survives(row, outage).await, "{outage:?}");
        assert!(!survives(row, *renew_deadline).await, "no hold survives {renew_deadline:?}");
    }
}
