//! One batch to its end: what is there is left out, the rest is sent, and what fails is tried again or reported.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    client::{Added, Api, Payload, Upload},
    pace::Pace,
    source::{Candidate, Content, Failed},
    tally::Tally,
};
use crate::{
    cli::remote::{Refusal, Trouble, is_passing},
    domain::ItemId,
    error::{Error, Result},
};

/// How often an item is sent whose failure may pass.
const TRIES: u32 = 4;
/// Between two tries, at first; doubled each time.
const PAUSE: Duration = Duration::from_millis(250);

/// Sends batches; one for the process, shared by all that are under way.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) api: Api,
    pub(super) pace: Arc<Pace>,
    pub(super) tally: Arc<Tally>,
    /// Sends what is there already, too.
    pub(super) replace: bool,
    pub(super) max_bytes: u64,
    /// How long a server may be silent before the run is given up.
    pub(super) patience: Duration,
    /// The last time that the server answered.
    pub(super) heard: Mutex<Instant>,
}

/// Images, or vectors, on their way together.
#[derive(Debug)]
struct Batch {
    uploads: Vec<(String, Upload)>,
    tries: u32,
}

impl Delivery {
    /// Sends the images of a batch; an error is one that ends the run.
    pub(super) async fn deliver(&self, candidates: Vec<(ItemId, Candidate)>) -> Result<()> {
        let present = if self.replace { HashSet::new() } else { self.present(&candidates).await? };
        let mut uploads = Vec::new();
        for (id, candidate) in candidates {
            if present.contains(&id) {
                self.tally.present(1);
                continue;
            }
            match self.read(id, candidate).await {
                Ok(upload) => uploads.push(upload),
                Err(failed) => self.tally.failed(&failed),
            }
        }
        let mut waiting = vec![Batch { uploads, tries: 0 }];
        while let Some(batch) = waiting.pop() {
            if !batch.uploads.is_empty() {
                waiting.extend(self.send(batch).await?);
            }
        }
        Ok(())
    }

    async fn present(&self, candidates: &[(ItemId, Candidate)]) -> Result<HashSet<ItemId>> {
        let ids: Vec<&ItemId> = candidates.iter().map(|(id, _)| id).collect();
        let mut tries = 0;
        loop {
            let turn = self.pace.turn().await;
            let refusal = match self.api.present(&ids).await {
                Ok(present) => {
                    self.answered();
                    turn.good();
                    return Ok(present.into_iter().collect());
                }
                Err(Trouble::Busy(wait)) => {
                    self.answered();
                    turn.busy(wait);
                    continue;
                }
                Err(Trouble::Fatal(error)) => return Err(error),
                Err(Trouble::Refused(Refusal { code, message })) => {
                    return Err(Error::invalid_request(format!("{code}: {message}")));
                }
                Err(Trouble::Passing(refusal)) => refusal,
            };
            drop(turn);
            self.bear(&refusal)?;
            tries += 1;
            pause(tries).await;
        }
    }

    /// Reads what has not been read yet; of a list with ids that is all that is sent.
    async fn read(&self, id: ItemId, mut candidate: Candidate) -> Result<(String, Upload), Failed> {
        let max_bytes = self.max_bytes;
        let name = candidate.name.clone();
        let reading = tokio::task::spawn_blocking(move || candidate.read(max_bytes).map(drop).map(|()| candidate));
        let Candidate { name, metadata, content, .. } =
            reading.await.map_err(|error| Failed::unreadable(name, error))??;
        let payload = match content {
            Content::Bytes(bytes) => Payload::Image(bytes.into()),
            Content::Vector(vector) => Payload::Vector(vector),
            Content::File(_) => return Err(Failed::unreadable(name, "it was not read")),
        };
        Ok((name, Upload { id, metadata, payload }))
    }

