//! One TOML table, read key by key, so that every violation is found and not only the first: manifests and the
//! sections of the configuration are read with it.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// A table whose keys are taken out as they are read; what is left at the end is unknown.
pub(crate) struct Section {
    /// The table's place in the file, dotted; empty for the whole file.
    path: String,
    table: Table,
    known: Vec<&'static str>,
    violations: Vec<String>,
    /// Whether violations repeat the value; those of a configuration do not, since it may be a secret.
    shows_values: bool,
}

impl Section {
    /// The whole file, whose violations repeat the values.
    pub(crate) fn root(table: Table) -> Self {
        Self::new(String::new(), table, true)
    }

    /// A section of a file, whose violations keep the values to themselves.
    pub(crate) fn secretive(path: &str, table: Table) -> Self {
        Self::new(path.to_owned(), table, false)
    }

    fn new(path: String, table: Table, shows_values: bool) -> Self {
        Self { path, table, known: Vec::new(), violations: Vec::new(), shows_values }
    }

    /// The full name of a key in here.
    pub(crate) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(crate) fn report(&mut self, violation: impl Into<String>) {
        self.violations.push(violation.into());
    }

    fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of a key, if it is there and fits.
    pub(crate) fn optional<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        self.known.push(key);
        let value = self.table.remove(key)?;
        let shown = if self.shows_values { format!(" = {}", shown(&value)) } else { String::new() };
        match value.try_into::<T>() {
            Ok(value) => Some(value),
            Err(error) => {
                let reason = error.to_string();
                self.violations.push(format!("{}{shown}: {}", self.name(key), reason.trim()));
                None
            }
        }
    }

    /// The value of a key that must be there.
    pub(crate) fn required<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        if !self.has(key) {
            self.known.push(key);
            self.violations.push(format!("{} is missing", self.name(key)));
            return None;
        }
        self.optional(key)
    }

    /// A table in here; give it back with [`Section::absorb`].
    pub(crate) fn section(&mut self, key: &'static str) -> Option<Self> {
        self.known.push(key);
        let value = self.table.remove(key)?;
        self.as_section(key, value)
    }

    /// Every key of a table whose keys are names that the author chose.
    pub(crate) fn take_all(&mut self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.table).into_iter().collect()
    }

    pub(crate) fn as_section(&mut self, key: &str, value: Value) -> Option<Self> {
        let name = self.name(key);
        match value {
            Value::Table(table) => Some(Self::new(name, table, self.shows_values)),
            other => {
                self.violations.push(format!("{name} = {} is not a table", shown(&other)));
                None
            }
        }
    }

    /// Takes over the violations of a table inside this one.
    pub(crate) fn absorb(&mut self, inner: Self) {
        self.violations.extend(inner.finish());
    }

    /// The violations of the keys that were asked for; those that nobody asked for are not looked at.
    pub(crate) fn into_violations(self) -> Vec<String> {
        self.violations
    }

    /// Every violation, the keys that nobody asked for included.
    pub(crate) fn finish(mut self) -> Vec<String> {
        let mut unknown = Vec::new();
        for key in self.table.keys() {
            let place =
                if self.path.is_empty() { "the top of the file".to_owned() } else { format!("[{}]", self.path) };
            unknown.push(format!("{} is an unknown key; {place} takes {}", self.name(key), self.known.join(", ")));
        }
        self.violations.extend(unknown);
        self.violations
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Table(_) => "{…}".to_owned(),
        other => other.to_string(),
    }
}
