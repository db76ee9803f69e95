//! The queue of waiting processes, which the Lease carries in an annotation.
//!
//! The queue only says which process goes first. It grants nothing: only the conditional write of the Lease does. A queue
//! that is wrong, garbled or lost costs time, never safety. The queue is bounded, because the API server sends it again
//! with every renewal to every process that watches.

/// The ticket of one process. Each lock draws one, and keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(pub u64);

/// The tickets of the processes that wait, the first in the queue first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Queue(Vec<Ticket>);

impl Queue {
    const MAX_TICKETS: usize = 16;

    pub(crate) fn tickets(&self) -> &[Ticket] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= Self::MAX_TICKETS
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn contains(&self, ticket: Ticket) -> bool {
        self.0.contains(&ticket)
    }

    /// How many tickets are ahead of this one: all of them, if it is not in the queue.
    pub(crate) fn ahead_of(&self, ticket: Ticket) -> usize {
        self.0.iter().position(|waiting| *waiting == ticket).unwrap_or(self.0.len())
    }

    /// The queue with this ticket at its end, unless it is full or has the ticket already.
    pub(crate) fn joined_by(&self, ticket: Ticket) -> Self {
        let mut queue = self.clone();
        if !self.is_full() && !self.contains(ticket) {
            queue.0.push(ticket);
        }
        queue
    }

    /// The queue without this ticket and the tickets ahead of it: their processes had their time, and did not claim.
    pub(crate) fn after(&self, ticket: Ticket) -> Self {
        Self(self.0.iter().skip(self.ahead_of(ticket) + 1).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(numbers: &[u64]) -> Queue {
        numbers.iter().fold(Queue::default(), |queue, number| queue.joined_by(Ticket(*number)))
    }

    #[test]
    fn tickets_are_served_in_the_order_in_which_they_joined() {
        let waiting = queue(&[1, 2, 3]);
        assert_eq!([1, 2, 3, 9].map(|number| waiting.ahead_of(Ticket(number))), [0, 1, 2, 3]);
        assert_eq!(waiting.after(Ticket(1)), queue(&[2, 3]));
        assert_eq!(waiting.after(Ticket(2)), queue(&[3]), "a process that did not claim in time is left out");
        assert_eq!(waiting.after(Ticket(9)), queue(&[]), "no process of the queue claimed");
        assert_eq!(waiting.joined_by(Ticket(1)), waiting, "a ticket joins once");
    }

    #[test]
    fn the_queue_is_bounded() {
        let full = queue(&(0..100).collect::<Vec<_>>());
        assert_eq!((full.len(), full.is_full()), (Queue::MAX_TICKETS, true));
    }
}
