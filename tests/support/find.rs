//! Finds the API server: a cluster, or a program to start.

use std::env;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::go_build::{CONTROL_PLANE, CONTROL_PLANE_1_33, GoProgram, KINE};

const STORE: &str = "KUBE_LEASE_LOCK_TEST_STORE";
const KUBERNETES: &str = "KUBE_LEASE_LOCK_TEST_KUBERNETES";

/// The kubeconfig of a cluster that runs already.
pub(super) fn kubeconfig() -> Option<PathBuf> {
    env::var_os("KUBE_LEASE_LOCK_TEST_KUBECONFIG").map(PathBuf::from)
}

/// The command that runs a control plane, with the interface of `tests/control-plane/main.go`.
pub(super) fn command() -> Command {
    let (program, store) = (control_plane(), store());
    if let Some(assets) = env::var_os("KUBEBUILDER_ASSETS") {
        assert!(
            program.is_none() && store.is_none(),
            "unset KUBEBUILDER_ASSETS, or {STORE} and {KUBERNETES}: its programs have a store and a version of their own"
        );
        return binaries(Path::new(&assets));
    }
    let mut command = Command::new(program.unwrap_or(&CONTROL_PLANE).path());
    if let Some(store) = store {
        command.arg("--store").arg(store.path());
    }
    command
}

/// The control plane with the version of Kubernetes that the environment asks for.
fn control_plane() -> Option<&'static GoProgram> {
    match env::var(KUBERNETES).ok()?.as_str() {
        "1.33" => Some(&CONTROL_PLANE_1_33),
        other => panic!("{KUBERNETES} is {other:?}: set it to 1.33, or unset it for the newest version"),
    }
}

/// The program that the environment wants in place of etcd.
fn store() -> Option<&'static GoProgram> {
    match env::var(STORE).ok()?.as_str() {
        "kine" => Some(&KINE),
        other => panic!("{STORE} is {other:?}: set it to kine, or unset it for etcd"),
    }
}

fn binaries(assets: &Path) -> Command {
    for name in ["etcd", "kube-apiserver"] {
        assert!(
            assets.join(name).is_file(),
            "KUBEBUILDER_ASSETS is {}, but has no {name} in it: correct the variable, or unset it",
            assets.display()
        );
    }
    let mut command = Command::new("sh");
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/binaries.sh"))
        .env("KUBEBUILDER_ASSETS", assets)
        .env("API_PORT", free_port())
        .env("ETCD_PORT", free_port());
    command
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on 127.0.0.1");
    let address = listener.local_addr().expect("the address just bound");
    address.port().to_string()
}
