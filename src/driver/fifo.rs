//! A FIFO among the tasks of a process: one task at a time has the value, in the order in which they asked for it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// A value that one task at a time has, first come, first served.
pub(crate) struct Fifo<T>(Arc<Inner<T>>);

struct Inner<T> {
    value: Arc<Mutex<T>>,
    waiting: AtomicUsize,
}

/// The value, or a place in the FIFO. Dropping it gives up either.
pub(crate) enum Admission<T> {
    Admitted(OwnedMutexGuard<T>),
    Waiting(Waiter<T>),
}

/// A place in the FIFO.
pub(crate) struct Waiter<T> {
    fifo: Fifo<T>,
    admitted: Pin<Box<dyn Future<Output = OwnedMutexGuard<T>> + Send>>,
}

impl<T: Send + 'static> Fifo<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Inner { value: Arc::new(Mutex::new(value)), waiting: AtomicUsize::new(0) }))
    }

    /// Takes the place behind every task that has asked before.
    pub(crate) fn enqueue(&self) -> Admission<T> {
        let mut admitted = Box::pin(self.0.value.clone().lock_owned());
        // The first poll is what takes the place.
        if let Some(value) = (&mut admitted).now_or_never() {
            return Admission::Admitted(value);
        }
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        Admission::Waiting(Waiter { fifo: self.clone(), admitted })
    }

    /// The value, if no task has it.
    pub(crate) fn try_take(&self) -> Option<OwnedMutexGuard<T>> {
        self.0.value.clone().try_lock_owned().ok()
    }

    /// Waits until every task that has asked before has given up the value.
    pub(crate) async fn drained(&self) {
        drop(self.0.value.lock().await);
    }

    /// Whether a task waits for the value.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.0.waiting.load(Ordering::SeqCst) > 0
    }
}

impl<T> Clone for Fifo<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Waiter<T> {
    /// Waits for the value. Cancel safe: the place is kept.
    pub(crate) async fn admitted(&mut self) -> OwnedMutexGuard<T> {
        self.admitted.as_mut().await
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        self.fifo.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_are_admitted_in_the_order_in_which_they_asked() {
        let fifo = Fifo::new(Vec::new());
        let Admission::Admitted(mut first) = fifo.enqueue() else { panic!("nobody has the value") };
        let mut waiters = Vec::new();
        for number in 0..3 {
            let Admission::Waiting(waiter) = fifo.enqueue() else { panic!("the first task has the value") };
            waiters.push((number, waiter));
        }
        assert!(fifo.is_waited_for() && fifo.try_take().is_none());
        first.push(9);
        drop(first);
        // Polled in the opposite order.
        let admitted = waiters.into_iter().rev().map(|(number, mut waiter)| async move {
            waiter.admitted().await.push(number);
        });
        futures::future::join_all(admitted).await;
        assert!(!fifo.is_waited_for());
        assert_eq!(*fifo.try_take().unwrap(), [9, 0, 1, 2]);
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_is_skipped() {
        let fifo = Fifo::new(());
        let admitted = fifo.enqueue();
        let Admission::Waiting(gone) = fifo.enqueue() else { panic!("the value is taken") };
        let Admission::Waiting(mut next) = fifo.enqueue() else { panic!("the value is taken") };
        drop(gone);
        drop(admitted);
        next.admitted().await;
    }
}
