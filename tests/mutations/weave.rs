//! Weaves all mutations into the source. At run time one of them is switched on.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::table::{Edit, Mutation};

/// The code that reads which mutation is active.
pub(crate) const SWITCH: &str = r#"
mod mutation {
    pub(crate) fn active() -> &'static str {
        static NAME: std::sync::LazyLock<String> =
            std::sync::LazyLock::new(|| std::env::var("MUTATION").unwrap_or_default());
        &NAME
    }
}
"#;

/// Every mutated file, by its path. Panics if a mutation does not apply.
pub(crate) fn woven(mutations: &[Mutation], read: impl Fn(&str) -> String) -> BTreeMap<String, String> {
    let mut sites: BTreeMap<&str, Vec<Site>> = BTreeMap::new();
    let mut sources = BTreeMap::new();
    for mutation in mutations {
        for edit in &mutation.edits {
            let source = sources.entry(edit.file.clone()).or_insert_with(|| read(&edit.file));
            let range = find(source, edit).unwrap_or_else(|found| {
                panic!("{}: found {found} times in {}: {}", mutation.name, edit.file, edit.find)
            });
            let sites = sites.entry(&edit.file).or_default();
            let arm = (mutation.name.as_str(), edit.replace.as_str());
            match sites.iter_mut().find(|site| site.range.start < range.end && range.start < site.range.end) {
                None => sites.push(Site { range, arms: vec![arm] }),
                Some(site) if site.range == range => site.arms.push(arm),
                Some(_) => panic!("{} overlaps with another one in {}", mutation.name, edit.file),
            }
        }
    }
    for (file, mut sites) in sites {
        let source = sources.get_mut(file).unwrap();
        sites.sort_by_key(|site| std::cmp::Reverse(site.range.start));
        for site in sites {
            let switch = site.switch(&source[site.range.clone()]);
            source.replace_range(site.range, &switch);
        }
    }
    sources
}

/// A place in a file, and the code that can replace it.
struct Site<'a> {
    range: Range<usize>,
    /// Each with the name of its mutation.
    arms: Vec<(&'a str, &'a str)>,
}

impl Site<'_> {
    fn switch(&self, original: &str) -> String {
        let arms = self.arms.iter().map(|(name, code)| format!("{name:?} => {{ {code} }}\n"));
        let switch = format!(
            "match crate::mutation::active() {{ {}_ => {{ {original} }} }}",
            arms.collect::<String>()
        );
        let is_statement = original.ends_with([';', '}']);
        if is_statement { switch } else { format!("({switch})") }
    }
}

/// The place to which the edit applies, or the number of places that it fits. White space does not count.
fn find(source: &str, edit: &Edit) -> Result<Range<usize>, usize> {
    let (before, rest) = edit.find.split_once("[[").unwrap_or(("", &edit.find));
    let (target, after) = rest.split_once("]]").unwrap_or((rest, ""));
    let source = Squeezed::new(source);
    let (before, target, after) = (Squeezed::new(before), Squeezed::new(target), Squeezed::new(after));
    let whole = format!("{}{}{}", before.text, target.text, after.text);
    let places: Vec<_> = source.text.match_indices(&whole).map(|(at, _)| at + before.text.len()).collect();
    match places[..] {
        [at] => Ok(source.origin[at]..source.origin[at + target.text.len() - 1] + 1),
        _ => Err(places.len()),
    }
}

/// A text without its white space, and where each byte of it was.
struct Squeezed {
    text: String,
    origin: Vec<usize>,
}

impl Squeezed {
    fn new(text: &str) -> Self {
        let kept = || text.char_indices().filter(|(_, c)| !c.is_whitespace());
        let origin = kept().flat_map(|(at, c)| at..at + c.len_utf8());
        Self { text: kept().map(|(_, c)| c).collect(), origin: origin.collect() }
    }
}
