//! Failures as people meet them: what is wrong, what to do next, and the exit code.

use crate::api::base_url::BaseUrlError;
use crate::api::client::ClientError;
use crate::audit::SCHEMA_VERSION;
use crate::audit::export::ExportError;
use crate::files::OutputError;
use crate::input::ListError;
use crate::ledger::{LedgerError, now_ms};
use crate::model::outcome::BAD_CERTIFICATE;
use crate::model::text::{printable, printable_bytes};
use crate::runner::count::CountError;
use crate::runner::ingest::IngestError;
use crate::runner::preflight::Objection;
use crate::ui::command::name_ledger;
use crate::ui::format::clock;
use crate::ui::{say, say_json};
use serde_json::json;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

/// What to do where a gateway refuses.
pub const GATEWAY: &str = "the tenant answers in JSON, so a gateway, firewall or proxy answered instead: ask whoever runs it to let \
                           this machine reach the tenant's API; the token may be good";
/// What to do where a server is not trusted.
const CERTIFICATE: &str = "nothing was sent; where a proxy of your own opens TLS, name its authority's certificate with SSL_CERT_FILE; \
                           else check the address and this machine's clock";

/// What kind of failure it is; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something that was not foreseen.
    Unexpected = 1,
    /// Wrong usage, configuration or lists.
    Usage = 2,
    /// Done, but something failed or awaits a ruling.
    Unsettled = 3,
    /// Stopped before the end; `resume` goes on.
    Stopped = 4,
    /// Refused before anything was sent.
    Refused = 5,
    /// The ledger is in use, damaged, newer, or of another job.
    Ledger = 6,
}

impl Kind {
    /// The word that scripts read.
    fn as_str(self) -> &'static str {
        match self {
            Self::Unexpected => "unexpected",
            Self::Usage => "usage",
            Self::Unsettled => "unsettled",
            Self::Stopped => "stopped",
            Self::Refused => "refused",
            Self::Ledger => "ledger",
        }
    }
}

/// A failure with its remedy, or an end before the end that was asked for.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    /// A person wanted it so.
    as_asked: bool,
    message: String,
    hints: Vec<String>,
}

impl Failure {
    /// A failure; the message is a lowercase fragment.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            as_asked: false,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// Stopped before the end because a person wanted it so, which is no error.
    pub fn as_asked(message: impl Into<String>) -> Self {
        Self {
            as_asked: true,
            ..Self::new(Kind::Stopped, message)
        }
    }

    /// What is wrong with the arguments.
    pub fn of_usage(error: &clap::Error) -> Self {
        let text = error.to_string();
        let message = text
            .trim_start_matches("error: ")
            .split("\n\n")
            .next()
            .unwrap_or_default();
        Self::new(Kind::Usage, message.trim()).hint("try `--help`")
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The exit code, and why.
    pub fn for_the_log(&self) -> (u8, Option<&str>) {
        (self.kind as u8, Some(&self.message))
    }

    /// Shows it on stderr, for people or as JSON, and gives the exit code. Every command in a hint names the ledger.
    pub fn report(&self, ledger: &Path, as_json: bool) -> ExitCode {
        if as_json {
            say_json(&self.json(ledger));
        } else {
            say(self.text(ledger));
        }
        self.exit_code()
    }

    /// The exit code alone.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }

    /// No error, where a person wanted it so.
    fn word(&self) -> &'static str {
        if self.as_asked { "stopped" } else { "error" }
    }

    fn hints_on(&self, ledger: &Path) -> impl Iterator<Item = String> {
        self.hints.iter().map(|hint| name_ledger(hint, ledger))
    }

