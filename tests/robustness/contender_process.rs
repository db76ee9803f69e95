//! A contender process: it acquires the lock, writes under it and releases it, again and again.

use std::env;
use std::io::{Read, stdin};
use std::ops::RangeInclusive;
use std::time::Duration;

use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube_lease_lock::{AcquireError, EndReason, Hold, LeaseGuard, LeaseLock, lock_client};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::behaviour::Behaviour;
use crate::contender::SPEC;
use crate::support::{Reporter, now};

/// Runs this binary as one contender: see [`Contender`](crate::contender::Contender).
#[test]
#[ignore = "a process that other tests start; does nothing otherwise"]
fn run() {
    let Ok(spec) = env::var(SPEC) else { return };
    let spec = serde_json::from_str(&spec).unwrap();
    std::thread::spawn(end_with_parent);
    end_with_any_panic();
    let filter = tracing_subscriber::EnvFilter::new("lease_lock=debug");
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { ContenderProcess::new(&spec).await.contend().await });
}

fn end_with_parent() {
    let _ = stdin().read_to_end(&mut Vec::new());
    std::process::exit(0);
}

/// Ends the process with any panic, also in a background task: the parent then finds that the process has ended.
fn end_with_any_panic() {
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default_hook(panic);
        std::process::exit(101);
    }));
}

/// Reports an event to the parent process, which reads standard error.
fn report(at: u64, word: &str, rest: &str) {
    eprintln!("@ {at} {word} {rest}");
}

struct ContenderProcess {
    lock: LeaseLock,
    behaviour: Behaviour,
    register: Reporter,
    rng: fastrand::Rng,
    written: u64,
}

impl ContenderProcess {
    async fn new(spec: &Value) -> Self {
        let text = |name: &str| spec[name].as_str().unwrap_or_else(|| panic!("no {name} in {spec}"));
        let kubeconfig = Kubeconfig::read_from(text("kubeconfig")).unwrap();
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        config.cluster_url = format!("https://{}", text("proxy")).parse().unwrap();
        config.auth_info.impersonate = spec["user"].as_str().map(str::to_owned);
        let behaviour = Behaviour::from_json(&spec["behaviour"]);
        let client =
            if behaviour.lock_client { lock_client(&config).unwrap() } else { config.try_into().unwrap() };
        let lock = LeaseLock::builder(client, text("lease"))
            .namespace(text("namespace"))
            .identity(text("name"))
            .lease_duration(Duration::from_secs(behaviour.lease_seconds))
            .build()
            .unwrap();
        Self {
            lock,
            behaviour,
            register: Reporter::connect(text("register").parse().unwrap()).await,
            rng: fastrand::Rng::with_seed(spec["seed"].as_u64().unwrap()),
            written: 0,
        }
    }

    async fn contend(mut self) -> ! {
        loop {
            match self.acquire().await {
                Some(Ok(guard)) => self.hold(guard).await,
                Some(Err(error)) => {
                    report(now(), "failed", &error.to_string());
                    sleep(Duration::from_millis(200)).await;
                }
                None => report(now(), "dropped", "an acquisition"),
            }
            sleep(self.millis(self.behaviour.rest.clone())).await;
        }
    }

    /// `None` if it was dropped before its end.
    async fn acquire(&mut self) -> Option<Result<LeaseGuard, AcquireError>> {
        report(now(), "asks", "");
        if self.behaviour.drop_one_in == 0 || self.rng.u64(..self.behaviour.drop_one_in) > 0 {
            return Some(self.lock.acquire().await);
        }
        let time_limit = self.millis(0..=self.behaviour.lease_seconds * 1_000);
        timeout(time_limit, self.lock.acquire()).await.ok()
    }

    async fn hold(&mut self, guard: LeaseGuard) {
        let at = now();
        tokio::spawn(report_loss(guard.hold().clone()));
        let mut continues = self.round(guard.hold()).await;
        // The register has to know of the hold first.
        report(at, "acquired", &format!("{} {}", guard.holder_identity(), u64::from(guard.fencing_token())));
        for _ in 1..self.rng.u64(self.behaviour.rounds.clone()) {
            if !continues {
                break;
            }
            continues = self.round(guard.hold()).await;
        }
        if guard.is_held() {
            self.release(guard).await;
        }
    }

    /// Checks the lock, and writes a moment later without another check. The fencing token guards against a loss
    /// between the two. Returns whether to go on.
    async fn round(&mut self, hold: &Hold) -> bool {
        let at = now();
        if !hold.is_held() {
            return false;
        }
        let (name, fencing) = (hold.holder_identity(), u64::from(hold.fencing_token()));
        self.register.held(name, fencing, at).await;
        sleep(self.millis(self.behaviour.prepare.clone())).await;
        self.written += 1;
        let accepted = self.register.write(name, fencing, self.written).await;
        if !accepted {
            report(now(), "stale", name);
            if hold.is_held() {
                self.register.send(stale_while_held(name) + "\n").await;
            }
        }
        accepted
    }

    /// Releases the lock in one of three ways, at random.
    async fn release(&mut self, guard: LeaseGuard) {
        let hold = guard.holder_identity().to_owned();
        let at = now();
        match self.rng.u64(..3) {
            0 => drop(guard),
            1 => drop(std::thread::spawn(move || drop(guard))),
            _ => {
                let outcome = guard.release().await;
                report(now(), "released", &format!("{hold} {outcome:?}"));
            }
        }
        self.register.ended(&hold, at).await;
    }

    fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }
}

/// A message that no holder may ever send. The register does not know it, and so records it as a violation.
pub(crate) fn stale_while_held(hold: &str) -> String {
    format!("{hold} is held, but its token is stale")
}

/// Reports when the token was cancelled, and why.
async fn report_loss(hold: Hold) {
    hold.token().cancelled().await;
    let at = now();
    assert!(!hold.is_held(), "the token of {} was cancelled while it was held", hold.holder_identity());
    match hold.ended().await {
        EndReason::Released => {}
        reason => report(at, "lost", &format!("{} {reason:?}", hold.holder_identity())),
    }
}
