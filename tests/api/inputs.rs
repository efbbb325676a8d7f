//! The three ways of sending images, options beside them, and bad images.

use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    harness::{AUTOENCODER, CONTRASTIVE, DENOISER, Server},
    images::{data_uri, jpeg, png, truncated_jpeg, uri},
};

#[tokio::test]
async fn raw_multipart_and_json_give_the_same_answer() {
    let server = Server::start().await;
    for route in ["embeddings", "reconstruct", "anomaly"] {
        let path = format!("/v1/{route}");
        let query = format!("{path}?model={AUTOENCODER}");
        let as_json = server.post(&path, json!({"model": AUTOENCODER, "images": [uri(3)]})).await.ok();
        for media in ["image/png", "image/jpeg", "application/octet-stream", "application/x-www-form-urlencoded"] {
            assert_eq!(server.post_raw(&query, media, png(3)).await.ok(), as_json, "{media}");
        }
        assert_eq!(
            server.post_form(&path, &[("model", AUTOENCODER.as_bytes()), ("image", &png(3))]).await.ok(),
            as_json
        );
        assert_eq!(server.post_form(&query, &[("image", &png(3))]).await.ok(), as_json);
    }
}

#[tokio::test]
async fn an_image_in_json_has_several_forms() {
    let server = Server::start().await;
    let file = png(3);
    let forms = [
        json!(data_uri(&file)),
        json!(STANDARD.encode(&file)),
        json!(URL_SAFE_NO_PAD.encode(&file)),
        json!({"b64": STANDARD.encode(&file)}),
    ];
    let list = server.post("/v1/embeddings", json!({"model": CONTRASTIVE, "images": forms})).await.ok();
    let data = list["data"].as_array().unwrap();
    assert_eq!(data.len(), 4);
    assert!(data.iter().all(|entry| entry["embedding"] == data[0]["embedding"]));
}

#[tokio::test]
async fn bad_images_are_refused_by_what_is_wrong_with_them() {
    let server = Server::start().await;
    let path = format!("/v1/embeddings?model={CONTRASTIVE}");
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec();
    let mut broken = png(1);
    let middle = broken.len() / 2;
    broken.truncate(middle);
    for (body, status, code) in [
        (Vec::new(), 400, "invalid_request"),
        (b"just some text".to_vec(), 422, "invalid_image"),
        (truncated_jpeg(), 422, "invalid_image"),
        (broken, 422, "invalid_image"),
        (svg, 415, "unsupported_media_type"),
    ] {
        server.post_raw(&path, "image/png", body).await.refused(status, code);
    }
    server.post_raw(&path, "image/png", png(1)).await.ok();
}

