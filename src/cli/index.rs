//! `latentd index export` and `import`: moves a collection between data folders, machines and engines. `orphans`: clears
//! up in a Qdrant cluster.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    app,
    config::{self, Config, Flags},
    error::{Error, Result},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Write a collection into a file of one JSON line an item; no server may run on the data folder
    Export {
        collection: String,
        /// The file; `-` for standard output
        #[arg(long, short, default_value = "-", value_name = "FILE")]
        output: PathBuf,
    },
    /// Read a collection that `export` wrote; no server may run on the data folder
    Import {
        /// The file; `-` for standard input
        file: PathBuf,
        /// Another name for the collection than it had
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// List what killed processes have left in a Qdrant cluster: collections that no name leads to
    Orphans {
        /// Drop them, with their items and images; those that may still be in the making stay
        #[arg(long)]
        drop: bool,
        /// With --drop: how long nothing has been written into one, in seconds
        #[arg(long, default_value_t = 3600, value_name = "SECONDS", requires = "drop")]
        idle_s: u64,
    },
}

pub(super) fn run(flags: &Flags, command: &Command) -> Result<()> {
    let config = config::load(flags, std::env::vars_os())?.config;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal("cannot start the async threads").with_source(error))?;
    match command {
        Command::Export { collection, output } => runtime.block_on(export(&config, collection, output)),
        Command::Import { file, name } => runtime.block_on(import(&config, file, name.as_deref())),
        Command::Orphans { drop, idle_s } => {
            runtime.block_on(orphans(&config, drop.then(|| Duration::from_secs(*idle_s))))
        }
    }
}

async fn orphans(config: &Config, drop_idle: Option<Duration>) -> Result<()> {
    let (mut text, mut left) = (String::new(), 0);
    for (orphan, dropped) in app::orphans(config, drop_idle).await? {
        let fate = match (dropped, drop_idle) {
            (Some(images), _) => {
                left += images.left;
                format!("dropped, images deleted: {}", images.deleted)
            }
            (None, Some(_)) => "left, for it may still be in the making".to_owned(),
            (None, None) => "--drop removes it".to_owned(),
        };
        text += &format!(
            "{}: made for {}, {} items, idle for {} s: {fate}\n",
            orphan.collection,
            orphan.made_for,
            orphan.items,
            orphan.idle.as_secs()
        );
    }
    if text.is_empty() {
        "every collection has a name\n".clone_into(&mut text);
    }
    super::print(&text)?;
    if left > 0 {
        let text = format!("{left} images of what was dropped could not be deleted and stay in the store");
        return Err(Error::unavailable(text));
    }
    Ok(())
}

/// The file appears under its name when it is whole.
async fn export(config: &Config, collection: &str, output: &Path) -> Result<()> {
    let collection = collection.parse()?;
    if output == Path::new("-") {
        app::export_collection(config, &collection, io::stdout().lock()).await?;
        return Ok(());
    }
    let cannot = |error: io::Error| Error::unavailable(format!("cannot write {}: {error}", output.display()));
    let mut partial = output.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let mut out = BufWriter::new(File::create(&partial).map_err(cannot)?);
    let written = app::export_collection(config, &collection, &mut out).await;
    let written = written.and_then(|items| {
        out.flush().and_then(|()| out.get_ref().sync_all()).map_err(cannot)?;
        fs::rename(&partial, output).map_err(cannot)?;
        Ok(items)
    });
    match written {
        Ok(items) => super::print(&format!("{items} items of {collection} are in {}\n", output.display())),
        Err(error) => {
            // what is left of it would only mislead
            let _ = fs::remove_file(&partial);
            Err(error)
        }
    }
}

async fn import(config: &Config, file: &Path, name: Option<&str>) -> Result<()> {
    let name = name.map(str::parse).transpose()?;
    let (name, items) = if file == Path::new("-") {
        app::import_collection(config, io::stdin().lock(), name).await?
    } else {
        let opened = File::open(file)
            .map_err(|error| Error::invalid_request(format!("cannot read {}: {error}", file.display())))?;
        app::import_collection(config, BufReader::with_capacity(1 << 20, opened), name).await?
    };
    super::print(&format!("{items} items are in the collection {name}\n"))
}
