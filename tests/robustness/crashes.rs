//! The nemesis of processes: kills and stops contenders, the holder more than others.

use crate::contender::Contender;
use crate::storm::Storm;
use crate::support::Register;

pub(crate) const LONG_STOP: &str = "contender stopped for long";

pub(crate) async fn crash(
    storm: &Storm,
    mut rng: fastrand::Rng,
    contenders: &mut [Contender],
    register: &Register,
) {
    while storm.rages() {
        storm.wait(&mut rng, 500..=5_000).await;
        let random = rng.usize(..contenders.len());
        let latest = register.latest().filter(|_| rng.u8(..4) > 0);
        let holder = latest.and_then(|hold| contenders.iter().position(|contender| contender.owns(&hold)));
        let contender = &mut contenders[holder.unwrap_or(random)];
        contender.assert_alive();
        match rng.u8(..3) {
            0 => {
                storm.strikes("contender killed", contender.name());
                contender.kill().await;
                storm.wait(&mut rng, 0..=2_000).await;
                contender.start_again();
            }
            1 => {
                storm.strikes("contender stopped for a moment", contender.name());
                let _stopped = contender.stop();
                storm.wait(&mut rng, 50..=2_000).await;
            }
            _ => {
                storm.strikes(LONG_STOP, contender.name());
                let _stopped = contender.stop();
                storm.wait(&mut rng, 5_000..=8_000).await;
            }
        }
    }
}
