//! One table of a manifest, read key by key, so that every violation is found and not only the first.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// A table whose keys are taken out as they are read; what is left at the end is unknown.
pub(super) struct Section {
    /// Its place in the file, dotted; empty for the whole file.
    path: String,
    table: Table,
    known: Vec<&'static str>,
    found: Vec<String>,
}

impl Section {
    pub(super) fn root(table: Table) -> Self {
        Self::new(String::new(), table)
    }

    fn new(path: String, table: Table) -> Self {
        Self { path, table, known: Vec::new(), found: Vec::new() }
    }

    /// The full name of a key in here.
    pub(super) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn complain(&mut self, violation: impl Into<String>) {
        self.found.push(violation.into());
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of a key, if it is there and fits.
    pub(super) fn optional<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        self.known.push(key);
        let value = self.table.remove(key)?;
        let shown = shown(&value);
        match value.try_into::<T>() {
            Ok(value) => Some(value),
            Err(error) => {
                let reason = error.to_string();
                self.found.push(format!("{} = {shown}: {}", self.name(key), reason.trim()));
                None
            }
        }
    }

    /// The value of a key that must be there.
    pub(super) fn required<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        if !self.has(key) {
            self.known.push(key);
            self.found.push(format!("{} is missing", self.name(key)));
            return None;
        }
        self.optional(key)
    }

    /// A table in here; give it back with [`Section::absorb`].
    pub(super) fn section(&mut self, key: &'static str) -> Option<Self> {
        self.known.push(key);
        let value = self.table.remove(key)?;
        self.as_section(key, value)
    }

    /// Every key of a table whose keys are names that the author chose.
    pub(super) fn take_all(&mut self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.table).into_iter().collect()
    }

    pub(super) fn as_section(&mut self, key: &str, value: Value) -> Option<Self> {
        let name = self.name(key);
        match value {
            Value::Table(table) => Some(Self::new(name, table)),
            other => {
                self.found.push(format!("{name} = {} is not a table", shown(&other)));
                None
            }
        }
    }

    /// Takes over what was found in a table of this one.
    pub(super) fn absorb(&mut self, inner: Self) {
        self.found.extend(inner.finish());
    }

    /// What was found, the keys that nobody asked for included.
    pub(super) fn finish(mut self) -> Vec<String> {
        let mut unknown = Vec::new();
        for key in self.table.keys() {
            let place =
                if self.path.is_empty() { "the top of the file".to_owned() } else { format!("[{}]", self.path) };
            unknown.push(format!("{} is an unknown key; {place} takes {}", self.name(key), self.known.join(", ")));
        }
        self.found.extend(unknown);
        self.found
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Table(_) => "{…}".to_owned(),
        other => other.to_string(),
    }
}
