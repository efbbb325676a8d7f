//! Nearest items.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::{Context, Examples, Image, Service, Stage, collections::in_space};
use crate::{
    domain::{CollectionName, Embedding, Filter, ItemId, SpaceKey, TopK},
    error::{Error, ErrorKind, Result},
    index::{Collection, CollectionSpec, Hit, Query},
    model::VectorOptions,
    pipeline::{EmbedRequest, note},
    telemetry::metrics::CollectionLabels,
};

/// What to search the neighbours of.
#[derive(Debug)]
pub enum QueryBy {
    Image(Image),
    Vector(Vec<f32>),
    /// An item of the collection.
    Id(ItemId),
    /// Several at once, liked and disliked.
    Examples(Examples),
}

/// One search.
#[derive(Debug)]
pub struct SearchRequest {
    pub by: QueryBy,
    pub limit: TopK,
    pub filter: Option<Filter>,
    pub min_score: Option<f32>,
    pub exact: bool,
    pub with_vector: bool,
    pub with_metadata: bool,
    /// Leaves the item out that a search by id starts from.
    pub exclude_self: bool,
    pub space_key: Option<SpaceKey>,
}

/// What a search found, best first.
#[derive(Debug)]
pub struct SearchResults {
    pub spec: CollectionSpec,
    pub hits: Vec<Hit>,
}

impl Service {
    /// The items nearest to an image, a vector or another item.
    pub async fn search(
        &self,
        ctx: &Context,
        name: &CollectionName,
        mut request: SearchRequest,
    ) -> Result<SearchResults> {
        let collection = self.open_for(ctx, name, request.space_key.as_ref()).await?;
        self.embed_queries(ctx, collection.spec(), vec![&mut request]).await?;
        let query = self.query_of(collection.as_ref(), request).await?;
        let started = Instant::now();
        let hits = collection.search(query).await?;
        self.note_searches(ctx, collection.spec(), 1, started.elapsed());
        Ok(SearchResults { spec: collection.spec().clone(), hits })
    }

    /// Several searches side by side; each has its own result or error, in their order. Their images are admitted
    /// together, all of them or none, and so are they themselves.
    pub async fn search_batch(
        &self,
        ctx: &Context,
        name: &CollectionName,
        requests: Vec<Result<SearchRequest>>,
        space_key: Option<SpaceKey>,
    ) -> Result<(CollectionSpec, Vec<Result<Vec<Hit>>>)> {
        let images = requests.iter().flatten().filter(|request| matches!(request.by, QueryBy::Image(_))).count();
        self.check_counts(images, requests.len() - images, "queries")?;
        let collection = self.open_for(ctx, name, space_key.as_ref()).await?;
        let spec = collection.spec();
        let in_space = |request: Result<SearchRequest>| {
            let request = request?;
            in_space(spec, request.space_key.as_ref())?;
            Ok(request)
        };
        let mut requests: Vec<Result<SearchRequest>> = requests.into_iter().map(in_space).collect();
        self.embed_queries(ctx, spec, requests.iter_mut().flatten().collect()).await?;
        let queries = requests.into_iter().map(async |request| self.query_of(collection.as_ref(), request?).await);
        let mut results: Vec<Result<Vec<Hit>>> = Vec::new();
        let (mut places, mut good) = (Vec::new(), Vec::new());
        for (place, query) in join_all(queries).await.into_iter().enumerate() {
            match query {
                // of an index that has too much to do, whichever of the queries found out
                Err(error) if error.kind() == ErrorKind::Overloaded => return Err(error),
                Err(error) => results.push(Err(error)),
                Ok(query) => {
                    places.push(place);
                    good.push(query);
                    results.push(Ok(Vec::new()));
                }
            }
        }
        let (started, count) = (Instant::now(), good.len());
        let found = collection.search_all(good).await?;
        self.note_searches(ctx, spec, count, started.elapsed());
        places.into_iter().zip(found).for_each(|(place, found)| results[place] = found);
        Ok((spec.clone(), results))
    }

    /// Turns the images among the queries into vectors, or into the errors that they met.
    pub(super) async fn embed_queries(
        &self,
        ctx: &Context,
        spec: &CollectionSpec,
        mut requests: Vec<&mut SearchRequest>,
    ) -> Result<()> {
        let take = |request: &mut &mut SearchRequest| match &mut request.by {
            QueryBy::Image(image) if image.is_ok() => {
                Some(std::mem::replace(image, Err(Error::internal("an image has no vector"))))
            }
            _ => None,
        };
        let taken: Vec<Option<Image>> = requests.iter_mut().map(take).collect();
        let (places, images): (Vec<usize>, Vec<Image>) =
            taken.into_iter().enumerate().filter_map(|(at, image)| Some((at, image?))).unzip();
        if images.is_empty() {
            return Ok(());
        }
        let model = self.model_of(spec).await?;
        let request = EmbedRequest { images, options: VectorOptions::default(), stored: None, hash: false };
        let embedded = self.pipeline.embed(ctx, &model, request).await?;
        for (at, embedded) in places.into_iter().zip(embedded) {
            requests[at].by = match embedded {
                Ok(embedded) => QueryBy::Vector(embedded.vector),
                Err(error) => QueryBy::Image(Err(error)),
            };
        }
        Ok(())
    }

    /// The search that a request asks for; an item or examples that it names are read for it.
    async fn query_of(&self, collection: &dyn Collection, request: SearchRequest) -> Result<Query> {
        let spec = collection.spec();
        let SearchRequest { mut filter, limit, min_score, exact, .. } = request;
        let mut exclude = None;
        let mut foreign = false;
        let vector = match request.by {
            QueryBy::Vector(vector) => {
                foreign = true;
                vector
            }
            // what is left of an image after embedding is why there is no vector
            QueryBy::Image(image) => return Err(image.err().unwrap_or_else(|| Error::internal("not embedded"))),
            QueryBy::Id(id) => {
                let item = collection.get(&id).await?;
                exclude = request.exclude_self.then_some(id);
                item.vector
            }
            QueryBy::Examples(examples) => {
                filter = examples.excluded_by(filter);
                self.average(collection, examples).await?
            }
        };
        if min_score.is_some_and(|score| !score.is_finite()) {
            return Err(Error::invalid_request("min_score is not finite"));
        }
        let query = Query {
            vector: Embedding::of_dimension(vector, spec.dimension)?,
            limit,
            filter,
            min_score,
            exact,
            exclude,
            with_vector: request.with_vector,
            with_metadata: request.with_metadata,
        };
        if foreign {
            self.queries.note(spec, &query.vector);
        }
        Ok(query)
    }

    /// Notes the time of searches that went side by side.
    fn note_searches(&self, ctx: &Context, spec: &CollectionSpec, count: usize, took: Duration) {
        note(ctx, &self.metrics, Stage::Index, took);
        let labels = CollectionLabels { collection: spec.name.to_string() };
        let seconds = self.metrics.index_search_seconds.get_or_create(&labels);
        (0..count).for_each(|_| seconds.observe(took.as_secs_f64()));
    }
}
