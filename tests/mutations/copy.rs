//! A copy of the crate with all mutations in it, built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::table::Mutation;
use crate::weave::{self, SWITCH};

/// All files that the model and the simulation need, and those that the manifest names.
const PARTS: [&str; 6] =
    ["Cargo.toml", "Cargo.lock", ".cargo", "src", "tests/simulation", "tests/suspend.rs"];

/// The folder of the crate.
pub(crate) fn origin() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The programs that were built.
pub(crate) struct Copy {
    pub(crate) units: PathBuf,
    pub(crate) simulation: PathBuf,
}

impl Copy {
    pub(crate) fn build(mutations: &[Mutation]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutated");
        let mut woven = weave::woven(mutations, |file| fs::read_to_string(origin().join(file)).unwrap());
        let original = |file: &str| fs::read_to_string(origin().join(file)).unwrap();
        woven.insert("src/lib.rs".into(), format!("#![allow(warnings)]\n{}{SWITCH}", original("src/lib.rs")));
        // With another version, cargo does not mistake the build of one package for that of the other.
        let version = concat!("version = \"", env!("CARGO_PKG_VERSION"), "\"");
        let manifest = original("Cargo.toml").replacen(version, "version = \"0.0.0-mutated\"", 1);
        woven.insert("Cargo.toml".into(), manifest);
        for part in PARTS {
            copy(Path::new(part), &folder, &|file| woven.get(file).cloned());
        }
        let built = build(&folder);
        let program = |name: &str| {
            let of =
                |artifact: &&Value| artifact["target"]["name"] == name && artifact["executable"].is_string();
            PathBuf::from(built.iter().find(of).unwrap()["executable"].as_str().unwrap())
        };
        Self { units: program("kube_lease_lock"), simulation: program("simulation") }
    }
}

/// Does not write files that would not change, so that they are not built again.
fn copy(part: &Path, folder: &Path, woven: &impl Fn(&str) -> Option<String>) {
    let from = origin().join(part);
    if from.is_dir() {
        for entry in fs::read_dir(from).unwrap() {
            copy(&part.join(entry.unwrap().file_name()), folder, woven);
        }
        return;
    }
    let content = woven(part.to_str().unwrap()).map_or_else(|| fs::read(from).unwrap(), String::into_bytes);
    let to = folder.join(part);
    if fs::read(&to).is_ok_and(|old| old == content) {
        return;
    }
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::write(to, content).unwrap();
}

/// Builds in the target folder of the crate itself, whose dependencies are built already. Returns cargo's messages.
fn build(folder: &Path) -> Vec<Value> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    // The variables that cargo has set for this test would make it build some dependencies again.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_")) {
        cargo.env_remove(name);
    }
    let output = cargo
        .current_dir(folder)
        .args(["test", "--release", "--offline", "--no-run", "--message-format=json"])
        .args(["--features", "testing", "--lib", "--test", "simulation"])
        .env("CARGO_TARGET_DIR", target)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let output_text = String::from_utf8(output.stdout).unwrap();
    let messages: Vec<Value> =
        output_text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let errors: Vec<_> = messages
        .iter()
        .filter(|message| message["message"]["level"] == "error")
        .filter_map(|message| message["message"]["rendered"].as_str())
        .collect();
    assert!(output.status.success(), "some mutation does not compile:\n{}", errors.join("\n"));
    messages
}
