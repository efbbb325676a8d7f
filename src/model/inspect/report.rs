//! The report, and how it is printed.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use crate::{
    domain::SpaceKey,
    model::{
        checks,
        family::{Capability, Family, GraphRole},
        remarks::Remarks,
    },
    runtime::{Axis, GraphInfo, Port},
};

/// What was found at a path: one model, or each of a folder of models.
#[derive(Debug)]
pub struct Inspection {
    pub(super) subjects: Vec<Subject>,
    /// On the folder itself.
    pub(super) notes: Vec<String>,
}

/// What was found in one folder, or in one file.
#[derive(Debug)]
pub(super) struct Subject {
    title: String,
    /// Where a proposed manifest belongs.
    folder: PathBuf,
    pub(super) graphs: Vec<GraphReport>,
    /// The model and its variants, as far as they can be served.
    pub(super) serves: Vec<Serves>,
    pub(super) problems: Vec<String>,
    /// Whether the folder's name keeps it from being a model.
    pub(super) misnamed: bool,
    remarks: Remarks,
    pub(super) proposal: Option<String>,
}

#[derive(Debug)]
pub(super) struct GraphReport {
    pub(super) title: String,
    pub(super) info: Result<GraphInfo, String>,
    pub(super) external: Vec<String>,
    pub(super) opsets: BTreeMap<String, i64>,
}

#[derive(Debug)]
pub(super) struct Serves {
    pub(super) name: String,
    pub(super) family: Family,
    pub(super) capabilities: Vec<Capability>,
    pub(super) dimension: Option<usize>,
    pub(super) golden: Vec<GraphRole>,
    pub(super) space_key: SpaceKey,
}

impl Inspection {
    /// Everything is as it must be to be served, or would be with the proposed manifest.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.subjects.iter().all(|subject| subject.problems.is_empty())
    }

    /// The manifests for graphs that have none, each with the folder that it belongs in. A folder that cannot be a model
    /// by its name gets none; one that cannot be served for another reason does, since the manifest is what to mend.
    pub fn proposals(&self) -> impl Iterator<Item = (&Path, &str)> {
        let fit = self.subjects.iter().filter(|subject| !subject.misnamed);
        fit.filter_map(|subject| Some((subject.folder.as_path(), subject.proposal.as_deref()?)))
    }

    /// The manifest for graphs that have none, where one folder or file was inspected.
    #[must_use]
    pub fn proposed_manifest(&self) -> Option<&str> {
        match &self.subjects[..] {
            [subject] => subject.proposal.as_deref(),
            _ => None,
        }
    }
}

impl Subject {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            title: shown(path).display().to_string(),
            folder: if path.is_dir() { path } else { path.parent().unwrap_or(path) }.to_owned(),
            misnamed: false,
            remarks: Remarks::default(),
            graphs: Vec::new(),
            serves: Vec::new(),
            problems: Vec::new(),
            proposal: None,
        }
    }

    /// Adds what was remarked on the model or, with a prefix, on a variant.
    pub(super) fn remark(&mut self, prefix: &str, remarks: Remarks) {
        let prefixed = |lines: Vec<String>| lines.into_iter().map(move |line| format!("{prefix}{line}"));
        self.remarks.warnings.extend(prefixed(remarks.warnings));
        self.remarks.notes.extend(prefixed(remarks.notes));
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, subject) in self.subjects.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            subject.fmt(f)?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for graph in &self.graphs {
            graph.fmt(f)?;
        }
        for serves in &self.serves {
            serves.fmt(f)?;
        }
        for problem in &self.problems {
            writeln!(f, "  problem: {problem}")?;
        }
        for (kind, lines) in [("warning", &self.remarks.warnings), ("note", &self.remarks.notes)] {
            for line in lines {
                writeln!(f, "  {kind}: {line}")?;
            }
        }
        if let Some(proposal) = &self.proposal {
            writeln!(f, "  proposed model.toml:\n")?;
            for line in proposal.lines() {
                writeln!(f, "{}", if line.is_empty() { String::new() } else { format!("    {line}") })?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for GraphReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  graph {}", self.title)?;
        match &self.info {
            Err(reason) => writeln!(f, "    cannot be opened: {reason}")?,
            Ok(info) => {
                for (side, ports) in [("input ", &info.inputs), ("output", &info.outputs)] {
                    for port in ports {
                        writeln!(f, "    {side} {} {} {}", port.name, port.dtype, checks::shape(&port.shape))?;
                    }
                }
                writeln!(f, "    dynamic axes: {}", dynamic_axes(info))?;
                if let Some(producer) = &info.producer {
                    writeln!(f, "    made by {producer}")?;
                }
            }
        }
        if !self.opsets.is_empty() {
            let name = |domain: &str| if domain.is_empty() { "ai.onnx".to_owned() } else { domain.to_owned() };
            let sets: Vec<String> =
                self.opsets.iter().map(|(domain, version)| format!("{} {version}", name(domain))).collect();
            writeln!(f, "    opset: {}", sets.join(", "))?;
        }
        if !self.external.is_empty() {
            writeln!(f, "    weights in: {}", self.external.join(", "))?;
        }
        Ok(())
    }
}

fn dynamic_axes(info: &GraphInfo) -> String {
    let of_port = |port: &Port| {
        let axes = port.shape.iter().enumerate().filter(|(_, axis)| matches!(axis, Axis::Dynamic(_)));
        axes.map(|(at, axis)| format!("{}[{at}] = {axis}", port.name)).collect::<Vec<_>>()
    };
    let axes: Vec<String> = info.inputs.iter().chain(&info.outputs).flat_map(of_port).collect();
    if axes.is_empty() { "none".to_owned() } else { axes.join(", ") }
}

impl fmt::Display for Serves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let capabilities: Vec<&str> = self.capabilities.iter().map(|one| one.as_str()).collect();
        writeln!(f, "  serves {} ({}): {}", self.name, self.family, capabilities.join(", "))?;
        if let Some(dimension) = self.dimension {
            writeln!(f, "    vectors of {dimension} numbers")?;
        }
        if self.golden.is_empty() {
            writeln!(f, "    golden outputs: none")?;
        } else {
            let replayed: Vec<&str> = self.golden.iter().map(|role| role.as_str()).collect();
            writeln!(f, "    golden outputs: replayed {}, all within tolerance", replayed.join(", "))?;
        }
        writeln!(f, "    space key {}", self.space_key)
    }
}

/// A path as somebody in the working directory would write it.
fn shown(path: &Path) -> &Path {
    let here = std::env::current_dir().ok();
    let below = here.as_deref().and_then(|here| path.strip_prefix(here).ok());
    below.filter(|below| !below.as_os_str().is_empty()).unwrap_or(path)
}
