use super::*;
use crate::rules::tests_config as config;
use crate::testing::Scratch;
use common::config::check::Severity;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Rules that are good, and a queue that is not there yet.
fn good(scratch: &Scratch) -> Config {
    let program = common::cli::Program { name: "smtpd", version: "0", summary: "", flags: &[] };
    let base = config(scratch);
    // mail_owner has to be among the users of the test.
    let owner = "mail_owner=anna".to_owned();
    let pairs: Vec<String> = base
        .changed_pairs()
        .chain([owner, format!("queue_directory={}/queue", scratch.path().display())])
        .collect();
    Config::from_pairs(&program, pairs.iter().map(String::as_str)).unwrap()
}

fn with(config: &Config, more: &[String]) -> Config {
    let program = common::cli::Program { name: "smtpd", version: "0", summary: "", flags: &[] };
    let pairs: Vec<String> = config.changed_pairs().chain(more.iter().cloned()).collect();
    Config::from_pairs(&program, pairs.iter().map(String::as_str)).unwrap()
}

/// What stops the start.
fn fatal(config: &Config) -> String {
    crate::service::begin(config).err().map(|error| error.to_string()).unwrap_or_default()
}

fn errors(config: &Config) -> String {
    let found = findings(config).into_iter().filter(|one| one.severity == Severity::Error);
    found.map(|one| format!("{one}\n")).collect()
}

