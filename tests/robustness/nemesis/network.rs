//! Faults of the network: of one contender at a time.

use std::sync::Arc;
use std::time::Duration;

use super::Nemesis;
use crate::proxy::{Fault, Proxy};

pub(crate) async fn inject(nemesis: &Nemesis, mut rng: fastrand::Rng, links: &[(String, Arc<Proxy>)]) {
    while nemesis.is_active() {
        nemesis.wait(&mut rng, 0..=2_000).await;
        let (contender, link) = &links[rng.usize(..links.len())];
        let (name, fault) = random_fault(&mut rng);
        nemesis.record(name, contender);
        link.set(fault);
        if matches!(fault, Fault::None | Fault::Refuse) {
            link.reset();
        }
        nemesis.wait(&mut rng, 200..=8_000).await;
        link.set(Fault::None);
    }
}

fn random_fault(rng: &mut fastrand::Rng) -> (&'static str, Fault) {
    let delay = Duration::from_millis(rng.u64(10..=5_000));
    match rng.u8(..8) {
        0 => ("requests delayed", Fault::DelayRequests(delay)),
        1 => ("replies delayed", Fault::DelayReplies(delay)),
        2 => ("replies dropped", Fault::DropReplies),
        3 => ("half-open connections", Fault::HalfOpen),
        4 => ("connections refused", Fault::Refuse),
        5 => ("replies trickling", Fault::Trickle),
        6 => ("replies cut", Fault::CutReplies),
        _ => ("connections reset", Fault::None),
    }
}
