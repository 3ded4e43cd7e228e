//! Asynchronous client of one container's shim.
//!
//! Each request has a connection of its own: connecting costs some ten microseconds, requests of
//! different callers never wait for each other, and a dropped future closes what it used.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use shoal_model::{Classified, ErrorKind};
use shoal_shim_protocol::client::{FDS_MAX, receive_with_fds, send_with_fds};
use shoal_shim_protocol::frame::{self, Decoder};
use shoal_shim_protocol::message::{self, Event, Failure, FailureKind, Request, Response, State};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// Why a request to a shim failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody serves the socket: the shim is gone.
    #[error("failed to connect to the shim at `{path}`")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("connection to the shim at `{path}` broke")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A frame was malformed.
    #[error("the shim at `{path}` sent or was to be sent a bad frame")]
    Frame {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: frame::Error,
    },
    /// The shim said no.
    #[error(transparent)]
    Refused(Failure),
    /// The answer does not fit the request.
    #[error("the shim at `{path}` gave an answer that does not fit the request")]
    Unexpected {
        /// The socket.
        path: PathBuf,
    },
    /// The shim speaks no version of ours.
    #[error("the shim at `{path}` speaks no protocol version of this daemon")]
    Version {
        /// The socket.
        path: PathBuf,
    },
}

impl Error {
    /// Whether the shim is not there (any more).
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Broken { .. })
    }

    /// What the shim answered, when it did.
    pub fn refusal(&self) -> Option<&Failure> {
        match self {
            Self::Refused(failure) => Some(failure),
            _ => None,
        }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(failure) => match failure.kind {
                FailureKind::InvalidArgument => ErrorKind::InvalidArgument,
                FailureKind::NotFound => ErrorKind::NotFound,
                FailureKind::Conflict => ErrorKind::Conflict,
                FailureKind::NotImplemented => ErrorKind::NotImplemented,
                FailureKind::CommandNotFound
                | FailureKind::CommandNotExecutable
                | FailureKind::UnknownUser => ErrorKind::InvalidArgument,
                FailureKind::LogDriver | FailureKind::Mount | FailureKind::Internal => {
                    ErrorKind::Internal
                }
            },
            Self::Connect { .. } | Self::Broken { .. } => ErrorKind::Unavailable,
            Self::Frame { .. } | Self::Unexpected { .. } | Self::Version { .. } => {
                ErrorKind::Internal
            }
        }
    }
}

/// Client of the shim behind one socket.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
}

/// A connection after its request was answered: frames of events, or a byte stream.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    path: PathBuf,
}

impl Client {
    /// A client of the shim that serves `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks once and closes the connection.
    ///
    /// # Errors
    /// When the shim is gone or refuses.
    pub async fn call(&self, request: &Request) -> Result<Response, Error> {
        Ok(self.open(request).await?.1)
    }

    /// Asks for something that is answered by [`Response::Done`].
    ///
    /// # Errors
    /// When the shim is gone or refuses.
    pub async fn command(&self, request: &Request) -> Result<(), Error> {
        match self.call(request).await? {
            Response::Done => Ok(()),
            _ => Err(self.unexpected()),
        }
    }

    /// Asks and keeps the connection for what follows the answer.
    ///
    /// # Errors
    /// When the shim is gone or refuses.
    pub async fn open(&self, request: &Request) -> Result<(Connection, Response), Error> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|source| Error::Connect { path: self.path.clone(), source })?;
        let mut connection =
            Connection { stream, decoder: Decoder::default(), path: self.path.clone() };
        let response = connection.ask(request).await?;
        Ok((connection, response))
    }

    /// Agrees on a version with a shim of perhaps another release.
    ///
    /// # Errors
    /// When it is gone or there is no common version.
    pub async fn handshake(&self) -> Result<(), Error> {
        let versions = shoal_shim_protocol::VERSIONS.to_vec();
        match self.call(&Request::Hello { versions: versions.clone() }).await? {
            Response::Hello { version, .. } if versions.contains(&version) => Ok(()),
            _ => Err(Error::Version { path: self.path.clone() }),
        }
    }

    /// The state of the container.
    ///
    /// # Errors
    /// When the shim is gone.
    pub async fn state(&self) -> Result<State, Error> {
        match self.call(&Request::State).await? {
            Response::State(state) => Ok(*state),
            _ => Err(self.unexpected()),
        }
    }

    /// Begins to listen to events; also gives the state that they continue.
    ///
    /// # Errors
    /// When the shim is gone.
    pub async fn subscribe(&self) -> Result<(Connection, State), Error> {
        match self.open(&Request::Subscribe).await? {
            (connection, Response::Subscribed(state)) => Ok((connection, *state)),
            _ => Err(self.unexpected()),
        }
    }

    /// Makes and releases the container: pid and start time in nanoseconds since 1970.
    ///
    /// # Errors
    /// When the shim is gone, or the container could not be made or started.
    pub async fn run(&self, request: &Request) -> Result<(u32, i64), Error> {
        match self.call(request).await? {
            Response::Started { pid, started_at_ns } => Ok((pid, started_at_ns)),
            _ => Err(self.unexpected()),
        }
    }

    /// Attaches to the init process or an exec; whether it is a terminal.
    ///
    /// # Errors
    /// When the shim is gone or refuses.
    pub async fn attach(&self, request: &Request) -> Result<(Connection, bool), Error> {
        match self.open(request).await? {
            (connection, Response::Attached { tty }) => Ok((connection, tty)),
            _ => Err(self.unexpected()),
        }
    }

    /// Starts an exec. With an attachment the connection is its stream.
    ///
    /// # Errors
    /// When the shim is gone or the program cannot be run.
    pub async fn exec(&self, exec: message::Exec) -> Result<(Connection, u32), Error> {
        match self.open(&Request::Exec(Box::new(exec))).await? {
            (connection, Response::ExecStarted { pid, .. }) => Ok((connection, pid)),
            _ => Err(self.unexpected()),
        }
    }

    /// Pids of all processes, as the host sees them.
    ///
    /// # Errors
    /// When the shim is gone.
    pub async fn pids(&self) -> Result<Vec<u32>, Error> {
        match self.call(&Request::Pids).await? {
            Response::Pids { pids } => Ok(pids),
            _ => Err(self.unexpected()),
        }
    }

    /// Puts descriptors into the shim's store; nothing to do for an empty list.
    ///
    /// # Errors
    /// When the shim is gone.
    pub async fn put_descriptors(&self, kept: &[(String, OwnedFd)]) -> Result<(), Error> {
        for chunk in kept.chunks(FDS_MAX) {
            let names = chunk.iter().map(|(name, _)| name.clone()).collect();
            let frame = frame::encode(&Request::PutFds { names })
                .map_err(|source| Error::Frame { path: self.path.clone(), source })?;
            let stream = UnixStream::connect(&self.path)
                .await
                .map_err(|source| Error::Connect { path: self.path.clone(), source })?;
            let descriptors: Vec<BorrowedFd<'_>> = chunk.iter().map(|(_, fd)| fd.as_fd()).collect();
            let mut connection =
                Connection { stream, decoder: Decoder::default(), path: self.path.clone() };
            connection.send_with(&frame, &descriptors).await?;
            match connection.answer().await? {
                Response::Done => {}
                _ => return Err(self.unexpected()),
            }
        }
        Ok(())
    }

    /// Takes copies of all kept descriptors.
    ///
    /// # Errors
    /// When the shim is gone.
    pub async fn get_descriptors(&self) -> Result<Vec<(String, OwnedFd)>, Error> {
        let frame = frame::encode(&Request::GetFds { names: Vec::new() })
            .map_err(|source| Error::Frame { path: self.path.clone(), source })?;
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|source| Error::Connect { path: self.path.clone(), source })?;
        let mut connection =
            Connection { stream, decoder: Decoder::default(), path: self.path.clone() };
        connection.send_with(&frame, &[]).await?;
        let (response, descriptors) = connection.answer_with_descriptors().await?;
        match response {
            Response::Fds { names } if names.len() == descriptors.len() => {
                Ok(names.into_iter().zip(descriptors).collect())
            }
            _ => Err(self.unexpected()),
        }
    }

    fn unexpected(&self) -> Error {
        Error::Unexpected { path: self.path.clone() }
    }
}

