//! What a watch tells, and when.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::api::{WatchEvent, WatchParams};
use kube::core::Status;
use tokio::time::{Instant, timeout};

use super::*;
use crate::testing::Fault;

type Events = Pin<Box<dyn Stream<Item = Result<WatchEvent<Lease>, Error>> + Send>>;

const LONG: Duration = Duration::from_secs(24 * 3600);

async fn watch(world: &World, params: &WatchParams, from: u64) -> Events {
    world.leases.watch(params, &from.to_string()).await.unwrap().boxed()
}

async fn watch_x(world: &World, from: u64) -> Events {
    watch(world, &WatchParams::default().fields("metadata.name=x").disable_bookmarks(), from).await
}

/// The next event, as "TYPE name@version".
async fn next(events: &mut Events) -> Option<String> {
    let told = |kind: &str, lease: &Lease| {
        format!("{kind} {}@{}", lease.metadata.name.as_deref().unwrap(), version(lease))
    };
    Some(match events.next().await? {
        Ok(WatchEvent::Added(lease)) => told("ADDED", &lease),
        Ok(WatchEvent::Modified(lease)) => told("MODIFIED", &lease),
        Ok(WatchEvent::Deleted(lease)) => told("DELETED", &lease),
        Ok(WatchEvent::Bookmark(mark)) => format!("BOOKMARK {}", mark.metadata.resource_version),
        Ok(WatchEvent::Error(status)) => format!("ERROR {}", status.code),
        Err(error) => format!("broken: {error:?}"),
    })
}

async fn is_silent(events: &mut Events) -> bool {
    timeout(Duration::from_secs(200), events.next()).await.is_err()
}

fn hold(world: &World, holder: &str) -> u64 {
    version(&world.server.put(lease("x", json!({ "holderIdentity": holder }))))
}

#[tokio::test(start_paused = true)]
async fn from_anywhere_starts_with_what_is_there() {
    let world = World::with_lease();
    world.server.put(lease("y", json!({})));
    let v = version(&world.x());
    let mut events = watch_x(&world, 0).await;
    assert_eq!(next(&mut events).await.unwrap(), format!("ADDED x@{v}"));
    assert!(is_silent(&mut events).await);
}

#[tokio::test(start_paused = true)]
async fn from_a_revision_tells_everything_after() {
    let world = World::with_lease();
    let v = version(&world.x());
    hold(&world, "b");
    let mut events = watch_x(&world, v).await;
    world.server.put(lease("y", json!({})));
    world.server.delete("default", "x");
    hold(&world, "c");
    let told =
        [format!("MODIFIED x@{}", v + 1), format!("DELETED x@{}", v + 3), format!("ADDED x@{}", v + 4)];
    for expected in told {
        assert_eq!(next(&mut events).await.unwrap(), expected);
    }
    assert!(is_silent(&mut events).await);
}

#[tokio::test(start_paused = true)]
async fn from_a_forgotten_revision_expires() {
    let world = World::with_lease();
    let v = world.server.revision();
    hold(&world, "b");
    let mut open = watch_x(&world, v).await;
    world.server.compact();
    let mut events = watch_x(&world, v).await;
    match events.next().await {
        Some(Ok(WatchEvent::Error(status))) => {
            let Status { code, reason, message, .. } = *status;
            assert_eq!((code, &*reason), (410, "Expired"));
            assert_eq!(message, format!("too old resource version: {v} ({})", v + 1));
        }
        other => panic!("{other:?}"),
    }
    assert!(next(&mut events).await.is_none());
    // Open watches go on, and so do new ones.
    assert_eq!(next(&mut open).await.unwrap(), format!("MODIFIED x@{}", v + 1));
    let mut events = watch_x(&world, v + 1).await;
    hold(&world, "c");
    assert_eq!(next(&mut events).await.unwrap(), format!("MODIFIED x@{}", v + 2));
}

#[tokio::test(start_paused = true)]
async fn from_the_future_is_silent_until_then() {
    let world = World::with_lease();
    let v = world.server.revision();
    let mut events = watch_x(&world, v + 1).await;
    hold(&world, "b");
    assert!(is_silent(&mut events).await);
    hold(&world, "c");
    assert_eq!(next(&mut events).await.unwrap(), format!("MODIFIED x@{}", v + 2));
}

