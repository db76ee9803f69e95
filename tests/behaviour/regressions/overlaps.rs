//! Work of several processes never overlaps.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer, Machine};
use kube_lease_lock::{Leadership, LeaseLock};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::fixture::builder;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The work that has begun last, and the number of works so far.
#[derive(Default)]
struct Register {
    last: AtomicUsize,
    begun: AtomicUsize,
}

/// Work that ends by itself some time, and tidies up for some time. It fails if it makes a step after other work has begun.
async fn lead(lock: LeaseLock, shutdown: CancellationToken, register: Arc<Register>, seed: u64) {
    let rng = Mutex::new(fastrand::Rng::with_seed(seed));
    let draw = |least, most| rng.lock().unwrap().u32(least..most) * MS;
    let work = async |leadership: Leadership| {
        let me = 1 + register.begun.fetch_add(1, Ordering::SeqCst);
        register.last.store(me, Ordering::SeqCst);
        let work = async {
            let (span, tidy) = (draw(100, 40_000), draw(0, 8_000));
            tokio::select! {
                () = leadership.cancelled() => sleep(tidy).await,
                () = sleep(span) => {}
            }
        };
        let steps = async {
            loop {
                sleep(20 * MS).await;
                assert_eq!(register.last.load(Ordering::SeqCst), me, "other work has begun");
            }
        };
        tokio::select! {
            biased;
            () = steps => {}
            () = work => {}
        }
    };
    lock.lead(shutdown, work).await.unwrap();
}

/// Three processes with clocks of other rates, and two tasks that lead in each of them. Their links and machines fail.
async fn work_of_several_processes(seed: u64) {
    let server = LeaseServer::new();
    let mut rng = fastrand::Rng::with_seed(seed);
    let (register, shutdown) = (Arc::<Register>::default(), CancellationToken::new());
    let (mut links, mut machines, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
    for rate in [0.99, 1.01, 1.0] {
        let machine = Machine::new().rate(rate);
        let (link, builder) = builder(&server);
        link.set_distance(rng.u32(0..300) * MS);
        let lock = builder.machine(&machine).rng_seed(rng.u64(..)).build().unwrap();
        for _ in 0..2 {
            let leading = lead(lock.clone(), shutdown.clone(), register.clone(), rng.u64(..));
            let machine = machine.clone();
            tasks.push(tokio::spawn(async move { machine.run(leading).await }));
        }
        links.push(link);
        machines.push(machine);
    }
    let end = Instant::now() + 400 * SECOND;
    while Instant::now() < end && !tasks.iter().any(tokio::task::JoinHandle::is_finished) {
        sleep(rng.u32(100..9_000) * MS).await;
        let (link, machine) = (&links[rng.usize(0..3)], &machines[rng.usize(0..3)]);
        let span = rng.u32(100..9_000) * MS;
        match rng.u8(0..11) {
            0..3 => link.cut(),
            3..6 => link.mend(),
            6 => machine.freeze(),
            7 | 8 => machine.thaw(),
            9 => link.inject(Fault::delay_before(span).times(2)),
            _ => link.inject(Fault::delay_after(span).times(2)),
        }
    }
    machines.iter().for_each(Machine::thaw);
    for link in links {
        link.mend();
        link.heal();
    }
    shutdown.cancel();
    for task in tasks {
        let ended = timeout(60 * SECOND, task).await;
        ended.expect("it should have returned").unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    let begun = register.begun.load(Ordering::SeqCst);
    assert!(begun > 3, "seed {seed}: work has begun only {begun} times");
}

#[tokio::test(start_paused = true)]
async fn work_of_several_processes_never_overlaps() {
    for seed in 1..=20 {
        work_of_several_processes(seed).await;
    }
}
