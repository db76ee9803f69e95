//! The life of a contender process: acquires, writes under the lock, gives it back, over and over.

use std::env;
use std::io::{Read, stdin};
use std::ops::RangeInclusive;
use std::time::Duration;

use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube_lease_lock::{AcquireError, EndReason, Hold, LeaseGuard, LeaseLock, lock_client, rustls_connector};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::contender::SPEC;
use crate::manner::Manner;
use crate::support::{Reporter, now};

/// This binary again, as one contender: see [`Contender`](crate::contender::Contender).
#[test]
#[ignore = "a process that other tests start; does nothing otherwise"]
fn contender() {
    let Ok(spec) = env::var(SPEC) else { return };
    let spec = serde_json::from_str(&spec).unwrap();
    std::thread::spawn(end_with_parent);
    end_with_any_panic();
    let filter = tracing_subscriber::EnvFilter::new("kube_lease_lock=debug");
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { Life::begin(&spec).await.live().await });
}

fn end_with_parent() {
    let _ = stdin().read_to_end(&mut Vec::new());
    std::process::exit(0);
}

/// Also with one in a background task: the parent finds the process gone.
fn end_with_any_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::exit(101);
    }));
}

/// Tells the parent process, which reads it from standard error.
fn say(at: u64, word: &str, rest: &str) {
    eprintln!("@ {at} {word} {rest}");
}

struct Life {
    lock: LeaseLock,
    manner: Manner,
    register: Reporter,
    rng: fastrand::Rng,
    written: u64,
}

impl Life {
    async fn begin(spec: &Value) -> Self {
        let text = |name: &str| spec[name].as_str().unwrap_or_else(|| panic!("no {name} in {spec}"));
        let kubeconfig = Kubeconfig::read_from(text("kubeconfig")).unwrap();
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        config.cluster_url = format!("https://{}", text("proxy")).parse().unwrap();
        config.auth_info.impersonate = spec["user"].as_str().map(str::to_owned);
        let manner = Manner::from_json(&spec["manner"]);
        let client = if manner.lock_client {
            lock_client(&config, rustls_connector).unwrap()
        } else {
            config.try_into().unwrap()
        };
        let lock = LeaseLock::builder(client, text("lease"))
            .namespace(text("namespace"))
            .identity(text("name"))
            .lease_duration(Duration::from_secs(manner.lease))
            .build()
            .unwrap();
        Self {
            lock,
            manner,
            register: Reporter::connect(text("register").parse().unwrap()).await,
            rng: fastrand::Rng::with_seed(spec["seed"].as_u64().unwrap()),
            written: 0,
        }
    }

    async fn live(mut self) -> ! {
        loop {
            match self.acquire().await {
                Some(Ok(guard)) => self.turn(guard).await,
                Some(Err(error)) => {
                    say(now(), "failed", &error.to_string());
                    sleep(Duration::from_millis(200)).await;
                }
                None => say(now(), "dropped", "an acquisition"),
            }
            sleep(self.millis(self.manner.rest.clone())).await;
        }
    }

    /// `None` if it was dropped before its end.
    async fn acquire(&mut self) -> Option<Result<LeaseGuard, AcquireError>> {
        say(now(), "asks", "");
        if self.manner.impatient == 0 || self.rng.u64(..self.manner.impatient) > 0 {
            return Some(self.lock.acquire().await);
        }
        let patience = self.millis(0..=self.manner.lease * 1_000);
        timeout(patience, self.lock.acquire()).await.ok()
    }

    async fn turn(&mut self, guard: LeaseGuard) {
        let at = now();
        tokio::spawn(watch(guard.hold().clone()));
        let mut goes_on = self.round(guard.hold()).await;
        // Not before the register knows.
        say(at, "acquired", &format!("{} {}", guard.holder_identity(), u64::from(guard.fencing_token())));
        for _ in 1..self.rng.u64(self.manner.rounds.clone()) {
            if !goes_on {
                break;
            }
            goes_on = self.round(guard.hold()).await;
        }
        if guard.is_held() {
            self.give_back(guard).await;
        }
    }

    /// Asks, and writes a moment later without asking again: for what comes between, there is the fencing token.
    async fn round(&mut self, held: &Hold) -> bool {
        let at = now();
        if !held.is_held() {
            return false;
        }
        let (name, fencing) = (held.holder_identity(), u64::from(held.fencing_token()));
        self.register.held(name, fencing, at).await;
        sleep(self.millis(self.manner.prepare.clone())).await;
        self.written += 1;
        let taken = self.register.write(name, fencing, self.written).await;
        if !taken {
            say(now(), "stale", name);
            if held.is_held() {
                self.register.say(stale_while_held(name) + "\n").await;
            }
        }
        taken
    }

    /// In one of the ways that there are.
    async fn give_back(&mut self, guard: LeaseGuard) {
        let hold = guard.holder_identity().to_owned();
        let at = now();
        match self.rng.u64(..3) {
            0 => drop(guard),
            1 => drop(std::thread::spawn(move || drop(guard))),
            _ => {
                let outcome = guard.release().await;
                say(now(), "released", &format!("{hold} {outcome:?}"));
            }
        }
        self.register.left(&hold, at).await;
    }

    fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }
}

/// What no holder may ever say: the register takes it for what is wrong.
pub(crate) fn stale_while_held(hold: &str) -> String {
    format!("{hold} is held, and yet its token is stale")
}

/// Tells when the token fired, and why.
async fn watch(held: Hold) {
    held.token().cancelled().await;
    let at = now();
    assert!(!held.is_held(), "the token of {} fired while it was held", held.holder_identity());
    match held.ended().await {
        EndReason::Released => {}
        reason => say(at, "lost", &format!("{} {reason:?}", held.holder_identity())),
    }
}
