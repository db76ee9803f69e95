//! How long an acquisition goes on if no server accepts its requests.

use std::time::Duration;

use super::time::Instant;

/// How long an acquisition goes on if no server accepts its requests.
///
/// Invariants:
///
/// 1. If no API server has ever answered, the time counts from the moment at which the caller asked for the lock.
/// 2. If the server refuses a request for a reason that may pass, the time counts from the first of such refusals in a row.
/// 3. Reads and claims count apart: to accept reads says nothing about claims. If another process holds the Lease, there is
///    nothing to claim, and claims begin anew.
/// 4. All other failures are those of a server that is known. They pass, and no time counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Patience {
    asked: Instant,
    limit: Duration,
    read_refused: Option<Instant>,
    claim_refused: Option<Instant>,
}

impl Patience {
    pub(super) fn new(asked: Instant, limit: Duration) -> Self {
        Self { asked, limit, read_refused: None, claim_refused: None }
    }

    pub(super) fn accepted_read(&mut self) {
        self.read_refused = None;
    }

    /// The server has accepted a claim, or there is nothing to claim.
    pub(super) fn accepted_claim(&mut self) {
        self.claim_refused = None;
    }

    /// A read or a claim has failed. Returns when the time is over, if it counts.
    pub(super) fn failed(
        &mut self,
        claiming: bool,
        server_known: bool,
        refused: bool,
        now: Instant,
    ) -> Option<Instant> {
        let since = if claiming { &mut self.claim_refused } else { &mut self.read_refused };
        let since = if !server_known {
            self.asked
        } else if refused {
            *since.get_or_insert(now)
        } else {
            return None;
        };
        Some(since + self.limit)
    }

    /// How long the caller has waited.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        self.asked.until(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    #[test]
    fn without_a_server_the_time_counts_from_the_request_of_the_caller() {
        let mut patience = Patience::new(at(5), LIMIT);
        for refused in [false, true] {
            assert_eq!(patience.failed(false, false, refused, at(50)), Some(at(65)));
        }
        assert_eq!(patience.waited(at(65)), LIMIT);
    }

    #[test]
    fn refusals_in_a_row_count_from_the_first_one_reads_and_claims_apart() {
        let mut patience = Patience::new(at(0), LIMIT);
        assert_eq!(patience.failed(false, true, false, at(100)), None);
        assert_eq!(patience.failed(true, true, true, at(100)), Some(at(160)));
        assert_eq!(patience.failed(false, true, true, at(110)), Some(at(170)));
        patience.accepted_read();
        assert_eq!(patience.failed(true, true, true, at(120)), Some(at(160)), "the reads say nothing");
        assert_eq!(patience.failed(false, true, true, at(130)), Some(at(190)));
        patience.accepted_claim();
        assert_eq!(patience.failed(true, true, true, at(140)), Some(at(200)));
        assert_eq!(patience.failed(true, true, false, at(150)), None, "an outage");
        assert_eq!(patience.failed(true, true, true, at(200)), Some(at(200)), "the refusal goes on");
    }
}
