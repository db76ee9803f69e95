//! Tries one mutation: in the unit tests or in world after world, as the table says, and in the model if the model has to catch it
//! or nothing else did.

use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::copy::Copy;
use crate::table::Mutation;

/// The result of a trial.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    /// The unit test that failed.
    pub(crate) units: Option<String>,
    /// The search that failed.
    pub(crate) model: Option<String>,
    /// How many worlds it took, and the invariant that the last of them violated.
    pub(crate) simulation: Option<(u64, String)>,
    /// The programs that were stopped because they took too long. They prove nothing.
    pub(crate) endless: Vec<&'static str>,
}

/// Longer than each takes on a busy machine. With some mutations the model has more to search than there is time for.
const UNITS_TIMEOUT: Duration = Duration::from_secs(120);
const MODEL_TIMEOUT: Duration = Duration::from_secs(120);
const SIMULATION_TIMEOUT: Duration = Duration::from_secs(1_200);

/// How many worlds a mutation is tried in if nothing is said to catch it.
const DEFAULT_WORLDS: u64 = 1_000;

/// What to try.
struct Trials {
    units: bool,
    /// In how many worlds of the simulation. `None`: in none.
    worlds: Option<u64>,
    model: bool,
}

impl Copy {
    /// Without a mutation nothing may fail, in any world in which one may be caught. Returns the failure.
    pub(crate) fn try_sound(&self, mutations: &[Mutation]) -> Option<String> {
        let worlds = mutations.iter().filter_map(|mutation| mutation.worlds).max().unwrap_or(DEFAULT_WORLDS);
        let everything = Trials { units: true, worlds: Some(worlds), model: true };
        let Trial { units, model, simulation, endless } = self.run("", &everything);
        let broken = simulation.map(|(worlds, invariant)| format!("world {worlds}: {invariant}"));
        units
            .or(model)
            .or(broken)
            .or_else(|| endless.first().map(|which| format!("the {which} does not end")))
    }

    pub(crate) fn try_one(&self, mutation: &Mutation) -> Trial {
        let Mutation { name, units, model, worlds, .. } = mutation;
        // What the unit tests catch needs no other trial, unless the table names one.
        let worlds = worlds.or((!units).then_some(DEFAULT_WORLDS));
        let trial = self.run(name, &Trials { units: *units, worlds, model: *model });
        eprintln!("{}: {trial:?}", mutation.name);
        trial
    }

    fn run(&self, name: &str, trials: &Trials) -> Trial {
        let mut units = Command::new(&self.units);
        units.args(["--skip", "protocol::model"]).env("MUTATION", name);
        let mut model = Command::new(&self.units);
        // A search that has to find a flaw of its own may fail to do so if there is a second one.
        model.args(["protocol::model", "--skip", "flaw"]).env("MUTATION", name);
        let mut simulation = Command::new(&self.simulation);
        simulation
            .args(["every_invariant_holds_in_every_world", "--nocapture"])
            .env("MUTATION", name)
            .env("SIMULATION_STOP", "1");
        let mut trial = Trial::default();
        if trials.units {
            match finish(units, UNITS_TIMEOUT) {
                Some(output) => trial.units = first_failure(output),
                None => trial.endless.push("unit tests"),
            }
        }
        if let Some(worlds) = trials.worlds {
            simulation.env("SIMULATION_WORLDS", worlds.to_string());
            match finish(simulation, SIMULATION_TIMEOUT) {
                Some(output) => trial.simulation = first_violation(output),
                None => trial.endless.push("simulation"),
            }
        }
        if trials.model || (trial.units.is_none() && trial.simulation.is_none()) {
            match finish(model, MODEL_TIMEOUT) {
                Some(output) => trial.model = first_failure(output),
                None => trial.endless.push("model"),
            }
        }
        trial
    }
}

/// `None`: it was stopped.
fn finish(mut command: Command, timeout: Duration) -> Option<Output> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let readers = [read(stdout), read(stderr)];
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > timeout {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        sleep(Duration::from_millis(20));
    };
    let [stdout, stderr] = readers.map(|reader| reader.join().unwrap());
    Some(Output { status, stdout, stderr })
}

fn read(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap();
        all
    })
}

/// Reads the lines of libtest.
fn first_failure(Output { status, stdout, .. }: Output) -> Option<String> {
    let text = String::from_utf8_lossy(&stdout);
    let failed = text.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    assert_eq!(failed.is_none(), status.success(), "{text}");
    failed.map(|test| test.rsplit("::").next().unwrap().replace('_', " "))
}

/// Reads the line `violated after 17 worlds: some_invariant: what happened`.
fn first_violation(Output { status, stderr, .. }: Output) -> Option<(u64, String)> {
    let text = String::from_utf8_lossy(&stderr);
    let broken = text.lines().find_map(|line| line.strip_prefix("violated after "));
    assert_eq!(broken.is_none(), status.success(), "{text}");
    let (worlds, what) = broken?.split_once(" worlds: ").unwrap();
    Some((worlds.parse().unwrap(), what.split(':').next().unwrap().to_owned()))
}
