//! A blocking HTTP client over a unix socket: the least that a bench needs, so that it measures the daemon.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, bail};

fn is_good(code: u16) -> bool {
    (200..300).contains(&code) || code == 304
}

fn good(code: u16, body: &[u8]) -> anyhow::Result<()> {
    anyhow::ensure!(is_good(code), "{code}: {}", String::from_utf8_lossy(body));
    Ok(())
}

/// One kept-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<UnixStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn open(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("cannot connect to {}", socket.display()))?;
        Ok(Self { stream: BufReader::with_capacity(1 << 16, stream) })
    }

    /// Fails a call whose answer does not begin, or does not go on, within `limit`.
    ///
    /// # Errors
    /// When `limit` is zero.
    pub fn patience(&mut self, limit: std::time::Duration) -> anyhow::Result<()> {
        Ok(self.stream.get_ref().set_read_timeout(Some(limit))?)
    }

    /// Sends a request and returns the body of a 2xx or 304 answer.
    ///
    /// # Errors
    /// On any other status; the message holds the body.
    pub fn call(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (code, answer) =
            self.exchange(method, path, body).with_context(|| format!("{method} {path}"))?;
        good(code, &answer).with_context(|| format!("{method} {path}"))?;
        Ok(answer)
    }

    /// Sends a request and returns status and body of the answer, whatever they are.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn exchange(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        let (mut answer, mut error) = (Vec::new(), Vec::new());
        self.send(method, path, body)?;
        let code = self.receive(&mut answer, &mut error)?;
        Ok((code, if is_good(code) { answer } else { error }))
    }

    /// Sends a request and copies the body of the answer to `target`.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn download(&mut self, path: &str, target: &mut dyn Write) -> anyhow::Result<()> {
        self.send("GET", path, b"")?;
        let mut error = Vec::new();
        let code = self.receive(target, &mut error).with_context(|| format!("GET {path}"))?;
        good(code, &error).with_context(|| format!("GET {path}"))
    }

    fn send(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<()> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: shoal\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let stream = self.stream.get_mut();
        if body.len() < 4096 {
            stream.write_all(&[head.as_bytes(), body].concat())?;
        } else {
            stream.write_all(head.as_bytes())?;
            stream.write_all(body)?;
        }
        Ok(())
    }

    /// The status; the body goes to one of two places.
    fn receive(&mut self, target: &mut dyn Write, error: &mut Vec<u8>) -> anyhow::Result<u16> {
        let status = self.line()?;
        let code: u16 = status.split(' ').nth(1).context("no status line")?.parse()?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            chunked |=
                line.strip_prefix("transfer-encoding:").is_some_and(|v| v.trim() == "chunked");
        }
        let target: &mut dyn Write = if is_good(code) { target } else { error };
        if chunked {
            loop {
                let size = usize::from_str_radix(self.line()?.trim(), 16)?;
                self.copy(size, target)?;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else if code != 204 && code != 304 {
            self.copy(length, target)?;
        }
        Ok(code)
    }

    fn copy(&mut self, length: usize, target: &mut dyn Write) -> anyhow::Result<()> {
        let copied = std::io::copy(&mut (&mut self.stream).take(length as u64), target)?;
        if copied != length as u64 {
            bail!("the answer broke off");
        }
        Ok(())
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the connection was closed");
        }
        Ok(line.trim_end().to_owned())
    }

    /// Sends a request that takes the connection over and reads all that comes until its end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn hijack(mut self, path: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: shoal\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        while !self.line()?.is_empty() {}
        let mut output = Vec::new();
        self.stream.read_to_end(&mut output)?;
        Ok(output)
    }
}
