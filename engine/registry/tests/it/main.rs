//! The client against registries that misbehave by script, and against Debian's `docker-registry`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod debian;
mod real;
mod scripted;
mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shoal_base::SystemClock;
use shoal_engine_registry::{Client, Insecure, Proxy, Settings, Timeouts};

/// A client with loopback insecure, as daemons have it, and short deadlines.
fn client(certs_dir: &Path, mirrors: &[&str]) -> Client {
    let none: [&str; 0] = [];
    with_insecure(certs_dir, mirrors, Insecure::with_loopback(&none).unwrap())
}

fn with_insecure(certs_dir: &Path, mirrors: &[&str], insecure: Insecure) -> Client {
    Client::new(settings(certs_dir, mirrors, insecure), Arc::new(SystemClock))
}

fn settings(certs_dir: &Path, mirrors: &[&str], insecure: Insecure) -> Settings {
    Settings {
        mirrors: mirrors.iter().map(|mirror| mirror.parse().unwrap()).collect(),
        insecure,
        certs_dir: certs_dir.to_owned(),
        proxy: Proxy::default(),
        user_agent: "shoal-test".to_owned(),
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            answer: Duration::from_millis(400),
            idle: Duration::from_millis(400),
        },
        attempts: 3,
    }
}
