//! sendmail(1), mailq(1) and newaliases(1): how the programs of this host submit mail.
//!
//! It has no rights but its caller's: no setuid, no setgid. It writes a file into the drop directory ([`crate::drop`]), and
//! then sees to it that somebody looks there: root and the owner of a queue start a queue run; everybody else connects to
//! the SMTP port of this host once, for the smtpd that is started there starts a run at its end. Where nothing listens, the
//! path unit of systemd, cron or s6 comes to it.
//!
//! Its input is its caller's own; it is bounded because it may be endless. Exit codes are those of sysexits.h.

pub(crate) mod body;
mod header;
mod options;
mod smtp;
mod submit;
mod verify;

use crate::drop::listing;
use crate::queue::QueueDirectory;
use crate::runner;
use common::cli::CommandLine;
use common::config::Config;
use common::log::Log;
use common::sys::{entry, process};
use options::{Mode, Options};
use std::ffi::OsString;
use std::io::{self, Write};

/// Exit codes of sysexits.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// EX_OK.
    Ok = 0,
    /// EX_USAGE: an option or an argument is wrong.
    Usage = 64,
    /// EX_DATAERR: an address or the message is wrong.
    Data = 65,
    /// EX_NOUSER: the caller has no name.
    NoUser = 67,
    /// EX_UNAVAILABLE: nobody answers.
    Unavailable = 69,
    /// EX_IOERR: the message cannot be read.
    Io = 74,
    /// EX_TEMPFAIL: it may work later.
    Temporary = 75,
    /// EX_NOPERM: the caller may not.
    NoPermission = 77,
    /// EX_CONFIG: the configuration is wrong.
    Config = 78,
}

/// Why it went wrong: for the caller's terminal or mail.
#[derive(Debug)]
pub struct Failure(Exit, String);

/// The program.
pub fn main() -> u8 {
    process::ignore_pipe_signal();
    let mut arguments = entry::arguments().map(|argument| argument.to_string_lossy().into_owned());
    let name = arguments.next().unwrap_or_default();
    let arguments = entry::arguments().skip(1).map(OsString::from);
    let result = match Options::parse(&name, arguments) {
        Ok(options) => run(options),
        Err(what) => Err(Failure(Exit::Usage, what)),
    };
    match result {
        Ok(()) => Exit::Ok as u8,
        Err(Failure(exit, what)) => {
            let _ = writeln!(io::stderr(), "sendmail: {what}");
            exit as u8
        }
    }
}

fn run(options: Options) -> Result<(), Failure> {
    let mut line = CommandLine::default();
    line.config_file = options.config.clone().map(Into::into);
    line.overrides = options.settings.clone();
    if options.mode == Mode::Run {
        let is_anothers = |config: Config| QueueDirectory::open(&config).is_err();
        if !process::is_root() && Config::load(&crate::PROGRAM.line, &line).is_ok_and(is_anothers) {
            let why = "the queue is for root and its owner to run".to_owned();
            return Err(Failure(Exit::NoPermission, why));
        }
        let mut arguments = Vec::new();
        if let Some(file) = &options.config {
            arguments.extend([OsString::from("-c"), file.into()]);
        }
        for setting in &options.settings {
            arguments.extend([OsString::from("-o"), setting.into()]);
        }
        arguments.extend(options.run);
        let run = runner::Options::parse(arguments.into_iter());
        let exit = runner::start(run.map_err(|what| Failure(Exit::Usage, what))?);
        return match exit {
            common::exit::Exit::Success => Ok(()),
            _ => Err(Failure(Exit::Temporary, "the queue could not be run".to_owned())),
        };
    }
    let config =
        Config::load(&crate::PROGRAM.line, &line).map_err(|error| unusable(&options, &error.to_string()))?;
    match options.mode {
        Mode::List => list(&config),
        Mode::Aliases => aliases(&config),
        Mode::Verify => verify::addresses(&config, &options, &mut io::stdout()),
        Mode::Smtp => smtp::speak(&config, &options),
        Mode::Message | Mode::Run => submit::message(&config, &options),
    }
}

/// There are no settings. Where the caller chose them, that is the caller's error. The host's own are the administrator's to mend:
/// the log has it, and a program that sends mail may try again.
///
/// The message is not left for the queue by the defaults: where `queue_directory` is set, nobody looks into the default one, and
/// what its sender takes for sent would lie there for ever.
fn unusable(options: &Options, what: &str) -> Failure {
    let sends = matches!(options.mode, Mode::Message | Mode::Smtp);
    if !sends || options.config.is_some() || !options.settings.is_empty() {
        return Failure(Exit::Config, what.to_owned());
    }
    let log = Log::open(&Config::DEFAULT, format!("postfix/sendmail[{}]", std::process::id()));
    let (uid, _) = process::user_and_group();
    let shown = common::log::readable(what.as_bytes()).up_to(500);
    log.error(format_args!("uid={uid}: mail is not taken: {shown}"));
    Failure(Exit::Temporary, format!("{what}; the mail is not taken, try again later"))
}

/// The whole queue for root and its owner; others ask a queue run for what they may see.
fn list(config: &Config) -> Result<(), Failure> {
    let listed = list_queue(config, &mut io::stdout());
    // Whoever reads it has seen enough.
    let is_enough = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    if listed.as_ref().is_err_and(is_enough) {
        return Ok(());
    }
    listed.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => Failure(Exit::Unavailable, error.to_string()),
        _ => Failure(Exit::Temporary, error.to_string()),
    })
}

/// Prints what the caller may see of the queue. Errors: `TimedOut`, no queue run has answered.
pub fn list_queue(config: &Config, out: &mut dyn Write) -> io::Result<()> {
    match QueueDirectory::open(config) {
        Ok(directory) => crate::queue::list::print(&directory, None, out),
        Err(error) if process::is_root() => Err(error),
        Err(_) => out.write_all(&listing::ask(config, listing::PATIENCE, &|| submit::poke(config))?),
    }
}

/// There is no data base to be made: the files are read as they are. They are checked, and what is wrong is said.
fn aliases(config: &Config) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure(Exit::Config, error.to_string());
    let users = std::cell::RefCell::new(crate::users::Users::new(config).map_err(failed)?);
    // A user database that we may not read is no reason to call every name wrong.
    let is_user = |name: &str| users.borrow_mut().find(name).map_or(true, |account| account.is_some());
    let (mut out, mut good) = (io::stdout(), true);
    let list = crate::values::expand(config, &config.alias_maps).map_err(failed)?;
    let maps = crate::aliases::Aliases::parse(&list).map_err(failed)?;
    for file in maps.files() {
        let path = file.display();
        let checked = match crate::aliases::check(file, &is_user) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && maps.may_miss(file) => {
                let _ = writeln!(out, "{path}: is not there: there are no aliases");
                continue;
            }
            checked => checked.map_err(|error| Failure(Exit::Config, format!("{path}: {error}")))?,
        };
        for problem in &checked.problems {
            let word = if problem.error { "error" } else { "warning" };
            let _ = writeln!(
                out,
                "{path}{}: {word}: {}",
                problem.place(),
                common::log::readable(problem.text.as_bytes()).up_to(500)
            );
        }
        let (count, longest, total) = (checked.aliases, checked.longest, checked.total);
        let _ = writeln!(
            out,
            "{path}: {count} aliases, longest {longest} bytes, {total} bytes total; read directly"
        );
        good &= checked.is_good();
    }
    if good { Ok(()) } else { Err(Failure(Exit::Data, "the aliases have errors".to_owned())) }
}
