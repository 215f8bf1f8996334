//! What the log does with its sinks.

use super::*;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

fn syslog_pair() -> (Log, UnixDatagram) {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let sink = Sink::Syslog(LastingFd::new(ours.into()));
    (Log::on(sink, &Config::DEFAULT, "pop3-login"), theirs)
}

fn config(pair: &str) -> Config {
    let program = crate::cli::Program { name: "pop3d", version: "0", summary: "", flags: &[] };
    Config::from_pairs(&program, [pair]).unwrap()
}

fn received(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn syslog_lines_have_priority_and_tag() {
    let (log, syslog) = syslog_pair();
    log.info(format_args!("hello\r\n{}", "wörld\0"));
    assert_eq!(received(&syslog), "<22>pop3-login: hello??wörld?");
    log.tagged(session_tag("pop3", "j>oe", 7, "abc")).error(format_args!("x"));
    assert_eq!(received(&syslog), "<19>pop3(j\\x3Eoe)<7><abc>: x");
}

#[test]
fn lines_that_belong_together_come_in_their_order() {
    let (log, syslog) = syslog_pair();
    let send = |log: &Log| {
        log.info_each([
            (format_args!("{}", log.tag()), format_args!("one\n")),
            (format_args!("postfix/qmgr[7]"), format_args!("two {}", "é".repeat(2000))),
        ]);
    };
    send(&log);
    assert_eq!(received(&syslog), "<22>pop3-login: one?");
    let long = received(&syslog);
    assert!(long.starts_with("<22>postfix/qmgr[7]: two é") && long.len() < LINE_LIMIT, "{long}");
    let path = std::env::temp_dir().join(format!("tinmail-log-each-{}", std::process::id()));
    send(&Log::open(&config(&format!("log_path={}", path.display())), "pop3-login"));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    let lines: Vec<&str> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert!(lines.len() == 2 && lines[0] == "pop3-login: one?", "{text}");
    assert!(lines[1].starts_with("postfix/qmgr[7]: two é"), "{text}");
    // Nobody listens.
    drop(syslog);
    send(&log);
}

#[test]
fn a_name_stands_before_the_tag_in_syslog_only() {
    let (log, syslog) = syslog_pair();
    let named = Log::inherit(log.number(), &config("syslog_name=dovecot"), "pop3-login").unwrap();
    named.info(format_args!("x"));
    assert_eq!(received(&syslog), "<22>dovecot: pop3-login: x");
    let mut line = Line::new();
    Log::on(Sink::Stderr { journal: true }, &config("syslog_name=dovecot"), "t")
        .compose(&mut line, Level::Debug, format_args!("x"))
        .unwrap();
    assert_eq!(line.with_newline(), b"<7>t: x\n");
}

#[test]
fn long_lines_are_cut_at_a_character() {
    let (log, syslog) = syslog_pair();
    log.info(format_args!("{}", "é".repeat(2000)));
    let line = received(&syslog);
    assert!((LINE_LIMIT - 2..LINE_LIMIT).contains(&line.len()), "{}", line.len());
}

#[test]
fn a_full_syslog_loses_lines_and_stops_nobody() {
    let (log, syslog) = syslog_pair();
    let start = std::time::Instant::now();
    for number in 0..500 {
        log.info(format_args!("{number}"));
        if start.elapsed() > Duration::from_millis(200) {
            break;
        }
    }
    assert_eq!(received(&syslog), "<22>pop3-login: 0");
}

#[test]
fn a_closed_syslog_is_survived() {
    let (log, syslog) = syslog_pair();
    drop(syslog);
    log.info(format_args!("nobody hears this"));
}

#[test]
fn files_get_stamped_lines_and_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::temp_dir().join(format!("tinmail-log-{}", std::process::id()));
    let log = Log::open(&config(&format!("log_path={}", path.display())), "pop3-login");
    log.info(format_args!("one"));
    let copy = Log::inherit(dup(&log), &Config::DEFAULT, "pop3").unwrap();
    copy.warning(format_args!("two"));
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(&lines[0][20..], " pop3-login: one");
    assert_eq!(&lines[1][20..], " pop3: two");
    assert!(lines[0].starts_with("20") && &lines[0][19..20] == "Z", "{}", lines[0]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::remove_file(path).unwrap();
}

/// As exec would leave it: a number that is open and nobody's.
fn dup(log: &Log) -> RawFd {
    let Sink::File(fd) = log.sink else { panic!("no file") };
    LastingFd::new(fd.as_fd().try_clone_to_owned().unwrap()).number()
}

#[test]
fn inherited_sinks_are_recognised() {
    let (log, syslog) = syslog_pair();
    let heir = Log::inherit(log.number(), &config("syslog_facility=local0"), "pop3").unwrap();
    heir.info(format_args!("again"));
    assert_eq!(received(&syslog), "<134>pop3: again");
    assert!(matches!(Log::inherit(2, &Config::DEFAULT, "x").unwrap().sink, Sink::Stderr { .. }));
    assert!(Log::inherit(987_654, &Config::DEFAULT, "x").is_err());
}

#[test]
fn the_journal_is_recognised_by_device_and_inode() {
    let (device, inode) = socket::identity(&socket::standard_error()).unwrap();
    assert!(is_journal(Some(&format!("{device}:{inode}"))));
    for other in [None, Some(""), Some(":"), Some("x:y"), Some("1:2:3"), Some(&*format!("{device}:{inode}1"))]
    {
        assert!(!is_journal(other), "{other:?}");
    }
}

#[test]
fn stamps() {
    for (seconds, want) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_709_251_199, "2024-02-29T23:59:59Z"),
        (1_735_689_599, "2024-12-31T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(Stamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).to_string(), want);
    }
}

#[test]
fn a_panic_text_with_foreign_octets_is_withheld() {
    let made = |text: &str| Box::new(text.to_owned()) as Box<dyn std::any::Any + Send>;
    assert_eq!(safe_panic_text(&"attempt to add with overflow"), "attempt to add with overflow");
    let numbers = made("index out of bounds: the len is 3 but the index is 5");
    assert!(safe_panic_text(&*numbers).starts_with("index out of bounds"));
    let secret = made("byte index 1 is not a char boundary; it is inside 'é' of `sécret`");
    assert_eq!(safe_panic_text(&*secret), "(text withheld)");
}
