//! The time for which bytes travel between a contender and the API server.

use std::fmt::{self, Display};
use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::tcp::ReadHalf;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

/// Bytes arrive so long after they were sent, in both directions. They stay in order, and delay no bytes behind them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Distance {
    pub(crate) delay: Duration,
    /// The longest random time in addition to `delay`.
    pub(crate) jitter: Duration,
}

/// Bytes on their way, with the time of their arrival. No bytes: the sender has closed the connection.
pub(super) struct Travelling {
    pub(super) arrival: Instant,
    pub(super) bytes: io::Result<Vec<u8>>,
}

impl Distance {
    pub(crate) const NONE: Self = Self { delay: Duration::ZERO, jitter: Duration::ZERO };

    /// Sends what it reads to `far_end`, until the connection ends at either end.
    pub(super) async fn travel(self, mut from: ReadHalf<'_>, far_end: Sender<Travelling>) {
        let mut buffer = vec![0; 64 * 1024];
        let mut arrival = Instant::now();
        loop {
            let read = tokio::select! {
                read = from.read(&mut buffer) => read,
                () = far_end.closed() => return,
            };
            let ended = matches!(read, Ok(0) | Err(_));
            let jitter = self.jitter.mul_f64(fastrand::f64());
            arrival = arrival.max(Instant::now() + self.delay + jitter);
            let bytes = read.map(|length| buffer[..length].to_vec());
            if far_end.send(Travelling { arrival, bytes }).await.is_err() || ended {
                return;
            }
        }
    }
}

impl Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [least, most] = [self.delay, self.delay + self.jitter].map(|delay| delay.as_millis());
        write!(f, "{least} to {most} ms")
    }
}
