//! The options of sendmail(1) as programs use them.
//!
//! What changes nothing here is accepted and ignored, so that a program written for another sendmail works; what would
//! change something that is not done here is refused.

use crate::command::parameters::is_envid;
use crate::envelope::{Notify, Ret};
use std::ffi::OsString;

/// What it was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// `-bm`: a message on standard input.
    #[default]
    Message,
    /// `-bs`: SMTP on standard input and output.
    Smtp,
    /// `-bp`, mailq: what is in the queue.
    List,
    /// `-bi`, `-I`, newaliases: the aliases are checked.
    Aliases,
    /// `-bv`: what addresses mean.
    Verify,
    /// `-q`: the queue is run.
    Run,
}

/// The command line, parsed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// What to do.
    pub mode: Mode,
    /// `-t`: recipients are in the header.
    pub from_header: bool,
    /// `-i`: a line with only a dot is one of the message.
    pub dot_is_text: bool,
    /// `-f`: the reverse-path. `<>` is the null one.
    pub sender: Option<String>,
    /// `-F`.
    pub full_name: Option<String>,
    /// `-v`.
    pub verbose: bool,
    /// `-N`.
    pub notify: Option<Notify>,
    /// `-R`.
    pub ret: Option<Ret>,
    /// `-V`.
    pub envid: Option<String>,
    /// `-C`: the configuration file.
    pub config: Option<String>,
    /// Settings of ours: `-o name=value` (with more than one letter before the `=`).
    pub settings: Vec<String>,
    /// Recipients.
    pub recipients: Vec<String>,
    /// What follows `-q`: what a queue run is given.
    pub run: Vec<OsString>,
}

/// The wrong option, for a person.
pub type Wrong = String;

impl Options {
    /// Reads them. `name` is argv[0].
    pub fn parse(name: &str, arguments: impl Iterator<Item = OsString>) -> Result<Options, Wrong> {
        let mut options = Options::default();
        match name.rsplit('/').next() {
            Some("mailq") => options.mode = Mode::List,
            Some("newaliases") => options.mode = Mode::Aliases,
            _ => {}
        }
        let mut arguments = arguments.map(|argument| {
            argument.into_string().map_err(|argument| format!("{}: not UTF-8", argument.to_string_lossy()))
        });
        while let Some(argument) = arguments.next() {
            let argument = argument?;
            let Some(option) = argument.strip_prefix('-').filter(|option| !option.is_empty()) else {
                options.recipients.push(argument);
                continue;
            };
            if option == "-" {
                for argument in arguments.by_ref() {
                    options.recipients.push(argument?);
                }
                break;
            }
            options.option(option, &mut arguments)?;
        }
        Ok(options)
    }

    /// One word that begins with a dash, which is not in `word` any more. Letters without a value may stand together.
    fn option(
        &mut self,
        word: &str,
        arguments: &mut dyn Iterator<Item = Result<String, Wrong>>,
    ) -> Result<(), Wrong> {
        let mut rest = word;
        while let Some(letter) = rest.chars().next() {
            rest = rest.get(letter.len_utf8()..).unwrap_or("");
            let mut value = || -> Result<String, Wrong> {
                if rest.is_empty() {
                    arguments.next().unwrap_or_else(|| Err(format!("option -{letter} needs a value")))
                } else {
                    Ok(rest.to_owned())
                }
            };
            match letter {
                't' => self.from_header = true,
                'i' => self.dot_is_text = true,
                'v' => self.verbose = true,
                // Send mail to me too, in sendmail's lists; groups of users; not run by the user; interactive or not; dear hosts
                // later; AIX's.
                'm' | 'n' | 'G' | 'U' | 'c' | 'x' => {}
                // How errors are reported: -em, -ep, -eq, -ew, -e p. All come as a notification, or as an exit code at once.
                'e' => return value().map(drop),
                'f' | 'r' => return value().map(|value| self.sender = Some(value)),
                'F' => return value().map(|value| self.full_name = Some(value)),
                'C' => return value().map(|value| self.config = Some(value)),
                // Hop count, body type, mail protocol, trace file, log label, debugging, alternate queue of -A.
                'h' | 'B' | 'p' | 'X' | 'L' => return value().map(drop),
                'd' | 'A' => return Ok(()),
                'N' => return value().and_then(|value| self.set_notify(&value)),
                'R' => {
                    self.ret = match value()?.to_ascii_lowercase().as_str() {
                        "full" => Some(Ret::Full),
                        "hdrs" => Some(Ret::Headers),
                        other => return Err(format!("-R {other}: want full or hdrs")),
                    };
                    return Ok(());
                }
                'V' => {
                    let value = value()?;
                    if !is_envid(&value) {
                        return Err("-V: want at most 100 printable characters (xtext)".to_owned());
                    }
                    self.envid = Some(value);
                    return Ok(());
                }
                'b' => return self.set_mode(&value()?),
                'I' => self.mode = Mode::Aliases,
                'q' => {
                    self.mode = Mode::Run;
                    self.run = queue_run(rest)?;
                    for argument in arguments {
                        self.run.push(argument?.into());
                    }
                    return Ok(());
                }
                'o' | 'O' => {
                    let value = value()?;
                    return self.set_option(letter, &value);
                }
                other => return Err(format!("unknown option -{other}")),
            }
        }
        Ok(())
    }

