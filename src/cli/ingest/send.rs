//! The sending side: batches side by side, until all is sent or the run ends early.

use std::{ops::ControlFlow, sync::Arc};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::{JoinError, JoinSet},
};

use super::{INTERRUPTED, deliver::Delivery, source::Candidate};
use crate::{
    domain::ItemId,
    error::{Error, Result},
};

/// Bytes of one request, unless a single item has more.
const BATCH_BYTES: u64 = 4 << 20;

/// Items of one request, at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchSizes {
    pub(super) images: usize,
    pub(super) vectors: usize,
}

/// Items that are gathered for one request: all with images, or all with vectors.
#[derive(Default)]
struct Gathered {
    items: Vec<(ItemId, Candidate)>,
    bytes: u64,
}

impl Gathered {
    /// Takes an item in; gives what has to be sent before or with it.
    fn add(&mut self, item: (ItemId, Candidate), sizes: BatchSizes) -> Vec<Vec<(ItemId, Candidate)>> {
        let is_vector = item.1.is_vector();
        let other_kind = self.items.last().is_some_and(|(_, last)| last.is_vector() != is_vector);
        let before = if other_kind { self.take() } else { Vec::new() };
        self.bytes += item.1.size();
        self.items.push(item);
        let most = if is_vector { sizes.vectors } else { sizes.images };
        let full = self.items.len() >= most || self.bytes >= BATCH_BYTES;
        let with_it = if full { self.take() } else { Vec::new() };
        [before, with_it].into_iter().filter(|batch| !batch.is_empty()).collect()
    }

    fn take(&mut self) -> Vec<(ItemId, Candidate)> {
        self.bytes = 0;
        std::mem::take(&mut self.items)
    }
}

/// Sends all items. SIGINT or SIGTERM is a break: what is under way is finished then, and a second SIGINT ends the
/// process at once.
pub(super) async fn send_all(
    delivery: &Arc<Delivery>,
    mut items: mpsc::Receiver<(ItemId, Candidate)>,
    sizes: BatchSizes,
) -> Result<ControlFlow<()>> {
    let deaf = |error| Error::internal("signals cannot be received").with_source(error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(deaf)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(deaf)?;
    let mut running: JoinSet<Result<()>> = JoinSet::new();
    let mut gathered = Gathered::default();
    let flow = loop {
        // a batch more than may go at once, so that one is ready when another ends
        let full = running.len() > delivery.pace.allowed();
        let received = tokio::select! {
            biased;
            _ = interrupt.recv() => break ControlFlow::Break(()),
            _ = terminate.recv() => break ControlFlow::Break(()),
            Some(joined) = running.join_next() => {
                ended(joined)?;
                continue;
            }
            received = items.recv(), if !full => received,
        };
        let at_end = received.is_none();
        let batches = match received {
            Some(item) => gathered.add(item, sizes),
            None => vec![gathered.take()],
        };
        for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
            let delivery = Arc::clone(delivery);
            running.spawn(async move { delivery.deliver(batch).await });
        }
        if at_end {
            break ControlFlow::Continue(());
        }
    };
    drop(items);
    if flow.is_break() {
        delivery.tally.say("interrupted: finishing what is under way; Ctrl-C again ends at once");
    }
    finish(running, interrupt, flow, delivery).await
}

async fn finish(
    mut running: JoinSet<Result<()>>,
    mut interrupt: Signal,
    mut flow: ControlFlow<()>,
    delivery: &Delivery,
) -> Result<ControlFlow<()>> {
    loop {
        tokio::select! {
            joined = running.join_next() => match joined {
                Some(joined) => ended(joined)?,
                None => return Ok(flow),
            },
            _ = interrupt.recv() => {
                if flow.is_break() {
                    std::process::exit(INTERRUPTED.into());
                }
                delivery.tally.say("interrupted: the last images are under way; Ctrl-C again ends at once");
                flow = ControlFlow::Break(());
            }
        }
    }
}

fn ended(joined: Result<Result<()>, JoinError>) -> Result<()> {
    joined.map_err(|error| Error::internal("a batch ended early").with_source(error))?
}
