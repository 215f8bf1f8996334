use super::*;
use crate::address::Address;
use crate::testing::Scratch;

fn run_with(config: &Config, scratch: &Scratch, words: &[&str], message: &[u8]) -> Result<String, Status> {
    let address = |text: &str| Address::parse(text.as_bytes()).unwrap();
    let (uid, gid) = process::user_and_group();
    let home = scratch.path().to_owned();
    let account = Account { name: "anna".into(), uid, gid, groups: vec![], home, mail: None, master: None };
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    let to = address("anna@example.org");
    let original = address("Info+x@example.org");
    let reverse_path = Some(address("\"a;$(touch x)\"@x.example"));
    let trace = Trace {
        reverse_path,
        original,
        delivered_to: to,
        received: String::new(),
        is_binary: false,
        once: None,
    };
    let mut sink = begin(config, &account, &words, &trace)?;
    message.chunks(3000).try_for_each(|piece| sink.write(piece))?;
    sink.finish()
}

fn run(scratch: &Scratch, words: &[&str], message: &[u8]) -> Result<String, Status> {
    run_with(&Config::DEFAULT, scratch, words, message)
}

#[test]
fn a_program_gets_message_arguments_and_environment() {
    let scratch = Scratch::new();
    let script = "printf '%s|' \"$1\" \"$2\" \"$SENDER\" \"$RECIPIENT\" \"$ORIGINAL_RECIPIENT\" \"$USER\" \"$LOCAL@$DOMAIN\" > out; \
                  pwd >> out; cat > message; env | cut -d= -f1 | sort > names; ls /proc/self/fd | wc -l > fds";
    run(&scratch, &["/bin/sh", "-c", script, "sh", "one two", "$HOME;`x`"], b"A: b\r\n\r\nbody\rx\r\n")
        .unwrap();
    let read = |name: &str| std::fs::read_to_string(scratch.path().join(name)).unwrap();
    let home = scratch.path().display();
    assert_eq!(
        read("out"),
        format!(
            "one two|$HOME;`x`|_a___touch_x__@x.example|anna@example.org|Info+x@example.org|anna|anna@example.org|{home}\n"
        )
    );
    let message = read("message");
    let (first, rest) = message.split_once('\n').unwrap();
    assert!(first.starts_with("From \"a;$(touch_x)\"@x.example "), "{first}");
    assert!(rest.starts_with("Return-Path: <") && rest.ends_with("A: b\n\nbody\rx\n"), "{rest}");
    let names = read("names");
    assert!(!names.contains("CARGO"), "{names}");
    // 0, 1, 2 and the directory that ls reads.
    assert_eq!(read("fds").trim(), "4");
    assert!(!scratch.path().join("x").exists());
}

#[test]
fn how_it_ends_decides() {
    let scratch = Scratch::new();
    for (script, want) in [
        ("cat >/dev/null; exit 0", ""),
        ("exit 0", ""),
        ("exit 75", "451 4.3.0 temporary failure"),
        ("echo 'no such user'; exit 67", "550 5.1.1 user unknown. Command output: no such user"),
        ("echo a >&2; echo b; exit 77", "550 5.7.0 permission denied. Command output: a b"),
        (
            "echo 4.2.1 not today; exit 3",
            "451 4.2.1 Command died with status 3: \"/bin/sh\". Command output: 4.2.1 not today",
        ),
        ("echo '5.2.2 full'; exit 75", "554 5.2.2 temporary failure. Command output: 5.2.2 full"),
        ("echo '5.1.6 moved'; exit 67", "550 5.1.6 user unknown. Command output: 5.1.6 moved"),
        ("echo 2.0.0 no; echo 4.2.1; exit 67", "550 5.1.1 user unknown. Command output: 2.0.0 no 4.2.1"),
        ("echo 4.2.1; exit 0", ""),
        ("exit 3", "554 5.3.0 Command died with status 3: \"/bin/sh\""),
        ("kill -9 $$", "451 4.3.0 Command died with signal 9: \"/bin/sh\""),
    ] {
        let result = run(&scratch, &["/bin/sh", "-c", script], b"x\r\n");
        assert_eq!(result.map_or_else(|status| status.to_string(), |_| String::new()), want, "{script}");
    }
    for words in [&["/nonexistent/program"][..], &["nonexistent-program"], &["/etc/passwd"], &[""], &[]] {
        let status = run(&scratch, words, b"x\r\n").unwrap_err().to_string();
        assert!(status.starts_with("451 4.3.0 Cannot execute the program: "), "{words:?}: {status}");
    }
}

#[test]
fn large_messages_and_talkative_programs_do_not_wait_for_each_other() {
    let scratch = Scratch::new();
    let message = b"0123456789\r\n".repeat(100_000);
    run(&scratch, &["/bin/cat"], &message).unwrap();
    let status = run(&scratch, &["/bin/sh", "-c", "cat; exit 69"], &message).unwrap_err();
    assert!(status.text.len() < OUTPUT_MAX + 100 && status.code == 554);
    // One that does not read at all.
    run(&scratch, &["/bin/true"], &message).unwrap();
    // What it leaves in the background is not waited for.
    let start = Instant::now();
    run(&scratch, &["/bin/sh", "-c", "sleep 100 & cat > /dev/null"], b"x\r\n").unwrap();
    assert!(start.elapsed() < Duration::from_secs(90));
}

#[test]
fn one_that_takes_too_long_ends() {
    let scratch = Scratch::new();
    let config = Config { command_time_limit: Duration::from_millis(300), ..Config::DEFAULT };
    let start = Instant::now();
    for message in [b"x\r\n".to_vec(), b"x\r\n".repeat(100_000)] {
        let status = run_with(&config, &scratch, &["/bin/sh", "-c", "sleep 100; echo late > late"], &message)
            .unwrap_err();
        assert_eq!(status.to_string(), "451 4.3.0 Command time limit exceeded: \"/bin/sh\"");
    }
    assert!(start.elapsed() < Duration::from_secs(90));
    assert!(!scratch.path().join("late").exists());
}

#[test]
fn the_log_has_it_with_its_arguments() {
    assert_eq!(run(&Scratch::new(), &["/bin/true", "-a", "b"], b"A: b\r\n\r\n").unwrap(), "/bin/true -a b");
}
