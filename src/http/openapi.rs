//! The OpenAPI 3.1 document, collected from the routes.

use utoipa::{
    OpenApi as _, ToSchema,
    openapi::{Content, OpenApi, Ref, RefOr, ResponseBuilder, path::Operation},
};

use super::{
    error::{OpenAiProblem, Problem},
    router::documented,
};

/// What routes write for an image of any format.
const ANY_IMAGE: &str = "image/*";
const IMAGE_TYPES: [&str; 3] = ["image/jpeg", "image/png", "application/octet-stream"];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "latentd",
        description = "Embeddings, reconstructions, denoising, anomaly scores and nearest-image search from \
            self-supervised image encoders.\n\nImages come in three ways with the same answer: as a raw body with \
            the options in the query, as `multipart/form-data`, or as JSON. Options may always stand in the query. \
            Generated clients send JSON. Every answer carries `x-request-id` and `Server-Timing`; `X-Request-Timeout-Ms` limits the time of a \
            request."
    ),
    servers((url = "/")),
    components(schemas(Problem, OpenAiProblem)),
    tags(
        (name = "health", description = "The server itself"),
        (name = "models", description = "What there is to serve"),
        (name = "calibrations", description = "Scores of normal images, by which others are judged"),
        (name = "images", description = "Images through a model"),
        (name = "collections", description = "Collections of the latent index"),
        (name = "items", description = "Items of a collection"),
        (name = "search", description = "Nearest items"),
    )
)]
struct Head;

/// The OpenAPI document of every route.
#[must_use]
pub fn openapi() -> OpenApi {
    let (mut health, mut v1) = documented();
    document(health.to_openapi(), v1.to_openapi())
}

/// Puts the document together from its parts, with the errors that every route can give.
pub(super) fn document(health: OpenApi, v1: OpenApi) -> OpenApi {
    let mut document = Head::openapi();
    document.merge(health);
    document.merge(v1);
    for item in document.paths.paths.values_mut() {
        let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        methods.into_iter().flatten().for_each(complete);
    }
    document
}

/// Gives every answer the description that it must have, and adds the errors.
fn complete(operation: &mut Operation) {
    for answer in operation.responses.responses.values_mut() {
        if let RefOr::T(answer) = answer
            && answer.description.is_empty()
        {
            answer.description = "done".to_owned();
        }
    }
    name_image_types(operation);
    let of = |name: std::borrow::Cow<'static, str>| Content::new(Some(Ref::from_schema_name(name)));
    let mut problem = ResponseBuilder::new()
        .description("an error, by its code")
        .content("application/problem+json", of(Problem::name()));
    if operation.operation_id.as_deref() == Some("embeddings") {
        problem = problem.content("application/json", of(OpenAiProblem::name()));
    }
    operation.responses.responses.insert("default".to_owned(), problem.build().into());
}

/// Names the types that stand for any image, since generators of clients know no ranges of types.
fn name_image_types(operation: &mut Operation) {
    if let Some(RefOr::T(body)) = &mut operation.request_body
        && let Some(image) = body.content.remove(ANY_IMAGE)
    {
        body.content.extend(IMAGE_TYPES.map(|media| (media.to_owned(), image.clone())));
    }
    for answer in operation.responses.responses.values_mut() {
        if let RefOr::T(answer) = answer
            && let Some(image) = answer.content.shift_remove(ANY_IMAGE)
        {
            answer.content.extend(IMAGE_TYPES.map(|media| (media.to_owned(), image.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_openapi_3_1_and_names_every_route_once() {
        let document = serde_json::to_value(openapi()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.contains_key("/v1/embeddings") && paths.contains_key("/readyz"));
        let ids: Vec<_> = paths
            .values()
            .flat_map(|item| item.as_object().unwrap().values())
            .map(|operation| operation["operationId"].as_str().unwrap())
            .collect();
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(ids.len(), distinct.len(), "{ids:?}");
    }

    #[test]
    fn what_generators_of_clients_stumble_over_is_not_there() {
        let document = serde_json::to_value(openapi()).unwrap();
        assert_eq!(document["servers"][0]["url"], "/");
        assert!(document["components"]["schemas"].get("File").is_none());
        let text = document.to_string();
        assert!(!text.contains("image/*") && text.contains("\"image/jpeg\""));
        let filter = &document["components"]["schemas"]["SearchOptions"]["properties"]["filter"];
        assert!(filter.to_string().contains("#/components/schemas/Filter"), "{filter}");
    }

    #[test]
    fn every_answer_is_described() {
        let document = serde_json::to_value(openapi()).unwrap();
        let operations =
            document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
        for answer in operations.flat_map(|operation| operation["responses"].as_object().unwrap().values()) {
            assert!(answer["description"].as_str().is_some_and(|text| !text.is_empty()), "{answer}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = serde_json::to_value(openapi()).unwrap();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
