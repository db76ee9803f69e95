//! The queue of waiting processes, which the Lease carries in two annotations.
//!
//! The queue only says which process goes first. It grants nothing: only the conditional write of the Lease does. A queue
//! that is wrong, garbled or lost costs time, never safety. The queue is bounded, because the API server sends it again
//! with every renewal to every process that watches.
//!
//! A process joins with a write that changes nothing but the list of joining tickets. So its write collides with other joins
//! only, and not with claims, renewals and releases, which may follow each other faster than the process can see. The
//! next claim, renewal or release of any process moves the joining tickets to the end of the queue.

use std::time::Duration;

/// The ticket of one process. Each lock draws a number, and keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket {
    pub number: u32,
    /// How long a free Lease is left to this process by the processes behind it, in whole milliseconds.
    pub head_start: Duration,
}

/// The tickets of the processes that wait, the first in the queue first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Queue {
    waiting: Vec<Ticket>,
    /// The tickets that have joined since the last claim, renewal or release, behind the others. `None`: the Lease does not
    /// carry this list, so no process can join.
    joining: Option<Vec<Ticket>>,
}

impl Queue {
    pub(crate) const MAX_TICKETS: usize = 128;

    /// A Lease that nobody waits for, and whose queue can be joined.
    pub(crate) const EMPTY: Self = Self { waiting: Vec::new(), joining: Some(Vec::new()) };

    /// Each ticket counts once, where it is first. What does not fit is left out.
    pub(crate) fn new(waiting: Vec<Ticket>, joining: Option<Vec<Ticket>>) -> Self {
        // The numbers side by side, because each process reads hundreds of tickets with every event of its watch.
        let mut numbers: Vec<u32> = Vec::with_capacity(waiting.len().min(Self::MAX_TICKETS));
        let mut additions = |mut tickets: Vec<Ticket>| {
            tickets.retain(|ticket| {
                let added = numbers.len() < Self::MAX_TICKETS && !numbers.contains(&ticket.number);
                numbers.extend(added.then_some(ticket.number));
                added
            });
            tickets
        };
        Self { waiting: additions(waiting), joining: joining.map(additions) }
    }

    /// The tickets that have been moved to the queue, without those that have joined since.
    pub(crate) fn waiting(&self) -> &[Ticket] {
        &self.waiting
    }

    /// The tickets that have joined since. `None`: no process can join.
    pub(crate) fn joining(&self) -> Option<&[Ticket]> {
        self.joining.as_deref()
    }

    /// All tickets, in their order.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.waiting.iter().chain(self.joining.iter().flatten())
    }

    pub(crate) fn len(&self) -> usize {
        self.tickets().count()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tickets().next().is_none()
    }

    /// Whether a process can join.
    pub(crate) fn has_room(&self) -> bool {
        self.joining.is_some() && self.len() < Self::MAX_TICKETS
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        self.tickets().any(|ticket| ticket.number == number)
    }

    /// The tickets ahead of this one: all of them, if it is not in the queue.
    pub(crate) fn ahead_of(&self, number: u32) -> impl Iterator<Item = &Ticket> {
        self.tickets().take_while(move |ticket| ticket.number != number)
    }

    /// The same queue, as a claim, renewal or release writes it.
    pub(crate) fn merged(&self) -> Self {
        Self { waiting: self.tickets().copied().collect(), joining: Some(Vec::new()) }
    }

    /// The queue with this ticket at its end, unless it is full or has the ticket already.
    pub(crate) fn joined_by(&self, ticket: Ticket) -> Self {
        let mut queue = self.merged();
        queue.waiting.push(ticket);
        Self::new(queue.waiting, queue.joining)
    }

    /// The queue without this ticket and the tickets ahead of it: their processes had their time, and did not claim.
    pub(crate) fn after(&self, number: u32) -> Self {
        let mut queue = self.merged();
        let served = queue.waiting.iter().position(|ticket| ticket.number == number);
        queue.waiting.drain(..served.map_or(queue.waiting.len(), |place| place + 1));
        queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(number: u32) -> Ticket {
        Ticket { number, head_start: Duration::from_millis(50) }
    }

    fn tickets(numbers: &[u32]) -> Vec<Ticket> {
        numbers.iter().copied().map(ticket).collect()
    }

    fn queue(numbers: &[u32]) -> Queue {
        Queue::new(tickets(numbers), Some(Vec::new()))
    }

    #[test]
    fn tickets_are_served_in_the_order_in_which_they_joined() {
        let waiting = queue(&[1, 2, 3]);
        assert_eq!([1, 2, 3, 9].map(|number| waiting.ahead_of(number).count()), [0, 1, 2, 3]);
        assert_eq!(waiting.after(1), queue(&[2, 3]));
        assert_eq!(waiting.after(2), queue(&[3]), "a process that did not claim in time is left out");
        assert_eq!(waiting.after(9), queue(&[]), "no process of the queue claimed");
        assert_eq!(waiting.joined_by(ticket(1)), waiting, "a ticket joins once");
    }

    #[test]
    fn joining_tickets_are_behind_the_others_and_move_up_with_the_next_write() {
        let joined = Queue::new(tickets(&[1, 2]), Some(tickets(&[3, 2, 4, 4])));
        assert_eq!(joined.joining(), Some(&tickets(&[3, 4])[..]));
        assert_eq!([3, 4].map(|number| joined.ahead_of(number).count()), [2, 3]);
        assert_eq!(joined.merged(), queue(&[1, 2, 3, 4]));
        assert_eq!(joined.after(1), queue(&[2, 3, 4]));
        assert_eq!(joined.after(3), queue(&[4]));
        assert_eq!(joined.joined_by(ticket(9)), queue(&[1, 2, 3, 4, 9]));
    }

    #[test]
    fn a_lease_without_the_list_of_joining_tickets_cannot_be_joined() {
        assert!(!Queue::default().has_room() && !Queue::new(tickets(&[1]), None).has_room());
        assert!(Queue::EMPTY.has_room() && Queue::EMPTY.is_empty());
        assert!(Queue::default().merged().has_room(), "the next write restores the list");
    }

    #[test]
    fn the_queue_is_bounded() {
        let numbers: Vec<_> = (0..300).collect();
        let full = queue(&numbers);
        assert_eq!((full.len(), full.has_room()), (Queue::MAX_TICKETS, false));
        let half = Queue::new(tickets(&numbers[..100]), Some(tickets(&numbers[100..])));
        assert_eq!(half, Queue::new(tickets(&numbers[..100]), Some(tickets(&numbers[100..128]))));
        assert_eq!(half.joined_by(ticket(900)).len(), Queue::MAX_TICKETS);
    }
}
