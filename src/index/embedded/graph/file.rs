//! The file of a graph: what its nodes are and how they are linked. Little-endian throughout.
//!
//! | part | bytes |
//! | --- | --- |
//! | [`MAGIC`], with the version of the format | 16 |
//! | dimension, connectivity, number of nodes: u32 each | 12 |
//! | each node: scale as f32, codes as i8, and for each layer that it is in, from the lowest, the number of its links and the links, as u32 | |
//!
//! A node's level follows from its number. That the bytes are those that were saved is for the pointer to tell
//! ([`snapshot`](super::snapshot)); here each number is checked to mean something all the same, since a walk takes a
//! link for a node.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write as _},
    path::Path,
    sync::atomic::Ordering,
};

use super::{
    hnsw::{Hnsw, Shape},
    layout::{NONE, level_of},
    row::NodeRow,
};
use crate::error::{Error, Result};

const MAGIC: [u8; 16] = *b"latentd graph 1\n";
const BUFFER: usize = 1 << 20;

/// Writes a graph, to which nothing is added meanwhile, into a new file; returns how many bytes that has to have.
pub(super) fn write(graph: &Hnsw, path: &Path) -> std::io::Result<u64> {
    let (moment, Shape { dimension, connectivity, .. }) = (graph.layout().moment(), graph.shape());
    let view = moment.view();
    let mut file = BufWriter::with_capacity(BUFFER, File::create_new(path)?);
    let mut written = 0;
    let mut put = |bytes: &[u8]| {
        written += bytes.len() as u64;
        file.write_all(bytes)
    };
    put(&MAGIC)?;
    for number in [dimension as u32, connectivity as u32, view.nodes()] {
        put(&number.to_le_bytes())?;
    }
    let mut record = Vec::new();
    for node in 0..view.nodes() {
        let row = NodeRow::of(view.row(node), view.stats(node), dimension);
        record.clear();
        record.extend(row.scale().to_le_bytes());
        record.extend(row.codes().iter().map(|code| code.cast_unsigned()));
        for layer in 0..=view.level(node) {
            let links: Vec<u32> = view.links(node, layer).collect();
            record.extend((links.len() as u32).to_le_bytes());
            record.extend(links.iter().flat_map(|link| link.to_le_bytes()));
        }
        put(&record)?;
    }
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    Ok(written)
}

/// Reads the graph that [`write()`] wrote, of so many nodes; none of them has a slot yet.
pub(super) fn read(shape: Shape, path: &Path, nodes: usize) -> Result<Hnsw> {
    let file = File::open(path).map_err(cannot_read)?;
    let mut records = Records(BufReader::with_capacity(BUFFER, file));
    let head = (records.bytes::<16>()?, [records.u32()?, records.u32()?, records.u32()?]);
    if head != (MAGIC, [shape.dimension as u32, shape.connectivity as u32, nodes as u32]) {
        return Err(wrong("its head is not that of this collection's graph"));
    }
    let graph = Hnsw::new(shape);
    let mut codes = vec![0; shape.dimension];
    for node in 0..nodes as u32 {
        let scale = f32::from_le_bytes(records.bytes()?);
        if !scale.is_finite() || scale < 0.0 {
            return Err(wrong("a scale is none"));
        }
        records.0.read_exact(&mut codes).map_err(cannot_read)?;
        let signed: Vec<i8> = codes.iter().map(|code| code.cast_signed()).collect();
        graph.layout().append(&NodeRow::new(signed, scale), NONE)?;
        let moment = graph.layout().moment();
        let view = moment.view();
        for layer in 0..=view.level(node) {
            let links = records.links(nodes as u32, view.most_links(layer))?;
            if layer > 0 && links.iter().any(|&link| level_of(link, shape.connectivity) < layer) {
                return Err(wrong("a link leads to a node that its layer does not have"));
            }
            view.places(node, layer).zip(links).for_each(|(place, link)| place.store(link, Ordering::Release));
        }
        if !graph.layout().begin(node) {
            graph.layout().raise(node);
        }
    }
    if records.0.read(&mut [0]).map_err(cannot_read)? > 0 {
        return Err(wrong("it goes on after its end"));
    }
    Ok(graph)
}

