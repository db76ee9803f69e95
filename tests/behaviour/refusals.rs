//! A process that may not write, or not yet, learns why: while it waits, and in words that name the cause.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderValue, Method};
use kube::client::Body;
use kube_lease_lock::testing::{Fault, LeaseServer, Machine, Verb};
use kube_lease_lock::{AcquireError, CheckError, CheckWarning, LeaseLock, LossReason, ReleaseError};
use serde_json::json;
use tokio::runtime;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Cluster;
use crate::fixture::{Fixture, LEASE_DURATION, NAME, acquire, builder, connect, delete_lease, put_lease};
use crate::intercept;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Every write of this link is forbidden.
fn read_only() -> Fault {
    Fault::status(403).on_any(&[Verb::Apply, Verb::Patch, Verb::Update])
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_may_not_write_learns_it_while_another_process_holds_the_lease() {
    let Fixture { server, lock, .. } = Fixture::new();
    let guard = acquire(&lock).await;
    let (link, standby) = connect(&server);
    link.inject(read_only());
    let start = Instant::now();
    let error = timeout(MINUTE, standby.acquire()).await.expect("told while it waits").unwrap_err();
    assert!(matches!(error, AcquireError::Forbidden(_)), "{error:?}");
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    assert!(guard.is_held());
}

/// The process does not join the queue then: a dry run tells.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_may_not_write_learns_it_while_another_library_holds_the_lease() {
    let server = LeaseServer::new();
    put_lease(
        &server,
        &json!({ "holderIdentity": "another-library", "leaseDurationSeconds": 3600,
                 "renewTime": "2026-01-01T00:00:00.000000Z" }),
    );
    let (link, standby) = connect(&server);
    link.inject(read_only());
    let error = timeout(MINUTE, standby.acquire()).await.expect("told while it waits").unwrap_err();
    assert!(matches!(error, AcquireError::Forbidden(_)), "{error:?}");

    let (link, waiter) = connect(&server);
    let version = server.lease("default", NAME).unwrap().metadata.resource_version;
    assert!(timeout(10 * LEASE_DURATION, waiter.acquire()).await.is_err());
    let requests = link.requests();
    let writes: Vec<_> = requests.iter().filter(|request| request.verb == Verb::Patch).collect();
    assert!(matches!(&writes[..], [probe] if probe.dry_run), "{writes:?}");
    assert_eq!(server.lease("default", NAME).unwrap().metadata.resource_version, version);
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_may_not_write_reports_it_while_another_process_leads() {
    let Fixture { server, lock, .. } = Fixture::new();
    let guard = acquire(&lock).await;
    let (link, standby) = connect(&server);
    link.inject(read_only());
    let election = standby.elect().unwrap();
    sleep(2 * SECOND).await;
    let error = election.last_error();
    assert!(matches!(error, Some(AcquireError::Forbidden(_))), "{error:?}");
    sleep(10 * MINUTE).await;
    // An attempt every half a minute, with a read, a join, a watch and a dry run.
    assert!(link.requests().len() < 150, "{} requests in ten minutes", link.requests().len());
    assert!(guard.is_held());
    election.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_ready_is_waited_for_also_with_a_short_lease() {
    let Fixture { link, lock, .. } = Fixture::with(|builder| builder.lease_duration(3 * SECOND));
    link.inject(Fault::refuse());
    let acquiring = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire().await }
    });
    sleep(50 * SECOND).await;
    link.heal();
    timeout(3 * SECOND, acquiring).await.unwrap().unwrap().unwrap().release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_acquire_with_a_timeout_waits_for_a_server_until_then() {
    let Fixture { link, lock, .. } = Fixture::new();
    link.inject(Fault::refuse());
    let error = lock.acquire_timeout(10 * MINUTE).await.unwrap_err();
    assert!(matches!(error, AcquireError::TimedOut { last: Some(_), .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_not_accepted_yet_are_tried_again() {
    let Fixture { link, lock, .. } = Fixture::new();
    link.inject(Fault::status(401).times(3));
    acquire(&lock).await.release().await.unwrap();

    let (link, builder) = builder(&LeaseServer::new());
    link.inject(Fault::status(401));
    let error = builder.startup_timeout(5 * SECOND).build().unwrap().acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::Unauthenticated(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("401") && text.contains("check the credentials"), "{text}");
    assert!(!text.contains("verbs") && !text.contains("reached"), "{text}");
}

/// For example, the service account was deleted.
#[tokio::test(start_paused = true)]
async fn credentials_that_are_no_longer_accepted_are_an_error_after_the_startup_timeout() {
    let Fixture { link, lock, .. } = Fixture::new();
    acquire(&lock).await.release().await.unwrap();
    sleep(10 * MINUTE).await;
    link.inject(Fault::status(401));
    let start = Instant::now();
    let error = timeout(2 * MINUTE, lock.acquire()).await.expect("told").unwrap_err();
    assert!(matches!(error, AcquireError::Unauthenticated(_)), "{error:?}");
    assert_eq!(start.elapsed(), MINUTE, "one startup timeout");
    // The caller has said how long to wait.
    let error = lock.acquire_timeout(10 * MINUTE).await.unwrap_err();
    let AcquireError::TimedOut { last: Some(last), .. } = &error else { panic!("{error:?}") };
    assert_eq!(last.status(), Some(401));
}

#[tokio::test(start_paused = true)]
async fn a_short_time_without_credentials_is_waited_for_however_often_it_comes() {
    let Fixture { server, link, lock } = Fixture::new();
    let guard = acquire(&connect(&server).1).await;
    let waiting = tokio::spawn(async move { lock.acquire().await });
    for _ in 0..20 {
        sleep(MINUTE).await;
        link.inject(Fault::status(401));
        link.end_watches();
        sleep(MINUTE / 2).await;
        link.heal();
        assert!(!waiting.is_finished(), "{:?}", waiting.await);
    }
    guard.release().await.unwrap();
    timeout(LEASE_DURATION, waiting).await.unwrap().unwrap().unwrap().release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_candidate_whose_credentials_are_no_longer_accepted_reports_it_at_once() {
    let Fixture { link, lock, .. } = Fixture::new();
    let mut election = lock.elect().unwrap();
    assert!(election.changed().await.unwrap().is_some());
    link.inject(Fault::status(401));
    assert!(election.changed().await.unwrap().is_none(), "lost");
    for _ in 0..100 {
        sleep(SECOND).await;
        let error = election.last_error();
        assert!(matches!(error, Some(AcquireError::Unauthenticated(_))), "{error:?}");
    }
    link.heal();
    assert!(timeout(MINUTE, election.changed()).await.unwrap().unwrap().is_some());
    assert!(election.last_error().is_none());
    election.stop().await.unwrap();
}

/// A lock that may not create its Lease, because admission says `why`.
fn refused_by_admission(why: &'static str) -> LeaseLock {
    let link = LeaseServer::new().connect();
    let client = intercept::client(&link, move |request| {
        (request.method() == Method::PUT).then(|| intercept::forbidden(why))
    });
    LeaseLock::new(client, NAME).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_is_not_raised_is_an_error_after_the_startup_timeout() {
    for why in [
        "exceeded quota: no-leases, requested: count/leases.coordination.k8s.io=1, used: count/leases.coordination.k8s.io=0, limited: count/leases.coordination.k8s.io=0",
        "status unknown for quota: no-leases, resources: count/leases.coordination.k8s.io",
    ] {
        let (lock, start) = (refused_by_admission(why), Instant::now());
        let error = timeout(2 * MINUTE, lock.acquire()).await.expect("told").unwrap_err();
        assert!(matches!(error, AcquireError::Refused(_)), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(start.elapsed(), MINUTE, "one startup timeout");
        let election = lock.elect().unwrap();
        sleep(SECOND).await;
        let error = election.last_error();
        assert!(matches!(error, Some(AcquireError::Refused(_))), "{error:?}");
    }
}

/// A policy can have the word in its name.
#[tokio::test(start_paused = true)]
async fn only_a_quota_is_waited_for() {
    let lock = refused_by_admission("admission webhook \"quota.example.com\" denied the request: no Leases");
    let start = Instant::now();
    let error = timeout(2 * MINUTE, lock.acquire()).await.expect("told").unwrap_err();
    assert!(matches!(error, AcquireError::Refused(_)), "{error:?}");
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

/// API Priority and Fairness answers in plain text, and so do proxies. The pause stands in a header.
#[tokio::test(start_paused = true)]
async fn a_pause_that_stands_only_in_a_header_is_heeded() {
    for code in [429, 503] {
        let (link, asked) = (LeaseServer::new().connect(), AtomicBool::new(false));
        let client = intercept::client(&link, move |_| {
            let mut answer = intercept::text(code, "Too many requests, please try again later.");
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("7"));
            (!asked.swap(true, Ordering::Relaxed)).then_some(answer)
        });
        let start = Instant::now();
        let lock = LeaseLock::new(client, NAME).unwrap();
        acquire(&lock).await.release().await.unwrap();
        let waited = start.elapsed();
        assert!((7 * SECOND..8 * SECOND).contains(&waited), "{code}: {waited:?}");
    }
}

/// Some proxies in front of an API server answer in a JSON of their own, which is not a status of Kubernetes.
#[tokio::test(start_paused = true)]
async fn an_error_in_the_json_of_a_proxy_is_told_with_its_code_and_its_text() {
    let link = LeaseServer::new().connect();
    let json = r#"{"message":"must authenticate"}"#;
    let client = intercept::client(&link, move |_| Some(intercept::text(401, json)));
    let error = LeaseLock::new(client, NAME).unwrap().acquire().await.unwrap_err();
    let AcquireError::Unauthenticated(last) = &error else { panic!("{error:?}") };
    assert_eq!(last.status(), Some(401));
    assert!(error.to_string().contains("must authenticate"), "{error}");
}

/// The natural form: a lock in a `static`, which several `#[tokio::test]`s share.
#[test]
fn a_client_whose_runtime_has_ended_is_named() {
    let runtime = || runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (first, server) = (runtime(), LeaseServer::new());
    let (lock, guard) = first.block_on(async {
        let lock = LeaseLock::new(server.connect().client(), NAME).unwrap();
        acquire(&lock).await.release().await.unwrap();
        let other = server.connect();
        let held = LeaseLock::new(other.client(), "another-lock").unwrap();
        (lock, held.acquire().await.unwrap())
    });
    drop(first);
    runtime().block_on(async {
        let start = Instant::now();
        let error = lock.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::ClientClosed(_)), "{error:?}");
        assert!(error.to_string().contains("runtime in which it was made has ended"), "{error}");
        assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
        assert!(matches!(guard.lost().await, LossReason::TaskEnded));
    });
}

/// The client is of a runtime that has ended, the lock's tasks are not.
#[test]
fn a_hold_and_a_release_by_a_closed_client_say_so() {
    let runtime = || runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (first, second, server) = (runtime(), runtime(), LeaseServer::new());
    let client = |runtime: &runtime::Runtime| runtime.block_on(async { server.connect().client() });
    let acquire = |lock: LeaseLock| second.block_on(async move { lock.acquire().await.unwrap() });
    let short = |name| LeaseLock::builder(client(&first), name).lease_duration(3 * SECOND).build().unwrap();
    let (kept, released) = (acquire(short("kept")), acquire(short("released")));
    drop(first);
    second.block_on(async {
        let ReleaseError::Unconfirmed { last_failure: Some(why), .. } = released.release().await.unwrap_err()
        else {
            panic!("nothing was sent")
        };
        assert!(why.contains("closed"), "{why}");
        let LossReason::DeadlinePassed { last_failure: Some(why), .. } = kept.lost().await else {
            panic!("nothing was sent")
        };
        assert!(why.contains("closed"), "{why}");
    });
}

/// How often the Lease is created in this time, if it is deleted at once each time.
async fn creations(server: &LeaseServer, within: Duration) -> usize {
    let (start, mut creations) = (Instant::now(), 0);
    while start.elapsed() < within {
        sleep(SECOND / 5).await;
        if server.lease("default", NAME).is_some() {
            creations += 1;
            delete_lease(server);
        }
    }
    creations
}

/// For example, its owner does not exist, so the garbage collector deletes it.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_deleted_each_time_is_created_less_and_less_often_by_any_number_of_candidates() {
    for (number, most) in [(1, 40), (2, 40), (20, 60)] {
        let server = LeaseServer::new();
        let locks: Vec<_> = (0..number).map(|_| connect(&server)).collect();
        let elections: Vec<_> = locks.iter().map(|(_, lock)| lock.elect().unwrap()).collect();
        let first = creations(&server, MINUTE).await;
        assert!((4..=20).contains(&first), "{number} candidates: {first} in the first minute");
        let creations = creations(&server, 9 * MINUTE).await;
        assert!((4..=most).contains(&creations), "{number} candidates: {creations} in the next nine minutes");
        // Once it is left alone, a process leads.
        sleep(MINUTE).await;
        assert_eq!(elections.iter().filter(|election| election.is_leader()).count(), 1);
    }
}

/// As above, but they wait for the lock, and are not candidates.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_deleted_each_time_is_created_less_and_less_often_by_waiters() {
    let server = LeaseServer::new();
    for _ in 0..20 {
        let (_, lock) = connect(&server);
        tokio::spawn(async move {
            while let Ok(guard) = lock.acquire().await {
                guard.lost().await;
            }
        });
    }
    let creations = creations(&server, 10 * MINUTE).await;
    assert!((8..=80).contains(&creations), "{creations} in ten minutes");
}

/// Some programs delete the Lease after each use.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_deleted_after_each_release_is_created_at_once() {
    let Fixture { server, lock, .. } = Fixture::new();
    for _ in 0..50 {
        let start = Instant::now();
        let guard = acquire(&lock).await;
        assert!(start.elapsed() < SECOND / 10, "{:?}", start.elapsed());
        sleep(SECOND / 2).await;
        guard.release().await.unwrap();
        delete_lease(&server);
    }
}

/// An administrator deletes the Lease of a holder that hangs, and does so again.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_deleted_now_and_then_is_created_at_once() {
    let Fixture { server, lock, .. } = Fixture::new();
    let other = connect(&server).1;
    for _ in 0..10 {
        let guard = acquire(&lock).await;
        let waiting = tokio::spawn({
            let other = other.clone();
            async move { other.acquire().await }
        });
        sleep(20 * SECOND).await;
        delete_lease(&server);
        let guards = timeout(SECOND / 10, waiting).await.expect("created at once").unwrap();
        guards.unwrap().release().await.unwrap();
        drop(guard);
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_answers_without_changing_anything() {
    let Fixture { server, link, lock } = Fixture::new();
    for exists in [false, true] {
        if exists {
            acquire(&lock).await.release().await.unwrap();
        }
        let before = server.lease("default", NAME);
        link.set_distance(SECOND / 10);
        let report = lock.check().await.unwrap();
        link.set_distance(Duration::ZERO);
        assert_eq!(report.round_trip, SECOND / 5);
        assert_eq!(server.lease("default", NAME), before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_names_what_is_wrong() {
    let Fixture { link, lock, .. } = Fixture::new();
    acquire(&lock).await.release().await.unwrap();
    for (fault, expected) in [
        (Fault::status(403).on(Verb::Get), "get Lease"),
        (Fault::status(403).on(Verb::Patch), "needs the verbs"),
        (Fault::refuse(), "connection refused"),
        (Fault::status(422).on(Verb::Patch), "refused by the API server"),
        (Fault::hang(), "no answer within 5s"),
    ] {
        link.inject(fault);
        let error = lock.check().await.unwrap_err();
        assert!(error.to_string().contains(expected), "{expected:?} in {error}");
        link.heal();
    }
}

/// The answers to all other requests may take longer.
#[tokio::test(start_paused = true)]
async fn a_check_fails_if_a_write_takes_longer_than_the_settings_allow() {
    let Fixture { link, lock, .. } = Fixture::with(|builder| builder.lease_duration(3 * SECOND));
    for exists in [false, true] {
        if exists {
            acquire(&lock).await.release().await.unwrap();
        }
        link.set_distance(SECOND * 3 / 4);
        let error = lock.check().await.unwrap_err();
        let CheckError::TooSlow { round_trip, limit, .. } = &error else { panic!("{error:?}") };
        assert_eq!((*round_trip, *limit), (SECOND * 3 / 2, SECOND));
        assert!(error.to_string().contains("takes 1.5s"), "{error}");
        link.set_distance(SECOND / 4);
        assert_eq!(lock.check().await.unwrap().round_trip, SECOND / 2);
        link.set_distance(Duration::ZERO);
    }
}

/// The machine's clock shows the beginning of 2020. The server's clock stands in the header `Date`, as of every API server.
#[tokio::test(start_paused = true)]
async fn a_check_compares_the_clocks_if_the_settings_rely_on_them() {
    const SERVER: &str = "Wed, 01 Jan 2020 00:00:10 GMT";
    for (wall, skew) in [(0, Some(10)), (5, Some(5)), (8, None), (12, None), (16, Some(5)), (30, Some(19))] {
        let link = LeaseServer::new().connect();
        let with_date = link.client();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let client = with_date.clone();
            async move {
                let mut answer = client.send(request).await?;
                answer.headers_mut().insert(DATE, HeaderValue::from_static(SERVER));
                Ok::<_, kube::Error>(answer)
            }
        });
        let machine = Machine::new().wall(Duration::from_secs(1_577_836_800 + wall));
        let builder =
            || LeaseLock::builder(kube::Client::new(service.clone(), "default"), NAME).machine(&machine);
        let report = builder().max_clock_skew(3 * SECOND).build().unwrap().check().await.unwrap();
        let found = report.warnings.iter().map(|warning| match warning {
            CheckWarning::ClockSkew { skew, .. } => skew.as_secs(),
            other => panic!("{other}"),
        });
        assert_eq!(found.collect::<Vec<_>>(), Vec::from_iter(skew), "{wall}");
        assert!(
            builder().build().unwrap().check().await.unwrap().warnings.is_empty(),
            "nothing relies on it"
        );
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_check_reads_the_clock_of_a_real_server() {
    let cluster = Cluster::real().await;
    let check = async |machine: &Machine| {
        let builder = cluster.builder(cluster.client()).machine(machine).max_clock_skew(2 * SECOND);
        builder.build().unwrap().check().await.unwrap().warnings
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(check(&Machine::new().wall(now)).await.is_empty(), "it runs on this machine");
    let warnings = check(&Machine::new().wall(now.saturating_sub(MINUTE))).await;
    let [CheckWarning::ClockSkew { skew, .. }] = &warnings[..] else { panic!("{warnings:?}") };
    assert!((58 * SECOND..=62 * SECOND).contains(skew), "{skew:?}");
}
