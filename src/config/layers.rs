//! Reading the layers and laying them over each other.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{
    Anomaly, Cache, Config, General, Index, Key, Limits, Log, Qdrant, Runtime, Server, Store, Ui, Webhook, refuse,
};
use crate::error::{Error, Result};

/// What the command line sets, as `(key, value)`; keys are written as `limits.body_bytes`.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub config: Option<PathBuf>,
    pub set: Vec<(String, String)>,
}

/// A configuration that holds together, and what deserves a warning once the log runs.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<String>,
}

const DEFAULT_FILE: &str = "latentd.toml";
/// The names of the environment that are ours.
const PREFIX: &str = "LATENTD_";
const FILE_NAME: &str = "LATENTD_CONFIG";
/// What clients of ours send to a server, which is none of its own settings.
const KEY_NAME: &str = "LATENTD_API_KEY";

/// Reads all layers: defaults < file < environment < flags.
pub fn load(flags: &Flags, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Loaded> {
    let mut violations = Vec::new();
    let environment = ours(environment, &mut violations);
    let mut warnings = Vec::new();
    let mut merged = read_file(flags, &environment, &mut violations)?;
    let keys = Config::keys();
    for (name, text) in &environment {
        if name == FILE_NAME || name == KEY_NAME {
            continue;
        }
        match keys.iter().find(|key| key.environment() == *name) {
            Some(key) => put(&mut merged, key, text, name, &mut violations),
            None => warnings.push(format!("environment variable {name} is not a key of latentd and is ignored")),
        }
    }
    for (path, text) in &flags.set {
        match keys.iter().find(|key| key.path() == *path) {
            Some(key) => put(&mut merged, key, text, &format!("--set {path}"), &mut violations),
            None => violations.push(format!("unknown key {path} on the command line")),
        }
    }
    name_this_machine(&mut merged);
    let config = read(&merged, &mut violations);
    if violations.is_empty() {
        violations = config.violations();
    }
    refuse(&violations)?;
    Ok(Loaded { config, warnings })
}

/// The variables of the environment that are ours, which are UTF-8; what others put there is their affair.
fn ours(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    violations: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let mut ours = BTreeMap::new();
    for (name, value) in environment {
        if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => {
                ours.insert(name, value);
            }
            (Ok(name), Err(_)) => violations.push(format!("environment variable {name} is not UTF-8")),
            (Err(name), _) => violations.push(format!("environment variable {} is not UTF-8", name.to_string_lossy())),
        }
    }
    ours
}

