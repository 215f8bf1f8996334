//! `tinmail queue`: the queue by hand.

use crate::Failed;
use common::cli::CommandLine;
use common::config::Config;
use common::exit::Exit;
use common::sys::process;
use smtpd::queue::{Id, Opened, Place, QueueDirectory, Queued, list, scan};
use smtpd::runner::{self, dispatch::Selection};
use smtpd::sendmail::list_queue;
use std::io::{self, Write};
use std::time::SystemTime;

/// Does what the words behind `queue` say.
pub fn run(config: &Config, line: &CommandLine, words: &[&str], out: &mut dyn Write) -> Result<(), Failed> {
    if words == ["list"] {
        return Ok(list_queue(config, out)?);
    }
    let directory = QueueDirectory::open(config).map_err(|error| {
        let is_anothers = error.kind() == io::ErrorKind::PermissionDenied && !process::is_root();
        Failed::Said(format!("{error}{}", if is_anothers { ": try sudo" } else { "" }))
    })?;
    match words {
        ["show", id] => show(&directory, id, out),
        ["flush"] => {
            each(&directory, Place::Queue, &["all"], out, "", &mut |mut queued| {
                queued.make_due(SystemTime::now())
            })?;
            start(line, Selection::Due)
        }
        ["flush", domain] if domain.starts_with('@') => {
            let domain = domain.trim_start_matches('@').to_owned();
            start(line, Selection::Domain(domain))
        }
        ["flush", ids @ ..] => {
            let ids = ids.iter().map(|text| id(text)).collect::<Result<Vec<Id>, _>>()?;
            for id in &ids {
                must_exist(&directory, Place::Queue, id)?;
            }
            start(line, Selection::Ids(ids))
        }
        ["hold", ids @ ..] if !ids.is_empty() => {
            each(&directory, Place::Queue, ids, out, "on hold", &mut |queued| queued.move_to(Place::Hold))
        }
        ["release", ids @ ..] if !ids.is_empty() => {
            each(&directory, Place::Hold, ids, out, "released", &mut |mut queued| {
                queued.take_up(SystemTime::now())?;
                queued.move_to(Place::Queue)
            })
        }
        ["delete", ids @ ..] if !ids.is_empty() => delete(&directory, ids, out),
        [word @ ("show" | "hold" | "release" | "delete")] => {
            Err(Failed::Usage(format!("queue {word}: an ID is missing")))
        }
        [word, ..] => Err(Failed::Usage(format!("there is no command queue {word:?}"))),
        [] => Err(Failed::Usage("queue: what?".to_owned())),
    }
}

fn id(text: &str) -> Result<Id, Failed> {
    Id::parse(text)
        .ok_or_else(|| Failed::Usage(format!("{text:?} is no queue ID; \"tinmail queue list\" shows them")))
}

fn show(directory: &QueueDirectory, text: &str, out: &mut dyn Write) -> Result<(), Failed> {
    match list::show(directory, &id(text)?, SystemTime::now(), out)? {
        true => Ok(()),
        false => Err(not_there(text)),
    }
}

fn not_there(text: &str) -> Failed {
    Failed::Said(format!("{text}: no such message; it may have been delivered: look for its ID in the log"))
}

fn must_exist(directory: &QueueDirectory, place: Place, id: &Id) -> Result<(), Failed> {
    match directory.file(place, id).symlink_metadata() {
        Ok(_) => Ok(()),
        Err(_) if place == Place::Queue && directory.file(Place::Hold, id).exists() => {
            Err(Failed::Said(format!("{id} is on hold: tinmail queue release {id}")))
        }
        Err(_) if place == Place::Hold && directory.file(Place::Queue, id).exists() => {
            Err(Failed::Said(format!("{id} is not on hold")))
        }
        Err(_) => Err(not_there(id.as_str())),
    }
}

/// Does something with messages, each locked. What somebody else works on right now is left, and said so.
fn each(
    directory: &QueueDirectory,
    place: Place,
    words: &[&str],
    out: &mut dyn Write,
    done: &str,
    act: &mut dyn FnMut(Queued) -> io::Result<()>,
) -> Result<(), Failed> {
    let mut ids = Vec::new();
    let all = words == ["all"];
    if all {
        scan::all(directory, place, &mut |id| ids.push(id))?;
    } else {
        for text in words {
            let id = id(text)?;
            must_exist(directory, place, &id)?;
            ids.push(id);
        }
    }
    let mut busy = 0;
    for id in ids {
        match Queued::open(directory, place, &id)? {
            Opened::Message(queued) => {
                act(*queued)?;
                if !done.is_empty() {
                    writeln!(out, "{id}: {done}")?;
                }
            }
            Opened::Busy if all => busy += 1,
            Opened::Busy => {
                return Err(Failed::Said(format!("{id} is being tried right now; try again in a moment")));
            }
            Opened::Gone if all => {}
            Opened::Gone => return Err(not_there(id.as_str())),
            Opened::Corrupt(why) if all => writeln!(out, "{id}: damaged ({why}); left as it is")?,
            Opened::Corrupt(why) => {
                let what = format!("{id}: damaged ({why}); the next queue run puts it into corrupt/");
                return Err(Failed::Said(what));
            }
        }
    }
    if busy > 0 && !done.is_empty() {
        writeln!(out, "{busy} being tried right now were left")?;
    }
    Ok(())
}

fn delete(directory: &QueueDirectory, words: &[&str], out: &mut dyn Write) -> Result<(), Failed> {
    let mut act = |queued: Queued| queued.remove();
    if words == ["all"] {
        each(directory, Place::Queue, words, out, "deleted", &mut act)?;
        return each(directory, Place::Hold, words, out, "deleted", &mut act);
    }
    for text in words {
        let id = id(text)?;
        let on_hold = directory.file(Place::Hold, &id).exists();
        let place = if on_hold { Place::Hold } else { Place::Queue };
        each(directory, place, &[text], out, "deleted", &mut act)?;
    }
    Ok(())
}

/// The run is this process's own, so that the person sees when it is over.
fn start(line: &CommandLine, selection: Selection) -> Result<(), Failed> {
    match runner::start(runner::Options { line: line.clone(), handed_over: false, selection }) {
        Exit::Success => Ok(()),
        _ => Err(Failed::Said("the queue run has failed: the log says why".to_owned())),
    }
}
