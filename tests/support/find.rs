//! Finds the API server: a cluster, or a program to start.

use std::env;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::go_build::CONTROL_PLANE;

/// The kubeconfig of a cluster that runs already.
pub(super) fn kubeconfig() -> Option<PathBuf> {
    env::var_os("KUBE_LEASE_LOCK_TEST_KUBECONFIG").map(PathBuf::from)
}

/// The command that runs a control plane, with the interface of `tests/control-plane/main.go`.
pub(super) fn command() -> Command {
    match env::var_os("KUBEBUILDER_ASSETS") {
        Some(assets) => binaries(Path::new(&assets)),
        None => Command::new(CONTROL_PLANE.path()),
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
