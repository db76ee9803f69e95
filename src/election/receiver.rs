//! Follows an election: whether this process leads.

use std::sync::Arc;

use futures::Stream;
use futures::stream::unfold;
use tokio::sync::watch;

use super::state::ElectionState;
use crate::error::AcquireError;
use crate::hold::Hold;

/// Follows an [`Election`](super::Election): tells whether this process leads.
///
/// [`Election::subscribe`](super::Election::subscribe) makes it. It is cheap to clone, and each clone follows the election by itself.
/// It never returns a hold that is over, and it keeps nothing of the election locked between two calls. Dropping it ends nothing.
///
/// # Example
///
/// ```
/// # async fn reconcile(_: kube_lease_lock::Hold) {}
/// # async fn example(election: kube_lease_lock::Election) -> Result<(), Box<dyn std::error::Error>> {
/// let mut leadership = election.subscribe();
/// loop {
///     let hold = leadership.leading().await?;
///     hold.token().run_until_cancelled(reconcile(hold)).await;
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LeadershipReceiver {
    state: Arc<ElectionState>,
    channel: watch::Receiver<Option<Hold>>,
    /// Whether the last value that `changed` returned was `Some`. `None`: it has not returned yet.
    returned_some: Option<bool>,
}

impl LeadershipReceiver {
    /// `returned_some`: see the field.
    pub(super) fn new(
        state: Arc<ElectionState>,
        mut channel: watch::Receiver<Option<Hold>>,
        returned_some: Option<bool>,
    ) -> Self {
        if returned_some.is_none() {
            channel.mark_changed();
        }
        Self { state, channel, returned_some }
    }

    /// Waits until this process begins to lead, or ceases to lead. `Some` if it leads now.
    ///
    /// The first call returns at once, with the present state. If changes come faster than calls, a call returns only the last
    /// change. A new leadership may then follow an old one without a `None` between them; the token of the old one is cancelled.
    ///
    /// # Errors
    ///
    /// If the election has ended: [`AcquireError::Stopped`] if it was stopped or dropped, [`AcquireError::ShutDown`] if the lock was
    /// shut down, [`AcquireError::TaskEnded`] if the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no change is lost.
    pub async fn changed(&mut self) -> Result<Option<Hold>, AcquireError> {
        loop {
            if self.channel.changed().await.is_err() {
                return Err(self.state.end_error());
            }
            let hold = self.channel.borrow_and_update().clone().filter(Hold::is_held);
            let leading = hold.is_some();
            if self.returned_some.replace(leading) != Some(false) || leading {
                return Ok(hold);
            }
        }
    }

    /// Waits until this process leads, and returns its hold. If it leads already, the call returns at once.
    ///
    /// When the work under the hold has stopped, call it again: it waits for the next leadership.
    ///
    /// # Errors
    ///
    /// As [`changed`](Self::changed).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only waits.
    pub async fn leading(&mut self) -> Result<Hold, AcquireError> {
        loop {
            if let Some(hold) = self.hold() {
                return Ok(hold);
            }
            self.changed().await?;
        }
    }

    /// The hold of this process while it leads. `None` also when the election has ended.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        self.state.hold()
    }

    /// Whether this process leads at this very moment, by this machine's clock, like [`Hold::is_held`].
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.hold().is_some()
    }

    /// Whether the election has ended. This process does not lead, and will not.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state.has_ended()
    }

    /// What [`changed`](Self::changed) returns, as a stream. It ends with the election.
    pub fn into_stream(self) -> impl Stream<Item = Option<Hold>> + Send + Unpin + 'static {
        let next = |mut receiver: Self| async move {
            let hold = receiver.changed().await.ok()?;
            Some((hold, receiver))
        };
        Box::pin(unfold(self, next))
    }
}
