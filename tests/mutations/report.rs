//! The table of what caught each mutation, as in `README.md` beside this file.

use std::fmt::{Display, Formatter, Result};

use crate::table::Mutation;
use crate::trial::Trial;

#[derive(Default)]
pub(crate) struct Report(Vec<(Mutation, Trial)>);

impl Report {
    pub(crate) fn add(&mut self, mutation: Mutation, trial: Trial) {
        self.0.push((mutation, trial));
    }

    /// The mutations that were not caught as `mutations.yaml` says.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.0.iter().filter_map(|(mutation, trial)| wrong(mutation, trial)).collect()
    }
}

fn wrong(mutation: &Mutation, trial: &Trial) -> Option<String> {
    let caught = trial.units.is_some() || trial.model.is_some() || trial.simulation.is_some();
    let what = if mutation.equivalent.is_some() && caught {
        "is not equivalent: it was caught"
    } else if mutation.units && trial.units.is_none() {
        "was not caught by the unit tests"
    } else if mutation.model && trial.model.is_none() {
        "was not caught by the model"
    } else if mutation.worlds.is_some() && trial.simulation.is_none() {
        "was not caught by the simulation"
    } else {
        return None;
    };
    Some(format!("{} {what}", mutation.name))
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(
            f,
            "| mutation | why it breaks | unit tests: failed test | model: failed search | simulation: violated invariant | worlds | bound |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for (Mutation { name, breaks, worlds, equivalent, .. }, trial) in &self.0 {
            let searched = if trial.endless.contains(&"model") { "not searched to the end" } else { "" };
            let unit = trial.units.as_deref().unwrap_or_default();
            let model = trial.model.as_deref().unwrap_or(searched);
            let (lived, invariant) = trial
                .simulation
                .as_ref()
                .map_or((String::new(), ""), |(n, invariant)| (n.to_string(), invariant.as_str()));
            let bound = worlds.map_or(String::new(), |worlds| worlds.to_string());
            let why = equivalent.as_ref().map_or_else(|| breaks.clone(), |why| format!("Equivalent: {why}"));
            writeln!(f, "| {name} | {why} | {unit} | {model} | {invariant} | {lived} | {bound} |")?;
        }
        Ok(())
    }
}
