//! The test support that this program borrows finds its files by the folders of the library and of its build.

use std::env;
use std::path::Path;

fn main() {
    let benches = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    if let Some(library) = Path::new(&benches).parent() {
        println!("cargo::rustc-env=CARGO_MANIFEST_DIR={}", library.display());
        println!("cargo::rustc-env=CARGO_TARGET_TMPDIR={}", library.join("target/tmp").display());
    }
    println!("cargo::rerun-if-changed=build.rs");
}
