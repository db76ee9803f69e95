//! The queue of waiting processes, as it stands in an annotation of the Lease.
//!
//! It says who goes first, and grants nothing: only the conditional write of the Lease does. A queue that is wrong,
//! garbled or lost costs time. It is bounded, because every renewal is sent again to everybody who watches.

use std::fmt;

/// One process's place in a queue: drawn once by each lock, and kept by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(pub u64);

/// Who waits, the first in front.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Queue(Vec<Ticket>);

impl Queue {
    pub(crate) const ANNOTATION: &str = "kube-lease-lock/queue";

    const LONGEST: usize = 16;

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= Self::LONGEST
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn contains(&self, ticket: Ticket) -> bool {
        self.0.contains(&ticket)
    }

    /// How many go before this one; all of them, if it is not in the queue.
    pub(crate) fn ahead_of(&self, ticket: Ticket) -> usize {
        self.0.iter().position(|waits| *waits == ticket).unwrap_or(self.0.len())
    }

    /// The queue with one more at its end, where there is room.
    pub(crate) fn joined_by(&self, ticket: Ticket) -> Self {
        let mut queue = self.clone();
        if !self.is_full() && !self.contains(ticket) {
            queue.0.push(ticket);
        }
        queue
    }

    /// The queue after this one: who was ahead of it has had their time.
    pub(crate) fn after(&self, ticket: Ticket) -> Self {
        Self(self.0.iter().skip(self.ahead_of(ticket) + 1).copied().collect())
    }
}

impl From<&str> for Queue {
    /// Reads what can be read.
    fn from(text: &str) -> Self {
        let mut queue = Self::default();
        for word in text.split_ascii_whitespace() {
            if let Ok(number) = u64::from_str_radix(word, 16) {
                queue = queue.joined_by(Ticket(number));
            }
        }
        queue
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Ticket(number)) in self.0.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{number:016x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queue(numbers: &[u64]) -> Queue {
        numbers.iter().fold(Queue::default(), |queue, number| queue.joined_by(Ticket(*number)))
    }

    #[test]
    fn first_come_first_served() {
        let waiting = queue(&[1, 2, 3]);
        assert_eq!([1, 2, 3, 9].map(|number| waiting.ahead_of(Ticket(number))), [0, 1, 2, 3]);
        assert_eq!(waiting.after(Ticket(1)), queue(&[2, 3]));
        assert_eq!(waiting.after(Ticket(2)), queue(&[3]), "who did not come when called is left behind");
        assert_eq!(waiting.after(Ticket(9)), queue(&[]), "nobody came");
        assert_eq!(waiting.joined_by(Ticket(1)), waiting, "nobody waits twice");
    }

    #[test]
    fn it_is_bounded() {
        let full = queue(&(0..100).collect::<Vec<_>>());
        assert_eq!((full.len(), full.is_full()), (Queue::LONGEST, true));
        assert_eq!(Queue::from("1 ".repeat(100_000).as_str()), queue(&[1]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_back(numbers in prop::collection::vec(any::<u64>(), 0..20)) {
            let queue = queue(&numbers);
            prop_assert_eq!(Queue::from(queue.to_string().as_str()), queue);
        }

        #[test]
        fn no_text_is_too_odd(text in "\\PC*|[0-9a-f +-]{0,400}") {
            let queue = Queue::from(text.as_str());
            prop_assert!(queue.len() <= Queue::LONGEST);
        }
    }
}
