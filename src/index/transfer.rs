//! A collection as a stream of lines, to move it between engines and machines.
//!
//! The format, version 1: UTF-8, one JSON object a line.
//!
//! 1. The head: `{"format":"latentd-collection","version":1,"collection":{…}}` with the collection's settings: `name`,
//!    `model`, `space_key` (each may be null), `dimension`, `metric`, `store`.
//! 2. A line for each item, in the order of insertion: `{"id":"…","vector":"…","metadata":{…},"image":{…}}`. The
//!    vector is base64 (with padding) of little-endian f32, as stored: cosine collections hold normalised vectors. The
//!    image, where one is stored, is `{"media_type":"…","bytes":"…"}`, its bytes in base64.
//! 3. The end: `{"items":n,"blake3":"…"}`, the hash in hex of every byte before that line.
//!
//! A stream without its end, or whose end does not agree, was cut off or altered and is refused.

use std::io::{BufRead, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::CollectionSpec;
use crate::{
    domain::{Embedding, ItemId, Metadata},
    error::{Error, Result},
};

const FORMAT: &str = "latentd-collection";
const VERSION: u32 = 1;
/// The longest line that is read: an image of 256 MiB in base64, and what else an item has.
const MAX_LINE_BYTES: u64 = 400 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    collection: CollectionSpec,
}

/// An item as a line holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct TransferItem {
    pub id: ItemId,
    pub vector: Embedding,
    pub metadata: Metadata,
    pub image: Option<TransferImage>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TransferImage {
    pub media_type: String,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemLine {
    id: ItemId,
    vector: String,
    metadata: Metadata,
    /// Exports of earlier builds of 0.1 call it `picture`.
    #[serde(default, alias = "picture", skip_serializing_if = "Option::is_none")]
    image: Option<ImageLine>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageLine {
    media_type: String,
    bytes: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    items: u64,
    blake3: String,
}

/// Writes a collection.
pub struct TransferWriter<W> {
    out: W,
    hasher: blake3::Hasher,
    items: u64,
}

impl<W: Write> TransferWriter<W> {
    /// Writes the head.
    pub fn new(out: W, spec: &CollectionSpec) -> Result<Self> {
        let mut writer = Self { out, hasher: blake3::Hasher::new(), items: 0 };
        writer.line(&Head { format: FORMAT.to_owned(), version: VERSION, collection: spec.clone() })?;
        Ok(writer)
    }

    pub fn item(&mut self, item: &TransferItem) -> Result<()> {
        let vector: Vec<u8> = item.vector.as_slice().iter().flat_map(|number| number.to_le_bytes()).collect();
        let image = item
            .image
            .as_ref()
            .map(|image| ImageLine { media_type: image.media_type.clone(), bytes: STANDARD.encode(&image.bytes) });
        let line =
            ItemLine { id: item.id.clone(), vector: STANDARD.encode(vector), metadata: item.metadata.clone(), image };
        self.items += 1;
        self.line(&line)
    }

    /// Writes the end; returns how many items there are.
    pub fn finish(mut self) -> Result<u64> {
        let blake3 = self.hasher.finalize().to_hex().to_string();
        self.line(&End { items: self.items, blake3 })?;
        self.out.flush().map_err(cannot_write)?;
        Ok(self.items)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let mut bytes =
            serde_json::to_vec(line).map_err(|error| Error::internal("a line as json").with_source(error))?;
        bytes.push(b'\n');
        self.hasher.update(&bytes);
        self.out.write_all(&bytes).map_err(cannot_write)
    }
}

fn cannot_write(error: std::io::Error) -> Error {
    Error::unavailable(format!("the export cannot be written: {error}"))
}

/// Reads a collection; what is wrong with it is `invalid_request` and names the line.
pub struct TransferReader<R> {
    input: R,
    spec: CollectionSpec,
    hasher: blake3::Hasher,
    line: u64,
    items: u64,
    ended: bool,
}

impl<R: BufRead> TransferReader<R> {
    /// Reads the head.
    pub fn new(mut input: R) -> Result<Self> {
        let bytes = read_line(&mut input, 1)?;
        let wrong = || Error::invalid_request("line 1: not the head of a collection that `latentd index export` wrote");
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| wrong().with_source(error))?;
        if value["format"] != FORMAT {
            return Err(wrong());
        }
        if value["version"] != VERSION {
            let version = &value["version"];
            return Err(Error::invalid_request(format!(
                "line 1: version {version} is not {VERSION}, which this build reads"
            )));
        }
        let head: Head =
            serde_json::from_value(value).map_err(|error| Error::invalid_request(format!("line 1: {error}")))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes);
        Ok(Self { input, spec: head.collection, hasher, line: 1, items: 0, ended: false })
    }

    pub fn spec(&self) -> &CollectionSpec {
        &self.spec
    }

    /// The next item; none once the end has come and agrees.
    pub fn next_item(&mut self) -> Result<Option<TransferItem>> {
        if self.ended {
            return Ok(None);
        }
        self.line += 1;
        let number = self.line;
        let at_line = |what: String| Error::invalid_request(format!("line {number}: {what}"));
        let bytes = read_line(&mut self.input, number)?;
        if bytes.is_empty() {
            return Err(at_line("the end is missing: the export was cut off".to_owned()));
        }
        if let Ok(end) = serde_json::from_slice::<End>(&bytes) {
            return self.end(&end).map(|()| None).map_err(at_line);
        }
        self.hasher.update(&bytes);
        let line: ItemLine = serde_json::from_slice(&bytes).map_err(|error| at_line(error.to_string()))?;
        let item = item_of(line, self.spec.dimension).map_err(at_line)?;
        self.items += 1;
        Ok(Some(item))
    }

    fn end(&mut self, end: &End) -> Result<(), String> {
        if end.items != self.items {
            return Err(format!("the end counts {} items, but there are {}", end.items, self.items));
        }
        if self.hasher.finalize().to_hex().as_str() != end.blake3 {
            return Err("the hash does not agree: the export was altered".to_owned());
        }
        let mut more = [0];
        if self.input.read(&mut more).map_err(|error| error.to_string())? > 0 {
            return Err("something follows the end".to_owned());
        }
        self.ended = true;
        Ok(())
    }
}

