//! What an ONNX file says without being run: its operator sets and the files that its weights lie in.
//!
//! The messages are declared by hand, with the field numbers of the public `onnx.proto3` and only the fields that
//! are read; the weights themselves are skipped.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use prost::{Message, bytes::Buf};

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
    /// Takes a file's bytes.
    ///
    /// # Errors
    /// One line: not an ONNX model, or external data without a location.
    pub(super) fn parse(bytes: impl Buf) -> Result<Self, String> {
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
        let unread = |error: io::Error| format!("it cannot be read: {error}");
        let mut bytes = Skimmed::open(path).map_err(unread)?;
        let parsed = Self::parse(&mut bytes);
        bytes.failure.map_or(parsed, |error| Err(unread(error)))
    }

    /// The names of the files that hold its weights.
    pub(super) fn locations(&self) -> BTreeSet<&str> {
        self.external.iter().map(|data| data.location.as_str()).collect()
    }
}

/// A file's bytes for a reader that skips most of them: what is skipped, which is the weights, is not read.
struct Skimmed {
    file: File,
    /// The piece that is read, and how far.
    piece: Vec<u8>,
    at: usize,
    /// Bytes of the file after the piece.
    beyond: usize,
    /// Why the bytes ended before the file did.
    failure: Option<io::Error>,
}

impl Skimmed {
    const PIECE: usize = 64 << 10;

    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let beyond = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut skimmed = Self { file, piece: Vec::new(), at: 0, beyond, failure: None };
        skimmed.next_piece(0);
        Ok(skimmed)
    }

    fn next_piece(&mut self, skipped: usize) {
        let length = Self::PIECE.min(self.beyond - skipped);
        self.piece.resize(length, 0);
        self.at = 0;
        let read = i64::try_from(skipped)
            .map_err(io::Error::other)
            .and_then(|skipped| self.file.seek(SeekFrom::Current(skipped)))
            .and_then(|_| self.file.read_exact(&mut self.piece));
        match read {
            Ok(()) => self.beyond -= skipped + length,
            Err(error) => {
                self.failure = Some(error);
                self.piece.clear();
                self.beyond = 0;
            }
        }
    }
}

impl Buf for Skimmed {
    fn remaining(&self) -> usize {
        self.chunk().len() + self.beyond
    }

    fn chunk(&self) -> &[u8] {
        &self.piece[self.at..]
    }

    fn advance(&mut self, count: usize) {
        let here = self.chunk().len();
        if count < here {
            self.at += count;
        } else {
            self.next_piece(count - here);
        }
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
        let file = OnnxFile::parse(model(graph).as_slice()).unwrap();
        assert_eq!(file.opsets[""], 20);
        assert_eq!(Vec::from_iter(file.locations()), ["a", "b", "c"]);
        let a = file.external.first().unwrap();
        assert_eq!((a.offset, a.length), (8, Some(16)));
    }

    #[test]
    fn garbage_and_an_empty_file_are_not_models() {
        assert!(OnnxFile::parse(b"".as_slice()).unwrap_err().contains("no graph"));
        assert!(OnnxFile::parse(b"\xff\xff\xff not a model".as_slice()).is_err());
        let graph = GraphProto { initializer: vec![external("a", &[("offset", "-1")])], ..GraphProto::default() };
        assert!(OnnxFile::parse(model(graph).as_slice()).unwrap_err().contains("offset"));
    }

    #[test]
    fn a_file_that_is_skimmed_says_what_its_bytes_say() {
        // structure across the borders of pieces, and weights (here a field that nobody knows) of many pieces
        let tensor = |at: usize| external(&format!("weights-{at}"), &[]);
        let part = |range: std::ops::Range<usize>| {
            model(GraphProto { initializer: range.map(tensor).collect(), ..GraphProto::default() })
        };
        let mut bytes = part(0..5000);
        for weights in [3 * Skimmed::PIECE + 17, 0, 1, Skimmed::PIECE] {
            bytes.extend([0xa2, 0x06]);
            prost::encoding::encode_varint(weights as u64, &mut bytes);
            bytes.resize(bytes.len() + weights, 0xff);
        }
        bytes.extend(part(5000..9000));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, &bytes).unwrap();
        let read = OnnxFile::read(&path).unwrap();
        assert_eq!(read, OnnxFile::parse(bytes.as_slice()).unwrap());
        assert_eq!(read.locations().len(), 9000);
        // cut inside the weights, and inside the structure
        for length in [bytes.len() / 2, bytes.len() - 10] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(OnnxFile::read(&path).is_err(), "{length} bytes");
        }
        assert!(OnnxFile::read(&folder.path().join("none")).unwrap_err().starts_with("it cannot be read"));
    }
}
