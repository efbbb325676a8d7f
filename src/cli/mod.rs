//! The command line. Each command is one file.

mod calibrate;
mod gather;
mod healthcheck;
mod index;
mod ingest;
mod inspect;
mod remote;
mod score;
mod serve;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{Config, Flags},
    error::Result,
};

#[derive(Debug, Parser)]
#[command(
    name = "latentd",
    version,
    about = "Serves self-supervised image encoders: embeddings, reconstructions, \
    anomaly scores and nearest-image search",
    propagate_version = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

/// Flags that set configuration keys, over file and environment.
#[derive(Debug, Clone, Args)]
struct Settings {
    /// The configuration file [default: latentd.toml if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:8080]
    #[arg(long, global = true, value_name = "ADDR")]
    listen: Option<String>,
    /// The folder of model folders [default: models]
    #[arg(long, global = true, value_name = "DIR")]
    models: Option<String>,
    /// The folder of index and stored images [default: data]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<String>,
    /// The ONNX Runtime library [default: looked for in the usual places]
    #[arg(long, global = true, value_name = "FILE")]
    onnxruntime: Option<String>,
    /// Any other configuration key, as limits.images=32
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the models (the default)
    Serve,
    /// Say what a model folder or ONNX file is, what would be served and what is wrong
    Inspect(inspect::Options),
    /// Fill a collection of a running server from folders, tar files and lists
    ///
    /// Images are named by the BLAKE3 of their bytes, so what is there already is skipped and an interrupted run goes
    /// on where it was. LATENTD_API_KEY, if set, is sent as a bearer token. Exit codes: 0 all is in; 1 some images
    /// failed; 2 nothing can be done (usage, no server, no collection); 130 interrupted.
    Ingest(Box<ingest::Options>),
    /// Make a calibration of a running server from folders, tar files and lists of normal images
    ///
    /// Images that a single request cannot hold go in several; the calibration is replaced when all are scored. Exit codes:
    /// 0 made of all images; 1 made without some of them; 2 not made.
    Calibrate(Box<calibrate::Options>),
    /// Judge images of folders, tar files and lists by a calibration of a running server
    ///
    /// Exit codes: 4 some images are anomalous; else 3 some are to be reviewed; else 1 some could not be judged; 0 all are
    /// ok; 2 nothing could be judged (usage, no server, no calibration).
    Score(Box<score::Options>),
    /// Move a collection between data folders; clear up in a Qdrant cluster
    #[command(subcommand)]
    Index(index::Command),
    /// Print the OpenAPI document
    Openapi,
    /// Print the reference of all configuration keys as Markdown
    Config {
        /// Print an example file with every key at its default instead
        #[arg(long)]
        example: bool,
    },
    /// Ask a running server whether it is ready; exit code 0 if so
    Healthcheck(healthcheck::Options),
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| "write KEY=VALUE".to_owned())?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl Settings {
    fn flags(&self) -> Flags {
        let named = [
            ("listen", &self.listen),
            ("models", &self.models),
            ("data", &self.data),
            ("onnxruntime", &self.onnxruntime),
        ];
        let named = named.iter().filter_map(|(key, value)| Some(((*key).to_owned(), value.as_ref()?.clone())));
        Flags { config: self.config.clone(), set: named.chain(self.set.iter().cloned()).collect() }
    }
}

/// Runs the command of this process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let flags = cli.settings.flags();
    let outcome = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(&flags),
        Command::Inspect(options) => inspect::run(&flags, &options),
        Command::Ingest(options) => return code_of(ingest::run(&flags, *options)),
        Command::Calibrate(options) => return code_of(calibrate::run(&flags, &options)),
        Command::Score(options) => return code_of(score::run(&flags, &options)),
        Command::Index(command) => index::run(&flags, &command),
        Command::Openapi => openapi(),
        Command::Config { example: false } => print(&Config::reference()),
        Command::Config { example: true } => print(&Config::example()),
        Command::Healthcheck(options) => healthcheck::run(&flags, &options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.chain());
            ExitCode::FAILURE
        }
    }
}

/// The exit code of a client of a server, which came to nothing if there is an error.
fn code_of(outcome: Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        complain(&error.chain());
        ExitCode::from(ingest::IN_VAIN)
    })
}

fn openapi() -> Result<()> {
    let text = crate::http::openapi()
        .to_pretty_json()
        .map_err(|error| crate::error::Error::internal("cannot write the openapi document").with_source(error))?;
    print(&format!("{text}\n"))
}

/// Prints what a command was asked for.
#[expect(clippy::print_stdout, reason = "the output of a command is its purpose")]
fn print(text: &str) -> Result<()> {
    print!("{text}");
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a command that fails says why, whether the log runs or not")]
fn complain(text: &str) {
    eprintln!("latentd: {text}");
}