    /// Sends once; returns what has to be sent again.
    async fn send(&self, batch: Batch) -> Result<Vec<Batch>> {
        let turn = self.pace.turn().await;
        let uploads: Vec<&Upload> = batch.uploads.iter().map(|(_, upload)| upload).collect();
        match self.api.add(&uploads).await {
            Ok(added) => {
                self.answered();
                turn.good();
                let again = self.settle(batch, added);
                if let Some(again) = &again {
                    pause(again.tries).await;
                }
                Ok(again.into_iter().collect())
            }
            Err(Trouble::Busy(wait)) => {
                self.answered();
                turn.busy(wait);
                Ok(vec![batch])
            }
            Err(Trouble::Fatal(error)) => Err(error),
            Err(Trouble::Passing(refusal)) if refusal.code == "deadline_exceeded" => {
                self.answered();
                turn.busy(PAUSE);
                Ok(self.again(batch, &refusal).into_iter().collect())
            }
            Err(Trouble::Passing(refusal)) => {
                drop(turn);
                let fails_at_these = refusal.code == "internal" && batch.tries + 1 >= TRIES;
                self.bear(&refusal)?;
                let batch = Batch { tries: batch.tries + 1, ..batch };
                pause(batch.tries).await;
                Ok(if fails_at_these { self.apart(batch, &refusal) } else { vec![batch] })
            }
            Err(Trouble::Refused(refusal)) => {
                self.answered();
                turn.good();
                Ok(self.apart(batch, &refusal))
            }
        }
    }

    /// Halves a batch that was refused as a whole, so that the bad images are found; a single one has failed.
    fn apart(&self, batch: Batch, refusal: &Refusal) -> Vec<Batch> {
        let Batch { mut uploads, tries } = batch;
        if uploads.len() <= 1 {
            uploads.iter().for_each(|upload| self.fail(upload, refusal));
            return Vec::new();
        }
        let rest = uploads.split_off(uploads.len() / 2);
        vec![Batch { uploads, tries }, Batch { uploads: rest, tries }]
    }

    /// Counts what is in and what has failed; what may fare better is returned.
    fn settle(&self, batch: Batch, added: Added) -> Option<Batch> {
        let mut uploads: Vec<Option<(String, Upload)>> = batch.uploads.into_iter().map(Some).collect();
        let mut count = 0;
        for item in added.data {
            count += u64::from(uploads.get_mut(item.index).and_then(Option::take).is_some());
        }
        self.tally.added(count);
        let mut again = Vec::new();
        for error in added.errors {
            let Some(upload) = uploads.get_mut(error.index).and_then(Option::take) else { continue };
            if is_passing(&error.refusal.code) && batch.tries + 1 < TRIES {
                again.push(upload);
            } else {
                self.fail(&upload, &error.refusal);
            }
        }
        let silent = Refusal { code: "unavailable".to_owned(), message: "the server said nothing of it".to_owned() };
        uploads.iter().flatten().for_each(|upload| self.fail(upload, &silent));
        (!again.is_empty()).then_some(Batch { uploads: again, tries: batch.tries + 1 })
    }

    fn again(&self, batch: Batch, refusal: &Refusal) -> Option<Batch> {
        if batch.tries + 1 < TRIES {
            return Some(Batch { tries: batch.tries + 1, ..batch });
        }
        batch.uploads.iter().for_each(|upload| self.fail(upload, refusal));
        None
    }

    fn fail(&self, (name, upload): &(String, Upload), refusal: &Refusal) {
        let Refusal { code, message } = refusal.clone();
        self.tally.failed(&Failed { name: name.clone(), id: Some(upload.id.to_string()), code, message });
    }

    fn answered(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether a server that does not answer, or not well, is waited for any longer.
    fn bear(&self, refusal: &Refusal) -> Result<()> {
        let silence = self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        if silence < self.patience {
            return Ok(());
        }
        let text = format!(
            "the server has not served for {:.0} s; run the command again to go on from here ({}: {})",
            silence.as_secs_f64(),
            refusal.code,
            refusal.message
        );
        Err(Error::unavailable(text))
    }
}

async fn pause(tries: u32) {
    tokio::time::sleep(PAUSE * 2_u32.pow(tries.clamp(1, 6) - 1)).await;
}
