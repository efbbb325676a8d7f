//! The reading side: every image of the sources, named by its content.

use std::{collections::HashSet, ops::ControlFlow};

use tokio::sync::mpsc;

use super::{
    source::{Candidate, Reading, Source},
    tally::Tally,
};
use crate::{domain::ItemId, error::Result};

/// Counts the images, for the progress. A source that cannot be read fails where it is read.
pub(super) fn count(sources: &[Source], reading: &Reading, tally: &Tally) {
    let mut total = 0;
    // with no bytes allowed, nothing is read but names
    let names = Reading { max_bytes: 0, ..reading.clone() };
    for source in sources {
        let counted = source.each(&names, &mut |_| {
            total += 1;
            ControlFlow::Continue(())
        });
        if counted.is_err() {
            return;
        }
    }
    tally.set_total(total);
}

/// Hands on every image with its id: that of its list, or the BLAKE3 of its bytes, as the server makes it. What came
/// before in this run is left out, and all the rest once nobody listens.
pub(super) fn read(
    sources: &[Source],
    reading: &Reading,
    sender: &mpsc::Sender<(ItemId, Candidate)>,
    tally: &Tally,
) -> Result<()> {
    let mut seen: HashSet<u128> = HashSet::new();
    for source in sources {
        source.each(reading, &mut |found| {
            let named = found.and_then(|mut candidate| {
                let id = match candidate.id.take() {
                    Some(id) => id,
                    None => ItemId::of_content(candidate.read(reading.max_bytes)?),
                };
                Ok((id, candidate))
            });
            match named {
                Ok((id, _)) if !seen.insert(digest(&id)) => tally.present(1),
                Ok(named) => {
                    if sender.blocking_send(named).is_err() {
                        return ControlFlow::Break(());
                    }
                }
                Err(failed) => tally.failed(&failed),
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(())
}

/// 16 bytes for an id of up to 256.
fn digest(id: &ItemId) -> u128 {
    let hash = blake3::hash(id.as_str().as_bytes());
    hash.as_bytes().first_chunk().copied().map_or(0, u128::from_le_bytes)
}
