//! From the text of a manifest to [`Manifest`], or to everything that is wrong with it.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{
    EmbeddingSpec, GraphSpec, Manifest, MaskedSpec, MemorySpec, Pooling, RuntimeSpec, Tolerance, VERSION, Variant,
};
use crate::{
    config::Section,
    domain::{Device, Metric, ModelName},
    image::{Channels, InputSpec, PreprocessSpec, Resize, Values},
    model::{
        family::{Family, GraphRole},
        folder,
    },
};

type Graphs = BTreeMap<GraphRole, GraphSpec>;

/// What can be read of a manifest, and everything that is wrong with it.
pub(super) fn manifest(text: &str) -> (Option<Manifest>, Vec<String>) {
    let table = match text.parse::<Table>() {
        Ok(table) => table,
        Err(error) => return (None, vec![syntax_error(text, &error)]),
    };
    let mut root = Section::root(table);
    let read = read(&mut root);
    (read, root.finish())
}

fn syntax_error(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text.get(..span.start).unwrap_or(text).lines().count().max(1));
    let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    format!("{place}{}", error.message().replace('\n', " "))
}

fn read(root: &mut Section) -> Option<Manifest> {
    let version = root.required::<u32>("manifest");
    if let Some(version) = version.filter(|&version| version != VERSION) {
        root.report(format!("manifest = {version} is a format this server does not read; it reads {VERSION}"));
    }
    let family = root.required::<Family>("family");
    let description = root.optional("description");
    let license = root.optional("license");
    let required = root.optional("required").unwrap_or(false);
    let denoises = root.optional("denoises").unwrap_or(false);
    let input = input(root);
    let preprocess = preprocess(root, input.as_ref());
    let graphs = graphs(root, family);
    let embedding = embedding(root, family, &graphs);
    let masked = masked(root, family);
    let memory = memory(root, family);
    let reconstruction = reconstruction(root, &graphs);
    let golden = golden(root).unwrap_or_default();
    let runtime = runtime(root);
    let variants = variants(root, &graphs);
    let manifest = Manifest {
        family: family?,
        description,
        license,
        required,
        denoises,
        input: input?,
        preprocess,
        graphs,
        embedding,
        masked,
        memory,
        reconstruction,
        golden,
        runtime,
        variants,
    };
    check_family(root, &manifest);
    Some(manifest)
}

fn check_family(root: &mut Section, manifest: &Manifest) {
    let mut found = Vec::new();
    (manifest.family.rules().check)(manifest, &mut found);
    for violation in found {
        root.report(violation);
    }
    let can = manifest.family.capabilities(&manifest.roles(), true);
    if manifest.denoises && !can.contains(&crate::model::Capability::Denoise) {
        root.report(format!("denoises = true, but family {} with these graphs cannot denoise", manifest.family));
    }
}

/// The channels of a graph's images as a manifest names them.
#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum ChannelOrder {
    Rgb,
    Bgr,
    Gray,
}

fn input(root: &mut Section) -> Option<InputSpec> {
    let Some(mut section) = root.section("input") else {
        root.report("[input] is missing: it says width, height and channels");
        return None;
    };
    let width = section.required("width");
    let height = section.required("height");
    let channels = section.required::<ChannelOrder>("channels");
    let background = section.optional("background").unwrap_or_default();
    let orientation = section.optional("orientation").unwrap_or(true);
    root.absorb(section);
    let (channels, bgr) = match channels? {
        ChannelOrder::Rgb => (Channels::Rgb, false),
        ChannelOrder::Bgr => (Channels::Rgb, true),
        ChannelOrder::Gray => (Channels::Gray, false),
    };
    let input = InputSpec { width: width?, height: height?, channels, bgr, background, orientation };
    for violation in input.violations() {
        root.report(violation);
    }
    Some(input)
}

fn preprocess(root: &mut Section, input: Option<&InputSpec>) -> PreprocessSpec {
    let default = PreprocessSpec::default();
    let Some(mut section) = root.section("preprocess") else { return default };
    let spec = PreprocessSpec {
        resize: section.optional("resize").unwrap_or(default.resize),
        edge: section.optional("edge"),
        filter: section.optional("filter").unwrap_or(default.filter),
        crop: section.optional("crop").unwrap_or(default.crop),
        rescale: section.optional("rescale").unwrap_or(default.rescale),
        mean: section.optional("mean"),
        std: section.optional("std"),
    };
    root.absorb(section);
    for violation in input.map(|input| spec.violations(input)).unwrap_or_default() {
        root.report(violation);
    }
    // an edge that says nothing must not tell two equal preprocessings apart
    let edge = spec.edge.filter(|_| spec.resize == Resize::ShortestEdge);
    PreprocessSpec { edge, ..spec }
}

