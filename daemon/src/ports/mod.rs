//! The API's ports, over the engine, the images and the networks of this host.

mod bytes;
pub(crate) mod commit;
mod containers;
mod execs;
mod images;
mod networks;
mod system;
pub(crate) mod tasks;
mod transfer;
mod volumes;

pub(crate) use containers::HostContainers;
pub(crate) use execs::HostExecs;
pub(crate) use images::HostImages;
pub(crate) use networks::HostNetworks;
pub(crate) use system::HostSystem;
pub(crate) use volumes::HostVolumes;

/// A blocking job that did not come back, as it crosses a port.
fn lost(error: shoal_base::blocking::Lost) -> shoal_model::Failure {
    let chain = shoal_model::error::Chain(&error).to_string();
    shoal_model::Failure::new(shoal_model::ErrorKind::Internal, chain)
}

/// Work that the daemon's end cut off, as it crosses a port.
pub(crate) fn given_up(error: shoal_base::tasks::GivenUp) -> shoal_model::Failure {
    shoal_model::Failure::new(shoal_model::ErrorKind::Unavailable, error.to_string())
}