    /// What is said to people, on several lines.
    pub fn text(&self, ledger: &Path) -> String {
        let message = format!("{}: {}", self.word(), printable(&self.message));
        let hints = self
            .hints_on(ledger)
            .map(|hint| format!("hint: {}", printable(&hint)));
        std::iter::once(message)
            .chain(hints)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The same for programs.
    pub fn json(&self, ledger: &Path) -> serde_json::Value {
        json!({
            "schema_version": SCHEMA_VERSION,
            "event": self.word(),
            "kind": self.kind.as_str(),
            "exit_code": self.kind as u8,
            "message": self.message,
            "hints": self.hints_on(ledger).collect::<Vec<_>>(),
        })
    }
}

/// A path as people read it.
pub fn shown(path: &Path) -> String {
    printable_bytes(path.as_os_str().as_encoded_bytes())
}

/// A file that cannot be written. `other` is what to type for another one.
pub fn unwritable(path: &Path, error: &OutputError, other: &str) -> Failure {
    let failure = |kind| Failure::new(kind, format!("cannot write {}: {error}", shown(path)));
    match error {
        OutputError::Exists => {
            failure(Kind::Usage).hint(format!("name a file that is not there yet: {other}"))
        }
        OutputError::Kept(_) => {
            failure(Kind::Usage).hint(format!("nothing was touched; name another file: {other}"))
        }
        OutputError::NoFile(_) => failure(Kind::Usage).hint(format!("name a file: {other}")),
        OutputError::Failed(error) => match error.kind() {
            ErrorKind::StorageFull | ErrorKind::FileTooLarge | ErrorKind::QuotaExceeded => {
                failure(Kind::Unexpected).hint("nothing was lost: make room and run the same command again")
            }
            _ => failure(Kind::Usage).hint(format!(
                "name a file in a folder that can be written, such as {other}"
            )),
        },
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let (kind, hint) = match &error {
            LedgerError::Missing(_) => (
                Kind::Usage,
                "`rollbook assign --status HANDLE LIST` makes one; --ledger PATH names another",
            ),
            LedgerError::NotALedger(_) => (
                Kind::Ledger,
                "name another file with --ledger; this one was not touched",
            ),
            LedgerError::UnsafePath { .. } => (Kind::Ledger, "name another file with --ledger"),
            LedgerError::Newer { .. } => (Kind::Ledger, "update rollbook; the ledger was not touched"),
            LedgerError::Locked { .. } => (
                Kind::Ledger,
                "wait for it or stop it; `rollbook status` and `rollbook export` work meanwhile",
            ),
            LedgerError::Superseded => (Kind::Ledger, "this run has stopped; the other one goes on"),
            LedgerError::ReadByOlder(_) => (
                Kind::Usage,
                "take it out with `rollbook unload LIST`, and load it again; nothing was loaded",
            ),
            LedgerError::OtherJob { .. } => (
                Kind::Ledger,
                "a ledger is one job: give this one its own with --ledger PATH",
            ),
            LedgerError::Copied { .. } => (
                Kind::Ledger,
                "if its original is no longer used, go on here with --adopt, which first settles what that may have sent",
            ),
            LedgerError::Replaced { .. } => (
                Kind::Ledger,
                "nothing more was sent; put the ledger, its -wal and its .lock back as they were, then `rollbook resume`",
            ),
            LedgerError::State(_) => (
                Kind::Stopped,
                "make room there, or name another folder with ROLLBOOK_STATE_DIR, then `rollbook resume`",
            ),
            LedgerError::Busy(_) => (
                Kind::Ledger,
                "close the program that has it open (`fuser -v LEDGER` names it), then run the same command again",
            ),
            LedgerError::Damaged(_) => (
                Kind::Ledger,
                "`rollbook doctor` says more; keep the file, and restore a copy that is sound",
            ),
            LedgerError::CannotOpen { .. } => (
                Kind::Usage,
                "--ledger takes a file in a folder that can be written",
            ),
            LedgerError::Disk(_) => (
                Kind::Unexpected,
                "nothing is lost: make room or check the disk, then run the same command again",
            ),
            LedgerError::Sqlite(_) => (Kind::Unexpected, "`rollbook doctor` checks the ledger"),
        };
        Self::new(kind, error.to_string()).hint(hint)
    }
}

impl From<ListError> for Failure {
    fn from(error: ListError) -> Self {
        let failure = Self::new(Kind::Usage, error.to_string());
        error.hints().into_iter().fold(failure, Self::hint)
    }
}

impl From<IngestError> for Failure {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::List(error) => Self::from(error).hint("nothing was loaded"),
            IngestError::Ledger(error) => error.into(),
            IngestError::Stopped => Self::as_asked(error.to_string()).hint("nothing was loaded"),
        }
    }
}

impl From<CountError> for Failure {
    fn from(error: CountError) -> Self {
        match error {
            CountError::Ingest(error) => error.into(),
            CountError::Reuse(error) => error.into(),
        }
    }
}

impl From<BaseUrlError> for Failure {
    fn from(error: BaseUrlError) -> Self {
        Self::new(Kind::Usage, error.to_string())
            .hint("set OMNEO_TENANT or --tenant to the tenant's name, such as `acme`")
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Token => {
                Self::new(Kind::Usage, error.to_string()).hint("set OMNEO_TOKEN to the bare token")
            }
            ClientError::NoAuthorities => Self::new(Kind::Usage, error.to_string()).hint(
                "install the system's package `ca-certificates`, or name a file of certificates with SSL_CERT_FILE",
            ),
            ClientError::Setup(_) => Self::new(Kind::Unexpected, error.to_string()),
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Ledger(error) => error.into(),
            ExportError::Output(_) => Self::new(Kind::Unexpected, error.to_string())
                .hint("the ledger is as it was: make room and export again"),
        }
    }
}

impl From<Objection> for Failure {
    fn from(objection: Objection) -> Self {
        let failure = Self::new(Kind::Refused, objection.to_string());
        match objection {
            Objection::Token(_) => {
                failure.hint("set OMNEO_TOKEN to a token of this tenant that has not expired")
            }
            Objection::Scope { scope, .. } => failure.hint(format!("give the token the scope `{scope}`")),
            Objection::Gateway(_) => failure.hint(GATEWAY),
            Objection::UnknownHandle { similar, .. } => {
                let list = "`rollbook statuses` lists what the tenant defines; an unknown handle would silently do nothing";
                match similar.as_slice() {
                    [] => failure.hint(list),
                    similar => {
                        let words: Vec<String> = similar.iter().map(|handle| format!("`{handle}`")).collect();
                        failure
                            .hint(format!("did you mean {}?", words.join(" or ")))
                            .hint(list)
                    }
                }
            }
            Objection::FilterIgnored => failure.hint(
                "without that filter no email can be looked up; ask the tenant's support about GET /profiles",
            ),
            Objection::NoApi(_) => failure.hint("check --tenant or --base-url; it ends in /api/v3"),
            Objection::Later(wait) => {
                let now = now_ms();
                let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                failure.hint(format!(
                    "nothing was sent; run the same command again after {}",
                    clock(now.saturating_add(wait), now)
                ))
            }
            Objection::Unavailable(why) if why.contains(BAD_CERTIFICATE) => failure.hint(CERTIFICATE),
            Objection::Unavailable(_) => {
                failure.hint("check the network and the address, then run the same command again")
            }
        }
    }
}
