use std::{sync::mpsc, time::Duration};

use super::*;
use crate::{
    error::Result,
    model::tests::{copy_of, data, defaults, runtime},
    runtime::{GraphInfo, Runner, SessionOptions},
};

fn repository(folder: &Path) -> Repository {
    Repository::new(RepositoryParts {
        folder: folder.to_owned(),
        loader: runtime(),
        defaults: defaults(),
        permits: RunPermits::new(2),
        watchdog: Watchdog::start().unwrap(),
        metrics: Arc::default(),
    })
}

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

/// A repository of one good model and of a broken one.
fn good_and_broken(required: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::rename(copy_of("tiny-gray").keep(), folder.path().join("good")).unwrap();
    std::fs::create_dir(folder.path().join("broken")).unwrap();
    std::fs::write(folder.path().join("broken/model.toml"), format!("required = {required}\n")).unwrap();
    folder
}

#[test]
fn models_are_loading_from_the_scan_on_and_ready_one_by_one() {
    let repository = repository(&data("models"));
    repository.scan().unwrap();
    let names: Vec<String> = repository.list().iter().map(|entry| entry.name.clone()).collect();
    assert!(names.is_sorted() && names.contains(&"tiny-ae".to_owned()), "{names:?}");
    assert!(repository.list().iter().all(|entry| matches!(entry.state, ModelState::Loading)));
    let error = repository.get(&name("tiny-ae")).map(drop).unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Unavailable, Some(RETRY_LOADING)));
    let reasons = repository.readiness().unwrap_err();
    let loading: Vec<String> = names.iter().map(|name| format!("model {name} is being loaded")).collect();
    assert_eq!(reasons, loading, "nothing is said of what is not known yet");

    repository.load_all();
    assert!(repository.readiness().is_ok(), "{:?}", repository.readiness());
    assert_eq!(repository.get(&name("tiny-ae")).unwrap().name().as_str(), "tiny-ae");
    let text = repository.shared.metrics.render();
    assert!(text.contains("latentd_model_ready{model=\"tiny-ae\"} 1"), "{text}");
    assert!(
        text.contains("latentd_model_info{model=\"tiny-ae\",family=\"autoencoder\",space_key=\"tiny-ae@"),
        "{text}"
    );
}

#[tokio::test]
async fn a_model_that_is_being_loaded_is_waited_for_and_not_longer_than_told() {
    let repository = Arc::new(repository(&data("models")));
    repository.scan().unwrap();
    let soon = Instant::now() + Duration::from_millis(20);
    let error = repository.loaded(&name("tiny-gray"), soon).await.map(drop).unwrap_err();
    assert_eq!((error.kind(), Instant::now() >= soon), (ErrorKind::Unavailable, true));
    let unknown = repository.loaded(&name("x"), Instant::now() + Duration::from_secs(60)).await.map(drop);
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::ModelNotFound, "an unknown one is not waited for");

    let loader = Arc::clone(&repository);
    let loading = tokio::task::spawn_blocking(move || loader.load_all());
    let model = repository.loaded(&name("tiny-gray"), Instant::now() + Duration::from_secs(60)).await.unwrap();
    assert_eq!(model.name().as_str(), "tiny-gray");
    loading.await.unwrap();
}

#[test]
fn a_failed_model_is_listed_with_its_reasons_and_the_others_serve() {
    let folder = good_and_broken("false");
    let repository = repository(folder.path());
    repository.scan().unwrap();
    repository.load_all();
    assert!(repository.readiness().is_ok());
    assert!(repository.get(&name("good")).is_ok());
    let error = repository.get(&name("broken")).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.message().contains("manifest is missing") && error.message().contains("[input] is missing"),
        "{error}"
    );
    let broken = &repository.list()[0];
    assert!(matches!(&broken.state, ModelState::Failed(reasons) if reasons.len() > 2) && !broken.required);
}

#[test]
fn a_required_model_that_failed_keeps_the_server_from_being_ready() {
    let folder = good_and_broken("true");
    let repository = repository(folder.path());
    repository.scan().unwrap();
    repository.load_all();
    let reasons = repository.readiness().unwrap_err();
    assert!(reasons.len() == 1 && reasons[0].starts_with("required model broken failed to load"), "{reasons:?}");
}

#[test]
fn a_required_model_is_waited_for_even_if_its_manifest_is_no_toml() {
    let folder = good_and_broken("true");
    let repository = repository(folder.path());
    repository.scan().unwrap();
    let reasons = repository.readiness().unwrap_err();
    assert!(reasons.contains(&"required model broken is being loaded".to_owned()), "{reasons:?}");

    std::fs::write(folder.path().join("broken/model.toml"), "required = true # always\nfamily = \n").unwrap();
    let unreadable = self::repository(folder.path());
    unreadable.scan().unwrap();
    unreadable.load_all();
    let reasons = unreadable.readiness().unwrap_err();
    assert!(reasons[0].starts_with("required model broken failed to load"), "{reasons:?}");
}