    fn set_mode(&mut self, mode: &str) -> Result<(), Wrong> {
        self.mode = match mode {
            "m" => Mode::Message,
            "s" => Mode::Smtp,
            "p" => Mode::List,
            "i" => Mode::Aliases,
            "v" => Mode::Verify,
            "d" | "D" => {
                return Err("-bd: there is no daemon; xinetd, systemd or s6 starts smtpd".to_owned());
            }
            other => return Err(format!("-b{other} is not supported; -bm, -bs, -bp, -bi and -bv are")),
        };
        Ok(())
    }

    /// RFC 3461 section 4.1, in small letters as sendmail has it.
    fn set_notify(&mut self, words: &str) -> Result<(), Wrong> {
        let mut notify = Notify::NEVER;
        for word in words.split(',') {
            match word.trim().to_ascii_lowercase().as_str() {
                "never" if words.trim().eq_ignore_ascii_case("never") => {}
                "success" => notify.success = true,
                "failure" => notify.failure = true,
                "delay" => notify.delay = true,
                _ => return Err(format!("-N {words}: want never, or some of success,failure,delay")),
            }
        }
        self.notify = Some(notify);
        Ok(())
    }

    /// `-oi`, `-o i`, `-odb`, `-O DeliveryMode=b`, and settings of ours.
    fn set_option(&mut self, letter: char, value: &str) -> Result<(), Wrong> {
        let (name, _) = value.split_once('=').unwrap_or((value, ""));
        // -oT3d is a letter with its value.
        let is_long = matches!(name.as_bytes(), [first, second, ..] if first.is_ascii_uppercase() && second.is_ascii_lowercase());
        if letter == 'O' || is_long {
            return match name {
                "IgnoreDots" => {
                    self.dot_is_text = true;
                    Ok(())
                }
                // When and how loudly: always at once, into the queue.
                "DeliveryMode" | "ErrorMode" | "MeToo" | "QueueTimeout" | "LogLevel" | "Verbose"
                | "NoRecipientAction" | "OldStyleHeaders" | "UseMSP" => Ok(()),
                _ => Err(format!("-{letter} {value} is not supported")),
            };
        }
        if value.contains('=') && name.len() > 1 {
            self.settings.push(value.to_owned());
            return Ok(());
        }
        match value.chars().next() {
            Some('i') => self.dot_is_text = true,
            // Delivery mode, error mode, me too, old headers, queue timeout, save From, log level, verbose, check aliases.
            Some('d' | 'e' | 'm' | 'o' | 'T' | 's' | 'L' | 'v' | 'n' | '7' | '8' | 'a' | 'G' | 'b') => {}
            _ => return Err(format!("-o{value} is not supported")),
        }
        Ok(())
    }
}

