use super::*;
use crate::queue::tests::{Scratch, queue};

fn id(number: u64) -> Id {
    Id::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + number)).unwrap()
}

fn users(files: &[(u32, &[Id])]) -> Vec<User> {
    files.iter().map(|(uid, names)| User { uid: *uid, names: names.iter().cloned().collect() }).collect()
}

#[test]
fn users_take_turns_and_who_is_slow_comes_last() {
    let scratch = Scratch::new("turns");
    let locks = Locks::open(&queue(&scratch), "drop").unwrap();
    let names: Vec<Id> = (0..9).map(id).collect();
    let mut order = Vec::new();
    let mut turns = Turns::new(true);
    let files = users(&[(1, &names[..3]), (2, &names[3..5]), (3, &names[5..])]);
    let mut take = |_: &Id, uid: u32, time: Duration| {
        order.push((uid, time));
        if uid == 2 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(true) }
    };
    turns.round(files, &locks, &mut take).unwrap();
    let (uids, times): (Vec<u32>, Vec<Duration>) = order.into_iter().unzip();
    assert_eq!(uids, [1, 2, 3, 1, 3, 1, 3, 3, 2]);
    assert!(times[..8].iter().all(|time| *time == READ_TIME) && times[8] == LONG_READ_TIME);
    assert_eq!(turns.tried.len(), 9);
    assert_eq!(turns.picked, Picked { any: true, slow: true });
    // Where somebody waits, it is left.
    let (mut turns, mut tries) = (Turns::new(false), 0);
    let mut take = |_: &Id, _: u32, _: Duration| {
        tries += 1;
        Err(io::ErrorKind::TimedOut.into())
    };
    turns.round(users(&[(1, &names)]), &locks, &mut take).unwrap();
    assert_eq!((turns.picked, tries), (Picked { any: false, slow: true }, 1));
}

#[test]
fn who_has_had_his_time_waits_for_the_next_run() {
    let scratch = Scratch::new("budget");
    let locks = Locks::open(&queue(&scratch), "drop").unwrap();
    let names: Vec<Id> = (0..4).map(id).collect();
    let mut turns = Turns::new(true);
    turns.spent.insert(1, BUDGET);
    let mut taken = Vec::new();
    let mut take = |_: &Id, uid: u32, _: Duration| {
        taken.push(uid);
        Ok(true)
    };
    turns.round(users(&[(1, &names[..2]), (2, &names[2..])]), &locks, &mut take).unwrap();
    assert_eq!(taken, [2, 2]);
}

#[test]
fn another_run_keeps_only_its_user_waiting() {
    let scratch = Scratch::new("locks");
    let directory = queue(&scratch);
    let (other, locks) = (Locks::open(&directory, "drop").unwrap(), Locks::open(&directory, "drop").unwrap());
    assert!(other.try_take(1).unwrap());
    let names: Vec<Id> = (0..2).map(id).collect();
    let (mut turns, begun) = (Turns::new(false), Instant::now());
    let mut taken = Vec::new();
    let mut take = |_: &Id, uid: u32, _: Duration| {
        taken.push((uid, begun.elapsed() < WAIT));
        Ok(true)
    };
    turns.round(users(&[(1, &names[..1]), (2, &names[1..])]), &locks, &mut take).unwrap();
    assert_eq!(taken, [(2, true)]);
    // What has been done is free for others, and so is what they give back.
    assert!(other.try_take(2).unwrap() && !locks.try_take(1).unwrap());
    other.give_back(1);
    assert!(locks.try_take(1).unwrap());
}

#[test]
fn users_cost_no_descriptors() {
    let scratch = Scratch::new("descriptors");
    let (directory, names) = (queue(&scratch), (0..300).map(id).collect::<Vec<Id>>());
    let locks = Locks::open(&directory, "drop").unwrap();
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (before, mut most) = (open(), 0);
    let files: Vec<(u32, &[Id])> = (0..).zip(names.chunks(1)).collect();
    let mut take = |_: &Id, _: u32, _: Duration| {
        most = most.max(open());
        Ok(true)
    };
    Turns::new(false).round(users(&files), &locks, &mut take).unwrap();
    // Other tests open some at the same time.
    assert!(most < before + 200, "{most} {before}");
}

#[test]
fn what_is_no_file_goes_at_once() {
    let scratch = Scratch::new("rubbish");
    let directory = queue(&scratch);
    let drop = directory.place(Place::Drop);
    for number in 0..50 {
        std::os::unix::fs::symlink("/etc/passwd", drop.join(id(number).as_str())).unwrap();
    }
    std::fs::write(drop.join(format!("{UNFINISHED}{}", id(60).as_str())), "").unwrap();
    std::fs::write(drop.join(id(61).as_str()), "").unwrap();
    let users = look(&drop, &Turns::new(false)).unwrap();
    assert_eq!(users.iter().map(|user| user.names.len()).collect::<Vec<_>>(), [1]);
    assert_eq!(std::fs::read_dir(&drop).unwrap().count(), 2);
}

#[test]
fn what_another_run_has_taken_is_no_error() {
    let scratch = Scratch::new("taken");
    let directory = queue(&scratch);
    let (file, log_path) = (directory.place(Place::Drop).join(id(1).as_str()), scratch.0.join("log"));
    std::fs::write(&file, "").unwrap();
    let uid = file.metadata().unwrap().uid();
    let line = [format!("log_path={}", log_path.display())];
    let config = Config::from_pairs(&crate::PROGRAM.line, line.iter().map(String::as_str)).unwrap();
    let log = Log::open(&config, "test".to_owned());
    log.info(format_args!("begun"));
    let other = Locks::open(&directory, "drop").unwrap();
    assert!(other.try_take(uid).unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            std::fs::remove_file(&file).unwrap();
            other.give_back(uid);
        });
        assert_eq!(pick_up(&config, &directory, &log, false), Picked::default());
    });
    let said = std::fs::read_to_string(&log_path).unwrap();
    assert!(said.ends_with("begun\n") && said.lines().count() == 1, "{said}");
}
