//! What else the machine did during a measurement.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::processes::{own_processor_time, whole_processor_time};
use crate::stats::ratio;

/// The load of the machine when a measurement begins.
pub(crate) struct Load {
    average: String,
    start: Instant,
    used: Used,
}

/// Processor time.
#[derive(Clone, Copy)]
struct Used {
    own: Duration,
    whole: Duration,
    stolen: Duration,
}

impl Load {
    pub(crate) fn start() -> Self {
        Self { average: average(), start: Instant::now(), used: Used::now() }
    }

    /// The sentence for the report, when the measurement has ended.
    pub(crate) fn end(self) -> String {
        let (now, before) = (Used::now(), self.used);
        let cores =
            thread::available_parallelism().map_or(1, |cores| cores.get().try_into().unwrap_or(u32::MAX));
        let possible = self.start.elapsed() * cores;
        let percent = |used: Duration| 100.0 * ratio(used, possible);
        let own = now.own.saturating_sub(before.own);
        let others = now.whole.saturating_sub(before.whole).saturating_sub(own);
        format!(
            "Load: the average was {} before this group, and {} after it. Of the processor time, the benchmark and its \
             servers used {:.0} %, other processes {:.0} %, and other machines of the host {:.0} %.\n",
            self.average,
            average(),
            percent(own),
            percent(others),
            percent(now.stolen.saturating_sub(before.stolen)),
        )
    }
}

impl Used {
    fn now() -> Self {
        let (own, (whole, stolen)) = (own_processor_time(), whole_processor_time());
        Self { own, whole, stolen }
    }
}

/// The load average over 1, 5 and 15 minutes.
fn average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
