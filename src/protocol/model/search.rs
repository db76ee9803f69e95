//! The search itself.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::Setup;
use super::events::{Event, successors};
use super::world::World;

/// The path to a state in which something is broken.
#[derive(Debug)]
#[allow(dead_code, reason = "for people to read")]
pub(super) struct Counterexample {
    broken: &'static str,
    path: Vec<Event>,
}

/// Searches through everything, depth first. Returns the number of states.
pub(super) fn explore(setup: &Setup) -> Result<usize, Counterexample> {
    let mut seen = HashSet::new();
    let mut open = vec![(0, None, World::new(setup))];
    let mut path: Vec<Event> = Vec::new();
    while let Some((depth, event, world)) = open.pop() {
        path.truncate(depth);
        path.extend(event);
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        if !seen.insert(hasher.finish()) {
            continue;
        }
        if let Some(broken) = world.broken {
            return Err(Counterexample { broken, path });
        }
        let depth = path.len();
        open.extend(successors(setup, &world).into_iter().map(|(event, world)| (depth, Some(event), world)));
    }
    Ok(seen.len())
}
