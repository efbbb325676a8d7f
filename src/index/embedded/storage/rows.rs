//! Tables and rows. Each collection has its tables under its number, which is never used twice: `vectors` and `items`
//! by key, `ids` from id to key, and the [`log`]. Keys count up from 1, so their order is that of insertion.

use std::collections::BTreeMap;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{
    database::{corrupt, failure},
    deletions, log,
    snapshot::Snapshot,
};
use crate::{
    domain::{ItemId, Metadata},
    error::{Error, Result},
    index::{CollectionSpec, ImageRef},
};

/// Name of a collection → [`Entry`] as JSON.
const COLLECTIONS: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("collections");
/// Number of a collection → the next key there. Number 0 is the catalogue: the next number of a collection.
const NEXT: TableDefinition<'static, u32, u64> = TableDefinition::new("next");

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) number: u32,
    pub(crate) spec: CollectionSpec,
    /// Whether the collection is being imported, or was when the import was interrupted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unfinished: bool,
}

impl Entry {
    fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::internal("settings as json").with_source(error))
    }
}

/// An item without its vector.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: ItemId,
    pub(crate) metadata: Metadata,
    /// Rows of earlier builds of 0.1 call the stored image `picture`.
    #[serde(default, alias = "picture", skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<ImageRef>,
}

impl Record {
    fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::internal("an item cannot be written as json").with_source(error))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| corrupt("an item is no json").with_source(error))
    }
}

/// An item with the bytes of its rows, which are made before the transaction that writes them.
pub(crate) struct EncodedRow {
    pub(crate) record: Record,
    record_bytes: Vec<u8>,
    /// None: the vector of the key stays what it is.
    vector_bytes: Option<Vec<u8>>,
}

impl EncodedRow {
    pub(crate) fn new(record: Record, vector: Option<&[f32]>) -> Result<Self> {
        Ok(Self { record_bytes: record.to_bytes()?, vector_bytes: vector.map(vector_bytes), record })
    }
}

/// Reads only the id of a record.
#[derive(Deserialize)]
struct RecordId {
    id: ItemId,
}

/// Reads only the image of a record.
#[derive(Deserialize)]
struct RecordImage {
    #[serde(default, alias = "picture")]
    image: Option<ImageRef>,
}

/// The image that the bytes of a record name.
pub(crate) fn image_of(record: &[u8]) -> Result<Option<ImageRef>> {
    serde_json::from_slice::<RecordImage>(record)
        .map(|record| record.image)
        .map_err(|error| corrupt("an item is no json").with_source(error))
}

/// A vector as it is stored: little-endian f32.
fn vector_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(crate) fn vector_from_bytes(bytes: &[u8], dimension: usize) -> Result<Vec<f32>> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    if numbers.len() != dimension || !rest.is_empty() {
        return Err(corrupt(format!("a vector has {} bytes, not {dimension} numbers", bytes.len())));
    }
    Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
}

/// The names of a collection's tables.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    number: u32,
    vectors: String,
    items: String,
    ids: String,
    log: String,
}

impl Tables {
    pub(crate) fn new(number: u32) -> Self {
        let name = |table| format!("collection/{number}/{table}");
        Self { number, vectors: name("vectors"), items: name("items"), ids: name("ids"), log: name("log") }
    }

    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    fn vectors(&self) -> TableDefinition<'_, u64, &'static [u8]> {
        TableDefinition::new(&self.vectors)
    }

    pub(crate) fn items(&self) -> TableDefinition<'_, u64, &'static [u8]> {
        TableDefinition::new(&self.items)
    }

    fn ids(&self) -> TableDefinition<'_, &'static str, u64> {
        TableDefinition::new(&self.ids)
    }

    /// Number of an operation → its key and whether its vector was written.
    pub(crate) fn log(&self) -> TableDefinition<'_, u64, (u64, bool)> {
        TableDefinition::new(&self.log)
    }
}

/// Makes the tables of a new database.
pub(crate) fn create_catalogue(transaction: &WriteTransaction) -> Result<()> {
    transaction.open_table(COLLECTIONS).map_err(failure)?;
    transaction.open_table(NEXT).map_err(failure)?;
    Ok(())
}

/// Every collection by name.
pub(crate) fn catalogue(snapshot: &Snapshot) -> Result<BTreeMap<String, Entry>> {
    let table = snapshot.open_table(COLLECTIONS).map_err(failure)?;
    let mut entries = BTreeMap::new();
    for row in table.iter().map_err(failure)? {
        let (name, entry) = row.map_err(failure)?;
        let entry = serde_json::from_slice(entry.value())
            .map_err(|error| corrupt(format!("collection {:?} has no settings", name.value())).with_source(error))?;
        entries.insert(name.value().to_owned(), entry);
    }
    Ok(entries)
}

