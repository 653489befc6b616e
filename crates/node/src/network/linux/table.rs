//! A table of the packet filter as data, and as text for `nft -f -`: the whole of it, or what leads from one to another.
//!
//! Either text is one transaction, so there is no moment without rules; connection tracking lives on over it. Pure: the same data
//! gives the same text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// Its family and name, `inet vpc`.
    pub(super) name: &'static str,
    /// Sets and maps by name.
    pub(super) sets: BTreeMap<String, Set>,
    /// Chains by name.
    pub(super) chains: BTreeMap<String, Chain>,
}

/// A set, or a map if its type has two sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    /// Type and flags, `type ifname : verdict`.
    spec: String,
    /// Each element, and in a map what it is mapped to.
    elements: BTreeMap<String, Option<String>>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    /// Hook, priority and policy; `None` for one that is jumped to. It never changes while the table stands.
    hook: Option<String>,
    rules: Vec<String>,
}

impl Set {
    pub(super) fn new(spec: &str, elements: impl IntoIterator<Item = String>) -> Self {
        Self { spec: spec.into(), elements: elements.into_iter().map(|e| (e, None)).collect() }
    }

    pub(super) fn map(spec: &str, elements: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { spec: spec.into(), elements: elements.into_iter().map(|(k, v)| (k, Some(v))).collect() }
    }

    fn keyword(&self) -> &'static str {
        if self.spec.contains(" : ") { "map" } else { "set" }
    }
}

impl Chain {
    pub(super) fn hooked(hook: &str, rules: Vec<String>) -> Self {
        Self { hook: Some(hook.into()), rules }
    }

    pub(super) fn jumped(rules: Vec<String>) -> Self {
        Self { hook: None, rules }
    }
}

fn pair((key, value): (&String, &Option<String>)) -> String {
    value.as_ref().map_or_else(|| key.clone(), |value| format!("{key} : {value}"))
}

fn list(items: Vec<String>) -> String {
    items.join(", ")
}

/// The text that replaces the tables, whatever stands.
pub(super) fn whole(tables: &[Table]) -> String {
    let mut text = String::new();
    for table in tables {
        let name = table.name;
        let _ = writeln!(text, "table {name}\ndelete table {name}\ntable {name} {{");
        for (name, set) in &table.sets {
            let _ = write!(text, "  {} {name} {{ {};", set.keyword(), set.spec);
            if !set.elements.is_empty() {
                let _ = write!(text, " elements = {{ {} }};", list(set.elements.iter().map(pair).collect()));
            }
            text.push_str(" }\n");
        }
        for (name, chain) in &table.chains {
            let _ = writeln!(text, "  chain {name} {{");
            for line in chain.hook.iter().map(|hook| format!("{hook};")).chain(chain.rules.iter().cloned()) {
                let _ = writeln!(text, "    {line}");
            }
            text.push_str("  }\n");
        }
        text.push_str("}\n");
    }
    text
}

/// The text that makes `from`, which stands, `to`; empty if they are the same. Both hold tables of the same names.
pub(super) fn change(from: &[Table], to: &[Table]) -> String {
    let mut text = String::new();
    for (from, to) in from.iter().zip(to) {
        debug_assert_eq!(from.name, to.name);
        if from != to {
            change_table(&mut text, from, to);
        }
    }
    text
}

/// New names first, then what referred to old ones, then what refers to new ones; old names last, when nothing refers to them.
fn change_table(text: &mut String, from: &Table, to: &Table) {
    let name = to.name;
    for (set, wanted) in to.sets.iter().filter(|(set, _)| !from.sets.contains_key(*set)) {
        let _ = writeln!(text, "add {} {name} {set} {{ {}; }}", wanted.keyword(), wanted.spec);
    }
    for chain in to.chains.keys().filter(|chain| !from.chains.contains_key(*chain)) {
        let _ = writeln!(text, "add chain {name} {chain}");
    }
    for (set, had) in &from.sets {
        let wanted = to.sets.get(set);
        let gone = had.elements.iter().filter(|(key, value)| wanted.is_none_or(|w| w.elements.get(*key) != Some(value)));
        let gone: Vec<String> = gone.map(|(key, _)| key.clone()).collect();
        if !gone.is_empty() {
            let _ = writeln!(text, "delete element {name} {set} {{ {} }}", list(gone));
        }
    }
    for (chain, had) in &from.chains {
        if to.chains.get(chain).is_none_or(|wanted| wanted.rules != had.rules) {
            let _ = writeln!(text, "flush chain {name} {chain}");
        }
    }
    for (set, wanted) in &to.sets {
        let had = from.sets.get(set);
        let new = wanted.elements.iter().filter(|(key, value)| had.is_none_or(|h| h.elements.get(*key) != Some(value)));
        let new: Vec<String> = new.map(pair).collect();
        if !new.is_empty() {
            let _ = writeln!(text, "add element {name} {set} {{ {} }}", list(new));
        }
    }
    for (chain, wanted) in &to.chains {
        if from.chains.get(chain).is_none_or(|had| had.rules != wanted.rules) {
            for rule in &wanted.rules {
                let _ = writeln!(text, "add rule {name} {chain} {rule}");
            }
        }
    }
    for chain in from.chains.keys().filter(|chain| !to.chains.contains_key(*chain)) {
        let _ = writeln!(text, "delete chain {name} {chain}");
    }
    for (set, had) in from.sets.iter().filter(|(set, _)| !to.sets.contains_key(*set)) {
        let _ = writeln!(text, "delete {} {name} {set}", had.keyword());
    }
}
