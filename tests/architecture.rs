//! The tree of `src/` keeps the shape that `src/architecture.md` describes: imports run in one direction.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The rings that import little, with all that they may import.
const MAY_IMPORT: [(&str, &[&str]); 4] = [
    ("protocol", &[]),
    ("client", &[]),
    ("testing", &["clock"]),
    ("kubernetes", &["error", "lease", "log", "protocol", "settings"]),
];

const MAX_LAYERS: usize = 12;
const MAX_FILES_BESIDE_FOLDERS: usize = 12;

/// A module, and the modules that it imports.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The modules in `folder`: each file, and each folder as one module. An import begins with `prefix`.
fn graph(folder: &str, prefix: &str) -> Graph {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let modules = entries.filter(|path| path.is_dir() || path.extension().is_some_and(|end| end == "rs"));
    let mut graph = Graph::new();
    for path in modules {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // A folder beside a file of its name has that file's tests.
        let imports = imports(&code(&path), prefix);
        graph.entry(name).or_default().extend(imports);
    }
    graph
}

/// The code of a file, or of every file in a folder, without tests and comments.
fn code(path: &Path) -> String {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        return entries.filter(|path| !is_test(path)).map(|path| code(&path)).collect();
    }
    if path.extension().is_none_or(|end| end != "rs") {
        return String::new();
    }
    let text = fs::read_to_string(path).unwrap();
    let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = shipped.lines().map(|line| line.split("//").next().unwrap());
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn is_test(path: &Path) -> bool {
    ["tests", "tests.rs", "model"].contains(&path.file_name().unwrap().to_str().unwrap())
}

/// The first module of every path that begins with `prefix`, also of paths in braces.
fn imports(code: &str, prefix: &str) -> BTreeSet<String> {
    let paths = code.split(prefix).skip(1).flat_map(|rest| match rest.strip_prefix('{') {
        Some(list) => list.split(';').next().unwrap().split([',', '{', '}']).collect(),
        None => vec![rest],
    });
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let names = paths.map(|path| path.trim_start().split(|c| !is_word(c)).next().unwrap().to_owned());
    names.filter(|name| name.starts_with(char::is_lowercase)).collect()
}

/// How many modules stand one above the other, at most. Panics if an import leads back to its start.
fn layers(graph: &Graph, module: &str, above: &mut Vec<String>) -> usize {
    assert!(!above.iter().any(|name| name == module), "a circle of imports: {above:?} -> {module}");
    above.push(module.to_owned());
    let imported = graph.get(module).into_iter().flatten();
    let imported = imported.filter(|name| *name != module && graph.contains_key(*name));
    let below = imported.map(|name| layers(graph, name, above)).max().unwrap_or(0);
    above.pop();
    below + 1
}

#[test]
fn imports_never_run_in_a_circle_and_pass_few_layers() {
    let mut graphs = vec![graph("src", "crate::")];
    for folder in ["client", "driver", "election", "kubernetes", "protocol", "testing", "testing/ownership"] {
        graphs.push(graph(&format!("src/{folder}"), "super::"));
    }
    for mut graph in graphs {
        // The face of a folder, and of the crate, imports all of it.
        for face in ["lib", "mod", "tests", "model"] {
            graph.remove(face);
        }
        assert!(graph.len() > 1, "{graph:?}");
        for module in graph.keys() {
            let layers = layers(&graph, module, &mut Vec::new());
            assert!(layers <= MAX_LAYERS, "{module} stands on {layers} layers");
        }
    }
}

#[test]
fn each_ring_imports_only_what_it_may() {
    let graph = graph("src", "crate::");
    for (ring, allowed) in MAY_IMPORT {
        let imported = graph[ring].iter().filter(|name| *name != ring);
        let forbidden: Vec<_> = imported.filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(forbidden.is_empty(), "{ring} imports {forbidden:?}");
    }
}

#[test]
fn few_files_stand_beside_the_folders() {
    let files = fs::read_dir("src").unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "rs")).count();
    assert!(files <= MAX_FILES_BESIDE_FOLDERS, "{files} files");
}