/// Writes a new collection into the catalogue and makes its tables.
pub(crate) fn create_collection(transaction: &WriteTransaction, spec: &CollectionSpec) -> Result<Entry> {
    create(transaction, spec, false)
}

/// Does as [`create_collection`] does, for an import, which ends with [`finish`].
pub(crate) fn create_unfinished(transaction: &WriteTransaction, spec: &CollectionSpec) -> Result<Entry> {
    create(transaction, spec, true)
}

/// Notes that an import is complete.
pub(crate) fn finish(transaction: &WriteTransaction, spec: &CollectionSpec) -> Result<()> {
    let mut collections = transaction.open_table(COLLECTIONS).map_err(failure)?;
    let name = spec.name.as_str();
    let read = |bytes: &[u8]| serde_json::from_slice::<Entry>(bytes);
    let entry = collections.get(name).map_err(failure)?.map(|entry| read(entry.value()));
    let entry = entry.ok_or_else(|| corrupt(format!("the collection {name:?} is not in the catalogue")))?;
    let entry = entry
        .map(|entry| Entry { unfinished: false, ..entry })
        .map_err(|error| corrupt(format!("collection {name:?} has no settings")).with_source(error))?;
    collections.insert(name, entry.to_bytes()?.as_slice()).map_err(failure)?;
    Ok(())
}

fn create(transaction: &WriteTransaction, spec: &CollectionSpec, unfinished: bool) -> Result<Entry> {
    let mut collections = transaction.open_table(COLLECTIONS).map_err(failure)?;
    if collections.get(spec.name.as_str()).map_err(failure)?.is_some() {
        // Writing over its entry would leave its tables behind for good.
        let name = spec.name.as_str();
        return Err(corrupt(format!("the collection {name:?} is in the catalogue but not in memory")));
    }
    let mut next = transaction.open_table(NEXT).map_err(failure)?;
    let number = next.get(0).map_err(failure)?.map_or(1, |number| number.value());
    next.insert(0, number + 1).map_err(failure)?;
    let number = u32::try_from(number).map_err(|_| Error::internal("no number is left for a collection"))?;
    next.insert(number, 1).map_err(failure)?;
    let entry = Entry { number, spec: spec.clone(), unfinished };
    collections.insert(spec.name.as_str(), entry.to_bytes()?.as_slice()).map_err(failure)?;
    let tables = Tables::new(number);
    transaction.open_table(tables.vectors()).map_err(failure)?;
    transaction.open_table(tables.items()).map_err(failure)?;
    transaction.open_table(tables.ids()).map_err(failure)?;
    Ok(entry)
}

/// Removes a collection with all its rows; the images that its items name are in the deletion queue then.
pub(crate) fn drop_collection(transaction: &WriteTransaction, spec: &CollectionSpec, tables: &Tables) -> Result<()> {
    transaction.delete_table(tables.vectors()).map_err(failure)?;
    deletions::drop_items(transaction, tables)?;
    transaction.delete_table(tables.ids()).map_err(failure)?;
    log::drop_log(transaction, tables)?;
    transaction.open_table(NEXT).map_err(failure)?.remove(tables.number).map_err(failure)?;
    transaction.open_table(COLLECTIONS).map_err(failure)?.remove(spec.name.as_str()).map_err(failure)?;
    Ok(())
}

/// Reads a collection as of one snapshot.
pub(crate) struct Reader {
    vectors: ReadOnlyTable<u64, &'static [u8]>,
    items: ReadOnlyTable<u64, &'static [u8]>,
    ids: ReadOnlyTable<&'static str, u64>,
}

impl Reader {
    pub(crate) fn open(snapshot: &ReadTransaction, tables: &Tables) -> Result<Self> {
        Ok(Self {
            vectors: snapshot.open_table(tables.vectors()).map_err(failure)?,
            items: snapshot.open_table(tables.items()).map_err(failure)?,
            ids: snapshot.open_table(tables.ids()).map_err(failure)?,
        })
    }

    pub(crate) fn key(&self, id: &ItemId) -> Result<Option<u64>> {
        Ok(self.ids.get(id.as_str()).map_err(failure)?.map(|key| key.value()))
    }

    /// Hands the bytes of a vector to `read`; none if there is no such key.
    pub(crate) fn vector<T>(&self, key: u64, read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(self.vectors.get(key).map_err(failure)?.map(|bytes| read(bytes.value())))
    }

