//! Many images scored for a calibration: in portions, one after the other, as others leave room.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    anomaly::{calibration::Sample, settings::ScoreSettings},
    domain::{CollectionName, FieldPath, Filter, ItemId, Metadata, Scalar, TopK},
    error::{Error, ErrorKind, Result},
    image::Encoded,
    model::Model,
    service::{Context, Image, ScoreOutput, ScoreRequest, Scored, Service, score::has_map},
};

/// Images that are scored together: as many as a request of others may find before it.
const PORTION: usize = 16;
/// Items of a page of a collection, whose images are read together.
const PAGE: usize = 64;
/// How long a portion waits, at most, before it asks for room again.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How long it waits where the server does not say.
const DEFAULT_WAIT: Duration = Duration::from_millis(100);

/// Images for a calibration.
#[derive(Debug)]
pub enum Normals {
    /// Images of the request, each with its group and its label where there are any.
    Sent { images: Vec<Image>, groups: Option<Vec<String>>, labels: Option<Vec<Option<String>>> },
    /// The stored images of a collection's items; groups and labels are values of their metadata.
    Stored {
        collection: CollectionName,
        filter: Option<Filter>,
        group_key: Option<FieldPath>,
        label_key: Option<FieldPath>,
    },
}

/// What came of the images of a request.
#[derive(Debug, Default)]
pub(super) struct ScoredNormals {
    pub(super) samples: Vec<Sample>,
    /// Those that have no score, by their place in the request or among the items of the collection.
    pub(super) errors: Vec<(usize, Error)>,
}

/// An image with what is known of it.
struct Candidate {
    image: Image,
    group: Option<String>,
    label: Option<String>,
}

/// The scoring of one calibration.
struct Scoring<'a> {
    service: &'a Service,
    ctx: &'a Context,
    model: &'a Arc<Model>,
    request: Arc<ScoreRequest>,
    found: ScoredNormals,
    /// Images so far.
    count: usize,
}

impl Service {
    /// Scores the images for a calibration.
    ///
    /// # Errors
    /// `invalid_request` for no images and for lists of another length, `payload_too_large` for too many images,
    /// `deadline_exceeded`, and `overloaded` where there is no room until the deadline.
    pub(super) async fn score_normals(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        settings: ScoreSettings,
        normals: Normals,
    ) -> Result<ScoredNormals> {
        let peak = has_map(model, &settings);
        let output = ScoreOutput { peak, ..ScoreOutput::default() };
        let request = Arc::new(ScoreRequest { settings, output, beside: Vec::new() });
        let mut scoring = Scoring { service: self, ctx, model, request, found: ScoredNormals::default(), count: 0 };
        match normals {
            Normals::Sent { images, groups, labels } => scoring.add_all(sent(images, groups, labels)?).await?,
            Normals::Stored { collection, filter, group_key, label_key } => {
                scoring.add_stored(&collection, filter, (group_key, label_key)).await?;
            }
        }
        if scoring.count == 0 {
            return Err(Error::invalid_request("there are no images to calibrate with"));
        }
        Ok(scoring.found)
    }
}

/// Pairs images with their groups and labels.
fn sent(
    images: Vec<Image>,
    groups: Option<Vec<String>>,
    labels: Option<Vec<Option<String>>>,
) -> Result<Vec<Candidate>> {
    let count = images.len();
    let check = |given: Option<usize>, what: &str| match given {
        Some(given) if given != count => {
            let text = format!("{given} {what} for {count} images: give one for each, or none");
            Err(Error::invalid_request(text))
        }
        _ => Ok(()),
    };
    check(groups.as_ref().map(Vec::len), "groups")?;
    check(labels.as_ref().map(Vec::len), "labels")?;
    if let Some(at) = groups.iter().flatten().position(String::is_empty) {
        return Err(Error::invalid_request(format!("group {at} is empty")));
    }
    let mut groups = groups.into_iter().flatten();
    let mut labels = labels.into_iter().flatten();
    let candidate = |image| {
        let label = labels.next().flatten().filter(|label| !label.is_empty());
        Candidate { image, group: groups.next(), label }
    };
    Ok(images.into_iter().map(candidate).collect())
}

