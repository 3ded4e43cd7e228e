//! Which verb is possible in which phase, and what follows. Pure.
//!
//! Source: moby `daemon/{start,stop,kill,pause,unpause,rename,delete,exec}.go`, as observed by clients.

use shoal_model::container::Phase;
use shoal_model::{ErrorKind, Fact};

/// A verb that depends on the phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "docker's verbs")]
pub enum Verb {
    Start,
    Stop,
    Restart,
    Kill,
    Pause,
    Unpause,
    Exec,
    Attach,
    Resize,
    Top,
    Remove,
    RemoveForced,
    Rename,
    Update,
}

/// Why a verb is not possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Kind of the error.
    pub kind: ErrorKind,
    /// The fact clients expect docker's words for; `None`: the phase alone explains it.
    pub fact: Option<Fact>,
}

/// Decides whether `verb` may proceed on the container `name` in `phase`.
///
/// # Errors
/// Why not.
pub fn permit(verb: Verb, phase: Phase, name: &str, id: &str) -> Result<(), Refusal> {
    use Phase::*;
    let container = || id.to_owned();
    let refuse = |kind, fact| Err(Refusal { kind, fact: Some(fact) });
    let conflict = |fact| refuse(ErrorKind::Conflict, fact);
    match (verb, phase) {
        // A container being removed can do nothing but be removed again; a dead one only be removed.
        (Verb::Remove | Verb::RemoveForced, Dead) => Ok(()),
        (_, Removing | Dead) => Err(Refusal { kind: ErrorKind::Conflict, fact: None }),

        (Verb::Start, Paused) => conflict(Fact::Paused { container: container() }),
        (Verb::Start, Running) => refuse(ErrorKind::NotModified, Fact::AlreadyInState),
        (Verb::Start, Created | Exited | Restarting) => Ok(()),

        (Verb::Stop, Created | Exited) => refuse(ErrorKind::NotModified, Fact::AlreadyInState),
        (Verb::Stop, Running | Paused | Restarting) => Ok(()),

        (Verb::Kill, Running | Paused | Restarting) => Ok(()),
        (Verb::Kill | Verb::Exec | Verb::Pause | Verb::Resize | Verb::Top, Created | Exited) => {
            conflict(Fact::NotRunning { container: container() })
        }
        (Verb::Pause | Verb::Exec | Verb::Top | Verb::Attach | Verb::Resize, Restarting) => {
            conflict(Fact::Restarting { container: container() })
        }
        (Verb::Pause | Verb::Exec | Verb::Attach, Paused) => {
            conflict(Fact::Paused { container: container() })
        }
        (Verb::Pause | Verb::Exec, Running) => Ok(()),
        (Verb::Attach, Created | Running | Exited) => Ok(()),
        (Verb::Top | Verb::Resize, Running | Paused) => Ok(()),

        (Verb::Unpause, Paused) => Ok(()),
        (Verb::Unpause, Created | Running | Restarting | Exited) => {
            conflict(Fact::NotPaused { container: container() })
        }

        (Verb::Remove, Running | Paused | Restarting) => conflict(Fact::RemoveRunning {
            container: name.to_owned(),
            state: phase.as_str().to_owned(),
        }),
        (Verb::Remove, Created | Exited) => Ok(()),
        (
            Verb::RemoveForced | Verb::Restart | Verb::Rename | Verb::Update,
            Created | Running | Paused | Restarting | Exited,
        ) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use expect_test::expect;

    use super::*;

    #[test]
    fn table() {
        use Verb::*;
        let verbs = [
            Start,
            Stop,
            Restart,
            Kill,
            Pause,
            Unpause,
            Exec,
            Attach,
            Resize,
            Top,
            Remove,
            RemoveForced,
            Rename,
            Update,
        ];
        let phases = [
            Phase::Created,
            Phase::Running,
            Phase::Paused,
            Phase::Restarting,
            Phase::Removing,
            Phase::Exited,
            Phase::Dead,
        ];
        let mut table = String::new();
        for verb in verbs {
            let row = phases.map(|phase| match permit(verb, phase, "c", "c") {
                Ok(()) => "yes".to_owned(),
                Err(Refusal { fact: Some(fact), .. }) => {
                    let text = format!("{fact:?}");
                    text.split(' ').next().unwrap_or_default().to_owned()
                }
                Err(Refusal { fact: None, kind }) => format!("{kind:?}"),
            });
            writeln!(table, "{:<13}{}", format!("{verb:?}"), row.join(" ")).unwrap();
        }
        expect![[r#"
            Start        yes AlreadyInState Paused yes Conflict yes Conflict
            Stop         AlreadyInState yes yes yes Conflict AlreadyInState Conflict
            Restart      yes yes yes yes Conflict yes Conflict
            Kill         NotRunning yes yes yes Conflict NotRunning Conflict
            Pause        NotRunning yes Paused Restarting Conflict NotRunning Conflict
            Unpause      NotPaused NotPaused yes NotPaused Conflict NotPaused Conflict
            Exec         NotRunning yes Paused Restarting Conflict NotRunning Conflict
            Attach       yes yes Paused Restarting Conflict yes Conflict
            Resize       NotRunning yes yes Restarting Conflict NotRunning Conflict
            Top          NotRunning yes yes Restarting Conflict NotRunning Conflict
            Remove       yes RemoveRunning RemoveRunning RemoveRunning Conflict yes yes
            RemoveForced yes yes yes yes Conflict yes yes
            Rename       yes yes yes yes Conflict yes Conflict
            Update       yes yes yes yes Conflict yes Conflict
        "#]]
        .assert_eq(&table);
    }
}
