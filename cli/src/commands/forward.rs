//! `port-forward`: ports of a task's container on this machine, wherever the task runs.

use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpListener, TcpStream};

use super::reach::{self, Found};
use crate::args::{Args, Command, Count, Flag, STR, action, flag};
use crate::client::{Client, Request};
use crate::context::Context;
use crate::error::{Failure, Result, io};
use crate::sys;

const FLAGS: &[Flag] = &[flag("address", STR, "Address to listen on").or("127.0.0.1")];

pub(super) const COMMANDS: &[Command] = &[Command::new(
    &["port-forward"],
    "[OPTIONS] TASK [LOCAL_PORT:]PORT [[LOCAL_PORT:]PORT...]",
    "Reach ports of a task's container from this machine, published or not",
    Count::AtLeast(2),
    &[FLAGS],
    action!(forward),
)
.examples("shoal port-forward 5mnzk0w 8080:80    # http://127.0.0.1:8080 is port 80 of the task")];

/// A port of ours and one of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair {
    /// Zero: any.
    local: u16,
    remote: u16,
}

/// `[local:]remote`. Pure.
fn parse(text: &str) -> std::result::Result<Pair, String> {
    let bad =
        || format!("invalid port {text}: use PORT, LOCAL_PORT:PORT, or :PORT for any local port");
    let number = |text: &str| text.parse::<u16>().map_err(|_| bad());
    let pair = match text.split_once(':') {
        None => number(text).map(|port| Pair { local: port, remote: port })?,
        Some(("", remote)) => Pair { local: 0, remote: number(remote)? },
        Some((local, remote)) => Pair { local: number(local)?, remote: number(remote)? },
    };
    if pair.remote == 0 { Err(bad()) } else { Ok(pair) }
}

async fn forward(context: &mut Context, args: &Args) -> Result {
    let address: IpAddr = args
        .text("address")
        .parse()
        .map_err(|_| Failure::new(format!("invalid address {}", args.text("address"))))?;
    let pairs = args.rest[1..].iter().map(|text| parse(text));
    let pairs = pairs.collect::<std::result::Result<Vec<_>, _>>().map_err(Failure::new)?;
    let client = context.client()?;
    let found = reach::find(client, args.arg(0)).await?;
    if let Found::Container(_) = found {
        return Err(
            "only tasks of the cluster can be forwarded: publish ports of containers with -p"
                .into(),
        );
    }
    let base = found.base();
    let mut listeners = Vec::new();
    for Pair { local, remote } in pairs {
        let listener = TcpListener::bind(SocketAddr::new(address, local)).await;
        let listener = listener.map_err(io(format!("listening on {address} port {local}")))?;
        let local = listener.local_addr().map_err(io("asking for the local port"))?;
        sys::line(format_args!("Forwarding from {local} -> {remote}"));
        listeners.push((listener, remote));
    }
    let all = listeners.iter().map(|(listener, remote)| serve(client, listener, &base, *remote));
    tokio::select! {
        _ = futures_util::future::join_all(all) => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(io("waiting for an interrupt")),
    }
}

/// Carries the connections of one port, each on its own, until this future is dropped.
async fn serve(client: &Client, listener: &TcpListener, base: &str, port: u16) {
    use futures_util::StreamExt as _;
    let mut open = futures_util::stream::FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => open.push(carry(client, stream, base, port)),
                Err(error) => sys::err_line(format_args!("accepting a connection: {error}")),
            },
            Some(carried) = open.next(), if !open.is_empty() => {
                if let Err(failure) = carried {
                    sys::err_line(format_args!("port {port}: {failure}"));
                }
            }
        }
    }
}

async fn carry(client: &Client, mut stream: TcpStream, base: &str, port: u16) -> Result {
    let request = Request::post(format!("{base}/forward")).query("port", port.to_string());
    let mut connection = client.hijack(request).await?;
    // A connection that one side resets ends for the other one too; that is no failure of ours.
    let _reset = tokio::io::copy_bidirectional(&mut stream, &mut connection).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let pair = |local, remote| Ok(Pair { local, remote });
        assert_eq!(parse("80"), pair(80, 80));
        assert_eq!(parse("8080:80"), pair(8080, 80));
        assert_eq!(parse(":80"), pair(0, 80));
        for text in ["", "0", "80:", "x:80", "80:0", "70000", "1:2:3"] {
            let refusal = parse(text).unwrap_err();
            assert!(refusal.starts_with(&format!("invalid port {text}: ")), "{refusal}");
        }
    }
}