/// Reads one thing after another.
struct Records(BufReader<File>);

impl Records {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).map_err(cannot_read)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    /// At most so many links to some of so many nodes.
    fn links(&mut self, nodes: u32, most: usize) -> Result<Vec<u32>> {
        let count = self.u32()?;
        if count as usize > most {
            return Err(wrong("a node has more links than it may"));
        }
        let links: Vec<u32> = (0..count).map(|_| self.u32()).collect::<Result<_>>()?;
        if links.iter().any(|&link| link >= nodes) { Err(wrong("a link leads to no node")) } else { Ok(links) }
    }
}

fn cannot_read(error: std::io::Error) -> Error {
    Error::internal("a saved graph cannot be read").with_source(error)
}

fn wrong(what: &str) -> Error {
    Error::internal(format!("a saved graph is wrong: {what}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::domain::Metric;

    const SHAPE: Shape =
        Shape { metric: Metric::Euclid, dimension: 5, connectivity: 4, expansion_add: 20, expansion_search: 20 };
    const NODES: u32 = 300;

    fn row(node: u32) -> NodeRow {
        NodeRow::new(vec![node as i8 % 50, (node / 7) as i8, 3, (node % 11) as i8, -1], 0.5 + node as f32)
    }

    /// A graph, and the bytes of its file.
    fn saved(folder: &Path) -> (Hnsw, Vec<u8>) {
        let graph = Hnsw::new(SHAPE);
        (0..NODES).for_each(|node| assert_eq!(graph.add(&row(node), node).unwrap(), node));
        let path = folder.join("saved");
        let written = write(&graph, &path).unwrap();
        let bytes = fs::read(path).unwrap();
        assert_eq!(written, bytes.len() as u64);
        (graph, bytes)
    }

    fn read_bytes(folder: &Path, bytes: &[u8], nodes: u32) -> Result<Hnsw> {
        let path = folder.join("read");
        fs::write(&path, bytes).unwrap();
        read(SHAPE, &path, nodes as usize)
    }

    #[test]
    fn a_graph_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (graph, bytes) = saved(folder.path());
        let again = read_bytes(folder.path(), &bytes, NODES).unwrap();
        let (before, after) = (graph.layout().moment(), again.layout().moment());
        let (before, after) = (before.view(), after.view());
        assert_eq!(before.entry(), after.entry());
        for node in 0..NODES {
            assert!(again.holds(node, &row(node)));
            assert_eq!((after.slot(node), after.level(node)), (NONE, before.level(node)));
            for layer in 0..=before.level(node) {
                assert!(before.links(node, layer).eq(after.links(node, layer)));
            }
        }
    }

    #[test]
    fn a_file_that_is_torn_or_means_nothing_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (_, bytes) = saved(folder.path());
        let refused = |bytes: &[u8], nodes| read_bytes(folder.path(), bytes, nodes).err().map(|error| error.chain());
        assert_eq!(refused(&bytes, NODES), None);
        for end in [0, 10, 27, 28, bytes.len() / 2, bytes.len() - 1] {
            assert!(refused(&bytes[..end], NODES).is_some(), "{end}");
        }
        assert!(refused(&[&bytes[..], &[0]].concat(), NODES).unwrap().contains("after its end"));
        assert!(refused(&bytes, NODES + 1).unwrap().contains("head"));
        let with = |at: usize, new: &[u8]| {
            let mut changed = bytes.clone();
            changed[at..at + new.len()].copy_from_slice(new);
            refused(&changed, NODES).unwrap()
        };
        assert!(with(14, b"2").contains("head"));
        assert!(with(28, &f32::NAN.to_le_bytes()).contains("scale"));
        // of the first node: its scale and codes, the number of its links, the first link
        assert!(with(28 + 9 + 4, &NODES.to_le_bytes()).contains("no node"));
        assert!(with(28 + 9, &9_u32.to_le_bytes()).contains("more links"));
    }
}
