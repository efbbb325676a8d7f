//! How a collection is written: one transaction, then memory follows.

use std::{collections::HashMap, sync::Arc};

use super::{
    core::Core,
    memory::{Change, Fork},
    quantized::codes::Encoded,
    storage::{
        database::{Outcome, Purpose},
        deletions,
        log::{self, Operation},
        rows::{EncodedRow, Record, Writer},
    },
};
use crate::{
    domain::{Filter, ItemId, Metadata},
    error::{ErrorKind, Result},
    index::{
        Deleted, ImageRef, NewItem, Written,
        rules::{admit_item, item_not_found, patched},
        terms::{Term, terms},
    },
    threads::yield_to_others,
};

/// Items that one transaction takes out where the disk has no space for all.
const REMOVED_AT_LEAST: usize = 8;

impl Core {
    /// Encodes items for [`upsert`](Self::upsert): all of the write that needs no transaction, and so no turn.
    pub(super) fn encode(&self, items: Vec<NewItem>) -> Result<Vec<EncodedItem>> {
        items.into_iter().map(|item| self.encode_item(item)).collect()
    }

    pub(super) fn upsert(&self, items: Vec<EncodedItem>) -> Result<Vec<Written>> {
        self.change(Purpose::Adding, |writer, effects| {
            let mut keys = Vec::with_capacity(items.len());
            let mut answers = Vec::with_capacity(items.len());
            let mut images: HashMap<u64, Option<ImageRef>> = HashMap::new();
            for EncodedItem { row, codes, terms } in items {
                let (key, answer) = put(writer, effects, &row, codes, terms)?;
                images.insert(key, row.record.image);
                keys.push(key);
                answers.push(answer);
            }
            // Of two equal ids, the first may have ousted an image that the last names again.
            for (key, answer) in keys.iter().zip(&mut answers) {
                let kept = images.get(key).and_then(Option::as_ref).map(|image| &image.key);
                answer.orphan.take_if(|orphan| Some(&orphan.key) == kept);
            }
            effects.orphans.extend(answers.iter().filter_map(|answer| Some(answer.orphan.as_ref()?.key.clone())));
            Ok(answers)
        })
    }

    fn encode_item(&self, item: NewItem) -> Result<EncodedItem> {
        let vector = admit_item(&self.spec, &item.id, item.vector, &item.metadata)?;
        let (codes, terms) = (Encoded::new(vector.as_slice()), terms(&item.metadata));
        let record = Record { id: item.id, metadata: item.metadata, image: item.image };
        Ok(EncodedItem { row: EncodedRow::new(record, Some(vector.as_slice()))?, codes, terms })
    }

    pub(super) fn patch(&self, id: &ItemId, patch: Metadata, max_bytes: usize) -> Result<Metadata> {
        self.change(Purpose::Adding, |writer, effects| {
            let Some((key, mut record)) = writer.find(id)? else { return Err(item_not_found(&self.spec.name, id)) };
            let old = terms(&record.metadata);
            record.metadata = patched(record.metadata, patch, max_bytes)?;
            let new = terms(&record.metadata);
            let row = EncodedRow::new(record, None)?;
            writer.put(key, &row)?;
            effects.changes.push(Change::Replace { key, vector: None, old, new });
            Ok(row.record.metadata)
        })
    }

    pub(super) fn delete(&self, ids: &[ItemId]) -> Result<Deleted> {
        self.remove_all(ids, |writer, effects, deleted, id| match writer.find(id)? {
            Some((key, record)) => remove(writer, effects, deleted, key, record),
            None => Ok(()),
        })
    }

    pub(super) fn delete_matching(&self, filter: &Filter) -> Result<Deleted> {
        let keys = self.view(Some(filter))?.keys();
        self.remove_all(&keys, |writer, effects, deleted, key| match writer.record(*key)? {
            Some(record) => remove(writer, effects, deleted, *key, record),
            None => Ok(()),
        })
    }

