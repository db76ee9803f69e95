//! A link that is cut loses everything, in both directions.

use std::time::Duration;

use futures::StreamExt;
use kube::api::WatchParams;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::testing::{Fault, Verb};

const SECOND: Duration = Duration::from_secs(1);
const ONE_DAY: Duration = Duration::from_secs(24 * 3600);

async fn claim(fixture: &Fixture) -> Result<Lease, Error> {
    fixture.merge(&json!({ "spec": { "holderIdentity": "b" } })).await
}

#[tokio::test(start_paused = true)]
async fn a_cut_link_answers_nothing_until_it_is_mended() {
    let fixture = Fixture::with_lease();
    fixture.link.inject(Fault::refuse().skip(1).times(1));
    fixture.link.cut();
    let mut hanging = Box::pin(claim(&fixture));
    assert!(timeout(ONE_DAY, &mut hanging).await.is_err());
    fixture.link.heal();
    assert!(timeout(ONE_DAY, claim(&fixture)).await.is_err(), "`heal` does not end a cut");
    fixture.link.mend();
    assert!(timeout(ONE_DAY, hanging).await.is_err(), "what hangs continues to hang");
    assert_eq!(fixture.holder().as_deref(), Some("a"));

    claim(&fixture).await.unwrap();
    assert_eq!(fixture.holder().as_deref(), Some("b"));
    let statuses: Vec<_> = fixture.link.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [None, None, Some(200)]);
}

#[tokio::test(start_paused = true)]
async fn a_cut_uses_up_no_fault() {
    let fixture = Fixture::with_lease();
    fixture.link.inject(Fault::status(500).times(1));
    fixture.link.cut();
    assert!(timeout(ONE_DAY, claim(&fixture)).await.is_err());
    fixture.link.mend();
    assert_eq!(refusal(claim(&fixture).await).code, 500);
    claim(&fixture).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cut_loses_what_is_on_its_way() {
    // The cut comes while the request is on its way to the server, or the response back.
    for (fault, is_committed) in [
        (None, false),
        (Some(Fault::delay_before(2 * SECOND)), false),
        (Some(Fault::delay_after(4 * SECOND)), true),
    ] {
        let fixture = Fixture::with_lease();
        fixture.link.set_distance(2 * SECOND);
        let cut_at = if is_committed { 5 } else { 1 };
        if let Some(fault) = fault {
            fixture.link.inject(fault);
        }
        let mut claiming = Box::pin(claim(&fixture));
        assert!(timeout(cut_at * SECOND, &mut claiming).await.is_err());
        fixture.link.cut();
        fixture.link.mend();
        assert!(timeout(ONE_DAY, claiming).await.is_err());
        assert_eq!(fixture.holder().as_deref() == Some("b"), is_committed);
        assert_eq!(fixture.last_status(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_silences_open_watches_for_good() {
    let fixture = Fixture::with_lease();
    let watch = async || {
        let from = fixture.server.revision().to_string();
        fixture.leases.watch(&WatchParams::default(), &from).await.unwrap().boxed()
    };
    let mut old = watch().await;
    fixture.link.cut();
    fixture.server.take("default", "x", "b");
    assert!(timeout(ONE_DAY, old.next()).await.is_err());
    fixture.link.mend();
    let mut new = watch().await;
    fixture.server.take("default", "x", "c");
    assert!(new.next().await.unwrap().is_ok());
    assert!(timeout(ONE_DAY, old.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_watch_of_a_cut_link_does_not_open() {
    let fixture = Fixture::with_lease();
    fixture.link.set_distance(2 * SECOND);
    let opening = async { fixture.leases.watch(&WatchParams::default(), "0").await.map(drop) };
    let start = Instant::now();
    let (opened, ()) = tokio::join!(timeout(ONE_DAY, opening), async {
        sleep(3 * SECOND).await;
        fixture.link.cut();
    });
    assert!(opened.is_err() && start.elapsed() == ONE_DAY);
    assert_eq!(fixture.link.count(Verb::Watch), 1);
}
