//! The number of requests, if some of them fail.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer, Verb};
use tokio::time::sleep;

use crate::fixture::{acquire, connect, create_free_lease, set_holder, spawn_acquire};

#[tokio::test(start_paused = true)]
async fn a_waiter_backs_off_while_the_watch_fails_and_reads_do_not() {
    let server = LeaseServer::new();
    let _guard = acquire(&connect(&server).1).await;
    let (link, lock) = connect(&server);
    link.inject(Fault::status(500).on(Verb::Watch));
    let waiting = spawn_acquire(&lock);
    sleep(Duration::from_secs(600)).await;
    let (watches, reads) = (link.count(Verb::Watch), link.count(Verb::Get));
    waiting.abort();
    assert!(watches + reads < 2400, "{watches} watches and {reads} reads in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_backs_off_while_writes_fail_and_reads_do_not() {
    let server = LeaseServer::new();
    create_free_lease(&server).await;
    let (link, lock) = connect(&server);
    link.inject(Fault::status(500).on(Verb::Apply));
    let waiting = spawn_acquire(&lock);
    sleep(Duration::from_secs(600)).await;
    let (writes, reads) = (link.count(Verb::Apply), link.count(Verb::Get));
    waiting.abort();
    assert!(writes < 1200, "{writes} writes and {reads} reads in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_backs_off_while_it_may_not_replace_a_dead_holder() {
    let server = LeaseServer::new();
    create_free_lease(&server).await;
    set_holder(&server, "dead");
    let (link, lock) = connect(&server);
    link.inject(Fault::status(409).on(Verb::Apply));
    let waiting = spawn_acquire(&lock);
    sleep(Duration::from_secs(600)).await;
    waiting.abort();
    assert!(link.count(Verb::Apply) < 1200, "{} writes in ten minutes", link.count(Verb::Apply));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_every_watch_is_not_flooded() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let _guard = lock.acquire().await.unwrap();
    for _ in 0..60_000 {
        sleep(Duration::from_millis(10)).await;
        link.end_watches();
    }
    let watches = link.count(Verb::Watch);
    assert!(watches < 1200, "{watches} watches in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_and_a_release_cost_one_write_even_if_the_watch_is_faster() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let guard = lock.acquire().await.unwrap();
    link.inject(Fault::delay_after(Duration::from_millis(50)).on(Verb::Apply));
    link.forget_requests();
    sleep(Duration::from_secs(51)).await;
    let (reads, writes) = (link.count(Verb::Get), link.count(Verb::Apply));
    link.forget_requests();
    guard.release().await.unwrap();
    let release: Vec<_> = link.requests().iter().map(|request| request.verb).collect();
    assert_eq!((reads, writes, release), (0, 10, vec![Verb::Apply]));
}
