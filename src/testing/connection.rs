//! The state of one link: its faults, its log, its distance and its open watches.

use std::time::Duration;

use tokio::sync::watch;

use super::fault::Faults;
use super::log::Log;

/// The state of one link. The link, the API and the open watches of the link share it.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    pub faults: Faults,
    pub log: Log,
    pub distance: Duration,
    /// Draws the time of each trip. `None`: every trip takes the same time.
    pub jitter: Option<fastrand::Rng>,
    watches: Vec<watch::Sender<WatchState>>,
    is_cut: bool,
    cuts: u64,
}

/// The connection at one moment. What was sent then arrives only if the connection has not been cut since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    cuts: u64,
}

/// The state of a watch, which says what the watch delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchState {
    /// Events.
    Live,
    /// Nothing, not even its end.
    Muted,
    /// A clean end.
    Ended,
    /// An I/O error.
    Reset,
}

impl Connection {
    /// The time that the next trip takes, in either direction.
    pub(crate) fn next_trip(&mut self) -> Duration {
        match &mut self.jitter {
            Some(rng) => self.distance.mul_f64(0.5 + rng.f64()),
            None => self.distance,
        }
    }

    /// Loses what is on its way, and everything that is sent from now on. The open watches are silent for good.
    pub(crate) fn cut(&mut self) {
        self.is_cut = true;
        self.cuts += 1;
        self.set_watches(WatchState::Muted);
    }

    /// Lets new requests through.
    pub(crate) fn mend(&mut self) {
        self.is_cut = false;
    }

    /// This moment. `None` while the connection is cut.
    pub(crate) fn moment(&self) -> Option<Moment> {
        (!self.is_cut).then_some(Moment { cuts: self.cuts })
    }

    /// Registers a new watch, and returns the channel on which the watch learns its state.
    pub(crate) fn register_watch(&mut self) -> watch::Receiver<WatchState> {
        let (sender, receiver) = watch::channel(WatchState::Live);
        self.watches.retain(|watch| !watch.is_closed());
        self.watches.push(sender);
        receiver
    }

    /// Changes the state of all open watches. A watch that has ended stays as it is.
    pub(crate) fn set_watches(&self, state: WatchState) {
        for watch in &self.watches {
            watch.send_if_modified(|old| {
                let is_open = matches!(old, WatchState::Live | WatchState::Muted);
                if is_open {
                    *old = state;
                }
                is_open
            });
        }
    }

    pub(crate) fn open_watches(&self) -> usize {
        self.watches.iter().filter(|watch| !watch.is_closed()).count()
    }
}
