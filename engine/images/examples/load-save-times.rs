//! Measures load and save of a 200 MB image: `cargo run --release --example load-save-times -- <directory>`

use std::fs::File;
use std::io::{BufReader, Error, Write, stdout};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shoal_base::{Clock as _, SystemClock};
use shoal_engine_images::archive::load::Options;
use shoal_engine_images::image::Images;
use shoal_engine_images::image::remove::RemoveOptions;
use shoal_engine_images::testing::{TestImage, files_layer};

const FILES: usize = 2000;
const FILE_BYTES: usize = 100_000;

fn main() -> std::io::Result<()> {
    let usage = || Error::other("usage: load-save-times <empty directory>");
    let root = std::env::args().nth(1).ok_or_else(usage)?;
    let root = Path::new(&root);
    let names: Vec<String> = (0..FILES).map(|index| format!("data/{index}")).collect();
    let noise: Vec<u8> = (0..FILE_BYTES as u64 + FILES as u64)
        .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect();
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .enumerate()
        .map(|(index, name)| (name.as_str(), &noise[index..index + FILE_BYTES]))
        .collect();
    let image = TestImage::empty().with_layer(files_layer(&files)?).named("big:1");
    let path = root.join("image.tar");
    image.write_archive(&mut File::create(&path)?)?;
    let images = Images::open(&root.join("data"), Arc::new(SystemClock)).map_err(Error::other)?;
    for round in 0..3 {
        let input = Box::new(BufReader::with_capacity(1 << 16, File::open(&path)?));
        let load = timed(|| images.load(input, &Options::default(), &|_| {}))?;
        let mut out = File::create(root.join("saved.tar"))?;
        let save = timed(|| images.save(&["big:1".to_owned()], &mut out))?;
        let seal = timed(|| images.seal())?;
        let remove = timed(|| images.remove("big:1", RemoveOptions::default(), &|_| Vec::new()))?;
        writeln!(
            stdout(),
            "round {round}: load {load:?}, save {save:?}, seal {seal:?}, remove {remove:?}"
        )?;
    }
    Ok(())
}

fn timed<T, E>(job: impl FnOnce() -> Result<T, E>) -> std::io::Result<Duration>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let begin = SystemClock.monotonic();
    job().map_err(Error::other)?;
    Ok(SystemClock.monotonic().saturating_sub(begin))
}
