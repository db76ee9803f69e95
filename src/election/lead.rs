//! Runs work whenever this process leads.

use tokio_util::sync::CancellationToken;

use crate::error::AcquireError;
use crate::hold::Hold;
use crate::lock::LeaseLock;
use crate::log::log;
use crate::work::until_stop_by;

/// One leadership of this process, for the work that [`LeaseLock::lead`] runs. It is cheap to clone.
#[derive(Debug, Clone)]
pub struct Leadership {
    hold: Hold,
    stop: CancellationToken,
}

impl Leadership {
    /// The hold of this leadership, for its fencing token, and to ask whether it still lasts.
    #[must_use]
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    /// A token that is cancelled when the work has to stop: leadership was lost, or the process shuts down.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.stop.child_token()
    }

    /// Waits until the work has to stop.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only waits.
    pub async fn cancelled(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the work has to stop. It reads the clock, so that it is right also after a time in which nothing could cancel the
    /// token.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.stop.is_cancelled() || !self.hold.is_held()
    }
}

impl LeaseLock {
    /// Runs `work` whenever this process leads, until `shutdown` is cancelled. Then it stops the work, releases the Lease, and
    /// returns.
    ///
    /// It stands for election as [`elect`](Self::elect) does. Each time this process begins to lead, it calls `work` and polls the
    /// future, within the task that polls `lead`. So the future may borrow what the caller owns. One ends in one of these ways:
    ///
    /// - **Leadership is lost.** The token of the [`Leadership`] is cancelled. The future may tidy up until
    ///   [`Hold::stop_by`]: with the default settings for 3.7 seconds if the API server was silent, and not at all if another client
    ///   took the Lease. Then it is dropped, so that it does not run when another process leads. This process stands
    ///   for election again.
    /// - **`shutdown` is cancelled.** So is the token of the [`Leadership`]. The Lease is kept and renewed until the future has
    ///   ended, however long that takes. Then it is released, and the next process leads one round trip later.
    ///   If this process does not lead, a claim that was on its way is withdrawn, for at most `renew_deadline`.
    /// - **The future ends by itself.** This process steps down: see [`Election::step_down`](crate::Election::step_down). It
    ///   stands for election again after 5 seconds.
    ///
    /// The lock reads the clock before each poll of the future. So it makes no step after the process or the machine stood still for too
    /// long. It cannot interrupt a future that blocks its thread: such work has to ask
    /// [`is_cancelled`](Leadership::is_cancelled).
    ///
    /// Cancel `shutdown` first, and call [`shutdown`](Self::shutdown) of the lock after `lead` has returned: the latter
    /// releases the Lease at once.
    ///
    /// # Errors
    ///
    /// [`AcquireError::NoRuntime`] outside of a tokio runtime, [`AcquireError::ShutDown`] and [`AcquireError::TaskEnded`] if the
    /// lock was shut down or its runtime has ended. Whatever else comes in the way, such as a missing permission, is logged and tried
    /// again, as by an [`Election`](crate::Election).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the work, and then releases the Lease in the background. To stop in order, cancel `shutdown`.
    ///
    /// # Panics
    ///
    /// A panic of the work goes on to the caller. The Lease is released in the background.
    ///
    /// # Example
    ///
    /// ```
    /// # use kube_lease_lock::testing::LeaseServer;
    /// # use kube_lease_lock::{LeaseLock, Leadership};
    /// # use kube_lease_lock::tokio_util::sync::CancellationToken;
    /// # async fn reconcile_next(_: &str) {}
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let client = LeaseServer::new().connect().client();
    /// let lock = LeaseLock::new(client, "controller")?;
    /// let cluster = String::from("west");
    ///
    /// let shutdown = CancellationToken::new();
    /// // For example, `tokio::signal::ctrl_c().await` in its place.
    /// # let signal = tokio::time::sleep(std::time::Duration::from_secs(60));
    /// tokio::spawn({
    ///     let shutdown = shutdown.clone();
    ///     async move {
    ///         signal.await;
    ///         shutdown.cancel();
    ///     }
    /// });
    ///
    /// lock.lead(shutdown, async |leadership: Leadership| {
    ///     while !leadership.is_cancelled() {
    ///         reconcile_next(&cluster).await;
    /// #       tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    ///     }
    /// })
    /// .await?;
    /// # assert!(lock.holder().await?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lead<F, W>(&self, shutdown: CancellationToken, mut work: F) -> Result<(), AcquireError>
    where
        F: FnMut(Leadership) -> W,
        W: Future<Output = ()>,
    {
        let election = self.elect()?;
        let mut leadership = election.subscribe();
        while let Some(hold) = shutdown.run_until_cancelled(leadership.leading()).await {
            let hold = hold?;
            let ended = self.run_while_leading(&hold, &shutdown, &mut work).await;
            if !ended {
                self.core().span().in_scope(|| {
                    log!(
                        warn,
                        self.lease(),
                        "leadership was lost, and the work had not ended in time: it was dropped"
                    );
                });
            }
            if hold.is_held() && !shutdown.is_cancelled() {
                // The background task logs the outcome.
                let _ = election.step_down().await;
            }
        }
        let _ = election.stop().await;
        // A claim may have been on its way. It is withdrawn now.
        let _ = tokio::time::timeout(self.core().renew_deadline(), self.core().drained()).await;
        Ok(())
    }

    /// Returns whether the work has ended by itself.
    async fn run_while_leading<F, W>(&self, hold: &Hold, shutdown: &CancellationToken, work: &mut F) -> bool
    where
        F: FnMut(Leadership) -> W,
        W: Future<Output = ()>,
    {
        let leadership = Leadership { hold: hold.clone(), stop: hold.token() };
        let stop = leadership.stop.clone();
        let work = until_stop_by(hold, self.core().works(), work(leadership));
        let cancelling = async {
            shutdown.cancelled().await;
            stop.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = cancelling => false,
            ended = work => ended.is_some(),
        }
    }
}