fn read_line(input: &mut impl BufRead, number: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::Read::take(&mut *input, MAX_LINE_BYTES)
        .read_until(b'\n', &mut bytes)
        .map_err(|error| Error::unavailable(format!("line {number} cannot be read: {error}")))?;
    if bytes.len() as u64 == MAX_LINE_BYTES {
        return Err(Error::invalid_request(format!("line {number}: longer than {MAX_LINE_BYTES} bytes")));
    }
    Ok(bytes)
}

fn item_of(line: ItemLine, dimension: usize) -> Result<TransferItem, String> {
    let bytes = STANDARD.decode(&line.vector).map_err(|error| format!("the vector is no base64: {error}"))?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(format!("the vector has {} bytes, not a multiple of 4", bytes.len()));
    }
    let numbers = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
    let vector = Embedding::of_dimension(numbers, dimension).map_err(|error| error.message().to_owned())?;
    let image = line.image.map(|image| {
        let bytes = STANDARD.decode(&image.bytes).map_err(|error| format!("the image is no base64: {error}"))?;
        Ok::<_, String>(TransferImage { media_type: image.media_type, bytes })
    });
    Ok(TransferItem { id: line.id, vector, metadata: line.metadata, image: image.transpose()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{domain::Metric, index::StoreMode};

    fn spec() -> CollectionSpec {
        CollectionSpec {
            name: "shop".parse().unwrap(),
            model: Some("m".to_owned()),
            space_key: Some("m@0123456789ab".parse().unwrap()),
            dimension: 2,
            metric: Metric::Euclid,
            store: StoreMode::Original,
        }
    }

    fn item(id: &str, vector: [f32; 2], image: Option<&[u8]>) -> TransferItem {
        TransferItem {
            id: id.parse().unwrap(),
            vector: Embedding::new(vector.to_vec()).unwrap(),
            metadata: json!({"z": 1, "a": {"b": [true, null, "ü\n"]}}).as_object().cloned().unwrap(),
            image: image.map(|bytes| TransferImage { media_type: "image/png".to_owned(), bytes: bytes.to_vec() }),
        }
    }

    fn written(items: &[TransferItem]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = TransferWriter::new(&mut out, &spec()).unwrap();
        items.iter().for_each(|item| writer.item(item).unwrap());
        assert_eq!(writer.finish().unwrap(), items.len() as u64);
        out
    }

    fn read(bytes: &[u8]) -> Result<Vec<TransferItem>> {
        let mut reader = TransferReader::new(bytes)?;
        let mut items = Vec::new();
        while let Some(item) = reader.next_item()? {
            items.push(item);
        }
        assert_eq!(reader.next_item()?, None);
        Ok(items)
    }

    fn refusal(bytes: &[u8]) -> String {
        read(bytes).unwrap_err().message().to_owned()
    }

    #[test]
    fn the_format_is_as_documented() {
        let text = String::from_utf8(written(&[item("a", [1.0, -2.5], Some(b"png"))])).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            r#"{"format":"latentd-collection","version":1,"collection":{"name":"shop","model":"m","space_key":"m@0123456789ab","dimension":2,"metric":"euclid","store":"original"}}"#
        );
        assert_eq!(
            lines[1],
            r#"{"id":"a","vector":"AACAPwAAIMA=","metadata":{"z":1,"a":{"b":[true,null,"ü\n"]}},"image":{"media_type":"image/png","bytes":"cG5n"}}"#
        );
        assert!(lines[2].starts_with(r#"{"items":1,"blake3":""#) && lines.len() == 3, "{text}");
    }

    #[test]
    fn what_was_written_is_read_back() {
        let items = [
            item("a", [1.0, f32::MAX], None),
            item("../b", [-0.0, 1e-45], Some(&[0, 255])),
            item("c", [0.0; 2], Some(&[])),
        ];
        let bytes = written(&items);
        assert_eq!(TransferReader::new(bytes.as_slice()).unwrap().spec(), &spec());
        assert_eq!(read(&bytes).unwrap(), items);
        assert!(read(&written(&[])).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let good = String::from_utf8(written(&[item("a", [1.0, 2.0], None), item("b", [3.0, 4.0], None)])).unwrap();
        for (from, to, expected) in [
            ("latentd-collection", "something else", "line 1: not the head"),
            ("\"version\":1", "\"version\":2", "line 1: version 2 is not 1"),
            ("\"dimension\":2", "\"dimension\":3", "line 2: the vector has 2 numbers"),
            ("AACAPwAAAEA=", "AACAPwAAAE!=", "line 2: the vector is no base64"),
            ("AACAPwAAAEA=", "AACAPwA=", "line 2: the vector has 5 bytes"),
            ("AACAPwAAAEA=", "AADAfwAAAEA=", "line 2: number 0 of the vector is not finite"),
            ("\"id\":\"b\"", "\"id\":\"\"", "line 3: "),
            ("\"id\":\"b\"", "\"idea\":\"b\"", "line 3: unknown field"),
            ("\"id\":\"b\"", "\"id\":\"c\"", "line 4: the hash does not agree"),
            ("\"items\":2", "\"items\":3", "line 4: the end counts 3 items, but there are 2"),
        ] {
            assert!(good.contains(from), "{from} is not in {good}");
            let text = refusal(good.replacen(from, to, 1).as_bytes());
            assert!(text.starts_with(expected), "{text}");
        }
        assert!(refusal(format!("{good}\n").as_bytes()).contains("something follows"));
        assert!(refusal(b"").starts_with("line 1: not the head"));
    }

    proptest! {
        #[test]
        fn a_stream_cut_off_anywhere_is_refused(share in 0.0_f64..1.0) {
            let bytes = written(&[item("a", [1.0, 2.0], Some(b"p")), item("b", [3.0, 4.0], None)]);
            let cut = (bytes.len() as f64 * share) as usize;
            // the last line is whole without its end of line
            prop_assume!(cut + 1 < bytes.len());
            prop_assert!(read(&bytes[..cut]).is_err());
        }
    }
}
