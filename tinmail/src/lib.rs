//! `tinmail`: what an administrator does with mail, by hand. Its words are a person's at a terminal; what it shows was said by
//! strangers and is made harmless.

pub mod queue;

use common::cli::CommandLine;
use common::config::Config;
use common::exit::Exit;
use common::sys::entry;
use std::io::{self, Write};

const USAGE: &str = "\
usage: tinmail [-c FILE] [-o NAME=VALUE]... COMMAND

  queue list               what is waiting, and why
  queue show ID            everything about one message
  queue flush [ID|@DOMAIN] try everything now, or one message, or what goes to a domain
  queue hold ID...|all     set messages aside; they are not tried and do not grow old
  queue release ID...|all  put them back
  queue delete ID...|all   remove messages for good; nobody is told
";

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
            other if other.starts_with('-') => return wrong(errors, &format!("unknown option {other}")),
            other => words.push(other),
        }
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
    match words.split_first() {
        Some((&"queue", words)) => match queue::run(&config, &line, words, out) {
            Ok(()) => Exit::Success,
            Err(queue::Failed::Usage(what)) => wrong(errors, &what),
            Err(queue::Failed::Said(what)) => {
                let _ = writeln!(errors, "tinmail: {what}");
                Exit::Temporary
            }
        },
        Some((other, _)) => wrong(errors, &format!("there is no command {other:?}")),
        None => wrong(errors, "a command is missing"),
    }
}

fn wrong(errors: &mut dyn Write, what: &str) -> Exit {
    let _ = write!(errors, "tinmail: {what}\n{USAGE}");
    Exit::Usage
}

#[cfg(test)]
mod tests;
