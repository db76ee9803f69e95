//! A lock on a machine that was suspended counts the time of the suspend before it does anything else.
//!
//! Each script runs twice: on a `Machine` of the test, in virtual time, and on the clock of this machine, in real time.
//! To suspend this machine itself is not practical. So the process moves into a time namespace of Linux, in which
//! `CLOCK_BOOTTIME` is ahead by some span and `CLOCK_MONOTONIC` is not. To the process this looks like the end of a
//! suspend.
//!
//! Only root can move into a time namespace, and only a process without further threads can: so this is a plain
//! program. If the process cannot move, the program prints "SKIPPED" and the reason.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]
#![allow(clippy::print_stdout, reason = "a plain program reports its results itself")]

#[path = "support/fixture.rs"]
mod fixture;

use std::time::Duration;

use kube_lease_lock::testing::Machine;
use kube_lease_lock::{LeaseGuard, LeaseLockBuilder, LossReason, ReleaseError};
use serde_json::json;
use tokio::time::{sleep, timeout};

use fixture::{Fixture, STEP_TIMEOUT, acquire, delete_lease, put_lease, spawn_acquire};

/// Long, because a slow machine must not end a hold before the suspend does.
const LONG_LEASE_DURATION: Duration = Duration::from_secs(60);
const LONG_RENEW_DEADLINE: Duration = Duration::from_secs(40);
const HOUR: Duration = Duration::from_secs(3_600);
/// A waiter looks at the clock every 30 s at the latest. It only waits longer if it notices a suspend late.
const WAITER_TIMEOUT: Duration = Duration::from_secs(35);

fn main() {
    run("a machine of the test's own", || Some(Suspender::Virtual(Machine::new())));
    run("this machine", || namespace::TimeNamespace::enter().map(Suspender::Real));
}

fn run(machine: &str, suspender: impl Fn() -> Option<Suspender>) {
    let Some(mut suspender) = suspender() else {
        println!("SKIPPED: needs Linux and root, and the program `unshare`: no script ran on {machine}");
        return;
    };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let paused = matches!(suspender, Suspender::Virtual(_));
    let runtime = builder.enable_time().start_paused(paused).build().unwrap();
    runtime.block_on(async {
        a_suspend_counts_against_the_hold(&mut SuspendableLock::new(&mut suspender)).await;
        a_holder_notices_that_the_lock_is_lost(&mut SuspendableLock::new(&mut suspender)).await;
        a_late_release_writes_nothing(&mut SuspendableLock::new(&mut suspender)).await;
        a_late_drop_writes_nothing(&mut SuspendableLock::new(&mut suspender)).await;
        a_waiter_counts_the_suspend(&mut SuspendableLock::new(&mut suspender)).await;
    });
    println!("5 scripts passed on {machine}");
}

async fn a_suspend_counts_against_the_hold(lock: &mut SuspendableLock<'_>) {
    let guard = lock.acquire().await;
    assert!(
        (LONG_LEASE_DURATION / 3..=LONG_RENEW_DEADLINE).contains(&guard.remaining()),
        "{:?}",
        guard.remaining()
    );
    lock.suspend(LONG_RENEW_DEADLINE / 4);
    let left = guard.remaining();
    assert!(
        guard.is_held() && left <= LONG_RENEW_DEADLINE * 3 / 4 && left > LONG_RENEW_DEADLINE / 4,
        "{left:?}"
    );
}

async fn a_holder_notices_that_the_lock_is_lost(lock: &mut SuspendableLock<'_>) {
    let guard = lock.acquire().await;
    let before = lock.revision();
    lock.suspend(HOUR);
    assert!(!guard.is_held() && guard.token().is_cancelled(), "at the first question");
    let reason = timeout(STEP_TIMEOUT, guard.lost()).await.expect("the hold should have ended by now");
    assert!(matches!(reason, LossReason::DeadlinePassed { .. }), "{reason:?}");
    assert_eq!(lock.revision(), before, "the lock wrote before it noticed the suspend");

    // If nobody asks, a timer cancels the token.
    let guard = lock.acquire_anew().await;
    let token = guard.token();
    let before = lock.revision();
    lock.suspend(HOUR);
    timeout(STEP_TIMEOUT, token.cancelled()).await.expect("the token should have been cancelled by now");
    assert_eq!(lock.revision(), before, "the lock wrote before it noticed the suspend");
}

async fn a_late_release_writes_nothing(lock: &mut SuspendableLock<'_>) {
    let guard = lock.acquire().await;
    let before = lock.revision();
    lock.suspend(HOUR);
    let outcome = timeout(STEP_TIMEOUT, guard.release()).await.expect("the release should have ended by now");
    let lost = matches!(outcome, Err(ReleaseError::Lost { reason: LossReason::DeadlinePassed { .. }, .. }));
    assert!(lost, "{outcome:?}");
    assert_eq!(lock.revision(), before);
}