#[tokio::test(start_paused = true)]
async fn ends_when_the_time_is_up() {
    let world = World::with_lease();
    let params = WatchParams::default().timeout(30).disable_bookmarks();
    let mut events = watch(&world, &params, world.server.revision()).await;
    let start = Instant::now();
    assert!(next(&mut events).await.is_none());
    assert_eq!(start.elapsed().as_secs(), 30);
    assert_eq!(world.link.open_watches(), 0);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute() {
    let world = World::with_lease();
    let v = world.server.revision();
    let params = WatchParams::default().fields("metadata.name=x");
    let mut events = watch(&world, &params, v).await;
    world.server.put(lease("y", json!({})));
    let start = Instant::now();
    assert_eq!(next(&mut events).await.unwrap(), format!("BOOKMARK {}", v + 1));
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_ends_what_is_there() {
    let world = World::with_lease();
    let v = world.server.revision();
    let mut events = watch(&world, &WatchParams::default(), 0).await;
    assert_eq!(next(&mut events).await.unwrap(), format!("ADDED x@{v}"));
    assert_eq!(next(&mut events).await.unwrap(), format!("BOOKMARK {v}"));
}

#[tokio::test(start_paused = true)]
async fn lists_as_a_stream() {
    let world = World::with_lease();
    let v = world.server.revision();
    let mut events = watch(&world, &WatchParams::streaming_lists(), 0).await;
    assert_eq!(next(&mut events).await.unwrap(), format!("ADDED x@{v}"));
    match events.next().await {
        Some(Ok(WatchEvent::Bookmark(mark))) => {
            assert!(mark.metadata.annotations.contains_key("k8s.io/initial-events-end"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_selector_adds_and_deletes() {
    let world = World::with_lease();
    let params = WatchParams::default().labels("team=a").disable_bookmarks();
    let mut events = watch(&world, &params, world.server.revision()).await;
    let label = |value: &str| {
        let labels = [("team".to_owned(), value.to_owned())].into();
        version(&world.server.edit("default", "x", |lease| lease.metadata.labels = Some(labels)).unwrap())
    };
    let (a, b) = (label("a"), label("b"));
    assert_eq!(next(&mut events).await.unwrap(), format!("ADDED x@{a}"));
    assert_eq!(next(&mut events).await.unwrap(), format!("DELETED x@{b}"));
}

#[tokio::test(start_paused = true)]
async fn a_link_ends_breaks_or_mutes_its_watches() {
    let world = World::with_lease();
    let v = world.server.revision();

    let mut events = watch_x(&world, v).await;
    world.link.end_watches();
    assert!(next(&mut events).await.is_none());

    let mut events = watch_x(&world, v).await;
    world.link.reset_watches();
    assert!(next(&mut events).await.unwrap().starts_with("broken"));
    assert!(next(&mut events).await.is_none());

    let mut events = watch_x(&world, v).await;
    world.link.mute_watches();
    hold(&world, "b");
    assert!(timeout(LONG, events.next()).await.is_err());
    let mut fresh = watch_x(&world, v).await;
    assert_eq!(next(&mut fresh).await.unwrap(), format!("MODIFIED x@{}", v + 1));
    world.link.reset_watches();
    assert!(next(&mut events).await.unwrap().starts_with("broken"));
}

#[tokio::test(start_paused = true)]
async fn events_get_lost_or_late() {
    let world = World::with_lease();
    let v = world.server.revision();
    let mut events = watch_x(&world, v).await;
    world.link.inject(Fault::drop_events().skip(1).times(1));
    world.link.inject(Fault::delay_events(Duration::from_secs(7)).skip(1));
    for holder in ["b", "c", "d"] {
        hold(&world, holder);
    }
    let start = Instant::now();
    assert_eq!(next(&mut events).await.unwrap(), format!("MODIFIED x@{}", v + 1));
    assert_eq!(start.elapsed().as_secs(), 0);
    assert_eq!(next(&mut events).await.unwrap(), format!("MODIFIED x@{}", v + 3));
    assert_eq!(start.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_restored_server_repeats_numbers() {
    let world = World::with_lease();
    let v = world.server.revision();
    hold(&world, "b");
    hold(&world, "c");
    let mut events = watch_x(&world, v + 2).await;
    world.server.restore(v);
    assert!(next(&mut events).await.is_none());
    assert_eq!(world.holder().as_deref(), Some("a"));
    let mut events = watch_x(&world, v + 2).await;
    assert_eq!(hold(&world, "d"), v + 1);
    assert!(is_silent(&mut events).await);
}
