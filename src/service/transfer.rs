//! Moving a collection between engines and machines, while nobody serves it.

use std::io::{BufRead, Write};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    domain::{Embedding, ItemId, TopK},
    error::{Error, Result},
    index::{Collection, NewItem, TransferImage, TransferItem, TransferReader, TransferWriter},
    store::ImageStore,
};

/// Items written at a time.
const BATCH: usize = 512;
/// Items read at a time, since an engine or a store may be far away.
const AHEAD: usize = 16;

/// Writes a collection with its images; returns how many items it has.
///
/// # Errors
/// Also if an item's image cannot be read: an export is whole or none.
pub async fn export_collection(collection: &dyn Collection, store: &ImageStore, out: impl Write) -> Result<u64> {
    let mut writer = TransferWriter::new(out, collection.spec())?;
    let mut cursor = None;
    loop {
        let page = collection.page(TopK::new(TopK::MAX)?, cursor, None).await?;
        let read = page.items.iter().map(|item| read_item(collection, store, &item.id));
        let mut items = stream::iter(read).buffered(AHEAD);
        while let Some(item) = items.try_next().await? {
            writer.item(&item)?;
        }
        cursor = page.cursor;
        if cursor.is_none() {
            return writer.finish();
        }
    }
}

async fn read_item(collection: &dyn Collection, store: &ImageStore, id: &ItemId) -> Result<TransferItem> {
    let item = collection.get(id).await?;
    let image = match item.image {
        Some(image) => {
            let bytes = store.get(&image).await.map_err(|error| {
                let text = format!("the image of the item {:?} cannot be read", item.id.as_str());
                Error::unavailable(text).with_source(error)
            })?;
            Some(TransferImage { media_type: image.media_type, bytes: bytes.to_vec() })
        }
        None => None,
    };
    Ok(TransferItem { id: item.id, vector: Embedding::new(item.vector)?, metadata: item.metadata, image })
}

/// Writes every item of a stream into a new collection; returns how many there were.
///
/// # Errors
/// The collection holds some of the items then, and is to be dropped.
pub async fn import_collection<R: BufRead>(
    reader: &mut TransferReader<R>,
    collection: &dyn Collection,
    store: &ImageStore,
) -> Result<u64> {
    let mut batch = Vec::with_capacity(BATCH);
    let filled = fill(reader, collection, store, &mut batch).await;
    if filled.is_err() {
        // images that were stored and whose items were not
        super::forget_images(store, batch.into_iter().filter_map(|item| item.image).collect()).await;
    }
    filled
}

async fn fill<R: BufRead>(
    reader: &mut TransferReader<R>,
    collection: &dyn Collection,
    store: &ImageStore,
    batch: &mut Vec<NewItem>,
) -> Result<u64> {
    let mut count = 0;
    loop {
        let item = reader.next_item()?;
        let ended = item.is_none();
        if let Some(item) = item {
            batch.push(stored(item, collection, store).await?);
        }
        if batch.len() == BATCH || ended {
            let written = collection.upsert(batch.clone()).await?;
            if !written.iter().all(|written| written.created) {
                return Err(Error::invalid_request("the export has an item twice"));
            }
            count += batch.len() as u64;
            batch.clear();
        }
        if ended {
            return Ok(count);
        }
    }
}

/// An item whose image is in the store.
async fn stored(item: TransferItem, collection: &dyn Collection, store: &ImageStore) -> Result<NewItem> {
    let image = match item.image {
        Some(TransferImage { media_type, bytes }) => {
            Some(store.put(&collection.spec().name, &item.id, Bytes::from(bytes), &media_type).await?)
        }
        None => None,
    };
    Ok(NewItem { id: item.id, vector: item.vector, metadata: item.metadata, image })
}
