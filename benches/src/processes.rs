//! The processes of this machine, as `/proc` shows them.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::process::getpid;

use crate::machine::kibibytes;
use crate::support::ControlPlane;

/// The processes of a control plane.
pub(crate) struct Server {
    group: u32,
    etcd: u32,
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// The resident memory, in KiB.
    pub(crate) resident: u64,
    /// The processor time since its start.
    pub(crate) processor: Duration,
}

impl Server {
    pub(crate) fn of(plane: &ControlPlane) -> Self {
        Self { group: plane.pid(), etcd: plane.etcd_pid() }
    }

    /// What kube-apiserver uses, and what etcd uses.
    pub(crate) fn usage(&self) -> [Usage; 2] {
        let mut usage = [Usage::default(); 2];
        for process in all().into_iter().filter(|process| process.group == self.group) {
            let usage = &mut usage[usize::from(process.id == self.etcd)];
            usage.resident += kibibytes(&format!("/proc/{}/status", process.id), "VmRSS:");
            usage.processor += process.processor;
        }
        usage
    }
}

/// The processor time of this process and of all processes that it has started.
pub(crate) fn own_processor_time() -> Duration {
    let me = u32::try_from(getpid().as_raw_nonzero().get()).unwrap_or_default();
    let (mut family, mut rest) = (HashSet::from([me]), all());
    let mut used = Duration::ZERO;
    loop {
        let is_ours = |process: &Process| family.contains(&process.id) || family.contains(&process.parent);
        let (ours, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(is_ours);
        if ours.is_empty() {
            return used;
        }
        used += ours.iter().map(|process| process.processor + process.ended_children).sum::<Duration>();
        family.extend(ours.iter().map(|process| process.id));
        rest = others;
    }
}

/// The processor time of all processes, and the time for which the host ran something else instead, since the machine started.
pub(crate) fn whole_processor_time() -> (Duration, Duration) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().into_iter().flat_map(|line| line.split_whitespace().skip(1));
    let ticks: Vec<_> = fields.map(ticks).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else {
        return (Duration::ZERO, Duration::ZERO);
    };
    (user + nice + system + irq + softirq, steal)
}

struct Process {
    id: u32,
    parent: u32,
    group: u32,
    processor: Duration,
    /// The processor time of its children that have ended.
    ended_children: Duration,
}

fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: u32| parse(id, &fs::read_to_string(format!("/proc/{id}/stat")).ok()?)).collect()
}

/// The name of the process, which is in parentheses, can contain anything.
fn parse(id: u32, stat: &str) -> Option<Process> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let [user, system, children_user, children_system] = [11, 12, 13, 14].map(|at| fields.get(at).copied());
    Some(Process {
        id,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        processor: ticks(user?) + ticks(system?),
        ended_children: ticks(children_user?) + ticks(children_system?),
    })
}

fn ticks(field: &str) -> Duration {
    let ticks = field.parse::<u64>().unwrap_or_default();
    Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / clock_ticks_per_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let stat = "7 (a) b (c) S 3 5 5 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 9 0 60 1000 500";
        let Some(process) = parse(7, stat) else { panic!("not parsed: {stat}") };
        assert_eq!((process.id, process.parent, process.group), (7, 3, 5));
        let tick = ticks("1");
        assert_eq!((process.processor, process.ended_children), (120 * tick, 7 * tick));
    }

    #[test]
    fn this_process_is_a_part_of_the_machine() {
        let (own, whole) = (own_processor_time(), whole_processor_time().0);
        assert!(own <= whole, "{own:?} of {whole:?}");
    }
}
