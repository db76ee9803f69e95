//! The nemesis of the network: disturbs one contender after the other.

use std::sync::Arc;
use std::time::Duration;

use crate::proxy::{Fault, Proxy};
use crate::storm::Storm;

pub(crate) async fn disturb(storm: &Storm, mut rng: fastrand::Rng, links: &[(String, Arc<Proxy>)]) {
    while storm.rages() {
        storm.wait(&mut rng, 0..=2_000).await;
        let (name, link) = &links[rng.usize(..links.len())];
        let (what, fault) = fault(&mut rng);
        storm.strikes(what, name);
        link.set(fault);
        if matches!(fault, Fault::None | Fault::Refuse) {
            link.reset();
        }
        storm.wait(&mut rng, 200..=8_000).await;
        link.set(Fault::None);
    }
}

fn fault(rng: &mut fastrand::Rng) -> (&'static str, Fault) {
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
