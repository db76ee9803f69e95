//! The Go programs in `tests/control-plane` and `tests/kine`: they are built once and kept in the target folder.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::build;

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

const KUBERNETES: Module = Module { folder: "control-plane", versions: "go.mod" };
const KUBERNETES_1_33: Module = Module { folder: "control-plane", versions: "kubernetes-1.33.mod" };
const KINE_MODULE: Module = Module { folder: "kine", versions: "go.mod" };

/// etcd and kube-apiserver.
pub(super) static CONTROL_PLANE: GoProgram = GoProgram::new("control-plane", KUBERNETES, &["."], NO_SERVER);
/// The same of an older Kubernetes.
pub(super) static CONTROL_PLANE_1_33: GoProgram =
    GoProgram::new("control-plane-1.33", KUBERNETES_1_33, &["."], NO_SERVER);
/// kine, which takes the place of etcd.
pub(super) static KINE: GoProgram = GoProgram::new("kine", KINE_MODULE, &["."], NO_GO);
/// client-go's leader election.
pub(crate) static ELECTOR: GoProgram = GoProgram::new("elector", KUBERNETES, &["elector", "orders"], NO_GO);
/// etcd's own lock.
pub(crate) static ETCDLOCK: GoProgram =
    GoProgram::new("etcdlock", KUBERNETES, &["etcdlock", "orders"], NO_GO);

const NO_SERVER: &str = "
This test needs a Kubernetes API server. Do one of these:
- install Go 1.26 or newer (https://go.dev/dl): then the test builds one, which takes minutes, once;
- set KUBEBUILDER_ASSETS to a folder with the programs `etcd` and `kube-apiserver`;
- set KUBE_LEASE_LOCK_TEST_KUBECONFIG to the kubeconfig of a cluster that may be used for tests.
";

const NO_GO: &str = "
This test needs client-go, etcd's own client, or kine. Install Go 1.26 or newer (https://go.dev/dl): then the test builds it.
";

pub(crate) struct GoProgram {
    name: &'static str,
    module: Module,
    /// Its folder within the module, and those of the packages that it uses.
    packages: &'static [&'static str],
    /// The message if Go is not installed.
    advice: &'static str,
    path: OnceLock<PathBuf>,
}

struct Module {
    /// Its folder within `tests`.
    folder: &'static str,
    /// The file in that folder that names the versions of its dependencies. Their sums are in the file beside it.
    versions: &'static str,
}

impl GoProgram {
    const fn new(
        name: &'static str,
        module: Module,
        packages: &'static [&'static str],
        advice: &'static str,
    ) -> Self {
        Self { name, module, packages, advice, path: OnceLock::new() }
    }

    /// The path of the program. Its name contains a hash of its sources, so that an old program is never used.
    pub(crate) fn path(&self) -> &Path {
        self.path.get_or_init(|| self.find_or_build())
    }

    fn find_or_build(&self) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(self.name);
        let program = folder.join(format!("{}-{:016x}", self.name, self.fingerprint()));
        if program.exists() {
            return program;
        }
        let _lock = build::lock(&folder);
        if !program.exists() {
            self.remove_old(&folder);
            // In two steps, so that an interrupted build does not leave an incomplete program.
            let unfinished = folder.join("unfinished");
            self.build(&unfinished, &folder.join("build.log"));
            fs::rename(&unfinished, &program).expect("the program put in its place");
        }
        program
    }

    fn build(&self, output: &Path, log: &Path) {
        let version = self.module.version();
        let mut go = Command::new("go");
        go.current_dir(self.module.folder())
            // Without a C compiler, without a Go workspace around this module, and without paths in the program. So all
            // clones share one build cache.
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .args(["build", "-trimpath", "-buildvcs=false"])
            .arg(format!("-modfile={}", self.module.versions))
            // The linker has to set the version of Kubernetes, as Kubernetes' own build does; otherwise the API server does
            // not know it.
            .arg(format!("-ldflags=-s -w -X k8s.io/component-base/version.gitVersion={version}"))
            .arg("-o")
            .arg(output)
            .arg(Path::new(".").join(self.packages[0]));
        let what =
            format!("building {} {version} (the first time takes minutes; then it is kept)", self.name);
        build::run(&what, &mut go, log, self.advice);
    }

    fn fingerprint(&self) -> u64 {
        let versions = self.module.versions();
        let mut files = vec![versions.with_extension("sum"), versions];
        for package in self.packages {
            let sources =
                fs::read_dir(self.module.folder().join(package)).expect("the sources of the program");
            let sources = sources.map(|entry| entry.expect("an entry among the sources").path());
            files.extend(sources.filter(|path| path.extension().is_some_and(|kind| kind == "go")));
        }
        files.sort();
        let mut hasher = DefaultHasher::new();
        for file in files {
            file.file_name().hash(&mut hasher);
            fs::read(&file).expect("a source file").hash(&mut hasher);
        }
        hasher.finish()
    }

    fn remove_old(&self, folder: &Path) {
        for entry in fs::read_dir(folder).expect("the folder for the program").flatten() {
            if entry.file_name().to_string_lossy().starts_with(&format!("{}-", self.name)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Module {
    fn folder(&self) -> PathBuf {
        Path::new(TESTS).join(self.folder)
    }

    fn versions(&self) -> PathBuf {
        self.folder().join(self.versions)
    }

    /// The version of Kubernetes or kine.
    fn version(&self) -> String {
        let versions = fs::read_to_string(self.versions()).expect("the file with the versions");
        let version = versions.lines().find_map(|line| {
            ["k8s.io/kubernetes ", "github.com/k3s-io/kine "]
                .iter()
                .find_map(|it| line.trim().strip_prefix(it))
        });
        version.expect("the version of Kubernetes or kine").to_owned()
    }
}