impl Connection {
    async fn ask(&mut self, request: &Request) -> Result<Response, Error> {
        let frame = frame::encode(request).map_err(|source| self.bad_frame(source))?;
        self.stream.write_all(&frame).await.map_err(|source| self.broken(source))?;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<Response, Error> {
        let body = self
            .next_body()
            .await?
            .ok_or_else(|| self.broken(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)))?;
        self.understand(&body)
    }

    fn understand(&self, body: &[u8]) -> Result<Response, Error> {
        match frame::decode(body).map_err(|source| self.bad_frame(source))? {
            Response::Failed(failure) => Err(Error::Refused(failure)),
            response => Ok(response),
        }
    }

    /// The next event; `None` when the shim ended.
    ///
    /// # Errors
    /// When the connection breaks or the frame is malformed.
    ///
    /// # Cancel safety
    /// Bytes already received stay in the decoder: nothing is lost.
    pub async fn next_event(&mut self) -> Result<Option<Event>, Error> {
        match self.next_body().await? {
            None => Ok(None),
            Some(body) => frame::decode(&body).map(Some).map_err(|source| self.bad_frame(source)),
        }
    }

    /// The byte stream that follows an attachment: bytes already received, then the socket.
    pub fn into_stream(self) -> (Vec<u8>, UnixStream) {
        (self.decoder.into_rest(), self.stream)
    }

    async fn next_body(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(body) =
                self.decoder.next_frame().map_err(|source| self.bad_frame(source))?
            {
                return Ok(Some(body));
            }
            // Each container waits here as long as it lives: the buffer must not be part of what waits.
            self.stream.readable().await.map_err(|source| self.broken(source))?;
            let mut buffer = [0; 4096];
            let count = match self.stream.try_read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(source) => return Err(self.broken(source)),
            };
            if count == 0 {
                return Ok(None);
            }
            self.decoder.push(&buffer[..count]);
        }
    }

    async fn send_with(
        &mut self,
        frame: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        let sent = self
            .stream
            .async_io(Interest::WRITABLE, || send_with_fds(&self.stream, frame, descriptors))
            .await
            .map_err(|source| self.broken(source))?;
        self.stream.write_all(&frame[sent..]).await.map_err(|source| self.broken(source))
    }

    async fn answer_with_descriptors(&mut self) -> Result<(Response, Vec<OwnedFd>), Error> {
        let mut descriptors = Vec::new();
        loop {
            if let Some(body) =
                self.decoder.next_frame().map_err(|source| self.bad_frame(source))?
            {
                return Ok((self.understand(&body)?, descriptors));
            }
            let mut buffer = vec![0; 16 << 10];
            let received = self
                .stream
                .async_io(Interest::READABLE, || {
                    receive_with_fds(&self.stream, &mut buffer, &mut descriptors)
                })
                .await
                .map_err(|source| self.broken(source))?;
            if received == 0 {
                return Err(self.broken(std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.decoder.push(&buffer[..received]);
        }
    }

    fn broken(&self, source: std::io::Error) -> Error {
        Error::Broken { path: self.path.clone(), source }
    }

    fn bad_frame(&self, source: frame::Error) -> Error {
        Error::Frame { path: self.path.clone(), source }
    }
}
