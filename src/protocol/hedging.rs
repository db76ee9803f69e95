//! When a request without an answer is repeated, while it stays in flight.

use std::time::Duration;

/// The pauses before the repetitions of a request.
///
/// A request without an answer may be lost, or the server may be slow. If the client gave it up, a slow server would cancel it,
/// and the next one would take as long. So the request stays in flight, and another one is sent beside it: a hedged request
/// (Dean and Barroso, *The Tail at Scale*, 2013). All of them make the same conditional write, so at most one of them is made.
///
/// A server that is slow for long gets no repetitions: then the answers have shown how long a request takes. One late answer
/// shows nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hedging {
    /// How long the last answers took, the newest first.
    answers: [Duration; 3],
}

impl Hedging {
    const FIRST_PAUSE: Duration = Duration::from_millis(2_500);
    const MAX_PAUSE: Duration = Duration::from_secs(5);

    const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(100);

    /// If one of several copies of a request has failed, the answers of the others are awaited for this time.
    pub(crate) const GRACE: Duration = Duration::from_secs(5);

    /// The pause before the next repetition, after `repeated` of them, of a request that is given up after `timeout`.
    pub(crate) fn pause(&self, timeout: Duration, repeated: u32) -> Duration {
        let first = (timeout / 2).min(Self::FIRST_PAUSE);
        let pause = first.saturating_mul(1 << repeated.min(16)).min(Self::MAX_PAUSE);
        let usual = self.answers.into_iter().fold(Duration::MAX, Duration::min);
        pause.max(usual.saturating_mul(3) / 2)
    }

    /// The pause before the next repetition, if a copy has failed in a way that may pass, after so many such failures.
    pub(crate) fn pause_after_failure(failures: u32) -> Duration {
        Self::FIRST_RETRY_PAUSE.saturating_mul(1 << failures.min(16)).min(Self::MAX_PAUSE)
    }

    /// A request was answered so long after its sending.
    pub(crate) fn answered(&mut self, after: Duration) {
        let [last, before, _] = self.answers;
        self.answers = [after, last, before];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_pauses_double_up_to_their_limit_whatever_the_timeout() {
        let pauses = |timeout| [0, 1, 2, 3, 40].map(|repeated| Hedging::default().pause(timeout, repeated));
        let limit = 5 * SECOND;
        assert_eq!(pauses(180 * SECOND), [limit / 2, limit, limit, limit, limit]);
        assert_eq!(pauses(SECOND), [SECOND / 2, SECOND, 2 * SECOND, 4 * SECOND, limit]);
    }

    #[test]
    fn a_server_that_is_slow_for_long_gets_no_repetitions() {
        let mut hedging = Hedging::default();
        hedging.answered(4 * SECOND);
        assert_eq!(hedging.pause(5 * SECOND, 0), Hedging::FIRST_PAUSE, "one late answer shows nothing");
        (0..2).for_each(|_| hedging.answered(4 * SECOND));
        assert_eq!(hedging.pause(5 * SECOND, 0), 6 * SECOND);
        hedging.answered(SECOND / 100);
        assert_eq!(hedging.pause(5 * SECOND, 0), Hedging::FIRST_PAUSE);
    }
}