fn graphs(root: &mut Section, family: Option<Family>) -> Graphs {
    let mut graphs = Graphs::new();
    let Some(mut section) = root.section("graphs") else { return graphs };
    for (key, value) in section.take_all() {
        let known = family.map_or(&GraphRole::ALL[..], |family| family.rules().graphs);
        let Some(&role) = known.iter().find(|role| role.as_str() == key) else {
            let roles: Vec<&str> = known.iter().map(|role| role.as_str()).collect();
            let whose = family.map(|family| format!("family {family}")).unwrap_or_else(|| "a model".to_owned());
            section.report(format!("[graphs.{key}] is an unknown graph; {whose} has {}", roles.join(", ")));
            continue;
        };
        let Some(mut inner) = section.as_section(&key, value) else { continue };
        graphs.insert(role, graph(&mut inner, role));
        section.absorb(inner);
    }
    root.absorb(section);
    graphs
}

/// Even a graph with violations is kept, so that what refers to it is not reported too.
fn graph(section: &mut Section, role: GraphRole) -> GraphSpec {
    let file = section.required::<String>("file");
    if let Some(violation) = file.as_deref().and_then(folder::unfit) {
        let key = section.name("file");
        section.report(format!("{key} = {violation}"));
    }
    let inputs = bindings(section, "inputs", role.inputs());
    let outputs = bindings(section, "outputs", role.outputs());
    // a mask and a noise stand for each other: the family's rules ask for one
    let needed = role.inputs().iter().filter(|input| !matches!(**input, "mask" | "noise"));
    for input in needed.filter(|input| !inputs.contains_key(**input)) {
        let key = section.name("inputs");
        section.report(format!("{key}.{input} is missing"));
    }
    if outputs.is_empty() {
        let key = section.name("outputs");
        section.report(format!("{key} names no output; it takes {}", role.outputs().join(", ")));
    }
    GraphSpec { file: file.unwrap_or_default(), inputs, outputs }
}

/// A table of role → name in the graph.
fn bindings(section: &mut Section, key: &'static str, roles: &[&str]) -> BTreeMap<String, String> {
    let mut bound: BTreeMap<String, String> = BTreeMap::new();
    let Some(mut inner) = section.section(key) else { return bound };
    for (role, value) in inner.take_all() {
        let name = inner.name(&role);
        match value {
            _ if !roles.contains(&role.as_str()) => {
                inner.report(format!("{name} is an unknown role; the roles are {}", roles.join(", ")));
            }
            Value::String(port) if key == "inputs" && bound.values().any(|other| *other == port) => {
                inner.report(format!("{name} = \"{port}\" is bound to another role already"));
            }
            Value::String(port) if !port.is_empty() => {
                bound.insert(role, port);
            }
            other => inner.report(format!("{name} = {other} is not a name in the graph")),
        }
    }
    section.absorb(inner);
    bound
}

fn embedding(root: &mut Section, family: Option<Family>, graphs: &Graphs) -> Option<EmbeddingSpec> {
    let section = root.section("embedding");
    let Some(encoder) = graphs.get(&GraphRole::Encoder) else {
        // a family that lacks its encoder is told so by its own rules
        if section.is_some() && graphs.contains_key(&GraphRole::Autoencoder) {
            root.report("[embedding] is for models with [graphs.encoder]; this one has none");
        }
        return None;
    };
    let usual = family.and_then(|family| {
        family.rules().embeddings.iter().find(|role| encoder.outputs.contains_key(**role)).map(ToString::to_string)
    });
    let (mut output, mut pooling, mut normalize, mut metric) = (None, None, None, None);
    if let Some(mut section) = section {
        output = section.optional::<String>("output");
        pooling = section.optional::<Pooling>("pooling");
        normalize = section.optional::<bool>("normalize");
        metric = section.optional::<Metric>("metric");
        if let Some(output) = output.as_deref().filter(|output| !encoder.outputs.contains_key(*output)) {
            let roles: Vec<&str> = encoder.outputs.keys().map(String::as_str).collect();
            section.report(format!(
                "embedding.output = \"{output}\" is not an output of the encoder; it has {}",
                roles.join(", ")
            ));
        }
        root.absorb(section);
    }
    let output = output.or(usual)?;
    if family == Some(Family::Anomaly) {
        // A feature map or tokens, never a vector.
        pooling = pooling.or(Some(Pooling::Mean));
    }
    if output == "tokens" && matches!(pooling, None | Some(Pooling::None)) {
        root.report("embedding.pooling is missing: tokens become a vector by cls, mean or gem");
    }
    Some(EmbeddingSpec {
        output,
        pooling: pooling.unwrap_or(Pooling::None),
        normalize: normalize.unwrap_or(true),
        metric: metric.unwrap_or(Metric::Cosine),
    })
}

