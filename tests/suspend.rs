//! A machine that was suspended finds out before it does anything else.
//!
//! Every script runs twice: on a `Machine` that the test suspends, in virtual time; and on the clock of this machine,
//! in real time. The latter takes a trick, because nobody wants to suspend the machine: in a time namespace of Linux
//! `CLOCK_BOOTTIME` can be ahead by any span, with `CLOCK_MONOTONIC` left where it is. To a process that moves into one
//! that is just what waking up looks like. Only root may do that, and only in a process without further threads: so
//! this is a plain program. It says so where it has to skip that part.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]
#![allow(clippy::print_stdout, reason = "nobody else tells what was tested")]

use std::time::Duration;

use kube_lease_lock::testing::{LeaseServer, Link, Machine};
use kube_lease_lock::{LeaseGuard, LeaseLock, LossReason, ReleaseError};
use serde_json::json;
use tokio::time::{sleep, timeout};

const NAME: &str = "a-lock";
const D: Duration = Duration::from_secs(60);
const RENEW_DEADLINE: Duration = Duration::from_secs(40);
const HOUR: Duration = Duration::from_secs(3_600);
/// Long enough for anything that happens at once, on a machine however slow.
const SOON: Duration = Duration::from_secs(20);

fn main() {
    run("a machine of the test's own", || Some(Sleeper::Virtual(Machine::new())));
    run("this machine", || namespace::TimeNamespace::enter().map(Sleeper::Real));
}

fn run(machine: &str, sleeper: impl Fn() -> Option<Sleeper>) {
    let Some(mut sleeper) = sleeper() else {
        println!("SKIPPED on {machine}: it takes Linux, root and the program `unshare`");
        return;
    };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let paused = matches!(sleeper, Sleeper::Virtual(_));
    let runtime = builder.enable_time().start_paused(paused).build().unwrap();
    runtime.block_on(async {
        a_suspend_counts_against_the_hold(&mut World::new(&mut sleeper)).await;
        a_holder_finds_itself_lost(&mut World::new(&mut sleeper)).await;
        a_late_release_writes_nothing(&mut World::new(&mut sleeper)).await;
        a_late_drop_writes_nothing(&mut World::new(&mut sleeper)).await;
        a_waiter_counts_the_time_that_it_slept(&mut World::new(&mut sleeper)).await;
    });
    println!("5 scripts passed on {machine}");
}

async fn a_suspend_counts_against_the_hold(world: &mut World<'_>) {
    let guard = world.acquire().await;
    assert!((D / 3..=RENEW_DEADLINE).contains(&guard.remaining()), "{:?}", guard.remaining());
    world.suspend(RENEW_DEADLINE / 4);
    let left = guard.remaining();
    assert!(guard.is_held() && left <= RENEW_DEADLINE * 3 / 4 && left > RENEW_DEADLINE / 4, "{left:?}");
}

async fn a_holder_finds_itself_lost(world: &mut World<'_>) {
    let guard = world.acquire().await;
    let before = world.server.revision();
    world.suspend(HOUR);
    assert!(!guard.is_held() && guard.token().is_cancelled(), "the first thing that is asked");
    let reason = timeout(SOON, guard.lost()).await.expect("no reason is told");
    assert!(matches!(reason, LossReason::DeadlinePassed { .. }), "{reason:?}");
    assert_eq!(world.server.revision(), before, "it wrote before it knew");

    // The same where nobody asks: the token fires by itself.
    let guard = world.again().await;
    let token = guard.token();
    let before = world.server.revision();
    world.suspend(HOUR);
    timeout(SOON, token.cancelled()).await.expect("the token does not fire");
    assert_eq!(world.server.revision(), before, "it wrote before it knew");
}

async fn a_late_release_writes_nothing(world: &mut World<'_>) {
    let guard = world.acquire().await;
    let before = world.server.revision();
    world.suspend(HOUR);
    let outcome = timeout(SOON, guard.release()).await.expect("a release without end");
    let lost = matches!(outcome, Err(ReleaseError::Lost { reason: LossReason::DeadlinePassed { .. }, .. }));
    assert!(lost, "{outcome:?}");
    assert_eq!(world.server.revision(), before);
}

async fn a_late_drop_writes_nothing(world: &mut World<'_>) {
    let guard = world.acquire().await;
    let before = world.server.revision();
    world.suspend(HOUR);
    drop(guard);
    timeout(SOON, world.lock.shutdown()).await.expect("a release without end").unwrap();
    assert_eq!(world.server.revision(), before);
}

async fn a_waiter_counts_the_time_that_it_slept(world: &mut World<'_>) {
    let spec = json!({ "holderIdentity": "them", "leaseDurationSeconds": HOUR.as_secs() });
    let lease = json!({ "metadata": { "name": NAME }, "spec": spec });
    world.server.put(serde_json::from_value(lease).unwrap());
    let waiting = tokio::spawn({
        let lock = world.lock.clone();
        async move { lock.acquire().await }
    });
    world.suspend(HOUR / 2); // before it has seen anything
    sleep(Duration::from_secs(2)).await;
    world.suspend(HOUR / 2);
    sleep(Duration::from_secs(2)).await;
    assert!(!waiting.is_finished(), "it has waited for half an hour");
    world.suspend(HOUR / 2);
    let guard = timeout(SOON, waiting).await.expect("it does not count the time that it slept");
    assert!(guard.unwrap().unwrap().is_held());
}

/// A lock on a machine that can be suspended.
struct World<'a> {
    sleeper: &'a mut Sleeper,
    server: LeaseServer,
    link: Link,
    lock: LeaseLock,
}

impl<'a> World<'a> {
    fn new(sleeper: &'a mut Sleeper) -> Self {
        let server = LeaseServer::new();
        let link = server.connect();
        let lock = build(sleeper, &link);
        Self { sleeper, server, link, lock }
    }

    fn suspend(&mut self, span: Duration) {
        match &mut *self.sleeper {
            Sleeper::Virtual(machine) => machine.suspended_for(span),
            Sleeper::Real(namespace) => namespace.suspended_for(span),
        }
    }

    async fn acquire(&self) -> LeaseGuard {
        timeout(SOON, self.lock.acquire()).await.expect("acquired by now").unwrap()
    }

    /// A guard of a new lock, on the Lease made free.
    async fn again(&mut self) -> LeaseGuard {
        self.server.delete("default", NAME);
        self.lock = build(self.sleeper, &self.link);
        self.acquire().await
    }
}

fn build(sleeper: &Sleeper, link: &Link) -> LeaseLock {
    let builder = LeaseLock::builder(link.client(), NAME).lease_duration(D);
    match sleeper {
        Sleeper::Virtual(machine) => builder.machine(machine),
        Sleeper::Real(_) => builder,
    }
    .build()
    .unwrap()
}

enum Sleeper {
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
        /// `None` where that is not permitted.
        pub(crate) fn enter() -> Option<Self> {
            // Not zero: a clock that starts with an offset is another thing to get right.
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
        // It keeps the namespace open until this process has moved there.
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
