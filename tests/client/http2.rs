//! Over HTTP/2 many requests share a connection, and no request waits for a dead connection. In virtual time.

use std::time::Duration;

use futures::StreamExt;
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::WatchParams;
use kube::{Api, Client, Config, Error};
use kube_lease_lock::lock_client_with_connector;
use tokio::time::{Instant, sleep, timeout};

use crate::http2_server::{Http2Server, Mode, SLOW_ANSWER_TIME};

const SHORT_DELAY: Duration = Duration::from_millis(10);
/// The time limit of a request with the default settings of a lock.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// The client notices within this time that the peer of a connection is dead.
const DEAD_PEER_TIMEOUT: Duration = Duration::from_secs(8);

#[tokio::test(start_paused = true)]
async fn simultaneous_requests_share_one_connection() {
    let (server, leases) = connected();
    try_join_all((0..40).map(|_| leases.get("a"))).await.unwrap();
    assert_eq!(server.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn watches_and_requests_share_connections() {
    let (server, leases) = connected();
    let params = WatchParams::default();
    let watches = try_join_all((0..150).map(|_| leases.watch(&params, "1"))).await.unwrap();
    assert_eq!(server.connections(), 3);
    leases.get("a").await.unwrap();
    assert_eq!(server.connections(), 4, "three connections have no capacity left");
    drop(watches);
    sleep(SHORT_DELAY).await;
    try_join_all((0..200).map(|_| leases.get("a"))).await.unwrap();
    assert_eq!(server.connections(), 4, "there is capacity again");
}

#[tokio::test(start_paused = true)]
async fn a_request_after_one_without_an_answer_uses_a_new_connection() {
    let (server, leases) = connected();
    leases.get("a").await.unwrap();
    server.set(Mode::Silent);
    assert!(timeout(REQUEST_TIMEOUT, leases.get("a")).await.is_err());
    server.set(Mode::Answers);
    leases.get("a").await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_early_does_not_discard_its_connection() {
    let (server, leases) = connected();
    leases.get("a").await.unwrap();
    server.set(Mode::Silent);
    assert!(timeout(SHORT_DELAY, leases.get("a")).await.is_err());
    server.set(Mode::Answers);
    leases.get("a").await.unwrap();
    assert_eq!(server.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_soon_after_its_peer_died() {
    let (server, leases) = connected();
    let mut events = leases.watch(&WatchParams::default(), "1").await.unwrap().boxed();
    assert!(timeout(Duration::from_secs(600), events.next()).await.is_err(), "quiet, but alive");
    leases.get("a").await.unwrap();
    assert_eq!(server.connections(), 1, "the connection of the watch still serves requests");
    server.set(Mode::Dead);
    let died = Instant::now();
    let end = timeout(Duration::from_secs(60), events.next()).await.expect("the watch does not end");
    assert!(end.is_none_or(|event| event.is_err()));
    let noticed = died.elapsed();
    assert!(noticed <= DEAD_PEER_TIMEOUT + SHORT_DELAY, "{noticed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_gives_up_connecting_does_not_restart_the_others() {
    let (server, leases) = connected();
    server.set(Mode::Unreachable);
    let asking = async |after| {
        sleep(after).await;
        timeout(REQUEST_TIMEOUT, leases.get("a")).await
    };
    let early = join_all((0..100).map(|number| asking(number * SHORT_DELAY)));
    let late = async {
        sleep(REQUEST_TIMEOUT).await;
        server.set(Mode::Answers);
        join_all((0..100).map(|number| asking(number * SHORT_DELAY))).await
    };
    let (early, late) = tokio::join!(early, late);
    assert!(early.iter().all(Result::is_err), "{early:?}");
    assert!(late.iter().all(|answer| matches!(answer, Ok(Ok(_) | Err(Error::Service(_))))), "{late:?}");
    leases.get("a").await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_outlives_the_requests_that_give_up() {
    for mode in [Mode::Answers, Mode::Http1] {
        let (server, leases) = connected();
        server.set(mode);
        leases.get("a").await.unwrap();
        // Longer than a request of a lock with the shortest lease.
        server.set_handshake_time(Duration::from_secs(1));
        server.disconnect();
        sleep(SHORT_DELAY).await;
        let asking = async || timeout(Duration::from_millis(600), leases.get("a")).await;
        assert!(asking().await.is_err(), "the handshake takes longer");
        let second = asking().await.expect("the connection of the first request");
        second.unwrap();
        assert_eq!(server.connections(), 2, "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_in_connecting_reaches_each_request_that_waits() {
    let (server, leases) = connected();
    leases.get("a").await.unwrap();
    server.set(Mode::Refuses);
    server.disconnect();
    sleep(SHORT_DELAY).await;
    let refused = join_all((0..40).map(|_| leases.get("a"))).await;
    assert!(refused.iter().all(|answer| matches!(answer, Err(Error::Service(_)))), "{refused:?}");
    assert_eq!(server.connections(), 2);
    server.set(Mode::Answers);
    leases.get("a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn over_http_1_few_connections_are_half_made() {
    let (server, leases) = connected();
    server.set(Mode::Http1);
    leases.get("a").await.unwrap();
    server.set_handshake_time(Duration::from_secs(4));
    server.disconnect();
    sleep(SHORT_DELAY).await;
    for _ in 0..5 {
        let asking = (0..3).map(|_| timeout(Duration::from_millis(600), leases.get("a")));
        assert!(join_all(asking).await.iter().all(Result::is_err));
    }
    assert!(server.connections() <= 1 + 3, "{} connections", server.connections());
}

#[tokio::test(start_paused = true)]
async fn beside_an_unanswered_request_others_use_a_new_connection() {
    let (server, leases) = connected();
    leases.get("a").await.unwrap();
    server.set(Mode::Slow);
    let started = Instant::now();
    let slow = async {
        leases.get("a").await.unwrap();
        started.elapsed()
    };
    let repeated = async {
        sleep(SHORT_DELAY).await;
        server.set(Mode::Answers);
        leases.get("a").await.unwrap();
        assert_eq!(server.connections(), 1, "the connection has not been silent for long");
        server.set(Mode::Slow);
        sleep(Duration::from_millis(1100)).await;
        server.set(Mode::Answers);
        leases.get("a").await.unwrap();
        assert_eq!(server.connections(), 2);
    };
    let (answered_after, ()) = tokio::join!(slow, repeated);
    assert_eq!(answered_after, SLOW_ANSWER_TIME, "the request continues on its connection");
}

#[tokio::test(start_paused = true)]
async fn short_requests_without_an_answer_lead_to_a_new_connection() {
    let (server, leases) = connected();
    leases.get("a").await.unwrap();
    server.set(Mode::Silent);
    for _ in 0..2 {
        assert!(timeout(Duration::from_millis(600), leases.get("a")).await.is_err());
    }
    server.set(Mode::Answers);
    leases.get("a").await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_requests_to_a_slow_server_need_two_connections() {
    let (server, leases) = connected();
    leases.get("a").await.unwrap();
    server.set(Mode::Slow);
    let asking = async |number: u32| {
        sleep(Duration::from_millis(700) * number).await;
        leases.get("a").await
    };
    let answers = join_all((0..40).map(asking)).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_does_not_get_ever_more_connections() {
    let (server, leases) = connected();
    leases.get("a").await.unwrap();
    server.set(Mode::Slow);
    for _ in 0..10 {
        // Another request begins when the first one has been unanswered for long.
        let (first, second) = tokio::join!(leases.get("a"), async {
            sleep(Duration::from_millis(1500)).await;
            leases.get("a").await
        });
        first.and(second).unwrap();
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_client_reconnects_to_a_server_that_restarts() {
    let (server, leases) = connected();
    let mut events = leases.watch(&WatchParams::default(), "1").await.unwrap().boxed();
    server.disconnect();
    assert!(timeout(SHORT_DELAY, events.next()).await.unwrap().is_none_or(|event| event.is_err()));
    try_join_all((0..40).map(|_| leases.get("a"))).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_while_connecting_does_not_fail_the_others() {
    let (server, leases) = connected();
    leases.get("a").await.unwrap();
    server.disconnect();
    sleep(SHORT_DELAY).await;
    let mut first = Box::pin(leases.get("a"));
    assert!(timeout(Duration::ZERO, &mut first).await.is_err());
    let others = join_all((0..20).map(|_| leases.get("a")));
    let (answers, ()) = tokio::join!(others, async { drop(first) });
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(server.connections() <= 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_may_stop_and_resume_http_2() {
    let (server, leases) = connected();
    for mode in [Mode::Answers, Mode::Http1, Mode::Answers] {
        server.set(mode);
        server.disconnect();
        sleep(SHORT_DELAY).await;
        // The client notices the change with one request, which may fail.
        drop(leases.get("a").await);
        for _ in 0..3 {
            leases.get("a").await.unwrap();
        }
    }
    let before = server.connections();
    try_join_all((0..40).map(|_| leases.get("a"))).await.unwrap();
    assert!(server.connections() <= before + 1, "they share again");
}

#[tokio::test(start_paused = true)]
async fn the_connections_for_many_watches_are_made_at_the_same_time() {
    let (server, leases) = connected();
    let handshake = Duration::from_secs(1);
    server.set_handshake_time(handshake);
    let (params, start) = (WatchParams::default(), Instant::now());
    let _watches = try_join_all((0..500).map(|_| leases.watch(&params, "1"))).await.unwrap();
    assert_eq!(server.connections(), 10);
    assert!(start.elapsed() < handshake * 3, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_after_goaway_uses_a_new_connection_and_the_watch_continues() {
    // At the moment of it, and after it.
    for pause in [Duration::ZERO, SHORT_DELAY] {
        let (server, leases) = connected();
        let mut events = leases.watch(&WatchParams::default(), "1").await.unwrap().boxed();
        leases.get("a").await.unwrap();
        assert_eq!(server.connections(), 1);
        server.go_away();
        sleep(pause).await;
        leases.get("a").await.unwrap();
        leases.get("a").await.unwrap();
        assert!(server.connections() <= 2, "{} connections", server.connections());
        assert!(timeout(Duration::from_secs(600), events.next()).await.is_err(), "the watch has ended");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_meet_goaway_succeed() {
    let (server, leases) = connected();
    leases.get("a").await.unwrap();
    let asking = async |number: u32| {
        sleep(Duration::from_micros(100) * number).await;
        leases.get("a").await
    };
    let goaways = async {
        for _ in 0..10 {
            sleep(SHORT_DELAY).await;
            server.go_away();
        }
    };
    let (answers, ()) = tokio::join!(join_all((0..1000).map(asking)), goaways);
    let failed: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(server.connections() <= 11, "{} connections", server.connections());
}

#[tokio::test(start_paused = true)]
async fn a_connection_carries_no_more_requests_than_the_server_allows() {
    let (server, leases) = connected_to(Http2Server::with_max_streams(10));
    let params = WatchParams::default();
    let watches = try_join_all((0..40).map(|_| leases.watch(&params, "1")));
    let watches = timeout(REQUEST_TIMEOUT, watches).await.expect("a watch waits for another one").unwrap();
    assert_eq!(server.connections(), 4);
    timeout(REQUEST_TIMEOUT, leases.get("a")).await.unwrap().unwrap();
    assert_eq!(server.connections(), 5);
    drop(watches);
    sleep(SHORT_DELAY).await;
    try_join_all((0..50).map(|_| leases.get("a"))).await.unwrap();
    assert_eq!(server.connections(), 5);
}

fn connected() -> (Http2Server, Api<Lease>) {
    connected_to(Http2Server::new())
}

fn connected_to(server: Http2Server) -> (Http2Server, Api<Lease>) {
    let config = Config::new("http://localhost".parse().unwrap());
    let client: Client = lock_client_with_connector(&config, |_, _| Ok(server.connector())).unwrap();
    (server, Api::default_namespaced(client))
}
