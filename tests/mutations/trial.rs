//! Tries one mutation: in world after world, and in the model if the model has to catch it or the simulation did not.

use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::copy::Copy;
use crate::table::Mutation;

/// The result of a trial.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    /// The search that failed.
    pub(crate) model: Option<String>,
    /// How many worlds it took, and the invariant that the last of them violated.
    pub(crate) simulation: Option<(u64, String)>,
    /// The programs that were stopped because they took too long. They prove nothing.
    pub(crate) endless: Vec<&'static str>,
}

/// Longer than either takes on a busy machine. With some mutations the model has more to search than there is time for.
const MODEL_TIMEOUT: Duration = Duration::from_secs(120);
const SIMULATION_TIMEOUT: Duration = Duration::from_secs(1_200);

/// How many worlds a mutation without a bound is tried in.
const DEFAULT_WORLDS: u64 = 1_000;

impl Copy {
    /// Without a mutation nothing may fail, in any world in which one may be caught. Returns the failure.
    pub(crate) fn try_sound(&self, mutations: &[Mutation]) -> Option<String> {
        let worlds = mutations.iter().filter_map(|mutation| mutation.worlds).max().unwrap_or(DEFAULT_WORLDS);
        let Trial { model, simulation, endless } = self.run("", worlds, true);
        let broken = simulation.map(|(worlds, invariant)| format!("world {worlds}: {invariant}"));
        model.or(broken).or_else(|| endless.first().map(|which| format!("the {which} does not end")))
    }

    pub(crate) fn try_one(&self, mutation: &Mutation) -> Trial {
        let trial = self.run(&mutation.name, mutation.worlds.unwrap_or(DEFAULT_WORLDS), mutation.model);
        eprintln!("{}: {trial:?}", mutation.name);
        trial
    }

    fn run(&self, name: &str, worlds: u64, in_model: bool) -> Trial {
        let mut model = Command::new(&self.units);
        // A search that has to find a flaw of its own may fail to do so if there is a second one.
        model.args(["protocol::model", "--skip", "flaw"]).env("MUTATION", name);
        let mut simulation = Command::new(&self.simulation);
        simulation
            .args(["every_invariant_holds_in_every_world", "--nocapture"])
            .env("MUTATION", name)
            .env("SIMULATION_STOP", "1")
            .env("SIMULATION_WORLDS", worlds.to_string());
        let mut trial = Trial::default();
        match finish(simulation, SIMULATION_TIMEOUT) {
            Some(output) => trial.simulation = first_violation(output),
            None => trial.endless.push("simulation"),
        }
        if in_model || trial.simulation.is_none() {
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
