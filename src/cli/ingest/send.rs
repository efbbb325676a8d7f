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

/// Bytes of one request, unless a single image has more.
const BATCH_BYTES: u64 = 4 << 20;

/// Sends all images. SIGINT or SIGTERM is a break: what is under way is finished then, and a second SIGINT ends the
/// process at once.
pub(super) async fn send_all(
    delivery: &Arc<Delivery>,
    mut images: mpsc::Receiver<(ItemId, Candidate)>,
    size: usize,
) -> Result<ControlFlow<()>> {
    let deaf = |error| Error::internal("signals cannot be received").with_source(error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(deaf)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(deaf)?;
    let mut running: JoinSet<Result<()>> = JoinSet::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
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
            received = images.recv(), if !full => received,
        };
        let at_end = received.is_none();
        if let Some(image) = received {
            bytes += image.1.size();
            batch.push(image);
        }
        let whole = batch.len() >= size || bytes >= BATCH_BYTES || at_end;
        if whole && !batch.is_empty() {
            bytes = 0;
            let (delivery, batch) = (Arc::clone(delivery), std::mem::take(&mut batch));
            running.spawn(async move { delivery.deliver(batch).await });
        }
        if at_end {
            break ControlFlow::Continue(());
        }
    };
    drop(images);
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