    pub(crate) fn record(&self, key: u64) -> Result<Option<Record>> {
        self.items.get(key).map_err(failure)?.map(|bytes| Record::from_bytes(bytes.value())).transpose()
    }

    pub(crate) fn id(&self, key: u64) -> Result<Option<ItemId>> {
        let read = |bytes: &[u8]| {
            serde_json::from_slice::<RecordId>(bytes)
                .map(|record| record.id)
                .map_err(|error| corrupt("an item is no json").with_source(error))
        };
        self.items.get(key).map_err(failure)?.map(|bytes| read(bytes.value())).transpose()
    }

    /// Calls back with every key and the bytes of its vector, in the order of the keys.
    pub(crate) fn for_each_vector(&self, mut each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        for row in self.vectors.iter().map_err(failure)? {
            let (key, bytes) = row.map_err(failure)?;
            each(key.value(), bytes.value())?;
        }
        Ok(())
    }

    /// The keys and raw records after a key, in the order of the keys.
    pub(crate) fn records_after(&self, key: u64) -> Result<impl Iterator<Item = Result<(u64, Record, usize)>>> {
        let rows = self.items.range(key.saturating_add(1)..).map_err(failure)?;
        Ok(rows.map(|row| {
            let (key, bytes) = row.map_err(failure)?;
            Ok((key.value(), Record::from_bytes(bytes.value())?, bytes.value().len()))
        }))
    }
}

/// Bytes that an item takes in the database, about: its rows and its id.
pub(crate) fn item_bytes(dimension: usize, id: &ItemId, record_bytes: usize) -> u64 {
    (dimension * 4 + record_bytes + id.as_str().len() + 24) as u64
}

/// Writes a collection within one transaction.
pub(crate) struct Writer<'txn> {
    vectors: Table<'txn, u64, &'static [u8]>,
    items: Table<'txn, u64, &'static [u8]>,
    ids: Table<'txn, &'static str, u64>,
    next: Table<'txn, u32, u64>,
    number: u32,
    dimension: usize,
    /// The bytes by which the rows have grown.
    pub(crate) grown_bytes: i64,
}

impl<'txn> Writer<'txn> {
    pub(crate) fn open(transaction: &'txn WriteTransaction, tables: &Tables, dimension: usize) -> Result<Self> {
        Ok(Self {
            vectors: transaction.open_table(tables.vectors()).map_err(failure)?,
            items: transaction.open_table(tables.items()).map_err(failure)?,
            ids: transaction.open_table(tables.ids()).map_err(failure)?,
            next: transaction.open_table(NEXT).map_err(failure)?,
            number: tables.number,
            dimension,
            grown_bytes: 0,
        })
    }

    /// The key and the record of an id.
    pub(crate) fn find(&self, id: &ItemId) -> Result<Option<(u64, Record)>> {
        let Some(key) = self.ids.get(id.as_str()).map_err(failure)?.map(|key| key.value()) else { return Ok(None) };
        Ok(self.record(key)?.map(|record| (key, record)))
    }

    pub(crate) fn record(&self, key: u64) -> Result<Option<Record>> {
        self.items.get(key).map_err(failure)?.map(|bytes| Record::from_bytes(bytes.value())).transpose()
    }

    /// A key that no item ever had.
    pub(crate) fn new_key(&mut self) -> Result<u64> {
        let key = self.next.get(self.number).map_err(failure)?.map_or(1, |key| key.value());
        self.next.insert(self.number, key + 1).map_err(failure)?;
        Ok(key)
    }

    /// Writes a record, and a vector if there is a new one; the id of a key never changes.
    pub(crate) fn put(&mut self, key: u64, row: &EncodedRow) -> Result<()> {
        let EncodedRow { record: Record { id, .. }, record_bytes, vector_bytes } = row;
        let size = |record_bytes| item_bytes(self.dimension, id, record_bytes) as i64;
        let before = self.items.insert(key, record_bytes.as_slice()).map_err(failure)?.map(|old| old.value().len());
        self.grown_bytes += size(record_bytes.len()) - before.map_or(0, size);
        if before.is_none() {
            self.ids.insert(id.as_str(), key).map_err(failure)?;
        }
        if let Some(vector) = vector_bytes {
            self.vectors.insert(key, vector.as_slice()).map_err(failure)?;
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, key: u64, id: &ItemId) -> Result<()> {
        let removed = self.items.remove(key).map_err(failure)?.map(|old| old.value().len());
        if let Some(removed) = removed {
            self.grown_bytes -= item_bytes(self.dimension, id, removed) as i64;
        }
        self.vectors.remove(key).map_err(failure)?;
        self.ids.remove(id.as_str()).map_err(failure)?;
        Ok(())
    }
}
