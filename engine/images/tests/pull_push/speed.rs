//! How long a big layer takes. Run by hand, in release: it prints and asserts nothing about time.

use shoal_base::{Clock as _, SystemClock};
use shoal_engine_images::unpack::Limits;

use crate::debian::{Guard, Registry};
use crate::{Host, request, tar};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn a_layer_of_200_mb() {
    let registry = Registry::start(Guard::None);
    let name = format!("{}/big:1", registry.host());
    let (from, to) = (Host::new(), Host::new());
    let clock = SystemClock;
    let id = from.image(&[tar("a", 200 << 20)], &name);
    let began = clock.monotonic();
    from.push_as(&request(&name)).await.1.unwrap();
    println!("push with compression {:?}", clock.monotonic() - began);
    let began = clock.monotonic();
    to.pull(&name).await.1.unwrap();
    println!("pull {:?}", clock.monotonic() - began);
    let third = Host::new();
    let layer = from.images.get(id).unwrap().layers[0].clone();
    let bytes = from.images.content().read(layer.digest, 1 << 30).unwrap();
    let lease = third.images.lease();
    third.images.content().put(&bytes, &lease).unwrap();
    let began = clock.monotonic();
    third.images.unpack_layer(&layer, &Limits::default(), &lease).unwrap();
    println!("unpack alone {:?}", clock.monotonic() - began);
}