fn file(scratch: &Scratch, name: &str, mode: u32) -> PathBuf {
    let path = scratch.file(name, "a.example :b\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn good_settings_have_no_findings() {
    let scratch = Scratch::new();
    let config = good(&scratch);
    assert_eq!((fatal(&config), errors(&config)), (String::new(), String::new()));
    assert!(!scratch.path().join("queue").exists(), "it is a look only");
}

#[test]
fn rules_that_are_wrong_stop_the_start() {
    let scratch = Scratch::new();
    for (setting, said) in [
        ("smtpd_relay_restrictions=permit", "open relay"),
        ("mynetworks=0.0.0.0/0", "open relay"),
        ("mynetworks=0.0.0.0/1, 128.0.0.0/1", "open relay"),
        ("smtpd_recipient_restrictions=reject_everyhing", "reject_everyhing"),
        ("virtual_alias_maps=hash:/nonexistent/virtual", "/nonexistent/virtual"),
        ("mydestination=$nonsense", "nonsense"),
        ("virtual_mailbox_maps=hash:/nonexistent/virtual", "/nonexistent/virtual"),
        ("virtual_uid_maps=static:5000", "go together"),
        ("header_checks=pcre:/etc/postfix/header_checks", "no regular expressions"),
    ] {
        let config = with(&good(&scratch), &[setting.to_owned()]);
        for said_now in [fatal(&config), errors(&config)] {
            assert!(said_now.contains(said), "{setting}: {said_now}");
        }
    }
}

#[test]
fn a_map_that_is_missing_is_one_finding() {
    let scratch = Scratch::new();
    for setting in ["virtual_alias_maps", "transport_maps"] {
        let config = with(&good(&scratch), &[format!("{setting}=hash:/nonexistent/map")]);
        let said = errors(&config);
        assert_eq!(said.matches("/nonexistent/map").count(), 1, "{said}");
    }
    let config =
        with(&good(&scratch), &["virtual_alias_maps=hash:/nonexistent/a, hash:/nonexistent/b".into()]);
    let said = errors(&config);
    assert_eq!(
        (said.matches("/nonexistent/a").count(), said.matches("/nonexistent/b").count()),
        (1, 1),
        "{said}"
    );
}

#[test]
fn what_the_settings_name_is_looked_at() {
    let scratch = Scratch::new();
    let (open, closed) = (file(&scratch, "open", 0o644), file(&scratch, "closed", 0o600));
    let writable = file(&scratch, "writable", 0o666);
    let aliases = scratch.file("wrong", "no colon\n");
    let mailboxes =
        scratch.file("vmailbox", "v.example x\na@v.example v.example/a/\nold@v.example v.example/old\n");
    let owners =
        ["virtual_mailbox_base=/srv", "virtual_uid_maps=static:5000", "virtual_gid_maps=static:5000"];
    let checks = scratch.file("checks", "/Subject: x/ REJECT\n");
    let owners = owners.map(str::to_owned);
    let networks = scratch.file("networks", "!192.0.2.0/24 OK\n192.0.2.5/24 REJECT\n");
    let access =
        scratch.file("access", "a.test REJECT\nb.test permit_mynetworks, reject_rbl_client x.test\n");
    let of = |name: &str, path: &Path| format!("{name}=hash:{}", path.display());
    let authorities = format!("smtp_tls_CAfile={}", open.display());
    for (settings, said) in [
        (vec![of("smtp_sasl_password_maps", &closed)], ""),
        (vec![of("smtp_sasl_password_maps", &open)], "can be read by everybody: chmod o-r"),
        (vec![of("transport_maps", &open)], ""),
        (vec![of("transport_maps", &writable)], "can be changed by everybody"),
        (vec!["transport_maps=hash:/nonexistent/x".into()], "create it or change transport_maps"),
        (vec!["smtp_tls_policy_maps=mysql:/x".into()], "no such type of map"),
        (vec!["transport_maps=inline:{a.test=error:gone, b.test=retry:, c.test=discard:x}".into()], ""),
        (vec!["transport_maps=inline:{a.test=local:}".into()], "transport_maps: a.test: \"local:\""),
        (
            vec!["smtpd_client_restrictions=check_client_access inline:{a.test=OK, b.test=permit_mynetworks reject}".into()],
            "",
        ),
        (
            vec!["smtpd_client_restrictions=check_client_access inline:{a.test=HOLD}".into()],
            "access table: a.test: \"HOLD\" is not understood in an access table",
        ),
        (
            vec![format!("smtpd_sender_restrictions=check_sender_access hash:{}", access.display())],
            "access: b.test: reject_rbl_client: needs DNS at reception",
        ),
        (
            vec![format!("smtpd_client_restrictions=check_client_access cidr:{}", networks.display())],
            "networks: 192.0.2.5/24: not a network",
        ),
        (vec!["relayhost=[smtp.$mydomain]:587".into()], ""),
        (
            vec!["relayhost=[smtp.$mydomian]:587".into()],
            "relayhost: \"[smtp.$mydomian]:587\": no setting $mydomian",
        ),
        (vec!["smtp_tls_policy_maps=inline:{a.test=encrypt, [b.test]:587=Verify}".into()], ""),
        (
            vec!["smtp_tls_policy_maps=inline:{a.test=dane}".into()],
            "smtp_tls_policy_maps: a.test: \"dane\" is not accepted: want one of: none, may, encrypt, verify, secure",
        ),
        (vec!["smtp_sasl_password_maps=inline:{a.test=u:p}".into()], ""),
        (
            vec!["smtp_sasl_password_maps=inline:{[a.test]:587=secret}".into()],
            "smtp_sasl_password_maps: [a.test]:587: want user:password",
        ),
        (
            vec!["sender_dependent_relayhost_maps=inline:{a@b.test=smtp:[x]:25}".into()],
            "sender_dependent_relayhost_maps: a@b.test: \"smtp:[x]:25\"",
        ),
        (vec![of("virtual_mailbox_maps", &mailboxes)], ""),
        (vec![format!("header_checks=glob:{}", checks.display())], ""),
        (vec![format!("header_checks=glob:{}", aliases.display())], "wrong:1: want /PATTERN/ ACTION"),
        (
            [&[of("virtual_mailbox_maps", &mailboxes)], owners.as_slice()].concat(),
            "v.example/old is no Maildir",
        ),
        (vec![of("alias_maps", &aliases)], "wrong:1: "),
        (vec!["smtp_tls_CAfile=/nonexistent".into()], ""),
        (vec!["smtp_tls_security_level=secure".into(), authorities], "smtp_tls_CAfile = "),
        (vec![format!("queue_directory={}", open.display())], "is not a directory"),
        (vec!["queue_directory=/nonexistent/queue".into()], "/nonexistent/queue: "),
        (vec!["default_privs=bert".into()], "the same uid as mail_owner = anna"),
    ] {
        let config = with(&good(&scratch), &settings);
        assert_eq!(fatal(&config), "", "{settings:?}");
        let said_now = errors(&config);
        assert!(
            said_now.contains(said) && said.is_empty() == said_now.is_empty(),
            "{settings:?}: {said_now}"
        );
    }
}

#[test]
fn nobody_to_run_programs_as() {
    let scratch = Scratch::new();
    let base = with(&good(&scratch), &["default_privs=4711".into()]);
    let warned = |config: &Config| -> String {
        let found = findings(config).into_iter().filter(|one| one.severity == Severity::Warning);
        found.map(|one| format!("{one}\n")).filter(|one| one.contains("default_privs")).collect()
    };
    assert_eq!(warned(&base), "", "a number needs no name");
    for (user, said) in
        [("gone", "default_privs = gone: "), ("root", "default_privs = root: must not be root")]
    {
        let said_now = warned(&with(&base, &[format!("default_privs={user}")]));
        assert!(said_now.contains(said) && said_now.contains("useradd --system"), "{user}: {said_now}");
    }
}

#[test]
fn networks_that_are_too_large() {
    let scratch = Scratch::new();
    for (networks, large) in
        [("10.0.0.0/8 [fc00::]/7", false), ("64.0.0.0/3", true), ("2000::/13", true), ("0.0.0.0/1", false)]
    {
        let config = with(&good(&scratch), &[format!("mynetworks={networks}")]);
        let found: Vec<String> = findings(&config).into_iter().map(|one| one.to_string()).collect();
        let is_said = found.iter().any(|one| one.contains("larger than any network of one site"));
        assert_eq!(is_said, large, "{networks}: {found:?}");
    }
}

#[test]
fn nobody_who_is_the_postmaster() {
    let scratch = Scratch::new();
    let said = |aliases: &str, name: &str| -> Vec<String> {
        let path = scratch.file(name, aliases);
        let config = with(&good(&scratch), &[format!("alias_maps=hash:{}", path.display())]);
        let found = findings(&config).into_iter().map(|one| one.to_string());
        found.filter(|one| one.contains("postmaster")).collect()
    };
    assert_eq!(said("postmaster: anna\nroot: anna\n", "good").len(), 0);
    let none = with(&good(&scratch), &["alias_maps=".to_owned()]);
    let found: Vec<String> = findings(&none).into_iter().map(|one| one.to_string()).collect();
    let line = found.iter().find(|one| one.contains("nobody gets mail for postmaster@mail.here.example"));
    assert!(line.is_some_and(|line| line.contains("write \"postmaster: somebody\"")), "{found:?}");
    // One thing that is wrong is one finding.
    for aliases in ["postmaster: root\nroot: root\n", "root: root\n"] {
        assert_eq!(said(aliases, "wrong").len(), 1, "{aliases}");
    }
}

#[test]
fn a_queue_that_others_may_change() {
    let scratch = Scratch::new();
    let queue = scratch.path().join("queue");
    let config = good(&scratch);
    for (path, mode, said) in [
        (queue.clone(), 0o777, "nobody else may write to it"),
        (queue.clone(), 0o755, ""),
        (queue.join("hold"), 0o755, "must have mode 700"),
    ] {
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        if path != queue {
            // As root: somebody has put a file there, so it is not given away.
            std::fs::write(path.join("x"), "").unwrap();
            if common::sys::process::is_root() {
                std::os::unix::fs::chown(&path, Some(1000), Some(1000)).unwrap();
            }
        }
        let said_now = errors(&config);
        assert!(said_now.contains(said) && said.is_empty() == said_now.is_empty(), "{mode:o}: {said_now}");
    }
}

#[test]
fn all_wrong_values_are_told_at_once() {
    let scratch = Scratch::new();
    let wrong = [
        ("smtpd_client_restrictions=permit_everybody", "permit_everybody"),
        ("smtpd_relay_restrictions=permit", "open relay"),
        ("smtpd_recipient_restrictions=reject_everyhing", "reject_everyhing"),
        ("alias_maps=ldap:x", "alias_maps: ldap:x"),
        ("mydestination=$nonsense", "mydestination: "),
        ("recipient_delimiter=a", "recipient_delimiter = a"),
        ("sender_bcc_maps=nis:x", "sender_bcc_maps: nis:x"),
        ("transport_maps=mysql:/x", "transport_maps: mysql:/x"),
        ("header_checks=pcre:/x", "no regular expressions"),
    ];
    let settings: Vec<String> = wrong.iter().map(|(setting, _)| (*setting).to_owned()).collect();
    let said = errors(&with(&good(&scratch), &settings));
    for (setting, want) in wrong {
        assert_eq!(said.matches(want).count(), 1, "{setting}: {said}");
    }
}

#[test]
fn blind_copies_for_nobody() {
    let scratch = Scratch::new();
    let table = scratch.file("bcc", "a@x.example anna\n@y.example a@b, c@d\nempty\n");
    let table = format!("recipient_bcc_maps=hash:{}", table.display());
    for (setting, said) in [
        ("always_bcc=anna", ""),
        ("always_bcc=x@far.example", ""),
        ("always_bcc=none", "always_bcc = none: <none@mail.here.example> gets no blind copy: 550 5.1.1"),
        ("always_bcc=a@b, c@d", "only one"),
        (&table, "recipient_bcc_maps: @y.example: \"a@b, c@d\" is no address"),
        ("sender_bcc_maps=inline:{a@b=anna}", ""),
        ("sender_bcc_maps=hash:/nonexistent/bcc", "/nonexistent/bcc: No such file"),
    ] {
        let said_now = errors(&with(&good(&scratch), &[setting.to_owned()]));
        assert!(
            said_now.contains(said) && said_now.lines().count() == usize::from(!said.is_empty()),
            "{setting}: {said_now}"
        );
    }
}

/// One thing that is wrong is one finding: nobody has to write an alias for the postmaster then.
#[test]
fn aliases_that_others_can_replace_are_one_finding() {
    let scratch = Scratch::new();
    let path = scratch.file("open/aliases", "postmaster: anna\nroot: anna\n");
    let config = with(&good(&scratch), &[format!("alias_maps=hash:{}", path.display())]);
    for (mode, count) in [(0o755, 0), (0o777, 1)] {
        std::fs::set_permissions(path.parent().unwrap(), std::fs::Permissions::from_mode(mode)).unwrap();
        let said: Vec<String> = findings(&config).iter().map(ToString::to_string).collect();
        let said: Vec<_> =
            said.iter().filter(|line| line.contains("open") || line.contains("postmaster")).collect();
        assert_eq!(said.len(), count, "{said:?}");
        assert!(said.iter().all(|line| line.contains("/open can be written to by others")), "{said:?}");
    }
}
