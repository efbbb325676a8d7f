//! Compiles the C side of the JPEG decoder against the headers of the libjpeg-turbo that `turbojpeg-sys` has built.

use std::{env, fs, path::PathBuf};

const SOURCE: &str = "src/image/jpeg/libjpeg.c";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SOURCE}");
    let include = env::var("DEP_TURBOJPEG_INCLUDE").unwrap_or_default();
    let folders: Vec<PathBuf> = include.split(',').filter(|folder| !folder.is_empty()).map(PathBuf::from).collect();
    cc::Build::new().file(SOURCE).includes(&folders).warnings(true).extra_warnings(true).compile("latentd_jpeg");
    let config =
        folders.iter().find_map(|folder| fs::read_to_string(folder.join("jconfig.h")).ok()).unwrap_or_default();
    if !config.lines().any(|line| line.starts_with("#define WITH_SIMD 1")) {
        println!(
            "cargo::warning=libjpeg-turbo was built without SIMD, so JPEGs are decoded more slowly: on x86-64, \
             install nasm, then `cargo clean -p turbojpeg-sys --release` (or without --release) and build again"
        );
    }
}
