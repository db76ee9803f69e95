//! The mutations, as `mutations.yaml` lists them.

use serde_json::Value;

const TABLE: &str = include_str!("mutations.yaml");

#[derive(Debug)]
pub(crate) struct Mutation {
    pub(crate) name: String,
    /// The damage that it does, in one sentence.
    pub(crate) breaks: String,
    /// Whether the unit tests of the modules have to catch it.
    pub(crate) units: bool,
    /// Whether the model has to catch it.
    pub(crate) model: bool,
    /// Within how many worlds the simulation has to catch it; `None` if it does not have to.
    pub(crate) worlds: Option<u64>,
    /// Why nothing has to catch it.
    pub(crate) equivalent: Option<String>,
    pub(crate) edits: Vec<Edit>,
}

#[derive(Debug)]
pub(crate) struct Edit {
    pub(crate) file: String,
    pub(crate) find: String,
    pub(crate) replace: String,
}

pub(crate) fn mutations() -> Vec<Mutation> {
    let table: Vec<Value> = serde_saphyr::from_str(TABLE).unwrap();
    table.iter().map(Mutation::read).collect()
}

impl Mutation {
    fn read(entry: &Value) -> Self {
        let mutation = Self {
            name: text(entry, "name"),
            breaks: text(entry, "breaks"),
            units: entry["units"].as_bool().unwrap_or(false),
            model: entry["model"].as_bool().unwrap_or(false),
            worlds: entry["worlds"].as_u64(),
            equivalent: entry["equivalent"].as_str().map(str::to_owned),
            edits: entry["edits"].as_array().unwrap().iter().map(Edit::read).collect(),
        };
        let caught = mutation.units || mutation.model || mutation.worlds.is_some();
        assert!(caught != mutation.equivalent.is_some(), "{}: either caught or equivalent", mutation.name);
        mutation
    }
}

impl Edit {
    fn read(entry: &Value) -> Self {
        Self { file: text(entry, "file"), find: text(entry, "find"), replace: text(entry, "replace") }
    }
}

fn text(entry: &Value, field: &str) -> String {
    entry[field].as_str().unwrap_or_else(|| panic!("{entry} has no {field}")).to_owned()
}
