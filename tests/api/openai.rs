//! OpenAI's contract on `/v1/embeddings`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    harness::{Answer, CONTRASTIVE, DENOISER, Server, floats},
    images::{data_uri, png, uri},
};

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    let error = answer.json()["error"].clone();
    assert_eq!(error["code"], code, "{error}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
    assert_eq!(error["type"], "invalid_request_error");
    error
}

#[tokio::test]
async fn inputs_become_one_entry_each_in_their_order() {
    let server = Server::start().await;
    let native = server.post("/v1/embeddings", json!({"model": CONTRASTIVE, "images": [uri(1), uri(2)]})).await.ok();
    let jina = json!([{"image": STANDARD.encode(png(1))}, {"image": uri(2)}]);
    for input in [json!([uri(1), uri(2)]), json!([STANDARD.encode(png(1)), uri(2)]), jina] {
        let list = server.post("/v1/embeddings", json!({"model": CONTRASTIVE, "input": input})).await.ok();
        assert_eq!(list["data"], native["data"]);
        assert_eq!((&list["object"], &list["model"]), (&"list".into(), &CONTRASTIVE.into()));
        assert_eq!(list["usage"], json!({"prompt_tokens": 0, "total_tokens": 0}));
        assert!(list.get("errors").is_none());
    }
    let one = server.post("/v1/embeddings", json!({"model": CONTRASTIVE, "input": uri(1)})).await.ok();
    assert_eq!(one["data"], json!([native["data"][0]]));
}

#[tokio::test]
async fn what_clients_send_beside_the_input_is_accepted() {
    let server = Server::start().await;
    let body = json!({
        "model": CONTRASTIVE, "input": [uri(1)], "encoding_format": "base64", "dimensions": 4,
        "modality": "image", "user": "somebody"
    });
    let encoded = server.post("/v1/embeddings", body).await.ok();
    let body = json!({"model": CONTRASTIVE, "input": [uri(1)], "dimensions": 4, "encoding_format": null, "user": null});
    let plain = server.post("/v1/embeddings", body).await.ok();
    let bytes = STANDARD.decode(encoded["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let numbers: Vec<f32> = bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    assert_eq!(numbers, floats(&plain["data"][0]["embedding"]));
    assert_eq!(numbers.len(), 4);
}

#[tokio::test]
async fn a_bad_input_fails_the_request_and_is_named() {
    let server = Server::start().await;
    for (bad, code) in [
        (json!(data_uri(b"text")), "invalid_image"),
        (json!("a photo of a cat"), "invalid_request"),
        (json!("https://example.org/a.png"), "forbidden"),
        (json!({"text": "a cat"}), "invalid_request"),
        (json!(data_uri(&crate::images::enormous_png())), "image_too_large"),
        (json!([1, 2, 3]), "invalid_request"),
        (json!(5), "invalid_request"),
        (json!(null), "invalid_request"),
        (json!({}), "invalid_request"),
        (json!({"image": 5}), "invalid_request"),
        (json!({"audio": "AA"}), "invalid_request"),
    ] {
        let answer = server.post("/v1/embeddings", json!({"model": CONTRASTIVE, "input": [uri(1), bad]})).await;
        assert_eq!(refused(&answer, 400, code)["param"], "input[1]");
    }
}

#[tokio::test]
async fn other_errors_stand_in_the_same_envelope() {
    let server = Server::start().await;
    for (body, status, code) in [
        (json!({"model": "none", "input": uri(1)}), 404, "model_not_found"),
        (json!({"input": uri(1)}), 400, "invalid_request"),
        (json!({"model": CONTRASTIVE, "input": []}), 400, "invalid_request"),
        (json!({"model": CONTRASTIVE, "input": [uri(1)], "colour": "red"}), 400, "invalid_request"),
        (json!({"model": CONTRASTIVE, "input": [uri(1)], "dimensions": 100_000}), 400, "invalid_request"),
        (json!({"model": CONTRASTIVE, "input": [uri(1)], "images": [uri(1)]}), 400, "invalid_request"),
        (json!({"model": CONTRASTIVE, "input": [uri(1)], "modality": "text"}), 400, "invalid_request"),
        (json!({"model": DENOISER, "input": [uri(1)]}), 422, "capability_not_supported"),
        (json!({"model": CONTRASTIVE, "input": vec![uri(1); 65]}), 413, "payload_too_large"),
    ] {
        assert!(refused(&server.post("/v1/embeddings", body).await, status, code)["param"].is_null());
    }
}

#[tokio::test]
async fn tokens_are_one_bad_input_however_many_they_are() {
    let server = Server::start().await;
    for input in [json!([1, 2, 3]), json!(vec![1; 500]), json!([[1, 2], [3]]), json!(5), json!(true), json!({})] {
        let answer = server.post("/v1/embeddings", json!({"model": CONTRASTIVE, "input": input})).await;
        let error = refused(&answer, 400, "invalid_request");
        assert_eq!(error["param"], "input[0]", "{error}");
    }
}

#[tokio::test]
async fn bodies_of_odd_shape_are_told_in_the_envelope_too() {
    let server = Server::start().await;
    let image = uri(1);
    let input = format!("\"input\": \"{image}\"");
    for (query, body, status, code) in [
        ("", format!("{{\"model\": \"{CONTRASTIVE}\", \"input\": null}}"), 400, "invalid_request"),
        ("", format!("{{\"model\": \"{CONTRASTIVE}\", {input}, {input}}}"), 400, "invalid_request"),
        ("", format!("{{\"model\": \"a\", \"model\": \"b\", {input}}}"), 400, "invalid_request"),
        ("", format!("{{\"model\": \"{CONTRASTIVE}\", \"images\": 5, {input}}}"), 400, "invalid_request"),
        ("", format!("{{\"model\": \"{CONTRASTIVE}\", {input}, "), 400, "invalid_request"),
        ("", format!("{{\"model\": 5, {input}}}"), 400, "invalid_request"),
        ("", format!("{{\"model\": \"No Name\", {input}}}"), 404, "model_not_found"),
        ("?model=other", format!("{{\"model\": \"{CONTRASTIVE}\", {input}}}"), 400, "invalid_request"),
        ("?colour=red", format!("{{\"model\": \"{CONTRASTIVE}\", {input}}}"), 400, "invalid_request"),
    ] {
        let answer = server.post_raw(&format!("/v1/embeddings{query}"), "application/json", body).await;
        assert!(refused(&answer, status, code)["param"].is_null());
    }
    let large = format!("{{\"model\": \"a\", \"model\": \"b\", \"input\": \"{}\"}}", "A".repeat(100_000));
    refused(&server.post_raw("/v1/embeddings", "application/json", large).await, 400, "invalid_request");
}