fn masked(root: &mut Section, family: Option<Family>) -> Option<MaskedSpec> {
    let mut section = root.section("masked")?;
    let patch = section.required::<u32>("patch");
    let ratio = section.optional("ratio").unwrap_or(MaskedSpec::RATIO);
    root.absorb(section);
    if let Some(family) = family.filter(|&family| family != Family::MaskedAutoencoder) {
        root.report(format!("[masked] is for family masked-autoencoder, not {family}"));
        return None;
    }
    // a patch of 0 and a ratio out of range are told by the family's own rules
    Some(MaskedSpec { patch: patch?, ratio })
}

fn memory(root: &mut Section, family: Option<Family>) -> Option<MemorySpec> {
    let mut section = root.section("memory")?;
    let file = section.required::<String>("file");
    if let Some(violation) = file.as_deref().and_then(folder::unfit) {
        let key = section.name("file");
        section.report(format!("{key} = {violation}"));
    }
    let neighbours = section.optional::<usize>("neighbours").unwrap_or(1);
    if neighbours == 0 {
        section.report("memory.neighbours = 0 is not at least 1".to_owned());
    }
    root.absorb(section);
    if let Some(family) = family.filter(|&family| family != Family::Anomaly) {
        root.report(format!("[memory] is for family anomaly, not {family}"));
        return None;
    }
    Some(MemorySpec { file: file.unwrap_or_default(), neighbours })
}

fn reconstruction(root: &mut Section, graphs: &Graphs) -> Values {
    let Some(mut section) = root.section("reconstruction") else { return Values::default() };
    let values = section.optional("values").unwrap_or_default();
    root.absorb(section);
    if !graphs.is_empty() && !graphs.keys().any(|role| role.outputs().contains(&"image")) {
        root.report("[reconstruction] is for models with a graph that gives an image; this one has none");
    }
    values
}

fn golden(root: &mut Section) -> Option<Tolerance> {
    let mut section = root.section("golden")?;
    let default = Tolerance::default();
    let tolerance = Tolerance {
        atol: section.optional("atol").unwrap_or(default.atol),
        rtol: section.optional("rtol").unwrap_or(default.rtol),
    };
    for (key, value) in [("atol", tolerance.atol), ("rtol", tolerance.rtol)] {
        if !(value.is_finite() && value >= 0.0) {
            let name = section.name(key);
            section.report(format!("{name} = {value} is not a finite number of 0 or more"));
        }
    }
    root.absorb(section);
    Some(tolerance)
}

fn runtime(root: &mut Section) -> RuntimeSpec {
    let Some(mut section) = root.section("runtime") else { return RuntimeSpec::default() };
    let mut count = |key: &'static str| {
        let value = section.optional::<usize>(key);
        if value == Some(0) {
            section.report(format!("runtime.{key} = 0 is not at least 1"));
        }
        value
    };
    let (max_batch, sessions, threads) = (count("max_batch"), count("sessions"), count("threads"));
    let device = section.optional::<String>("device").filter(|text| text != "inherit").and_then(|text| {
        text.parse::<Device>()
            .map_err(|_| {
                section.report(format!("runtime.device = \"{text}\" is not inherit, cpu, cuda, cuda:N or auto"))
            })
            .ok()
    });
    let random = section.optional("random").unwrap_or(false);
    root.absorb(section);
    RuntimeSpec { max_batch, sessions, threads, device, random }
}

fn variants(root: &mut Section, graphs: &Graphs) -> BTreeMap<String, Variant> {
    let mut variants = BTreeMap::new();
    let Some(mut section) = root.section("variants") else { return variants };
    for (name, value) in section.take_all() {
        let Some(mut inner) = section.as_section(&name, value) else { continue };
        if format!("m:{name}").parse::<ModelName>().is_err() {
            inner.report(format!("[variants.{name}] does not follow the rule for models' names"));
        }
        let variant = Variant { files: variant_files(&mut inner, graphs), golden: golden(&mut inner) };
        section.absorb(inner);
        variants.insert(name, variant);
    }
    root.absorb(section);
    variants
}

fn variant_files(section: &mut Section, graphs: &Graphs) -> BTreeMap<GraphRole, String> {
    let mut files = BTreeMap::new();
    let Some(mut overlay) = section.section("graphs") else {
        let path = section.name("graphs");
        section.report(format!("{path} is missing: a variant names the files that differ"));
        return files;
    };
    for (key, value) in overlay.take_all() {
        let Some(mut graph) = overlay.as_section(&key, value) else { continue };
        let file = graph.required::<String>("file");
        if let Some(violation) = file.as_deref().and_then(folder::unfit) {
            let name = graph.name("file");
            graph.report(format!("{name} = {violation}"));
        }
        match graphs.keys().find(|role| role.as_str() == key) {
            Some(&role) => files.extend(file.map(|file| (role, file))),
            None => {
                let name = overlay.name(&key);
                graph.report(format!("{name} is not a graph of this model"));
            }
        }
        overlay.absorb(graph);
    }
    section.absorb(overlay);
    files
}
