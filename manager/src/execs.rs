//! Execs in tasks, wherever they run. A manager keeps nothing about them: the name of an exec says its task, and the
//! task says the node (ADR 0008).

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream, Stream};
use shoal_model::cluster::TaskId;
use shoal_model::container::{Input, Output, OutputKind};
use shoal_model::error::{ErrorKind, Fact, Failure, ObjectKind};
use shoal_model::exec::{ExecDetails, ExecSpec, ExecStart};
use shoal_proto::node::exec_input::What as In;
use shoal_proto::node::exec_output::What as Out;
use shoal_proto::node::node_client::NodeClient;
use shoal_proto::node::{
    ExecBegan, ExecBegin, ExecCreateRequest, ExecEnd, ExecInput, ExecInspectRequest, ExecName,
    ExecOutput, ExecResizeRequest,
};
use shoal_proto::{codec, status};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::control::Error;
use crate::reach::Reach;

/// Messages of stdin that wait for a process that does not read.
const INPUT_QUEUE: usize = 16;

/// A client attached to an exec.
pub struct Session {
    /// Ends when the process has closed its outputs. Dropping it detaches.
    pub output: BoxStream<'static, Result<Output, Failure>>,
    /// Where the client's stdin goes; `None`: the process has none.
    pub input: Option<mpsc::Sender<Input>>,
    /// Whether the process has a terminal.
    pub tty: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("tty", &self.tty).finish_non_exhaustive()
    }
}

/// Whether a name is that of an exec in a task: `TASK.EXEC`.
pub fn is_in_task(name: &str) -> bool {
    parse(name).is_some()
}

fn parse(name: &str) -> Option<(TaskId, &str)> {
    let (task, exec) = name.split_once('.')?;
    Some((TaskId::parse(task)?, exec))
}

/// Reaches execs. Clones are the same.
#[derive(Debug, Clone)]
pub struct Execs {
    reach: Reach,
}

/// Errors are those of the store, of the connection to the node, and what the node says.
#[allow(clippy::missing_errors_doc, reason = "as said")]
impl Execs {
    /// Over the node APIs of tasks.
    pub fn new(reach: Reach) -> Self {
        Self { reach }
    }

    /// Makes an exec in a running task, named by its id or a prefix of it. Gives the exec's name.
    pub async fn create(&self, task: &str, spec: ExecSpec) -> Result<String, Failure> {
        let (task, mut client) = self.reach.find(task).await?;
        let request =
            ExecCreateRequest { task: task.to_bytes().to_vec().into(), spec: codec::encode(&spec) };
        let created = self.reach.answer(client.exec_create(request)).await?;
        Ok(format!("{task}.{}", created.exec))
    }

    /// Starts an exec; a session unless detached.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it was started.
    pub async fn start(&self, name: &str, start: ExecStart) -> Result<Option<Session>, Failure> {
        let (mut client, name) = self.find(name).await?;
        let begin = ExecBegin { name: Some(name), start: codec::encode(&start) };
        let (input, inputs) = inputs(In::Begin(begin));
        session(self.reach.answer(client.exec_start(inputs)).await?, input).await
    }

    /// Changes the size of an exec's terminal.
    pub async fn resize(&self, name: &str, rows: u32, columns: u32) -> Result<(), Failure> {
        let (mut client, name) = self.find(name).await?;
        let request = ExecResizeRequest { name: Some(name), rows, columns };
        self.reach.answer(client.exec_resize(request)).await.map(drop)
    }

    /// Everything about an exec.
    pub async fn inspect(&self, name: &str) -> Result<ExecDetails, Failure> {
        let (mut client, name) = self.find(name).await?;
        let request = ExecInspectRequest { name: Some(name) };
        let answer = self.reach.answer(client.exec_inspect(request)).await?;
        codec::decode("exec", &answer.details)
            .map_err(|error| Failure::new(ErrorKind::DataLoss, error.to_string()))
    }

    /// The node of an exec. What this replica knows is enough: an exec is asked for after it was made.
    async fn find(&self, name: &str) -> Result<(NodeClient<Channel>, ExecName), Failure> {
        let missing = || {
            let fact = Fact::NoSuch { object: ObjectKind::Exec, name: name.to_owned() };
            Failure::of(ErrorKind::NotFound, fact)
        };
        let (id, exec) = parse(name).ok_or_else(missing)?;
        let mut state = self.reach.store.view();
        if state.task(id).is_none() {
            state = self.reach.store.read().await.map_err(Error::from)?;
        }
        let task = state.task(id).ok_or_else(missing)?;
        let client = self.reach.client(&state, task)?;
        let task = id.to_bytes().to_vec().into();
        Ok((client, ExecName { task, exec: exec.to_owned() }))
    }
}

/// What a client sends: the first message, then its stdin.
pub(crate) fn inputs(
    first: In,
) -> (mpsc::Sender<Input>, impl Stream<Item = ExecInput> + Send + 'static) {
    let (input, inputs) = mpsc::channel(INPUT_QUEUE);
    let first = ExecInput { what: Some(first) };
    (input, stream::iter([first]).chain(ReceiverStream::new(inputs).map(message)))
}

/// The session that the node's first message tells of; `None`: nothing is attached.
pub(crate) async fn session(
    mut outputs: Streaming<ExecOutput>,
    input: mpsc::Sender<Input>,
) -> Result<Option<Session>, Failure> {
    let first = outputs.message().await.map_err(|error| status::failure(&error))?;
    let Some(Out::Began(ExecBegan { attached, tty, has_stdin })) =
        first.and_then(|output| output.what)
    else {
        return Err(Failure::new(ErrorKind::Unavailable, "the node ended the call"));
    };
    let output = outputs.filter_map(async |message| output(message)).boxed();
    Ok(attached.then(|| Session { output, input: has_stdin.then_some(input), tty }))
}

fn message(input: Input) -> ExecInput {
    let what = match input {
        Input::Data(bytes) => In::Data(bytes.into()),
        Input::End => In::End(ExecEnd { detached: false }),
        Input::Detached => In::End(ExecEnd { detached: true }),
    };
    ExecInput { what: Some(what) }
}

fn output(message: Result<ExecOutput, Status>) -> Option<Result<Output, Failure>> {
    let what = match message {
        Ok(message) => message.what?,
        Err(error) => return Some(Err(status::failure(&error))),
    };
    match what {
        Out::Stdout(bytes) => Some(Ok(Output { kind: OutputKind::Stdout, bytes: bytes.into() })),
        Out::Stderr(bytes) => Some(Ok(Output { kind: OutputKind::Stderr, bytes: bytes.into() })),
        Out::Began(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execs_name_says_its_task() {
        let task = TaskId::from_bytes([7; 16]);
        let exec = "ab".repeat(32);
        assert_eq!(parse(&format!("{task}.{exec}")), Some((task, exec.as_str())));
        assert!(!is_in_task(&exec));
        assert!(!is_in_task("web.1"));
    }
}
