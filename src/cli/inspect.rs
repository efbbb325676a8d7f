//! `latentd inspect`: what a model folder or an ONNX file is, without serving it.

use std::path::PathBuf;

use crate::{
    app,
    config::{self, Flags},
    error::{Error, Result},
    model::{self, Inspection},
};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// A model folder, a folder of model folders, or an ONNX file
    path: PathBuf,
    /// Write each proposed manifest as model.toml into its folder, where there is none
    #[arg(long)]
    write: bool,
}

pub(super) fn run(flags: &Flags, options: &Options) -> Result<()> {
    let config = config::load(flags, std::env::vars_os())?.config;
    let runtime = app::load_runtime(&config)?;
    let inspection = model::inspect(&options.path, &runtime)?;
    super::print(&inspection.to_string())?;
    if options.write {
        write(&inspection)?;
    }
    if inspection.is_sound() { Ok(()) } else { Err(Error::invalid_request("not everything here can be served")) }
}

/// Writes each proposed manifest into its folder.
fn write(inspection: &Inspection) -> Result<()> {
    let mut written = 0;
    for (folder, manifest) in inspection.proposals() {
        let file = folder.join("model.toml");
        // create_new: a manifest that somebody wrote is never overwritten
        std::fs::File::create_new(&file)
            .and_then(|mut created| std::io::Write::write_all(&mut created, manifest.as_bytes()))
            .map_err(|error| Error::invalid_request(format!("cannot write {}: {error}", file.display())))?;
        super::print(&format!("wrote {}\n", file.display()))?;
        written += 1;
    }
    if written > 0 || inspection.is_sound() {
        return Ok(());
    }
    Err(Error::invalid_request("nothing was written: too little is known to propose a manifest"))
}
