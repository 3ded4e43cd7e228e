//! Writes an archive that `docker load` takes, with the busybox of this machine:
//! `cargo run -p shoal-engine-images --example busybox-image -- out.tar [name:tag]`

use std::fs::File;
use std::io::{BufWriter, Error, ErrorKind, Write};

use shoal_engine_images::testing;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = || Error::new(ErrorKind::InvalidInput, "usage: busybox-image out.tar [name:tag]");
    let path = arguments.next().ok_or_else(usage)?;
    let name = arguments.next().unwrap_or_else(|| "busybox:latest".to_owned());
    let mut out = BufWriter::new(File::create(path)?);
    testing::TestImage::busybox()?.named(&name).write_archive(&mut out)?;
    out.flush()
}
