//! What an ONNX file says without being run: its operator sets, the files that its weights lie in, and the operators in
//! it that are random.
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
    #[prost(string, tag = "4")]
    op_type: String,
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

/// Operators whose output is drawn by chance.
const RANDOM_OPERATORS: [&str; 6] =
    ["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"];

/// A stretch of another file that holds weights.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ExternalData {
    /// Relative to the ONNX file's folder.
    pub(super) location: String,
    pub(super) offset: u64,
    /// None where the stretch goes to the end of the file.
    pub(super) length: Option<u64>,
}

/// What is read from the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OnnxFile {
    /// Operator sets by domain; the default one is `""`.
    pub(super) opsets: BTreeMap<String, i64>,
    pub(super) external: BTreeSet<ExternalData>,
    /// The operators in it whose output is drawn by chance.
    pub(super) random: BTreeSet<String>,
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
        let mut file = Self::default();
        file.collect_graph(graph)?;
        for function in &model.functions {
            file.collect_nodes(&function.node)?;
        }
        file.opsets = model.opset_import.into_iter().map(|set| (set.domain, set.version)).collect();
        Ok(file)
    }

    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let unread = |error: io::Error| format!("it cannot be read: {error}");
        let mut bytes = Skimmed::open(path).map_err(unread)?;
        if let Some(kind) = impostor(bytes.chunk()) {
            return Err(kind.to_owned());
        }
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

/// What a file is that stands in an ONNX file's place, by its first bytes, as an error says it.
pub(super) fn impostor(start: &[u8]) -> Option<&'static str> {
    if start.starts_with(b"version https://git-lfs.github.com/spec/") {
        Some("it is a git-lfs pointer, not the file: `git lfs pull`")
    } else if start.starts_with(b"PK\x03\x04") {
        Some(
            "it is a PyTorch checkpoint or another zip archive, not an ONNX graph: export the model with torch.onnx.export",
        )
    } else if start.starts_with(b"\x80\x02") || start.starts_with(b"\x80\x04") {
        Some("it is a pickled PyTorch checkpoint, not an ONNX graph: export the model with torch.onnx.export")
    } else if start.get(8..10) == Some(b"{\"") {
        Some("it is a safetensors file, weights without a graph: export the model with torch.onnx.export")
    } else {
        None
    }
}

impl OnnxFile {
    fn collect_graph(&mut self, graph: &GraphProto) -> Result<(), String> {
        for tensor in &graph.initializer {
            self.collect_tensor(tensor)?;
        }
        for tensor in &graph.sparse_initializer {
            self.collect_sparse(tensor)?;
        }
        self.collect_nodes(&graph.node)
    }

    fn collect_nodes(&mut self, nodes: &[NodeProto]) -> Result<(), String> {
        let random = nodes.iter().map(|node| &node.op_type).filter(|name| RANDOM_OPERATORS.contains(&name.as_str()));
        self.random.extend(random.cloned());
        for attribute in nodes.iter().flat_map(|node| &node.attribute) {
            for tensor in attribute.t.iter().chain(&attribute.tensors) {
                self.collect_tensor(tensor)?;
            }
            for tensor in attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors) {
                self.collect_sparse(tensor)?;
            }
            for graph in attribute.g.iter().chain(&attribute.graphs) {
                self.collect_graph(graph)?;
            }
        }
        Ok(())
    }

    fn collect_sparse(&mut self, tensor: &SparseTensorProto) -> Result<(), String> {
        for part in tensor.values.iter().chain(&tensor.indices) {
            self.collect_tensor(part)?;
        }
        Ok(())
    }

    fn collect_tensor(&mut self, tensor: &TensorProto) -> Result<(), String> {
        if tensor.data_location != EXTERNAL {
            return Ok(());
        }
        let entries = &tensor.external_data;
        let text = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
        let number = |key: &str| {
            let parse = |text: &str| text.parse::<u64>().map_err(|_| format!("external data has {key} = {text:?}"));
            text(key).map(parse).transpose()
        };
        let location = text("location").ok_or("external data has no location")?.to_owned();
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        self.external.insert(ExternalData { location, offset, length });
        Ok(())
    }
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
            node: vec![NodeProto { attribute: vec![attribute], ..NodeProto::default() }],
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
    fn random_operators_are_found_in_nested_graphs_too() {
        let node = |name: &str| NodeProto { op_type: name.to_owned(), ..NodeProto::default() };
        let inner = GraphProto { node: vec![node("RandomUniformLike"), node("Relu")], ..GraphProto::default() };
        let attribute = AttributeProto { g: Some(inner), ..AttributeProto::default() };
        let branch = NodeProto { op_type: "If".to_owned(), attribute: vec![attribute] };
        let graph = GraphProto { node: vec![node("Bernoulli"), branch], ..GraphProto::default() };
        let file = OnnxFile::parse(model(graph).as_slice()).unwrap();
        assert_eq!(Vec::from_iter(file.random), ["Bernoulli", "RandomUniformLike"]);
    }

    #[test]
    fn a_file_of_another_kind_in_the_place_of_a_graph_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        for (start, expected) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"[..], "git lfs pull"),
            (b"PK\x03\x04 archive/data.pkl", "PyTorch checkpoint"),
            (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "pickled PyTorch checkpoint"),
            (b"\x40\0\0\0\0\0\0\0{\"weight\":{}}", "safetensors"),
        ] {
            std::fs::write(&path, start).unwrap();
            let error = OnnxFile::read(&path).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
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
