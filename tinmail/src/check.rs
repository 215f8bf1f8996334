//! `tinmail check`: what every server here finds wrong with the settings, each finding once. The programs are those beside this
//! one; what they say is about the administrator's own files.

use common::cli::CommandLine;
use common::exit::Exit;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// The programs that know `--check`.
const PROGRAMS: [&str; 3] = ["pop3d", "imapd", "smtpd"];

/// Asks the programs in this directory. Errors: there is none of them, or one cannot be executed.
pub fn run(directory: &Path, line: &CommandLine, out: &mut dyn Write) -> io::Result<Exit> {
    let mut findings: Vec<(String, Vec<&str>)> = Vec::new();
    let (mut missing, mut worst) = (Vec::new(), Exit::Success);
    for name in PROGRAMS {
        let path = directory.join(name);
        if !path.is_file() {
            missing.push(name);
            continue;
        }
        let (text, exit) = ask(&path, line)?;
        for line in text.lines().filter(|line| !line.is_empty()) {
            match findings.iter_mut().find(|(known, _)| known == line) {
                Some((_, programs)) => programs.push(name),
                None => findings.push((line.to_owned(), vec![name])),
            }
        }
        // What is wrong for good goes before what may be better later.
        if worst != Exit::Usage && exit != Exit::Success {
            worst = exit;
        }
    }
    if missing.len() == PROGRAMS.len() {
        let what = format!("{}: there is no {}", directory.display(), PROGRAMS.join(", no "));
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    let rank = |line: &str| match line.split(':').next() {
        Some("error") => 0,
        Some("warning") => 1,
        _ => 2,
    };
    findings.sort_by_key(|(line, _)| rank(line));
    for (line, programs) in findings {
        writeln!(out, "{}: {line}", programs.join(", "))?;
    }
    for name in missing {
        writeln!(out, "{name}: is not here")?;
    }
    Ok(worst)
}

/// What one of them says, and its verdict.
fn ask(path: &Path, line: &CommandLine) -> io::Result<(String, Exit)> {
    let mut command = Command::new(path);
    if let Some(file) = &line.config_file {
        command.arg("-c").arg(file);
    }
    for pair in &line.overrides {
        command.arg("-o").arg(pair);
    }
    let said = command.arg("--check").stdin(Stdio::null()).output();
    let said = said.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let mut text = String::from_utf8_lossy(&said.stdout).into_owned();
    // What keeps it from looking at the rest: it says its name.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for line in String::from_utf8_lossy(&said.stderr).lines() {
        let line = line.strip_prefix(&format!("{name}: ")).unwrap_or(line);
        text.push_str(&format!("error: {line}\n"));
    }
    let exit = match said.status.code() {
        Some(0) => Exit::Success,
        Some(code) if code == i32::from(Exit::Usage.code()) => Exit::Usage,
        code => {
            if text.is_empty() {
                let how = code.map_or("was killed".to_owned(), |code| format!("ended with {code}"));
                text = format!("error: it {how} and said nothing");
            }
            Exit::Temporary
        }
    };
    Ok((text, exit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs that are shell scripts; what they print, and how that ends.
    fn check(name: &str, scripts: &[(&str, &str)]) -> (String, Option<u8>) {
        let directory = std::env::temp_dir().join(format!("tinmail-check-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for (name, script) in scripts {
            // Another process writes it: what is open here for writing, a child of another thread's has open
            // too, and it cannot be executed (ETXTBSY).
            let text = directory.join("text");
            std::fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
            let mut install = std::process::Command::new("install");
            install.args(["-m", "755"]).args([&text, &directory.join(name)]);
            assert!(install.status().unwrap().success());
        }
        let mut line = CommandLine::default();
        line.config_file = Some("/x y".into());
        line.overrides.push("ssl=no".into());
        let mut out = Vec::new();
        let exit = run(&directory, &line, &mut out);
        std::fs::remove_dir_all(&directory).unwrap();
        (String::from_utf8(out).unwrap(), exit.ok().map(Exit::code))
    }

    #[test]
    fn each_finding_is_told_once() {
        let both = "echo 'warning: no certificate'; ";
        let (text, exit) = check(
            "once",
            &[
                ("pop3d", both),
                ("imapd", &format!("{both} echo 'error: mine'; exit 100")),
                ("smtpd", &format!("{both} echo 'smtpd: later' >&2; exit 111")),
            ],
        );
        let want = "imapd: error: mine\nsmtpd: error: later\npop3d, imapd, smtpd: warning: no certificate\n";
        assert_eq!((text.as_str(), exit), (want, Some(100)));
    }

    #[test]
    fn what_is_not_there_and_what_is_well() {
        let (text, exit) = check("some", &[("smtpd", "echo fine"), ("pop3d", "kill -9 $$")]);
        let want = "pop3d: error: it was killed and said nothing\nsmtpd: fine\nimapd: is not here\n";
        assert_eq!((text.as_str(), exit), (want, Some(111)));
        assert_eq!(check("none", &[]), (String::new(), None));
    }

    #[test]
    fn options_are_passed_on() {
        let (text, _) = check("options", &[("imapd", r#"for word; do echo "<$word>"; done"#)]);
        let want = "imapd: <-c>\nimapd: </x y>\nimapd: <-o>\nimapd: <ssl=no>\nimapd: <--check>\n";
        let said: String = text.lines().take(5).map(|line| format!("{line}\n")).collect();
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&said), sorted(want));
    }
}
