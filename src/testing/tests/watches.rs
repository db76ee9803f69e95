//! The events of a watch, and their times.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::api::{WatchEvent, WatchParams};
use kube::core::Status;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::testing::Fault;

type Events = Pin<Box<dyn Stream<Item = Result<WatchEvent<Lease>, Error>> + Send>>;

const ONE_DAY: Duration = Duration::from_secs(24 * 3600);

async fn watch(fixture: &Fixture, params: &WatchParams, from: u64) -> Events {
    fixture.leases.watch(params, &from.to_string()).await.unwrap().boxed()
}

async fn watch_x(fixture: &Fixture, from: u64) -> Events {
    watch(fixture, &WatchParams::default().fields("metadata.name=x").disable_bookmarks(), from).await
}

/// The next event in the form "TYPE name@version".
async fn next(events: &mut Events) -> Option<String> {
    let describe = |kind: &str, lease: &Lease| {
        format!("{kind} {}@{}", lease.metadata.name.as_deref().unwrap(), version(lease))
    };
    Some(match events.next().await? {
        Ok(WatchEvent::Added(lease)) => describe("ADDED", &lease),
        Ok(WatchEvent::Modified(lease)) => describe("MODIFIED", &lease),
        Ok(WatchEvent::Deleted(lease)) => describe("DELETED", &lease),
        Ok(WatchEvent::Bookmark(mark)) => format!("BOOKMARK {}", mark.metadata.resource_version),
        Ok(WatchEvent::Error(status)) => format!("ERROR {}", status.code),
        Err(error) => format!("broken: {error:?}"),
    })
}

async fn is_silent(events: &mut Events) -> bool {
    timeout(Duration::from_secs(200), events.next()).await.is_err()
}