impl Scoring<'_> {
    async fn add_stored(
        &mut self,
        name: &CollectionName,
        filter: Option<Filter>,
        (group_key, label_key): (Option<FieldPath>, Option<FieldPath>),
    ) -> Result<()> {
        let collection = self.service.open_for(self.ctx, name, None).await?;
        let mut cursor = None;
        loop {
            let page = collection.page(TopK::new(PAGE)?, cursor, filter.clone()).await?;
            let mut candidates = Vec::with_capacity(page.items.len());
            for item in page.items {
                let group = value_at(&item.metadata, group_key.as_ref());
                let label = value_at(&item.metadata, label_key.as_ref());
                candidates.push(Candidate { image: self.stored_image(name, &item.id).await, group, label });
            }
            self.add_all(candidates).await?;
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn stored_image(&self, collection: &CollectionName, id: &ItemId) -> Image {
        let named = |error: Error| Error::new(error.kind(), format!("item {id}: {}", error.message()));
        let (bytes, _) = self.service.item_image(self.ctx, collection, id, None).await.map_err(named)?;
        Ok(Encoded::new(bytes))
    }

    async fn add_all(&mut self, candidates: Vec<Candidate>) -> Result<()> {
        let limit = self.service.calibrations.max_images;
        if self.count + candidates.len() > limit {
            let text = format!("more than {limit} images for one calibration: anomaly.calibration_images is {limit}");
            return Err(Error::new(ErrorKind::PayloadTooLarge, text));
        }
        let size = PORTION.min(self.service.limits.images);
        let mut rest = candidates.into_iter().peekable();
        while rest.peek().is_some() {
            let portion: Vec<Candidate> = rest.by_ref().take(size).collect();
            self.add_portion(portion).await?;
        }
        Ok(())
    }

    async fn add_portion(&mut self, mut portion: Vec<Candidate>) -> Result<()> {
        self.refuse_training_images(&mut portion).await?;
        let images: Vec<&Image> = portion.iter().map(|candidate| &candidate.image).collect();
        let results = self.score(&images).await?;
        for (Candidate { group, label, .. }, result) in portion.into_iter().zip(results) {
            let place = self.count;
            self.count += 1;
            match result {
                Ok(scored) => {
                    let Scored { score, peak, parts, .. } = scored;
                    self.found.samples.push(Sample { score, peak, group, label, parts, reference: false });
                }
                // What may succeed another time must not make another calibration of it.
                Err(error) if may_pass(error.kind()) => return Err(error),
                Err(error) => self.found.errors.push((place, error)),
            }
        }
        Ok(())
    }

    /// Puts an error in the place of each image that the model was trained on: their scores are too low.
    async fn refuse_training_images(&self, portion: &mut [Candidate]) -> Result<()> {
        if self.model.trained_on().is_none() {
            return Ok(());
        }
        let files: Vec<Option<Encoded>> = portion.iter().map(|one| one.image.as_ref().ok().cloned()).collect();
        let hash = move || files.iter().map(|file| file.as_ref().map(|file| *file.hash())).collect::<Vec<_>>();
        let hashes = self.service.compute(hash).await?;
        let trained_on = |hash: &blake3::Hash| self.model.trained_on().is_some_and(|hashes| hashes.contains(hash));
        for (candidate, hash) in portion.iter_mut().zip(hashes) {
            if hash.as_ref().is_some_and(trained_on) {
                let text = "the model was trained on this image, so its score is lower than that of a new one: calibrate \
                    with images that the model has not seen";
                candidate.image = Err(Error::invalid_request(text));
            }
        }
        Ok(())
    }

    /// Scores images together, as soon as there is room for them.
    async fn score(&self, images: &[&Image]) -> Result<Vec<Result<Scored>>> {
        loop {
            let copies = images.iter().map(|image| image.as_ref().cloned().map_err(Error::duplicate)).collect();
            let results = self.service.score(self.ctx, self.model, copies, &self.request).await;
            let refused = match &results {
                Ok(results) => results.iter().filter_map(|result| result.as_ref().err()).find(|error| is_busy(error)),
                Err(error) => Some(error).filter(|error| is_busy(error)),
            };
            let Some(wait) = refused.map(|error| error.retry_after().unwrap_or(DEFAULT_WAIT).min(LONGEST_WAIT)) else {
                return results;
            };
            if Instant::now() + wait >= self.ctx.deadline {
                return results;
            }
            tokio::time::sleep(wait).await;
        }
    }
}

fn is_busy(error: &Error) -> bool {
    error.kind() == ErrorKind::Overloaded
}

const fn may_pass(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Overloaded | ErrorKind::DeadlineExceeded | ErrorKind::Unavailable)
}

/// The first text, number or truth value of metadata at a path, as text.
fn value_at(metadata: &Metadata, path: Option<&FieldPath>) -> Option<String> {
    path?.values(metadata).first().map(Scalar::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(count: usize) -> Vec<Image> {
        (0..count).map(|_| Err(Error::invalid_image("none"))).collect()
    }

    #[test]
    fn groups_and_labels_pair_with_the_images_by_order_or_are_refused() {
        let texts = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect::<Vec<_>>());
        let labels = |list: &[&str]| Some(list.iter().map(|label| Some((*label).to_owned())).collect());
        let paired = sent(images(2), texts(&["a", "b"]), labels(&["", "crack"])).unwrap();
        let of = |one: &Candidate| (one.group.clone(), one.label.clone());
        assert_eq!(of(&paired[0]), (Some("a".to_owned()), None));
        assert_eq!(of(&paired[1]), (Some("b".to_owned()), Some("crack".to_owned())));
        let refused = |groups, labels| sent(images(2), groups, labels).err().unwrap().message().to_owned();
        assert!(refused(texts(&["a"]), None).contains("1 groups for 2 images"));
        assert!(refused(None, labels(&["a", "b", "c"])).contains("3 labels for 2 images"));
        assert!(refused(texts(&["a", ""]), None).contains("group 1 is empty"));
    }
}
