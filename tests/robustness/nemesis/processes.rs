//! Faults of processes: it kills and stops contenders, the holder more often than the others.

use super::Nemesis;
use crate::contender::Contender;
use crate::support::Register;

pub(crate) const LONG_STOP: &str = "contender stopped for long";

pub(crate) async fn inject(
    nemesis: &Nemesis,
    mut rng: fastrand::Rng,
    contenders: &mut [Contender],
    register: &Register,
) {
    while nemesis.is_active() {
        nemesis.wait(&mut rng, 500..=5_000).await;
        let random = rng.usize(..contenders.len());
        let latest = register.latest().filter(|_| rng.u8(..4) > 0);
        let holder = latest.and_then(|hold| contenders.iter().position(|contender| contender.owns(&hold)));
        let contender = &mut contenders[holder.unwrap_or(random)];
        contender.assert_alive();
        match rng.u8(..3) {
            0 => {
                nemesis.record("contender killed", contender.name());
                contender.kill().await;
                nemesis.wait(&mut rng, 0..=2_000).await;
                contender.restart();
            }
            1 => {
                nemesis.record("contender stopped for a moment", contender.name());
                let _stopped = contender.stop();
                nemesis.wait(&mut rng, 50..=2_000).await;
            }
            _ => {
                nemesis.record(LONG_STOP, contender.name());
                let _stopped = contender.stop();
                nemesis.wait(&mut rng, 5_000..=8_000).await;
            }
        }
    }
}
