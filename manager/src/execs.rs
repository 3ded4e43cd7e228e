//! Execs in tasks, wherever they run. A manager keeps nothing about them: the name of an exec says its task, and the
//! task says the node (ADR 0008).

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use shoal_base::SharedClock;
use shoal_identity::tls::Expected;
use shoal_identity::{Credentials, connect};
use shoal_manager_core::control::find;
use shoal_manager_core::store::State;
use shoal_model::cluster::{Task, TaskId};
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
use tonic::{Response, Status};

use crate::control::Error;
use crate::logs::address;
use crate::store::Store;

/// A node must begin to answer within this time.
const PATIENCE: Duration = Duration::from_secs(20);
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
    store: Store,
    credentials: Credentials,
    clock: SharedClock,
}

/// Errors are those of the store, of the connection to the node, and what the node says.
#[allow(clippy::missing_errors_doc, reason = "as said")]
impl Execs {
    /// As the node of these credentials.
    pub fn new(store: Store, credentials: Credentials, clock: SharedClock) -> Self {
        Self { store, credentials, clock }
    }

    /// Makes an exec in a running task, named by its id or a prefix of it. Gives the exec's name.
    pub async fn create(&self, task: &str, spec: ExecSpec) -> Result<String, Failure> {
        let state = self.store.read().await.map_err(Error::from)?;
        let task = find::task(&state, task).map_err(Error::Refused)?;
        let request = ExecCreateRequest {
            task: task.id.to_bytes().to_vec().into(),
            spec: codec::encode(&spec),
        };
        let mut client = self.client(&state, task)?;
        let created = self.answer(client.exec_create(request)).await?;
        Ok(format!("{}.{}", task.id, created.exec))
    }

    /// Starts an exec; a session unless detached.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it was started.
    pub async fn start(&self, name: &str, start: ExecStart) -> Result<Option<Session>, Failure> {
        let (mut client, name) = self.find(name).await?;
        let begin = ExecBegin { name: Some(name), start: codec::encode(&start) };
        let (input, inputs) = mpsc::channel(INPUT_QUEUE);
        let first = ExecInput { what: Some(In::Begin(begin)) };
        let inputs = stream::iter([first]).chain(ReceiverStream::new(inputs).map(message));
        let mut outputs = self.answer(client.exec_start(inputs)).await?;
        let first = outputs.message().await.map_err(|error| status::failure(&error))?;
        let Some(Out::Began(ExecBegan { attached, tty, has_stdin })) =
            first.and_then(|output| output.what)
        else {
            return Err(Failure::new(ErrorKind::Unavailable, "the node ended the call"));
        };
        let output = outputs.filter_map(async |message| output(message)).boxed();
        Ok(attached.then(|| Session { output, input: has_stdin.then_some(input), tty }))
    }

    /// Changes the size of an exec's terminal.
    pub async fn resize(&self, name: &str, rows: u32, columns: u32) -> Result<(), Failure> {
        let (mut client, name) = self.find(name).await?;
        let request = ExecResizeRequest { name: Some(name), rows, columns };
        self.answer(client.exec_resize(request)).await.map(drop)
    }

    /// Everything about an exec.
    pub async fn inspect(&self, name: &str) -> Result<ExecDetails, Failure> {
        let (mut client, name) = self.find(name).await?;
        let request = ExecInspectRequest { name: Some(name) };
        let answer = self.answer(client.exec_inspect(request)).await?;
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
        let mut state = self.store.view();
        if state.task(id).is_none() {
            state = self.store.read().await.map_err(Error::from)?;
        }
        let task = state.task(id).ok_or_else(missing)?;
        let client = self.client(&state, task)?;
        let task = id.to_bytes().to_vec().into();
        Ok((client, ExecName { task, exec: exec.to_owned() }))
    }

    fn client(&self, state: &State, task: &Task) -> Result<NodeClient<Channel>, Failure> {
        let not_scheduled = || {
            let message = format!("task {} has not been scheduled", task.id);
            Failure::new(ErrorKind::Conflict, message)
        };
        let node = task.node.ok_or_else(not_scheduled)?;
        let not_available =
            || Failure::new(ErrorKind::Unavailable, format!("node {node} is not available"));
        let address = address(state.node(node)).ok_or_else(not_available)?;
        let channel = connect::channel(&self.credentials, &address, Expected::Node(node))?;
        Ok(NodeClient::new(channel))
    }

    async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            answer = call => {
                answer.map(Response::into_inner).map_err(|error| status::failure(&error))
            }
            () = self.clock.sleep(PATIENCE) => {
                Err(Failure::new(ErrorKind::DeadlineExceeded, "the task's node did not answer"))
            }
        }
    }
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
