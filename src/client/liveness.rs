//! Whether a connection over HTTP/2 still answers, judged by its requests.
//!
//! The reply to a ping is no proof. It may come from a proxy whose server is dead, or from a server that answers no
//! request any more.

use std::time::Duration;

use tokio::time::Instant;

/// After this time without any answer, a connection that owes one carries no other request, because it may be dead.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(1);

/// The same for the first answer of a connection that was made because another one did not answer. If both are
/// silent, the server is probably slow, and a third connection would make it slower.
const SECOND_UNRESPONSIVE_AFTER: Duration = Duration::from_secs(3);

/// What the answers of a connection say about it.
#[derive(Debug)]
pub(super) struct Liveness {
    unanswered: usize,
    /// For how long the server owed an answer and sent nothing, before `silent_since`.
    silence: Duration,
    /// The time since which the server has owed an answer, and has sent nothing.
    silent_since: Option<Instant>,
    has_answered: bool,
    unresponsive_after: Duration,
}

impl Liveness {
    /// `is_second`: another connection did not answer when this one was made.
    pub(super) fn new(is_second: bool) -> Self {
        Self {
            unanswered: 0,
            silence: Duration::ZERO,
            silent_since: None,
            has_answered: false,
            unresponsive_after: if is_second { SECOND_UNRESPONSIVE_AFTER } else { UNRESPONSIVE_AFTER },
        }
    }

    pub(super) fn sent(&mut self) {
        self.unanswered += 1;
        self.silent_since.get_or_insert_with(Instant::now);
    }

    /// The server has sent a response or a part of one. Returns whether the connection was unresponsive until now.
    pub(super) fn heard(&mut self) -> bool {
        let recovers = self.is_unresponsive();
        self.has_answered = true;
        self.unresponsive_after = UNRESPONSIVE_AFTER;
        self.silence = Duration::ZERO;
        self.silent_since = (self.unanswered > 0).then(Instant::now);
        recovers
    }

    /// A request has ended, with a response or without one.
    pub(super) fn ended(&mut self) {
        self.unanswered -= 1;
        // The silence of requests that give up early adds up, because there may be no others.
        if self.unanswered == 0
            && let Some(since) = self.silent_since.take()
        {
            self.silence += since.elapsed();
        }
    }

    pub(super) fn is_unresponsive(&self) -> bool {
        let present = self.silent_since.map_or(Duration::ZERO, |since| since.elapsed());
        self.silence + present >= self.unresponsive_after
    }

    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_owes_no_answer_is_responsive() {
        let mut liveness = Liveness::new(false);
        liveness.sent();
        liveness.ended();
        advance(UNRESPONSIVE_AFTER * 10).await;
        liveness.sent();
        assert!(!liveness.is_unresponsive());
        advance(UNRESPONSIVE_AFTER).await;
        assert!(liveness.is_unresponsive());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_end_without_an_answer_leave_it_unresponsive() {
        let mut liveness = Liveness::new(false);
        for _ in 0..2 {
            assert!(!liveness.is_unresponsive());
            liveness.sent();
            advance(UNRESPONSIVE_AFTER / 2).await;
            liveness.ended();
            advance(UNRESPONSIVE_AFTER).await;
        }
        assert!(liveness.is_unresponsive());
        assert!(liveness.heard());
        assert!(!liveness.is_unresponsive() && liveness.has_answered());
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_to_any_request_is_a_proof() {
        let mut liveness = Liveness::new(false);
        for _ in 0..5 {
            liveness.sent();
            advance(UNRESPONSIVE_AFTER * 9 / 10).await;
            assert!(!liveness.heard());
        }
        advance(UNRESPONSIVE_AFTER).await;
        assert!(liveness.is_unresponsive());
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_connection_gets_more_time_for_its_first_answer() {
        let mut liveness = Liveness::new(true);
        liveness.sent();
        advance(UNRESPONSIVE_AFTER * 2).await;
        assert!(!liveness.is_unresponsive());
        liveness.heard();
        advance(UNRESPONSIVE_AFTER).await;
        assert!(liveness.is_unresponsive());
    }
}