fn read_file(flags: &Flags, environment: &BTreeMap<String, String>, violations: &mut Vec<String>) -> Result<Table> {
    let from_environment = environment.get(FILE_NAME).filter(|path| !path.is_empty());
    let named = flags.config.clone().or_else(|| from_environment.map(PathBuf::from));
    let path = named.as_deref().unwrap_or_else(|| Path::new(DEFAULT_FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(Table::new()),
        Err(error) => {
            return Err(Error::invalid_request(format!(
                "cannot read the configuration file {}: {error}",
                path.display()
            )));
        }
    };
    let table: Table =
        text.parse().map_err(|error| Error::invalid_request(format!("{} is not TOML: {error}", path.display())))?;
    let keys = Config::keys();
    let known = |path: &str| keys.iter().any(|key| key.path() == path);
    for (name, value) in &table {
        match value {
            Value::Table(section) if keys.iter().any(|key| key.section == name) => {
                let unknown = section.keys().map(|key| format!("{name}.{key}")).filter(|path| !known(path));
                violations.extend(unknown.map(|path_| format!("unknown key {path_} in {}", path.display())));
            }
            _ if known(name) => {}
            _ => violations.push(format!("unknown key {name} in {}", path.display())),
        }
    }
    Ok(table)
}

/// Sets a key from text: as text where the key is one, else as a TOML value.
fn put(table: &mut Table, key: &Key, text: &str, origin: &str, violations: &mut Vec<String>) {
    let value = if key.default.is_str() {
        Value::String(text.to_owned())
    } else {
        match format!("v = {text}").parse::<Table>().ok().and_then(|mut parsed| parsed.remove("v")) {
            Some(value) => value,
            None => {
                let kind = key.default.type_str();
                let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
                return violations.push(format!("{origin}: {text:?} is not {article} {kind}"));
            }
        }
    };
    if key.section.is_empty() {
        table.insert(key.name.to_owned(), value);
    } else {
        let section = table.entry(key.section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = section {
            section.insert(key.name.to_owned(), value);
        }
    }
}

/// Puts the address of this machine in the place of its name, which `listen` may have.
fn name_this_machine(merged: &mut Table) {
    if let Some(Value::String(listen)) = merged.get_mut("listen")
        && let Some(port) = listen.strip_prefix("localhost:")
    {
        *listen = format!("127.0.0.1:{port}");
    }
}

fn read(merged: &Table, violations: &mut Vec<String>) -> Config {
    let empty = Table::new();
    let section = |name: &str| merged.get(name).and_then(Value::as_table).unwrap_or(&empty);
    Config {
        general: General::read(merged, violations),
        limits: Limits::read(section("limits"), violations),
        runtime: Runtime::read(section("runtime"), violations),
        cache: Cache::read(section("cache"), violations),
        server: Server::read(section("server"), violations),
        ui: Ui::read(section("ui"), violations),
        index: Index::read(section("index"), violations),
        qdrant: Qdrant::read(section("qdrant"), violations),
        store: Store::read(section("store"), violations),
        anomaly: Anomaly::read(section("anomaly"), violations),
        webhook: Webhook::read(section("webhook"), violations),
        log: Log::read(section("log"), violations),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Device;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn file(text: &str) -> (tempfile::TempDir, Flags) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latentd.toml");
        std::fs::write(&path, text).unwrap();
        (folder, Flags { config: Some(path), set: Vec::new() })
    }

    #[test]
    fn each_layer_lies_over_the_one_before() {
        let (_folder, mut flags) =
            file("listen = \"127.0.0.1:1\"\ndata = \"f\"\n[limits]\nimages = 2\nqueue_items = 9");
        flags.set.push(("limits.images".into(), "4".into()));
        let env = environment(&[("LATENTD_DATA", "123"), ("LATENTD_LIMITS__IMAGES", "3"), ("PATH", "x")]);
        let config = load(&flags, env).unwrap().config;
        assert_eq!(config.general.listen.port(), 1);
        assert_eq!(config.general.data, "123");
        assert_eq!((config.limits.images, config.limits.queue_items), (4, 9));
        assert_eq!(config.runtime, Runtime::default());
    }

    #[test]
    fn localhost_is_an_address_to_listen_on() {
        let (_folder, mut flags) = file("listen = \"localhost:9\"");
        let listen = |flags: &Flags, env| load(flags, env).unwrap().config.general.listen.to_string();
        assert_eq!(listen(&flags, vec![]), "127.0.0.1:9");
        assert_eq!(listen(&flags, environment(&[("LATENTD_LISTEN", "localhost:8")])), "127.0.0.1:8");
        flags.set.push(("listen".into(), "localhost:7".into()));
        assert_eq!(listen(&flags, vec![]), "127.0.0.1:7");
    }

    #[test]
    fn every_violation_is_listed_at_once() {
        let (_folder, mut flags) = file("lisen = 1\n[limits]\nimage = 2\nimages = \"many\"\n[nonsense]\na = 1");
        flags.set.push(("limits.nothing".into(), "4".into()));
        let env = environment(&[("LATENTD_RUNTIME__DEVICE", "gpu"), ("LATENTD_RUNTIME__THREADS", "two")]);
        let text = load(&flags, env).unwrap_err().to_string();
        for part in [
            "lisen",
            "limits.image ",
            "limits.images:",
            "nonsense",
            "limits.nothing",
            "runtime.device",
            "\"two\" is not an integer",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn contradictions_stop_the_start_and_name_their_keys() {
        let (_folder, flags) = file("[limits]\nbodies_in_flight_bytes = 1\nimages = 300");
        let text = load(&flags, []).unwrap_err().to_string();
        assert!(text.contains("limits.bodies_in_flight_bytes") && text.contains("limits.queue_items"), "{text}");
    }

    #[test]
    fn a_recall_is_between_0_and_1_and_may_be_written_as_a_whole_number() {
        for wrong in ["1.5", "-0.1", "nan"] {
            let (_folder, flags) = file(&format!("[index]\ngraph_recall = {wrong}"));
            let text = load(&flags, []).unwrap_err().to_string();
            assert!(text.contains("index.graph_recall must be between 0 and 1"), "{text}");
        }
        let (_folder, mut flags) = file("[index]\ngraph_recall = 1");
        assert_eq!(load(&flags, []).unwrap().config.index.graph_recall, 1.0);
        for (text, recall) in [("0", 0.0), ("0.95", 0.95)] {
            flags.set = vec![("index.graph_recall".into(), text.into())];
            assert_eq!(load(&flags, []).unwrap().config.index.graph_recall, recall);
        }
    }

    #[test]
    fn an_image_store_has_to_be_one_and_its_secret_is_never_shown() {
        let (_folder, flags) = file("[store]\nurl = \"gs://x\"\nendpoint = \"http://h\"\naccess_key_id = \"k\"");
        let text = load(&flags, []).unwrap_err().to_string();
        for part in ["store.url", "store.allow_http", "store.secret_access_key"] {
            assert!(text.contains(part), "{text}");
        }
        let (_folder, flags) = file("[store]\nurl = \"s3://b/p\"\naccess_key_id = \"k\"");
        let config = load(&flags, environment(&[("LATENTD_STORE__SECRET_ACCESS_KEY", "s3cret")])).unwrap().config;
        assert_eq!(config.store.secret_access_key.expose(), "s3cret");
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn an_unknown_environment_name_only_warns() {
        let (_folder, flags) = file("");
        let loaded = load(&flags, environment(&[("LATENTD_PORT_80_TCP", "x"), ("LATENTD_RUNTIME__DEVICE", "cuda:1")]));
        let loaded = loaded.unwrap();
        assert_eq!(loaded.warnings.len(), 1);
        assert_eq!(loaded.config.runtime.device, Device::Cuda(1));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_not_utf_8_is_an_error_under_our_names_only() {
        use std::os::unix::ffi::OsStringExt as _;

        let (_folder, flags) = file("");
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let of_others = [(text(b"LESS"), text(b"\xff")), (text(b"\xff"), text(b"x"))];
        assert!(load(&flags, of_others).unwrap().warnings.is_empty());
        let ours = [(text(b"LATENTD_DATA"), text(b"\xff")), (text(b"LATENTD_\xff"), text(b"x"))];
        let error = load(&flags, ours).unwrap_err().to_string();
        assert!(error.contains("LATENTD_DATA is not UTF-8") && error.contains("LATENTD_\u{fffd} is not"), "{error}");
    }

    #[test]
    fn an_empty_name_of_a_file_names_none() {
        let loaded = load(&Flags::default(), environment(&[("LATENTD_CONFIG", "")])).unwrap();
        assert!(loaded.warnings.is_empty());
        let error = load(&Flags::default(), environment(&[("LATENTD_CONFIG", "none.toml")])).unwrap_err();
        assert!(error.message().contains("none.toml"), "{error}");
    }

    #[test]
    fn the_example_file_is_the_one_the_code_makes_and_says_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("latentd.example.toml");
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), Config::example(), "run `make docs-reference`");
        let loaded = load(&Flags { config: Some(path), set: Vec::new() }, []).unwrap();
        assert_eq!(loaded.config, Config::default());
    }

    #[test]
    fn the_reference_in_the_docs_is_the_one_the_code_makes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, Config::reference(), "run `make docs-reference`");
    }
}
