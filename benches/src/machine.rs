//! The machine and the versions with which the program measures.

use std::fs;
use std::thread;

use anyhow::Result;
use k8s_openapi::jiff::Timestamp;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::options::{ClientKind, Options};
use crate::support::ControlPlane;

const LOCKED: &str = include_str!("../Cargo.lock");

/// The head of the report.
pub(crate) async fn head(plane: &ControlPlane, options: &Options) -> String {
    let day = Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
    let (lock, kube, tokio) = (version_of("kube-lease-lock"), version_of("kube"), version_of("tokio"));
    let (kubernetes, etcd) = (plane.version().await, plane.etcd_version());
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let clients = match options.client {
        ClientKind::Ordinary => "made by `kube::Client::try_from`",
        ClientKind::Lock => "made by `lock_client`",
    };
    format!(
        "# Benchmarks of kube-lease-lock\n\n\
         {day}: kube-lease-lock {lock}, kube {kube}, tokio {tokio}; Kubernetes {kubernetes}, etcd {etcd}, on the same \
         machine, without fsync; {} with {cores} cores, {} GiB of memory. Each contender has connections of its own, \
         {clients}.{}\n",
        processor_name(),
        memory() >> 20,
        if options.quick { " **A quick run: the counts are too small for conclusions.**" } else { "" },
    )
}

/// The version in `Cargo.lock`.
fn version_of(package: &str) -> &'static str {
    let name = format!("name = \"{package}\"");
    let mut lines = LOCKED.lines().skip_while(|line| *line != name).skip(1);
    lines
        .next()
        .and_then(|line| line.strip_prefix("version = "))
        .map_or("?", |version| version.trim_matches('"'))
}

fn processor_name() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name"));
    model.map_or("an unknown processor", |model| model.trim_start_matches([' ', '\t', ':'])).to_owned()
}

/// The memory of the machine, in KiB.
fn memory() -> u64 {
    kibibytes("/proc/meminfo", "MemTotal:")
}

/// The resident memory of this process, in KiB.
pub(crate) fn resident() -> u64 {
    kibibytes("/proc/self/status", "VmRSS:")
}

/// The number of open files of this process, connections included.
pub(crate) fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// A field of a file of `/proc`, in KiB.
pub(crate) fn kibibytes(file: &str, field: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(field));
    value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

/// Raises the limit of open files to the maximum for this user: a thousand contenders have two connections each.
pub(crate) fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}
