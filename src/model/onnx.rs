//! What an ONNX file says without being run: its operator sets and the files that its weights lie in.
//!
//! The messages are declared by hand, with the field numbers of the public `onnx.proto3` and only the fields that
//! are read; the weights themselves are skipped.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetIdProto>,
    #[prost(message, repeated, tag = "25")]
    functions: Vec<FunctionProto>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSetIdProto {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "15")]
    sparse_initializer: Vec<SparseTensorProto>,
}

#[derive(Clone, PartialEq, Message)]
struct FunctionProto {
    #[prost(message, repeated, tag = "7")]
    node: Vec<NodeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeProto {
    #[prost(message, optional, tag = "5")]
    t: Option<TensorProto>,
    #[prost(message, optional, tag = "6")]
    g: Option<GraphProto>,
    #[prost(message, repeated, tag = "10")]
    tensors: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    graphs: Vec<GraphProto>,
    #[prost(message, optional, tag = "22")]
    sparse_tensor: Option<SparseTensorProto>,
    #[prost(message, repeated, tag = "23")]
    sparse_tensors: Vec<SparseTensorProto>,
}

#[derive(Clone, PartialEq, Message)]
struct SparseTensorProto {
    #[prost(message, optional, tag = "1")]
    values: Option<TensorProto>,
    #[prost(message, optional, tag = "2")]
    indices: Option<TensorProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<StringStringEntryProto>,
    #[prost(int32, tag = "14")]
    data_location: i32,
}

#[derive(Clone, PartialEq, Message)]
struct StringStringEntryProto {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// `TensorProto.DataLocation.EXTERNAL`
const EXTERNAL: i32 = 1;

/// A stretch of another file that holds weights.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ExternalData {
    /// Relative to the ONNX file's folder.
    pub(super) location: String,
    pub(super) offset: u64,
    /// To the end of the file where none is given.
    pub(super) length: Option<u64>,
}

/// What is read from the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OnnxFile {
    /// Operator sets by domain; the default one is `""`.
    pub(super) opsets: BTreeMap<String, i64>,
    pub(super) external: BTreeSet<ExternalData>,
}

impl OnnxFile {
    /// Reads a file's bytes.
    ///
    /// # Errors
    /// One line: not an ONNX model, or external data without a location.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let model = ModelProto::decode(bytes).map_err(|error| format!("it is not an ONNX model: {error}"))?;
        let Some(graph) = &model.graph else {
            return Err("it is not an ONNX model: it has no graph".to_owned());
        };
        let mut external = BTreeSet::new();
        collect_graph(graph, &mut external)?;
        for function in &model.functions {
            collect_nodes(&function.node, &mut external)?;
        }
        let opsets = model.opset_import.into_iter().map(|set| (set.domain, set.version)).collect();
        Ok(Self { opsets, external })
    }

    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| format!("it cannot be read: {error}"))?;
        Self::parse(&bytes)
    }

    /// The names of the files that hold its weights.
    pub(super) fn locations(&self) -> BTreeSet<&str> {
        self.external.iter().map(|data| data.location.as_str()).collect()
    }
}

fn collect_graph(graph: &GraphProto, into: &mut BTreeSet<ExternalData>) -> Result<(), String> {
    for tensor in &graph.initializer {
        collect_tensor(tensor, into)?;
    }
    for tensor in &graph.sparse_initializer {
        collect_sparse(tensor, into)?;
    }
    collect_nodes(&graph.node, into)
}

fn collect_nodes(nodes: &[NodeProto], into: &mut BTreeSet<ExternalData>) -> Result<(), String> {
    for attribute in nodes.iter().flat_map(|node| &node.attribute) {
        for tensor in attribute.t.iter().chain(&attribute.tensors) {
            collect_tensor(tensor, into)?;
        }
        for tensor in attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors) {
            collect_sparse(tensor, into)?;
        }
        for graph in attribute.g.iter().chain(&attribute.graphs) {
            collect_graph(graph, into)?;
        }
    }
    Ok(())
}

fn collect_sparse(tensor: &SparseTensorProto, into: &mut BTreeSet<ExternalData>) -> Result<(), String> {
    for part in tensor.values.iter().chain(&tensor.indices) {
        collect_tensor(part, into)?;
    }
    Ok(())
}

fn collect_tensor(tensor: &TensorProto, into: &mut BTreeSet<ExternalData>) -> Result<(), String> {
    if tensor.data_location != EXTERNAL {
        return Ok(());
    }
    let text = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    let number = |key: &str| {
        let parse = |text: &str| text.parse::<u64>().map_err(|_| format!("external data has {key} = {text:?}"));
        text(key).map(parse).transpose()
    };
    let location = text("location").ok_or("external data has no location")?.to_owned();
    into.insert(ExternalData { location, offset: number("offset")?.unwrap_or(0), length: number("length")? });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external(location: &str, entries: &[(&str, &str)]) -> TensorProto {
        let entry =
            |(key, value): (&str, &str)| StringStringEntryProto { key: key.to_owned(), value: value.to_owned() };
        let all = std::iter::once(("location", location)).chain(entries.iter().copied());
        TensorProto { external_data: all.map(entry).collect(), data_location: EXTERNAL }
    }

    fn model(graph: GraphProto) -> Vec<u8> {
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 20 }];
        ModelProto { graph: Some(graph), opset_import, functions: Vec::new() }.encode_to_vec()
    }

    #[test]
    fn external_data_is_found_in_initializers_attributes_and_nested_graphs() {
        let inner = GraphProto { initializer: vec![external("c", &[("length", "4")])], ..GraphProto::default() };
        let attribute = AttributeProto { t: Some(external("b", &[])), g: Some(inner), ..AttributeProto::default() };
        let graph = GraphProto {
            node: vec![NodeProto { attribute: vec![attribute] }],
            initializer: vec![external("a", &[("offset", "8"), ("length", "16")]), TensorProto::default()],
            ..GraphProto::default()
        };
        let file = OnnxFile::parse(&model(graph)).unwrap();
        assert_eq!(file.opsets[""], 20);
        assert_eq!(Vec::from_iter(file.locations()), ["a", "b", "c"]);
        let a = file.external.first().unwrap();
        assert_eq!((a.offset, a.length), (8, Some(16)));
    }

    #[test]
    fn garbage_and_an_empty_file_are_not_models() {
        assert!(OnnxFile::parse(b"").unwrap_err().contains("no graph"));
        assert!(OnnxFile::parse(b"\xff\xff\xff not a model").is_err());
        let graph = GraphProto { initializer: vec![external("a", &[("offset", "-1")])], ..GraphProto::default() };
        assert!(OnnxFile::parse(&model(graph)).unwrap_err().contains("offset"));
    }
}
