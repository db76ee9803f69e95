//! What this process takes: memory, connections, processor time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use stats_alloc::Region;
use tokio::time::sleep;

use crate::HEAP;
use crate::machine::{open_files, resident};
use crate::tap::{Sent, Tap};

/// Memory and connections since some moment.
pub(crate) struct Footprint {
    resident: u64,
    files: usize,
    heap: Region<'static, std::alloc::System>,
}

/// What came to it, for each of so many.
pub(crate) struct Each {
    /// In KiB.
    pub(crate) resident: f64,
    /// In KiB.
    pub(crate) heap: f64,
    pub(crate) files: f64,
}

impl Footprint {
    pub(crate) fn start() -> Self {
        Self { resident: resident(), files: open_files(), heap: Region::new(HEAP) }
    }

    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    pub(crate) fn each(&self, count: usize) -> Each {
        let (heap, count) = (self.heap.change(), count as f64);
        let allocated = heap.bytes_allocated as f64 - heap.bytes_deallocated as f64;
        Each {
            resident: resident().saturating_sub(self.resident) as f64 / count,
            heap: allocated / 1024.0 / count,
            files: open_files().saturating_sub(self.files) as f64 / count,
        }
    }
}

/// The requests that go through `tap` in this time, and the processor time that all of the process takes in it.
pub(crate) async fn observe(tap: &Tap, time: Duration) -> (Vec<Sent>, Duration) {
    tap.take();
    let before = processor();
    sleep(time).await;
    (tap.take(), processor().saturating_sub(before))
}

/// The processor time that this process has taken.
pub(crate) fn processor() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.try_into().unwrap_or_default())
}