#[test]
fn an_unknown_model_is_told_which_there_are() {
    let folder = good_and_broken("false");
    let repository = repository(folder.path());
    let error = repository.get(&name("x")).map(drop).unwrap_err();
    assert!(error.message().ends_with("there is no model x; there are none"), "{error}");
    repository.scan().unwrap();
    let error = repository.get(&name("x")).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelNotFound);
    assert!(error.message().ends_with("there are broken, good"), "{error}");
}

#[test]
fn a_folder_without_a_manifest_is_failed_and_files_and_hidden_folders_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    for inside in ["empty", ".git", "No Name"] {
        std::fs::create_dir(folder.path().join(inside)).unwrap();
    }
    std::fs::write(folder.path().join("readme"), "x").unwrap();
    let repository = repository(folder.path());
    repository.scan().unwrap();
    repository.load_all();
    let entries = repository.list();
    assert_eq!(entries.len(), 1);
    assert!(matches!(&entries[0].state, ModelState::Failed(reasons) if reasons[0].contains("model.toml is not there")));
    assert_eq!(repository.readiness().unwrap_err(), ["no model is ready"]);
}

#[test]
fn a_required_model_under_a_name_that_cannot_be_one_keeps_the_server_from_being_ready() {
    let folder = good_and_broken("true");
    std::fs::rename(folder.path().join("broken"), folder.path().join("Broken Model")).unwrap();
    let repository = repository(folder.path());
    repository.scan().unwrap();
    repository.load_all();
    let names: Vec<String> = repository.list().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["Broken Model", "good"]);
    let reasons = repository.readiness().unwrap_err();
    assert!(reasons.len() == 1 && reasons[0].contains("\"Broken Model\" is not 1 to 64"), "{reasons:?}");

    std::fs::rename(folder.path().join("Broken Model"), folder.path().join("broken")).unwrap();
    repository.scan().unwrap();
    assert!(repository.list().iter().any(|entry| entry.name == "broken"), "it is named as it should be");
    assert_eq!(repository.list().len(), 2);
}

#[test]
fn variants_are_models_of_their_own() {
    let folder = good_and_broken("false");
    let manifest = folder.path().join("good/model.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text + "\n[variants.same]\ngraphs.encoder.file = \"encoder.onnx\"\n").unwrap();
    let repository = repository(folder.path());
    repository.scan().unwrap();
    repository.load_all();
    assert!(repository.get(&name("good:same")).is_ok());
}

#[test]
fn after_a_shutdown_nothing_is_admitted_and_nothing_more_is_loaded() {
    let folder = good_and_broken("false");
    let repository = repository(folder.path());
    repository.scan().unwrap();
    repository.load_all();
    let model = repository.get(&name("good")).unwrap();
    repository.shutdown();
    let encoder = model.graph(crate::model::GraphRole::Encoder).unwrap();
    let refused = encoder.queue.admit(1, Instant::now() + Duration::from_secs(9)).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    std::fs::rename(copy_of("tiny-gray").keep(), folder.path().join("late")).unwrap();
    repository.scan().unwrap();
    repository.load_all();
    assert!(repository.list().iter().all(|entry| matches!(entry.state, ModelState::Loading)));
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let error = repository(Path::new("/nonexistent/models")).scan().unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.message().contains("/nonexistent/models"), "{error}");
}

/// Says when it is asked to open a graph, and opens it when it is told to.
struct Held {
    inner: Arc<dyn GraphLoader>,
    asked: mpsc::Sender<()>,
    told: Mutex<mpsc::Receiver<()>>,
}

impl GraphLoader for Held {
    fn open(&self, file: &Path, options: SessionOptions) -> Result<(Box<dyn Runner>, GraphInfo)> {
        self.asked.send(()).unwrap();
        let _ = self.told.lock().unwrap().recv();
        self.inner.open(file, options)
    }
}

#[test]
fn a_shutdown_waits_for_the_models_under_way() {
    let folder = good_and_broken("false");
    let ((asked, asks), (tell, told)) = (mpsc::channel(), mpsc::channel());
    let mut repository = repository(folder.path());
    repository.shared.loader =
        Arc::new(Held { inner: Arc::clone(&repository.shared.loader), asked, told: Mutex::new(told) });
    repository.scan().unwrap();
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| repository.load_all());
        asks.recv().unwrap();
        let stopping = scope.spawn(|| repository.shutdown());
        std::thread::sleep(Duration::from_millis(20));
        assert!(!stopping.is_finished() && !loading.is_finished());
        drop(tell);
        stopping.join().unwrap();
    });
    let model = repository.get(&name("good")).unwrap();
    let encoder = model.graph(crate::model::GraphRole::Encoder).unwrap();
    assert!(encoder.queue.admit(1, Instant::now() + Duration::from_secs(9)).is_err(), "it is loaded and stopped");
}