/// What follows `-q`, in the words of a queue run. Sendmail and Postfix have letters for what is to be tried: `-qf` everything
/// that is due, without going away, `-qIID` one message, `-qRdomain` what goes there.
fn queue_run(rest: &str) -> Result<Vec<OsString>, Wrong> {
    let run = OsString::from("-q");
    Ok(match rest.split_at_checked(1) {
        None | Some(("f" | "0", "")) => vec![run],
        Some(("I", id)) if !id.is_empty() => vec![run, id.into()],
        Some(("R", domain)) if !domain.is_empty() => {
            vec![run, format!("@{}", domain.trim_start_matches('@')).into()]
        }
        // How often: the run says who does that here.
        Some(_) if rest.starts_with(|c: char| c.is_ascii_digit()) => vec![format!("-q{rest}").into()],
        Some(_) => return Err(format!("-q{rest} is not supported; -q, -qf, -qIID and -qRDOMAIN are")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, Wrong> {
        Options::parse("/usr/sbin/sendmail", arguments.iter().map(OsString::from))
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn what_programs_say() {
        let base = Options::default();
        let t_and_i = Options { from_header: true, dot_is_text: true, ..base.clone() };
        let recipients = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let rows: Vec<(&[&str], Options)> = vec![
            // PHP's mail(), cron, mutt, git send-email, mailx, smartd, logwatch, sudo.
            (&["-t", "-i"], t_and_i.clone()),
            (&["-ti"], t_and_i.clone()),
            (
                &["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"],
                Options {
                    dot_is_text: true,
                    full_name: text("CronDaemon"),
                    recipients: recipients(&["root"]),
                    ..base.clone()
                },
            ),
            (
                &["-oem", "-oi", "-f", "a@x", "--", "b@y", "-c"],
                Options {
                    dot_is_text: true,
                    sender: text("a@x"),
                    recipients: recipients(&["b@y", "-c"]),
                    ..base.clone()
                },
            ),
            (&["-oi", "-odb", "-om", "-t", "-c", "-x"], t_and_i.clone()),
            (&["-o", "i", "-em", "-t", "-oT3d", "-oL9", "-oG"], t_and_i),
            (&["-f<>", "x"], Options { sender: text("<>"), recipients: recipients(&["x"]), ..base.clone() }),
            (
                &["-O", "DeliveryMode=b", "-bm", "x"],
                Options { recipients: recipients(&["x"]), ..base.clone() },
            ),
            (
                &["-N", "success,delay", "-R", "hdrs", "-V", "id1", "-v", "x"],
                Options {
                    notify: Some(Notify { success: true, failure: false, delay: true }),
                    ret: Some(Ret::Headers),
                    envid: text("id1"),
                    verbose: true,
                    recipients: recipients(&["x"]),
                    ..base.clone()
                },
            ),
            (
                &["-N", "never", "x"],
                Options { notify: Some(Notify::NEVER), recipients: recipients(&["x"]), ..base.clone() },
            ),
            (&["-bs"], Options { mode: Mode::Smtp, ..base.clone() }),
            (&["-bp"], Options { mode: Mode::List, ..base.clone() }),
            (&["-bi"], Options { mode: Mode::Aliases, ..base.clone() }),
            (
                &["-C", "/x", "-o", "queue_directory=/q", "x"],
                Options {
                    config: text("/x"),
                    settings: recipients(&["queue_directory=/q"]),
                    recipients: recipients(&["x"]),
                    ..base.clone()
                },
            ),
            (&["-I"], Options { mode: Mode::Aliases, ..base.clone() }),
            (&["-bv", "x"], Options { mode: Mode::Verify, recipients: recipients(&["x"]), ..base.clone() }),
            (
                &["-q", "abc"],
                Options { mode: Mode::Run, run: vec!["-q".into(), "abc".into()], ..base.clone() },
            ),
            (&["-qf"], Options { mode: Mode::Run, run: vec!["-q".into()], ..base.clone() }),
            (&["-qIabc"], Options { mode: Mode::Run, run: vec!["-q".into(), "abc".into()], ..base.clone() }),
            (
                &["-qRx.example"],
                Options { mode: Mode::Run, run: vec!["-q".into(), "@x.example".into()], ..base.clone() },
            ),
            (&["-q15m"], Options { mode: Mode::Run, run: vec!["-q15m".into()], ..base }),
        ];
        for (arguments, want) in rows {
            assert_eq!(parse(arguments), Ok(want), "{arguments:?}");
        }
    }

    #[test]
    fn names() {
        let mode = |name| Options::parse(name, std::iter::empty()).unwrap().mode;
        assert_eq!(mode("/usr/bin/mailq"), Mode::List);
        assert_eq!(mode("newaliases"), Mode::Aliases);
        assert_eq!(mode("/usr/lib/sendmail"), Mode::Message);
    }

    #[test]
    fn what_is_refused() {
        for arguments in [
            &["-bd"][..],
            &["-bt"],
            &["-f"],
            &["-N", "sometimes"],
            &["-N", "never,success"],
            &["-R", "half"],
            &["-V", "a b"],
            &["-V", "a=b"],
            &["-V", "a\r\nb"],
            &["-Z"],
            &["-qSx.example"],
            &["-qR"],
            &["-oQ/tmp"],
            &["-O", "QueueDirectory=/tmp"],
            &["-b"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }
}
