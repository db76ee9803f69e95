//! The wall clock of the server. It runs with tokio's clock.

use std::time::{Instant as Monotonic, SystemTime};

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// The time of day in the form of `metav1.Time`: whole seconds, UTC.
pub(crate) fn seconds() -> String {
    now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The time of day.
///
/// It is the real time, moved by as much as tokio's clock was moved. Timestamps on objects therefore advance with
/// paused time.
pub(crate) fn now() -> Timestamp {
    let system = Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH);
    let tokio = Instant::now().into_std();
    let real = Monotonic::now();
    let moved = match tokio.checked_duration_since(real) {
        Some(ahead) => system.checked_add(ahead),
        None => system.checked_sub(real.saturating_duration_since(tokio)),
    };
    moved.unwrap_or(system)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_wall_clock_moves_with_tokio() {
        let before: Timestamp = seconds().parse().unwrap();
        tokio::time::advance(Duration::from_secs(3600)).await;
        let after: Timestamp = seconds().parse().unwrap();
        let passed = after.duration_since(before).as_secs();
        assert!((3600..=3601).contains(&passed), "{passed}");
    }
}
