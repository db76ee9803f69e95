//! Deliberate faults in the crate, each of which the unit tests, the model or the simulation has to catch.
//!
//! ```text
//! cargo test --test mutations                                              each still applies
//! MUTATION=all cargo test --test mutations -- --nocapture                  each is caught; prints the table
//! MUTATION="release not sent" cargo test --test mutations -- --nocapture   one of them, or several, separated by commas
//! ```
//!
//! All of them are built into one copy of the crate, because a build is slow. An environment variable chooses the active one (after
//! Untch, Offutt and Harrold, *Mutation Analysis Using Mutant Schemata*, 1993).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

mod copy;
mod report;
mod table;
mod trial;
mod weave;

use copy::Copy;
use report::Report;

/// Each mutation applies. If `MUTATION` is set, each is also caught: that builds the crate once more and runs thousands of
/// worlds, which takes minutes.
#[test]
fn each_mutation_applies_and_is_caught() {
    let mutations = table::mutations();
    weave::woven(&mutations, |file| std::fs::read_to_string(copy::origin().join(file)).unwrap());
    match std::env::var("MUTATION") {
        Ok(name) => each_is_caught(mutations, &name),
        Err(_) => println!("SKIPPED: whether each is caught; set MUTATION=all"),
    }
}

fn each_is_caught(mut mutations: Vec<table::Mutation>, name: &str) {
    let copy = Copy::build(&mutations);
    if name != "all" {
        let mut names: Vec<_> = name.split(',').map(str::trim).collect();
        mutations.retain(|mutation| names.contains(&mutation.name.as_str()));
        names.retain(|name| !mutations.iter().any(|mutation| mutation.name == *name));
        assert!(names.is_empty(), "there is no mutation {names:?}");
    }
    let sound = copy.try_sound(&mutations);
    assert!(sound.is_none(), "without any mutation: {sound:?}");
    let mut report = Report::default();
    for mutation in mutations {
        let trial = copy.try_one(&mutation);
        report.add(mutation, trial);
    }
    // libtest may have begun a line of its own.
    print!("\n{report}");
    let wrong = report.wrong();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