async fn a_late_drop_writes_nothing(lock: &mut SuspendableLock<'_>) {
    let guard = lock.acquire().await;
    let before = lock.revision();
    lock.suspend(HOUR);
    drop(guard);
    timeout(STEP_TIMEOUT, lock.fixture.lock.shutdown())
        .await
        .expect("the release should have ended by now")
        .unwrap();
    assert_eq!(lock.revision(), before);
}

async fn a_waiter_counts_the_suspend(lock: &mut SuspendableLock<'_>) {
    put_lease(
        &lock.fixture.server,
        &json!({ "holderIdentity": "them", "leaseDurationSeconds": HOUR.as_secs() }),
    );
    let waiting = spawn_acquire(&lock.fixture.lock);
    lock.suspend(HOUR / 2); // before the waiter has read the Lease
    sleep(Duration::from_secs(2)).await;
    lock.suspend(HOUR / 2);
    sleep(Duration::from_secs(2)).await;
    assert!(!waiting.is_finished(), "only half of the lease duration has passed since the first read");
    lock.suspend(HOUR / 2);
    let guard = timeout(WAITER_TIMEOUT, waiting).await.expect("the waiter should have counted the suspend");
    assert!(guard.unwrap().is_held());
}

/// A lock on a machine that can be suspended.
struct SuspendableLock<'a> {
    suspender: &'a mut Suspender,
    fixture: Fixture,
}

impl<'a> SuspendableLock<'a> {
    fn new(suspender: &'a mut Suspender) -> Self {
        let fixture = Fixture::with(|builder| settings(builder, suspender));
        Self { suspender, fixture }
    }

    fn suspend(&mut self, span: Duration) {
        match &mut *self.suspender {
            Suspender::Virtual(machine) => machine.suspended_for(span),
            Suspender::Real(namespace) => namespace.suspended_for(span),
        }
    }

    /// The revision of the last write.
    fn revision(&self) -> u64 {
        self.fixture.server.revision()
    }

    async fn acquire(&self) -> LeaseGuard {
        acquire(&self.fixture.lock).await
    }

    /// Frees the Lease, and acquires it with a new lock on the same link.
    async fn acquire_anew(&mut self) -> LeaseGuard {
        delete_lease(&self.fixture.server);
        let builder = fixture::on_link(&self.fixture.link);
        self.fixture.lock = settings(builder, self.suspender).build().unwrap();
        self.acquire().await
    }
}

fn settings(builder: LeaseLockBuilder, suspender: &Suspender) -> LeaseLockBuilder {
    let builder = builder.lease_duration(LONG_LEASE_DURATION);
    match suspender {
        Suspender::Virtual(machine) => builder.machine(machine),
        Suspender::Real(_) => builder,
    }
}

enum Suspender {
    Virtual(Machine),
    Real(namespace::TimeNamespace),
}

#[cfg(target_os = "linux")]
mod namespace {
    use std::fs::File;
    use std::io::{self, BufRead, BufReader};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    use rustix::time::{ClockId, clock_gettime};

    /// How far `CLOCK_BOOTTIME` is ahead of that of the host.
    pub(crate) struct TimeNamespace(Duration);

    impl TimeNamespace {
        /// `None` if that is not permitted.
        pub(crate) fn enter() -> Option<Self> {
            // Not zero, so that the clock starts with an offset.
            let offset = Duration::from_secs(1_000);
            move_to(offset).map_err(|error| println!("no time namespace: {error}")).ok()?;
            Some(Self(offset))
        }

        pub(crate) fn suspended_for(&mut self, span: Duration) {
            let before = [ClockId::Boottime, ClockId::Monotonic].map(clock_gettime);
            self.0 += span;
            move_to(self.0).expect("another time namespace");
            let after = [ClockId::Boottime, ClockId::Monotonic].map(clock_gettime);
            let passed = |clock: usize| after[clock].tv_sec - before[clock].tv_sec;
            let ahead = passed(0) - passed(1);
            assert!(ahead.abs_diff(span.as_secs().cast_signed()) <= 1, "boottime went ahead by {ahead} s");
        }
    }

    fn move_to(offset: Duration) -> io::Result<()> {
        // This child keeps the namespace open until this process has moved into it.
        let mut keeper = Command::new("unshare")
            .args(["--time", "--boottime", &offset.as_secs().to_string(), "sh", "-c", "echo; cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut ready = String::new();
        BufReader::new(keeper.stdout.take().expect("its output")).read_line(&mut ready)?;
        let moved = File::open(format!("/proc/{}/ns/time_for_children", keeper.id())).and_then(|namespace| {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Time))
                .map_err(io::Error::from)
        });
        drop(keeper.stdin.take());
        keeper.wait()?;
        if ready.is_empty() { Err(io::ErrorKind::PermissionDenied.into()) } else { moved }
    }
}

#[cfg(not(target_os = "linux"))]
mod namespace {
    pub(crate) struct TimeNamespace;

    impl TimeNamespace {
        pub(crate) fn enter() -> Option<Self> {
            None
        }

        pub(crate) fn suspended_for(&mut self, _: std::time::Duration) {
            unreachable!("nobody enters")
        }
    }
}
