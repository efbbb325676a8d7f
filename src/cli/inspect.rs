//! `latentd inspect`: what a model folder or an ONNX file is, without serving it.

use std::path::{Path, PathBuf};

use crate::{
    app,
    config::{self, Flags},
    error::{Error, Result},
    model,
};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// A model folder, a folder of model folders, or an ONNX file
    path: PathBuf,
    /// Write the proposed manifest as model.toml beside the file, where there is none
    #[arg(long)]
    write: bool,
}

pub(super) fn run(flags: &Flags, options: &Options) -> Result<()> {
    let config = config::load(flags, std::env::vars_os())?.config;
    let runtime = app::load_runtime(&config)?;
    let inspection = model::inspect(&options.path, &runtime)?;
    super::print(&inspection.to_string())?;
    if options.write {
        let Some(manifest) = inspection.proposed_manifest() else {
            return Err(Error::invalid_request("there is a manifest already, or too little is known to propose one"));
        };
        let folder = if options.path.is_dir() { options.path.as_path() } else { parent(&options.path) };
        let file = folder.join("model.toml");
        // create_new: a manifest that somebody wrote is never overwritten
        std::fs::File::create_new(&file)
            .and_then(|mut created| std::io::Write::write_all(&mut created, manifest.as_bytes()))
            .map_err(|error| Error::invalid_request(format!("cannot write {}: {error}", file.display())))?;
        super::print(&format!("wrote {}\n", file.display()))?;
    }
    if inspection.is_sound() { Ok(()) } else { Err(Error::invalid_request("not everything here can be served")) }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}