    /// Takes out what `each` does of these, by one transaction. Where the disk has no space for that, by many: a few items
    /// need less, and what is gone makes room for what follows.
    fn remove_all<K>(
        &self,
        keys: &[K],
        each: impl Fn(&mut Writer<'_>, &mut Effects, &mut Deleted, &K) -> Result<()>,
    ) -> Result<Deleted> {
        let at_once = |keys: &[K]| {
            self.shared.database.with_reserve(|| {
                self.change(Purpose::Removing, |writer, effects| {
                    let mut deleted = Deleted::default();
                    keys.iter().try_for_each(|key| each(writer, effects, &mut deleted, key))?;
                    Ok(deleted)
                })
            })
        };
        match at_once(keys) {
            Err(error) if error.kind() == ErrorKind::StorageFull && keys.len() > REMOVED_AT_LEAST => {
                let mut all = Deleted::default();
                for some in keys.chunks(REMOVED_AT_LEAST) {
                    let deleted = at_once(some)?;
                    all.count += deleted.count;
                    all.orphans.extend(deleted.orphans);
                }
                Ok(all)
            }
            outcome => outcome,
        }
    }

    /// Runs `work` in one transaction; once that is on the disk, memory follows by the changes that it noted, and the
    /// images that it has let go of are in the deletion queue.
    fn change<T>(&self, purpose: Purpose, work: impl FnOnce(&mut Writer<'_>, &mut Effects) -> Result<T>) -> Result<T> {
        // A dropped collection has no tables, and opening them for writing would make them again.
        self.info()?;
        // Held to the end: a graph that is saved before memory has followed would miss what the log does not have.
        let logged = self.log_keeping.begin_write();
        let mut effects = Effects::default();
        let (mut grown_bytes, mut sequence) = (0, 0);
        let written = self.shared.database.run(purpose, |transaction| {
            let mut writer = Writer::open(transaction, &self.tables, self.spec.dimension)?;
            let value = work(&mut writer, &mut effects)?;
            grown_bytes = writer.grown_bytes;
            if effects.changes.is_empty() {
                return Ok(Outcome::Discard(value));
            }
            if !effects.orphans.is_empty() {
                deletions::append(transaction, &effects.orphans)?;
            }
            let operations: Vec<_> = effects.changes.iter().filter_map(operation).collect();
            sequence = log::append(transaction, &self.tables, &operations, logged.keep)?;
            Ok(Outcome::Commit(value))
        })?;
        let Effects { changes, orphans } = effects;
        if let Some(snapshot) = written.snapshot {
            let queued = (!orphans.is_empty()).then(|| Arc::clone(&snapshot));
            // Only writes change chunks, and this one has the turn: what is copied here is still what memory has then.
            let copied = self.peek(|memory| memory.fork(&changes)).flatten().map(Fork::copied);
            self.follow(snapshot, |memory| {
                if let Some(memory) = memory {
                    if let Some(chunks) = copied {
                        memory.adopt(chunks);
                    }
                    memory.apply(changes, grown_bytes, sequence);
                }
            });
            self.shared.signal.wake();
            // The images may go only now that no reader finds the rows that named them.
            queued.inspect(|snapshot| self.shared.deletions.wake(snapshot));
        }
        Ok(written.value)
    }
}

/// An item as database and memory take it.
pub(super) struct EncodedItem {
    row: EncodedRow,
    codes: Encoded,
    terms: Vec<Term>,
}

/// What a write does beyond its own tables.
#[derive(Debug, Default)]
struct Effects {
    /// What memory has to follow.
    changes: Vec<Change>,
    /// Keys of images that nothing names any more.
    orphans: Vec<String>,
}

/// What the log says of a change: nothing if no vector is touched.
fn operation(change: &Change) -> Option<Operation> {
    match *change {
        Change::Add { key, .. } | Change::Replace { key, vector: Some(_), .. } => {
            Some(Operation { key, written: true })
        }
        Change::Replace { vector: None, .. } => None,
        Change::Remove { key, .. } => Some(Operation { key, written: false }),
    }
}

/// Writes one item; returns its key and what became of the id.
fn put(
    writer: &mut Writer<'_>,
    effects: &mut Effects,
    row: &EncodedRow,
    encoded: Encoded,
    new: Vec<Term>,
) -> Result<(u64, Written)> {
    yield_to_others();
    let record = &row.record;
    let (key, change, answer) = match writer.find(&record.id)? {
        Some((key, old)) => {
            let change = Change::Replace { key, vector: Some(encoded), old: terms(&old.metadata), new };
            let kept = record.image.as_ref().map(|image| &image.key);
            let orphan = old.image.filter(|image| Some(&image.key) != kept);
            (key, change, Written { created: false, orphan })
        }
        None => {
            let key = writer.new_key()?;
            (key, Change::Add { key, vector: encoded, terms: new }, Written { created: true, orphan: None })
        }
    };
    writer.put(key, row)?;
    effects.changes.push(change);
    Ok((key, answer))
}

fn remove(
    writer: &mut Writer<'_>,
    effects: &mut Effects,
    deleted: &mut Deleted,
    key: u64,
    record: Record,
) -> Result<()> {
    yield_to_others();
    writer.remove(key, &record.id)?;
    effects.changes.push(Change::Remove { key, terms: terms(&record.metadata) });
    effects.orphans.extend(record.image.as_ref().map(|image| image.key.clone()));
    deleted.count += 1;
    deleted.orphans.extend(record.image);
    Ok(())
}