#[tokio::test]
async fn bad_images_among_good_ones_are_listed_beside_the_results() {
    let server = Server::start().await;
    let images = json!([uri(1), "%", data_uri(b"text"), {"url": "https://example.org/a.png"}, data_uri(&jpeg(2))]);
    let body = json!({"model": CONTRASTIVE, "images": images});
    let list = server.post("/v1/embeddings", body.clone()).await.ok();
    let indices = |key: &str| -> Vec<u64> {
        list[key].as_array().unwrap().iter().map(|entry| entry["index"].as_u64().unwrap()).collect()
    };
    assert_eq!((indices("data"), indices("errors")), (vec![0, 4], vec![1, 2, 3]));
    let codes: Vec<&Value> = list["errors"].as_array().unwrap().iter().map(|error| &error["code"]).collect();
    assert_eq!(codes, ["invalid_request", "invalid_image", "forbidden"]);
    assert!(list["errors"][0]["message"].as_str().unwrap().contains("base64"));

    let strict = json!({"model": CONTRASTIVE, "images": body["images"], "strict": true});
    server.post("/v1/embeddings", strict).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn what_is_no_image_at_all_is_its_own_error() {
    let server = Server::start().await;
    let misshapen =
        [json!(null), json!(5), json!(true), json!({}), json!([uri(1)]), json!({"b64": 5}), json!({"a": {}})];
    let images = json!([misshapen.to_vec(), vec![json!(uri(1))]].concat());
    let list = server.post("/v1/embeddings", json!({"model": CONTRASTIVE, "images": images})).await.ok();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!(list["data"][0]["index"], misshapen.len());
    let errors = list["errors"].as_array().unwrap();
    assert_eq!(errors.len(), misshapen.len());
    assert!(errors.iter().all(|error| error["code"] == "invalid_request"), "{errors:?}");
    for image in misshapen {
        let body = json!({"model": CONTRASTIVE, "images": [uri(1), image], "strict": true});
        server.post("/v1/embeddings", body).await.refused(400, "invalid_request");
    }
}

#[tokio::test]
async fn when_all_images_are_bad_the_first_ones_code_is_the_answers() {
    let server = Server::start().await;
    for (images, status, code) in [
        (json!([data_uri(b"text"), "%"]), 422, "invalid_image"),
        (json!(["%", data_uri(b"text")]), 400, "invalid_request"),
        (json!([{"url": "https://example.org/a.png"}]), 403, "forbidden"),
    ] {
        server.post("/v1/embeddings", json!({"model": CONTRASTIVE, "images": images})).await.refused(status, code);
    }
}

#[tokio::test]
async fn requests_without_images_are_refused() {
    let server = Server::start().await;
    for path in ["/v1/embeddings", "/v1/reconstruct", "/v1/denoise", "/v1/anomaly", "/v1/preprocess"] {
        let with_model = format!("{path}?model={AUTOENCODER}");
        server.post(path, json!({"model": AUTOENCODER, "images": []})).await.refused(400, "invalid_request");
        server.post(path, json!({"model": AUTOENCODER})).await.refused(400, "invalid_request");
        server.post_raw(&with_model, "image/png", "").await.refused(400, "invalid_request");
        server.post_raw(path, "application/json", "").await.refused(400, "invalid_request");
        server.post_form(&with_model, &[("strict", b"true")]).await.refused(400, "invalid_request");
    }
}

#[tokio::test]
async fn malformed_bodies_are_refused() {
    let server = Server::start().await;
    for (media, body) in [
        ("application/json", "{"),
        ("application/json", "[]"),
        ("application/json", "{\"model\": \"tiny-ae\", \"images\": [1]}"),
        ("application/json", "{\"model\": \"tiny-ae\", \"images\": \"AA\"}"),
        ("application/json", "{\"model\": 5, \"images\": [\"AA\"]}"),
        ("multipart/form-data", "x"),
        ("multipart/form-data; boundary=B", "--B\r\n"),
    ] {
        server.post_raw("/v1/reconstruct", media, body).await.refused(400, "invalid_request");
    }
}

#[tokio::test]
async fn the_model_is_required_and_must_be_there() {
    let server = Server::start().await;
    for path in ["/v1/embeddings", "/v1/reconstruct", "/v1/denoise", "/v1/anomaly", "/v1/preprocess"] {
        let detail = server.post(path, json!({"images": [uri(1)]})).await.refused(400, "invalid_request");
        assert!(detail.contains("`model` is missing"), "{detail}");
        server.post(path, json!({"model": "none", "images": [uri(1)]})).await.refused(404, "model_not_found");
    }
}

#[tokio::test]
async fn unknown_options_are_named_wherever_they_stand() {
    let server = Server::start().await;
    let body = json!({"model": AUTOENCODER, "images": [uri(1)]});
    let mut unknown = body.clone();
    unknown["colour"] = json!("red");
    let file = png(1);
    for answer in [
        server.post("/v1/reconstruct", unknown).await,
        server.post("/v1/reconstruct?colour=red", body).await,
        server.post_raw("/v1/reconstruct?model=tiny-ae&colour=red", "image/png", file.clone()).await,
        server.post_form("/v1/reconstruct?model=tiny-ae", &[("image", &file), ("colour", b"red")]).await,
    ] {
        let detail = answer.refused(400, "invalid_request");
        assert!(detail.contains("`colour`") && detail.contains("model, strict"), "{detail}");
    }
}

#[tokio::test]
async fn options_from_several_places_must_agree() {
    let server = Server::start().await;
    let body = json!({"model": AUTOENCODER, "images": [uri(1)], "strict": true, "dimensions": 4});
    server.post("/v1/embeddings?strict=true&dimensions=4&model=tiny-ae", body.clone()).await.ok();
    for query in ["strict=false", "dimensions=5", "model=tiny-contrastive", "dimensions=4&dimensions=5"] {
        let answer = server.post(&format!("/v1/embeddings?{query}"), body.clone()).await;
        assert!(answer.refused(400, "invalid_request").contains("given twice"), "{query}");
    }
    let parts: &[(&str, &[u8])] = &[("image", &png(1)), ("model", b"tiny-ae"), ("model", b"tiny-dae")];
    server.post_form("/v1/embeddings", parts).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn an_option_of_the_wrong_type_is_named() {
    let server = Server::start().await;
    for query in
        ["dimensions=many", "dimensions=-1", "strict=perhaps", "normalize=2", "pooling=max", "encoding_format=hex"]
    {
        let path = format!("/v1/embeddings?model={CONTRASTIVE}&{query}");
        let detail = server.post_raw(&path, "image/png", png(1)).await.refused(400, "invalid_request");
        assert!(detail.contains(query.split('=').next().unwrap()), "{detail}");
    }
}

#[tokio::test]
async fn values_are_taken_as_other_languages_write_them() {
    let server = Server::start().await;
    let expected =
        server.post("/v1/embeddings", json!({"model": CONTRASTIVE, "images": [uri(1)], "dimensions": 4})).await;
    for query in ["strict=True&normalize=TRUE&dimensions=4", "strict=false&dimensions=4.0"] {
        let path = format!("/v1/embeddings?model={CONTRASTIVE}&{query}");
        assert_eq!(server.post_raw(&path, "image/png", png(1)).await.ok(), expected.ok(), "{query}");
    }
    let body = json!({"model": CONTRASTIVE, "images": [uri(1)], "dimensions": 4.0});
    assert_eq!(server.post("/v1/embeddings", body.clone()).await.ok(), expected.ok());
    let marked = format!("\u{feff}{body}");
    assert_eq!(server.post_raw("/v1/embeddings", "application/json", marked).await.ok(), expected.ok());
    let base64 = STANDARD.encode(png(1));
    let (start, rest) = base64.split_at(21);
    for spaced in
        [format!("{start} {rest}"), format!(" {start}\r\n\t{rest}\n"), format!("data:image/png;base64,{start} {rest}")]
    {
        let body = json!({"model": CONTRASTIVE, "image": spaced, "dimensions": 4});
        assert_eq!(server.post("/v1/embeddings", body).await.ok(), expected.ok(), "{spaced}");
    }
}

#[tokio::test]
async fn one_image_may_stand_in_image_and_unknown_fields_are_told_the_names_of_the_body() {
    let server = Server::start().await;
    for route in ["embeddings", "reconstruct", "denoise", "anomaly", "preprocess"] {
        let model = if route == "denoise" { DENOISER } else { AUTOENCODER };
        let path = format!("/v1/{route}");
        let one = server.post(&path, json!({"model": model, "image": uri(1)})).await;
        let list = server.post(&path, json!({"model": model, "images": [uri(1)]})).await;
        assert_eq!((one.status, &one.body), (200, &list.body), "{route}: {}", one.text());
        let detail =
            server.post(&path, json!({"model": model, "picture": uri(1)})).await.refused(400, "invalid_request");
        assert!(detail.contains("unknown option `picture`; known here: images, image"), "{detail}");
    }
    let detail = server.post("/v1/embeddings", json!({"picture": 1})).await.refused(400, "invalid_request");
    assert!(detail.contains("images, image, input, model"), "{detail}");
}

#[tokio::test]
async fn bodies_that_are_sent_in_the_wrong_way_are_told_the_right_one() {
    let server = Server::start().await;
    let path = format!("/v1/embeddings?model={CONTRASTIVE}");
    let file = png(1);
    let form = server.post_form(&path, &[("file", &file)]).await.refused(400, "invalid_request");
    assert!(form.contains("the form has no part named `image`; it has `file`"), "{form}");
    let json = json!({"model": CONTRASTIVE, "images": [uri(1)]}).to_string();
    for media in ["", "text/plain", "application/x-www-form-urlencoded"] {
        let detail = server.post_raw(&path, media, json.clone()).await.refused(422, "invalid_image");
        assert!(detail.contains("content-type: application/json") && !detail.contains("curl"), "{detail}");
    }
    for broken in [jpeg(1), truncated_jpeg(), file] {
        let stripped: Vec<u8> = broken.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)).collect();
        let plain = server.post_raw(&path, "image/jpeg", stripped.clone()).await.refused(422, "invalid_image");
        assert!(!plain.contains("--data-binary"), "{plain}");
        let media = "application/x-www-form-urlencoded; charset=utf-8";
        let detail = server.post_raw(&path, media, stripped).await.refused(422, "invalid_image");
        assert!(detail.contains("--data-binary"), "{detail}");
    }
}

#[tokio::test]
async fn a_large_form_is_read_as_a_small_one() {
    let server = Server::start().await;
    let noise = vec![0; 100_000];
    let parts: &[(&str, &[u8])] = &[("image", &png(1)), ("image", &noise), ("model", CONTRASTIVE.as_bytes())];
    let list = server.post_form("/v1/embeddings", parts).await.ok();
    assert_eq!((&list["data"][0]["index"], &list["errors"][0]["index"]), (&json!(0), &json!(1)));
    let images = json!([uri(1), data_uri(&noise)]);
    assert_eq!(server.post("/v1/embeddings", json!({"model": CONTRASTIVE, "images": images})).await.ok(), list);
}
