//! The program in `tests/peers`: the cargo that runs the tests builds it, and it is kept in the target folder.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::build;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers");

pub(super) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("dev", "debug"))
}

/// The same program with optimizations, for benchmarks.
pub(crate) fn optimized_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("release", "release"))
}

/// Builds the program with this profile of cargo, whose output is in that folder.
fn build(profile: &str, folder: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers");
    let _lock = build::lock(&target);
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // These variables describe the library, not the other crates. With them, cargo would build some of the crates
    // again.
    for (name, _) in env::vars_os().filter(|(name, _)| describes_the_library(&name.to_string_lossy())) {
        cargo.env_remove(name);
    }
    cargo.current_dir(SOURCES).args(["build", "--locked", "--profile", profile, "--target-dir"]).arg(&target);
    let what = "building the other lease crates (the first time takes minutes; then they are kept)";
    build::run(what, &mut cargo, &target.join("build.log"), "This needs cargo in the PATH.");
    target.join(folder).join("peers")
}

fn describes_the_library(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "K8S_OPENAPI_"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
}
