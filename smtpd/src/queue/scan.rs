//! Looking through the queue without holding it in memory.

use super::schedule::Schedule;
use super::{Id, Place, QueueDirectory};
use common::sys::fs;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Time after which what belongs to no message is what a crash has left.
const LEFT_OVER: Duration = Duration::from_secs(3600);

/// Gives every message that is due by its file's time to `visit`, in no order; names that no message has to `stray`.
pub fn due(
    directory: &QueueDirectory,
    schedule: &Schedule,
    now: SystemTime,
    visit: &mut dyn FnMut(Id),
    stray: &mut dyn FnMut(&str),
) -> io::Result<()> {
    let path = directory.place(Place::Queue);
    fs::for_each_name(&path, &mut |name, _| {
        let Ok(name) = std::str::from_utf8(name) else { return };
        if let Some(of) = name.strip_suffix(".log") {
            // Its message may have been removed by a process that was killed before it came to this; a new one belongs to a
            // message that is on its way ([`super::Incoming::fail`]).
            if let Some(id) = Id::parse(of) {
                let gone = directory.file(Place::Queue, &id).symlink_metadata();
                let is_gone = gone.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
                if is_gone && is_left_over(&path.join(name), now) {
                    let _ = std::fs::remove_file(path.join(name));
                }
            }
            return;
        }
        let Some(id) = Id::parse(name) else { return stray(name) };
        match path.join(name).symlink_metadata() {
            Ok(meta) if schedule.is_due(u64::try_from(meta.mtime()).unwrap_or(0), now) => visit(id),
            _ => {}
        }
    })
}

/// Gives every message of a directory to `visit`, in no order.
pub fn all(directory: &QueueDirectory, place: Place, visit: &mut dyn FnMut(Id)) -> io::Result<()> {
    fs::for_each_name(&directory.place(place), &mut |name, _| {
        if let Some(id) = std::str::from_utf8(name).ok().and_then(Id::parse) {
            visit(id);
        }
    })
}

/// Whether nobody has written to this file for so long. A time far ahead is a wrong clock's, and says no less that nobody is
/// writing now.
fn is_left_over(path: &Path, now: SystemTime) -> bool {
    let time = path.symlink_metadata().and_then(|meta| meta.modified());
    time.is_ok_and(|time| now.duration_since(time).unwrap_or_else(|ahead| ahead.duration()) >= LEFT_OVER)
}

/// Removes what a crash has left in `tmp/`: old, and locked by nobody.
pub fn tidy(directory: &QueueDirectory, now: SystemTime) -> io::Result<()> {
    let path = directory.place(Place::Tmp);
    fs::for_each_name(&path, &mut |name, _| {
        let Ok(name) = std::str::from_utf8(name) else { return };
        let path = path.join(name);
        if !is_left_over(&path, now) {
            return;
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).custom_flags(fs::NO_FOLLOW | fs::NO_WAIT).open(&path);
        if file.is_ok_and(|file| fs::try_record_lock(&file).unwrap_or(false)) {
            let _ = std::fs::remove_file(&path);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Scratch, add, envelope, open, queue, received};
    use super::*;
    use crate::queue::schedule::Counters;
    use crate::queue::{Incoming, notes};

    fn schedule() -> Schedule {
        let time = Duration::from_secs;
        Schedule {
            minimal_backoff: time(300),
            maximal_backoff: time(4000),
            lifetime: time(86_400),
            bounce_lifetime: time(86_400),
            delay_warning: time(0),
        }
    }

    #[test]
    fn what_is_due_is_found() {
        let scratch = Scratch::new("scan");
        let directory = queue(&scratch);
        let now = SystemTime::now();
        let [due_one, later, far] = [0, 1, 2].map(|_| add(&directory, &envelope(&["a@x"]), b"x\r\n"));
        let next = |seconds| super::super::schedule::seconds(now) + seconds;
        open(&directory, &later).set_counters(Counters { next: next(600), ..Counters::default() }).unwrap();
        // A wrong clock's.
        open(&directory, &far).set_counters(Counters { next: next(60_000), ..Counters::default() }).unwrap();
        notes::write(&directory, Place::Queue, &later, &[]).unwrap();
        let orphan = Id::parse("orphan").unwrap();
        notes::write(&directory, Place::Queue, &orphan, &[]).unwrap();
        std::fs::write(directory.place(Place::Queue).join("no id"), "").unwrap();
        let (mut found, mut strays) = (Vec::new(), Vec::new());
        let mut stray = |name: &str| strays.push(name.to_owned());
        due(&directory, &schedule(), now, &mut |id| found.push(id), &mut stray).unwrap();
        found.sort();
        let mut want = vec![due_one, far];
        want.sort();
        assert_eq!((found, strays), (want, vec!["no id".to_owned()]));
        assert!(directory.log_file(Place::Queue, &later).exists());
        assert!(directory.log_file(Place::Queue, &orphan).exists(), "its message may be on its way");
        due(&directory, &schedule(), now + LEFT_OVER * 2, &mut |_| {}, &mut |_| {}).unwrap();
        assert!(directory.log_file(Place::Queue, &later).exists());
        assert!(!directory.log_file(Place::Queue, &orphan).exists());
        let mut count = 0;
        all(&directory, Place::Queue, &mut |_| count += 1).unwrap();
        assert_eq!(count, 3);
    }

    #[test]
    fn what_a_crash_has_left_is_tidied_up() {
        let scratch = Scratch::new("tidy");
        let directory = queue(&scratch);
        let writing = Incoming::create(&directory, &envelope(&["a@x"]), &received()).unwrap();
        let left = directory.place(Place::Tmp).join("left");
        std::fs::write(&left, "x").unwrap();
        let now = SystemTime::now();
        tidy(&directory, now).unwrap();
        assert!(left.exists());
        tidy(&directory, now + Duration::from_secs(3601)).unwrap();
        assert!(!left.exists() && directory.file(Place::Tmp, writing.id()).exists());
        drop(writing);
        std::fs::write(&left, "x").unwrap();
        tidy(&directory, now - Duration::from_secs(3601)).unwrap();
        assert!(std::fs::read_dir(directory.place(Place::Tmp)).unwrap().next().is_none());
    }
}
