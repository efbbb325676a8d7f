use serde_json::{Value, json};

use crate::{
    harness::{AUTOENCODER, Server},
    images::{data_uri, enormous_png, file_of, painted, pixels, png, size_of, truncated_jpeg, uri},
};

const MASKED: &str = "tiny-mae";

/// Each quarter of 8 × 8 pixels has a colour of its own.
fn quarters() -> Vec<u8> {
    painted(8, |x, y| [if x < 4 { 40 } else { 200 }, if y < 4 { 80 } else { 160 }, 120])
}

async fn server() -> Server {
    Server::with(&[MASKED, AUTOENCODER], |_| ()).await
}

fn request(options: Value) -> Value {
    let mut body = json!({"model": MASKED, "images": [data_uri(&quarters())]});
    body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    body
}

fn patches(answer: &Value) -> &Value {
    &answer["data"][0]["patches"]
}

#[tokio::test]
async fn named_patches_are_filled_and_the_visible_ones_stay_as_they_were() {
    let server = server().await;
    let answer = server.post("/v1/inpaint", request(json!({"patches": [3, 0]}))).await.ok();
    assert_eq!((&answer["model"], patches(&answer)), (&json!(MASKED), &json!([0, 3])));
    assert!(answer["space_key"].as_str().unwrap().starts_with("tiny-mae@"));
    let entry = &answer["data"][0];
    let (before, after) = (pixels(&quarters()), pixels(&file_of(&entry["image"], "image/png")));
    let masked = pixels(&file_of(&entry["masked"], "image/png"));
    for at in 0..64 {
        let (x, y) = (at % 8, at / 8);
        let (was, is, shown) = (&before[at * 3..][..3], &after[at * 3..][..3], &masked[at * 3..][..3]);
        if (x < 4) == (y < 4) {
            // the mean of the two visible quarters
            assert_eq!((is, shown), (&[120, 120, 120][..], &[128, 128, 128][..]), "{x} {y}");
        } else {
            assert_eq!((is, shown), (was, was), "{x} {y}");
        }
    }
}

#[tokio::test]
async fn a_ratio_hides_its_share_and_repeats_with_its_seed() {
    let server = server().await;
    for (ratio, hidden) in [(0.0, 0), (0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)] {
        let answer = server.post("/v1/inpaint", request(json!({"mask_ratio": ratio, "seed": 5}))).await.ok();
        assert_eq!(patches(&answer).as_array().unwrap().len(), hidden, "{ratio}");
        assert_eq!(server.post("/v1/inpaint", request(json!({"mask_ratio": ratio, "seed": 5}))).await.ok(), answer);
    }
    let by_seed = |seed: u64| server.post("/v1/inpaint", request(json!({"mask_ratio": 0.5, "seed": seed})));
    let first = patches(&by_seed(0).await.ok()).clone();
    let mut others = Vec::new();
    for seed in 1..20 {
        others.push(patches(&by_seed(seed).await.ok()).clone());
    }
    assert!(others.iter().any(|other| *other != first), "the seed changes nothing");
}

#[tokio::test]
async fn the_models_own_share_is_hidden_where_nothing_is_said() {
    let server = server().await;
    let answer = server.post("/v1/inpaint", request(json!({}))).await.ok();
    assert_eq!(patches(&answer).as_array().unwrap().len(), 3);
    assert_eq!(server.post("/v1/inpaint", request(json!({"seed": 0, "mask_ratio": 0.75}))).await.ok(), answer);
}

#[tokio::test]
async fn the_same_patches_of_every_image_are_hidden() {
    let server = server().await;
    let body = json!({"model": MASKED, "images": [uri(1), uri(2), uri(3)], "mask_ratio": 0.5, "seed": 9});
    let answer = server.post("/v1/inpaint", body).await.ok();
    let hidden: Vec<&Value> = answer["data"].as_array().unwrap().iter().map(|entry| &entry["patches"]).collect();
    assert!(hidden.len() == 3 && hidden.iter().all(|patches| *patches == hidden[0]), "{hidden:?}");
}

