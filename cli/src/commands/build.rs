//! `build`: refused clearly until the builder is there.

use crate::args::{Args, BOOL, Command, Count, Flag, LIST, STR, action, flag, short};
use crate::context::Context;
use crate::error::Result;

const FLAGS: &[Flag] = &[
    flag("build-arg", LIST, "Variable of the build"),
    short('f', "file", STR, "Name of the Dockerfile"),
    flag("no-cache", BOOL, "Use no cache"),
    flag("pull", BOOL, "Pull the base image"),
    short('q', "quiet", BOOL, "Print the image's id only"),
    short('t', "tag", LIST, "Name and tag of the image"),
    flag("target", STR, "Stage to build"),
];

pub(super) const COMMANDS: &[Command] = &[Command::new(
    &["image build", "builder build", "build"],
    "[OPTIONS] PATH | URL | -",
    "Build an image from a Dockerfile (not implemented yet)",
    Count::Exactly(1),
    &[FLAGS],
    action!(build),
)];

async fn build(_: &mut Context, _: &Args) -> Result {
    Err("build is not implemented yet".into())
}
