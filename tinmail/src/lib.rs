//! `tinmail`: what an administrator does with mail, by hand. Its words are a person's at a terminal; what it shows was said by
//! strangers and is made harmless.

pub mod check;
pub mod import;
pub mod maildirmake;
mod passwd_file;
mod password;
pub mod queue;
pub mod user;

use common::cli::CommandLine;
use common::config::Config;
use common::exit::Exit;
use common::sys::entry;
use std::io::{self, Write};
use std::path::Path;

const USAGE: &str = "\
usage: tinmail [-c FILE] [-o NAME=VALUE]... COMMAND
       tinmail --help | -h | --version

  -c FILE                  read this file instead of /etc/tinmail.conf
  -o NAME=VALUE            a setting that wins over the file's; may be given more than once
  --help, -h               this text
  --version                name and version

  check                    what pop3d, imapd and smtpd find wrong with the settings
  maildirmake [-f FOLDER] [-q QUOTA] DIRECTORY
                           make a Maildir, a folder in one, or set its quota (10000000S,1000C)
  user [-f FILE] list      the users of a passwd-file; without -f that of passdb
  user [-f FILE] add [-u UID] [-g GID] [-d HOME] NAME
  user [-f FILE] password NAME
  user [-f FILE] delete NAME
                           the password is typed, or read from standard input
  import userdb [-f PASSWD-FILE] FILE
                           Courier's users into a passwd-file
  queue list               what is waiting, and why
  queue show ID            everything about one message
  queue flush [ID...|@DOMAIN]
                           try everything now, or these messages, or what goes to a domain
  queue hold ID...|all     set messages aside; they are not tried and do not grow old
  queue release ID...|all  put them back
  queue delete ID...|all   remove messages for good; nobody is told
";

/// Why it was not done.
#[derive(Debug, PartialEq, Eq)]
pub enum Failed {
    /// The words are wrong: the usage follows.
    Usage(String),
    /// Anything else, in a line.
    Said(String),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Said(error.to_string())
    }
}

/// The program.
pub fn main() -> u8 {
    let arguments: Vec<String> =
        entry::arguments().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let (mut out, mut errors) = (io::stdout(), io::stderr());
    run(&arguments, &mut out, &mut errors).code()
}

/// The program, with its output elsewhere.
pub fn run(arguments: &[String], out: &mut dyn Write, errors: &mut dyn Write) -> Exit {
    let mut line = CommandLine::default();
    let mut rest = arguments.iter();
    let mut words: Vec<&str> = Vec::new();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-c" | "-o" => {
                let Some(value) = rest.next() else {
                    return wrong(errors, &format!("{argument} needs a value"));
                };
                match argument.as_str() {
                    "-c" => line.config_file = Some(value.into()),
                    _ => line.overrides.push(value.clone()),
                }
            }
            "-h" | "--help" => {
                let _ = out.write_all(USAGE.as_bytes());
                return Exit::Success;
            }
            "--version" => {
                let _ = writeln!(out, "tinmail {}", env!("CARGO_PKG_VERSION"));
                return Exit::Success;
            }
            // A command has options of its own.
            other
                if other.starts_with('-')
                    && !matches!(words.first(), Some(&("maildirmake" | "user" | "import"))) =>
            {
                return wrong(errors, &format!("unknown option {other}"));
            }
            other => words.push(other),
        }
    }
    // It is there for settings that cannot be read, too.
    if words == ["check"] {
        return check(&line, out, errors);
    }
    let config = match Config::load(&smtpd::PROGRAM.line, &line) {
        Ok(config) => config,
        Err(error) => {
            error.lines().for_each(|line| {
                let _ = writeln!(errors, "tinmail: {line}");
            });
            return Exit::Usage;
        }
    };
    let done = match words.split_first() {
        Some((&"queue", words)) => queue::run(&config, &line, words, out),
        Some((&"import", words)) => import::run(&config, words, out),
        Some((&"user", words)) => user::run(&config, words, &mut password::ask, out),
        Some((&"maildirmake", words)) => maildirmake::run(&config, words),
        Some((&"check", _)) => Err(Failed::Usage("check has no further words".to_owned())),
        Some((other, _)) => Err(Failed::Usage(format!("there is no command {other:?}"))),
        None => Err(Failed::Usage("a command is missing".to_owned())),
    };
    match done {
        Ok(()) => Exit::Success,
        Err(Failed::Usage(what)) => wrong(errors, &what),
        Err(Failed::Said(what)) => {
            let _ = writeln!(errors, "tinmail: {what}");
            Exit::Temporary
        }
    }
}

/// Asks the programs beside this one.
fn check(line: &CommandLine, out: &mut dyn Write, errors: &mut dyn Write) -> Exit {
    let ours = std::env::current_exe();
    let checked = ours.and_then(|ours| check::run(ours.parent().unwrap_or(Path::new("/")), line, out));
    checked.unwrap_or_else(|error| {
        let _ = writeln!(errors, "tinmail: {error}");
        Exit::Temporary
    })
}

fn wrong(errors: &mut dyn Write, what: &str) -> Exit {
    let _ = write!(errors, "tinmail: {what}\n{USAGE}");
    Exit::Usage
}

#[cfg(test)]
mod tests;