fn hold(fixture: &Fixture, holder: &str) -> u64 {
    version(&fixture.server.put(lease("x", json!({ "holderIdentity": holder }))))
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_any_revision_starts_with_the_current_objects() {
    let fixture = Fixture::with_lease();
    fixture.server.put(lease("y", json!({})));
    let v = version(&fixture.x());
    let mut events = watch_x(&fixture, 0).await;
    assert_eq!(next(&mut events).await.unwrap(), format!("ADDED x@{v}"));
    assert!(is_silent(&mut events).await);
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_revision_delivers_all_later_changes() {
    let fixture = Fixture::with_lease();
    let v = version(&fixture.x());
    hold(&fixture, "b");
    let mut events = watch_x(&fixture, v).await;
    fixture.server.put(lease("y", json!({})));
    fixture.server.delete("default", "x");
    hold(&fixture, "c");
    let expected_events =
        [format!("MODIFIED x@{}", v + 1), format!("DELETED x@{}", v + 3), format!("ADDED x@{}", v + 4)];
    for expected in expected_events {
        assert_eq!(next(&mut events).await.unwrap(), expected);
    }
    assert!(is_silent(&mut events).await);
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_forgotten_revision_expires() {
    let fixture = Fixture::with_lease();
    let v = fixture.server.revision();
    hold(&fixture, "b");
    let mut open = watch_x(&fixture, v).await;
    fixture.server.compact();
    let mut events = watch_x(&fixture, v).await;
    match events.next().await {
        Some(Ok(WatchEvent::Error(status))) => {
            let Status { code, reason, message, .. } = *status;
            assert_eq!((code, &*reason), (410, "Expired"));
            assert_eq!(message, format!("too old resource version: {v} ({})", v + 1));
        }
        other => panic!("{other:?}"),
    }
    assert!(next(&mut events).await.is_none());
    // Open watches go on, and a new watch can start from a later revision.
    assert_eq!(next(&mut open).await.unwrap(), format!("MODIFIED x@{}", v + 1));
    let mut events = watch_x(&fixture, v + 1).await;
    hold(&fixture, "c");
    assert_eq!(next(&mut events).await.unwrap(), format!("MODIFIED x@{}", v + 2));
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_future_revision_is_silent_until_then() {
    let fixture = Fixture::with_lease();
    let v = fixture.server.revision();
    let mut events = watch_x(&fixture, v + 1).await;
    hold(&fixture, "b");
    assert!(is_silent(&mut events).await);
    hold(&fixture, "c");
    assert_eq!(next(&mut events).await.unwrap(), format!("MODIFIED x@{}", v + 2));
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_its_time_is_up() {
    let fixture = Fixture::with_lease();
    let params = WatchParams::default().timeout(30).disable_bookmarks();
    let mut events = watch(&fixture, &params, fixture.server.revision()).await;
    let start = Instant::now();
    assert!(next(&mut events).await.is_none());
    assert_eq!(start.elapsed().as_secs(), 30);
    assert_eq!(fixture.link.open_watches(), 0);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute() {
    let fixture = Fixture::with_lease();
    let v = fixture.server.revision();
    let params = WatchParams::default().fields("metadata.name=x");
    let mut events = watch(&fixture, &params, v).await;
    fixture.server.put(lease("y", json!({})));
    let start = Instant::now();
    assert_eq!(next(&mut events).await.unwrap(), format!("BOOKMARK {}", v + 1));
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_follows_the_current_objects() {
    let fixture = Fixture::with_lease();
    let v = fixture.server.revision();
    let mut events = watch(&fixture, &WatchParams::default(), 0).await;
    assert_eq!(next(&mut events).await.unwrap(), format!("ADDED x@{v}"));
    assert_eq!(next(&mut events).await.unwrap(), format!("BOOKMARK {v}"));
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_ends_with_a_bookmark() {
    let fixture = Fixture::with_lease();
    let v = fixture.server.revision();
    let mut events = watch(&fixture, &WatchParams::streaming_lists(), 0).await;
    assert_eq!(next(&mut events).await.unwrap(), format!("ADDED x@{v}"));
    match events.next().await {
        Some(Ok(WatchEvent::Bookmark(mark))) => {
            assert!(mark.metadata.annotations.contains_key("k8s.io/initial-events-end"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_selector_turns_changes_of_labels_into_additions_and_deletions() {
    let fixture = Fixture::with_lease();
    let params = WatchParams::default().labels("team=a").disable_bookmarks();
    let mut events = watch(&fixture, &params, fixture.server.revision()).await;
    let label = |value: &str| {
        let labels = [("team".to_owned(), value.to_owned())].into();
        version(&fixture.server.edit("default", "x", |lease| lease.metadata.labels = Some(labels)).unwrap())
    };
    let (a, b) = (label("a"), label("b"));
    assert_eq!(next(&mut events).await.unwrap(), format!("ADDED x@{a}"));
    assert_eq!(next(&mut events).await.unwrap(), format!("DELETED x@{b}"));
}

#[tokio::test(start_paused = true)]
async fn a_link_can_end_reset_or_mute_its_watches() {
    let fixture = Fixture::with_lease();
    let v = fixture.server.revision();

    let mut events = watch_x(&fixture, v).await;
    fixture.link.end_watches();
    assert!(next(&mut events).await.is_none());

    let mut events = watch_x(&fixture, v).await;
    fixture.link.reset_watches();
    assert!(next(&mut events).await.unwrap().starts_with("broken"));
    assert!(next(&mut events).await.is_none());

    let mut events = watch_x(&fixture, v).await;
    fixture.link.mute_watches();
    hold(&fixture, "b");
    assert!(timeout(ONE_DAY, events.next()).await.is_err());
    let mut fresh = watch_x(&fixture, v).await;
    assert_eq!(next(&mut fresh).await.unwrap(), format!("MODIFIED x@{}", v + 1));
    fixture.link.reset_watches();
    assert!(next(&mut events).await.unwrap().starts_with("broken"));
}

#[tokio::test(start_paused = true)]
async fn events_can_be_lost_or_late() {
    let fixture = Fixture::with_lease();
    let v = fixture.server.revision();
    let mut events = watch_x(&fixture, v).await;
    fixture.link.inject(Fault::drop_events().skip(1).times(1));
    fixture.link.inject(Fault::delay_events(Duration::from_secs(7)).skip(1));
    for holder in ["b", "c", "d"] {
        hold(&fixture, holder);
    }
    let start = Instant::now();
    assert_eq!(next(&mut events).await.unwrap(), format!("MODIFIED x@{}", v + 1));
    assert_eq!(start.elapsed().as_secs(), 0);
    assert_eq!(next(&mut events).await.unwrap(), format!("MODIFIED x@{}", v + 3));
    assert_eq!(start.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_restored_server_repeats_revisions() {
    let fixture = Fixture::with_lease();
    let v = fixture.server.revision();
    hold(&fixture, "b");
    hold(&fixture, "c");
    let mut events = watch_x(&fixture, v + 2).await;
    fixture.server.restore(v);
    assert!(next(&mut events).await.is_none());
    assert_eq!(fixture.holder().as_deref(), Some("a"));
    let mut events = watch_x(&fixture, v + 2).await;
    assert_eq!(hold(&fixture, "d"), v + 1);
    assert!(is_silent(&mut events).await);
}

#[tokio::test(start_paused = true)]
async fn events_and_the_end_of_a_watch_travel() {
    const SECOND: Duration = Duration::from_secs(1);
    let fixture = Fixture::with_lease();
    let v = fixture.server.revision();
    fixture.link.set_distance(2 * SECOND);
    let start = Instant::now();
    let mut events = watch_x(&fixture, v).await;
    assert_eq!(start.elapsed(), 4 * SECOND);
    fixture.link.inject(Fault::delay_events(7 * SECOND).times(1));
    hold(&fixture, "b");
    hold(&fixture, "c");
    // What is under way keeps its time, and what comes later stays behind it.
    sleep(8 * SECOND).await;
    fixture.link.set_distance(Duration::ZERO);
    hold(&fixture, "d");
    for revision in v + 1..=v + 3 {
        assert_eq!(next(&mut events).await.unwrap(), format!("MODIFIED x@{revision}"));
        assert_eq!(start.elapsed(), 13 * SECOND, "a lag and a distance add up");
    }
    fixture.link.set_distance(3 * SECOND);
    fixture.link.end_watches();
    assert_eq!(next(&mut events).await, None);
    assert_eq!(start.elapsed(), 16 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_muted_watch_loses_what_is_under_way() {
    let fixture = Fixture::with_lease();
    let mut events = watch_x(&fixture, fixture.server.revision()).await;
    fixture.link.set_distance(Duration::from_secs(2));
    hold(&fixture, "b");
    sleep(Duration::from_secs(1)).await;
    fixture.link.mute_watches();
    assert!(is_silent(&mut events).await);
    assert_eq!(fixture.link.open_watches(), 1);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_travel() {
    let fixture = Fixture::with_lease();
    let v = fixture.server.revision();
    fixture.link.set_distance(Duration::from_secs(2));
    let mut events = watch(&fixture, &WatchParams::default(), v).await;
    let start = Instant::now();
    assert_eq!(next(&mut events).await.unwrap(), format!("BOOKMARK {v}"));
    assert_eq!(start.elapsed(), Duration::from_secs(60));
}
