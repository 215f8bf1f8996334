//! `tinmail user`: the users of a passwd-file by hand. Passwords are typed, or come on standard input; never as a word of the
//! command, where every user of the host could read them.

use crate::Failed;
use crate::passwd_file::Locked;
use common::auth::{Passdb, crypt};
use common::config::Config;
use common::process::login::username_rules;
use std::io::{self, Write};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Where a password comes from.
pub type Ask<'a> = dyn FnMut() -> io::Result<Zeroizing<Vec<u8>>> + 'a;

/// What is wanted.
#[derive(Debug, Default)]
struct Wanted<'a> {
    file: Option<&'a str>,
    uid: Option<&'a str>,
    gid: Option<&'a str>,
    home: Option<&'a str>,
    words: Vec<&'a str>,
}

impl<'a> Wanted<'a> {
    fn parse(words: &[&'a str]) -> Result<Wanted<'a>, Failed> {
        let mut wanted = Wanted::default();
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            let mut value =
                || words.next().copied().ok_or_else(|| Failed::Usage(format!("{word} needs a value")));
            match word {
                "-f" => wanted.file = Some(value()?),
                "-u" => wanted.uid = Some(value()?),
                "-g" => wanted.gid = Some(value()?),
                "-d" => wanted.home = Some(value()?),
                _ if word.starts_with('-') => return Err(Failed::Usage(format!("unknown option {word}"))),
                _ => wanted.words.push(word),
            }
        }
        for (option, value) in [("-u", wanted.uid), ("-g", wanted.gid), ("-d", wanted.home)] {
            let Some(value) = value else { continue };
            if wanted.words.first() != Some(&"add") {
                return Err(Failed::Usage(format!("{option} is for add")));
            }
            if value.contains(|c: char| c == ':' || c.is_control()) {
                return Err(Failed::Usage(format!(
                    "{option}: there can be no colon and no control character in it"
                )));
            }
        }
        if wanted.home.is_some_and(|home| !home.starts_with('/')) {
            return Err(Failed::Usage("-d: want a path from / on".to_owned()));
        }
        Ok(wanted)
    }
}

/// Does what the words behind `user` say.
pub fn run(config: &Config, words: &[&str], ask: &mut Ask<'_>, out: &mut dyn Write) -> Result<(), Failed> {
    let wanted = Wanted::parse(words)?;
    let path = match wanted.file {
        Some(file) => PathBuf::from(file),
        None => file_of(config)?,
    };
    let named = |error: io::Error| Failed::Said(format!("{}: {error}", path.display()));
    match wanted.words.as_slice() {
        ["list"] => {
            for name in Locked::open(&path, false).map_err(named)?.users() {
                writeln!(out, "{name}")?;
            }
            Ok(())
        }
        ["add", name] => {
            let name = normalised(config, name)?;
            // Before somebody types a password in vain; the file is not locked meanwhile.
            if Locked::open(&path, true).map_err(named)?.lines_of(&name) > 0 {
                return Err(Failed::Said(format!("{name} is there already")));
            }
            let hash = hashed(ask)?;
            let [uid, gid, home] = [wanted.uid, wanted.gid, wanted.home].map(Option::unwrap_or_default);
            let mut file = Locked::open(&path, true).map_err(named)?;
            if file.lines_of(&name) > 0 {
                return Err(Failed::Said(format!("{name} is there already")));
            }
            file.add(&Zeroizing::new(format!("{name}:{}:{uid}:{gid}::{home}", *hash)));
            file.replace().map_err(named)
        }
        ["password", name] => {
            let name = normalised(config, name)?;
            only_one(&Locked::open(&path, false).map_err(named)?, &name)?;
            let hash = hashed(ask)?;
            let mut file = Locked::open(&path, false).map_err(named)?;
            only_one(&file, &name)?;
            file.set_password(&name, &hash);
            file.replace().map_err(named)
        }
        ["delete", name] => {
            let name = normalised(config, name)?;
            let mut file = Locked::open(&path, false).map_err(named)?;
            if file.delete(&name) == 0 {
                return Err(Failed::Said(format!("there is no {name}")));
            }
            file.replace().map_err(named)
        }
        _ => Err(Failed::Usage("want add NAME, list, password NAME or delete NAME".to_owned())),
    }
}

/// The first passwd-file of `passdb`.
pub fn file_of(config: &Config) -> Result<PathBuf, Failed> {
    let found = config.passdb.iter().find_map(|passdb| match passdb {
        Passdb::PasswdFile(path) => Some(path.clone()),
        _ => None,
    });
    found
        .ok_or_else(|| Failed::Said("passdb has no passwd-file: name one with -f, and set passdb".to_owned()))
}

/// The name as it is looked up when somebody logs in.
fn normalised(config: &Config, name: &str) -> Result<String, Failed> {
    let name = username_rules(config)?.normalise(name.as_bytes());
    let name = name.map_err(|error| Failed::Said(error.to_string()))?.to_string();
    // It would be a comment.
    if name.starts_with('#') { Err(Failed::Said("a name cannot begin with #".to_owned())) } else { Ok(name) }
}

fn only_one(file: &Locked, name: &str) -> Result<(), Failed> {
    match file.lines_of(name) {
        0 => Err(Failed::Said(format!("there is no {name}"))),
        1 => Ok(()),
        many => Err(Failed::Said(format!("{name} has {many} passwords: change them in the file"))),
    }
}

fn hashed(ask: &mut Ask<'_>) -> Result<Zeroizing<String>, Failed> {
    let password = ask()?;
    let hash = crypt::make(&password).map_err(|error| Failed::Said(error.to_string()))?;
    Ok(Zeroizing::new(format!("{{SHA512-CRYPT}}{}", *hash)))
}

#[cfg(test)]
#[path = "user_tests.rs"]
mod tests;
