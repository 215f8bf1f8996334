//! The programs under test: built when they are first asked for, and made reachable for the user they run as.

use crate::place::ids;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The pop3d of this build, or the one that `TINMAIL_POP3D` names.
pub fn pop3d() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("TINMAIL_POP3D") {
        Some(path) => reachable(path.into()),
        None => reachable(build("pop3d", "dev")),
    })
}

/// The imapd of this build, or the one that `TINMAIL_IMAPD` names.
pub fn imapd() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("TINMAIL_IMAPD") {
        Some(path) => reachable(path.into()),
        None => reachable(build("imapd", "dev")),
    })
}

/// The smtpd of this build, or the one that `TINMAIL_SMTPD` names.
pub fn smtpd() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("TINMAIL_SMTPD") {
        Some(path) => reachable(path.into()),
        None => reachable(build("smtpd", "dev")),
    })
}

/// The release pop3d, or the one that `TINMAIL_POP3D_RELEASE` names.
pub fn pop3d_release() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("TINMAIL_POP3D_RELEASE") {
        Some(path) => reachable(path.into()),
        None => reachable(build("pop3d", "release")),
    })
}

/// The release smtpd, or the one that `TINMAIL_SMTPD_RELEASE` names.
pub fn smtpd_release() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("TINMAIL_SMTPD_RELEASE") {
        Some(path) => reachable(path.into()),
        None => reachable(build("smtpd", "release")),
    })
}

/// Runs cargo, because it builds the programs of other packages for nobody's tests.
fn build(name: &str, profile: &str) -> PathBuf {
    let own = std::env::current_exe().expect("own path");
    // TARGET/PROFILE/deps/TEST
    let target = own.ancestors().nth(3).expect("target directory");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace");
    let mut command = Command::new(cargo);
    // What cargo tells its tests would make it believe that build scripts have to run again.
    for (name, _) in std::env::vars_os() {
        let of_test = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_PRIMARY_", "LD_LIBRARY_PATH"];
        if name.to_str().is_some_and(|name| of_test.iter().any(|start| name.starts_with(start))) {
            command.env_remove(name);
        }
    }
    let status = command
        .current_dir(workspace)
        .args(["build", "--quiet", "--bin", name, "--profile", profile, "--target-dir"])
        .arg(target)
        .status()
        .expect("cargo");
    assert!(status.success(), "cargo build --bin {name} failed");
    let directory = if profile == "dev" { "debug" } else { profile };
    target.join(directory).join(name)
}

/// The path itself if the program's user can run it there, else that of a copy.
fn reachable(path: PathBuf) -> PathBuf {
    if can_run(&path) {
        return path;
    }
    let profile = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let directory = std::env::temp_dir().join(format!("tinmail-tests.{}.{profile}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory for the program");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("chmod");
    let copy = directory.join(path.file_name().expect("name"));
    // Another process copies: what is open here for writing, a child of another thread's has open too, and it
    // cannot be executed (ETXTBSY).
    let installed = Command::new("install").args(["-m", "755"]).args([&path, &copy]).status();
    assert!(installed.expect("install").success(), "a copy of the program");
    assert!(can_run(&copy), "{} cannot be run", copy.display());
    copy
}

fn can_run(path: &Path) -> bool {
    let mut command = Command::new(path);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    as_user(&mut command);
    command.status().is_ok_and(|status| status.success())
}

/// Makes a command run as the user of the programs under test.
pub fn as_user(command: &mut Command) {
    let (uid, gid) = ids();
    if crate::place::is_root() {
        command.uid(uid).gid(gid);
    }
}
