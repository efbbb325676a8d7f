use serde_json::{Value, json};

use crate::{
    harness::{AUTOENCODER, CONTRASTIVE, Server},
    images::{painted, png, truncated_jpeg, uri},
};

const PATH: &str = "/v1/models/tiny-ae/calibrations/line-1";

fn uris(seeds: std::ops::Range<u32>) -> Vec<String> {
    seeds.map(uri).collect()
}

/// A server with the calibration `line-1` of so many images.
async fn calibrated(count: u32) -> Server {
    let server = Server::start().await;
    let made = server.put(PATH, json!({"images": uris(0..count)})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    server
}

async fn scores(server: &Server, images: &[String]) -> Vec<f64> {
    let list = server.post("/v1/anomaly", json!({"model": AUTOENCODER, "images": images})).await.ok();
    list["data"].as_array().unwrap().iter().map(|entry| entry["score"].as_f64().unwrap()).collect()
}

async fn judged(server: &Server, mut options: Value) -> Value {
    options["model"] = AUTOENCODER.into();
    options["calibration"] = options.get("calibration").cloned().unwrap_or_else(|| "line-1".into());
    if options.get("images").is_none() {
        options["images"] = json!(uris(30..34));
    }
    server.post("/v1/anomaly", options).await.ok()
}

#[tokio::test]
async fn a_calibration_describes_the_scores_of_its_images() {
    let server = Server::start().await;
    let made = server.put(PATH, json!({"images": uris(0..20)})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    assert_eq!((&made["name"], &made["model"], &made["version"]), (&json!("line-1"), &json!(AUTOENCODER), &json!(1)));
    assert_eq!((&made["metric"], &made["pooling"], &made["sigma"]), (&json!("mse"), &json!("mean"), &json!(0.0)));
    assert_eq!((&made["count"], &made["groups"], &made["errors"]), (&json!(20), &Value::Null, &json!([])));
    assert_eq!((&made["ties"], &made["stale"]), (&json!(0.0), &json!(false)));
    assert!(made["score_key"].as_str().unwrap().starts_with("tiny-ae#"), "{made}");
    let mut sorted = scores(&server, &uris(0..20)).await;
    sorted.sort_by(f64::total_cmp);
    let median = f64::midpoint(sorted[9], sorted[10]);
    assert!((made["quantiles"]["0.5"].as_f64().unwrap() - median).abs() < 1e-12, "{made}");
    assert!(made["quantiles"]["0.99"].as_f64().unwrap() > made["quantiles"]["0.9"].as_f64().unwrap());
    let described = server.get(PATH).await.ok();
    assert_eq!(described["score_key"], made["score_key"]);
    let list = server.get("/v1/models/tiny-ae/calibrations").await.ok();
    assert_eq!(list["data"], json!([described]));
    assert_eq!(server.get("/v1/models/tiny-dae/calibrations").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn images_are_judged_by_their_rank_among_the_calibration() {
    let server = calibrated(20).await;
    let calibration = scores(&server, &uris(0..20)).await;
    let expected = |score: f64| {
        let reaching = calibration.iter().filter(|calibrated| **calibrated >= score).count();
        (1 + reaching) as f64 / 21.0
    };
    let answer = judged(&server, json!({"images": uris(15..40), "false_positive_rate": 0.1, "review_rate": 0.3})).await;
    for entry in answer["data"].as_array().unwrap() {
        let (score, p_value) = (entry["score"].as_f64().unwrap(), entry["p_value"].as_f64().unwrap());
        assert!((p_value - expected(score)).abs() < 1e-12, "{entry}");
        let verdict = if p_value <= 0.1 {
            "anomalous"
        } else if p_value <= 0.3 {
            "review"
        } else {
            "ok"
        };
        assert_eq!(entry["verdict"], verdict, "{entry}");
        assert_eq!(entry["anomalous"], p_value <= 0.1, "{entry}");
        assert_eq!(entry["anomalous"], score > entry["threshold"].as_f64().unwrap(), "{entry}");
        let normalized = entry["normalized"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&normalized) && (normalized > 0.5) == (p_value <= 0.1), "{entry}");
    }
    let by = &answer["calibration"];
    assert_eq!((&by["name"], &by["version"], &by["count"]), (&json!("line-1"), &json!(1), &json!(20)));
    assert_eq!((&by["groups"], &by["false_positive_rate"]), (&Value::Null, &json!(0.1)));
    let interval: Vec<f64> = by["interval"].as_array().unwrap().iter().map(|end| end.as_f64().unwrap()).collect();
    // The quantiles of Beta(2, 19) at 0.025 and 0.975.
    assert!((interval[0] - 0.012_349).abs() < 1e-5 && (interval[1] - 0.248_733).abs() < 1e-5, "{interval:?}");
}

#[tokio::test]
async fn without_a_calibration_the_answer_is_the_raw_score_and_rates_are_refused() {
    let server = calibrated(20).await;
    let raw = server.post("/v1/anomaly", json!({"model": AUTOENCODER, "images": [uri(1)]})).await.ok();
    assert!(raw.get("calibration").is_none());
    assert_eq!(raw["data"][0].as_object().unwrap().keys().collect::<Vec<_>>(), ["index", "score", "metric"]);
    for (name, value) in [
        ("false_positive_rate", json!(0.1)),
        ("review_rate", json!(0.1)),
        ("guarantee", json!("marginal")),
        ("fdr", json!(0.1)),
        ("ties", json!("random")),
        ("seed", json!(1)),
        ("stream", json!("default")),
    ] {
        let mut body = json!({"model": AUTOENCODER, "images": [uri(1)]});
        body[name] = value;
        let detail = server.post("/v1/anomaly", body).await.refused(400, "invalid_request");
        assert!(detail.contains(name) && detail.contains("calibration"), "{detail}");
    }
}

#[tokio::test]
async fn a_rate_that_the_calibration_cannot_give_says_how_many_normals_it_takes() {
    let server = calibrated(20).await;
    let refused = async |options: Value| {
        let mut body = json!({"model": AUTOENCODER, "images": [uri(1)], "calibration": "line-1"});
        body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        server.post("/v1/anomaly", body).await.refused(400, "invalid_request")
    };
    let detail = refused(json!({"false_positive_rate": 0.01})).await;
    assert!(detail.contains("takes 99 normal images; the calibration has 20"), "{detail}");
    let detail = refused(json!({"false_positive_rate": 0.05, "guarantee": "conditional"})).await;
    assert!(detail.contains("takes 45 normal images"), "{detail}");
    for rate in [0.0, 1.0, -0.5] {
        assert!(refused(json!({"false_positive_rate": rate})).await.contains("above 0 and below 1"));
    }
    assert!(refused(json!({"false_positive_rate": 0.2, "review_rate": 0.1})).await.contains("review_rate"));
    assert!(refused(json!({"false_positive_rate": 0.2, "fdr": 1.5})).await.contains("fdr"));
    // Where none is named, it is the lowest that there can be, and the answer says so.
    let by = judged(&server, json!({})).await["calibration"].clone();
    assert!((by["false_positive_rate"].as_f64().unwrap() - 1.0 / 21.0).abs() < 1e-12, "{by}");
    assert!(by["warnings"].to_string().contains("too small for the false_positive_rate of 0.01"), "{by}");
}

#[tokio::test]
async fn groups_count_in_place_of_images() {
    let server = Server::start().await;
    let groups: Vec<String> = (0..24).map(|at| format!("part-{}", at / 2)).collect();
    let made = server.put(PATH, json!({"images": uris(0..24), "groups": groups})).await.json();
    assert_eq!((&made["count"], &made["groups"]), (&json!(24), &json!(12)));
    let answer =
        judged(&server, json!({"false_positive_rate": 0.2, "images": [uri(30), data(&painted_noise())]})).await;
    assert_eq!(answer["calibration"]["groups"], 12);
    let strange = &answer["data"][1];
    // One draw a group, combined by twice the median.
    assert!((strange["p_value"].as_f64().unwrap() - 2.0 / 13.0).abs() < 1e-12, "{strange}");
    assert_eq!(strange["verdict"], "anomalous");
    let again = judged(&server, json!({"false_positive_rate": 0.2, "images": [uri(30), data(&painted_noise())]})).await;
    assert_eq!(again["data"], answer["data"]);
    let low = judged(&server, json!({"false_positive_rate": 0.08, "images": [data(&painted_noise())]})).await;
    assert_eq!((&low["data"][0]["verdict"], &low["data"][0]["threshold"]), (&json!("ok"), &Value::Null));
    assert!(low["calibration"]["warnings"].to_string().contains("no image can be anomalous"), "{low}");
    let refused = server.put(PATH, json!({"images": uris(0..3), "groups": ["a", "b"]})).await;
    assert!(refused.refused(400, "invalid_request").contains("2 groups for 3 images"));
    let refused = server.put(PATH, json!({"images": uris(0..3), "groups": ["a", "a", "a"]})).await;
    assert!(refused.refused(400, "invalid_request").contains("1 groups of normal images"));
}

/// An image that the tiny autoencoder, which keeps a mean of each quarter, cannot make.
fn painted_noise() -> Vec<u8> {
    painted(16, |x, y| if (x / 4 + y / 4) % 2 == 0 { [0; 3] } else { [255; 3] })
}

fn data(file: &[u8]) -> String {
    crate::images::data_uri(file)
}

#[tokio::test]
async fn labelled_anomalies_evaluate_and_do_not_calibrate() {
    let server = Server::start().await;
    let mut images = uris(0..10);
    images.push(data(&painted_noise()));
    let mut labels = vec![Some("good"); 10];
    labels[3] = None;
    labels.push(Some("checks"));
    let made = server.put(PATH, json!({"images": images, "labels": labels})).await.json();
    assert_eq!(made["count"], 10);
    assert_eq!((&made["evaluation"]["auroc"], &made["evaluation"]["average_precision"]), (&json!(1.0), &json!(1.0)));
    assert_eq!(made["evaluation"]["rates"][0], json!({"false_positive_rate": 0.01, "recall": 1.0}));
    assert_eq!(made["evaluation"]["f1_best"]["f1"], 1.0);
    let refused = server.put(PATH, json!({"images": uris(0..3), "labels": ["good"]})).await;
    assert!(refused.refused(400, "invalid_request").contains("1 labels for 3 images"));
}

#[tokio::test]
async fn forms_raw_bodies_and_collections_calibrate_as_json_does() {
    let server = Server::with(&[CONTRASTIVE, AUTOENCODER], |_| ()).await;
    let expected = server.put(PATH, json!({"images": uris(0..4), "groups": ["a", "b", "c", "d"]})).await.json();
    let files: Vec<Vec<u8>> = (0..4).map(png).collect();
    let mut parts: Vec<(&str, &[u8])> = Vec::new();
    for (file, group) in files.iter().zip(["a", "b", "c", "d"]) {
        parts.extend([("image", file.as_slice()), ("group", group.as_bytes())]);
    }
    let body = crate::harness::form(&parts);
    let form = [("content-type", "multipart/form-data; boundary=BOUNDARY")];
    let path = PATH.replace("line-1", "by-form");
    let made = server.send(crate::harness::request("PUT", &path, &form, body.into())).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!((&made.json()["quantiles"], &made.json()["groups"]), (&expected["quantiles"], &json!(4)));

    let items = server.collection("normals", CONTRASTIVE).await + "/items";
    for (at, file) in files.iter().enumerate() {
        let metadata = format!("?metadata=%7B%22part%22%3A{at}%2C%22kind%22%3A%22good%22%7D");
        server.post_raw(&format!("{items}{metadata}"), "image/png", file.clone()).await.ok();
    }
    let path = PATH.replace("line-1", "by-collection");
    let body = json!({"collection": "normals", "group_key": "part", "label_key": "kind",
        "filter": {"must": [{"key": "kind", "match": "good"}]}});
    let made = server.put(&path, body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!((&made.json()["quantiles"], &made.json()["groups"]), (&expected["quantiles"], &json!(4)));

    for body in [json!({}), json!({"collection": "normals", "images": uris(0..2)}), json!({"images": []})] {
        server.put(PATH, body).await.refused(400, "invalid_request");
    }
    server.put(PATH, json!({"collection": "none"})).await.refused(404, "collection_not_found");
}

#[tokio::test]
async fn what_cannot_calibrate_is_refused_and_bad_images_have_their_own_errors() {
    let server = Server::start().await;
    let refused = server.put(PATH, json!({"images": [uri(1)]})).await;
    assert!(refused.refused(400, "invalid_request").contains("1 normal images: a calibration takes 2"));
    let refused = server.put(PATH, json!({"images": vec![uri(1); 5]})).await;
    assert!(refused.refused(400, "invalid_request").contains("the same score"));
    let broken = data(&truncated_jpeg());
    let made = server.put(PATH, json!({"images": [uri(1), broken, uri(2)]})).await.json();
    assert_eq!(made["count"], 2);
    assert_eq!((&made["errors"][0]["index"], &made["errors"][0]["code"]), (&json!(1), &json!("invalid_image")));
    server.put(PATH, json!({"images": [broken]})).await.refused(422, "invalid_image");
    server.put(PATH, json!({"images": [uri(1), broken, uri(2)], "strict": true})).await.refused(422, "invalid_image");
    server.put("/v1/models/none/calibrations/a", json!({"images": uris(0..3)})).await.refused(404, "model_not_found");
    server
        .put("/v1/models/tiny-ae/calibrations/A", json!({"images": uris(0..3)}))
        .await
        .refused(400, "invalid_request");
    let contrastive = "/v1/models/tiny-contrastive/calibrations/a";
    server.put(contrastive, json!({"images": uris(0..3)})).await.refused(422, "capability_not_supported");
    for name in ["none", "None", "none@1", "line-1@7"] {
        let body = json!({"model": AUTOENCODER, "images": [uri(1)], "calibration": name});
        server.post("/v1/anomaly", body).await.refused(404, "calibration_not_found");
    }
    server.get("/v1/models/tiny-ae/calibrations/none").await.refused(404, "calibration_not_found");
    server.get("/v1/models/none/calibrations/none").await.refused(404, "model_not_found");
    server.delete("/v1/models/tiny-ae/calibrations/none").await.refused(404, "calibration_not_found");
}

#[tokio::test]
async fn more_normals_make_a_new_version_and_the_old_one_can_be_named() {
    let server = calibrated(10).await;
    let extended = server.post(&format!("{PATH}/items"), json!({"images": uris(10..15)})).await.ok();
    assert_eq!(
        (&extended["version"], &extended["count"], &extended["versions"]),
        (&json!(2), &json!(15), &json!([1, 2]))
    );
    let count = async |name: &str| judged(&server, json!({"calibration": name})).await["calibration"]["count"].clone();
    assert_eq!(
        (count("line-1").await, count("line-1@1").await, count("line-1@2").await),
        (json!(15), json!(10), json!(15))
    );
    assert_eq!(server.get(&format!("{PATH}@1")).await.ok()["count"], 10);
    let replaced = server.put(PATH, json!({"images": uris(0..3)})).await;
    assert_eq!((replaced.status, &replaced.json()["version"], &replaced.json()["count"]), (200, &json!(3), &json!(3)));
    let missing = PATH.replace("line-1", "none");
    server.post(&format!("{missing}/items"), json!({"images": uris(0..3)})).await.refused(404, "calibration_not_found");
    assert_eq!(server.delete(PATH).await.status, 204);
    server.get(PATH).await.refused(404, "calibration_not_found");
    server.get(&format!("{PATH}@1")).await.refused(404, "calibration_not_found");
    assert_eq!(server.get("/v1/models/tiny-ae/calibrations").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn settings_are_those_of_the_calibration_and_others_are_stale() {
    let server = Server::start().await;
    let made = server.put(PATH, json!({"images": uris(0..10), "metric": "ssim"})).await.json();
    assert_eq!(made["metric"], "ssim");
    assert_eq!(judged(&server, json!({})).await["data"][0]["metric"], "ssim");
    assert_eq!(judged(&server, json!({"metric": "ssim"})).await["data"][0]["metric"], "ssim");
    let body = json!({"model": AUTOENCODER, "images": [uri(1)], "calibration": "line-1", "metric": "l1"});
    server.post("/v1/anomaly", body).await.refused(409, "calibration_stale");
    let body = json!({"images": uris(0..3), "metric": "l1"});
    server.post(&format!("{PATH}/items"), body).await.refused(409, "calibration_stale");
    let l1 = server.put(&PATH.replace("line-1", "l1"), json!({"images": uris(0..10), "metric": "l1"})).await.json();
    assert_ne!(l1["score_key"], made["score_key"]);
}

#[tokio::test]
async fn a_calibration_is_exported_and_imported_whole_and_one_of_other_scores_is_stale() {
    let server = calibrated(10).await;
    let exported = server.get(&format!("{PATH}/export")).await.ok();
    assert_eq!(exported["samples"].as_array().unwrap().len(), 10);
    let path = PATH.replace("line-1", "copy");
    let imported = server.post(&format!("{path}/import"), exported.clone()).await;
    assert_eq!(imported.status, 201, "{}", imported.text());
    assert_eq!((&imported.json()["name"], &imported.json()["count"]), (&json!("copy"), &json!(10)));
    let again = server.put(&format!("{path}/import"), exported.clone()).await.ok();
    assert_eq!(again["version"], 2);
    let judgement = async |name: &str| judged(&server, json!({"calibration": name})).await["data"].clone();
    assert_eq!(judgement("copy").await, judgement("line-1").await);
    // The denoiser makes other scores of the same images.
    let other = "/v1/models/tiny-dae/calibrations/copy/import";
    server.post(other, exported.clone()).await.refused(409, "calibration_stale");
    let mut damaged = exported.clone();
    damaged["samples"] = json!([]);
    server.post(&format!("{path}/import"), damaged).await.refused(400, "invalid_request");
    let mut newer = exported;
    newer["format"] = json!(2);
    let detail = server.post(&format!("{path}/import"), newer).await.refused(400, "invalid_request");
    assert!(detail.contains("format 2"), "{detail}");
    server.post(&format!("{path}/import"), json!({"format": 1})).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn a_decoder_that_changes_makes_the_calibration_stale() {
    let home = crate::harness::Home::with(&[AUTOENCODER]);
    let server = Server::at(home.config()).await;
    server.put(PATH, json!({"images": uris(0..10)})).await;
    drop(server);
    // The golden outputs are of the decoder as it was.
    let folder = std::path::PathBuf::from(home.config().general.models).join(AUTOENCODER);
    let _ = std::fs::remove_file(folder.join("golden.npz"));
    let decoder = std::fs::read(folder.join("decoder.onnx")).unwrap();
    // An unknown field of the outermost message: another file, the same graph.
    std::fs::write(folder.join("decoder.onnx"), [decoder.as_slice(), &[0xfa, 0x3f, 0x01, 0x00]].concat()).unwrap();
    let server = Server::at(home.config()).await;
    assert_eq!(server.get(PATH).await.ok()["stale"], true);
    let body = json!({"model": AUTOENCODER, "images": [uri(1)], "calibration": "line-1"});
    let detail = server.post("/v1/anomaly", body).await.refused(409, "calibration_stale");
    assert!(detail.contains("calibrate anew"), "{detail}");
    server.post(&format!("{PATH}/items"), json!({"images": uris(0..3)})).await.refused(409, "calibration_stale");
    // Where nothing is named that the model does not make, it can be made again.
    assert_eq!(server.put(PATH, json!({"images": uris(0..10)})).await.ok()["stale"], false);
}

#[tokio::test]
async fn training_images_do_not_calibrate() {
    let home = crate::harness::Home::with(&[AUTOENCODER]);
    let folder = std::path::PathBuf::from(home.config().general.models).join(AUTOENCODER);
    let hash = blake3::hash(&png(1)).to_hex().to_string();
    std::fs::write(folder.join("training.json"), json!({"images_blake3": [hash]}).to_string()).unwrap();
    let server = Server::at(home.config()).await;
    let made = server.put(PATH, json!({"images": uris(0..5)})).await.json();
    assert_eq!((&made["count"], &made["errors"][0]["index"]), (&json!(4), &json!(1)));
    assert!(made["errors"][0]["message"].as_str().unwrap().contains("was trained on"), "{made}");
    assert!(!made["warnings"].to_string().contains("training.json"));
    let unlisted = calibrated(5).await;
    let made = unlisted.put(PATH, json!({"images": uris(0..5)})).await.ok();
    assert!(made["warnings"].to_string().contains("images_blake3 in training.json"), "{made}");
}

#[tokio::test]
async fn a_calibration_has_more_images_than_a_request_of_another_kind_may_have() {
    let settings = |config: &mut latentd::config::Config| {
        config.limits.images = 4;
        config.limits.queue_items = 4;
        config.anomaly.calibration_images = 100;
    };
    let server = Server::with(&[AUTOENCODER], settings).await;
    let made = server.put(PATH, json!({"images": uris(0..100)})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json()["count"], 100);
    let detail = server.put(PATH, json!({"images": uris(0..101)})).await.refused(413, "payload_too_large");
    assert!(detail.contains("anomaly.calibration_images is 100"), "{detail}");
    // What others do at the same time is refused rather than what is there already.
    let path = PATH.replace("line-1", "second");
    let both = tokio::join!(
        server.put(PATH, json!({"images": uris(0..80)})),
        server.put(&path, json!({"images": uris(0..80)}))
    );
    assert_eq!((both.0.status, both.1.status), (200, 201), "{} {}", both.0.text(), both.1.text());
}

#[tokio::test]
async fn ties_count_against_the_image_or_are_broken_by_the_seed() {
    let server = Server::start().await;
    let images = [uris(0..5), vec![uri(7); 5]].concat();
    let made = server.put(PATH, json!({"images": images})).await.json();
    assert_eq!(made["ties"], 0.5);
    assert!(made["warnings"].to_string().contains("50 % of the normal scores"), "{made}");
    let p_value = async |options: Value| {
        let mut options = options;
        options["images"] = json!([uri(7)]);
        judged(&server, options).await["data"][0]["p_value"].as_f64().unwrap()
    };
    let against = p_value(json!({})).await;
    let (first, again) = (json!({"ties": "random", "seed": 1}), json!({"ties": "random", "seed": 1}));
    let (first, again, other) =
        (p_value(first).await, p_value(again).await, p_value(json!({"ties": "random", "seed": 2})).await);
    assert_eq!(first, again);
    assert!(first < against && other < against && first != other, "{first} {other} {against}");
}

#[tokio::test]
async fn a_false_discovery_rate_decides_over_the_request() {
    let server = calibrated(40).await;
    let noise = data(&painted_noise());
    let images = [vec![noise.clone()], uris(40..49)].concat();
    let verdict = async |images: Vec<String>| {
        let options = json!({"images": images, "fdr": 0.1, "false_positive_rate": 0.05});
        judged(&server, options).await["data"][0]["anomalous"].clone()
    };
    // 1/41 is more than a tenth of a tenth, and less than six tenths of it.
    assert_eq!(verdict(images).await, false);
    assert_eq!(verdict([vec![noise; 6], uris(40..44)].concat()).await, true);
}

#[tokio::test]
async fn streams_are_a_closed_set_and_a_drift_raises_an_alarm() {
    let server = Server::with(&[AUTOENCODER], |config| config.anomaly.streams = "left, right".to_owned()).await;
    server.put(PATH, json!({"images": uris(0..20)})).await;
    let noise = data(&painted_noise());
    for _ in 0..2 {
        judged(&server, json!({"images": vec![noise.clone(); 40], "stream": "left"})).await;
    }
    judged(&server, json!({"images": uris(20..40)})).await;
    let drift = server.get(PATH).await.ok()["drift"].clone();
    let of = |stream: &str| {
        let all = drift.as_array().unwrap();
        all.iter().find(|drift| drift["stream"] == stream).cloned().unwrap_or_default()
    };
    assert_eq!((&of("left")["count"], &of("left")["alarm"]), (&json!(80), &json!(true)), "{drift}");
    assert_eq!((&of("default")["count"], &of("default")["alarm"]), (&json!(20), &json!(false)), "{drift}");
    assert_eq!(of("right"), Value::Null);
    let body = json!({"model": AUTOENCODER, "images": [uri(1)], "calibration": "line-1", "stream": "up"});
    let detail = server.post("/v1/anomaly", body).await.refused(400, "invalid_request");
    assert!(detail.contains("left, right, default"), "{detail}");
    let metrics = server.get("/metrics").await.text();
    let labels = "model=\"tiny-ae\",calibration=\"line-1\",stream=\"left\"";
    assert!(metrics.contains(&format!("latentd_anomaly_drift_alarm{{{labels}}} 1")), "{metrics}");
    assert!(
        metrics.contains(&format!("latentd_anomaly_verdicts_total{{{labels},verdict=\"anomalous\"}} 80")),
        "{metrics}"
    );
    assert!(metrics.contains("latentd_anomaly_score_count{model=\"tiny-ae\",metric=\"mse\"} 100"), "{metrics}");
    assert_eq!(server.delete(PATH).await.status, 204);
    assert!(!server.get("/metrics").await.text().contains("line-1"));
}