#[tokio::test]
async fn a_painted_mask_hides_where_it_is_dark_however_it_is_sent() {
    let server = server().await;
    let mask = painted(32, |x, y| if x >= 16 && y < 16 { [20, 20, 20] } else { [255, 255, 255] });
    let answer = server.post("/v1/inpaint", request(json!({"mask": data_uri(&mask)}))).await.ok();
    assert_eq!(patches(&answer), &json!([1]));
    let parts = [("image", &quarters()[..]), ("mask", &mask[..]), ("model", MASKED.as_bytes())];
    assert_eq!(server.post_form("/v1/inpaint", &parts).await.ok(), answer);
    assert_eq!(server.post("/v1/inpaint", request(json!({"patches": [1]}))).await.ok(), answer);
    let raw = server.post_raw(&format!("/v1/inpaint?model={MASKED}&patches=[1]"), "image/png", quarters()).await;
    assert_eq!(raw.ok(), answer);
}

#[tokio::test]
async fn what_is_to_be_hidden_is_said_once_and_makes_sense() {
    let server = server().await;
    let mask = uri(1);
    for (options, part) in [
        (json!({"patches": [0], "mask_ratio": 0.5}), "said once"),
        (json!({"patches": [0], "seed": 1}), "said once"),
        (json!({"patches": [0], "mask": mask}), "said once"),
        (json!({"mask": mask, "mask_ratio": 0.5}), "said once"),
        (json!({"patches": [4]}), "no patch 4: they are 0 to 3"),
        (json!({"patches": [1, 1]}), "twice"),
        (json!({"patches": [-1]}), "patches"),
        (json!({"patches": 1}), "patches"),
        (json!({"mask_ratio": 1.5}), "mask_ratio is in 0…1"),
        (json!({"mask_ratio": -0.1}), "mask_ratio is in 0…1"),
        (json!({"seed": -1}), "seed"),
        (json!({"ratio": 0.5}), "unknown option `ratio`"),
    ] {
        let detail = server.post("/v1/inpaint", request(options.clone())).await.refused(400, "invalid_request");
        assert!(detail.contains(part), "{options}: {detail}");
    }
}

#[tokio::test]
async fn a_mask_that_is_no_image_fails_the_request_and_says_that_it_is_the_mask() {
    let server = server().await;
    for (mask, status, code) in [
        (truncated_jpeg(), 422, "invalid_image"),
        (enormous_png(), 413, "image_too_large"),
        (b"text".to_vec(), 422, "invalid_image"),
    ] {
        let detail = server.post("/v1/inpaint", request(json!({"mask": data_uri(&mask)}))).await.refused(status, code);
        assert!(detail.starts_with("`mask`: "), "{detail}");
    }
    let parts = [("image", &quarters()[..]), ("mask", &mask_bytes()[..]), ("mask", &mask_bytes()[..])];
    let path = format!("/v1/inpaint?model={MASKED}");
    assert!(server.post_form(&path, &parts).await.refused(400, "invalid_request").contains("`mask` is given twice"));
}

fn mask_bytes() -> Vec<u8> {
    png(1)
}

#[tokio::test]
async fn a_bad_image_fails_alone() {
    let server = server().await;
    let images = [uri(1), data_uri(&truncated_jpeg())];
    let body = json!({"model": MASKED, "images": images, "patches": [0]});
    let answer = server.post("/v1/inpaint", body).await.ok();
    assert_eq!((answer["data"].as_array().unwrap().len(), &answer["errors"][0]["index"]), (1, &json!(1)));
    let body = json!({"model": MASKED, "images": images, "patches": [0], "strict": true});
    server.post("/v1/inpaint", body).await.refused(422, "invalid_image");
}

#[tokio::test]
async fn one_image_comes_bare_to_who_accepts_png() {
    let server = server().await;
    let list = server.post("/v1/inpaint", request(json!({"patches": [0]}))).await.ok();
    let bare = server.post_accepting("/v1/inpaint", "image/png", request(json!({"patches": [0]}))).await;
    assert_eq!(bare.body, file_of(&list["data"][0]["image"], "image/png"));
    assert_eq!(size_of(&bare.body), (8, 8));
    assert_eq!(bare.header("x-latentd-space-key"), list["space_key"].as_str().unwrap());
}

#[tokio::test]
async fn a_model_that_hides_nothing_does_not_inpaint() {
    let server = server().await;
    let body = json!({"model": AUTOENCODER, "images": [uri(1)]});
    let detail = server.post("/v1/inpaint", body).await.refused(422, "capability_not_supported");
    assert!(detail.contains("embed, reconstruct, score"), "{detail}");
}
