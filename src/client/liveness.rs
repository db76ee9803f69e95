//! Whether a connection over HTTP/2 still answers, judged by its requests.
//!
//! The reply to a ping is no proof. It may come from a proxy whose server is dead, or from a server that answers no
//! request any more.

use std::time::Duration;

use tokio::time::Instant;

/// After this time without any answer, a connection that owes one carries no other request, because it may be dead.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(1);

/// What the answers of a connection say about it.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    unanswered: usize,
    /// The time since which the server has owed an answer, and has sent nothing.
    silent_since: Option<Instant>,
    has_answered: bool,
}

impl Liveness {
    pub(super) fn sent(&mut self) {
        self.unanswered += 1;
        self.silent_since.get_or_insert_with(Instant::now);
    }

    /// The server has sent a response or a part of one. Returns whether the connection was unresponsive until now.
    pub(super) fn heard(&mut self) -> bool {
        let recovers = self.is_unresponsive();
        self.has_answered = true;
        self.silent_since = (self.unanswered > 0).then(Instant::now);
        recovers
    }

    /// A request has ended, with a response or without one. A connection that was unresponsive remains so.
    pub(super) fn ended(&mut self) {
        self.unanswered -= 1;
        if self.unanswered == 0 && !self.is_unresponsive() {
            self.silent_since = None;
        }
    }

    pub(super) fn is_unresponsive(&self) -> bool {
        self.silent_since.is_some_and(|since| since.elapsed() >= UNRESPONSIVE_AFTER)
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
        let mut liveness = Liveness::default();
        liveness.sent();
        liveness.ended();
        advance(UNRESPONSIVE_AFTER * 10).await;
        liveness.sent();
        assert!(!liveness.is_unresponsive());
        advance(UNRESPONSIVE_AFTER).await;
        assert!(liveness.is_unresponsive());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_ends_late_without_an_answer_leaves_it_unresponsive() {
        let mut liveness = Liveness::default();
        liveness.sent();
        advance(UNRESPONSIVE_AFTER).await;
        liveness.ended();
        assert!(liveness.is_unresponsive());
        assert!(liveness.heard());
        assert!(!liveness.is_unresponsive() && liveness.has_answered());
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_to_any_request_is_a_proof() {
        let mut liveness = Liveness::default();
        for _ in 0..5 {
            liveness.sent();
            advance(UNRESPONSIVE_AFTER * 9 / 10).await;
            assert!(!liveness.heard());
        }
        advance(UNRESPONSIVE_AFTER).await;
        assert!(liveness.is_unresponsive());
    }
}
