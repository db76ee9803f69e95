//! The resources that this process uses: memory, connections, processor time.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use stats_alloc::Region;

use crate::HEAP;
use crate::machine::{open_files, resident};
use crate::processes::{Server, Usage};
use crate::recorder::{Recorder, Sent};

/// The memory and the connections that are added from a certain time on.
pub(crate) struct Footprint {
    resident: u64,
    files: usize,
    heap: Region<'static, std::alloc::System>,
}

/// The added resources, divided by the number of locks.
pub(crate) struct PerLock {
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
    pub(crate) fn per_lock(&self, count: usize) -> PerLock {
        let (heap, count) = (self.heap.change(), count as f64);
        let allocated = heap.bytes_allocated as f64 - heap.bytes_deallocated as f64;
        PerLock {
            resident: resident().saturating_sub(self.resident) as f64 / count,
            heap: allocated / 1024.0 / count,
            files: open_files().saturating_sub(self.files) as f64 / count,
        }
    }
}

/// What happened in a time.
pub(crate) struct Observed {
    pub(crate) time: Duration,
    pub(crate) requests: Vec<Sent>,
    /// The processor time of this process.
    pub(crate) processor: Duration,
    /// kube-apiserver and etcd: the memory at the end, and the processor time within this time.
    pub(crate) server: [Usage; 2],
}

/// Observes the requests that `recorder` records, this process, and the server during `work`.
pub(crate) async fn observe<F: Future>(
    recorder: &Recorder,
    server: &Server,
    work: F,
) -> (Observed, F::Output) {
    recorder.take();
    let (start, before, server_before) = (Instant::now(), processor_time(), server.usage());
    let output = work.await;
    let (time, processor, usage) = (start.elapsed(), processor_time().saturating_sub(before), server.usage());
    let since = |process: usize| Usage {
        processor: usage[process].processor.saturating_sub(server_before[process].processor),
        ..usage[process]
    };
    (Observed { time, requests: recorder.take(), processor, server: [0, 1].map(since) }, output)
}

/// The processor time of this process so far.
pub(crate) fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.try_into().unwrap_or_default())
}
