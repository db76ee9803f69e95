//! This program uses the test support of the library, which needs the folder of the library and that of its build.

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
