//! The Go program in `tests/control-plane`, built once and kept in the target folder.

use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/control-plane");

/// The path of the program. Its name changes with its sources: an old one is never mistaken for it.
pub(super) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(find_or_build)
}

fn find_or_build() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("control-plane");
    let program = folder.join(format!("control-plane-{:016x}", fingerprint()));
    if program.exists() {
        return program;
    }
    fs::create_dir_all(&folder).expect("a folder for the program");
    let lock = File::create(folder.join("lock")).expect("the lock on the build");
    wait("waiting for another process to build it", || match lock.try_lock() {
        Ok(()) => Some(()),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(error)) => panic!("cannot lock the build: {error}"),
    });
    if !program.exists() {
        remove_old(&folder);
        // In two steps, so that an interrupted build leaves nothing that looks like a program.
        let unfinished = folder.join("unfinished");
        build(&unfinished, &folder.join("build.log"));
        fs::rename(&unfinished, &program).expect("the program put in its place");
    }
    program
}

fn build(output: &Path, log: &Path) {
    let log_file = File::create(log).expect("a log of the build");
    let version = kubernetes_version();
    let mut go = Command::new("go")
        .current_dir(SOURCES)
        // No C compiler, no workspace around us, no paths: one build cache serves every clone.
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags"])
        .arg(format!("-s -w -X k8s.io/component-base/version.gitVersion={version}"))
        .arg("-o")
        .args([output, Path::new(".")])
        .stderr(log_file)
        .spawn()
        .unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => panic!("{NO_GO}"),
            _ => panic!("cannot run go: {error}"),
        });
    let what = format!("building kube-apiserver {version} (the first time takes minutes; then it is kept)");
    let status = wait(&what, || go.try_wait().expect("the state of go build"));
    if !status.success() {
        let words = fs::read_to_string(log).unwrap_or_else(|error| error.to_string());
        panic!("go build of tests/control-plane: {status}\n{words}");
    }
}

const NO_GO: &str = "
This test needs a Kubernetes API server. Do one of these:
- install Go 1.26 or newer (https://go.dev/dl), to have one built: it takes minutes, once;
- set KUBEBUILDER_ASSETS to a folder with the programs `etcd` and `kube-apiserver`;
- set KUBE_LEASE_LOCK_TEST_KUBECONFIG to the kubeconfig of a cluster that may be used for tests.
";

fn fingerprint() -> u64 {
    let mut files: Vec<_> = fs::read_dir(SOURCES)
        .expect("the sources of the control plane")
        .map(|entry| entry.expect("an entry among the sources").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "go" || kind == "mod" || kind == "sum"))
        .collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.file_name().hash(&mut hasher);
        fs::read(&file).expect("a source file").hash(&mut hasher);
    }
    hasher.finish()
}

/// The API server cannot tell by itself: Kubernetes' own build stamps its version in.
fn kubernetes_version() -> String {
    let module = fs::read_to_string(Path::new(SOURCES).join("go.mod")).expect("go.mod");
    let version = module.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "));
    version.expect("k8s.io/kubernetes in go.mod").to_owned()
}

fn remove_old(folder: &Path) {
    for entry in fs::read_dir(folder).expect("the folder for the program").flatten() {
        if entry.file_name().to_string_lossy().starts_with("control-plane-") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Polls, and tells the person at the terminal what takes so long: unlike `eprintln`, this way of
/// writing is not captured by the test harness.
fn wait<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut next = Duration::ZERO;
    loop {
        if let Some(value) = poll() {
            return value;
        }
        if start.elapsed() >= next {
            let _ = writeln!(std::io::stderr(), "control plane: {what}: {} s", next.as_secs());
            next += Duration::from_secs(5);
        }
        thread::sleep(Duration::from_millis(100));
    }
}
