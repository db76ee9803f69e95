//! Over HTTP/2 many requests share a connection, and none waits for a dead one. In virtual time.

use std::time::Duration;

use futures::StreamExt;
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::WatchParams;
use kube::{Api, Client, Config, Error};
use kube_lease_lock::lock_client;
use tokio::time::{Instant, sleep, timeout};

use crate::http2_server::{Http2Server, Manner};

const MOMENT: Duration = Duration::from_millis(10);
/// All that a request may take, by default.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

#[tokio::test(start_paused = true)]
async fn requests_at_one_time_share_one_connection() {
    let (server, leases) = connected();
    try_join_all((0..40).map(|_| leases.get("a"))).await.unwrap();
    assert_eq!(server.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn watches_share_connections_and_leave_room_for_requests() {
    let (server, leases) = connected();
    let params = WatchParams::default();
    let watches = try_join_all((0..150).map(|_| leases.watch(&params, "1"))).await.unwrap();
    assert_eq!(server.connections(), 3);
    leases.get("a").await.unwrap();
    assert_eq!(server.connections(), 4, "all places on three are taken");
    drop(watches);
    sleep(MOMENT).await;
    try_join_all((0..200).map(|_| leases.get("a"))).await.unwrap();
    assert_eq!(server.connections(), 4, "there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_request_after_one_without_answer_goes_elsewhere() {
    let (server, leases) = connected();
    leases.get("a").await.unwrap();
    server.set(Manner::Silent);
    assert!(timeout(REQUEST_TIMEOUT, leases.get("a")).await.is_err());
    server.set(Manner::Answers);
    leases.get("a").await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_soon_says_nothing_about_its_connection() {
    let (server, leases) = connected();
    leases.get("a").await.unwrap();
    server.set(Manner::Silent);
    assert!(timeout(MOMENT, leases.get("a")).await.is_err());
    server.set(Manner::Answers);
    leases.get("a").await.unwrap();
    assert_eq!(server.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_soon_after_its_peer_has_died() {
    let (server, leases) = connected();
    let mut events = leases.watch(&WatchParams::default(), "1").await.unwrap().boxed();
    assert!(timeout(Duration::from_secs(600), events.next()).await.is_err(), "quiet, but alive");
    leases.get("a").await.unwrap();
    assert_eq!(server.connections(), 1, "the connection of the watch serves requests still");
    server.set(Manner::Dead);
    let died = Instant::now();
    let end = timeout(Duration::from_secs(60), events.next()).await.expect("it goes on for ever");
    assert!(end.is_none_or(|event| event.is_err()));
    let noticed = died.elapsed();
    assert!(noticed <= Duration::from_secs(8) + MOMENT, "{noticed:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_connection_in_vain_does_not_make_others_begin_anew() {
    let (server, leases) = connected();
    server.set(Manner::Away);
    let asking = async |after| {
        sleep(after).await;
        timeout(REQUEST_TIMEOUT, leases.get("a")).await
    };
    let early = join_all((0..100).map(|number| asking(number * MOMENT)));
    let late = async {
        sleep(REQUEST_TIMEOUT).await;
        server.set(Manner::Answers);
        join_all((0..100).map(|number| asking(number * MOMENT))).await
    };
    let (early, late) = tokio::join!(early, late);
    assert!(early.iter().all(Result::is_err), "{early:?}");
    assert!(late.iter().all(|answer| matches!(answer, Ok(Ok(_) | Err(Error::Service(_))))), "{late:?}");
    leases.get("a").await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_restarts_is_found_again() {
    let (server, leases) = connected();
    let mut events = leases.watch(&WatchParams::default(), "1").await.unwrap().boxed();
    server.disconnect();
    assert!(timeout(MOMENT, events.next()).await.unwrap().is_none_or(|event| event.is_err()));
    try_join_all((0..40).map(|_| leases.get("a"))).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_while_connecting_takes_nobody_along() {
    let (server, leases) = connected();
    leases.get("a").await.unwrap();
    server.disconnect();
    sleep(MOMENT).await;
    let mut first = Box::pin(leases.get("a"));
    assert!(timeout(Duration::ZERO, &mut first).await.is_err());
    let others = join_all((0..20).map(|_| leases.get("a")));
    let (answers, ()) = tokio::join!(others, async { drop(first) });
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(server.connections() <= 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_may_cease_to_speak_it_and_begin_again() {
    let (server, leases) = connected();
    for manner in [Manner::Answers, Manner::Old, Manner::Answers] {
        server.set(manner);
        server.disconnect();
        sleep(MOMENT).await;
        // It takes one request to notice.
        drop(leases.get("a").await);
        for _ in 0..3 {
            leases.get("a").await.unwrap();
        }
    }
    let before = server.connections();
    try_join_all((0..40).map(|_| leases.get("a"))).await.unwrap();
    assert!(server.connections() <= before + 1, "they share again");
}

fn connected() -> (Http2Server, Api<Lease>) {
    let server = Http2Server::new();
    let config = Config::new("http://localhost".parse().unwrap());
    let client: Client = lock_client(&config, |_, _| Ok(server.connector())).unwrap();
    (server, Api::default_namespaced(client))
}
